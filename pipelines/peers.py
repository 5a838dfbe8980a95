"""The guided search beside its alternatives: who comes by motions that OpenSim confirms, at equal processor time.

    bige label sessions --out labels --solver fast
    bige dataset labels --out reps.nc
    python pipelines/peers.py --data reps.nc --models sessions --person subject6=scaled.osim --out peers

trains a code prior and diffusion on the training people of reps.nc, then, for every person, objective and seed, lets
every way of `bige_opensim.workflows.alternatives` propose as many motions within the processor seconds that `guided`
takes (or `--seconds`), has OpenSim simulate all of them, and writes

- alternatives.csv, .tex and .png: motions looked at, proposed, expected to hold, confirmed; confirmed per minute of
  search; by how much the deciding terms are missed in OpenSim (median, largest); diversity and novelty;
- tables/: the proposals for the first objective measured against the recordings by `bige evaluate`, which holds the
  columns of Tables 2 and 3 of Maheshwari et al. (2025), marked where noise wins, beside others that it does not win;
- surrogate.csv and .tex: the columns of their supplement's Table 1, R² and root mean square error of eight muscles on
  every person who was held out, marked where the mean curve of the training people is at least as good.

A stopped run goes on where it was: networks, motions and finished rows are kept.
"""

import argparse
import io
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from bige_opensim.commands.display import Steps
from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.terms import signed_violation
from bige_opensim.io.documents import read_json
from bige_opensim.io.finished_rows import FinishedRows
from bige_opensim.io.latex import table
from bige_opensim.io.whole_files import write_whole, write_whole_bytes
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.validation.certificate import Certificate
from bige_opensim.validation.generated_folder import RECORD
from bige_opensim.validation.prediction_errors import eight_muscles
from bige_opensim.workers.processor_time import processor_seconds
from bige_opensim.workflows.alternatives import MUSCLES_ONLY, OF_DIFFUSION, OF_PRIOR, WAYS, Case, propose
from bige_opensim.workflows.evaluate import evaluate
from bige_opensim.workflows.objectives import objective_file
from bige_opensim.workflows.peers import train_diffusion, train_prior
from bige_opensim.workflows.stream import mechanics_of, models_in
from bige_opensim.workflows.train import folder_of, load_surrogate
from bige_opensim.workflows.validate import validate

Row = dict[str, Any]
GUIDED = "guided"
IN_TABLES = {
    "codes": "VQ-VAE",
    "prior": "code prior",
    "diffusion": "diffusion",
    "guided diffusion": "diffusion, guided",
    "rejection": "rejection",
    "rejection, diffusion": "rejection, diffusion",
    "paper": "the paper's losses",
    GUIDED: GUIDED,
}
"""Ways that are rows of the paper's tables, by their names there."""
HEADINGS = {
    "way": "",
    "seconds": "search, s",
    "searched": "looked at",
    "proposed": "proposed",
    "expected": "expected",
    "confirmed": "confirmed",
    "share": "share",
    "per_minute": "confirmed a minute",
    "median_violation": "missed by, median",
    "largest_violation": "largest",
    "diversity": "diversity",
    "novelty": "novelty",
}


def named(text: str) -> tuple[str, Path]:
    """NAME=PATH."""
    name, _, path = text.partition("=")
    if not path:
        raise argparse.ArgumentTypeError(f"{text}: expected NAME=PATH, such as subject6=scaled.osim")
    return name, Path(path)


def trained(given: argparse.Namespace, seed: int) -> tuple[Path | None, Path | None]:
    """Folders of the code prior and of diffusion of a seed, where a way needs them."""
    prior, diffusion = (given.out / "networks" / f"{name}-{seed}" for name in ("prior", "diffusion"))
    more = {"seed": seed, "epochs": given.epochs, "show": Steps}
    asks = [bool(set(ways) & set(given.ways)) for ways in (OF_PRIOR, OF_DIFFUSION)]
    if asks[0] and not prior.is_dir():
        train_prior(given.data, out=prior, generator=given.generator, **more)
    if asks[1] and not diffusion.is_dir():
        train_diffusion(given.data, out=diffusion, **more)
    return prior if asks[0] else None, diffusion if asks[1] else None


def missed(certificate: Certificate, objective: Objective) -> float:
    """By how much the worst deciding term misses its bound, in its own unit; nan where nothing was simulated."""
    bounds = {t.name: (t.low, t.high) for t in objective.terms}
    found = [
        float(signed_violation(torch.tensor(term.simulated), *bounds[name]))
        for name, term in certificate.terms.items()
        if term.decides
    ]
    return max(0.0, *found) if found else float("nan")


