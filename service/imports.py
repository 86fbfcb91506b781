"""Imports of libraries without what they would import for others: a start after a kill is in a hurry."""

from __future__ import annotations

import importlib
import sys


def leave_out(name: str, while_importing: str) -> None:
    """Import a module as if another were not installed."""
    if name not in sys.modules:
        sys.modules[name] = None  # type: ignore[assignment]
        try:
            importlib.import_module(while_importing)
        finally:
            del sys.modules[name]
