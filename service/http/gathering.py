"""Metrics and health of several processes as those of one; asks each of them over HTTP at every question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service.metrics import SupervisorMetrics

_PATIENCE_S = 2.0
_OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}

# What a worker says, or why it says nothing; `None` if it serves nothing yet.
_Answer = httpx.Response | httpx.HTTPError | None


def merged(families: Mapping[str, Iterable[Metric]]) -> Iterator[Metric]:
    """The families of all workers, each once, every sample with its worker's name as the label `worker`."""
    whole: dict[str, Metric] = {}
    for worker, own in families.items():
        for family in own:
            first = Metric(family.name, family.documentation, family.type, family.unit)
            joined = whole.setdefault(family.name, first)
            joined.samples += [
                sample._replace(labels={**sample.labels, "worker": worker}) for sample in family.samples
            ]
    yield from whole.values()


class Gathering(Collector):
    """What the workers at `urls` say; a worker's URL is empty while it serves nothing.

    Who does not answer in time is left out of the metrics and counts as not up.
    """

    def __init__(
        self, urls: Callable[[], Sequence[str]], own: SupervisorMetrics, *, patience_s: float = _PATIENCE_S
    ) -> None:
        self.registry = CollectorRegistry()
        """All metrics, the supervisor's own with them; asks the workers each time that it is collected."""
        self.registry.register(self)
        self._urls = urls
        self._own = own
        # Loopback needs no proxy, and a connection kept is one that the worker may close at the wrong moment.
        self._http = httpx.Client(
            timeout=patience_s, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0)
        )
        # All are asked at once, for several scrapes and probes at a time.
        self._askers = ThreadPoolExecutor(64, thread_name_prefix="gathering")

    def close(self) -> None:
        self._askers.shutdown(cancel_futures=True)
        self._http.close()

    def collect(self) -> Iterator[Metric]:
        answers = {
            str(worker): list(text_string_to_metric_families(answer.text))  # type: ignore[no-untyped-call]
            for worker, answer in enumerate(self._ask("/metrics"))
            if isinstance(answer, httpx.Response) and answer.is_success
        }
        self._own.workers_up.set(len(answers))
        yield from self._own.registry.collect()
        yield from merged(answers)

    def unhealthy(self) -> str | None:
        """Which workers are, and why."""
        return _told(map(_illness, self._ask("/-/healthy")))

    def unready(self) -> str | None:
        """Which workers are, and why."""
        return _told(map(_obstacle, self._ask("/-/ready")))

    def _ask(self, path: str) -> list[_Answer]:
        return list(self._askers.map(lambda url: self._answer(url, path), self._urls()))

    def _answer(self, url: str, path: str) -> _Answer:
        if not url:
            return None
        try:
            return self._http.get(f"{url}{path}", headers=_OPENMETRICS)
        except httpx.HTTPError as error:
            return error


def _illness(answer: _Answer) -> str | None:
    """One that has just died, or is only starting, is the supervisor's business and not ill."""
    if isinstance(answer, httpx.TimeoutException):
        return "does not answer"
    return answer.text if isinstance(answer, httpx.Response) and not answer.is_success else None


def _obstacle(answer: _Answer) -> str | None:
    if answer is None:
        return "starting"
    if isinstance(answer, httpx.HTTPError):
        return "does not answer"
    return None if answer.is_success else answer.text


def _told(reasons: Iterable[str | None]) -> str | None:
    """The reasons of all workers in one line."""
    told = [f"worker {number}: {reason}" for number, reason in enumerate(reasons) if reason is not None]
    return "; ".join(told) or None
