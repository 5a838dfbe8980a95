"""How well networks do on people whom they have not seen, person by person.

    bige label sessions --out labels --solver fast
    python pipelines/unseen_people.py --labels labels --models sessions --out unseen

measures the networks that come with the package on every person of the labels (none of whom they know, unless the
labels are of UI-PRMD). Several `--surrogate`, such as the same training with three seeds, give the mean and the range.

    python pipelines/unseen_people.py --labels labels --models sessions --out unseen --leave-one-out --seeds 3

refines the surrogate on all people but one (`--start built-in`, `--epochs`), for every person and seed, and measures it
on the one that was left out.

Writes surrogate.csv, a row for every person, kind of trial and network, and generator.csv, and prints both.
"""

import argparse
import csv
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import xarray as xr

import bige_opensim as bige
from bige_opensim.commands.display import Steps
from bige_opensim.learning.augmentation import ARMS
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.learning.surrogate import Surrogate
from bige_opensim.learning.vqvae import Generator
from bige_opensim.validation.prediction_errors import prediction_errors
from bige_opensim.workflows.stream import mechanics_of, models_in
from bige_opensim.workflows.train import load_generator, load_surrogate, train_surrogate

Row = dict[str, str | int | float]


def people_of(data: xr.Dataset) -> Iterator[tuple[str, xr.Dataset]]:
    """Every person's repetitions, by name."""
    subjects = data["subject"].values.astype(str)
    for name in dict.fromkeys(subjects.tolist()):
        yield name, data.isel(repetition=np.flatnonzero(subjects == name))


def _inputs(part: xr.Dataset, features: tuple[str, ...]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    told = part["features"].sel(feature=list(features)).values
    return tuple(torch.tensor(x, dtype=torch.float32) for x in (part["q"].values, part["duration"].values, told))


@torch.no_grad()
def surrogate_rows(network: Surrogate, data: xr.Dataset, models: list[Path], name: str) -> Iterator[Row]:
    """Errors of a surrogate on every person, who is told to it as `bige predict` tells it."""
    for person, part in people_of(data):
        mechanics = mechanics_of(part, models) if network.channels.loads else None
        q, duration, features = _inputs(part, network.channels.features)
        found = network(q, duration, features, mechanics=mechanics)
        ends = tuple(x.numpy() for x in network.bounds(found)) if network.calibrated else None
        true = part["activations"].sel(muscle=list(network.channels.muscles)).values
        yield {"network": name, "person": person} | asdict(
            prediction_errors(found.numpy(), true, network.channels.muscles, ends)
        )


@torch.no_grad()
def generator_rows(network: Generator, data: xr.Dataset) -> Iterator[Row]:
    """Root mean square errors of a person's repetitions through the codes and back."""
    angle = np.array(network.channels.rotational)
    arm = np.array([name.startswith(ARMS) for name in network.channels.coordinates])
    for person, part in people_of(data):
        q, duration, features = _inputs(part, network.channels.features)
        through = network(q, duration, features)
        square = ((through.q - q) ** 2).mean((0, 1)).numpy()
        yield {
            "person": person,
            "repetitions": len(q),
            "legs_and_trunk_deg": math.degrees(math.sqrt(square[angle & ~arm].mean())),
            "arms_deg": math.degrees(math.sqrt(square[angle & arm].mean())),
            "pelvis_mm": 1000.0 * math.sqrt(square[~angle].mean()),
            "duration_s": float((through.duration - duration).abs().mean()),
        }


def left_out(given: argparse.Namespace, data: xr.Dataset, models: list[Path]) -> Iterator[Row]:
    """Errors on every person of a surrogate that was refined on all others, for every seed."""
    subjects = data["subject"].values.astype(str)
    names = list(dict.fromkeys(subjects.tolist()))
    for place, person in enumerate(names):
        if given.only and person not in given.only:
            continue
        others = [name for name in names if name != person]
        watched = others[place % len(others)]
        role = {name: "train" for name in others} | {watched: "validation", person: "test"}
        split = data.assign(split=("repetition", [role[s] for s in subjects]))
        for seed in range(given.seeds):
            settings = {"epochs": given.epochs, "seed": seed, "learning_rate": given.learning_rate, "thinning": 2}
            network = train_surrogate(
                split,
                out=given.out / f"without-{person}-{seed}",
                settings=settings,
                start=given.start,
                models=models,
                show=Steps,
            )
            mine = split.isel(repetition=np.flatnonzero(subjects == person))
            yield from surrogate_rows(network, mine, models, f"seed {seed}")


def write(path: Path, rows: list[Row]) -> None:
    """A table as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def summary(rows: list[Row], what: str) -> None:
    """Mean and range over networks, person by person."""
    for person in dict.fromkeys(row["person"] for row in rows):
        values = [float(row[what]) for row in rows if row["person"] == person]
        print(
            f"{person}: {what} {np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f}, {len(values)} networks)"
        )


def main() -> None:
    """Measure, and train before where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--labels", type=Path, help="labels of the people")
    data.add_argument("--data", type=Path, help="their repetitions, as netCDF")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="their models, or folders with them")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables")
    parser.add_argument("--surrogate", nargs="+", default=["built-in"], help="checkpoints")
    parser.add_argument("--generator", default="built-in", help="checkpoint")
    parser.add_argument("--leave-one-out", action="store_true", help="refine for every person on all others")
    parser.add_argument("--only", nargs="*", default=[], help="people who are left out, instead of everybody")
    parser.add_argument("--start", default="built-in", help="what is refined")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--learning-rate", type=float, default=5e-3, help="of the refinement, which takes a tenth")
    parser.add_argument("--epochs", type=int, default=20, help="of the refinement")
    given = parser.parse_args()
    repetitions = bige.repetitions(given.labels, include_failed=True) if given.labels else load_dataset(given.data)
    models = models_in(given.models)
    given.out.mkdir(parents=True, exist_ok=True)
    if given.leave_one_out:
        rows = list(left_out(given, repetitions, models))
    else:
        rows = [
            row
            for name in given.surrogate
            for row in surrogate_rows(load_surrogate(name), repetitions, models, str(name))
        ]
    codes = list(generator_rows(load_generator(given.generator), repetitions))
    write(given.out / "surrogate.csv", rows)
    write(given.out / "generator.csv", codes)
    summary(rows, "median_r2")
    for row in codes:
        print(
            f"{row['person']}: legs and trunk {row['legs_and_trunk_deg']:.2f} deg, arms {row['arms_deg']:.2f} deg, "
            f"pelvis {row['pelvis_mm']:.1f} mm"
        )


if __name__ == "__main__":
    main()
