from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.history import cadence, silence
from service.history.cadence import DAY_MS, PATIENCE
from service.history.silence import BACK, RECENT, SILENT
from service.history.table import Array

START_MS = 20_000 * DAY_MS
SOURCES = 4  # so few that all are looked at with every point
LIMITS = silence.Limits(usual_gaps=5.0, at_least_ms=60_000.0, together=100)


@given(st.lists(st.integers(0, 50), min_size=RECENT, max_size=60))
def test_the_recent_times_stay_in_order(times: list[int]) -> None:
    recent, ascending = np.zeros(RECENT, np.int64), np.zeros(RECENT, np.int64)
    for i, time in enumerate(times):
        silence._replace(ascending, recent[i % RECENT], time)
        recent[i % RECENT] = time
        assert ascending.tolist() == sorted(recent.tolist())


@dataclass
class Slowly:
    """The same by definition: all that is known of every source, looked at with each point; no groups."""

    rows: list[tuple[Array, Array]] = field(
        default_factory=lambda: [(np.zeros(3, np.int64), np.zeros(7, np.float32)) for _ in range(SOURCES)]
    )
    recent: list[tuple[int, int]] = field(default_factory=list)
    last: int = -1
    stood: int = 0
    alive: int = 0
    longest: float = 0.0
    silent: set[int] = field(default_factory=set)
    told: list[tuple[int, int, int]] = field(default_factory=list)

    def hand(self, which: int) -> int:
        return sorted([0] * (RECENT - len(self.recent)) + [times[which] for times in self.recent])[2]

    def tick(self, source: int, time: int, record: int) -> bool:
        if source == self.last:
            return False
        self.last = source
        self.recent = [*self.recent, (time, record)][-RECENT:]
        now = self.hand(1)
        step = now - self.stood
        if self.stood == 0 or step < -30_000:
            self.stood = now
        elif step > 0:
            days = now // DAY_MS - self.stood // DAY_MS
            longest = self.longest * 0.9**days
            limit = max(longest, 30_000.0)
            self.longest = int(1.05 * limit if step > limit else max(longest, step))
            self.alive += min(step, int(limit))
            self.stood = now
        return True

    def feed(self, point: int, source: int, time: int, record: int) -> None:
        moved = self.tick(source, time, record)
        if source in self.silent:
            self.silent.remove(source)
            self.told.append((point, source, BACK))
            self.rows[source][1][cadence.TOLD] = 1.0
        cadence.learn(*self.rows[source], time, self.alive, point, 5.0, 60_000.0)
        for other, (times, numbers) in enumerate(self.rows):
            waited = min(self.alive - times[cadence.ARRIVED], self.hand(0) - times[cadence.NEWEST])
            if moved and numbers[PATIENCE] > 0 and other not in self.silent and waited > numbers[PATIENCE]:
                self.silent.add(other)
                self.told.append((point, other, SILENT))


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Source, time and record time of points: mostly regular, with outages, halts, and wrong clocks."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    gap = draw(st.sampled_from([1_000, 10_000, 600_000]))
    rounds = draw(st.integers(100, 300))
    outages = [(int(rng.integers(SOURCES)), *sorted(rng.integers(rounds, size=2))) for _ in range(3)]
    ahead = draw(st.sampled_from([0, 0, 3_600_000, 400 * DAY_MS]))
    halt = draw(st.sampled_from([0, 0, 3_600_000]))
    points = []
    for i in range(rounds):
        base = START_MS + i * gap + (halt if i > rounds // 2 else 0)
        for source in rng.permutation(SOURCES).tolist():
            if any(s == source and a <= i < b for s, a, b in outages):
                continue
            time = base + int(rng.integers(gap // 4))
            wrong = ahead if source == 0 else 0
            points.append((source, time + wrong, time + 50 + (wrong if rng.random() < 0.5 else 0)))
    return points


@settings(max_examples=40)
@given(streams())
def test_silences_are_found_where_looking_at_every_source_with_every_point_finds_them(
    points: list[tuple[int, int, int]],
) -> None:
    slowly = Slowly()
    for i, (source, time, record) in enumerate(points):
        slowly.feed(i, source, time, record)
    columns = np.array(points, np.int64).T.copy()
    events = np.empty(silence.room_for(len(points), SOURCES, LIMITS.together), silence.EVENT)
    count = silence.advance(
        columns[0],
        columns[1],
        columns[2],
        np.arange(len(points)),
        np.zeros((SOURCES, 3), np.int64),
        np.zeros((SOURCES, 7), np.float32),
        np.zeros(SOURCES),
        silence.new_clock(),
        LIMITS,
        np.empty(len(points)),
        np.empty(len(points)),
        events,
    )
    found = [(int(e["point"]), int(e["slot"]), int(e["what"])) for e in events[:count]]
    assert found == slowly.told
