"""The public anomaly record, as subscribers of the anomalies topic and the alert channels read it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

Severity = Literal["low", "medium", "high", "critical"]
IncidentChange = Literal["opened", "updated", "resolved"]

SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
INCIDENT_CHANGES: tuple[IncidentChange, ...] = ("opened", "updated", "resolved")


ABSENCE = "absence"
"""The kind of a record that tells of a source's silence."""


def subject_of(source_id: str, kind: str | None) -> str:
    """What a record of that kind tells of; no two sources and kinds have the same."""
    return f"{source_id}\n{kind}" if kind else source_id


class _Public(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


class Expected(_Public):
    """What would have been normal for one value; `None` where the history is too short to say."""

    lower: float | None
    typical: float | None
    upper: float | None


class OncePer(_Public):
    """A normal point of the source is as odd as this once in so many points, or seconds at its pace.

    Where fewer `points` were `seen` of the source, that is reckoned, not counted.
    """

    points: float
    seconds: float | None
    seen: int


class Level(_Public):
    """Where a value was before an incident, and where it settled."""

    before: float
    now: float


class NewNormal(_Public):
    """What was odd is accepted after so many points; `levels` of the values that settled elsewhere."""

    after_points: int
    levels: dict[str, Level] = Field(default_factory=dict)


class Contribution(_Public):
    """The share of one value, as one detector sees it, in the anomaly; all shares sum to 1."""

    value: str
    detector: str
    share: float


class Anomaly(_Public):
    """One anomalous point, or one change of an incident.

    `id` is made of input topic, partition and offset, so a replay gives the same one; `incident_id`
    is the id of the anomaly that opened the incident, `None` for a point that belongs to none.
    `detected_at` is the input record's Kafka timestamp, never the wall clock. Both times are RFC 3339 in UTC.
    `kind` is `absence` where a source fell silent or came back, and absent where a point is the matter.
    `score` is `None` where feedback and no point ended the incident. `confidence` is given while its source
    is young, `new_normal` where something is accepted as that.
    """

    id: str
    incident_id: str | None
    incident: IncidentChange | None = None
    kind: str | None = None
    source_id: str
    timestamp: str
    detected_at: str
    score: float | None
    severity: Severity
    confidence: float | None = None
    new_normal: NewNormal | None = None
    values: dict[str, float | None]
    expected: dict[str, Expected] = Field(default_factory=dict)
    once_per: OncePer | None = None
    contributions: list[Contribution] = Field(default_factory=list)
    explanation: str
    labels: dict[str, str] = Field(default_factory=dict)
    model_version: str

    @model_validator(mode="after")
    def _names_its_incident(self) -> Self:
        if self.incident_id is None and not self.of_no_incident:
            raise ValueError("incidentId may be null only beside an incident that is null")
        return self

    @property
    def of_no_incident(self) -> bool:
        """Whether it says that it belongs to none; where `incident` is absent, nothing is said of it."""
        return self.incident is None and "incident" in self.model_fields_set

    @property
    def group(self) -> str:
        """What it is told together with: its incident's id, or its own."""
        return self.incident_id or self.id

    @property
    def is_absence(self) -> bool:
        return self.kind == ABSENCE

    @property
    def subject(self) -> str:
        """What is told of: the source's values, or its absence."""
        return subject_of(self.source_id, self.kind)

    @classmethod
    def parse(cls, body: bytes) -> Anomaly:
        """The record in `body`.

        Raises:
            ValueError: not an anomaly record; the message names each wrong field.
        """
        return cls.model_validate_json(body)
