"""What is wrong with a dataset or a checkpoint is said where it is read, in one sentence that names it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file, save_file
from squat_like_repetitions import MUSCLES_6, squat_like_dataset

from bige_opensim.learning.checkpoint import CheckpointError, load_generator, load_surrogate
from bige_opensim.learning.dataset import DatasetError, load_dataset, save_dataset
from bige_opensim.learning.surrogate import SurrogateConfig
from bige_opensim.learning.training import GeneratorTraining, SurrogateTraining, train_generator, train_surrogate
from bige_opensim.learning.vqvae import GeneratorConfig

Change = Callable[[xr.Dataset], xr.Dataset]


def scaled(name: str, factor: float, **where: object) -> Change:
    def change(ds: xr.Dataset) -> xr.Dataset:
        ds = ds.copy(deep=True)
        ds[name].loc[where] = factor * ds[name].loc[where]
        return ds

    return change


def put(name: str, value: float, **where: int) -> Change:
    def change(ds: xr.Dataset) -> xr.Dataset:
        ds = ds.copy(deep=True)
        ds[name][where] = value
        return ds

    return change


def renamed(kind: str, old: str, new: str) -> Change:
    return lambda ds: ds.assign_coords({kind: [new if name == old else name for name in ds[kind].values.tolist()]})


def in_degrees(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(q=xr.where(ds["rotational"], np.rad2deg(ds["q"]), ds["q"]).transpose(*ds["q"].dims))


def in_millimetres(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(q=xr.where(ds["rotational"], ds["q"], 1e3 * ds["q"]).transpose(*ds["q"].dims))


def with_unit(unit: str) -> Change:
    return lambda ds: ds.assign(duration=ds["duration"].assign_attrs(units=unit))


DEEP = "[" * 100_000 + "]" * 100_000
WRONG: dict[str, tuple[Change, str]] = {
    "activations below 0": (
        put("activations", -0.3, repetition=3, sample=50, muscle=1),
        "glmax1_r = -0.3 in repetition 3",
    ),
    "activations of a million": (scaled("activations", 1e6), "is no activation, which lies between 0 and 1"),
    "infinite activations": (put("activations", np.inf, repetition=0), "activations vasmed_r = inf"),
    "a feature that is NaN": (
        put("features", np.nan, repetition=2, feature=0),
        "mass_kg = nan in repetition 2 .of subject",
    ),
    "an infinite feature": (put("features", np.inf, repetition=0, feature=6), "strength_n = inf"),
    "lengths in mm": (scaled("features", 1e3), "is no such feature of a person"),
    "a person of no mass": (put("features", 0.0, repetition=0, feature=0), "mass_kg = 0"),
    "angles in degrees": (in_degrees, "is no angle in radians .degrees, perhaps"),
    "places in mm": (in_millimetres, "q pelvis_t[xyz] .*is no place in metres .millimetres, perhaps"),
    "a coordinate that is NaN": (put("q", np.nan, repetition=1, sample=7, coordinate=9), "is not finite"),
    "durations of hours": (scaled("duration", 3600.0), "is no duration of a repetition in s"),
    "durations of nothing": (put("duration", 0.0, repetition=0), "duration = 0 in repetition 0"),
    "durations with a unit of hours": (with_unit("h"), "duration is in h, expected is s"),
    "durations that xarray takes for times": (with_unit("hours"), "duration"),
    "a coordinate twice": (renamed("coordinate", "knee_angle_l", "knee_angle_r"), "knee_angle_r is there 2 times"),
    "a muscle twice": (renamed("muscle", "soleus_l", "soleus_r"), "soleus_r is there 2 times"),
    "a renamed coordinate": (
        renamed("coordinate", "knee_angle_r", "knee_flexion_r"),
        "knee_flexion_r is not among .*nearest: knee_angle_r",
    ),
    "a renamed muscle": (renamed("muscle", "vasmed_r", "vas_med_r"), "vas_med_r is not among .*nearest: vasmed_r"),
    "a renamed feature": (renamed("feature", "mass_kg", "mass"), "mass is not among .*nearest: mass_kg"),
    "a dimension too many": (
        lambda ds: ds.assign(q=ds["q"].expand_dims("camera")),
        "q has the dimensions camera, repetition",
    ),
    "a dimension too few": (lambda ds: ds.assign(duration=ds["duration"][0]), "duration has the dimensions none"),
    "turned dimensions": (
        lambda ds: ds.assign(q=ds["q"].transpose("sample", "repetition", "coordinate")),
        "q has the dimensions sample",
    ),
    "coordinates without names": (lambda ds: ds.drop_vars("coordinate"), "the coordinates have no names"),
    "numbers as text": (
        lambda ds: ds.assign(duration=ds["duration"].astype(str)),
        "duration holds .*expected are numbers in s",
    ),
    "no repetition": (lambda ds: ds.isel(repetition=[]), "holds no repetition"),
    "an unknown split": (
        lambda ds: ds.assign(split=ds["split"].str.replace("test", "exam")),
        "'exam' is none of train",
    ),
    "names nested without end": (lambda ds: ds.assign_attrs(names=DEEP), "recursion"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_dataset_that_would_train_without_a_word_is_refused(what: str, synthetic_dataset: xr.Dataset, tmp_path: Path):
    change, message = WRONG[what]
    path = tmp_path / "reps.nc"
    save_dataset(synthetic_dataset, path)
    load_dataset(path)
    save_dataset(change(synthetic_dataset), path)
    with pytest.raises(DatasetError, match=rf"reps\.nc: .*({message})") as caught:
        load_dataset(path)
    assert "\n" not in str(caught.value)


def test_repetitions_without_labels_and_chosen_channels_are_read(synthetic_dataset: xr.Dataset, tmp_path: Path):
    path = tmp_path / "reps.nc"
    save_dataset(synthetic_dataset.assign(activations=np.nan * synthetic_dataset["activations"]), path)
    assert np.isnan(load_dataset(path)["activations"]).all()
    save_dataset(synthetic_dataset.isel(coordinate=slice(0, 20), repetition=slice(0, 9)), path)
    assert load_dataset(path).sizes["coordinate"] == 20
    del synthetic_dataset.attrs["names"]  # as earlier versions wrote them
    save_dataset(synthetic_dataset, path)
    load_dataset(path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_dataset_cut_off_anywhere_is_one_sentence(share: float, synthetic_dataset: xr.Dataset, tmp_path: Path):
    path = tmp_path / "reps.nc"
    save_dataset(synthetic_dataset, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DatasetError, match=r"reps\.nc: not a netCDF file, or cut off") as caught:
        load_dataset(path)
    assert "\n" not in str(caught.value)


def test_a_command_says_that_sentence_and_no_traceback(synthetic_dataset: xr.Dataset, tmp_path: Path):
    path = tmp_path / "reps.nc"
    save_dataset(synthetic_dataset, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    command = [sys.executable, "-m", "bige_opensim.cli", "train", "generator", "--data", str(path), "--out", "g"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"bige: {path}: not a netCDF file, or cut off")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "g").exists()


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, data = tmp_path_factory.mktemp("networks"), squat_like_dataset(MUSCLES_6)
    small = GeneratorConfig(width=16, latent_width=8, codes=16, stages=1)
    train_generator(data, folder / "generator", GeneratorTraining(epochs=1, model=small))
    train_surrogate(data, folder / "surrogate", SurrogateTraining(epochs=1, model=SurrogateConfig(16, 2, 1)))
    return folder


def rewrite_json(path: Path, change: Callable[[dict], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def rewrite_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def swap(names: list[dict]) -> None:
    names[3], names[4] = names[4], names[3]


def fill(tensors: dict[str, torch.Tensor], value: float, count: int) -> None:
    for name in [n for n in tensors if tensors[n].is_floating_point()][:count]:
        tensors[name].fill_(value)


SCALINGS: dict[str, tuple[Callable[[dict], object], str]] = {
    "a scale that is NaN": (
        lambda c: c["coordinates"][2]["position"].update(scale=float("nan")),
        "scaling of pelvis_rotation .position: .*scale nan",
    ),
    "a scale of zero": (
        lambda c: c["coordinates"][9]["velocity"].update(scale=0.0),
        "scaling of knee_angle_r .velocity",
    ),
    "a tiny scale": (
        lambda c: c["coordinates"][0]["acceleration"].update(scale=1e-30),
        "scaling of pelvis_tilt .acceleration",
    ),
    "an infinite offset": (
        lambda c: c["log_duration"]["scaling"].update(offset=float("inf")),
        "scaling of log_duration",
    ),
    "a channel twice": (lambda c: c["coordinates"][1].update(name="pelvis_tilt"), "pelvis_tilt is there 2 times"),
    "channels in another order": (lambda c: swap(c["coordinates"]), "not the file that was written with"),
    "a channel of another name": (
        lambda c: c["coordinates"][5].update(name="pelvis_up"),
        "not the file that was written with",
    ),
    "JSON nested without end": (lambda c: c.update(deep=None), "nested too deep"),
}


@pytest.mark.parametrize("what", SCALINGS)
@pytest.mark.parametrize("kind", ["surrogate", "generator"])
def test_channels_that_no_training_wrote_are_refused(what: str, kind: str, networks: Path, tmp_path: Path):
    change, message = SCALINGS[what]
    folder = Path(shutil.copytree(networks / kind, tmp_path / kind))
    rewrite_json(folder / "channels.json", change)
    if "nested" in what:
        (folder / "channels.json").write_text(DEEP)
    with pytest.raises(CheckpointError, match=rf"channels\.json.*{message}"):
        (load_surrogate if kind == "surrogate" else load_generator)(folder)


WEIGHTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], object], str]] = {
    "one NaN": (lambda t: t[max(t)].view(-1)[:1].fill_(float("nan")), "holds numbers that are not finite"),
    "infinite": (lambda t: fill(t, float("inf"), 1), "holds numbers that are not finite"),
    "all zero": (lambda t: fill(t, 0.0, 10**6), "all weights are zero"),
    "changed a little": (lambda t: t[max(t)].view(-1)[:1].add_(0.5), "not the file that was written with"),
}


@pytest.mark.parametrize("what", WEIGHTS)
@pytest.mark.parametrize("kind", ["surrogate", "generator"])
def test_weights_that_no_training_wrote_are_refused(what: str, kind: str, networks: Path, tmp_path: Path):
    change, message = WEIGHTS[what]
    folder = Path(shutil.copytree(networks / kind, tmp_path / kind))
    rewrite_weights(folder / "weights.safetensors", change)
    with pytest.raises(CheckpointError, match=rf"weights\.safetensors.*{message}"):
        (load_surrogate if kind == "surrogate" else load_generator)(folder)


def test_checkpoints_of_earlier_versions_without_hashes_are_read(networks: Path, tmp_path: Path):
    folder = Path(shutil.copytree(networks / "surrogate", tmp_path / "surrogate"))
    rewrite_json(folder / "config.json", lambda c: c.pop("sha256"))
    load_surrogate(folder)
