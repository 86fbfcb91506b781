from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from service.bench.cases import plan
from service.bench.child import BenchError
from service.bench.plot import draw
from service.bench.report import document
from service.settings import Settings
from tests.bench.figures import a_case


def test_a_run_is_drawn_where_matplotlib_is_and_refused_with_advice_elsewhere(tmp_path: Path) -> None:
    found = document(plan(), Settings(), [a_case(), a_case(100_000, 4)], None)
    file = tmp_path / "bench.png"
    if importlib.util.find_spec("matplotlib") is None:
        with pytest.raises(BenchError, match=r"anomalyd\[plot\]"):
            draw(found, file)
    else:
        draw(found, file)
        assert file.read_bytes().startswith(b"\x89PNG")
