"""Whose frames a simulated motion's activations are, read from its files: OpenSim's or the fast solver's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool

from bige_opensim.guidance.objective import BoundObjective
from bige_opensim.labelling.deciding_frames import FLOOR, Known, audited_rows, rows_of, spans_text
from bige_opensim.validation.certificate import Simulated
from bige_opensim.validation.deciding_terms import decisions_of

ROUNDING = 1e-6
"""What files round of activations, and more."""


def shared_frames(simulated: Simulated) -> dict[str, Any] | None:
    """The record of which frames OpenSim solved; None where it solved every one."""
    found: dict[str, Any] | None = simulated.label.get("shared_frames")
    return found


def known_of(simulated: Simulated, bounds: np.ndarray) -> Known | None:
    """What the files say of OpenSim's activations in every frame; None where all frames are OpenSim's.

    `bounds` (M, 2) are those of the muscles' activations, in the order of the file.

    Raises
    ------
    ValueError, KeyError
        The record is damaged.

    """
    record = shared_frames(simulated)
    if record is None:
        return None
    active = simulated.activations.values
    nothing = np.zeros((len(active), 0))
    by_opensim = by_opensim_of(record, len(active))
    return Known(active, nothing, np.zeros(len(active)), bounds, active, nothing, by_opensim, float(record["margin"]))


def by_opensim_of(record: dict[str, Any] | None, frames: int) -> Bool[np.ndarray, " frame"]:
    """Frames that are OpenSim's; errors as `known_of`."""
    if record is None:
        return np.ones(frames, dtype=bool)
    by_opensim = np.zeros(frames, dtype=bool)
    rows = rows_of(record["opensim"])
    if len(rows) and rows[-1] >= frames:
        raise ValueError(f"frame {rows[-1]} of {frames} is said to be OpenSim's")
    by_opensim[rows] = True
    return by_opensim


def uncertainties(bound: BoundObjective, simulated: Simulated, bounds: np.ndarray) -> dict[str, float]:
    """What the value of each term may differ by from that of OpenSim's solution of every frame, in its unit."""
    known = known_of(simulated, bounds)
    if known is None:
        return {}
    return {d.bound.name: d.uncertainty(known) for d in decisions_of(bound, simulated.q)}


def sentence(record: dict[str, Any]) -> str:
    """Whose frames they are, for people."""
    audit = record["audit"]
    if record["every_frame_because"]:
        return f"OpenSim solved every frame, because {record['every_frame_because']}."
    return (
        f"OpenSim solved {record['frames']} of {record['of_frames']} frames; the fast solver, taken to be within "
        f"{record['margin']:.3f} of it, solved those that decide nothing. Where both solved they differ by "
        f"{record['largest_difference']:.3f} at most, by {audit['max']:.3f} in frames drawn at random."
    )


def undecided(bound: BoundObjective, simulated: Simulated, bounds: np.ndarray, sha256: str) -> Iterator[str]:
    """What is wrong with the record of whose frames they are: drawn by hand, or too few to decide the terms."""
    record = shared_frames(simulated)
    if record is None:
        return
    known = known_of(simulated, bounds)
    assert known is not None
    drawn = audited_rows(len(known.by_opensim), sha256)
    if record["audit"]["opensim"] != spans_text(drawn) or not known.by_opensim[drawn].all():
        yield "label.json has other audited frames than the motion's hash draws."
    if record["frames"] != int(known.by_opensim.sum()) or record["of_frames"] != len(known.by_opensim):
        yield "label.json miscounts the frames that OpenSim solved."
    if not known.margin >= max(FLOOR, record["largest_difference"], record["audit"]["max"]):
        yield f"label.json has a margin of {known.margin:.3g}, less than what it says that the solvers differ by."
    less = replace(known, margin=known.margin - ROUNDING)
    names = [d.bound.name for d in decisions_of(bound, simulated.q) if len(d(less))]
    if names:
        yield f"OpenSim has not solved all frames that decide {', '.join(names)}."
