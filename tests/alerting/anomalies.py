"""Anomaly records for tests."""

from __future__ import annotations

from typing import Any

from service.wire.anomaly import Anomaly
from service.wire.timestamps import format_rfc3339

START_S = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def record(alert_id: str = "data-points/0/17", *, at: float = START_S, **members: Any) -> dict[str, Any]:
    """A whole record as it is published."""
    return {
        "id": alert_id,
        "incidentId": alert_id,
        "incident": "opened",
        "sourceId": "pump-7",
        "timestamp": format_rfc3339(round(at * 1000)),
        "detectedAt": format_rfc3339(round(at * 1000)),
        "score": 0.973,
        "severity": "critical",
        "values": {"flow": 8.4, "pressure": 2.13},
        "expected": {
            "flow": {"lower": 8.0, "typical": 8.3, "upper": 8.6},
            "pressure": {"lower": 0.78, "typical": 1.02, "upper": 1.26},
        },
        "contributions": [
            {"value": "pressure", "detector": "zscore", "share": 0.9},
            {"value": "flow", "detector": "zscore", "share": 0.1},
        ],
        "explanation": "pressure 2.13 is 9.4 standard deviations above its usual 1.02 ± 0.12",
        "labels": {"site": "north"},
        "modelVersion": "1",
        **members,
    }


def anomaly(alert_id: str = "data-points/0/17", *, at: float = START_S, **members: Any) -> Anomaly:
    return Anomaly.model_validate(record(alert_id, at=at, **members))
