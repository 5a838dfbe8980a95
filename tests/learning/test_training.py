import json
import math
import platform
import subprocess
import sys
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file
from squat_like_repetitions import squat_like_mechanics

from bige_opensim.io.file_lock import LockedError
from bige_opensim.io.partial_folders import partial_folder
from bige_opensim.learning import intervals
from bige_opensim.learning.augmentation import Augmentation, mirrored_rows, smooth_curves, varied
from bige_opensim.learning.channels import Mirror
from bige_opensim.learning.checkpoint import FILES, CheckpointError, load_generator, load_surrogate
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.learning.surrogate import SurrogateConfig
from bige_opensim.learning.training import (
    GeneratorTraining,
    SurrogateTask,
    SurrogateTraining,
    read_training_config,
    schedule,
    train_generator,
    train_surrogate,
)
from bige_opensim.learning.training_data import Repetitions, TrainingError
from bige_opensim.learning.vqvae import GeneratorConfig

SURROGATE = SurrogateTraining(
    epochs=6,
    warmup_epochs=1,
    state_every=1,
    model=SurrogateConfig(width=16, layers=1, ground_width=16, ground_layers=1),
)
GENERATOR = GeneratorTraining(
    epochs=6, warmup_epochs=1, state_every=1, model=GeneratorConfig(width=16, latent_width=8, codes=16)
)
RUNS = [
    pytest.param(train_surrogate, SURROGATE, id="surrogate"),
    pytest.param(train_generator, GENERATOR, id="generator"),
]


class StoppedError(Exception):
    pass


