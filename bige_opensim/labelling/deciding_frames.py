"""Which frames of a motion OpenSim solves, where a verdict needs OpenSim's word but not on every frame.

OpenSim's static optimization takes a sixth of a second a frame, the fast solver with OpenSim's own muscle paths a
hundredth. Both solve the same problem with the same moments, moment arms and strengths. What they differ by has three
sources, and each is met by its own means:

1. The fast solver may be wrong in a frame. Its answer comes with multipliers, and weak duality bounds how far it is
   from the least effort, whatever the solver did (`physics.effort_gap`). Frames that are not proven to `PROVEN` are
   OpenSim's.
2. OpenSim ends at a tolerance, up to 0.008 from the least effort in single muscles (measured), in every frame alike.
3. The moments and strengths that both work from could differ from those that OpenSim makes for itself.

For the last two there is the margin m: the largest difference, over all muscles, between OpenSim's activations and the
fast solver's in all frames that both have solved, at least `FLOOR`. Among these are frames drawn at random, one of each
of equal parts of the motion, from the hash of its file, so that nobody chooses them. Had more than a share p of the
frames a larger difference than m, all n of the drawn ones would miss them with a probability of about (1 - p)^n only.
Where a difference exceeds `LARGEST`, or OpenSim's own answer does not balance the moments, the two solvers do not agree
as they are known to, and OpenSim solves every frame.

In a frame that OpenSim has not solved, its activation of a muscle lies between f - m - e and f + m + e, f being the
fast solver's and e the proven bound, and inside the muscle's own bounds. Whatever is to be decided is decided when it
is the same for all activations in these intervals (`validation.deciding_terms` for the terms of an objective; here for
the gates). While it is not, a criterion names frames that can decide it; OpenSim solves these, which narrows the
intervals to a point there and may widen the margin, and the criteria are asked again. This ends, at the latest when all
frames are OpenSim's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from bige_opensim.labelling.joint_loads import JointLoads
from bige_opensim.labelling.quality_gates import GATE_LIMITS, Labelled, shares_by_frame
from bige_opensim.motion import Motion
from bige_opensim.physics.contact import GroundForces
from bige_opensim.physics.skeleton import Skeleton

FLOOR = 0.01
"""Least margin of an activation; on 2,400 frames of generated squats the two solvers differed by 0.008 at most."""
LARGEST = 0.03
"""Difference of an activation from which on the two solvers are not taken for the same."""
PROVEN = 0.002
"""Proven bound of an activation up to which a frame of the fast solver is used."""
AUDITED_SHARE, FEWEST_AUDITED = 0.04, 4
GATE_FLOOR = 0.02
"""Least margin of a gate's value in a frame, in shares of the gate's limit."""

OpenSim = Callable[[Int[np.ndarray, " row"]], tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Rows to solve -> activations (row, M), reserves (row, C), and whether they balance the net moments (row,)."""


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of T frames: the fast solver's answer to all of them and OpenSim's to some.

    Attributes
    ----------
    fast, fast_reserves
        (T, M) activations and (T, C) reserves, N or N·m, of the fast solver.
    error
        (T,) proven bound of its activations.
    bounds
        (M, 2) what activations can be.
    activations, reserves
        OpenSim's in the frames that it solved, else the fast solver's.
    by_opensim
        (T,) which frames OpenSim solved.
    margin
        What activations may differ by in the others.

    """

    fast: Float[np.ndarray, "time muscle"]
    fast_reserves: Float[np.ndarray, "time coordinate"]
    error: Float[np.ndarray, " time"]
    bounds: Float[np.ndarray, "muscle 2"]
    activations: Float[np.ndarray, "time muscle"]
    reserves: Float[np.ndarray, "time coordinate"]
    by_opensim: Bool[np.ndarray, " time"]
    margin: float = FLOOR

    @classmethod
    def of_fast(cls, fast: np.ndarray, reserves: np.ndarray, error: np.ndarray, bounds: np.ndarray) -> Known:
        """Before OpenSim has solved a frame."""
        return cls(fast, reserves, error, bounds, fast, reserves, np.zeros(len(fast), dtype=bool))

    def with_opensim(self, rows: np.ndarray, activations: np.ndarray, reserves: np.ndarray) -> Known:
        """With more frames by OpenSim, and the margin that they call for."""
        found, left, by_opensim = self.activations.copy(), self.reserves.copy(), self.by_opensim.copy()
        found[rows], left[rows], by_opensim[rows] = activations, reserves, True
        known = replace(self, activations=found, reserves=left, by_opensim=by_opensim)
        return replace(known, margin=max(FLOOR, known.largest_difference))

    @cached_property
    def proven(self) -> Bool[np.ndarray, " time"]:
        """Frames in which the fast solver's answer is as good as it should be."""
        return self.error <= PROVEN

    @cached_property
    def differences(self) -> Float[np.ndarray, "time muscle"]:
        """Size of the difference of activations where OpenSim has solved a frame that is proven, else 0."""
        return np.where((self.by_opensim & self.proven)[:, None], np.abs(self.fast - self.activations), 0.0)

    @property
    def largest_difference(self) -> float:
        """Largest of them."""
        return float(self.differences.max())

    @cached_property
    def radius(self) -> Float[np.ndarray, " time"]:
        """What OpenSim's activations may differ by from `activations`: 0 where OpenSim solved."""
        return np.where(self.by_opensim, 0.0, self.margin + self.error)

    @cached_property
    def low(self) -> Float[np.ndarray, "time muscle"]:
        """Least activations by OpenSim, as far as is known."""
        return self._inside(self.activations - self.radius[:, None])

    @cached_property
    def high(self) -> Float[np.ndarray, "time muscle"]:
        """Largest activations by OpenSim, as far as is known."""
        return self._inside(self.activations + self.radius[:, None])

    def _inside(self, values: np.ndarray) -> np.ndarray:
        """Within the bounds of the muscles, where OpenSim has not found otherwise."""
        bounded = np.clip(values, self.bounds[:, 0], self.bounds[:, 1])
        return np.where(self.by_opensim[:, None], self.activations, bounded)


