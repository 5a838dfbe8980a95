"""What does not belong together, or would never end, is said in a sentence before a search begins."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from squat_like_repetitions import MUSCLES_6, squat_like_dataset, squat_like_mechanics

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.cli import app
from bige_opensim.guidance.generated import RECORD
from bige_opensim.guidance.generation import (
    GenerationError,
    GenerationRequest,
    MotionSearch,
    _require_movement,
    generate,
)
from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import Objective
from bige_opensim.io.storage import read_coordinates
from bige_opensim.learning.checkpoint import CheckpointError
from bige_opensim.learning.dataset import save_dataset
from bige_opensim.learning.surrogate import SurrogateConfig
from bige_opensim.learning.training import GeneratorTraining, SurrogateTraining, train_generator, train_surrogate
from bige_opensim.learning.vqvae import GeneratorConfig
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.physics.skeleton import Skeleton

OBJECTIVE = """
name = "Deep"
[[term]]
quantity = "coordinate"
of = ["knee_angle_r"]
stat = "peak"
between = [60, 140]
[search]
iterations = 3
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> GenerationRequest:
    """A request that works: networks of one epoch, the package's model."""
    folder, data = tmp_path_factory.mktemp("networks"), squat_like_dataset(MUSCLES_6)
    small = GeneratorConfig(width=16, latent_width=8, codes=16, stages=1)
    train_generator(data, folder / "generator", GeneratorTraining(epochs=1, model=small))
    train_surrogate(data, folder / "surrogate", SurrogateTraining(epochs=1, model=SurrogateConfig(16, 1)))
    (folder / "objective.toml").write_text(OBJECTIVE)
    model = built_in(MODEL)
    tables = compile_skeleton(model)
    return GenerationRequest(folder / "generator", folder / "surrogate", folder / "objective.toml", model, tables, 2, 0)


@pytest.fixture
def request_(whole: GenerationRequest, tmp_path: Path) -> GenerationRequest:
    """The same with copies of the networks that a test may spoil."""
    for name in ("generator", "surrogate"):
        shutil.copytree(getattr(whole, name), tmp_path / name)
    shutil.copy(whole.objective, tmp_path / "objective.toml")
    return replace(
        whole,
        generator=tmp_path / "generator",
        surrogate=tmp_path / "surrogate",
        objective=tmp_path / "objective.toml",
    )


def out_of(request: GenerationRequest) -> Path:
    """Where the motions of a request go."""
    return request.objective.parent / "out"


