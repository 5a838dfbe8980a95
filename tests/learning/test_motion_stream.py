"""Streamed motions: the same from the same seed, carried by the ground, and labelled as the physics says."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from small_models import biped
from squat_repetitions import repetitions

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.learning.augmentation import Augmentation
from bige_opensim.learning.bodies import Body, BodySpread, planted, varied_body, varied_strength
from bige_opensim.learning.checkpoint import load_surrogate
from bige_opensim.learning.motion_stream import MotionStream, StreamError, StreamSettings, one_branch, redescribed
from bige_opensim.learning.subject_inputs import subject_inputs
from bige_opensim.learning.training import SurrogateConfig, SurrogateTraining, TrainingError, train_surrogate
from bige_opensim.learning.training_data import Repetitions
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.compile_muscles import compile_muscles
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.mechanics import Mechanics
from bige_opensim.physics.muscle_share import share
from bige_opensim.physics.rotations import rotation_triples
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.physics.stance_loads import StanceLoads
from bige_opensim.workflows.stream import mechanics_of, models_in, stream_bodies

SETTINGS = StreamSettings(
    motions=8,
    shard=4,
    wide_bodies=1,
    residual=0.3,
    tremble_rad_s2=0.5,
    tremble_m_s2=0.1,
    motion=Augmentation(angle_deg=0.5),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return biped(tmp_path_factory.mktemp("biped") / "biped.osim", strength=3.0)


@pytest.fixture(scope="module")
def body(model: Path) -> Body:
    return Body("biped", compile_skeleton(model), compile_muscles(model, poses=200))


@pytest.fixture(scope="module")
def dataset(model: Path, body: Body) -> xr.Dataset:
    """Squats of seven people on one body, with the body's muscles and features."""
    ds = repetitions(model)
    muscles, features = list(body.muscles.names), subject_features(Skeleton(body.skeleton))
    activations = np.repeat(ds["activations"].values[..., :1], len(muscles), axis=2)
    return ds.drop_vars(["activations", "features", "muscle", "feature"]).assign(
        activations=(("repetition", "sample", "muscle"), activations),
        features=(("repetition", "feature"), np.tile(list(features.values()), (len(activations), 1))),
        muscle=("muscle", np.array(muscles, dtype=object)),
        feature=("feature", np.array(list(features), dtype=object)),
    )


@pytest.fixture
def data(dataset: xr.Dataset) -> Repetitions:
    return Repetitions.read(dataset, labelled=True, seed=0, device="cpu")


def contents(folder: Path) -> dict[str, str]:
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}


def test_a_stream_is_the_same_from_its_seed_and_goes_on_where_it_was(
    data: Repetitions, body: Body, tmp_path: Path
) -> None:
    short = replace(SETTINGS, motions=4)
    MotionStream(data, [body], short, tmp_path / "a", 0).make()
    first = contents(tmp_path / "a")
    longer = MotionStream(data, [body], SETTINGS, tmp_path / "a", 0)
    longer.make()
    MotionStream(data, [body], SETTINGS, tmp_path / "b", 0).make()
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert first.items() < contents(tmp_path / "a").items()
    MotionStream(data, [body], short, tmp_path / "c", 1).make()
    other = MotionStream(data, [body], short, tmp_path / "c", 1).read()
    assert not torch.equal(other.q, longer.read().q[:4])


