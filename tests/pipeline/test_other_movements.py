"""Other movements than squats, from synthetic people to motions: pipelines, shortened, and a twin without labels."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from squat_like_repetitions import COORDINATES, MUSCLES_6, squat_like_dataset

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.guidance.generated import RECORD
from bige_opensim.guidance.generation import GenerationRequest, MotionSearch
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.learning.surrogate import SurrogateConfig
from bige_opensim.learning.training import GeneratorTraining, SurrogateTraining, train_generator, train_surrogate
from bige_opensim.learning.vqvae import GeneratorConfig
from bige_opensim.movements.repetitions import find_movement
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.seat import Seat
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.pipeline.run import NAMES, run
from bige_opensim.pipeline.settings import read_pipeline
from bige_opensim.pipeline.stages import PipelineWork
from bige_opensim.synthesis.movements import MOVEMENTS

PIPELINES = Path(__file__).parents[2] / "pipelines"
SHORT = {
    "cohort": {"subjects": 4, "reps": 2, "seed": 1},
    "label": {"audit": 0.0},
    "surrogate": {"epochs": 6},
    "generator": {"epochs": 12},
    "search": {"count": 1, "iterations": 12, "rehearsals": 1},
}


@pytest.mark.slow
@pytest.mark.opensim
@pytest.mark.parametrize(
    ("name", "movement"),
    [("sit_to_stand", "sit-to-stand"), ("split_squat", "lunge"), ("countermovement_squat", "squat")],
)
def test_a_pipeline_of_another_movement_ends_with_a_certificate(tmp_path, silently, name, movement) -> None:
    work = PipelineWork(read_pipeline(PIPELINES / f"{name}.toml", SHORT), tmp_path / "out", None, 2, silently)
    assert [d.name for d in run(work)] == list(NAMES)
    ds = load_dataset(work.repetitions)
    assert (ds.attrs["movement"], ds.sizes["repetition"]) == (movement, 8)
    record = json.loads((work.motions / RECORD).read_text(encoding="utf-8"))
    assert record.get("chair") == ("auto" if name == "sit_to_stand" else None)
    certificate = json.loads((work.motions / "motion_01/certificate.json").read_text(encoding="utf-8"))
    assert {"balance", "foot_slide", "joint_limits"} <= set(certificate["motion_gates"])
    labels = [json.loads(p.read_text(encoding="utf-8")) for p in work.labels.glob("*/*/label.json")]
    assert [label["chair"] is not None for label in labels] == [name == "sit_to_stand"] * 4


OBJECTIVE = """
name = "Any"
[[term]]
quantity = "depth"
stat = "peak"
between = [0.2, 0.6]
[search]
iterations = 2
"""


@pytest.fixture(scope="module")
def skeleton() -> Skeleton:
    return Skeleton(compile_skeleton(built_in(MODEL)))


def searched(folder: Path, skeleton: Skeleton, movement: str, seat_m: float | None = None) -> MotionSearch:
    """A search with networks of an epoch that know two people of the movement."""
    ds, cut = squat_like_dataset(MUSCLES_6), []
    for seed in (1, 2):
        _, _, motion = MOVEMENTS[movement].perform(skeleton, 2, np.random.default_rng(seed))
        found = find_movement(motion)
        assert found.movement == movement
        cut += [
            motion.resampled(np.linspace(r.start, r.end, ds.sizes["sample"])).select(COORDINATES).values
            for r in found.repetitions
        ]
    ds["q"].values[:] = np.resize(cut, ds["q"].shape)
    ds = ds.assign_attrs(movement=movement)
    train_generator(
        ds,
        folder / "gen",
        GeneratorTraining(epochs=1, model=GeneratorConfig(width=16, latent_width=8, codes=16, stages=1)),
    )
    train_surrogate(ds, folder / "sur", SurrogateTraining(epochs=1, model=SurrogateConfig(16, 2, 1)))
    (folder / "goal.toml").write_text(OBJECTIVE, encoding="utf-8")
    asked = folder / "gen", folder / "sur", folder / "goal.toml", built_in(MODEL), skeleton.tables, 2, 0
    return MotionSearch(replace(GenerationRequest(*asked), seat_m=seat_m))


@pytest.mark.parametrize(("movement", "seat_m"), [("sit-to-stand", 0.47), ("lunge", None)])
def test_synthetic_people_of_another_movement_lead_to_motions_of_it(tmp_path, skeleton, movement, seat_m) -> None:
    search = searched(tmp_path, skeleton, movement, seat_m)
    result = search.run()
    found = search.generated(result)
    assert found.record.get("chair") == (None if seat_m is None else "0.47")
    assert len(found.motions) == 2
    for motion in found.motions.values():
        poses = skeleton(torch.as_tensor(motion.select(skeleton.coordinates).values))
        height = skeleton.contact_points(poses)[..., 1]
        assert float(height.amin(1).abs().max()) < 1e-3
        heels = height[:, [i for i, n in enumerate(skeleton.contact_names) if n == "s1_l"]]
        assert (float(heels.min()) > 0.03) == (movement == "lunge")
    if seat_m is not None:
        seat = Seat.under(skeleton, 0.0, (0.0, 0.0))
        assert seat is not None
        seats = search.objective.observe(torch.as_tensor(result.motions), torch.as_tensor(result.durations)).seat
        assert seats is not None
        assert torch.as_tensor(seats.height_m).flatten().tolist() == pytest.approx([seat_m] * 2)
