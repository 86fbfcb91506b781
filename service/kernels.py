"""The compiler for functions that walk points in order; knows numba and where compiled code is kept.

Kernels must give the same bits for any split of a stream into batches, so fast-math (which lets the
compiler reorder sums) stays off, and a division by zero gives inf or NaN as in numpy.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from service.cache import cache_dir
from service.imports import leave_out

F = TypeVar("F", bound=Callable[..., object])
A = TypeVar("A")
Text = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.float32]
Words = npt.NDArray[np.uint16]


_IMPORT = re.compile(r"^\s*from (service[\w.]*) import (\([^)]*\)|.*)", re.MULTILINE)
_PACKAGES = Path(__file__).parents[1]


@functools.cache
def _source(path: Path) -> tuple[bytes, frozenset[Path]]:
    """A digest of one module, and the modules of ours that it imports."""
    text = path.read_text(encoding="utf-8")
    names = [
        name
        for package, members in _IMPORT.findall(text)
        for name in (package, *(f"{package}.{member}" for member in re.findall(r"\w+", members)))
    ]
    places = [_PACKAGES.joinpath(*name.split(".")) for name in names]
    files = [file for place in places for file in (place.with_suffix(".py"), place / "__init__.py")]
    return hashlib.sha256(text.encode()).digest(), frozenset(filter(Path.is_file, files))


def leans_on(path: Path) -> set[Path]:
    """A module's own file, and those of all modules of ours that it imports, directly or not."""
    found: set[Path] = set()
    unread = {path}
    while unread:
        found.add(at := unread.pop())
        unread |= _source(at)[1] - found
    return found


@functools.cache
def version_of(path: Path) -> str:
    """A name for the exact source of a module of kernels and of every module that it leans on.

    numba notices a change in a kernel's own file but not in a kernel that it calls from another file; a
    folder for each version makes a stale mixture impossible, and leaves what did not change compiled.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for each in sorted(leans_on(path)):
        digest.update(_source(each)[0])
    return digest.hexdigest()[:16]


# numba would take C functions that CFFI describes, and looks for BLAS, for matrix products; no kernel has
# either, and both took a tenth of a start.
leave_out("cffi", while_importing="numba.core.typing.cffi_utils")
leave_out("scipy.linalg.cython_blas", while_importing="numba.np.arraymath")

_ELSEWHERE = "NUMBA_CACHE_DIR" in os.environ


def kernel(function: F) -> F:
    """Compile `function` at its first call; the machine code is kept on disk for the next process.

    A kernel releases the interpreter lock, so alert workers and the HTTP server go on meanwhile.
    """
    return _compiled(function, inlined=False)


def inlined(function: F) -> F:
    """A kernel that becomes part of those that call it: a call hands over seven words for each array.

    For what runs for every point: to read took a third less, calibration and features a fifth to a third.
    """
    return _compiled(function, inlined=True)


def _compiled(function: F, inlined: bool) -> F:
    if not _ELSEWHERE:
        version = version_of(Path(function.__code__.co_filename))
        numba.config.CACHE_DIR = str(cache_dir() / "kernels" / version)  # type: ignore[attr-defined]
    compiler = numba.njit(cache=True, error_model="numpy", nogil=True, forceinline=inlined)
    return cast(F, compiler(function))


class _Borrow(Protocol):
    def __call__(self, lent: A, /) -> A: ...


@intrinsic
def _borrowed(typing_context: Any, lent: Any) -> Any:  # noqa: ARG001 - numba's signature

    null: Any = cgutils.get_null_value
    unpacked: Any = cgutils.unpack_tuple
    tuples: Any = types.BaseTuple

    def without_owner(context: Any, builder: Any, kind: Any, value: Any) -> Any:
        if isinstance(kind, types.Array):
            view = context.make_array(kind)(context, builder, value=value)
            view.meminfo = null(view.meminfo.type)
            view.parent = null(view.parent.type)
            return view._getvalue()  # noqa: SLF001
        if isinstance(kind, tuples):
            members = zip(kind.types, unpacked(builder, value), strict=True)
            bare = [without_owner(context, builder, of, member) for of, member in members]
            return context.make_tuple(builder, kind, bare)
        return value

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return without_owner(context, builder, signature.args[0], arguments[0])

    return lent(lent), build


borrowed = cast(_Borrow, _borrowed)
"""In a kernel: an array that it was given, or a tuple of such, without owners, to be handed on to others.

