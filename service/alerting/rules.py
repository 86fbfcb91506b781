"""Which anomalies a channel is meant for; pure, knows nothing of what was sent before."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextvars import ContextVar
from fnmatch import translate
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.alerting.decision import Reason
from service.wire.anomaly import Anomaly, Severity

# The names that a rule may use while an AlertingConfig is being validated; None = any, for a rule on its own.
known_channels: ContextVar[frozenset[str] | None] = ContextVar("known_channels", default=None)


def _known(name: str) -> str:
    known = known_channels.get()
    if known is not None and name not in known:
        raise ValueError(f"no channel is named {name!r}; there are: {', '.join(sorted(known)) or 'none'}")
    return name


class RuleConfig(BaseModel):
    """Anomalies of this severity and kind, from these sources, with all these labels, go to these channels.

    An absence has no labels, for there is no point that would have them: a rule with labels is not for it.
    `sources` and the labels' values are globs (`pump-*`); upper and lower case differ.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    severity: Severity | Literal["all"] = "all"
    kind: Literal["all", "point", "absence"] = "all"
    sources: str = Field(default="*", min_length=1, max_length=256)
    labels: dict[str, str] = Field(default_factory=dict)
    channels: list[Annotated[str, AfterValidator(_known)]] = Field(min_length=1)


class _Matcher:
    """One rule with its globs compiled."""

    __slots__ = ("_kind", "_labels", "_severity", "_sources")

    def __init__(self, rule: RuleConfig) -> None:
        self._severity, self._kind = rule.severity, rule.kind
        self._sources = re.compile(translate(rule.sources))
        self._labels = {name: re.compile(translate(glob)) for name, glob in rule.labels.items()}

    def matches(self, anomaly: Anomaly) -> bool:
        if self._severity not in ("all", anomaly.severity):
            return False
        if self._kind not in ("all", anomaly.kind or "point"):
            return False
        if not self._sources.match(anomaly.source_id):
            return False
        labels = anomaly.labels
        return all(name in labels and glob.match(labels[name]) for name, glob in self._labels.items())


class Rules:
    """The rules that name one channel; where there are no rules at all, every channel gets everything."""

    def __init__(self, rules: Sequence[RuleConfig], channel: str) -> None:
        self._open = not rules
        self._matchers = [_Matcher(rule) for rule in rules if channel in rule.channels]

    def objection(self, anomaly: Anomaly, now: float) -> Reason | None:  # noqa: ARG002  a stage's signature
        if self._open or any(matcher.matches(anomaly) for matcher in self._matchers):
            return None
        return Reason.NO_RULE
