"""A folder as `bige generate` and `bige validate` leave it, of a small biped, with certificates made by the package."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from generated_motions import begin, entry, vasti_between, write_motion, write_record
from small_models import biped, squat

from bige_opensim.io.storage import write_coordinates, write_storage
from bige_opensim.labelling.quality_gates import Labelled, gates, verdict
from bige_opensim.learning.dataset import FORMAT, VARIABLES, save_dataset
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import file_sha256
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation import generated_folder
from bige_opensim.validation.generated_folder import GeneratedFolder

OBJECTIVE = vasti_between(0.35, 0.45, title="Squat, vastus medialis 35-45 %")

MakeFolder = Callable[..., Path]


@pytest.fixture(autouse=True)
def made_up_activations_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The activations of these folders are made up and explain no motion; tests/validation holds what finds that."""
    monkeypatch.setattr(generated_folder, "recheck", lambda *arguments: ())


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return biped(tmp_path_factory.mktemp("biped") / "model.osim")


@pytest.fixture
def make_folder(model: Path, tmp_path: Path) -> MakeFolder:
    """`make_folder({"motion_01": 0.4, "motion_02": None})`: peak activation by motion, None without a certificate."""

    def make(
        peaks: dict[str, float | None],
        *,
        objective: str = OBJECTIVE,
        residual_n: float = 1.0,
        knee_rad: float = 0.0,
        provenance: dict[str, object] | None = None,
    ) -> Path:
        folder = tmp_path / "motions"
        begin(folder, model, objective)
        skeleton = Skeleton(compile_skeleton(folder / "model.osim"))
        motion = squat(model, frames=80, rate_hz=40.0)
        bent = motion.values.copy()
        bent[:, motion.index("knee_angle_r")] += knee_rad
        motion = motion.with_values(bent)
        entries = []
        for name, peak in peaks.items():
            rotational = [n for n, r in zip(skeleton.coordinates, skeleton.tables.rotational, strict=True) if r]
            write_motion(folder, name, motion)
            _write_activations(folder / "predicted" / f"{name}_activations.sto", motion, skeleton, 0.4)
            entries.append(entry(folder, name, motion, 0.4))
            if peak is not None:
                _simulate(folder, name, motion, skeleton, rotational, peak, residual_n)
        made = {"generator": "generator", "seed": 0, "date": "2026-01-01", **(provenance or {})}
        write_record(folder, entries, made)
        generated = GeneratedFolder(folder)
        for name in (name for name, peak in peaks.items() if peak is not None):
            content = generated.certify(name).as_dict()
            (folder / name / "certificate.json").write_text(json.dumps(content), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def references(model: Path, tmp_path: Path) -> Callable[..., Path]:
    """`references(path, synthetic=True)`: nine training repetitions, k rad deep for k = 0.4 to 1.2, and a test one."""

    def make(path: Path, **attributes: object) -> Path:
        depths = [*np.linspace(0.4, 1.2, 9), 3.0]
        motions = [squat(model, frames=101, rate_hz=50.0, depth=float(d)) for d in depths]
        muscles = list(compile_skeleton(model).muscles)
        values = {
            "q": np.array([m.values for m in motions]),
            "activations": np.tile(np.linspace(0, 1, 101)[None, :, None], (len(motions), 1, len(muscles))),
            "moments": np.zeros((len(motions), 101, len(motions[0].names))),
            "features": np.ones((len(motions), 1)),
            "split": np.array(["train"] * 9 + ["test"], dtype=object),
            "subject": np.array([*"aaabbbccc", "z"], dtype=object),
        }
        data = {}
        for name, (dimensions, units, _) in VARIABLES.items():
            default = np.ones(len(motions)) if units else np.array(["x"] * len(motions), dtype=object)
            data[name] = (dimensions, values.get(name, default))
        coordinates = list(motions[0].names)
        data["rotational"] = ("coordinate", np.array([not n.startswith("pelvis_t") for n in coordinates]))
        coords = {"coordinate": coordinates, "muscle": muscles, "feature": ["mass_kg"]}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_dataset(xr.Dataset(data, coords=coords, attrs={"format": FORMAT, **attributes}), path)
        return path

    return make


def _write_activations(path: Path, motion: Motion, skeleton: Skeleton, peak: float) -> np.ndarray:
    bump = 0.01 + (peak - 0.01) * np.sin(np.pi * motion.time / motion.duration) ** 2
    values = np.tile(bump[:, None], (1, len(skeleton.tables.muscles)))
    middle = np.abs(bump - bump.max()).argmin()
    values[middle] = peak
    write_storage(path, motion.time, values, skeleton.tables.muscles, in_degrees=False)
    return values


def _simulate(
    folder: Path,
    name: str,
    motion: Motion,
    skeleton: Skeleton,
    rotational: list[str],
    peak: float,
    residual_n: float,
) -> None:
    trial = folder / name
    trial.mkdir()
    write_coordinates(trial / "coordinates.mot", motion, rotational=rotational)
    activations = _write_activations(trial / "activations.sto", motion, skeleton, peak)
    (trial / "states.sto").write_bytes((trial / "activations.sto").read_bytes())
    zeros = np.zeros((motion.frames, len(skeleton.coordinates)))
    write_storage(trial / "inverse_dynamics.sto", motion.time, zeros, skeleton.coordinates, in_degrees=False)
    force = np.tile([residual_n, 0.0, 0.0], (motion.frames, 1))
    weight = np.full(motion.frames, 700.0)
    solved = np.ones(motion.frames)
    found = gates(Labelled(force, 0 * force, weight, 1.0, zeros, zeros, activations, solved, (2.0, "femur_r"), 3.0))
    status, reason = verdict(found)
    label = {
        "status": status,
        "reason": reason,
        "gates": {k: g.as_dict() for k, g in found.items()},
        "ground_height_m": 0.0,
        "whole_body_shift": {"rms_mm": 1.0, "peak_mm": 3.0},
        "timings": {},
        "provenance": {"opensim": "4.6", "motion_sha256": file_sha256(folder / f"{name}.mot")},
    }
    (trial / "label.json").write_text(json.dumps(label), encoding="utf-8")
