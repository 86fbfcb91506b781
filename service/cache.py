"""Where anomalyd keeps what it can make again: compiled kernels, the local broker's jars."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """The user's cache folder for anomalyd; `ANOMALYD_CACHE` names another."""
    if own := os.environ.get("ANOMALYD_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "anomalyd"