class Analysed(NamedTuple):
    """What was analysed: coordinates (rad, m) of T frames, net moments N·m and N, forces, height of the ground, m.

    `joint_loads` makes the contact forces of joints of activations (T, M), None where the model has no such joints.
    """

    skeleton: Skeleton
    q: Motion
    muscles: tuple[str, ...]
    net_moments: Float[np.ndarray, "time coordinate"]
    forces: GroundForces | None
    ground_m: float
    joint_loads: Callable[[np.ndarray], JointLoads | None]


Criterion = Callable[[Known], Int[np.ndarray, " row"]]
"""Rows that OpenSim has not solved and that can decide something; none when it is decided."""


@runtime_checkable
class Asked(Protocol):
    """What a verdict asks of a label, besides its gates; it goes to other processes."""

    def criteria(self, analysed: Analysed) -> Sequence[Criterion]:
        """One for each thing to decide."""
        ...


class Shared(NamedTuple):
    """Activations and reserves of all frames, which of them OpenSim solved, whether each is solved, and the record."""

    activations: Float[np.ndarray, "time muscle"]
    reserves: Float[np.ndarray, "time coordinate"]
    by_opensim: Bool[np.ndarray, " time"]
    solved: Bool[np.ndarray, " time"]
    record: dict[str, Any]


def share_frames(
    known: Known, opensim: OpenSim, criteria: Sequence[Criterion], sha256: str, muscles: Sequence[str]
) -> Shared:
    """Have OpenSim solve frames until all criteria are decided.

    Parameters
    ----------
    known
        The fast solver's answer.
    opensim
        Solves frames.
    criteria
        What is to be decided.
    sha256
        Hash of the motion's file, from which the audited frames are drawn.
    muscles
        Names, for the record.

    Returns
    -------
    Shared
        Its record says which frames are `opensim`'s, which of them were drawn for the audit, the `margin`, and the
        largest and the root mean square difference between the solvers in the audited and in all frames that both
        solved.

    """
    frames = len(known.fast)
    audited = audited_rows(frames, sha256)
    solved, why = np.ones(frames, dtype=bool), ""
    rows = np.union1d(audited, np.flatnonzero(~known.proven))
    while len(rows):
        activations, reserves, balanced = opensim(rows)
        known = known.with_opensim(rows, activations, reserves)
        solved[rows] = balanced
        if known.by_opensim.all():
            break
        why = why or _disagreement(known, solved, muscles)
        wanted = np.flatnonzero(~known.by_opensim) if why else union(criterion(known) for criterion in criteria)
        rows = wanted[~known.by_opensim[wanted]]
    return Shared(known.activations, known.reserves, known.by_opensim, solved, _record(known, audited, muscles, why))


def union(rows: Iterable[np.ndarray]) -> Int[np.ndarray, " row"]:
    """Rows of all, increasing."""
    return np.unique(np.concatenate([np.array([], dtype=np.int64), *rows])).astype(np.int64)


