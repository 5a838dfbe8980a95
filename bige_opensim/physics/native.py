"""The compiled physics, where the package was built with a compiler: least effort with squared costs in C.

The method is `least_effort.c`'s: the same Newton method as on torch batches, to the same multipliers, over the entries
that are not zero and some frames in step. What else is in C: muscle paths, `native_paths`, and what is asked of a
skeleton that moves, `native_skeleton`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from bige_opensim.physics.native_build import library_path

FEWEST_PER_THREAD = 500_000
"""Entries of A that are worth a thread, some 10 ms."""

COLD, GIVEN, NEXT = range(3)
"""How frames start: without boxes, from multipliers that are given, or where the frame before ended."""


class Block(NamedTuple):
    """Coordinates and unknowns that are solved together.

    Where A comes as a list of entries, those of the block by unknown: entries `first[j]` to `first[j + 1]` are those of
    unknown j, in the row of coordinate `row` of the block; `place` is where each is in the list.
    """

    coordinates: Int[np.ndarray, " coordinate"]
    unknowns: Int[np.ndarray, " unknown"]
    first: Int[np.ndarray, " after"] | None = None
    row: Int[np.ndarray, " entry"] | None = None
    place: Int[np.ndarray, " entry"] | None = None


class Library:
    """The compiled functions, each at the width of this processor's vectors."""

    def __init__(self, compiled: ctypes.CDLL) -> None:
        compiled.bige_level.restype = ctypes.c_char_p
        self._compiled, self.level = compiled, compiled.bige_level().decode()

    def __getitem__(self, name: str) -> Callable[..., int]:
        function: Callable[..., int] = self._compiled[name + self.level]
        return function


@cache
def library() -> Library | None:
    """The compiled code, None where it was not compiled from this source, or for another kind of machine."""
    try:
        return Library(ctypes.CDLL(str(library_path())))
    except OSError:
        return None


class Fixed(NamedTuple):
    """What frames share: weights and bounds of the unknowns, compliances of the reserves; contiguous doubles."""

    weight: Float[np.ndarray, " unknown"]
    lower: Float[np.ndarray, " unknown"]
    upper: Float[np.ndarray, " unknown"]
    compliance: Float[np.ndarray, " coordinate"]


class Frames(NamedTuple):
    """Problems of N frames, and their answers, which `solve` writes: see `least_effort.solve` and `LeastEffort`.

    Doubles but for status and iterations, which are 32-bit integers; all contiguous. `enough` is the imbalance that is
    accepted. A may come as a list of entries, see `Block`.
    """

    A: Float[np.ndarray, "frame coordinate unknown"] | Float[np.ndarray, "frame entry"]
    b: Float[np.ndarray, "frame coordinate"]
    enough: Float[np.ndarray, " frame"]
    multiplier: Float[np.ndarray, "frame coordinate"]
    x: Float[np.ndarray, "frame unknown"]
    reserve: Float[np.ndarray, "frame coordinate"]
    imbalance: Float[np.ndarray, " frame"]
    status: Int[np.ndarray, " frame"]
    iterations: Int[np.ndarray, " frame"]


class Pullback(NamedTuple):
    """What `pull_back` is asked and writes, beside A, multipliers and status of frames as `Frames` has them.

    asked_x, asked_multiplier: gradients in the answer; of_arms, of_b: in A and b, 0 where there are no blocks.
    """

    A: Float[np.ndarray, "frame coordinate unknown"] | Float[np.ndarray, "frame entry"]
    multiplier: Float[np.ndarray, "frame coordinate"]
    asked_x: Float[np.ndarray, "frame unknown"]
    asked_multiplier: Float[np.ndarray, "frame coordinate"]
    status: Int[np.ndarray, " frame"]
    of_arms: Float[np.ndarray, "frame coordinate unknown"] | Float[np.ndarray, "frame entry"]
    of_b: Float[np.ndarray, "frame coordinate"]


def solve(frames: Frames, blocks: Sequence[Block], fixed: Fixed, *, start: int, most: int) -> None:
    """Solve every block of every frame but those whose status says that they are not finite.

    Parameters
    ----------
    frames, blocks, fixed
        The problems; what no block has stays as it is.
    start
        `COLD`, `GIVEN` or `NEXT`.
    most
        Largest number of iterations.

    """

    def call(compiled: Library, block: _Block, rows: slice) -> int:
        A, b, enough, *answer = (_pointer(x[rows]) for x in frames)
        count = len(frames.b[rows])
        return compiled["bige_least_effort"](count, ctypes.byref(block), A, b, enough, start, most, *answer)

    _over(frames.A, frames.b.shape[1], frames.x.shape[1], blocks, fixed, call)


