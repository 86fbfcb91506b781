"""What the anomaly record says of its incident, and what it may not leave open."""

from __future__ import annotations

import json

import pytest

from service.wire.anomaly import Anomaly
from tests.alerting.anomalies import record


def test_a_record_that_says_nothing_of_incidents_is_not_one_of_no_incident() -> None:
    silent = record()
    del silent["incident"]
    assert not Anomaly.model_validate(silent).of_no_incident
    assert Anomaly.model_validate({**silent, "incident": None}).of_no_incident


@pytest.mark.parametrize("members", [{"incident": "opened"}, {}])
def test_a_change_of_an_incident_without_a_name_is_refused(members: dict[str, str]) -> None:
    whole = record(incidentId=None)
    del whole["incident"]
    with pytest.raises(ValueError, match="incidentId may be null only"):
        Anomaly.parse(json.dumps({**whole, **members}).encode())


def test_a_point_of_no_incident_is_told_under_its_own_id() -> None:
    assert Anomaly.model_validate(record("a", incidentId=None, incident=None)).group == "a"
    assert Anomaly.model_validate(record("a", incidentId="b")).group == "b"
