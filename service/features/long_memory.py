"""LongMemory: how far each point lies from its source's whole past, and what speaks for an incident.

Owns what is kept of it; the kernels of `judging` work on it.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.features import changes, deviations, joint, judging, octaves, several
from service.features.changes import SignTables
from service.features.cohorts import Cohorts
from service.features.config import LongMemoryConfig
from service.features.days import days_since_epoch
from service.features.judging import Judged, Points, Room, Tables, Ways
from service.features.window import Windows
from service.features.zones import offsets_ms
from service.history.blocks import ALL, Kind
from service.history.sources import Placement
from service.history.table import Column, StateTable

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_EARLY_HISTORY = 8  # points from which on a source is judged that began with its cohort's scales


class LongMemory:
    """The long past of every series and source, in columns."""

    def __init__(self, config: LongMemoryConfig) -> None:
        self._config = config
        self._holidays = days_since_epoch(config.holidays)
        self.source_table = StateTable({"joined": Column(np.float64, several.NUMBERS)})
        self.table = StateTable(
            {
                "numbers": Column(np.float64, deviations.NUMBERS),
                "residuals": Column(np.float64, joint.NUMBERS),
            }
        )
        self.signs = StateTable(
            {
                "changes": Column(np.float64, changes.NUMBERS),
                "offs": Column(np.float32, changes.LONG),
                "slots": Column(np.float32, changes.PROFILES),
                "visits": Column(np.uint8, changes.PROFILES),
                "bins": Column(np.uint16, changes.SIGNS * octaves.HISTOGRAM),
            }
        )
        self.cohorts = Cohorts()
        self.relations = StateTable({"covariance": Column(np.float32), "precision": Column(np.float32)})

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The tables of those sources that have what is kept there; they follow the series' block."""
        config = self._config
        alone = 1 if config.signs_of_change else 0
        return (
            Kind([self.signs], most=alone),
            Kind(
                [self.relations],
                least=2 if config.joint_values else ALL,
                side=config.joint_values,
                square=True,
            ),
        )

    def advance(
        self, placed: Placement, changed: Bools, time_ms: Ints, min_history: int, windows: Windows
    ) -> Judged:
        """What the placed points are to their sources' past, of which `min_history` points must be known.

        `changed` (m,) says which values begin anew, in another unit than before.
        """
        config = self._config
        points = Points(
            placed.source,
            placed.first,
            placed.rows,
            placed.width,
            placed.row_start,
            placed.series,
            placed.names,
            placed.values,
            changed,
            time_ms + offsets_ms(config.time_zone, time_ms),
        )
        ways = Ways(
            min_history,
            min(_EARLY_HISTORY, min_history),
            config.recurrence_values,
            config.joint_values,
            config.signs_of_change,
            config.cohorts,
            self._holidays,
        )
        room = Room.of(int(placed.width.max(initial=0)), config.joint_values, windows.ring.shape[1])
        judged = Judged.of(len(placed.source), len(placed.series))
        judging.advance(points, ways, self._tables(windows), room, judged)
        return judged

    def _tables(self, windows: Windows) -> Tables:
        signs, relations = self.signs, self.relations
        return Tables(
            windows,
            self.table["numbers"],
            SignTables(
                signs["changes"],
                signs["offs"],
                signs["slots"],
                signs["visits"],
                signs["bins"].reshape(len(signs), changes.SIGNS, octaves.HISTOGRAM),
            ),
            self.source_table["joined"],
            self.table["residuals"],
            relations["covariance"],
            relations["precision"],
            self.cohorts.rows,
        )
