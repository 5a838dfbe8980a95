"""Least effort with squared costs in C, where the package was built with a compiler; the method is `least_effort.c`'s.

It takes a sixth of the processor time of the same Newton method on torch batches, and gives the same multipliers.
"""

from __future__ import annotations

import ctypes
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from bige_opensim.physics.native_build import library_path

FEWEST_PER_THREAD = 500_000
"""Entries of A that are worth a thread, some 10 ms."""


@cache
def library() -> ctypes.CDLL | None:
    """The compiled code, None where it was not compiled from this source."""
    path = library_path()
    return ctypes.CDLL(str(path)) if path.is_file() else None


def newton(
    A: Tensor,
    b: Tensor,
    box: tuple[Tensor, Tensor, Tensor],
    compliance: Tensor,
    enough: Tensor,
    multiplier: Tensor | None,
    status: Tensor,
    most: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Multipliers (N, C), status (N,) and iterations (N,) of problems in double precision on the processor.

    Parameters
    ----------
    A, b
        (N, C, n) and (N, C), as `least_effort.solve` has them.
    box
        Weights, lower and upper bounds of the unknowns, (n,) each.
    compliance, enough
        Of the reserves (C,), and the imbalance that is accepted (N,).
    multiplier
        Where to start; None for the multipliers of the problem without boxes.
    status
        `NOT_FINITE` for frames to leave alone.
    most
        Largest number of iterations.

    """
    N, C, n = A.shape
    flat = [np.ascontiguousarray(x.numpy()) for x in (A, b, *(x.expand(n) for x in box), compliance, enough)]
    lam = np.zeros((N, C)) if multiplier is None else multiplier.numpy().copy()
    state, spent = status.numpy().astype(np.int32), np.zeros(N, dtype=np.int32)
    compiled = library()
    assert compiled is not None, "the caller asks `library` first"

    def solve(rows: slice) -> None:
        per_frame = [flat[0][rows], flat[1][rows]], [flat[6][rows]], [lam[rows], state[rows], spent[rows]]
        before, limit, after = ([_pointer(x) for x in part] for part in per_frame)
        shared = [_pointer(x) for x in flat[2:6]]
        frames = len(lam[rows])
        started = int(multiplier is not None)
        if compiled.bige_least_effort(frames, C, n, *before, *shared, *limit, started, most, *after) != 0:
            raise MemoryError(f"no memory for a least-effort problem of {C} coordinates and {n} unknowns")

    threads = max(1, min(torch.get_num_threads(), A.numel() // FEWEST_PER_THREAD))
    ends = np.linspace(0, N, threads + 1).astype(int)
    parts = [slice(int(a), int(z)) for a, z in pairwise(ends)]
    if threads == 1:
        solve(parts[0])
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(solve, parts))
    return torch.from_numpy(lam), torch.from_numpy(state.astype(np.int64)), torch.from_numpy(spent.astype(np.int64))


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
