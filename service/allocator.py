"""Keeps glibc's allocator from holding more memory, and taking more time, than this service wants it to.

Elsewhere (musl, macOS) nothing is done: it is a matter of cost, never of results.
"""

from __future__ import annotations

import ctypes
import functools
import platform
from typing import Any

_M_MXFAST, _M_ARENA_MAX = 1, -8  # of mallopt


@functools.cache
def _glibc() -> Any:
    """The C library, `None` if it is another one."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def tune() -> None:
    """To be called before there are threads."""
    if (glibc := _glibc()) is None:
        return
    # Messages are made of six small pieces. It puts such away as they are when they are freed, and joins
    # them all whenever a large array comes or goes: half of what handing over a message took.
    glibc.mallopt(_M_MXFAST, 0)
    # It gives each thread of the clients an arena, which keeps what was once needed there: with a million
    # sources 330 MB.
    glibc.mallopt(_M_ARENA_MAX, 2)


def give_back() -> None:
    """Return what is free to the system, after work that will not come again soon; some 10 ms.

    Reading snapshots leaves 250 MB of it behind, among what is still in use.
    """
    if (glibc := _glibc()) is not None:
        glibc.malloc_trim(0)