def pull_back(given: Pullback, blocks: Sequence[Block], fixed: Fixed) -> None:
    """Gradients in A and b of a function of the answer, by the implicit function theorem on the active set."""

    def call(compiled: Library, block: _Block, rows: slice) -> int:
        arrays = (_pointer(x[rows]) for x in given)
        return compiled["bige_least_effort_pullback"](len(given.A[rows]), ctypes.byref(block), *arrays)

    _over(given.A, given.of_b.shape[1], given.asked_x.shape[1], blocks, fixed, call)


class _Block(ctypes.Structure):
    """The structure of the same name in C."""

    _fields_ = (
        *((f"all_{name}", ctypes.c_int) for name in ("coordinates", "unknowns", "entries")),
        *((name, ctypes.c_int) for name in ("coordinates", "unknowns")),
        *((name, ctypes.c_void_p) for name in ("rows", "columns", "first", "row", "place", *Fixed._fields)),
    )


def _over(
    A: np.ndarray,
    coordinates: int,
    unknowns: int,
    blocks: Sequence[Block],
    fixed: Fixed,
    call: Callable[[Library, _Block, slice], int],
) -> None:
    """Call C for every block, on as many threads as there is work for; C lets other threads of Python run."""
    compiled = library()
    assert compiled is not None, "the caller asks `library` first"
    kept = [[None if x is None else np.ascontiguousarray(x, dtype=np.int32) for x in block] for block in blocks]
    sizes = coordinates, unknowns, A.shape[-1]
    shared = [_pointer(x) for x in fixed]
    structures = [
        _Block(*sizes, len(block.coordinates), len(block.unknowns), *map(_pointer, places), *shared)
        for block, places in zip(blocks, kept, strict=True)
    ]

    def call_rows(rows: slice) -> None:
        for block in structures:
            if call(compiled, block, rows) != 0:
                raise MemoryError(f"no memory for a least-effort problem of {block.coordinates} by {block.unknowns}")

    in_parts(len(A), A.size // FEWEST_PER_THREAD, call_rows)


def in_parts(count: int, worth: int, call: Callable[[slice], None]) -> None:
    """Call for all of `count` frames, on as many threads as torch has and the work is worth."""
    threads = max(1, min(torch.get_num_threads(), worth))
    parts = [slice(int(a), int(z)) for a, z in pairwise(np.linspace(0, count, threads + 1).astype(int))]
    if threads == 1:
        call(parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(call, parts))


class Curves(ctypes.Structure):
    """The structure of the same name in C: rows of nodes on even grids."""

    _fields_ = ("count", ctypes.c_int), *((name, ctypes.c_void_p) for name in ("low", "step", "nodes"))


class Tables:
    """Arrays that a structure of C points to, and the functions that take that structure first."""

    def __init__(self) -> None:
        self._kept: list[np.ndarray] = []

    def _integers(self, values: Any) -> ctypes.c_void_p:
        return self._keep(np.ascontiguousarray(values, dtype=np.int32))

    def _doubles(self, values: Any) -> ctypes.c_void_p:
        return self._keep(np.ascontiguousarray(values, dtype=float))

    def _curves(self, low: np.ndarray, step: np.ndarray, nodes: Float[np.ndarray, "curve node 2"]) -> Curves:
        return Curves(nodes.shape[1], *map(self._doubles, (low, step, nodes)))

    def _keep(self, array: np.ndarray) -> ctypes.c_void_p:
        self._kept.append(array)
        return _pointer(array)

    @staticmethod
    def _over(name: str, structure: ctypes.Structure, arrays: Sequence[np.ndarray], fewest_per_thread: int) -> None:
        """Call function `name` for all frames of contiguous arrays, on as many threads as there is work for."""
        compiled = library()
        assert compiled is not None, "the caller asks `library` first"
        function = compiled[name]

        def part(rows: slice) -> None:
            pointers = [_pointer(x[rows]) for x in arrays]
            if function(rows.stop - rows.start, ctypes.byref(structure), *pointers) != 0:
                raise MemoryError(f"no memory for {name}")

        frames = len(arrays[0])
        in_parts(frames, frames // fewest_per_thread, part)


def _pointer(array: np.ndarray | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if array is None else array.ctypes.data)
