"""Least effort with squared costs in C, where the package was built with a compiler; the method is `least_effort.c`'s.

It takes a sixth of the processor time of the same Newton method on torch batches, and gives the same multipliers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int

from bige_opensim.physics.native_build import library_path

FEWEST_PER_THREAD = 500_000
"""Entries of A that are worth a thread, some 10 ms."""

Block = tuple[Int[np.ndarray, "_"], Int[np.ndarray, "_"]]
"""Coordinates and unknowns that are solved together."""


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code, None where it was not compiled from this source."""
    path = library_path()
    return ctypes.CDLL(str(path)) if path.is_file() else None


class Fixed(NamedTuple):
    """What frames share: weights and bounds of the unknowns, compliances of the reserves; contiguous doubles."""

    weight: Float[np.ndarray, " unknown"]
    lower: Float[np.ndarray, " unknown"]
    upper: Float[np.ndarray, " unknown"]
    compliance: Float[np.ndarray, " coordinate"]


class Frames(NamedTuple):
    """Problems of N frames, and their answers, which `solve` writes: see `least_effort.solve` and `LeastEffort`.

    Doubles but for status and iterations, which are 32-bit integers; all contiguous. `enough` is the imbalance that is
    accepted.
    """

    A: Float[np.ndarray, "frame coordinate unknown"]
    b: Float[np.ndarray, "frame coordinate"]
    enough: Float[np.ndarray, " frame"]
    multiplier: Float[np.ndarray, "frame coordinate"]
    x: Float[np.ndarray, "frame unknown"]
    reserve: Float[np.ndarray, "frame coordinate"]
    imbalance: Float[np.ndarray, " frame"]
    status: Int[np.ndarray, " frame"]
    iterations: Int[np.ndarray, " frame"]


def solve(frames: Frames, blocks: Sequence[Block], fixed: Fixed, *, started: bool, most: int) -> None:
    """Solve every block of every frame but those whose status says that they are not finite.

    Parameters
    ----------
    frames, blocks, fixed
        The problems; what no block has stays as it is.
    started
        Whether multipliers are where to start; else that is the solution without boxes.
    most
        Largest number of iterations.

    """
    compiled = library()
    assert compiled is not None, "the caller asks `library` first"
    shared = [_pointer(x) for x in fixed]
    places = [tuple(np.ascontiguousarray(x, dtype=np.int32) for x in block) for block in blocks]
    count, *shape = frames.A.shape

    def solve_rows(rows: slice) -> None:
        part = Frames(*(x[rows] for x in frames))
        A, b, enough, *answer = (_pointer(x) for x in part)
        for own, columns in places:
            block = len(own), _pointer(own), len(columns), _pointer(columns)
            given = len(part.b), *shape, *block, A, b, *shared, enough, int(started), most
            if compiled.bige_least_effort(*given, *answer) != 0:
                raise MemoryError(f"no memory for a least-effort problem of {len(own)} by {len(columns)}")

    threads = max(1, min(torch.get_num_threads(), frames.A.size // FEWEST_PER_THREAD))
    parts = [slice(int(a), int(z)) for a, z in pairwise(np.linspace(0, count, threads + 1).astype(int))]
    if threads == 1:
        solve_rows(parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(solve_rows, parts))


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