def run_way(way: str, case: Case, place: Path, seconds: float, jobs: int) -> Row:
    """Propose motions, unless they are there, and simulate them."""
    if not (place / RECORD).is_file():
        propose(way, case, seconds, Steps).motions.save(place)
    began = processor_seconds()
    certificates = validate(place, jobs=jobs, show=Steps)
    record = read_json(place / RECORD)
    objective = Objective.load(case.objective)
    misses = np.array([missed(c, objective) for c in certificates])
    known = misses[np.isfinite(misses)]
    spent, confirmed = record["way"]["processor_s"], sum(c.confirmed for c in certificates)
    novelty = [entry["nearest_training_motion"]["novelty"] for entry in record["motions"]]
    return {
        "way": way,
        "seconds": spent,
        "searched": record["way"]["searched"],
        "proposed": len(certificates),
        "expected": sum(bool(entry["predicted_satisfied"]) for entry in record["motions"]),
        "confirmed": confirmed,
        "share": confirmed / len(certificates),
        "per_minute": 60.0 * confirmed / spent,
        "median_violation": float(np.median(known)) if len(known) else float("nan"),
        "largest_violation": float(known.max()) if len(known) else float("nan"),
        "terms_met": sum(c.satisfied for c in certificates),
        "labels_passed": sum(c.labels["status"] == "passed" for c in certificates),
        "gates_passed": sum(c.plausible for c in certificates),
        "diversity": record["way"]["diversity"],
        "novelty": float(np.median(novelty)),
        "confirm_s": processor_seconds() - began,
        "reasons": {c.name: c.reason for c in certificates if not c.confirmed},
    }


def alternatives(given: argparse.Namespace) -> Iterator[Row]:
    """A row for every person, objective, seed and way, and their tables after each."""
    finished = FinishedRows(given.out / "rows")
    settings = {name: getattr(given, name) for name in ("count", "iterations", "seconds", "generator", "surrogate")}
    settings = {key: str(value) for key, value in settings.items()}
    networks = folder_of(given.generator, "generator"), folder_of(given.surrogate, "surrogate")
    for seed in range(given.seed, given.seed + given.seeds):
        prior, diffusion = trained(given, seed)
        for person, model in given.person:
            for name in given.objective:
                file = objective_file(name)
                case = Case(
                    file, model, *networks, count=given.count, seed=seed, prior=prior, diffusion=diffusion,
                    iterations=given.iterations,
                )  # fmt: skip
                seconds = given.seconds
                muscles = any(t.quantity == "activation" for t in Objective.load(file).terms)
                first = [GUIDED] if seconds is None else []  # its seconds are everybody's
                ways = [w for w in dict.fromkeys([*first, *given.ways]) if muscles or w not in MUSCLES_ONLY]
                for way in ways:
                    key = f"{person}-{file.stem}-{seed}-{way.replace(', ', '-').replace(' ', '-')}"
                    place = given.out / "motions" / key
                    limit = np.inf if seconds is None else seconds
                    row = finished.row(key, settings, partial(run_way, way, case, place, limit, given.jobs))
                    seconds = row["seconds"] if seconds is None else seconds
                    yield {"person": person, "objective": file.stem, "seed": seed, "folder": str(place)} | row


def write_alternatives(out: Path, rows: list[Row]) -> None:
    """The table and the picture of what there is so far."""
    flat = pd.DataFrame(rows).drop(columns=["folder", "reasons"])
    write_whole(out / "alternatives.csv", flat.to_csv(index=False))
    parts = []
    for (person, objective), part in flat.groupby(["person", "objective"], sort=False):
        lines = [[shown(value) for value in line] for line in part[[*HEADINGS]].itertuples(index=False)]
        caption = f"{person}, {objective}: motions confirmed by OpenSim, by how they were searched."
        parts.append(table(caption, [[*HEADINGS.values()]], lines))
    write_whole(out / "alternatives.tex", "\n".join(parts))
    write_picture(out / "alternatives.png", picture(flat))


def shown(value: object) -> str:
    """A cell: numbers with three digits."""
    if isinstance(value, float):
        return "-" if np.isnan(value) else f"{value:.3g}"
    return str(value)


