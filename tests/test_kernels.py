from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import service
from service import kernels
from service.kernels import kernel

SERVICE = Path(service.__file__).parent


@kernel
def divided(numerator: float, denominator: float) -> float:
    return numerator / denominator


@kernel
def masked(numbers: npt.NDArray[np.uint16], masks: npt.NDArray[np.uint16], at: int) -> int:
    return int(kernels.sum_masked(numbers, masks, at, 32))


@kernel
def added(values: npt.NDArray[np.float64]) -> float:
    total = 0.0
    for i in range(values.shape[0]):
        total += values[i]
    return total


def test_a_division_by_zero_gives_infinity_or_no_number() -> None:
    assert divided(1.0, 0.0) == math.inf
    assert divided(-1.0, 0.0) == -math.inf
    assert math.isnan(divided(0.0, 0.0))


def test_sums_are_added_in_the_order_in_which_they_are_written() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=1001) * 10 ** rng.uniform(-10, 10, 1001)
    total = 0.0
    for value in values.tolist():
        total += value
    assert added(values) == total
    assert added(np.array([1e16, 1.0, -1e16])) == 0.0


def modules_with_kernels() -> list[Path]:
    """The modules that take the compiler from `service.kernels`."""
    found = []
    for path in SERVICE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "service.kernels":
                found.append(path)
    return found


def imported(path: Path) -> set[Path]:
    """The modules of ours that it imports itself, by its syntax."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        places = [SERVICE.parent.joinpath(*name.split(".")) for name in names if name.startswith("service")]
        found |= {f for p in places for f in (p.with_suffix(".py"), p / "__init__.py") if f.is_file()}
    return found


@pytest.mark.parametrize("module", modules_with_kernels(), ids=lambda path: path.stem)
def test_a_module_leans_on_all_that_it_and_those_below_it_import(module: Path) -> None:
    below = kernels.leans_on(module)
    assert below == {module}.union(*map(imported, below))
    assert SERVICE / "kernels.py" in below


def test_a_change_in_what_kernels_lean_on_makes_a_new_version_and_any_other_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "service"
    package.mkdir()
    above, below, beside = (package / f"{name}.py" for name in ("above", "below", "beside"))
    above.write_text("from service import (\n    below,\n)\n")
    below.write_text("number = 1\n")
    beside.write_text("number = 1\n")
    monkeypatch.setattr(kernels, "_PACKAGES", tmp_path)

    def forget() -> None:
        kernels._source.cache_clear()
        kernels.version_of.cache_clear()

    def version() -> str:
        forget()
        return kernels.version_of(above)

    first = version()
    beside.write_text("number = 2\n")
    assert version() == first
    below.write_text("number = 2\n")
    assert version() != first
    below.write_text("number = 1\n")
    assert version() == first
    forget()


@given(st.binary(min_size=1, max_size=100), st.integers(0, 100), st.integers(0, 100), st.integers(0, 80))
def test_a_piece_is_put_where_it_belongs_and_what_lies_before_stays(
    text: bytes, one: int, other: int, behind: int
) -> None:
    start, stop = sorted((one % (len(text) + 1), other % (len(text) + 1)))
    out = np.full(7 + stop - start + behind, 1, np.uint8)
    assert kernels.put(out, 7, np.frombuffer(text, np.uint8), start, stop) == 7 + stop - start
    assert out[:7].tolist() == [1] * 7
    assert out[7 : 7 + stop - start].tobytes() == text[start:stop]


_SHORTS = st.integers(0, 2**16 - 1)


@given(
    st.lists(_SHORTS, min_size=32, max_size=40),
    st.lists(_SHORTS, min_size=40, max_size=40),
    st.integers(0, 8),
)
def test_masked_numbers_are_summed_in_16_bits(numbers: list[int], masks: list[int], at: int) -> None:
    expected = sum(number & mask for number, mask in zip(numbers[:32], masks[at:], strict=False)) % 2**16
    assert masked(np.array(numbers, np.uint16), np.array(masks, np.uint16), at) == expected
