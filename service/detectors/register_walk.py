"""Walks heaps with 64 points at once: nodes are looked up in vector registers, many at a time (AVX-512BW).

A step of a walk waits for its node, and what is done to it is next to nothing. The nodes of the eight highest
levels fit into registers, of whose numbers such a processor takes any 16 or 32 at once, one for each point:
a step of 32 points is a dozen instructions. No library, and no compiler by itself, makes them.

In a heap node i at place i has the children 2i and 2i + 1; place 0 is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from service.kernels import kernel

Floats32 = npt.NDArray[np.float32]
Shorts = npt.NDArray[np.uint16]
Places = npt.NDArray[np.uint32]

LEVELS = 8
POINTS = 64
"""That walk at once."""
DIMENSIONS = 6
DIMENSION_BITS = 3


def _here() -> bool:
    """Whether code is compiled for a processor that can do it."""
    config: Any = numba.config
    if config.CPU_NAME or config.CPU_FEATURES or not config.ENABLE_AVX:
        return False
    return bool(binding.get_host_cpu_features().get("avx512bw"))


AVAILABLE = _here()

_WORD = ir.IntType(64)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A register: its numbers, whole ones as wide to name them by, and what the instructions are called."""

    number: Any
    place: Any
    lanes: int
    suffix: tuple[str, str]

    @property
    def numbers(self) -> Any:
        return ir.VectorType(self.number, self.lanes)

    @property
    def places(self) -> Any:
        return ir.VectorType(self.place, self.lanes)

    def all(self, number: int) -> Any:
        return ir.Constant(self.places, [self.place(number)] * self.lanes)


_SHORT = _Kind(ir.IntType(16), ir.IntType(16), 32, ("hi", "hi"))
_FLOAT = _Kind(ir.FloatType(), ir.IntType(32), 16, ("sf", "ps"))


class _Heap:
    """The highest levels of a heap in registers, and the instructions to walk there."""

    def __init__(self, builder: Any, kind: _Kind, start: Any) -> None:
        self._builder, self._kind = builder, kind
        count = 2**LEVELS // kind.lanes
        self._registers = [self.load(start, _WORD(kind.lanes * i)) for i in range(count)]

    def load(self, start: Any, at: Any) -> Any:
        builder, numbers = self._builder, self._kind.numbers
        place = builder.bitcast(builder.gep(start, [at]), numbers.as_pointer())
        return builder.load(place, align=2)

    def store(self, places: Any, start: Any, at: Any) -> None:
        builder = self._builder
        place = builder.bitcast(builder.gep(start, [at]), self._kind.places.as_pointer())
        builder.store(places, place, align=2)

    def has_bit(self, places: Any, bit: int) -> Any:
        builder, kind = self._builder, self._kind
        return builder.icmp_unsigned("!=", builder.and_(places, kind.all(1 << bit)), kind.all(0))

    def _take(self, node: Any, first: int, second: int | None = None) -> Any:
        """Of one register, or of two together, the numbers that the lowest bits name."""
        kind, module, held = self._kind, self._builder.module, self._registers
        if second is None:
            name, given = f"permvar.{kind.suffix[0]}", [held[first], node]
        else:
            name, given = f"vpermi2var.{kind.suffix[1]}", [held[first], node, held[second]]
        function = ir.FunctionType(kind.numbers, [each.type for each in given])
        return self._builder.call(
            module.declare_intrinsic(f"llvm.x86.avx512.{name}.512", [], function), given
        )

    def _at(self, level: int, node: Any) -> Any:
        """What stands at nodes of a level: register 0 holds those above the one that fills register 1."""
        size, lanes = 2**level, self._kind.lanes
        if size <= lanes:
            return self._take(node, size // lanes)
        found = [self._take(node, i, i + 1) for i in range(size // lanes, 2 * size // lanes, 2)]
        for bit in range(lanes.bit_length(), level):
            above = self.has_bit(node, bit)
            pairs = zip(found[::2], found[1::2], strict=True)
            found = [self._builder.select(above, high, low) for low, high in pairs]
        return found[0]

    def walk(self, goes_right: Callable[[Any], Any]) -> Any:
        """The nodes below the last level; who is at what stands there goes right says `goes_right`."""
        builder, one = self._builder, self._kind.all(1)
        node = one
        for level in range(LEVELS):
            right = goes_right(self._at(level, node))
            node = builder.add(node, node)
            node = builder.select(right, builder.add(node, one), node)
        return node


def _arrays(context: Any, builder: Any, signature: Any, arguments: Any) -> list[Any]:
    """The arguments, arrays among them with their parts."""
    return [
        context.make_array(kind)(context, builder, given) if isinstance(kind, types.Array) else given
        for kind, given in zip(signature.args, arguments, strict=True)
    ]


@intrinsic
def _walk(_: Any, ranks: Any, first: Any, heap: Any, nodes: Any) -> Any:  # noqa: ARG001 - its type is fixed below
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of, start, own, out = _arrays(context, builder, signature, arguments)
        walking = _Heap(builder, _SHORT, own.data)
        width = builder.udiv(builder.extract_value(of.strides, 0), _WORD(2))
        for lane in range(0, POINTS, _SHORT.lanes):
            at = builder.add(start, _WORD(lane))
            rows = [
                walking.load(of.data, builder.add(builder.mul(width, _WORD(d)), at))
                for d in range(DIMENSIONS)
            ]

            def goes_right(wanted: Any, rows: list[Any] = rows) -> Any:
                own = rows
                for bit in range(DIMENSION_BITS):
                    odd, alone = walking.has_bit(wanted, bit), own[len(own) // 2 * 2 :]
                    pairs = zip(own[::2], own[1::2], strict=False)
                    own = [builder.select(odd, second, first) for first, second in pairs] + alone
                return builder.icmp_unsigned(">=", own[0], wanted)

            walking.store(walking.walk(goes_right), out.data, at)
        return context.get_dummy_value()

    return types.void(ranks, types.intp, heap, nodes), emit


@intrinsic
def _rank(_: Any, x: Any, first: Any, heap: Any, nodes: Any) -> Any:  # noqa: ARG001 - its type is fixed below
    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        of, start, own, out = _arrays(context, builder, signature, arguments)
        walking = _Heap(builder, _FLOAT, own.data)
        for lane in range(0, POINTS, _FLOAT.lanes):
            at = builder.add(start, _WORD(lane))
            some = walking.load(of.data, at)

            def goes_right(cut: Any, some: Any = some) -> Any:
                return builder.fcmp_ordered("<", cut, some)

            walking.store(walking.walk(goes_right), out.data, at)
        return context.get_dummy_value()

    return types.void(x, types.intp, heap, nodes), emit


@kernel
def _not_here(_of: Any, _first: int, _heap: Any, _nodes: Any) -> None:
    """Where the processor cannot."""


walk = cast(Callable[[Shorts, int, Shorts, Shorts], None], _walk if AVAILABLE else _not_here)
"""In a kernel: the `nodes` (n,) below LEVELS of POINTS points of `ranks` (DIMENSIONS, n) from `first` on.

What stands in `heap`, of at least 2 ** LEVELS places, is in its lowest bits a dimension, above them a number;
right goes who has a rank there that is not less, the lowest bits of ranks all set. Arrays are contiguous.
"""

rank = cast(Callable[[Floats32, int, Floats32, Places], None], _rank if AVAILABLE else _not_here)
"""The same where one number of each point, in `x` (n,), goes right of what is less."""
