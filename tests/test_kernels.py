from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt

import service
from service import kernels
from service.kernels import kernel

SERVICE = Path(service.__file__).parent


@kernel
def divided(numerator: float, denominator: float) -> float:
    return numerator / denominator


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


def test_a_change_in_any_module_with_kernels_makes_a_new_cache_folder(tmp_path: Path) -> None:
    """The digest is taken of a copy of the sources, of which one module after the other is changed."""
    sources = [SERVICE / "kernels.py", *modules_with_kernels()]
    for source in sources:
        copy = tmp_path / source.relative_to(SERVICE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
    digests = {kernels._source_digest(tmp_path)}
    for count, source in enumerate(sources, 2):
        with (tmp_path / source.relative_to(SERVICE)).open("a", encoding="utf-8") as copy_file:
            copy_file.write("# changed\n")
        digests.add(kernels._source_digest(tmp_path))
        assert len(digests) == count, f"{source.name} is not in the digest"


def test_the_same_sources_have_the_same_cache_folder() -> None:
    assert kernels._source_digest(SERVICE) == kernels._source_digest(SERVICE)
