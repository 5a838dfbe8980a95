"""Ground forces, joint moments and muscle activations of one motion, in memory."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

from bige_opensim.io.storage import read_coordinates
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_trial import label_in_memory
from bige_opensim.labelling.request import UNITS, LabelSettings, TrialRequest, person_of
from bige_opensim.motion import Motion
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.model import load
from bige_opensim.physics.carried_loads import Loads, loads_of
from bige_opensim.physics.effort_cost import EffortCost, Weights, weight_pairs
from bige_opensim.settings import SettingError, one_of

IN_MEMORY = Path("motion")
"""What stands for the file of a motion in memory."""


@quiet_opensim()
def read_motion(path: Path | str, *, model: Path | str, units: str | None = None) -> Motion:
    """Read the coordinates of a `.mot` or `.sto` file.

    What is odd about the file, and does not prevent reading, is a warning.

    Parameters
    ----------
    path
        The file.
    model
        The model that it belongs to: it says which columns are coordinates, and which of them are angles.
    units
        "degrees" or "radians", for a file whose header contradicts its numbers.

    Returns
    -------
    Motion
        In rad and m.

    Raises
    ------
    StorageError
        The file cannot be read, or its header contradicts its numbers.
    ModelError
        The model cannot be read.
    SettingError
        `units` is neither.

    """
    if units is not None:
        one_of("units", units, UNITS)
    about = load(Path(model))
    known = [c.name for c in about.coordinates]
    found = read_coordinates(Path(path), rotational=about.rotational, known=known, units=units)  # type: ignore[arg-type]
    for note in found.notes:
        warnings.warn(note, stacklevel=3)
    return found.motion


@quiet_opensim()
def label(
    motion: Motion | Path | str,
    *,
    model: Path | str,
    forces: Path | str | None = None,
    external_loads: Path | str | None = None,
    solver: str = "opensim",
    geometry: str = "polynomial",
    audit: float = 0.002,
    grf: str | None = None,
    cutoff_hz: float | Literal["auto"] = 6.0,
    start: float | None = None,
    end: float | None = None,
    units: str | None = None,
    allow_missing: bool = False,
    exponent: float = 2.0,
    weights: Weights = (),
    volume_weighted: bool = False,
    passive: bool = False,
    residual_reduction: bool = True,
    chair: str | float | None = None,
    hands: str | None = None,
    calves: bool = False,
    device: str = "cpu",
    load: Loads = None,
    uncertainty: int = 0,
) -> Label:
    """Find the ground forces, joint moments and muscle activations of one motion.

    Parameters
    ----------
    motion
        A motion in rad and m, or its `.mot` or `.sto` file.
    model
        The person's model (.osim).
    forces
        Force-plate file (.mot, .sto); which foot stands on which plate is found.
    external_loads
        OpenSim's ExternalLoads file with measured ground forces, instead of `forces`.
    solver
        "opensim", its StaticOptimization, or "fast", the batched solver of the same problem.
    geometry
        Muscle paths of the fast solver: "polynomial", fitted over the motion's range and cached, or "exact".
    audit
        Share of frames that OpenSim solves again to check the fast solver, at least 20 frames; 0 for none.
    grf
        "estimated", "measured", "auto" or "none"; by default measured where `forces` are given, else estimated.
    cutoff_hz
        Low-pass cut-off of coordinates and measured forces, 0 for none; "auto" for the one that residual analysis
        finds, which `label.record["cutoff"]` tells.
    start, end
        Part of the motion to label, s.
    units
        "degrees" or "radians", for a file whose header contradicts its numbers.
    allow_missing
        Coordinates that the motion lacks keep the model's default, even if much of the body hangs on them.
    exponent
        Exponent of activations and reserves in the cost, above 1.
    weights
        Weights of muscles in the cost, by name, pattern or group of the model, such as {"vas*_r": 2}.
    volume_weighted
        Weight muscles by their volume, so that splitting one into parts changes nothing.
    passive
        Let passive fibre forces act, which OpenSim's static optimization leaves out. Of these four choices OpenSim's
        solver has the exponent only.
    residual_reduction
        Correct the soles of the feet first, where the person stands for half a second, and the trunk's mass centre and
        the segments' masses, where there are ten seconds of movement; `label.record["residual_reduction"]` says by how
        much, and `label.adjusted_model` is the model.
    chair
        "auto", or the height of a seat above the ground, m: what carries pelvis and thighs where somebody sits.
    hands
        "rail" or "knees": what hands rest on, where they carry.
    calves
        Thighs rest on calves at the bottom of a deep squat, from some 130 degrees of knee flexion.
    device
        Where the fast solver solves the frames, as torch names it: "cpu", "cuda".
    load
        What the person carries: "60kg@torso" is a bar on the back, "20kg@hands", "10kg@hand_r"; one or several.
        `label.loaded_model` is the model with it.
    uncertainty
        Draws of body and motion, at least 20, from which the 5 to 95 % bands of `label.bands` are found; 0 for none.

    Returns
    -------
    Label
        Whatever the quality gates say: ask `passed` and `reason`. Nothing is written until `save`.

    Raises
    ------
    SettingError, EffortCostError, CarriedLoadError
        A setting that is none of its values, or settings that contradict each other.
    StorageError, MotionError, ModelError, ForcePlateError, ExternalLoadsError, StaticOptimizationError
        The motion, the model or the forces cannot be used; the sentence says what to do.

    Notes
    -----
    Everything happens in this process. OpenSim's tools leak some 54 MB a run and a crash of OpenSim takes the process
    with it: for many trials use `label_sessions`, whose workers are processes of their own.

    """
    settings = LabelSettings(
        solver=solver,
        geometry=geometry,
        audit=audit,
        grf=chosen_forces(grf, forces=forces is not None, external_loads=external_loads is not None),
        cutoff_hz=cutoff_hz,
        start=start,
        end=end,
        units=units,
        allow_missing=allow_missing,
        cost=EffortCost(exponent, weight_pairs(weights), volume_weighted, passive),
        residual_reduction=residual_reduction,
        chair=None if chair is None else str(chair),
        hands=hands,
        calves=calves,
        device=device,
        load=loads_of(load),
        uncertainty=uncertainty,
    )
    recorded = motion if isinstance(motion, Motion) else None
    path = IN_MEMORY if isinstance(motion, Motion) else Path(motion)
    return label_in_memory(single_request(Path(model), path, IN_MEMORY, forces, external_loads, recorded), settings)


def single_request(
    model: Path,
    motion: Path,
    out: Path,
    forces: Path | str | None = None,
    external_loads: Path | str | None = None,
    recorded: Motion | None = None,
) -> TrialRequest:
    """A single motion to label into `out`: its person and session are named after the model."""
    person = person_of(model)
    return TrialRequest(
        model,
        motion,
        out,
        out,
        session=person,
        subject=person,
        trial=motion.stem,
        external_loads=None if external_loads is None else Path(external_loads),
        forces=None if forces is None else Path(forces),
        recorded=recorded,
    )


def chosen_forces(grf: str | None, *, forces: bool, external_loads: bool) -> str:
    """Which ground forces to use, where the choice is left open: those of a plate file that is given, else estimates.

    Raises
    ------
    SettingError
        Two sources of measured forces, or a plate file that is not to be used.

    """
    if forces and external_loads:
        raise SettingError("external_loads and forces both give measured forces: name one.")
    if forces and grf in ("estimated", "none"):
        raise SettingError(f"forces and grf = {grf!r} contradict each other: drop one.")
    return grf or ("measured" if forces else "estimated")
