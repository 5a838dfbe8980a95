"""The body that a person's trials are labelled on: the model's own, or the one that residual reduction corrects."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from bige_opensim.doctor.findings import Finding
from bige_opensim.io.force_plates import ForcePlateError
from bige_opensim.io.storage import StorageError
from bige_opensim.labelling.cutoff import USUAL_HZ
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.labelling.label_files import ADJUSTED
from bige_opensim.labelling.measured_forces import plate_forces
from bige_opensim.labelling.missing_support import SupportCheck, find_missing_support
from bige_opensim.labelling.person_model import PersonModel
from bige_opensim.labelling.request import FROM_PLATES, LabelSettings, TrialRequest
from bige_opensim.labelling.residual_reduction import MASS_SHARE, Floor, Reduction, beyond_feet, reduce_residuals
from bige_opensim.motion import MotionError
from bige_opensim.osim.adjusted_model import write_adjusted_model
from bige_opensim.osim.model import load, save_for_static_optimization
from bige_opensim.physics.carried_loads import is_load
from bige_opensim.physics.contact import ContactSettings
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.sessions.plates_to_feet import Feet

PERCENT = "% of its bound"
WEIGHED = 0.01
"""Masses that plates tell to be wrong by less are left as they are (our choice)."""


@dataclass(frozen=True, eq=False)
class PersonBody:
    """Skeleton, the model file of OpenSim's static optimization, and what residual reduction found.

    `adjusted` is the file of the corrected model; None where the model is left as it is. `weighed` is by what its
    masses were multiplied to be what plates carry; 1 without plates.
    """

    skeleton: Skeleton
    stripped: bytes
    reduction: Reduction | None = None
    adjusted: bytes | None = None
    weighed: float = 1.0

    @property
    def floor(self) -> Floor | None:
        """The floor under corrected soles, None where nothing was corrected."""
        return None if self.adjusted is None or self.reduction is None else Floor(self.reduction.ground_m)

    def findings(self, model: Path) -> list[Finding]:
        """A note where the body would have to be changed by more than may be."""
        if self.weighed != 1.0:
            kg = float(self.skeleton.own_mass.sum())
            sentence = f"The plates carry {kg:.1f} kg of the person where the model has {kg / self.weighed:.1f} kg."
            remedy = "Masses were fitted to the plates; correct the model's where they are right, or the plates' zero."
            value, limit = 100.0 * abs(self.weighed - 1.0), 100.0 * MASS_SHARE
            return [
                Finding(model, "", "note", "weighed", sentence, remedy, False, value, limit, "% of the model's mass")
            ]
        if self.reduction is None or not self.reduction.out_of_bounds:
            return []
        largest = 100.0 * max(self.reduction.adjustment.shares_of_bounds().values())
        sentence = f"Residual reduction left the model as it is: {self.reduction.refused}"
        return [Finding(model, "", "note", "residual reduction", sentence, "", False, largest, 100.0, PERCENT)]

    def entry(self, plain: Skeleton, trial: TrialEffect | None) -> dict[str, Any] | None:
        """For label.json; None where residual reduction was off."""
        if self.reduction is None:
            return None
        found = self.reduction.as_dict(plain.contact_names) | {"weighed": round(self.weighed, 4)}
        if self.adjusted is not None:
            found["applied"] = True
            found["model"] = {"file": ADJUSTED, "sha256": hashlib.sha256(self.adjusted).hexdigest()}
        return found | ({} if trial is None else {"effect": trial.as_dict()})


@dataclass(frozen=True)
class TrialEffect:
    """What the correction does to one trial: before and after."""

    beyond_feet_m: tuple[float, float]
    missing_support_s: tuple[float, float]
    ground_height_m: tuple[float, float]

    @classmethod
    def of(
        cls,
        plain: tuple[Skeleton, float, SupportCheck | None],
        corrected: tuple[Skeleton, float, SupportCheck | None],
        whole: Prepared,
        contact: ContactSettings,
    ) -> TrialEffect:
        """From skeleton, height of the ground (m) and support, of the model as it is and of the corrected one."""
        beyond = [beyond_feet(skeleton, whole, ground, contact) for skeleton, ground, _ in (plain, corrected)]
        lacking = [_seconds(support) for _, _, support in (plain, corrected)]
        return cls((beyond[0], beyond[1]), (lacking[0], lacking[1]), (plain[1], corrected[1]))

    def as_dict(self) -> dict[str, Any]:
        """For label.json."""
        parts = {
            "beyond_feet_rms_mm": [round(1e3 * value, 2) for value in self.beyond_feet_m],
            "missing_support_s": [round(value, 3) for value in self.missing_support_s],
            "ground_height_m": [round(value, 4) for value in self.ground_height_m],
        }
        return {name: dict(zip(("before", "after"), values, strict=True)) for name, values in parts.items()}


def _seconds(support: SupportCheck | None) -> float:
    return 0.0 if support is None else sum(i.end_s - i.start_s for i in support.intervals)


def person_body(person: PersonModel, request: TrialRequest, settings: LabelSettings) -> PersonBody:
    """The body of a request's person, found once in a process; the model's own where nothing is to be corrected."""
    two_feet = {name[-2:] for name in person.skeleton.contact_names} == {"_r", "_l"}
    if not settings.residual_reduction or not person.skeleton.floats or not two_feet:
        return PersonBody(person.skeleton, person.stripped)
    trials = _trials(request)
    plates = tuple(trial.forces for trial in trials) if settings.grf in FROM_PLATES else ()
    key = (*(trial.motion_sha256 for trial in trials), settings.cutoff_hz, settings.units, plates)
    known = _BODIES.setdefault(person, {})
    if key not in known:
        known.clear()
        known[key] = _reduced(person, trials, settings)
    return known[key]


_BODIES: WeakKeyDictionary[PersonModel, dict[tuple[object, ...], PersonBody]] = WeakKeyDictionary()


def _trials(request: TrialRequest) -> list[TrialRequest]:
    if not request.person_trials:
        return [request]
    plates = request.person_forces or [None] * len(request.person_trials)
    pairs = zip(request.person_trials, plates, strict=True)
    return [replace(request, motion=path, recorded=None, forces=forces) for path, forces in pairs]


def _reduced(person: PersonModel, trials: list[TrialRequest], settings: LabelSettings) -> PersonBody:
    prepared, weighings = [], list[tuple[float, float]]()
    for trial in trials:
        try:
            prepared.append(person.look_at(trial, settings))
            if settings.grf in FROM_PLATES and trial.forces is not None:
                alone = replace(prepared[-1])  # a copy: the states that are found are not kept with the trial
                weighings.append(_weighing(person.skeleton, alone, trial.forces, settings))
        except ForcePlateError:  # said when that trial is labelled
            continue
        except (StorageError, MotionError):  # said when that trial is labelled
            continue
    reduction = reduce_residuals(person.skeleton, prepared, settings.contact)
    weighed = _weighed(weighings)
    if reduction.refused and weighed == 1.0:
        return PersonBody(person.skeleton, person.stripped, reduction)
    tables = person.skeleton.tables
    if not reduction.refused:
        tables = reduction.adjustment.applied(tables)
    if weighed != 1.0:
        factor = np.where([is_load(name) for name in tables.bodies], 1.0, weighed)
        tables = replace(tables, mass=tables.mass * factor, inertia=tables.inertia * factor[:, None, None])
    with TemporaryDirectory(prefix="bige-model-") as folder:
        path = write_adjusted_model(person.model.path, Path(folder) / ADJUSTED, tables)
        stripped = save_for_static_optimization(load(path), Path(folder) / "stripped.osim", tables.muscle_driven)
        return PersonBody(Skeleton(tables), stripped.read_bytes(), reduction, path.read_bytes(), weighed)


def _weighing(skeleton: Skeleton, w: Prepared, plates: Path, settings: LabelSettings) -> tuple[float, float]:
    """Sums over a trial of what plates carry of the person times what the body takes, and of the latter squared, N^2.

    The ratio is the least-squares factor of the person's masses: vertical force less what loads take, against the mass
    times acceleration less gravity. Frames in which something besides the plates carries, or somebody flies, are none.
    """
    found = plate_forces(plates, Feet.of(skeleton, w.q), w.q.time, USUAL_HZ)
    window = w.between(float(found.time[0]), float(found.time[-1]))
    state = window.state(skeleton)
    takes = (skeleton.mass[:, None] * (state.motions.com_acceleration - skeleton.gravity))[..., 1]
    own = torch.where(skeleton.own_mass > 0, takes, 0.0).sum(-1).numpy()
    loads = torch.where((skeleton.person_mass > 0) & (skeleton.own_mass == 0), takes, 0.0).sum(-1).numpy()
    qd = window.tensor(skeleton, window.qd)
    support = find_missing_support(skeleton, state, qd, window.q.time, found.height, settings.contact, found.forces)
    carried = found.forces.force[..., 1].sum(-1).numpy() - loads
    known = ~support.missing & (own > 0.5 * float(skeleton.body_weight_n))
    return float((carried * own)[known].sum()), float((own**2)[known].sum())


def _weighed(weighings: list[tuple[float, float]]) -> float:
    """By what masses are multiplied: what all plates say together; 1 within WEIGHED, and beyond MASS_SHARE."""
    squared = sum(weighing[1] for weighing in weighings)
    factor = sum(weighing[0] for weighing in weighings) / squared if squared > 0.0 else 1.0
    return factor if WEIGHED < abs(factor - 1.0) <= MASS_SHARE else 1.0
