"""The certificate of one motion: what was asked, what was predicted, what OpenSim found, and from which files."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float

from bige_opensim.guidance.conflicts import target_of
from bige_opensim.guidance.objective import BoundObjective, Evaluation, Objective
from bige_opensim.guidance.quantities import GRF_COLUMNS
from bige_opensim.io.documents import read_json
from bige_opensim.io.external_loads import external_forces
from bige_opensim.io.storage import StorageError, read_coordinates, read_storage
from bige_opensim.labelling.joint_loads import limit_bw
from bige_opensim.labelling.label_files import JOINT_LOADS
from bige_opensim.motion import Motion
from bige_opensim.physics.contact import FEET, GroundForces, Supports
from bige_opensim.physics.joint_loads import loaded_joints
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.deciding_terms import bind
from bige_opensim.validation.motion_gates import MotionGate

FORMAT = "bige-certificate/2"
FORMAT_WITHOUT_HASHES = "bige-certificate/1"


FEET_BODIES = frozenset(f"calcn_{side}" for side in FEET)


@dataclass(frozen=True)
class Simulated:
    """What OpenSim analysed, on its own time grid: coordinates (T, C) rad and m, activations (T, M), moments, forces.

    moments (T, C) N·m and N, grf (T, 6) N in the order of `GRF_COLUMNS`; `ground` has the same forces with their points
    and torques, None where no ground forces were asked for. `joint_loads` are the columns of joint_loads.sto, None
    where the label has none.
    """

    q: Motion
    activations: Motion
    moments: Float[np.ndarray, "time coordinate"]
    grf: Float[np.ndarray, "time 6"]
    label: dict[str, Any]
    ground: GroundForces | None = None
    joint_loads: Motion | None = None

    @property
    def vertical_n(self) -> Float[np.ndarray, "time 2"]:
        """Vertical force under the right and the left foot."""
        return self.grf[:, [1, 4]]


def read_simulated(folder: Path, skeleton: Skeleton) -> Simulated:
    """Read a labelled trial folder back, as any user would.

    Raises
    ------
    DocumentError, StorageError, MotionError
        A file is missing, cannot be read, or has other frames than the others.

    """
    label = read_json(folder / "label.json")
    rotational = [n for n, r in zip(skeleton.coordinates, skeleton.tables.rotational, strict=True) if r]
    activations = read_storage(folder / "activations.sto")
    recorded = read_coordinates(folder / "coordinates.mot", rotational=rotational, units="degrees").motion
    moments = read_storage(folder / "inverse_dynamics.sto")
    forces, ground = np.zeros((len(activations.time), 6)), None
    if (folder / "grf.mot").is_file():
        table = read_storage(folder / "grf.mot")
        grf = Motion(table.time, table.values, table.names)
        forces, ground = grf.select(GRF_COLUMNS).values, _ground_forces(grf)
    q = recorded.select(skeleton.coordinates).between(float(activations.time[0]), float(activations.time[-1]))
    frames = {"coordinates.mot": q.frames, "inverse_dynamics.sto": len(moments.time), "grf.mot": len(forces)}
    wrong = [f"{name} has {n}" for name, n in frames.items() if n != len(activations.time)]
    if wrong:
        raise StorageError(
            f"{folder}: activations.sto has {len(activations.time)} frames, {', '.join(wrong)}; expected the same. "
            "Simulate the motion again."
        )
    active = Motion(activations.time, activations.values, activations.names)
    loads: Motion | None = None
    if (folder / JOINT_LOADS).is_file():
        pressed = read_storage(folder / JOINT_LOADS)
        loads = Motion(pressed.time, pressed.values, pressed.names)
    return Simulated(q, active, moments.values, forces, label, ground, loads)


def _ground_forces(grf: Motion) -> GroundForces:
    """Force, point and torque of the right and the left foot from the columns of grf.mot."""
    kinds = ("ground_force_{}_v{}", "ground_force_{}_p{}", "ground_torque_{}_{}")
    parts = [[grf.select([kind.format(side, axis) for axis in "xyz"]).values for side in FEET] for kind in kinds]
    force, point, torque = (torch.as_tensor(np.stack(part, axis=1)) for part in parts)
    return GroundForces(force, point, torque, _supports(grf))


def _supports(grf: Motion) -> Supports | None:
    """What supports other bodies than the feet, from the columns of grf.mot."""
    others = [f for f in external_forces(grf.names) if f.applied_to_body not in FEET_BODIES]
    if not others:
        return None
    identifiers = ("force_identifier", "point_identifier", "torque_identifier")
    parts = (
        np.stack([grf.select([f"{getattr(f, kind)}{axis}" for axis in "xyz"]).values for f in others], axis=1)
        for kind in identifiers
    )
    force, point, torque = (torch.as_tensor(part) for part in parts)
    return Supports(tuple(f.applied_to_body for f in others), force, point, torque)


def judge(objective: Objective, skeleton: Skeleton, simulated: Simulated) -> tuple[BoundObjective, Evaluation]:
    """The objective on what OpenSim found, a batch of one."""
    pressed: torch.Tensor | None = None
    if simulated.joint_loads is not None:
        resultants = [f"{joint.name}_resultant_bw" for joint in loaded_joints(skeleton)]
        pressed = torch.as_tensor(simulated.joint_loads.select(resultants).values)[None]
    moments, grf = torch.as_tensor(simulated.moments), torch.as_tensor(simulated.grf)
    ground, muscles = simulated.label["ground_height_m"], simulated.activations.names
    bound = bind(objective, skeleton, muscles, moments, grf, ground, lambda activations: pressed)
    evaluation = bound.evaluate(
        torch.as_tensor(simulated.q.values)[None],
        torch.tensor([simulated.q.duration], dtype=torch.float64),
        torch.as_tensor(simulated.activations.values)[None],
    )
    return bound, evaluation


def _peaks(loads: Motion | None) -> dict[str, dict[str, float]] | None:
    if loads is None:
        return None
    joints = [n.removesuffix("_resultant_bw") for n in loads.names if n.endswith("_resultant_bw")]
    at = {joint: int(loads[f"{joint}_resultant_bw"].argmax()) for joint in joints}
    return {
        joint: {
            "peak_bw": float(loads[f"{joint}_resultant_bw"][row]),
            "time_s": float(loads.time[row]),
            "borne_bw": limit_bw(joint),
        }
        for joint, row in at.items()
    }


def _uncertainty(label: Mapping[str, Any], channels: Collection[str]) -> dict[str, Any] | None:
    """Of what the label says of its bands, the peaks of some muscles and of all joints."""
    said = label.get("uncertainty")
    if said is None:
        return None
    muscles = [m for m in label["muscles"] if any(fnmatchcase(m, channel) for channel in channels)]
    peaks = {n: p for n, p in said["peaks"].items() if n in muscles or n.endswith("_resultant_bw")}
    return {"draws": said["draws"], "levels": said["levels"], "peaks": peaks}


def no_dynamics(*_: Any) -> Any:
    """Dynamics of an objective that is bound to be read, not evaluated."""
    raise AssertionError("an objective is read without a motion")


def surrogate_gap(predicted: Motion, simulated: Simulated) -> dict[str, Any]:
    """Root mean square difference between predicted and simulated activations, overall and per muscle."""
    phase = np.linspace(0.0, 1.0, predicted.frames)
    time = simulated.activations.time
    truth = simulated.activations.select(predicted.names).values
    at = (time - time[0]) / (time[-1] - time[0])
    there = np.column_stack([np.interp(phase, at, column) for column in truth.T])
    error = predicted.values - there
    per_muscle = np.sqrt((error**2).mean(0))
    return {
        "rmse": float(np.sqrt((error**2).mean())),
        "per_muscle": {m: float(e) for m, e in zip(predicted.names, per_muscle, strict=True)},
    }


@dataclass(frozen=True)
class TermFound:
    """One term: its target, the value the search predicted and the one OpenSim found, in `unit`.

    `satisfied` is None where the term has no bound; `decides` says whether it is part of the verdict. `within` is what
    the value would differ by at most, had OpenSim solved every frame; 0 where that needs no saying.
    """

    target: str
    predicted: float | None
    simulated: float
    unit: str
    satisfied: bool | None
    decides: bool
    within: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        """For certificate.json."""
        return {k: v for k, v in asdict(self).items() if k != "within" or v}


@dataclass(frozen=True)
class Certificate:
    """Everything that is known about one motion; `confirmed` says that OpenSim bears it out.

    Attributes
    ----------
    name, objective
        The motion, and what was asked.
    terms
        Every term of the objective by its name.
    labels
        Status and reason of the label: whether OpenSim's simulation holds.
    gates
        The quality gates of the label (`labelling.quality_gates`): value, limit, unit, remedy, passed.
    motion_gates
        Gates of the motion itself (`validation.motion_gates`); none in certificates of earlier versions.
    surrogate_gap, nearest_training_motion
        Error of the predicted activations, and novelty; None where they are not known.
    limit_violations, contact
        Coordinates beyond the model's range, degrees or m; penetration and slide of the feet, mm.
    whole_body_shift, timings, provenance
        As the label has them.
    joint_loads
        Peak contact force by joint in body weights, with its time and what a body bears; None where the label has none.
    files
        sha256 of every file that the certificate was made from, by its path in the folder of the motions.
    notes
        What a reader should know besides.
    shared_frames
        Which frames OpenSim solved, the margin and what the audit found, as the label has it
        (`labelling.deciding_frames`); None where OpenSim solved every frame.
    person
        Strengths, ranges of motion and loads that the model was given for this person; None where it was taken as it
        is.
    uncertainty
        5, 50 and 95 % of the peaks of the muscles that terms are about, and of joint loads in body weights, over how
        many draws (`labelling.uncertainty`); None where no bands were asked for. The verdict does not look at them.

    """

    name: str
    objective: str
    terms: dict[str, TermFound]
    labels: dict[str, str]
    gates: dict[str, dict[str, Any]]
    motion_gates: dict[str, MotionGate]
    surrogate_gap: dict[str, Any] | None
    limit_violations: dict[str, float]
    contact: dict[str, float]
    nearest_training_motion: dict[str, Any] | None
    whole_body_shift: dict[str, float] | None
    timings: dict[str, float]
    provenance: dict[str, Any]
    joint_loads: dict[str, dict[str, float]] | None = None
    files: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    shared_frames: dict[str, Any] | None = None
    person: dict[str, Any] | None = None
    uncertainty: dict[str, Any] | None = None

    @property
    def satisfied(self) -> bool:
        """Whether every deciding term is met by the simulated values."""
        return bool(self.terms) and all(t.satisfied is True for t in self.terms.values() if t.decides)

    @property
    def plausible(self) -> bool:
        """Whether the motion passes all of its own gates."""
        return all(gate.satisfied for gate in self.motion_gates.values())

    @property
    def confirmed(self) -> bool:
        """Whether the simulation holds, the motion could be a person's, and the objective's deciding terms are met."""
        return self.satisfied and self.labels["status"] == "passed" and self.plausible

    @property
    def reason(self) -> str:
        """Why the motion is confirmed or not, in one sentence after another."""
        said = []
        if self.labels["status"] != "passed":
            said.append(self.labels["reason"])
        for name, gate in self.motion_gates.items():
            if not gate.satisfied:
                said.append(
                    f"{name} {gate.value:.3g} > {gate.limit:g} {gate.unit}{': ' + gate.where if gate.where else ''}."
                )
        for name, term in self.terms.items():
            if term.decides and term.satisfied is not True:
                said.append(f"{name}: OpenSim finds {term.simulated:.3g} {term.unit}, asked was {term.target}.")
        return " ".join(said) or "OpenSim bears out every deciding term, and all gates are passed."

    @property
    def checkable(self) -> bool:
        """Whether it says from which files it was made; certificates of earlier versions do not."""
        return bool(self.files)

    def as_dict(self) -> dict[str, Any]:
        """For certificate.json."""
        content = {k: v for k, v in vars(self).items() if k not in ("terms", "motion_gates", "notes")}
        for absent in ("shared_frames", "joint_loads", "uncertainty"):
            if content[absent] is None:
                del content[absent]
        verdict = {"confirmed": self.confirmed, "satisfied": self.satisfied}
        return {
            "format": FORMAT,
            **{k: content.pop(k) for k in ("name", "objective")},
            **verdict,
            "terms": {name: t.as_dict() for name, t in self.terms.items()},
            "motion_gates": {name: g.as_dict() for name, g in self.motion_gates.items()},
            **content,
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Certificate:
        """Read what `as_dict` made, or what earlier versions wrote.

        Raises
        ------
        ValueError, KeyError, TypeError
            The content is no certificate.

        """
        if content["format"] not in (FORMAT, FORMAT_WITHOUT_HASHES):
            raise ValueError(f"format {content['format']}; expected {FORMAT} or {FORMAT_WITHOUT_HASHES}")
        gates = {
            n: {k: v for k, v in g.items() if k != "satisfied"} for n, g in content.get("motion_gates", {}).items()
        }
        return cls(
            name=content["name"],
            objective=content["objective"],
            terms={n: TermFound(**t) for n, t in content["terms"].items()},
            labels=dict(content["labels"]),
            gates=dict(content["gates"]),
            motion_gates={n: MotionGate(**g) for n, g in gates.items()},
            surrogate_gap=content["surrogate_gap"],
            limit_violations=content["limit_violations"],
            contact=content["contact"],
            nearest_training_motion=content["nearest_training_motion"],
            whole_body_shift=content["whole_body_shift"],
            timings=content["timings"],
            provenance=content["provenance"],
            joint_loads=content.get("joint_loads"),
            files=dict(content.get("files", {})),
            notes=tuple(content.get("notes", ())),
            shared_frames=content.get("shared_frames"),
            person=content.get("person"),
            uncertainty=content.get("uncertainty"),
        )

    @classmethod
    def not_simulated(cls, name: str, reason: str) -> Certificate:
        """What can be said of a motion that OpenSim did not simulate: why."""
        nothing: dict[str, Any] = {}
        return cls(
            name=name,
            objective="",
            terms={},
            labels={"status": "failed", "reason": reason},
            gates=nothing,
            motion_gates={},
            surrogate_gap=None,
            limit_violations={},
            contact={},
            nearest_training_motion=None,
            whole_body_shift=None,
            timings={},
            provenance=nothing,
        )

    def to_frame(self) -> pd.DataFrame:
        """The terms as a table: a row per term; target, predicted, simulated, unit, satisfied and decides."""
        frame = pd.DataFrame([asdict(t) for t in self.terms.values()], index=list(self.terms))
        return frame.rename_axis("term")


def certificate(
    name: str,
    bound: BoundObjective,
    evaluation: Evaluation,
    entry: Mapping[str, Any],
    simulated: Simulated,
    gates: dict[str, MotionGate],
    predicted: Motion | None,
    *,
    files: dict[str, str] | None = None,
    notes: tuple[str, ...] = (),
    within: Mapping[str, float] | None = None,
    person: dict[str, Any] | None = None,
) -> Certificate:
    """The certificate of a motion.

    A motion is confirmed when its label passes the quality gates, the motion its own gates, and the simulated values
    meet the objective's verdict terms (the hard ones, or all bounded ones where none is hard).

    Parameters
    ----------
    bound, evaluation
        The objective, and what came of it (`judge`).
    entry
        What the record of the search says of this motion; empty where it says nothing.
    gates
        The motion's own gates.
    predicted
        Activations that the search predicted.
    files
        sha256 of the files that all this was read from.
    within
        What terms may differ by from OpenSim's solution of every frame, by name.
    person
        What the record says of the person's strength and range.

    """
    deciding = {t.name for t in bound.verdict_terms}
    terms = {
        t.name: TermFound(
            target=target_of(t),
            predicted=entry.get("predicted", {}).get(t.name),
            simulated=float(evaluation.values[t.name][0]),
            unit=t.measured.unit,
            satisfied=bool(evaluation.met[t.name][0]) if t.name in evaluation.met else None,
            decides=t.name in deciding,
            within=0.0 if within is None else within.get(t.name, 0.0),
        )
        for t in bound.terms
    }
    label = simulated.label
    return Certificate(
        name=name,
        objective=bound.objective.name,
        terms=terms,
        labels={"status": label["status"], "reason": label["reason"]},
        gates=label["gates"],
        motion_gates=gates,
        surrogate_gap=surrogate_gap(predicted, simulated) if predicted is not None else None,
        limit_violations=bound.limit_violations(torch.as_tensor(simulated.q.values)[None])[0],
        contact={f"{key}_mm": gates[key].value if key in gates else 0.0 for key in ("penetration", "foot_slide")},
        nearest_training_motion=entry.get("nearest_training_motion"),
        whole_body_shift=label["whole_body_shift"],
        timings=label["timings"],
        provenance=label["provenance"],
        joint_loads=_peaks(simulated.joint_loads),
        files=files or {},
        notes=notes,
        shared_frames=label.get("shared_frames"),
        person=person,
        uncertainty=_uncertainty(label, {m for t in bound.terms for m in t.term.of}),
    )