With an owner each call from kernel to kernel counts a reference up and down, atomically; without, kernels
that look at bytes took half the time. Never of an array that the kernel itself makes.
"""


_CACHE_LINE = 64


@intrinsic
def _prefetch_line(_: Any, table: Any, byte: Any) -> Any:  # noqa: ARG001 - its type is fixed below
    """LLVM's prefetch of the cache line at so many bytes from the table's first."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address, flag, flag, flag])
        fetch = builder.module.declare_intrinsic("llvm.prefetch", [address], kind)
        line = builder.gep(builder.bitcast(array.data, address), [arguments[1]])
        read, keep_near, data = flag(0), flag(3), flag(1)
        builder.call(fetch, [line, read, keep_near, data])
        return context.get_dummy_value()

    return types.void(table, types.intp), emit


@inlined
def prefetch(table: npt.NDArray[Any], row: int) -> None:
    """Ask for a row of a table that will be worked on soon; changes nothing but time.

    With more state than the caches hold, waiting for a row costs more than all arithmetic on it.
    """
    width = table.strides[0]
    for byte in range(row * width, (row + 1) * width, _CACHE_LINE):
        _prefetch_line(table, byte)  # type: ignore[call-arg]  # numba passes the first


@intrinsic
def _copy_bytes(_: Any, out: Any, at: Any, text: Any, start: Any, count: Any) -> Any:  # noqa: ARG001 - fixed below
    """LLVM's memcpy between two arrays of bytes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = context.make_array(signature.args[0])(context, builder, arguments[0])
        source = context.make_array(signature.args[2])(context, builder, arguments[2])
        copy: Any = cgutils.raw_memcpy
        to, of = builder.gep(target.data, [arguments[1]]), builder.gep(source.data, [arguments[3]])
        copy(builder, to, of, arguments[4], 1)
        return context.get_dummy_value()

    return types.void(out, types.intp, text, types.intp, types.intp), emit


copy_bytes = cast(Callable[..., None], _copy_bytes)


@intrinsic
def _copy_numbers(_: Any, out: Any, at: Any, numbers: Any, start: Any, count: Any) -> Any:  # noqa: ARG001 - fixed below
    """LLVM's memcpy between two arrays of floats."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = context.make_array(signature.args[0])(context, builder, arguments[0])
        source = context.make_array(signature.args[2])(context, builder, arguments[2])
        copy: Any = cgutils.raw_memcpy
        to, of = builder.gep(target.data, [arguments[1]]), builder.gep(source.data, [arguments[3]])
        copy(builder, to, of, arguments[4], 4)
        return context.get_dummy_value()

    return types.void(out, types.intp, numbers, types.intp, types.intp), emit


copy_numbers = cast(Callable[[Numbers, int, Numbers, int, int], None], _copy_numbers)
"""In a kernel: copy so many numbers of an array to a place in another; they must not overlap."""


@intrinsic
def _move_bytes(_: Any, array: Any, to: Any, start: Any, count: Any) -> Any:  # noqa: ARG001 - fixed below
    """LLVM's memmove within an array of bytes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        own = context.make_array(signature.args[0])(context, builder, arguments[0])
        move: Any = cgutils.raw_memmove
        target, source = (builder.gep(own.data, [place]) for place in arguments[1:3])
        move(builder, target, source, arguments[3], 1)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.intp, types.intp), emit


move_bytes = cast(Callable[[Text, int, int, int], None], _move_bytes)
"""In a kernel: move so many neighbours within an array, also over themselves."""


@intrinsic
def _call_foreign(_: Any, function: Any, first: Any, second: Any, third: Any) -> Any:  # noqa: ARG001 - fixed below
    """A call of the C function at an address, of three words that gives one."""

    def emit(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(word, [word, word, word])
        return builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])

    word = types.int64
    return word(word, word, word, word), emit


call_foreign = cast(Callable[[int, int, int, int], int], _call_foreign)


@intrinsic
def _word_at(_: Any, address: Any) -> Any:  # noqa: ARG001 - its type is fixed below
    """The 64-bit word at an address."""

    def emit(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.load(builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()), align=8)

    return types.int64(types.int64), emit


word_at = cast(Callable[[int], int], _word_at)


@intrinsic
def _copy_from(_: Any, out: Any, at: Any, address: Any, count: Any) -> Any:  # noqa: ARG001 - fixed below
    """LLVM's memcpy from an address into an array of bytes."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = context.make_array(signature.args[0])(context, builder, arguments[0])
        copy: Any = cgutils.raw_memcpy
        to = builder.gep(target.data, [arguments[1]])
        copy(builder, to, builder.inttoptr(arguments[2], to.type), arguments[3], 1)
        return context.get_dummy_value()

    return types.void(out, types.intp, types.int64, types.intp), emit