def write_picture(path: Path, figure: Figure) -> None:
    """A picture, whole or not at all."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    write_whole_bytes(path, drawn.getvalue())


def wilson(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    z, p = 1.96, hits / of
    middle, half = p + z * z / (2 * of), z * np.sqrt(p * (1 - p) / of + (z / (2 * of)) ** 2)
    return (middle - half) / (1 + z * z / of), (middle + half) / (1 + z * z / of)


def picture(rows: pd.DataFrame) -> Figure:
    """The share that OpenSim confirms of each way's proposals, all seeds together, a panel per person and objective."""
    panels = list(rows.groupby(["person", "objective"], sort=False))
    ways = list(dict.fromkeys(rows["way"]))
    figure = Figure(figsize=(2.0 + 2.6 * len(panels), 1.2 + 0.3 * len(ways)), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, ((person, objective), part) in zip(axes, panels, strict=True):
        for place, way in enumerate(ways):
            mine = part[part["way"] == way]
            if len(mine):
                hits, of = int(mine["confirmed"].sum()), int(mine["proposed"].sum())
                axis.plot(wilson(hits, of), [place, place], "|-", ms=5, lw=1.3, color="C1")
                axis.plot(hits / of, place, "o", ms=4.5, color="C1")
        axis.set(title=f"{person}\n{objective}", xlim=(-0.03, 1.03))
        axis.set_yticks(range(len(ways)), ways)
        axis.grid(axis="y", lw=0.4, color="0.9")
    axes[0].invert_yaxis()
    figure.supxlabel("share confirmed by OpenSim, 95 % interval", fontsize=9)
    return figure


@torch.no_grad()
def surrogate_rows(given: argparse.Namespace) -> Iterator[Row]:
    """R² and error of each of the eight muscles on every held-out person, of the surrogate and of the mean curve."""
    network, data = load_surrogate(given.surrogate), load_dataset(given.data)
    muscles, splits = list(network.channels.muscles), data["split"].values.astype(str)
    true = data["activations"].sel(muscle=muscles).values
    usual = true[splits == "train"].mean(0)
    features = torch.tensor(data["features"].sel(feature=list(network.channels.features)).values, dtype=torch.float32)
    mechanics = mechanics_of(data, models_in(given.models)) if network.channels.loads else None
    q, duration = (torch.tensor(data[name].values, dtype=torch.float32) for name in ("q", "duration"))
    found = network(q, duration, features, mechanics=mechanics).numpy()
    for person in dict.fromkeys(data["subject"].values[splits != "train"].tolist()):
        mine = data["subject"].values == person
        ours, control = (
            eight_muscles(x, true[mine], muscles) for x in (found[mine], np.broadcast_to(usual, found.shape)[mine])
        )
        for muscle, (r2, rmse) in ours.items():
            yield {
                "person": person,
                "muscle": muscle,
                "r2": r2,
                "rmse": rmse,
                "r2_mean_curve": control[muscle][0],
                "rmse_mean_curve": control[muscle][1],
                "peak": float(true[mine][..., [m.startswith(f"{muscle}_") for m in muscles]].max(1).mean()),
            }


def write_surrogate(out: Path, rows: Sequence[Row]) -> None:
    """The table of the eight muscles."""
    flat = pd.DataFrame(rows)
    write_whole(out / "surrogate.csv", flat.to_csv(index=False))
    people = list(dict.fromkeys(flat["person"]))
    lines = []
    for muscle in dict.fromkeys(flat["muscle"]):
        mine = flat[flat["muscle"] == muscle].set_index("person").loc[people]
        marks = np.where(mine["rmse_mean_curve"] <= mine["rmse"], " †", "")
        cells = zip(mine["r2"], mine["rmse"], mine["r2_mean_curve"], marks, strict=True)
        lines.append([muscle, *(f"{r2:.2f}{mark}, {rmse:.3f} ({usual:.2f})" for r2, rmse, usual, mark in cells)])
    lines.append(["mean", *(f"{flat[flat['person'] == p]['r2'].mean():.2f}" for p in people)])
    caption = (
        "R² and root mean square error of the surrogate on people who were held out; in brackets the R² of the mean "
        "curve of the training people, † where that curve is at least as good."
    )
    write_whole(out / "surrogate.tex", table(caption, [["", *people]], lines))


def sets_of(rows: Sequence[Row], objective: str) -> dict[str, list[Path]]:
    """Folders of the ways that are rows of the paper's tables, by their names there."""
    mine = [row for row in rows if row["objective"] == objective]
    found = {name: [Path(r["folder"]) for r in mine if r["way"] == way] for way, name in IN_TABLES.items()}
    return {name: folders for name, folders in found.items() if folders}


def main(arguments: list[str] | None = None) -> None:
    """Train, propose, simulate and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset of repetitions, with people held out")
    parser.add_argument("--person", type=named, nargs="+", required=True, help="for whom: NAME=PATH of a model")
    parser.add_argument("--out", type=Path, required=True, help="folder for networks, motions and tables")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="folders of the recorded people's models")
    parser.add_argument("--objective", nargs="+", default=["vasti_35_45", "deep_squat"], help="files or names")
    parser.add_argument("--ways", nargs="+", default=[*WAYS], choices=[*WAYS], metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--seconds", type=float, help="of processor time for each way; else what guided takes")
    parser.add_argument("--count", type=int, default=20, help="motions that each way proposes")
    parser.add_argument("--seed", type=int, default=0, help="first seed, of trainings and searches")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds")
    parser.add_argument("--generator", default="built-in", help="checkpoint")
    parser.add_argument("--surrogate", default="built-in", help="checkpoint")
    parser.add_argument("--epochs", type=int, help="replaces the trainings' own numbers of epochs")
    parser.add_argument("--iterations", type=int, help="of a search, instead of the objective's")
    parser.add_argument("--jobs", type=int, default=1, help="motions that OpenSim simulates at once")
    given = parser.parse_args(arguments)
    given.out.mkdir(parents=True, exist_ok=True)
    muscles = list(surrogate_rows(given))
    if muscles:
        write_surrogate(given.out, muscles)
    rows: list[Row] = []
    for row in alternatives(given):
        rows.append(row)
        write_alternatives(given.out, rows)
        print({key: shown(row[key]) for key in ("person", "objective", "seed", *HEADINGS)}, flush=True)
    if sets := sets_of(rows, objective_file(given.objective[0]).stem):
        evaluate(given.data, sets, given.out / "tables", models=given.models)


if __name__ == "__main__":
    main()
