"""Label one trial: from coordinates to ground forces, joint moments and activations, written as one folder."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.doctor.preflight import PreflightError
from bige_opensim.io.external_loads import ExternalLoadsError
from bige_opensim.io.force_plates import ForcePlateError
from bige_opensim.io.storage import StorageError
from bige_opensim.labelling.audit import audit
from bige_opensim.labelling.kinematics import Prepared, prepare
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_content import Found, label_content
from bige_opensim.labelling.label_files import label_of, with_model, write_files
from bige_opensim.labelling.label_folder import whole_folder
from bige_opensim.labelling.measured_forces import Measured
from bige_opensim.labelling.missing_support import Support, find_missing_support
from bige_opensim.labelling.muscle_capacity import root_of
from bige_opensim.labelling.optimization import model_for_optimization, solve
from bige_opensim.labelling.request import LabelSettings, Report, TrialRequest
from bige_opensim.labelling.trial_inputs import ground_and_forces, read_motion, require_frames
from bige_opensim.labelling.trial_preflight import contact_preflight, preflight_of
from bige_opensim.labelling.whole_body_shift import make_consistent
from bige_opensim.motion import MotionError
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import ModelError, load, require_muscles
from bige_opensim.osim.static_optimization import StaticOptimizationError
from bige_opensim.physics.skeleton import Skeleton

TrialError = (
    *(StorageError, MotionError, ModelError, ExternalLoadsError, ForcePlateError),
    *(PreflightError, StaticOptimizationError),
)
"""What a trial's own files can do wrong: each carries one sentence for the user."""


def label_trial(
    request: TrialRequest, settings: LabelSettings, report: Report = lambda step, share: None
) -> dict[str, Any]:
    """Label a trial and write its folder, whole or not at all; return what `label.json` holds.

    Raises
    ------
    StorageError, MotionError, ModelError, ExternalLoadsError, PreflightError, StaticOptimizationError
        The trial's files cannot be labelled; nothing is left behind.

    """
    started = clock.perf_counter()
    with whole_folder(request.out) as folder, _named(request):
        label, model_file = _label_into(folder, request, settings, report, started)
        write_files(folder, label, model_file)
    return dict(label.record)


def label_in_memory(request: TrialRequest, settings: LabelSettings, report: Report = lambda step, share: None) -> Label:
    """Label a trial and leave nothing on disk: OpenSim works in a temporary folder. Errors as `label_trial`."""
    started = clock.perf_counter()
    with TemporaryDirectory(prefix="bige-label-") as scratch, _named(request):
        out = Path(scratch) / "label"
        out.mkdir()
        label, _ = _label_into(out, replace(request, out=out, model_folder=out), settings, report, started)
        return with_model(label, out)


@contextmanager
def _named(request: TrialRequest) -> Iterator[None]:
    """Have errors of a motion name its file."""
    try:
        yield
    except MotionError as error:
        named = str(error).startswith(str(request.motion))
        raise error if named else MotionError(f"{request.motion}: {error}") from error


def _label_into(
    folder: Path, request: TrialRequest, settings: LabelSettings, report: Report, started: float
) -> tuple[Label, str]:
    """The label, and the path from the trial's folder to the model that static optimization runs on."""
    report("reading", 0.0)
    model = load(request.model)
    require_muscles(model)
    skeleton = Skeleton(compile_skeleton(request.model))
    recorded = read_motion(request, settings, model)
    require_frames(recorded.motion, "frames in the file")
    preflight = preflight_of(request, settings, KnownModel(request.model, model, skeleton), recorded)
    whole = prepare(model, skeleton, recorded.motion, settings.cutoff_hz)
    ground, measured, noted = ground_and_forces(skeleton, whole, request, settings)
    loads = measured.forces if measured is not None else None
    used = settings if skeleton.floats or loads is not None else replace(settings, grf="none")
    window = whole.between(settings.start, settings.end) if measured is None else _at(whole, measured.time)
    require_frames(window.q, "frames between --start and --end")
    support = _support(skeleton, whole if measured is None else window, ground, measured, used)
    shift = None
    if used.grf != "none" and loads is None and settings.consistency is not None:
        report("making the motion consistent with the ground", 0.0)
        whole, shift = make_consistent(
            skeleton,
            whole,
            root_of(model, skeleton),
            ground,
            settings.contact,
            settings.consistency,
            support.missing if support is not None else None,
        )
        window = _at(whole, window.q.time)
    model_file = model_for_optimization(model, request, folder)
    solution = solve(folder, model, model_file, skeleton, whole, window, ground, loads, used, report)
    report("writing", 0.0)
    if support is not None:
        support = support.at(window.q.time)
    notes = (*recorded.notes, *window.notes, *noted)
    preflight = (*preflight, *contact_preflight(request, skeleton, window, solution, ground, measured, support))
    found = Found(model, skeleton, window, solution, ground, measured, support, shift, notes, preflight)
    label = label_content(request, settings, found, started)
    if settings.solver == "fast":
        label["geometry"] = settings.geometry
        if settings.audit > 0:
            report("audit by OpenSim", 0.0)
            label["audit"] = audit(folder, model, model_file, whole, solution, settings.audit)
    return label_of(label, model, whole, window, solution), model_file


def _support(
    skeleton: Skeleton, frames: Prepared, ground: float, measured: Measured | None, settings: LabelSettings
) -> Support | None:
    """Where something besides the feet or the plates carries; None where no ground forces were asked for."""
    if measured is None and settings.grf == "none":
        return None
    return find_missing_support(
        skeleton,
        frames.state(skeleton),
        frames.tensor(skeleton, frames.qd),
        frames.q.time,
        ground,
        settings.contact,
        measured.forces if measured is not None else None,
    )


def _at(whole: Prepared, time: np.ndarray) -> Prepared:
    return whole.between(float(time[0]), float(time[-1]))
