"""A folder as `bige generate` leaves it, of a small biped, validated by OpenSim once and copied for every test."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from generated_motions import begin, entry, vasti_between, write_motion, write_record
from small_models import biped, squat

from bige_opensim.guidance.conflicts import target_of
from bige_opensim.guidance.objective import Objective
from bige_opensim.io.storage import write_storage
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.generated_folder import GeneratedFolder
from bige_opensim.validation.roundtrip import validate

OBJECTIVE = vasti_between(0.02, 0.6)
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


@pytest.fixture(scope="session")
def finished(model: Path, skeleton: Skeleton, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two squats and their certificates, both confirmed."""
    folder = tmp_path_factory.mktemp("finished") / "motions"
    begin(folder, model, OBJECTIVE)
    entries = []
    for name, depth in DEPTHS.items():
        motion = squat(model, frames=40, rate_hz=30.0, depth=depth)
        write_motion(folder, name, motion)
        values = 0.2 + 0.0 * motion.values[:, [0] * len(skeleton.tables.muscles)]
        path = folder / "predicted" / f"{name}_activations.sto"
        write_storage(path, motion.time, values, skeleton.tables.muscles, in_degrees=False)
        entries.append(entry(folder, name, motion, 0.2))
    bound = Objective.load(folder / "objective.toml").bind(skeleton.coordinates, skeleton.tables.muscles, skeleton)
    asked = {term.name: target_of(term) for term in bound.terms}
    made = {"model_sha256": hashlib.sha256(model.read_bytes()).hexdigest()}
    write_record(folder, entries, made, terms=asked)
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
