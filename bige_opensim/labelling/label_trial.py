"""Label one trial: from coordinates to ground forces, joint moments and activations, written as one folder."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator, Sequence
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
from bige_opensim.io.partial_folders import OutFolderError, whole_folder
from bige_opensim.io.storage import StorageError
from bige_opensim.labelling.audit import AuditedCost, AuditedTrial, AuditSource, audit
from bige_opensim.labelling.chair import Chair, ChairError, find_chair
from bige_opensim.labelling.cutoff import chosen_cutoff
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_content import TrialFindings, cost_notes, label_content
from bige_opensim.labelling.label_files import LABEL, LOADED, LabelText, label_of, write_files
from bige_opensim.labelling.loaded_person import load_entries, loaded_person
from bige_opensim.labelling.measured_consistency import fit_to_forces
from bige_opensim.labelling.measured_forces import Measured
from bige_opensim.labelling.missing_support import SupportCheck, find_missing_support
from bige_opensim.labelling.muscle_capacity import muscle_weights, root_of
from bige_opensim.labelling.optimization import Decided, model_for_optimization, solve
from bige_opensim.labelling.person_body import ADJUSTED, PersonBody, TrialEffect, person_body
from bige_opensim.labelling.request import LabelSettings, Report, TrialRequest
from bige_opensim.labelling.trial_inputs import ground_and_forces, require_frames
from bige_opensim.labelling.trial_preflight import contact_preflight, preflight_of
from bige_opensim.labelling.uncertainty import Case, thinned
from bige_opensim.labelling.whole_body_shift import make_consistent
from bige_opensim.motion import MotionError
from bige_opensim.osim.model import ModelError
from bige_opensim.osim.static_optimization import StaticOptimizationError
from bige_opensim.physics.carried_loads import CarriedLoadError
from bige_opensim.physics.carriers import Carrier
from bige_opensim.physics.effort_cost import EffortCostError
from bige_opensim.physics.skeleton import Skeleton

TrialError = (
    *(StorageError, MotionError, ModelError, ExternalLoadsError, ForcePlateError),
    *(PreflightError, StaticOptimizationError, EffortCostError, OutFolderError, ChairError, CarriedLoadError),
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
    return dict(label_into_folder(request, settings, report)[0].record)


def label_into_folder(
    request: TrialRequest,
    settings: LabelSettings,
    report: Report = lambda step, share: None,
    beside: Sequence[TrialRequest] = (),
    *,
    audited: bool = True,
) -> tuple[Label, LabelText]:
    """Label a trial and write its folder, as `label_trial`; `beside` are trials of the same model, itself included.

    Returns the label and the text of its files. Muscle paths are fitted for all of these trials at once. Without
    `audited`, OpenSim's audit is left to whoever labels the others.
    """
    started = clock.perf_counter()
    with whole_folder(request.out, LABEL) as folder, _named(request):
        label, model_file = _label_into(folder, request, settings, report, started, beside)
        if audited:
            label = _audited(label, request, folder / model_file, settings, report)
        report("writing", 0.0)
        text = write_files(folder, label, model_file)
    return label, text


def label_in_memory(request: TrialRequest, settings: LabelSettings, report: Report = lambda step, share: None) -> Label:
    """Label a trial and leave nothing on disk: OpenSim works in a temporary folder. Errors as `label_trial`."""
    started = clock.perf_counter()
    with TemporaryDirectory(prefix="bige-label-") as scratch, _named(request):
        out = Path(scratch) / "label"
        out.mkdir()
        request = replace(request, out=out, model_folder=out)
        label, model_file = _label_into(out, request, settings, report, started, ())
        return _audited(label, request, out / model_file, settings, report)


def _audited(label: Label, request: TrialRequest, stripped: Path, settings: LabelSettings, report: Report) -> Label:
    if not settings.audited:
        return label
    report("audit by OpenSim", 0.0)
    frames = label.channels.activations.frames
    weight = muscle_weights(loaded_person(request, settings).model, settings.cost)
    cost = AuditedCost(settings.cost.exponent, None if weight is None else weight.numpy())
    found = audit([AuditSource(frames, lambda: AuditedTrial.of(label))], stripped, settings.audit, cost)
    return replace(label, record={**label.record, "audit": found})


@contextmanager
def _named(request: TrialRequest) -> Iterator[None]:
    """Have errors of a motion name its file."""
    try:
        yield
    except MotionError as error:
        named = str(error).startswith(str(request.motion))
        raise error if named else MotionError(f"{request.motion}: {error}") from error


def _label_into(
    folder: Path,
    request: TrialRequest,
    settings: LabelSettings,
    report: Report,
    started: float,
    beside: Sequence[TrialRequest],
) -> tuple[Label, str]:
    """The label, and the path from the trial's folder to the model that static optimization runs on."""
    report("reading", 0.0)
    person = loaded_person(request, settings)
    model, plain = person.model, person.skeleton
    fitted = settings.solver == "fast" and settings.geometry == "polynomial"
    if fitted and len(beside) > 1:
        person.look_at_movement(beside, settings)
    recorded = person.recorded(request, settings)
    require_frames(recorded.motion, "frames in the file")
    cutoff = chosen_cutoff(recorded.motion, plain.tables, model.rotational, settings.cutoff_hz)
    known = KnownModel(request.model, model, plain)
    preflight = preflight_of(request, settings, known, recorded, cutoff.hz)
    whole = person.prepared(request, settings, recorded)
    report("residual reduction", 0.0)
    body = person_body(person, request, settings)
    skeleton = body.skeleton
    preflight = (*preflight, *body.findings(request.model))
    ground, measured, noted = ground_and_forces(skeleton, whole, request, settings, cutoff.hz, body.floor)
    loads = measured.forces if measured is not None else None
    used = settings if skeleton.floats or loads is not None else replace(settings, grf="none")
    window = whole.between(settings.start, settings.end) if measured is None else _at(whole, measured.time)
    require_frames(window.q, "frames between --start and --end")
    support = _support(skeleton, whole if measured is None else window, ground, measured, used)
    chair: Chair | None = None
    said: tuple[str, ...] = ()
    declared = used.carried.of_session(request.session, request.carried)
    if declared.chair is not None and support is not None and measured is None:
        chair, said = find_chair(skeleton, whole, ground, support, declared.chair)
    others = declared.carriers(skeleton, chair) if measured is None and support is not None else []
    if others:
        support = _support(skeleton, whole, ground, None, used, others)
    effect = _effect(plain, body, whole, request, used, (ground, support)) if measured is None else None
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
            others,
        )
        window = _at(whole, window.q.time)
    fit = None
    if measured is not None and skeleton.floats and settings.residual_reduction and support is not None:
        report("making the motion consistent with the forces", 0.0)
        known_forces = ~support.missing
        whole, fit = fit_to_forces(
            skeleton, whole, measured.time, measured.forces, root_of(model, skeleton), known_forces
        )
        window, shift = _at(whole, measured.time), fit.shift
    model_file = model_for_optimization(body.stripped, request, folder)
    if body.adjusted is not None:
        model_for_optimization(body.adjusted, request, folder, ADJUSTED)
    loaded = model.path.read_bytes() if model.path != request.model.absolute() else None
    if loaded is not None:
        model_for_optimization(loaded, request, folder, LOADED)
    report("muscle paths", 0.0)
    muscles = person.muscles(window.q, beside, settings) if fitted else None
    paths = None if muscles is None else (muscles, person.known_paths(muscles, window.q), person.lines(muscles))
    decided = None if request.asked is None else Decided(request.asked, request.motion_sha256)
    solution = solve(
        folder, model, model_file, skeleton, whole, window, ground, loads, used, paths, report, decided, others
    )
    bands = None
    if used.uncertainty:
        report("bands", 0.0)
        rows = thinned(window)
        few = window.at(rows)
        polynomials = person.muscles(window.q, beside, settings)
        of_case = (polynomials, person.known_paths(polynomials, few.q), person.lines(polynomials))
        given = None if loads is None else loads.at(rows)
        beside_feet = tuple(other.at(rows) for other in others)
        bands = Case(model, skeleton, few, of_case, ground, given, used, beside_feet).bands(used.uncertainty)
    if support is not None:
        support = support.at(window.q.time)
    notes = (*recorded.notes, *window.notes, *noted, *said, *cost_notes(settings.cost))
    preflight = (*preflight, *contact_preflight(request, skeleton, window, solution, ground, measured, support))
    if solution.joint_loads is not None:
        preflight = (*preflight, *solution.joint_loads.unbearable(request.motion, solution.time))
    found = TrialFindings(model, skeleton, window, solution, ground, measured, support, shift, notes, cutoff, preflight)
    record = label_content(request, settings, found, started)
    record["hands"], record["calves"] = declared.hands, declared.calves
    record["load"] = load_entries(skeleton.tables)
    record["chair"] = None if chair is None else chair.as_dict()
    record["residual_reduction"] = body.entry(plain, effect)
    record["measured_fit"] = None if fit is None else fit.entry()
    if settings.solver == "fast":
        record["geometry"], record["device"] = settings.geometry, settings.device
    if muscles is not None:
        record["muscle_paths"] = person.about_paths(muscles)
    if bands is not None:
        record["uncertainty"] = bands.entry()
    label = label_of(record, model, whole, window, solution, {} if bands is None else bands.by_name)
    return replace(label, model=body.stripped, adjusted_model=body.adjusted, loaded_model=loaded), model_file


def _effect(
    plain: Skeleton,
    body: PersonBody,
    whole: Prepared,
    request: TrialRequest,
    settings: LabelSettings,
    corrected: tuple[float, SupportCheck | None],
) -> TrialEffect | None:
    """What correcting the body does to a trial whose forces are estimated; None where nothing was corrected."""
    if body.adjusted is None or settings.grf == "none":
        return None
    ground, _, _ = ground_and_forces(plain, whole, request, replace(settings, grf="estimated"), 0.0)
    support = _support(plain, whole, ground, None, settings)  # before any chair, as the model was given
    return TrialEffect.of((plain, ground, support), (body.skeleton, *corrected), whole, settings.contact)


def _support(
    skeleton: Skeleton,
    frames: Prepared,
    ground: float,
    measured: Measured | None,
    settings: LabelSettings,
    others: Sequence[Carrier] = (),
) -> SupportCheck | None:
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
        others,
    )


def _at(whole: Prepared, time: np.ndarray) -> Prepared:
    return whole.between(float(time[0]), float(time[-1]))
