"""A folder as `bige generate` leaves it, of a small biped, validated by OpenSim once and copied for every test."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from small_models import biped, squat

from bige_opensim.guidance.conflicts import target_of
from bige_opensim.guidance.objective import Objective
from bige_opensim.io.storage import write_coordinates, write_storage
from bige_opensim.motion import Motion
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.model import load
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.generated_folder import GeneratedFolder
from bige_opensim.validation.roundtrip import validate

OBJECTIVE = """
name = "Squat"
[[term]]
name = "vastus medialis peak"
quantity = "activation"
of = ["vasmed_r", "vasmed_l"]
stat = "peak"
between = [0.02, 0.60]
hard = true
[[term]]
name = "pace"
quantity = "duration"
at_least = 2.0
"""
DEPTHS = {"motion_01": 1.0, "motion_02": 0.8}


@pytest.fixture(scope="session", autouse=True)
def keep_apart(own_cache: None) -> None:
    """Compiled models of these tests stay out of the user's cache."""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return biped(tmp_path_factory.mktemp("biped") / "model.osim")


@pytest.fixture(scope="session")
def skeleton(model: Path, own_cache: None) -> Skeleton:
    return Skeleton(compile_skeleton(model))


def write_motion(folder: Path, name: str, motion: Motion) -> None:
    write_coordinates(folder / f"{name}.mot", motion, rotational=load(folder / "model.osim").rotational)


@pytest.fixture(scope="session")
def finished(model: Path, skeleton: Skeleton, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two squats and their certificates, both confirmed."""
    folder = tmp_path_factory.mktemp("finished") / "motions"
    (folder / "predicted").mkdir(parents=True)
    shutil.copyfile(model, folder / "model.osim")
    (folder / "objective.toml").write_text(OBJECTIVE, encoding="utf-8")
    entries = []
    for name, depth in DEPTHS.items():
        motion = squat(model, frames=40, rate_hz=30.0, depth=depth)
        write_motion(folder, name, motion)
        values = 0.2 + 0.0 * motion.values[:, [0] * len(skeleton.tables.muscles)]
        path = folder / "predicted" / f"{name}_activations.sto"
        write_storage(path, motion.time, values, skeleton.tables.muscles, in_degrees=False)
        sha = hashlib.sha256((folder / f"{name}.mot").read_bytes()).hexdigest()
        novelty = {"session": "s", "trial": "t", "start_s": 0.0, "distance": 0.6, "novelty": 0.7}
        predicted = {"vastus medialis peak": 0.2, "pace": motion.duration}
        entry = {"name": name, "duration_s": motion.duration, "predicted": predicted, "motion_sha256": sha}
        entries.append(entry | {"nearest_training_motion": novelty})
    bound = Objective.load(folder / "objective.toml").bind(skeleton.coordinates, skeleton.tables.muscles, skeleton)
    asked = {term.name: target_of(term) for term in bound.terms}
    made = {"model_sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    record = {"format": "bige-generation/1", "terms": asked, "motions": entries, "provenance": made}
    (folder / "generation.json").write_text(json.dumps(record), encoding="utf-8")
    assert [v.status for v in validate(folder, jobs=1)] == ["confirmed", "confirmed"]
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished folder, for one test to tamper with."""
    return Path(shutil.copytree(finished, tmp_path / "motions"))


@pytest.fixture
def held(folder: Path) -> Callable[[str], str]:
    """`held("motion_01")`: what contradicts its certificate now, in one string."""
    return lambda name: " ".join(GeneratedFolder(folder).hold(name).contradictions)
