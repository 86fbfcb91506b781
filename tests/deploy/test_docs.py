"""Examples in docs/messages.md are messages as they are read and written."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from service.alerting.decision import Reason as AlertReason
from service.alerting.deliveries import Delivery
from service.outcomes import Outcome
from service.pipeline import DetectionPipeline, Record
from service.wire.anomaly import Anomaly
from service.wire.data_point import Control, DataPoint, InvalidRecord, Reason
from service.wire.decode import InputLimits, decode
from tests.deploy.files import ROOT

TEXT = (ROOT / "docs" / "messages.md").read_text(encoding="utf-8")


def examples(kind: str) -> list[dict[str, Any]]:
    """The JSON blocks of a kind; data points and control records have none."""
    return [json.loads(body) for body in re.findall(rf"(?ms)^```json{kind}\n(.*?)^```", TEXT)]


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """What the pipeline really says of two values of which one jumps."""
    rng = np.random.default_rng(3)
    records = []
    for i in range(3000):
        pressure = 2.6 if i == 2998 else 2.1 + 0.02 * float(rng.normal())
        values = (pressure, 8.4 + 0.1 * float(rng.normal()))
        point = DataPoint("pump-7", i * 10_000, ("pressure", "flow"), values, {"site": "north"})
        records.append(Record(point, i, i * 10_000))
    word = {"feedback": "false_alarm", "anomalyId": "data-points-3-2998", "by": "jo", "note": "filter change"}
    records.append(Record(Control("pump-7", 30_000_000, word), 3000, 30_000_000))
    return DetectionPipeline(partition=3).process_batch(records)


def shape(value: Any) -> Any:
    """Members in their order and types of values, of lists the first one's."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return [shape(member) for member in value[:1]]
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


@pytest.mark.parametrize("example", examples(""), ids=lambda example: json.dumps(example)[:60])
def test_data_points_and_control_records_are_read(example: dict[str, Any]) -> None:
    read = decode(json.dumps(example).encode(), None, None, 1_767_225_600_000, InputLimits())

    assert not isinstance(read, InvalidRecord), read
    assert read.source_id == "pump-7"


def test_results_look_like_those_of_the_pipeline(outcomes: list[Outcome]) -> None:
    scored, skipped = examples(" result")

    assert shape(scored) == shape(json.loads(outcomes[2998].result))
    assert list(scored) == list(json.loads(outcomes[2998].result))
    assert shape(skipped) == shape(json.loads(outcomes[0].result))


def test_a_silence_looks_like_an_anomaly_and_says_its_kind(outcomes: list[Outcome]) -> None:
    (example,) = examples(" absence")
    written = next(json.loads(outcome.anomaly) for outcome in outcomes if outcome.anomaly)
    assert set(example) == {*written, "kind"}
    assert Anomaly.parse(json.dumps(example).encode()).is_absence


def test_answers_look_like_those_of_the_pipeline(outcomes: list[Outcome]) -> None:
    (example,) = examples(" answer")
    written = json.loads(outcomes[3000].result)

    assert {**example, "timestamp": ""} == {**written, "timestamp": ""}
    assert list(example) == list(written)


def test_anomalies_look_like_those_of_the_pipeline(outcomes: list[Outcome]) -> None:
    (example,) = examples(" anomaly")
    written = json.loads(outcomes[2998].anomaly or b"")

    assert shape(example) == shape(written)
    assert list(example) == list(written)
    assert example["id"] == written["id"]
    assert sum(share["share"] for share in example["contributions"]) == pytest.approx(1.0)


def test_deliveries_look_like_those_of_the_channels(outcomes: list[Outcome]) -> None:
    (example,) = examples(" delivery")
    anomaly = Anomaly.parse(outcomes[2998].anomaly or b"")
    written = json.loads(Delivery.of("ops-slack", anomaly, "sent", "send", 1, 0.0).encode())

    assert shape(example) == shape(written)


def test_every_reason_is_explained() -> None:
    dead = TEXT.partition("\n## Dead letter\n")[2].partition("\n## ")[0]
    delivery = TEXT.partition("\n## Delivery\n")[2].partition("\n## ")[0]

    assert {str(reason) for reason in Reason if f"`{reason}`" not in dead} == set()
    assert {
        str(r) for r in AlertReason if r not in ("send", "malformed") and f"`{r}`" not in delivery
    } == set()


@pytest.mark.parametrize("name", ["messages.md", "operations.md"])
def test_links_inside_the_documents_lead_somewhere(name: str) -> None:
    folder = ROOT / "docs"
    for target in re.findall(r"\]\(([^)\s]+)\)", (folder / name).read_text(encoding="utf-8")):
        if target.startswith("http"):
            continue
        file, _, anchor = target.partition("#")
        path = folder / file if file else folder / name
        assert path.exists(), target
        headings = re.findall(r"(?m)^#+ (.+)$", path.read_text(encoding="utf-8"))
        slugs = {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}
        assert not anchor or anchor in slugs, target