copy_from = cast(Callable[..., None], _copy_from)


@intrinsic
def _put_word(_: Any, out: Any, at: Any, word: Any) -> Any:  # noqa: ARG001 - fixed below
    """Eight bytes of an array from a word, its lowest first."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        target = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(target.data, [arguments[1]])
        builder.store(arguments[2], builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)
        return context.get_dummy_value()

    return types.void(out, types.intp, types.uint64), emit


put_word = cast(Callable[[Text, int, np.uint64], None], _put_word)


@intrinsic
def _word_of(_: Any, text: Any, at: Any) -> Any:  # noqa: ARG001 - fixed below
    """Eight bytes of an array as a word, the first lowest."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source = context.make_array(signature.args[0])(context, builder, arguments[0])
        place = builder.gep(source.data, [arguments[1]])
        return builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()), align=1)

    return types.uint64(text, types.intp), emit


word_of = cast(Callable[[Text, int], np.uint64], _word_of)


@intrinsic
def _low_zeros(_: Any, word: Any) -> Any:  # noqa: ARG001 - its type is fixed below
    """How many bits below the lowest that is set are not; 64 for none."""

    def emit(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.IntType(1)(0))

    return types.int64(types.uint64), emit


low_zeros = cast(Callable[[np.uint64], int], _low_zeros)


@intrinsic
def _fused(_: Any, factor: Any, other: Any, added: Any) -> Any:  # noqa: ARG001 - its type is fixed below
    """LLVM's fused multiply-add of 32-bit floats."""

    def emit(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        single = ir.FloatType()
        kind = ir.FunctionType(single, [single, single, single])
        return builder.call(builder.module.declare_intrinsic("llvm.fma", [single], kind), arguments)

    single = types.float32
    return single(single, single, single), emit


fused = cast(Callable[[np.float32, np.float32, np.float32], np.float32], _fused)
"""In a kernel: the product of two numbers and a third, rounded once: the same bits on any processor."""


@intrinsic
def _bits_of(_: Any, number: Any) -> Any:  # noqa: ARG001 - its type is fixed below
    """The bits of a double."""

    def emit(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), emit


bits_of = cast(Callable[[float], int], _bits_of)


@intrinsic(prefer_literal=True)
def _sum_masked(_: Any, numbers: Any, masks: Any, at: Any, count: Any) -> Any:  # noqa: ARG001 - fixed below
    """LLVM's sum of a vector of numbers of 16 bits."""
    words = ir.VectorType(ir.IntType(16), count.literal_value)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def load(array: Any, start: Any) -> Any:
            own = context.make_array(signature.args[array])(context, builder, arguments[array])
            place = builder.bitcast(builder.gep(own.data, [start]), words.as_pointer())
            return builder.load(place, align=2)

        function: Any = cgutils.get_or_insert_function
        kind, name = ir.FunctionType(words.element, [words]), f"llvm.vector.reduce.add.v{words.count}i16"
        left = builder.and_(load(0, ir.IntType(64)(0)), load(1, arguments[2]))
        return builder.call(function(builder.module, kind, name), [left])

    return types.uint16(numbers, masks, types.intp, count), emit


sum_masked = cast(Callable[[Words, Words, int, int], np.uint16], _sum_masked)
"""In a kernel: the sum, in 16 bits, of numbers, of each what the mask of its place lets by.

`sum_masked(numbers, masks, at, count)` takes the masks from a place on; `count` must be a constant. A loop
that says as much is unrolled before it can be vectorised, and takes three times as long.
"""

SHORT = 32
"""Bytes that one instruction copies."""


@inlined
def put(out: Text, at: int, text: Text, start: int, stop: int) -> int:
    """Copy `text[start:stop]` to `out` from `at` on; the place after it. The arrays must not overlap.

    What lies in `out` behind that place is lost: to copy as much as an instruction can took half the time for
    texts of a dozen, and a loop over the bytes three times as long.
    """
    if stop - start <= SHORT and start + SHORT <= len(text) and at + SHORT <= len(out):
        copy_bytes(out, at, text, start, SHORT)
    else:
        copy_bytes(out, at, text, start, stop - start)
    return at + stop - start
