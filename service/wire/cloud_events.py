"""The envelope of CloudEvents 1.0: whether a record has one, and what is in it; knows no data points."""

from __future__ import annotations

from typing import Any, NamedTuple

from service.wire.data_point import Reason
from service.wire.rules import FaultError, quote, short, show

Headers = list[tuple[str, bytes]]
Attributes = dict[str, Any]  # of an event, by their own names


class EventHeaders(NamedTuple):
    """What a record's headers say of the event; `media_type` is "" unless it is one of CloudEvents'."""

    media_type: str
    attributes: dict[str, bytes]


_EVENT_HEADERS = {
    "content-type": "content-type",
    "ce_specversion": "specversion",
    "ce_id": "id",
    "ce_source": "source",
    "ce_subject": "subject",
    "ce_time": "time",
}
_EVENT_TYPE = "application/cloudevents"
_STRUCTURED_TYPE = "application/cloudevents+json"


def event_headers(headers: Headers) -> EventHeaders | None:
    """The headers that count here; None if they do not make the record an event."""
    found: dict[str, bytes] = {}
    for name, data in headers:
        attribute = _EVENT_HEADERS.get(name)
        if attribute is not None and data is not None:
            found[attribute] = data
    media_type = _media_type(found.pop("content-type", b""))
    if media_type.startswith(_EVENT_TYPE):
        return EventHeaders(media_type, found)
    return EventHeaders("", found) if "specversion" in found else None


def _media_type(content_type: bytes) -> str:
    return content_type.decode("latin-1").partition(";")[0].strip().lower()


def unwrap(document: dict[str, Any], headers: EventHeaders | None) -> tuple[dict[str, Any], Attributes]:
    """The point's own object, and the attributes of the event that it came in.

    Raises:
        FaultError: it came in an event that cannot be read.
    """
    if headers is None:
        return (_structured(document), document) if _looks_structured(document) else (document, {})
    if not headers.media_type:
        return document, _binary(headers.attributes)
    if headers.media_type != _STRUCTURED_TYPE:
        found = quote(headers.media_type)
        raise FaultError(Reason.BAD_CLOUD_EVENT, f"the content type {found} is not supported")
    return _structured(document), document


def _looks_structured(document: dict[str, Any]) -> bool:
    return (
        "specversion" in document
        and ("data" in document or "data_base64" in document)
        and not ("sourceId" in document or "values" in document or "control" in document)
    )


def _structured(event: dict[str, Any]) -> dict[str, Any]:
    _check_version(event.get("specversion"))
    data = event.get("data")
    if type(data) is not dict:
        what = "data_base64" if "data_base64" in event else f"its data is {show(data)}"
        raise FaultError(Reason.BAD_CLOUD_EVENT, f"the event's data must be an object: {what}")
    return data


def _binary(attributes: dict[str, bytes]) -> Attributes:
    event = {}
    for name, data in attributes.items():
        try:
            event[name] = data.decode()
        except UnicodeDecodeError:
            raise FaultError(
                Reason.BAD_CLOUD_EVENT, f"the event's header for {name} is not UTF-8: {short(repr(data))}"
            ) from None
    _check_version(event["specversion"])
    return event


def _check_version(version: object) -> None:
    if version != "1.0":
        raise FaultError(
            Reason.BAD_CLOUD_EVENT, f"the event's specversion is {show(version)}, only 1.0 is known"
        )