def stop_after(last: int) -> Any:
    def report(epoch: int, epochs: int, metrics: dict[str, float]) -> None:
        if epoch == last:
            raise StoppedError

    return report


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize(("train", "config"), RUNS)
def test_an_interrupted_training_goes_on_to_the_same_weights(
    train: Any, config: Any, synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    whole = train(synthetic_dataset, tmp_path / "whole", config)
    with pytest.raises(StoppedError):
        train(synthetic_dataset, tmp_path / "parts", config, stop_after(3))
    assert not (tmp_path / "parts").exists()
    seen: list[int] = []
    parts = train(synthetic_dataset, tmp_path / "parts", config, lambda epoch, epochs, metrics: seen.append(epoch))
    assert seen == [4, 5, 6]
    assert same(whole, parts)
    pd.testing.assert_frame_equal(pd.read_csv(whole / "metrics.csv"), pd.read_csv(parts / "metrics.csv"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["parts", "whole"]


@pytest.mark.parametrize(("train", "config"), RUNS)
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    train: Any, config: Any, synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    short = config.__class__(**{**config.__dict__, "epochs": 2})
    first = train(synthetic_dataset, tmp_path / "first", short)
    torch.randn(7)
    again = train(synthetic_dataset, tmp_path / "again", short)
    other = train(synthetic_dataset, tmp_path / "other", short.__class__(**{**short.__dict__, "seed": 1}))
    assert same(first, again)
    assert not same(first, other)


def test_training_leaves_the_callers_random_numbers_alone(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train_generator(synthetic_dataset, tmp_path / "g", GENERATOR)
    assert torch.equal(before, torch.get_rng_state())


def test_a_state_of_other_data_or_settings_is_not_gone_on_from(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    out = tmp_path / "s"
    with pytest.raises(StoppedError):
        train_surrogate(synthetic_dataset, out, SURROGATE, stop_after(2))
    other = SurrogateTraining(**{**SURROGATE.__dict__, "learning_rate": 1e-4})
    with pytest.raises(TrainingError, match="other configuration"):
        train_surrogate(synthetic_dataset, out, other)
    with pytest.raises(TrainingError, match="training with other data;"):
        train_surrogate(synthetic_dataset.assign(q=synthetic_dataset["q"] + 0.1), out, SURROGATE)
    assert train_surrogate(synthetic_dataset, out, other, resume=False) == out


def test_a_damaged_state_is_named(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    state = tmp_path / "s.training" / "state.safetensors"
    state.parent.mkdir()
    state.write_bytes(b"no state")
    with pytest.raises(TrainingError, match=r"s.training/state.safetensors is not a readable training state"):
        train_surrogate(synthetic_dataset, tmp_path / "s", SURROGATE)


def test_a_finished_run_is_not_trained_again_nor_overwritten_by_another(
    synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    out = train_surrogate(synthetic_dataset, tmp_path / "s", SURROGATE)
    before = (out / "config.json").stat().st_mtime_ns
    assert train_surrogate(synthetic_dataset, out, SURROGATE, stop_after(1)) == out
    assert (out / "config.json").stat().st_mtime_ns == before
    with pytest.raises(TrainingError, match="other configuration"):
        train_surrogate(synthetic_dataset, out, SurrogateTraining(**{**SURROGATE.__dict__, "seed": 5}))


def test_a_checkpoint_is_a_folder_that_gives_the_same_network_back(
    synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    out = train_surrogate(synthetic_dataset, tmp_path / "s", SURROGATE)
    assert sorted(p.name for p in out.iterdir()) == sorted(FILES)
    model = load_surrogate(out)
    assert not model.training
    assert model.channels.coordinates == tuple(synthetic_dataset["coordinate"].values)
    assert model.channels.muscles == tuple(synthetic_dataset["muscle"].values)
    data = Repetitions.read(synthetic_dataset, labelled=True, seed=0, device="cpu")
    rows = data.rows["validation"]
    with torch.no_grad():
        predicted = model(data.q[rows], data.duration[rows], data.features[rows])
    rmse = float((predicted - data.activations[rows]).square().mean().sqrt())
    metrics = pd.read_csv(out / "metrics.csv")
    assert list(metrics["epoch"]) == list(range(1, 7))
    best = metrics.loc[metrics["validation_score"].idxmin()]
    assert rmse == pytest.approx(best["validation_rmse"], rel=1e-4)


def test_the_checkpoint_is_chosen_without_a_look_at_test_subjects(
    synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    changed = synthetic_dataset.copy(deep=True)
    changed["activations"].values[changed["split"].values == "test"] = 0.9
    changed["q"].values[changed["split"].values == "test"] += 1.0
    one = train_surrogate(synthetic_dataset, tmp_path / "one", SURROGATE)
    other = train_surrogate(changed, tmp_path / "other", SURROGATE)
    assert same(one, other)
    assert json.loads((one / "channels.json").read_text()) == json.loads((other / "channels.json").read_text())


def test_the_card_names_data_errors_and_muscles(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    surrogate = (train_surrogate(synthetic_dataset, tmp_path / "s", SURROGATE) / "card.md").read_text()
    generator = (train_generator(synthetic_dataset, tmp_path / "g", GENERATOR) / "card.md").read_text()
    assert "| trained on | 17 | 2: a, b |" in surrogate
    assert "| validation | 4 | 1: c |" in surrogate
    assert "no validation subject" not in surrogate
    assert "| soleus |" in surrogate
    assert "RMSE of angles (degrees)" in generator
    assert "RMSE of translations (mm)" in generator
    assert "Seed 0" in generator


def test_without_a_validation_subject_repetitions_are_held_out_and_the_card_says_so(
    synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    split = synthetic_dataset["split"].values.copy()
    split[split == "validation"] = "test"
    dataset = synthetic_dataset.assign(split=("repetition", split))
    data = Repetitions.read(dataset, labelled=True, seed=0, device="cpu")
    fit, held = set(data.rows["fit"].tolist()), set(data.rows["validation"].tolist())
    assert not fit & held
    assert fit | held == set(np.flatnonzero(split == "train"))
    assert {data.subjects[i] for i in held} == {"a", "b"}
    card = (train_surrogate(dataset, tmp_path / "s", SURROGATE) / "card.md").read_text()
    assert "There was no validation subject" in card


def test_subjects_in_two_splits_are_refused(synthetic_dataset: xr.Dataset) -> None:
    split = synthetic_dataset["split"].values.copy()
    split[0] = "test"
    with pytest.raises(TrainingError, match="subject a is in test and train"):
        Repetitions.read(synthetic_dataset.assign(split=("repetition", split)), labelled=True, seed=0, device="cpu")


def test_repetitions_without_labels_train_the_generator_only(synthetic_dataset: xr.Dataset) -> None:
    dataset = synthetic_dataset.copy(deep=True)
    dataset["activations"].values[0, 30] = np.nan
    labelled = Repetitions.read(dataset, labelled=True, seed=0, device="cpu")
    unlabelled = Repetitions.read(dataset, labelled=False, seed=0, device="cpu")
    assert 0 not in labelled.rows["fit"]
    assert labelled.left_out == 1
    assert 0 in unlabelled.rows["fit"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.drop_vars("duration"), "no duration"),
        (lambda d: d.assign(q=d["q"] * np.nan), "repetition 0 of subject a"),
        (lambda d: d.isel(repetition=[0]), "0 repetitions to train on and 1 to validate"),
    ],
)
def test_data_that_cannot_be_trained_with_is_refused(change: Any, message: str, synthetic_dataset: xr.Dataset) -> None:
    with pytest.raises(TrainingError, match=message):
        Repetitions.read(change(synthetic_dataset), labelled=True, seed=0, device="cpu")


def test_a_surrogate_learns_mirrored_motions_too(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    symmetric = synthetic_dataset.copy(deep=True)
    symmetric["activations"].values[..., 3:] = symmetric["activations"].values[..., :3]
    config = SurrogateTraining(epochs=40, learning_rate=3e-3, warmup_epochs=2, model=SURROGATE.model)
    out = train_surrogate(symmetric, tmp_path / "s", config)
    model, data = load_surrogate(out), Repetitions.read(symmetric, labelled=True, seed=0, device="cpu")
    rows = data.rows["fit"]
    target = data.activations[rows]
    spread = float((target - target.mean((0, 1))).square().mean().sqrt())
    with torch.no_grad():
        found = model(Mirror.of(data.coordinates)(data.q[rows]), data.duration[rows], data.features[rows])
    assert float((Mirror.of(data.muscles)(found) - target).square().mean().sqrt()) < 0.5 * spread


def test_a_generator_learns_to_reconstruct(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    config = GeneratorTraining(epochs=60, learning_rate=4e-3, warmup_epochs=2, model=GeneratorConfig(width=16))
    out = train_generator(synthetic_dataset, tmp_path / "g", config)
    model, data = load_generator(out), Repetitions.read(synthetic_dataset, labelled=False, seed=0, device="cpu")
    rows = data.rows["fit"]
    knee = data.coordinates.index("knee_angle_r")
    with torch.no_grad():
        body = data.features[rows][:, [data.feature_names.index(n) for n in model.channels.features]]
        q, duration = model.decode(model.encode(data.q[rows], data.duration[rows], body), body=body)
    error = (q - data.q[rows])[..., knee].square().mean().sqrt()
    assert float(error) < 0.2 * float(data.q[rows][..., knee].std())
    assert float((duration - data.duration[rows]).abs().mean()) < 0.5 * float(data.duration[rows].std())


@pytest.mark.parametrize("name", FILES)
def test_an_incomplete_checkpoint_is_named(name: str, synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    out = train_generator(synthetic_dataset, tmp_path / "g", GeneratorTraining(epochs=1, model=GENERATOR.model))
    (out / name).unlink()
    with pytest.raises(CheckpointError, match=f"g is no complete checkpoint: {name} missing"):
        load_generator(out)


def test_a_wrong_or_damaged_checkpoint_is_named(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    out = train_generator(synthetic_dataset, tmp_path / "g", GeneratorTraining(epochs=1, model=GENERATOR.model))
    with pytest.raises(CheckpointError, match="g holds a generator, expected a surrogate"):
        load_surrogate(out)
    with pytest.raises(CheckpointError, match="nowhere is not a folder"):
        load_generator(tmp_path / "nowhere")
    (out / "weights.safetensors").write_bytes(b"12345678901234567890")
    with pytest.raises(CheckpointError, match=r"weights.safetensors does not fit"):
        load_generator(out)
    (out / "channels.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"channels.json: not a description of channels.*coordinates"):
        load_generator(out)
    (out / "config.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"config.json: expected an object"):
        load_generator(out)


def test_a_folder_that_is_no_checkpoint_is_not_overwritten(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter1.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="thesis exists and is no checkpoint"):
        train_surrogate(synthetic_dataset, out, SURROGATE)
    assert [p.name for p in out.iterdir()] == ["chapter1.txt"]


def test_what_killed_processes_left_is_no_obstacle_and_goes(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    out = train_surrogate(synthetic_dataset, tmp_path / "s", SURROGATE)
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    for name in (f".s.partial-{platform.node()}-{int(ended.stdout)}-1", partial_folder(out).name):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_text("half")
    (tmp_path / "s.training").mkdir()
    (tmp_path / "s.training" / ".state.safetensors.1").write_text("half")
    assert train_surrogate(synthetic_dataset, out, SURROGATE, resume=False) == out
    load_surrogate(out)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_a_second_training_into_one_folder_is_refused_while_the_first_is_at_work(
    synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    refused = []

    def meanwhile(epoch: int, epochs: int, row: dict) -> None:
        with pytest.raises(LockedError, match="another process is at work there"):
            train_surrogate(synthetic_dataset, tmp_path / "s", SURROGATE)
        refused.append(epoch)

    train_surrogate(synthetic_dataset, tmp_path / "s", SURROGATE, report=meanwhile)
    assert refused
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("learning_rate", 1e9),
        ("learning_rate", float("nan")),
        ("epochs", 10**9),
        ("epochs", 0),
        ("weight_decay", 1e300),
        ("clip_norm", 0.0),
        ("peak_weight", 1e308),
        ("device", "cuda:77"),
        ("device", "banana"),
    ],
)
def test_settings_that_ruin_every_training_are_refused(setting: str, value: object) -> None:
    with pytest.raises(TrainingError, match=f"{setting} = .*(choose from|cannot be used)"):
        SurrogateTraining(**{setting: value})  # type: ignore[arg-type]


def test_coordinates_without_a_partner_on_the_other_side_are_one_sentence(
    synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    data = synthetic_dataset.isel(coordinate=synthetic_dataset["coordinate"].values != "knee_angle_l")
    with pytest.raises(TrainingError, match=r"knee_angle_r has no partner .*train with mirror = false"):
        train_surrogate(data, tmp_path / "s", SURROGATE)


def test_configuration_files_fill_fields_and_refuse_the_unknown(tmp_path: Path) -> None:
    toml = tmp_path / "c.toml"
    toml.write_text("seed = 3\nlearning_rate = 1\n[model]\nwidth = 32\n")
    config = read_training_config(toml, SurrogateTraining)
    assert (config.seed, config.learning_rate, config.model.width, config.model.layers) == (3, 1.0, 32, 2)
    as_json = tmp_path / "c.json"
    as_json.write_text('{"epochs": 5, "augmentation": {"tempo": 0.2}}')
    assert read_training_config(as_json, GeneratorTraining).augmentation.tempo == 0.2
    for text, message in (
        ("epoch = 3", r"c.toml: unknown key 'epoch'"),
        ("seed = 'x'", r"seed = 'x': expected int"),
        ("[model]\nwidth = 0", r"width"),
        ("[model]\nheads = 4", r"unknown key 'heads'; SurrogateConfig has ground_width, ground_layers, width"),
        ("a = = 3", r"c.toml"),
    ):
        toml.write_text(text)
        with pytest.raises(TrainingError, match=message):
            read_training_config(toml, SurrogateTraining)


def test_the_learning_rate_warms_up_and_falls() -> None:
    config = SurrogateTraining(epochs=100, warmup_epochs=10)
    rates = [schedule(epoch, config) for epoch in range(100)]
    assert rates.index(max(rates)) == 10
    assert rates[10] == 1.0
    assert all(step > 0 for step in np.diff(rates[:11]))
    assert all(step < 0 for step in np.diff(rates[10:]))
    assert rates[-1] < 0.02


def test_mirrored_rows_reflect_only_the_chosen_ones() -> None:
    values = torch.arange(12.0).view(3, 2, 2)
    found = mirrored_rows(values, Mirror.of(["vasmed_r", "vasmed_l"]), torch.tensor([True, False, True]))
    assert torch.equal(found[1], values[1])
    assert torch.equal(found[0], values[0].flip(-1))


def test_varied_motions_stay_smooth_near_and_positive_in_time() -> None:
    q, duration = torch.zeros(200, 101, 2), torch.full((200,), 2.0)
    settings = Augmentation(angle_deg=2.0, translation_m=0.01, tempo=0.1)
    found, times = varied(q, duration, (True, False), settings, torch.Generator().manual_seed(0))
    assert torch.rad2deg(found[..., 0].std()).item() == pytest.approx(2.0, rel=0.1)
    assert found[..., 1].std().item() == pytest.approx(0.01, rel=0.1)
    assert times.log().std().item() == pytest.approx(0.1, rel=0.2)
    hurried = varied(q, duration, (True, False), replace(settings, pace=-0.3), torch.Generator().manual_seed(0))[1]
    torch.testing.assert_close(hurried, times * math.exp(-0.3))
    spectrum = torch.fft.rfft(found[..., 0], dim=1).abs().square().mean(0)
    assert spectrum[8:].sum() < 0.05 * spectrum.sum()


def test_mixing_moves_along_the_line_between_two_repetitions() -> None:
    q = torch.stack([torch.zeros(5, 1), torch.ones(5, 1)])
    settings = Augmentation(mixed=1.0, mix_low=0.3, mix_high=0.3, angle_deg=0.0, tempo=0.0)
    values = set()
    for seed in range(8):
        found, times = varied(q, torch.tensor([1.0, 4.0]), (True,), settings, torch.Generator().manual_seed(seed))
        values |= {round(float(v), 4) for v in found.flatten()}
        assert {round(float(t), 4) for t in times} <= {1.0, round(4.0**0.3, 4), round(4.0**0.7, 4), 4.0}
    assert values == {0.0, 0.3, 0.7, 1.0}


def test_curves_have_unit_mean_variance() -> None:
    curves = smooth_curves((500, 101, 3), 4, torch.Generator().manual_seed(0))
    assert curves.square().mean().item() == pytest.approx(1.0, rel=0.1)


@pytest.mark.parametrize(("every", "thinning"), [(2, 1), (3, 2), (1, 4)])
def test_only_frames_that_a_stream_labels_teach_and_all_of_them_do(
    every: int, thinning: int, synthetic_dataset: xr.Dataset
) -> None:
    model = replace(SURROGATE.model, dropout=0.0, subject_dropout=0.0)
    stream = replace(SURROGATE.stream, every=every)
    config = replace(SURROGATE, thinning=thinning, stream=stream, model=model, mirror=False)
    data = Repetitions.read(synthetic_dataset, labelled=True, seed=0, device="cpu")
    task, rows, samples = SurrogateTask(data, config), torch.arange(2), data.q.shape[1]

    def taught(frame: int) -> bool:
        wrong = data.activations.clone()
        wrong[:, frame] += 1.0
        changed = []
        for labels in (data.activations, wrong):
            task.data = replace(data, activations=labels)
            with torch.no_grad():
                draws = [task.loss(rows, torch.Generator().manual_seed(seed)) for seed in range(6)]
            changed.append(torch.stack(draws))
        return not torch.equal(*changed)

    for frame in (0, 6 * every):
        assert taught(frame), frame
    for frame in {1, 6 * every - 1} if every > 1 else ():
        assert not taught(frame), frame
    assert samples > 6 * every


def test_training_keeps_everything_on_one_device(synthetic_dataset: xr.Dataset) -> None:
    """The device "meta" holds no numbers and refuses to meet a tensor of another one, as a graphics card does."""
    data = Repetitions.read(synthetic_dataset, labelled=True, seed=0, device="cpu")
    task = SurrogateTask(data, replace(SURROGATE, evenness=0.5))
    names = ("q", "duration", "features", "activations", "carried")
    task.data = replace(data, **{name: getattr(data, name).to("meta") for name in names})
    task.muscle_weight = task.muscle_weight.to("meta")
    task.model = task.model.to("meta")
    loss = task.loss(torch.arange(4), torch.Generator().manual_seed(0))
    loss.backward()
    assert loss.device.type == "meta"
    assert all(p.grad is not None and p.grad.device.type == "meta" for p in task.model.parameters())
    assert task.predict(torch.arange(3)).shape == (3, *data.activations.shape[1:])
    task.muscle_weight = task.muscle_weight.new_ones(task.muscle_weight.shape, device="cpu")
    with pytest.raises(RuntimeError, match="device"):
        task.loss(torch.arange(4), torch.Generator().manual_seed(0))


def test_a_graphics_card_trains_or_there_is_a_sentence(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match=r"device = 'cuda' cannot be used .*; cpu always can"):
            replace(SURROGATE, device="cuda")
        return
    out = train_surrogate(synthetic_dataset, tmp_path / "s", replace(SURROGATE, epochs=2, device="cuda"))
    data = Repetitions.read(synthetic_dataset, labelled=True, seed=0, device="cpu")
    with torch.no_grad():
        found = load_surrogate(out)(data.q, data.duration, data.features)
    assert torch.isfinite(found).all()


def test_intervals_never_shrink_below_those_of_the_bodies_kept_out(
    monkeypatch: pytest.MonkeyPatch, synthetic_dataset: xr.Dataset
) -> None:
    data = Repetitions.read(synthetic_dataset, labelled=True, seed=0, device="cpu")
    task = SurrogateTask(data, SURROGATE)
    sizes = []
    for factor in (0.25, 3.0):
        monkeypatch.setattr("bige_opensim.learning.intervals.factor", lambda *_, factor=factor: factor)
        task.calibrate()
        sizes.append(task.model.interval.clone())
    torch.testing.assert_close(sizes[1], 3.0 * sizes[0])
    monkeypatch.undo()
    found, true = task.predict(data.rows["validation"]), data.activations[data.rows["validation"]]
    with torch.no_grad():
        torch.testing.assert_close(sizes[0], intervals.widths(found, true, data.groups(data.rows["validation"])))


def test_what_limbs_carry_teaches_where_it_is_known(synthetic_dataset: xr.Dataset) -> None:
    data = Repetitions.read(synthetic_dataset, labelled=True, seed=0, device="cpu")
    mechanics = squat_like_mechanics(synthetic_dataset)
    data = data.with_mechanics(mechanics)
    model = replace(SURROGATE.model, dropout=0.0, subject_dropout=0.0)
    rows = torch.arange(3)

    def loss(carried: torch.Tensor, weight: float) -> float:
        task = SurrogateTask(data, replace(SURROGATE, model=model, carried_weight=weight))
        task.data = replace(data, carried=carried)
        with torch.no_grad():
            return float(task.loss(rows, torch.Generator().manual_seed(0)))

    torch.manual_seed(0)
    plain = mechanics.loads[..., : data.q.shape[-1]]
    with torch.random.fork_rng():
        unknown = loss(data.carried, 1.0)
    with torch.random.fork_rng():
        assert loss(plain, 1.0) == pytest.approx(unknown, abs=1e-6)  # the shift is zero before it learns
    with torch.random.fork_rng():
        assert loss(plain + 0.05, 1.0) > unknown + 0.1
    with torch.random.fork_rng():
        assert loss(plain + 0.05, 0.0) == pytest.approx(unknown, abs=1e-6)


def test_labels_tell_what_limbs_carry_and_loads_what_no_muscle_moves(synthetic_dataset: xr.Dataset) -> None:
    names = list(synthetic_dataset["coordinate"].values)
    mechanics = squat_like_mechanics(synthetic_dataset)
    telling = synthetic_dataset.copy(deep=True)
    telling["moments"].values[1:] = np.random.default_rng(0).normal(size=telling["moments"].shape[1:])
    data = Repetitions.read(telling, labelled=True, seed=0, device="cpu").with_mechanics(mechanics)
    assert torch.isnan(data.carried[0]).all()
    weight = 9.80665 * telling["features"].values[3, 0]
    knee, arm = names.index("knee_angle_r"), names.index("arm_add_l")
    expected = telling["moments"].values[3, :, knee] / weight
    np.testing.assert_allclose(data.carried[3, :, knee], expected, rtol=1e-5)
    torch.testing.assert_close(data.carried[3, :, arm], mechanics.loads[3, :, arm])


def test_a_trained_network_goes_on_at_a_tenth_of_the_rate(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    first = train_surrogate(synthetic_dataset, tmp_path / "first", SURROGATE)
    data = Repetitions.read(synthetic_dataset, labelled=True, seed=0, device="cpu")
    rates = []
    for start in ("", str(first)):
        config = replace(SURROGATE, start=start)
        rates.append([g["lr"] for g in SurrogateTask(data, config).optimiser(config).param_groups])
    assert rates[1] == pytest.approx([0.1 * rate for rate in rates[0]])
    assert rates[0][0] == SURROGATE.learning_rate
    known = data.with_mechanics(squat_like_mechanics(synthetic_dataset))
    with_models = train_surrogate(
        synthetic_dataset, tmp_path / "models", SURROGATE, mechanics=squat_like_mechanics(synthetic_dataset)
    )
    config = replace(SURROGATE, start=str(with_models))
    slower = [g["lr"] for g in SurrogateTask(known, config).optimiser(config).param_groups]
    assert slower == pytest.approx([0.02 * rate for rate in rates[0]])


def test_a_network_without_loads_is_gone_on_from_whatever_models_are_given(
    synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    first = train_surrogate(synthetic_dataset, tmp_path / "first", SURROGATE)
    config = replace(SURROGATE, start=str(first), epochs=2)
    mechanics = squat_like_mechanics(synthetic_dataset)
    again = load_surrogate(train_surrogate(synthetic_dataset, tmp_path / "again", config, mechanics=mechanics))
    assert again.channels.loads == ()


def test_what_a_training_began_with_is_kept_where_nothing_is_better(
    synthetic_dataset: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_surrogate(synthetic_dataset, tmp_path / "first", SURROGATE)
    measure, worse = SurrogateTask.measure, count(1)
    monkeypatch.setattr(SurrogateTask, "measure", lambda task, rows: measure(task, rows) | {"score": next(worse)})
    again = train_surrogate(synthetic_dataset, tmp_path / "again", replace(SURROGATE, start=str(first), epochs=2))
    before, after = (load_surrogate(folder).state_dict() for folder in (first, again))
    assert json.loads((again / "config.json").read_text())["provenance"]["best_epoch"] == 0
    for name in ("ground.from_frame.weight", "head.weight"):
        assert torch.equal(before[name], after[name])


def test_a_refined_network_is_not_surer_than_it_was(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    first = train_surrogate(synthetic_dataset, tmp_path / "first", SURROGATE)
    before = load_surrogate(first).interval
    out = train_surrogate(synthetic_dataset, tmp_path / "again", replace(SURROGATE, start=str(first), epochs=12))
    assert (load_surrogate(out).interval >= before).all()
    alone = train_surrogate(synthetic_dataset, tmp_path / "alone", replace(SURROGATE, epochs=18))
    assert not (load_surrogate(alone).interval >= before).all()


@pytest.fixture
def labs(synthetic_dataset: xr.Dataset) -> xr.Dataset:
    """Repetitions of a lab that tells more of its people than a generator is told."""
    names = ["strength_vasmed_r", *synthetic_dataset["feature"].values]
    wider = synthetic_dataset.reindex(feature=names, fill_value=1000.0)
    return wider.assign(q=wider["q"] + 0.05).assign_attrs(names="{}")


def test_a_generator_goes_on_and_rehearses_what_taught_it(
    labs: xr.Dataset, synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    first = train_generator(synthetic_dataset, tmp_path / "first", GENERATOR)
    config = replace(GENERATOR, start=str(first), epochs=4)
    with pytest.raises(StoppedError):
        train_generator(labs, tmp_path / "again", config, stop_after(2))
    again = train_generator(labs, tmp_path / "again", config)
    assert same(again, train_generator(labs, tmp_path / "whole", config))
    assert not same(again, first)
    before, after = load_generator(first), load_generator(again)
    assert after.channels == before.channels
    assert np.allclose(pd.read_csv(again / "metrics.csv")["learning_rate"][0], 0.5 * GENERATOR.learning_rate)
    card = (again / "card.md").read_text()
    rehearsed = (synthetic_dataset["split"] == "train").sum().item()
    assert f"Trained on besides: {rehearsed} repetitions that the network it went on from" in card
    assert f"| trained on | {(labs['split'] == 'train').sum().item()} |" in card
    references, mine = load_dataset(again / "references.nc"), labs["split"].values == "train"
    np.testing.assert_array_equal(references["q"][: mine.sum()], labs["q"][mine])
    np.testing.assert_array_equal(references["q"][mine.sum() :], load_dataset(first / "references.nc")["q"])
    assert "strength_vasmed_r" not in references["feature"]
    other = train_generator(labs.assign_attrs(movement="lunge"), tmp_path / "other", replace(config, epochs=1))
    assert load_dataset(other / "references.nc").sizes["repetition"] == mine.sum()


def test_rehearsed_repetitions_are_trained_on_and_told_by_name(labs: xr.Dataset, synthetic_dataset: xr.Dataset) -> None:
    data = Repetitions.read(labs, labelled=False, seed=0, device="cpu")
    both = data.rehearsing(synthetic_dataset)
    count = len(data.q)
    assert len(both.rows["fit"]) == len(data.rows["fit"]) + synthetic_dataset.sizes["repetition"]
    for role in ("validation", "test"):
        assert torch.equal(both.rows[role], data.rows[role])
    np.testing.assert_allclose(both.q[count:], synthetic_dataset["q"], rtol=1e-6)
    np.testing.assert_allclose(both.features[count:, 1:], synthetic_dataset["features"], rtol=1e-6)
    assert both.subjects_of("fit") == data.subjects_of("fit")
    assert both.fingerprint != data.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.isel(coordinate=slice(1, None)), "start: the coordinates of first are not those of the data"),
        (lambda d: d.isel(coordinate=slice(None, None, -1)), "in another order"),
        (lambda d: d.drop_sel(feature="femur_length_m"), "the features of first .* only: femur_length_m"),
        (lambda d: d.isel(sample=slice(0, 97)), "repetitions have 97 samples, first knows 101"),
    ],
)
def test_a_generator_does_not_go_on_with_other_channels(
    change: Any, message: str, synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    first = train_generator(synthetic_dataset, tmp_path / "first", replace(GENERATOR, epochs=1))
    config = replace(GENERATOR, start=str(first))
    with pytest.raises(TrainingError, match=message):
        train_generator(change(synthetic_dataset), tmp_path / "again", config)


def test_a_generator_without_references_is_not_gone_on_from(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    first = train_generator(synthetic_dataset, tmp_path / "first", replace(GENERATOR, epochs=1))
    (first / "references.nc").unlink()
    config = replace(GENERATOR, start=str(first))
    with pytest.raises(TrainingError, match=r"start: .*gone on from rehearses them"):
        train_generator(synthetic_dataset, tmp_path / "again", config)


def test_a_checkpoint_of_another_version_is_told(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    out = train_surrogate(synthetic_dataset, tmp_path / "s", SURROGATE)
    config = json.loads((out / "config.json").read_text())
    config["model"] |= {"heads": 4}
    (out / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"a surrogate of another version.*\(heads\): train it again"):
        load_surrogate(out)