def refuses(request: GenerationRequest, error: type[ValueError], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        generate(request)
    assert "\n" not in str(caught.value)
    assert not out_of(request).exists()
    assert not list(out_of(request).parent.glob(".*"))


def retrained(request: GenerationRequest, change: Callable) -> None:
    """Train the surrogate on another dataset."""
    shutil.rmtree(request.surrogate)
    data = change(squat_like_dataset(MUSCLES_6))
    config = SurrogateTraining(epochs=1, mirror=False, model=SurrogateConfig(16, 1))
    train_surrogate(data, request.surrogate, config)


def test_a_surrogate_of_another_dataset_is_told_and_the_search_goes_on(request_):
    generate(request_).save(out_of(request_))
    assert json.loads((out_of(request_) / RECORD).read_text())["notes"] == []
    retrained(request_, lambda ds: ds.assign(q=ds["q"] + 1e-3))
    generate(request_).save(out_of(request_))
    assert json.loads((out_of(request_) / RECORD).read_text())["notes"] == [], "as good as the same"
    retrained(request_, lambda ds: ds.assign(q=ds["q"] + 0.3))
    words = ["generate", "--generator", request_.generator, "--surrogate", request_.surrogate]
    words += ["-n", 2, "--rehearsals", 0]
    words += ["--objective", request_.objective, "--model", request_.model, "--out", out_of(request_)]
    assert app([str(word) for word in words], result_action="return_value") == 0
    (note,) = json.loads((out_of(request_) / RECORD).read_text())["notes"]
    assert "generator and surrogate were trained on different datasets" in note
    assert "differs most, its mean by" in note


def test_feet_of_what_is_written_stand_still_on_the_ground(request_):
    skeleton = Skeleton(request_.tables)
    folder = generate(request_).save(out_of(request_))
    rotational = [n for n, turns in zip(skeleton.coordinates, request_.tables.rotational, strict=True) if turns]
    for path in folder.glob("*.mot"):
        motion = read_coordinates(path, rotational=rotational).motion.select(skeleton.coordinates)
        points = skeleton.contact_points(skeleton(torch.as_tensor(motion.values)))
        toes = [i for i, name in enumerate(skeleton.contact_names) if name[:2] in ("s5", "s6")]
        assert (points - points[0])[:, toes].norm(dim=-1).max() < 5e-4
        # a heel that is up turns about the toes' joint, 4 cm above the ground, and what is under that with it
        flat = torch.stack([torch.as_tensor(motion[f"mtp_angle_{s}"]).abs() < 2e-3 for s in "rl"], 1)
        for f, foot in enumerate(points.unflatten(1, (2, -1)).unbind(1)):
            still = foot[flat[:, f]]
            assert (still - still[:1]).norm(dim=-1).max() < 5e-4
        assert flat.double().mean() > 0.4
        assert points[..., 1].unflatten(1, (2, -1)).amin(-1).abs().max() < 5e-4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.isel(coordinate=slice(0, 30)), "surrogate: the surrogate knows .* is in one of them only"),
        (lambda ds: ds.isel(coordinate=[1, 0, *range(2, 33)]), "they are in another order"),
        (lambda ds: ds.assign(rotational=ds["rotational"] | True), "turns .*pelvis_tx is in one of them only"),
        (lambda ds: ds.assign_coords(muscle=[f"{m}x" for m in ds["muscle"].values]), "lacks the muscles vasmed_rx"),
        (lambda ds: ds.assign_coords(feature=[f"my_{f}" for f in ds["feature"].values]), "subject features my_mass_kg"),
    ],
)  # fmt: skip
def test_channels_that_differ_are_named(request_, change: Callable, message: str):
    retrained(request_, change)
    refuses(request_, GenerationError, message)


def test_coordinates_that_the_model_lacks_are_named(request_):
    names = tuple(n.replace("lumbar", "spine") for n in request_.tables.coordinates)
    tables = replace(request_.tables, coordinates=names)
    refuses(
        replace(request_, tables=tables), GenerationError, "coordinates lumbar_extension.*nearest.* spine_extension"
    )


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_references_that_are_cut_off_are_one_sentence(request_, share: float):
    path = request_.generator / "references.nc"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refuses(request_, ValueError, r"references\.nc.*(not the file that was written|train the generator again)")


def test_references_of_another_generator_are_refused(request_):
    save_dataset(squat_like_dataset(MUSCLES_6, seed=1), request_.generator / "references.nc")
    refuses(request_, CheckpointError, r"references\.nc is not the file that was written with .*config\.json")


def test_references_without_a_hash_are_checked_too(request_):
    """As earlier versions wrote them: they must at least be repetitions of the generator's coordinates."""
    path = request_.generator / "config.json"
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))
    references = request_.generator / "references.nc"
    save_dataset(squat_like_dataset(MUSCLES_6).isel(coordinate=slice(0, 20)), references)
    refuses(request_, GenerationError, "its repetitions have .* is in one of them only")
    save_dataset(squat_like_dataset(MUSCLES_6).isel(repetition=[0]), references)
    refuses(request_, GenerationError, "fewer than two repetitions")
    references.write_text("not netCDF")
    refuses(request_, GenerationError, "not a netCDF file.*train the generator again")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"iterations": 10**9}, "--iterations: 1000000000 iterations; from 1 to 100000"),
        ({"iterations": 0}, "--iterations: 0 iterations"),
        ({"iterations": -5}, "--iterations: -5 iterations"),
        ({"count": 10**9}, "1000000000 motions: from 1 to 1000"),
        ({"count": 0}, "0 motions: from 1 to 1000"),
    ],
)
def test_a_search_without_end_does_not_start(request_, fields: dict[str, int], message: str):
    refuses(replace(request_, **fields), ValueError, message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("iterations = 1000000000", "1000000000 iterations; from 1 to 100000 are possible, and 600 are usual"),
        ("learning_rate = 1e9", "learning_rate must be a number of at most"),
        ("learning_rate = 50.0", r"learning_rate = 50 is beyond 1"),
        ("beta = 1e300", "beta must be a number of at most"),
        ("manifold = nan", "manifold must be a number"),
    ],
)
def test_settings_that_ruin_every_search_are_refused(request_, line: str, message: str):
    request_.objective.write_text(OBJECTIVE.replace("iterations = 3", line))
    refuses(request_, ObjectiveError, message)


