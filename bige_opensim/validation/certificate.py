"""The certificate of one motion: what was asked, what was predicted, what OpenSim found."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.guidance.quantities import GRF_COLUMNS, Dynamics
from bige_opensim.io.storage import read_coordinates, read_storage
from bige_opensim.motion import Motion
from bige_opensim.physics.skeleton import Skeleton

FORMAT = "bige-certificate/1"
NEAR_GROUND_M = 0.02
LOADED_SHARE = 0.05


@dataclass(frozen=True)
class Simulated:
    """What OpenSim analysed, on its own time grid: coordinates (T, C) rad and m, activations (T, M), moments, forces.

    moments (T, C) N·m and N, grf (T, 6) N in the order of `GRF_COLUMNS`.
    """

    q: Motion
    activations: Motion
    moments: Float[np.ndarray, "time coordinate"]
    grf: Float[np.ndarray, "time 6"]
    label: dict[str, Any]


def read_simulated(folder: Path, skeleton: Skeleton) -> Simulated:
    """Read a labelled trial folder back, as any user would."""
    label = json.loads((folder / "label.json").read_text(encoding="utf-8"))
    rotational = [n for n, r in zip(skeleton.coordinates, skeleton.tables.rotational, strict=True) if r]
    activations = read_storage(folder / "activations.sto")
    recorded = read_coordinates(folder / "coordinates.mot", rotational=rotational, units="degrees").motion
    moments = read_storage(folder / "inverse_dynamics.sto")
    forces = np.zeros((len(activations.time), 6))
    if (folder / "grf.mot").is_file():
        grf = read_storage(folder / "grf.mot")
        forces = grf.values[:, [grf.names.index(n) for n in GRF_COLUMNS]]
    q = recorded.select(skeleton.coordinates).between(float(activations.time[0]), float(activations.time[-1]))
    return Simulated(q, Motion(activations.time, activations.values, activations.names), moments.values, forces, label)


def judge(objective: Objective, skeleton: Skeleton, simulated: Simulated) -> tuple[BoundObjective, dict[str, Any]]:
    """Evaluate the objective on what OpenSim found: per term the target, the value and whether it is met."""
    duration = simulated.q.duration
    dynamics = Dynamics(torch.as_tensor(simulated.moments)[None], torch.as_tensor(simulated.grf)[None])
    bound = objective.bind(
        skeleton.coordinates,
        simulated.activations.names,
        skeleton,
        dynamics=lambda q, d, a: dynamics,
        ground_height=simulated.label["ground_height_m"],
    )
    evaluation = bound.evaluate(
        torch.as_tensor(simulated.q.values)[None],
        torch.tensor([duration], dtype=torch.float64),
        torch.as_tensor(simulated.activations.values)[None],
    )
    return bound, {
        "values": {k: float(v[0]) for k, v in evaluation.values.items()},
        "met": {k: bool(v[0]) for k, v in evaluation.met.items()},
        "satisfied": bool(evaluation.satisfied[0]),
    }


def contact_quality(skeleton: Skeleton, simulated: Simulated) -> dict[str, float]:
    """Penetration of the contact points below ground and horizontal slide of loaded feet's points, mm.

    Slide is the largest horizontal distance between two positions of one contact point that is within 2 cm of the
    ground while its foot carries more than 5 % of body weight.
    """
    points = skeleton.contact_points(skeleton(torch.as_tensor(simulated.q.values))).numpy()
    ground = simulated.label["ground_height_m"]
    weight = float(skeleton.mass.sum() * skeleton.gravity.norm())
    slide = 0.0
    for p, name in enumerate(skeleton.contact_names):
        vertical = simulated.grf[:, 1 if name.endswith("_r") else 4]
        down = (vertical > LOADED_SHARE * weight) & (points[:, p, 1] - ground < NEAR_GROUND_M)
        if down.sum() > 1:
            where = points[down, p][:, [0, 2]]
            slide = max(slide, float(np.linalg.norm(np.ptp(where, axis=0))))
    return {"penetration_mm": 1e3 * max(0.0, float(ground - points[..., 1].min())), "foot_slide_mm": 1e3 * slide}


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


def certificate(
    name: str,
    bound: BoundObjective,
    verdict: dict[str, Any],
    record: dict[str, Any] | None,
    simulated: Simulated,
    skeleton: Skeleton,
    predicted: Motion | None,
    targets: dict[str, str],
) -> dict[str, Any]:
    """Everything that is known about one motion; `confirmed` says that OpenSim bears it out.

    A motion is confirmed when its labels pass the quality gates and the simulated values meet the objective's verdict
    terms (the hard ones, or all bounded ones where none is hard).
    """
    entry = record or {}
    verdict_terms = {t.name for t in bound.verdict_terms}
    terms = {
        t.name: {
            "target": targets[t.name],
            "predicted": entry.get("predicted", {}).get(t.name),
            "simulated": verdict["values"][t.name],
            "unit": t.measured.unit,
            "satisfied": verdict["met"].get(t.name),
            "decides": t.name in verdict_terms,
        }
        for t in bound.terms
    }
    label = simulated.label
    q = torch.as_tensor(simulated.q.values)[None]
    return {
        "format": FORMAT,
        "name": name,
        "objective": bound.objective.name,
        "confirmed": bool(verdict["satisfied"] and label["status"] == "passed"),
        "satisfied": verdict["satisfied"],
        "labels": {"status": label["status"], "reason": label["reason"]},
        "terms": terms,
        "gates": label["gates"],
        "surrogate_gap": surrogate_gap(predicted, simulated) if predicted is not None else None,
        "limit_violations": bound.limit_violations(q)[0],
        "contact": contact_quality(skeleton, simulated),
        "nearest_training_motion": entry.get("nearest_training_motion"),
        "whole_body_shift": label["whole_body_shift"],
        "timings": label["timings"],
        "provenance": label["provenance"],
    }