def test_streamed_labels_are_the_least_effort_problems_and_the_ground_carries_the_motions(
    data: Repetitions, body: Body, tmp_path: Path
) -> None:
    still = BodySpread(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    settings = replace(SETTINGS, motions=4, body=still, every=1)
    stream = MotionStream(data, [body], settings, tmp_path / "s", 0)
    stream.make()
    found = stream.read()
    predictor = body.predictor(data.coordinates, data.q.shape[1])
    with torch.no_grad():
        solved = predictor.solve(found.q.double(), found.duration.double())
    weight = float(predictor.skeleton.weight_n)
    assert solved.carried(1.05 * settings.residual * weight).all()
    assert float((solved.activations - found.activations).abs().max()) < 5e-3
    assert float(found.activations.std()) > 0.02
    with torch.no_grad():
        carried = StanceLoads(predictor.skeleton, data.coordinates, data.q.shape[1])(found.q.double(), found.duration)
    assert float((carried - found.loads).abs().max()) < 2e-3 * float(carried.abs().max())
    shared = share(found.capacity.double(), found.carried.double()[..., stream.spans.moved], stream.spans).activations
    assert float((shared - found.activations).square().mean().sqrt()) < 0.01
    moved = (found.q[:, :, None] - data.q[data.rows["fit"]].permute(1, 0, 2)[None]).abs().amax((1, 3))
    assert float(moved.min()) > np.deg2rad(0.5)  # no recorded motion comes back as it was


def test_every_other_frame_is_close_to_every_frame(data: Repetitions, body: Body, tmp_path: Path) -> None:
    found = []
    for every in (1, 2):
        stream = MotionStream(data, [body], replace(SETTINGS, motions=4, every=every), tmp_path / str(every), 0)
        stream.make()
        found.append(stream.read())
    assert torch.equal(found[0].q, found[1].q)
    off = (found[0].activations - found[1].activations).abs()
    assert float(off[:, ::2].max()) < 1e-3
    assert 0.0 < float(off.mean()) < 5e-3


def test_mass_and_strength_together_leave_activations_as_they_are(data: Repetitions, body: Body) -> None:
    twice = replace(
        body, skeleton=replace(body.skeleton, mass=2 * body.skeleton.mass, inertia=2 * body.skeleton.inertia)
    )
    q, duration = data.q[:2].double(), data.duration[:2].double()
    strength = torch.ones(2, len(body.muscles.names))
    with torch.no_grad():
        one, two = (
            b.predictor(data.coordinates, q.shape[1]).solve(q, duration, strength=k * strength).activations
            for k, b in ((1.0, body), (2.0, twice))
        )
    assert float((one - two).abs().max()) < 0.02
    assert float(one.std()) > 0.02


def test_a_varied_body_has_other_masses_and_strengths_and_left_and_right_alike(body: Body) -> None:
    spread = BodySpread(side_strength=0.0)
    factor = varied_strength(body.muscles, spread, np.random.default_rng(0))
    names = body.muscles.names
    sides = [(names.index(n), names.index(f"{n[:-2]}_l")) for n in names if n.endswith("_r")]
    assert sides
    assert all(factor[r] == pytest.approx(factor[left]) for r, left in sides)
    assert np.ptp(factor) > 0.02
    varied = varied_body(body, spread, np.random.default_rng(0))
    ratio = varied.skeleton.mass / body.skeleton.mass
    assert np.ptp(ratio) > 0.01
    assert np.allclose(varied.skeleton.inertia, body.skeleton.inertia * ratio[:, None, None])


def test_planted_feet_stand_still_on_the_ground_and_the_root_is_not_shaken(data: Repetitions, body: Body) -> None:
    skeleton = Skeleton(body.skeleton)
    columns = [skeleton.coordinates.index(n) for n in data.coordinates]
    own = data.q[:3].double()
    q = own.clone()
    q[..., data.coordinates.index("pelvis_ty")] += 0.3 + 0.05 * torch.linspace(0, 1, q.shape[1])
    q[..., data.coordinates.index("pelvis_tx")] += 0.1 * torch.linspace(0, 1, q.shape[1])
    found = planted(skeleton, columns, q)
    full = skeleton.get_buffer("default").expand(*q.shape[:2], -1).clone()
    full[..., columns] = found
    points = skeleton.contact_points(skeleton(full))
    assert float(points[..., 1].amin((1, 2)).abs().max()) < 2e-3
    assert float((points[..., [0, 2]].mean(2) - points[:, :1][..., [0, 2]].mean(2)).abs().max()) < 2e-3
    again = planted(skeleton, columns, found)
    assert float((again - found).abs().max()) < 1e-4
    bends = [x[..., data.coordinates.index("pelvis_ty")].diff(n=2, dim=1).abs().amax() for x in (own, found)]
    assert bends[1] < 1.2 * bends[0]


def test_other_angles_of_an_orientation_move_no_body_and_one_branch_finds_the_first_again() -> None:
    tables = compile_skeleton(built_in(MODEL))
    skeleton = Skeleton(tables)
    triples = [t for t in rotation_triples(tables) if t[0].startswith("arm")]
    assert len(triples) == 2
    places = [[skeleton.coordinates.index(n) for n in t] for t in triples]
    random = np.random.default_rng(0)
    q = torch.as_tensor(np.tile(tables.default, (2, 7, 1)))
    q[..., [i for p in places for i in p]] += torch.as_tensor(random.uniform(-0.4, 0.4, (2, 7, 6)))
    other = redescribed(q, places)
    other[1, :, places[0][0]] -= 2 * torch.pi
    before, after = skeleton(q), skeleton(other)
    assert float((before.rotation - after.rotation).abs().max()) < 1e-9
    assert float((other - q).abs().max()) > 1.0
    torch.testing.assert_close(one_branch(other, places), one_branch(q, places))
    torch.testing.assert_close(one_branch(q, places), q)


def test_strengths_go_in_against_weight() -> None:
    features = torch.tensor([[70.0, 0.4, 1400.0], [140.0, 0.4, 2800.0]])
    found = subject_inputs(features, ("mass_kg", "femur_length_m", "strength_vasmed_r"))
    assert float(found[0, 2]) == pytest.approx(np.log(1400.0 / (9.81 * 70.0)), abs=1e-5)
    assert float(found[0, 2]) == pytest.approx(float(found[1, 2]), abs=1e-6)
    assert float(found[1, 0]) == pytest.approx(np.log(140.0), abs=1e-5)


@pytest.mark.parametrize("spoil", ["cut", "other", "format"])
def test_a_shard_that_is_damaged_or_of_another_stream_is_a_sentence(
    data: Repetitions, body: Body, tmp_path: Path, spoil: str
) -> None:
    settings = replace(SETTINGS, motions=4)
    stream = MotionStream(data, [body], settings, tmp_path / "s", 0)
    stream.make()
    path = stream.path(0)
    if spoil == "cut":
        path.write_bytes(path.read_bytes()[:-200])
    elif spoil == "format":
        path.write_bytes(path.read_bytes().replace(b"bige-stream/6", b"bige-stream/0"))
    else:
        stream = MotionStream(data, [body], replace(settings, residual=0.25), tmp_path / "s", 0)
    expected = {"cut": "cut off", "other": "other data, bodies or settings", "format": "bige-stream/0"}[spoil]
    with pytest.raises(StreamError, match=expected):
        stream.make()


def test_motions_that_no_ground_carries_end_with_a_sentence(
    data: Repetitions, body: Body, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bige_opensim.learning.motion_stream.MOST_BATCHES", 2)
    with pytest.raises(StreamError, match="the ground carries 0 of"):
        MotionStream(data, [body], replace(SETTINGS, motions=1, shard=1, residual=1e-6), tmp_path / "s", 0).make()


def test_bodies_of_other_families_and_no_bodies_are_refused(data: Repetitions, body: Body, tmp_path: Path) -> None:
    with pytest.raises(StreamError, match="needs bodies"):
        MotionStream(data, [], SETTINGS, tmp_path / "s", 0)
    other = replace(data, muscles=tuple(reversed(data.muscles)))
    with pytest.raises(StreamError, match="its muscles are not those of the dataset"):
        MotionStream(other, [body], SETTINGS, tmp_path / "s", 0)
    with pytest.raises(StreamError, match="lacks the coordinates flying"):
        MotionStream(replace(data, coordinates=(*data.coordinates[:-1], "flying")), [body], SETTINGS, tmp_path / "s", 0)


def test_models_of_people_who_are_held_out_are_no_bodies(
    data: Repetitions, dataset: xr.Dataset, model: Path, tmp_path: Path
) -> None:
    assert data.held_out_models == (file_sha256(model),)
    adjusted = {k: v | {"adjusted_sha256": "f" * 64} for k, v in json.loads(dataset.attrs["models"]).items()}
    both = dataset.assign_attrs(models=json.dumps(adjusted))
    read = Repetitions.read(both, labelled=True, seed=0, device="cpu")
    assert read.held_out_models == (file_sha256(model), "f" * 64)
    with pytest.raises(StreamError, match="validation or test subjects"):
        list(stream_bodies(data, models_in([model]), SETTINGS))
    with pytest.raises(StreamError, match="no model"):
        models_in([tmp_path])


def test_mechanics_of_repetitions_are_those_of_their_own_models(
    dataset: xr.Dataset, data: Repetitions, model: Path, body: Body
) -> None:
    mine = dataset.copy()
    known = json.loads(mine.attrs["models"])
    last = f"{mine['session'].values[-1]}/{mine['trial'].values[-1]}"
    mine.attrs["models"] = json.dumps({k: v | {"sha256": "0" * 64} if k == last else v for k, v in known.items()})
    found, whole = mechanics_of(mine, [model]), mechanics_of(dataset, [model])
    assert found is not None
    assert whole is not None
    adjusted = {k: {"sha256": "0" * 64, "adjusted_sha256": v["sha256"]} for k, v in known.items()}
    again = mechanics_of(mine.assign_attrs(models=json.dumps(adjusted)), [model])
    assert again is not None
    torch.testing.assert_close(again[:2], whole[:2])
    trials = zip(mine["session"].values, mine["trial"].values, strict=True)
    others = torch.as_tensor([f"{session}/{trial}" != last for session, trial in trials])
    assert torch.isnan(found.loads[~others]).all()
    assert torch.isnan(found.capacity[~others]).all()
    of_body = StanceLoads(Skeleton(body.skeleton), data.coordinates, data.q.shape[1])
    q, duration = (torch.as_tensor(mine[n].values)[others] for n in ("q", "duration"))
    torch.testing.assert_close(found.loads[others], of_body(q, duration).float(), atol=1e-4, rtol=1e-3)
    with pytest.raises(StreamError, match="none of the 1 models given is one that the repetitions were labelled on"):
        mechanics_of(mine.assign_attrs(models="{}"), [model])
    told: list[tuple[int, str]] = []
    mechanics_of(dataset, [model], lambda done, name: told.append((done, name)))
    assert [done for done, _ in told] == [1]


def test_repetitions_whose_models_are_not_given_are_left_out(
    dataset: xr.Dataset, data: Repetitions, model: Path
) -> None:
    mechanics = mechanics_of(dataset, [model])
    assert mechanics is not None
    mechanics.capacity[int(data.rows["fit"][0])] = torch.nan
    known = data.with_mechanics(mechanics)
    assert known.fingerprint != data.fingerprint
    assert known.left_out == data.left_out + 1
    assert torch.equal(known.rows["fit"], data.rows["fit"][1:])
    assert data.mechanics(data.rows["fit"]) is None
    some = known.mechanics(known.rows["fit"][:2], torch.tensor([0, 50]))
    assert some is not None
    assert some.capacity.dtype == torch.float32
    torch.testing.assert_close(some.loads, mechanics.loads[known.rows["fit"][:2]][:, [0, 50]])
    with pytest.raises(TrainingError, match=r"of 0 repetitions to train on .* give the models that the repetitions"):
        data.with_mechanics(mechanics._replace(loads=torch.full_like(mechanics.loads, torch.nan)))


def test_a_network_with_models_shares_what_joints_carry(
    dataset: xr.Dataset, data: Repetitions, model: Path, tmp_path: Path
) -> None:
    config = SurrogateTraining(epochs=2, model=SurrogateConfig(width=16, layers=1, ground_width=16, ground_layers=1))
    mechanics = mechanics_of(dataset, [model])
    assert mechanics is not None
    network = load_surrogate(train_surrogate(dataset, tmp_path / "run", config, mechanics=mechanics))
    rows = torch.arange(2)
    given = (data.q[rows], data.duration[rows], data.features[rows])
    own = Mechanics(mechanics.loads[rows], mechanics.capacity[rows], mechanics.spans)
    with torch.no_grad():
        found, more = (network(*given, mechanics=x) for x in (own, own._replace(loads=own.loads + 0.01)))
    assert float((more - found).abs().max()) > 1e-3
    assert network.channels.loads[-1] == f"lower_{data.coordinates[-1]}"
    frames = data.q[data.rows["fit"]].flatten(0, 1)
    assert float((network.poses[:, None] - frames[None]).abs().amax(-1).min(1).values.max()) == 0.0
    without = load_surrogate(train_surrogate(dataset, tmp_path / "without", config))
    assert without.channels.loads == ()
    with torch.no_grad():
        torch.testing.assert_close(without(*given, mechanics=own), without(*given))
    with pytest.raises(TrainingError, match=r"start: run shares .* give the models"):
        train_surrogate(dataset, tmp_path / "on", replace(config, start=str(tmp_path / "run")))


def test_training_with_a_stream_keeps_whole_bodies_for_calibration(
    dataset: xr.Dataset, data: Repetitions, body: Body, model: Path, tmp_path: Path
) -> None:
    bodies = [replace(body, name=f"body {i}") for i in range(8)]
    settings = replace(SETTINGS, motions=24, shard=24)
    config = SurrogateTraining(
        epochs=2, stream=settings, model=SurrogateConfig(width=16, layers=1, ground_width=16, ground_layers=1)
    )
    stream = MotionStream(data, bodies, settings, tmp_path / "s", config.seed)
    stream.make()
    spread = stream.read()._replace(body=torch.arange(24) % 8)
    mechanics = mechanics_of(dataset, [model])
    assert mechanics is not None
    with pytest.raises(TrainingError, match="give the models of their people"):
        data.with_stream(spread, stream.spans, stream.fingerprint)
    data = data.with_mechanics(mechanics)
    with pytest.raises(TrainingError, match="same muscles"):
        data.with_stream(spread, replace(stream.spans, upper=2 * stream.spans.upper), stream.fingerprint)
    both = data.with_stream(spread, stream.spans, stream.fingerprint)
    fit, kept = ({both.subjects[i] for i in both.rows[role].tolist()} for role in ("fit", "calibration"))
    assert kept == {"streamed motions on body 7"}
    assert not fit & kept
    assert len(both.rows["fit"]) + len(both.rows["calibration"]) == len(data.rows["fit"]) + 24
    out = train_surrogate(dataset, tmp_path / "run", config, stream=stream, mechanics=mechanics)
    config_json = json.loads((out / "config.json").read_text(encoding="utf-8"))
    again = data.with_stream(stream.read(), stream.spans, stream.fingerprint)
    assert config_json["provenance"]["data_sha256"] == again.fingerprint
    assert config_json["training"]["stream"]["motions"] == 24
    with pytest.raises(TrainingError, match="needs the bodies"):
        train_surrogate(dataset, tmp_path / "again", config)