def test_the_largest_settings_that_are_possible_keep_the_loss_finite(request_):
    text = OBJECTIVE.replace("between = [60, 140]", "between = [60, 140]\nweight = 1e6\nscale = 1e-6")
    request_.objective.write_text(text.replace("iterations = 3", "iterations = 3\nlearning_rate = 1.0\nbeta = 1e6"))
    assert np.isfinite(generate(request_).result.loss).all()


def test_two_searches_at_once_into_one_folder_leave_one_whole_result(request_, tmp_path):
    words = ["generate", "--generator", request_.generator, "--surrogate", request_.surrogate]
    words += ["--objective", request_.objective, "--model", request_.model, "--out", out_of(request_)]
    words += ["--rehearsals", 0, "-n"]
    command = [sys.executable, "-m", "bige_opensim.cli", *map(str, words)]
    crowd = [subprocess.Popen([*command, str(n)], stderr=subprocess.PIPE, text=True) for n in (2, 5)]
    ends = [process.communicate()[1] for process in crowd]
    assert all("Traceback" not in end for end in ends)
    record = json.loads((out_of(request_) / RECORD).read_text())
    assert len(record["motions"]) == len(list(out_of(request_).glob("*.mot")))
    assert not list(tmp_path.glob(".out*"))


def test_loads_and_moments_need_the_physics_and_say_so(request_):
    term = '[[term]]\nquantity = "joint_load"\nof = ["knee_r"]\nstat = "peak"\nat_most = 3.0\n'
    request_.objective.write_text(OBJECTIVE.replace("[search]", term + "[search]"))
    refuses(request_, ObjectiveError, "measures joint_load, which the surrogate does not predict.*--predictor physics")


def test_a_generator_of_motions_that_leave_the_ground_is_refused(request_):
    config = json.loads((request_.generator / "config.json").read_text())
    del config["sha256"]
    (request_.generator / "config.json").write_text(json.dumps(config))
    jumps = squat_like_dataset(MUSCLES_6).assign_attrs(movement="jump")
    save_dataset(jumps, request_.generator / "references.nc")
    refuses(request_, GenerationError, "was trained on jump, in which feet leave the ground")


def test_a_chair_for_who_does_not_sit_is_refused(request_):
    refuses(replace(request_, seat_m=0.45), GenerationError, "0.45 m high was asked for, and .* was trained on squat")


def test_an_objective_of_another_movement_than_the_generators_is_refused() -> None:
    term = {"quantity": "depth", "stat": "peak", "at_least": 0.2}
    sitting = Objective.from_dict({"movement": "sit-to-stand", "term": [term]}, source="chair.toml")
    _require_movement(Path("runs/chair"), "sit-to-stand", sitting)
    _require_movement(Path("runs/squats"), "squat", Objective.from_dict({"term": [term]}))
    with pytest.raises(GenerationError, match=r"chair\.toml: is about the movement sit-to-stand, and .*squats was"):
        _require_movement(Path("runs/squats"), "squat", sitting)


def test_a_draft_has_the_activations_of_every_other_sample(request_: GenerationRequest) -> None:
    data = squat_like_dataset(MUSCLES_6)
    shutil.rmtree(request_.surrogate)
    config = SurrogateTraining(epochs=1, model=SurrogateConfig(16, 1))
    train_surrogate(data, request_.surrogate, config, mechanics=squat_like_mechanics(data))
    refuses(request_, GenerationError, "predicts people who stand on two feet")
    search = MotionSearch(replace(request_, muscles=compile_muscles(request_.model)))
    draft, duration = search.references[:2, ::2], search.durations[:2]
    assert search.mechanics is not None
    with torch.no_grad():
        some, every = search.by_surrogate(draft, duration), search.by_surrogate(search.between @ draft, duration)
    torch.testing.assert_close(some, every[:, ::2], atol=1e-4, rtol=0.0)
    assert float(every.std()) > 1e-3
