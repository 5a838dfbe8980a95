"""Motions drawn from the peers of the search are a set that `evaluate` can take."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from squat_like_repetitions import MUSCLES_6, squat_like_dataset

from bige_opensim.cli import app
from bige_opensim.learning.dataset import load_dataset, save_dataset
from bige_opensim.learning.training import GeneratorTraining, TrainingError
from bige_opensim.learning.vqvae import GeneratorConfig
from bige_opensim.workflows.peers import draw, train_diffusion, train_prior
from bige_opensim.workflows.train import train_generator, train_surrogate

GENERATOR = GeneratorTraining(epochs=1, model=GeneratorConfig(width=16, latent_width=8, codes=8, stages=1, groups=2))
SMALL = {"width": 16, "heads": 2, "layers": 1}


@pytest.fixture(scope="module")
def dataset() -> xr.Dataset:
    return squat_like_dataset(MUSCLES_6)


@pytest.fixture(scope="module")
def runs(dataset: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("generator", "other"):
        train_generator(dataset, out=folder / name, settings=GENERATOR, seed=int(name == "other"))
    prior = {"epochs": 1, "model": SMALL}
    train_prior(dataset, out=folder / "prior", generator=folder / "generator", settings=prior)
    train_diffusion(dataset, out=folder / "diffusion", settings={"epochs": 1, "model": SMALL | {"steps": 10}})
    return folder


@pytest.mark.parametrize("kind", ["prior", "diffusion", "generator"])
def test_drawn_motions_are_repetitions_of_the_training_people_without_activations(
    kind: str, dataset: xr.Dataset, runs: Path, tmp_path: Path
) -> None:
    save_dataset(dataset, tmp_path / "reps.nc")
    files = ["--data", str(tmp_path / "reps.nc"), "--out", str(tmp_path / "drawn.nc")]
    more = ["--count", "5", "--generator", str(runs / "generator")]
    assert app(["draw", str(runs / kind), *files, *more], result_action="return_value") == 0
    drawn = load_dataset(tmp_path / "drawn.nc")
    assert drawn.sizes["repetition"] == 5
    trained = set(dataset["subject"].values[dataset["split"].values == "train"].tolist())
    assert set(drawn["subject"].values.tolist()) == trained
    assert np.isfinite(drawn["q"].values).all()
    assert (drawn["duration"].values > 0).all()
    assert np.isnan(drawn["activations"].values).all()
    assert float(np.abs(drawn["q"].values[:, None] - dataset["q"].values[None]).max((2, 3)).min()) > 1e-3
    again = draw(runs / kind, dataset, count=5, generator=runs / "generator")
    np.testing.assert_allclose(again["q"].values, drawn["q"].values, atol=1e-6)
    other = draw(runs / kind, dataset, count=5, generator=runs / "generator", seed=1)
    assert float(np.abs(other["q"].values - drawn["q"].values).max()) > 1e-3


def test_what_cannot_be_drawn_is_a_sentence(dataset: xr.Dataset, runs: Path) -> None:
    with pytest.raises(TrainingError, match="prior of another generator"):
        draw(runs / "prior", dataset, count=1, generator=runs / "other")
    surrogate = runs / "surrogate"
    train_surrogate(dataset, out=surrogate, settings={"epochs": 1, "model": {"width": 16}})
    with pytest.raises(TrainingError, match="holds a surrogate"):
        draw(surrogate, dataset, count=1)
    with pytest.raises(TrainingError, match="must be above 0"):
        draw(runs / "diffusion", dataset, count=0)
    with pytest.raises(TrainingError, match="knows other coordinates"):
        draw(runs / "diffusion", dataset.isel(coordinate=slice(0, 20)), count=1)
