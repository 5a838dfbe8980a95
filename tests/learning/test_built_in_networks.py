"""The networks that come with the package are what their cards say, are small, and hold nobody's recordings."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import bige_opensim as bige
from bige_opensim import built_in
from bige_opensim.built_in import built_in_network
from bige_opensim.learning.checkpoint import REFERENCES, load_generator, read_config
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.learning.training_data import TrainingError

MOST_BYTES = 10_000_000
LARGEST_ERROR_DEG, LARGEST_ERROR_M = 3.0, 0.03


@pytest.fixture(scope="module")
def generator() -> Path:
    return built_in_network("generator")


def strangers(generator: Path) -> xr.Dataset:
    """The references as a lab's people, a repetition each: 20 to train on, the others to validate with."""
    people = load_dataset(generator / REFERENCES)
    split = np.where(np.arange(people.sizes["repetition"]) < 20, "train", "validation")
    return people.assign(split=("repetition", split), subject=("repetition", [str(k) for k in range(len(split))]))


@pytest.mark.parametrize("kind", ["generator", "surrogate"])
def test_the_weights_are_those_that_the_card_names(kind: str) -> None:
    network = built_in_network(kind)
    digest = hashlib.sha256((network / "weights.safetensors").read_bytes()).hexdigest()
    card = " ".join((network / "card.md").read_text(encoding="utf-8").replace("`", "").split())
    assert f"sha256 of weights.safetensors: {digest}" in card
    assert read_config(network)["sha256"]["weights.safetensors"] == digest
    for word in ("Apache-2.0", "PDDL 1.0", "doi:10.3390/data3010002", f"pipelines/built_in_{kind}.py", "Seed 0"):
        assert word in card


def test_both_networks_are_small() -> None:
    folders = [built_in_network(kind) for kind in ("generator", "surrogate")]
    assert sum(path.stat().st_size for folder in folders for path in folder.iterdir()) < MOST_BYTES


def test_its_references_are_nobody(generator: Path) -> None:
    references = load_dataset(generator / REFERENCES)
    people = set(references["subject"].values.tolist())
    assert len(people) > 10
    assert all(name.startswith("synth_") for name in people)
    assert json.loads(references.attrs["synthetic"]) is True
    told = " ".join(str(value) for value in references.attrs.values())
    assert "ui_prmd" not in told
    assert "OpenCap" not in told


def test_people_of_the_references_come_back(generator: Path) -> None:
    network, references = load_generator(generator), load_dataset(generator / REFERENCES)
    features = references["feature"].values.tolist()
    body = references["features"].values[:, [features.index(n) for n in network.channels.features]]
    q, duration, body = (
        torch.as_tensor(x, dtype=torch.float32) for x in (references["q"].values, references["duration"].values, body)
    )
    with torch.no_grad():
        through = network(q, duration, body)
    angle = torch.tensor(network.channels.rotational)
    off = (through.q - q).square().mean((0, 1)).sqrt()
    assert torch.rad2deg(off[angle].square().mean().sqrt()) < LARGEST_ERROR_DEG
    assert off[~angle].max() < LARGEST_ERROR_M
    assert np.abs((through.duration / duration - 1.0).numpy()).mean() < 0.1


@pytest.mark.parametrize("given", [{"start": "built-in"}, {"settings": {"start": "built-in"}}, {"start": "auto"}])
def test_it_is_gone_on_from_by_name(given: dict[str, Any], generator: Path, tmp_path: Path) -> None:
    refined = bige.train_generator(strangers(generator), out=tmp_path / "refined", epochs=1, **given)
    assert refined.channels == load_generator(generator).channels
    assert "Trained on besides: 24 repetitions" in (tmp_path / "refined" / "card.md").read_text()


@pytest.mark.parametrize("given", [{"start": "built-in"}, {"settings": {"start": "built-in"}}])
def test_the_surrogate_is_found_by_name_and_asks_for_models(
    given: dict[str, Any], generator: Path, tmp_path: Path
) -> None:
    people = load_dataset(generator / REFERENCES)
    data = people.assign(subject=("repetition", ["one"] * people.sizes["repetition"]))
    with pytest.raises(TrainingError, match=r"start: surrogate shares what joints carry .* give the models"):
        bige.train_surrogate(data, out=tmp_path / "refined", **given)


@pytest.mark.parametrize(("coordinates", "movement"), [(20, "squat"), (33, "sit_to_stand")])
def test_where_it_knows_others_a_generator_begins_anew(
    coordinates: int, movement: str, generator: Path, tmp_path: Path
) -> None:
    data = strangers(generator).isel(coordinate=slice(0, coordinates)).assign_attrs(movement=movement)
    made = bige.train_generator(data, out=tmp_path / "new", epochs=1, settings={"start": "auto", "mirror": False})
    assert len(made.channels.coordinates) == coordinates
    assert read_config(tmp_path / "new")["training"]["start"] == ""


def test_an_installation_without_networks_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(built_in, "NETWORK_FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match="no surrogate came with this installation"):
        built_in_network("surrogate")
