"""What /metrics shows: names of series and their labels, from the metrics themselves."""

from __future__ import annotations

import re

from prometheus_client import Counter, Gauge, Histogram

from service.metrics import Metrics, SupervisorMetrics

_NAME = re.compile(r"\banomalyd_[a-z0-9_]+")
_SELECTOR = re.compile(r"\b(anomalyd_[a-z0-9_]+)\{([^}]*)\}")
_MATCHER = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")
# Given by Prometheus' configuration and not by the service.
_TARGET_LABELS = frozenset({"job", "instance", "component"})
# Given by the supervisor of several workers to all that it gathers from them.
_WORKER_LABEL = frozenset({"worker"})


def _exposed() -> list[Counter | Gauge | Histogram]:
    of = [*vars(Metrics()).values(), *vars(SupervisorMetrics()).values()]
    return [metric for metric in of if isinstance(metric, Counter | Gauge | Histogram)]


def series() -> dict[str, set[str]]:
    """Labels by the name of each series."""
    found: dict[str, set[str]] = {}
    for metric in _exposed():
        name, labels = metric._name, set(metric._labelnames)
        if isinstance(metric, Counter):
            found[f"{name}_total"] = labels
        elif isinstance(metric, Gauge):
            found[name] = labels
        else:
            found |= {f"{name}_sum": labels, f"{name}_count": labels, f"{name}_bucket": labels | {"le"}}
    return found


def documented() -> set[str]:
    """One name for each metric, as a person looks for it."""
    return {f"{metric._name}_total" if isinstance(metric, Counter) else metric._name for metric in _exposed()}


def mistakes(expression: str) -> list[str]:
    """Series that are not exposed, and labels that they do not have."""
    known = series()
    wrong = [f"no series {name}" for name in _NAME.findall(expression) if name not in known]
    for name, matchers in _SELECTOR.findall(expression):
        for label in _MATCHER.findall(matchers):
            if label not in known.get(name, set()) | _TARGET_LABELS | _WORKER_LABEL:
                wrong.append(f"{name} has no label {label}")
    return wrong
