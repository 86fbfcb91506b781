"""How often a point as odd as this one comes: in points, in its source's own time, and in words."""

from __future__ import annotations

from typing import NamedTuple

_LARGEST_DECADES = 15.0
# From how many seconds on a unit is told, and how many seconds it has.
_UNITS = (
    (2 * 365.25 * 86_400, 365.25 * 86_400, "years"),
    (2 * 86_400, 86_400, "days"),
    (2 * 3600, 3600, "hours"),
    (2 * 60, 60, "minutes"),
    (0, 1, "seconds"),
)


class Rarity(NamedTuple):
    """Once in so many points, which at the source's pace is so many seconds (`None` if that is unknown).

    `seen` points of the source came so far, this one included. Where they are fewer than `points`, the
    rarity is not counted but reckoned from how far out the point lies.
    """

    points: float
    seconds: float | None
    seen: int

    @classmethod
    def of(cls, surprise: float, gap_ms: float, seen: float) -> Rarity:
        """From -log10 p, and the source's mean time from point to point."""
        points = 10.0 ** min(max(surprise, 0.0), _LARGEST_DECADES)
        return cls(points, points * gap_ms / 1000.0 if gap_ms > 0.0 else None, int(seen))

    @property
    def text(self) -> str:
        if self.points > self.seen:
            return f"rarer than once in the {self.seen:,} points seen of this source"
        if self.seconds is None:
            return f"about once in {_rounded(self.points)} points of this source"
        return f"about once in {_spelled(self.seconds)} for this source"


def _rounded(number: float) -> str:
    """To two digits."""
    rounded = float(f"{number:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def _spelled(seconds: float) -> str:
    unit_s, name = next((unit_s, name) for least_s, unit_s, name in _UNITS if seconds >= least_s)
    many = _rounded(seconds / unit_s)
    return f"{many} {name if many != '1' else name[:-1]}"
