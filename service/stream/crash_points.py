"""Named moments of the loop at which a test can have the process die; does nothing unless it is told to.

`ANOMALYD_CRASH_AT=before-commit` kills the process there, `before-commit:20` at the twentieth time that it
comes by, `before-commit:20:STOP` sends SIGSTOP instead of SIGKILL. Read once, when the process starts.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Literal, get_args

Point = Literal[
    "after-produce",
    "after-send-offsets",
    "before-commit",
    "after-commit",
    "mid-snapshot",
    "mid-restore",
    "in-assign",
]
POINTS: tuple[Point, ...] = get_args(Point)

VARIABLE = "ANOMALYD_CRASH_AT"


def _nothing(_: Point) -> None:
    """Go on."""


def armed(text: str, send: Callable[[signal.Signals], None]) -> Callable[[Point], None]:
    """What to do at each point, for the text of the variable.

    Raises:
        ValueError: it names no point, no count or no signal.
    """
    if not text:
        return _nothing
    name, count, number = (*text.split(":"), "", "")[:3]
    if name not in POINTS:
        raise ValueError(f"{VARIABLE}: no point {name!r}, there are {', '.join(POINTS)}")
    left = int(count or 1)
    what = signal.Signals[f"SIG{number or 'KILL'}"]

    def arrived(point: Point) -> None:
        nonlocal left
        if point == name:
            left -= 1
            if left == 0:
                send(what)

    return arrived


here: Callable[[Point], None] = armed(os.environ.get(VARIABLE, ""), lambda what: os.kill(os.getpid(), what))
