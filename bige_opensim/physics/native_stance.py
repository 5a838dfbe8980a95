"""Loads of motions on two feet in C, see `stance_loads.c`: a sixth of the processor time of the same by torch."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from bige_opensim.physics.frames_last import Home
from bige_opensim.physics.native_skeleton import OfMotions, SkeletonInC
from bige_opensim.physics.skeleton import SkeletonTables


class Feet(NamedTuple):
    """Contact points of the right foot, then of the left, and the constants of `stance_loads`.

    bodies (P,) that carry them; place (P, 3) from the origins of those bodies' carriers, at home, m; radius (P,), m;
    ahead (P,): their weights in where a foot points, m; feet: bodies that take the ground force.
    """

    bodies: Sequence[int]
    place: Float[np.ndarray, "point 3"]
    radius: Float[np.ndarray, " point"]
    ahead: Float[np.ndarray, " point"]
    feet: Sequence[int]
    weight_n: float
    least_weight: float
    least_apart_m2: float
    least_foot_m2: float


class _Stance(ctypes.Structure):
    """`Stance` in C."""

    _fields_ = (
        ("skeleton", SkeletonInC),
        ("channels", ctypes.c_int),
        *((n, ctypes.c_void_p) for n in ("column", "foot", "radius", "ahead")),
        *((n, ctypes.c_double) for n in ("weight", "least_weight", "least_apart", "least_foot")),
    )


class NativeStance(OfMotions):
    """(q, q', q'') -> (loads,) as `StanceLoads` has them: of the coordinates `columns`, and so many told beside."""

    name = "bige_stance_loads"

    def __init__(self, tables: SkeletonTables, home: Home, feet: Feet, columns: Sequence[int], told: int) -> None:
        super().__init__()
        self.sizes = (len(columns) + told,)
        self.structure = _Stance(
            self._skeleton(tables, home, feet.bodies, feet.place),
            len(columns),
            *map(self._integers, (columns, tables.body_primitive[list(feet.feet)])),
            *map(self._doubles, (feet.radius, feet.ahead)),
            *(feet.weight_n, feet.least_weight, feet.least_apart_m2, feet.least_foot_m2),
        )