def audited_rows(frames: int, sha256: str) -> Int[np.ndarray, " row"]:
    """Rows drawn by the hash of a motion's file: one of each of as many parts as are audited, of equal length."""
    count = min(frames, max(FEWEST_AUDITED, round(AUDITED_SHARE * frames)))
    edges = np.linspace(0, frames, count + 1).astype(np.int64)
    return np.random.default_rng(int(sha256, 16)).integers(edges[:-1], edges[1:])


def _disagreement(known: Known, solved: np.ndarray, muscles: Sequence[str]) -> str:
    """Why OpenSim has to solve every frame; nothing where it need not."""
    if not solved.all():
        return f"OpenSim's muscles do not balance the moments in {int((~solved).sum())} frame(s)"
    if known.largest_difference > LARGEST:
        muscle = muscles[int(known.differences.max(0).argmax())]
        return f"the fast solver differs from OpenSim by {known.largest_difference:.3f} in {muscle}"
    return ""


def _record(known: Known, audited: np.ndarray, muscles: Sequence[str], why: str) -> dict[str, Any]:
    of_audit = known.differences[audited]
    return {
        "opensim": spans_text(np.flatnonzero(known.by_opensim)),
        "frames": int(known.by_opensim.sum()),
        "of_frames": len(known.by_opensim),
        "margin": known.margin,
        "audit": {
            "opensim": spans_text(audited),
            "max": float(of_audit.max()),
            "rmse": float(np.sqrt((of_audit**2).mean())),
            "muscle": muscles[int(of_audit.max(0).argmax())],
        },
        "largest_difference": known.largest_difference,
        "unproven": int((~known.proven).sum()),
        "every_frame_because": why,
    }


def spans_text(rows: Int[np.ndarray, " row"]) -> str:
    """Increasing rows in few words: '0-3 7 12-15'."""
    if not len(rows):
        return ""
    parts = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return " ".join(f"{p[0]}-{p[-1]}" if len(p) > 1 else f"{p[0]}" for p in parts)


def rows_of(text: str) -> Int[np.ndarray, " row"]:
    """Inverse of `spans_text`.

    Raises
    ------
    ValueError
        The text is none.

    """
    ends = [[int(end) for end in part.split("-")] for part in text.split()]
    return union(np.arange(e[0], e[-1] + 1) for e in ends)


@dataclass(frozen=True, eq=False)
class LargestInAnyFrame:
    """A gate on the largest value over frames: OpenSim solves the frame of it, and all that can break the limit.

    `labelled` holds everything but activations and reserves; `places` where in the reserves its columns are.
    """

    gate: str
    of: Callable[[np.ndarray, np.ndarray], Labelled]

    def __call__(self, known: Known) -> Int[np.ndarray, " row"]:
        """Frames that can decide it, most promising first alone."""
        limit = GATE_LIMITS[self.gate]
        value = shares_by_frame(self.of(known.activations, known.reserves))[self.gate]
        by_fast = shares_by_frame(self.of(known.fast, known.fast_reserves))[self.gate]
        margin = max(GATE_FLOOR * limit, float(np.abs(value - by_fast)[known.by_opensim].max(initial=0.0)))
        unsolved = ~known.by_opensim
        largest = int(value.argmax())
        if unsolved[largest]:
            return np.array([largest])
        if value[largest] > limit:
            return np.array([], dtype=np.int64)
        return np.flatnonzero(unsolved & (value + margin > limit))


@dataclass(frozen=True, eq=False)
class ShareOfFrames:
    """The gate on saturated muscles: a mean over frames, each between its values at least and largest activations."""

    of: Callable[[np.ndarray, np.ndarray], Labelled]

    def __call__(self, known: Known) -> Int[np.ndarray, " row"]:
        """The frame that is least certain, while the gate is open."""
        least, most = (shares_by_frame(self.of(a, known.reserves))["saturated"] for a in (known.low, known.high))
        if least.mean() > GATE_LIMITS["saturated"] or most.mean() <= GATE_LIMITS["saturated"]:
            return np.array([], dtype=np.int64)
        return np.array([int((most - least).argmax())])


def gate_criteria(of: Callable[[np.ndarray, np.ndarray], Labelled]) -> list[Criterion]:
    """Criteria of the gates on which frames decide; `of` makes what they look at of activations and reserves.

    The other gates come from the coordinates alone, and failed frames are those that OpenSim failed in: with one of
    them, it solves every frame.
    """
    largest = [LargestInAnyFrame(name, of) for name in ("residual_force", "residual_moment", "reserves")]
    return [*largest, ShareOfFrames(of)]
