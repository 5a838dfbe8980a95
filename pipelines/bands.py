"""Does the muscle that OpenSim finds follow the band that was asked for?

    python pipelines/bands.py --model subject6=scaled.osim --out bands

searches, for every model, motions whose vastus medialis peaks in each of four bands, has OpenSim simulate all of them,
those that the search itself does not trust too, and writes

- bands.csv, a line per motion: the band and its middle, the peak as predicted and as simulated (of the side farther
  out), by how much it misses the band, whether OpenSim confirmed the motion;
- summary.csv and summary.tex, a line per person: Spearman's rank correlation of simulated peaks with the middles of
  their bands, beside the largest that so many motions in so few bands can have; median and largest violation; share
  within .01; seconds of processor time;
- bands.png.

A stopped run goes on where it was: motions are kept in OUT/motions, finished bands in OUT/rows.
"""

import argparse
import dataclasses
import io
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import spearmanr

import bige_opensim as bige
from bige_opensim.commands.display import Steps
from bige_opensim.guidance.language import Term
from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.objective_text import objective_text
from bige_opensim.io.finished_rows import FinishedRows
from bige_opensim.io.latex import table
from bige_opensim.io.whole_files import write_whole, write_whole_bytes
from bige_opensim.workers.processor_time import processor_seconds
from bige_opensim.workflows.objectives import objective_file

Row = dict[str, Any]
Band = tuple[float, float]
CLOSE = 0.01
BANDS = ("0.15-0.25", "0.25-0.35", "0.35-0.45", "0.45-0.55")


def band_of(text: str) -> Band:
    """Both ends of '0.15-0.25'."""
    low, _, high = text.partition("-")
    return float(low), float(high)


def model_of(text: str) -> tuple[str, Path]:
    """NAME=PATH."""
    name, _, path = text.partition("=")
    if not path:
        raise argparse.ArgumentTypeError(f"{text}: expected NAME=PATH, such as subject6=scaled.osim")
    return name, Path(path)


def banded(objective: Objective, band: Band) -> tuple[Objective, str]:
    """The objective with another band in its deciding term of activation, and that term's name."""
    deciding = [t for t in objective.terms if t.hard and t.quantity == "activation"]
    if len(deciding) != 1:
        raise SystemExit(f"{objective.source}: expected one hard term on activation, found {len(deciding)}")

    def moved(term: Term) -> Term:
        return dataclasses.replace(term, low=band[0], high=band[1]) if term is deciding[0] else term

    name = f"{objective.name}, {band[0]:g} to {band[1]:g}"
    terms = tuple(moved(t) for t in objective.terms)
    return dataclasses.replace(objective, name=name, terms=terms), deciding[0].name


def run_band(given: argparse.Namespace, person: str, model: Path, band: Band) -> Row:
    """Search and simulate the motions of one band; seconds, and a row per motion."""
    objective, term = banded(Objective.load(objective_file(given.objective)), band)
    place = given.out / "motions" / f"{person}-{band[0]:g}-{band[1]:g}"
    file = given.out / "objectives" / f"{band[0]:g}-{band[1]:g}.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, objective_text(objective))
    began = processor_seconds()
    found = bige.generate(
        file,
        model=model,
        generator=given.generator,
        surrogate=given.surrogate,
        count=given.count,
        seed=given.seed,
        iterations=given.iterations,
        show=Steps,
    )
    searched = processor_seconds()
    found.save(place)
    certificates = bige.validate(found, jobs=given.jobs, show=Steps)
    return {
        "search_s": searched - began,
        "confirm_s": processor_seconds() - searched,
        "motions": list(_motions(person, band, term, found.record["motions"], certificates)),
    }


def _motions(
    person: str, band: Band, term: str, entries: list[Row], certificates: list[bige.Certificate]
) -> Iterator[Row]:
    by_name = {c.name: c for c in certificates}
    for entry in entries:
        certificate = by_name[entry["name"]]
        simulated = certificate.terms[term].simulated if term in certificate.terms else float("nan")
        yield {
            "person": person,
            "low": band[0],
            "high": band[1],
            "asked": round(sum(band) / 2, 6),
            "motion": entry["name"],
            "predicted": entry["predicted"][term],
            "simulated": simulated,
            "violation": float(np.maximum(max(band[0] - simulated, simulated - band[1]), 0.0)),
            "expected": entry["predicted_satisfied"],
            "confirmed": certificate.confirmed,
            "novelty": (entry["nearest_training_motion"] or {}).get("novelty"),
            "reason": "" if certificate.confirmed else certificate.reason,
        }


def correlation(asked: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Spearman's of what was found with what was asked, and the largest that it can be.

    Motions of one band share a rank: even where every motion of a higher band is higher, the correlation is below 1.
    """
    perfect = np.lexsort((found, asked)).argsort()
    return float(spearmanr(asked, found).statistic), float(spearmanr(asked, perfect).statistic)


def summary(person: str, motions: pd.DataFrame, bands: list[Row]) -> Row:
    """How well one person's motions follow."""
    known = motions.dropna(subset=["simulated"])
    follows, most = correlation(known["asked"].to_numpy(), known["simulated"].to_numpy(dtype=float))
    violation = known["violation"].to_numpy(dtype=float)
    return {
        "person": person,
        "motions": len(motions),
        "confirmed": int(motions["confirmed"].sum()),
        "spearman": follows,
        "spearman at most": most,
        "median violation": float(np.median(violation)),
        "largest violation": float(violation.max()),
        f"share within {CLOSE:g}": float((violation <= CLOSE).mean()),
        "search, s": sum(band["search_s"] for band in bands),
        "confirm, s": sum(band["confirm_s"] for band in bands),
    }


def picture(motions: pd.DataFrame) -> Figure:
    """Simulated peaks beside the bands that they were asked to be in, a panel per person."""
    people = list(dict.fromkeys(motions["person"]))
    figure = Figure(figsize=(4.2 * len(people), 4.0), layout="constrained")
    for axis, person in zip(figure.subplots(1, len(people), squeeze=False)[0], people, strict=True):
        mine = motions[motions["person"] == person]
        for low, high in dict.fromkeys(zip(mine["low"], mine["high"], strict=True)):
            part = mine[(mine["low"] == low) & (mine["high"] == high)]
            at = np.linspace(low + 0.02, high - 0.02, len(part))
            axis.fill_between([low, high], low, high, color="0.88", lw=0)
            for holds, colour in ((True, "C0"), (False, "C3")):
                chosen = (part["confirmed"] == holds).to_numpy()
                axis.plot(at[chosen], part["simulated"].to_numpy(dtype=float)[chosen], "o", ms=4.5, color=colour)
        axis.set(title=person, xlabel="asked (band)", ylabel="peak that OpenSim finds")
        axis.grid(lw=0.4, color="0.9")
    figure.supxlabel("grey: the band; blue: confirmed; red: not", fontsize=8)
    return figure


def write(out: Path, motions: pd.DataFrame, people: list[Row]) -> None:
    """The tables and the picture of what there is so far."""
    write_whole(out / "bands.csv", motions.to_csv(index=False))
    write_whole(out / "summary.csv", pd.DataFrame(people).to_csv(index=False))
    lines = [[f"{x:.3g}" if isinstance(x, float) else str(x) for x in row.values()] for row in people]
    write_whole(
        out / "summary.tex", table("Simulated peaks beside the bands that were asked for.", [[*people[0]]], lines)
    )
    drawn = io.BytesIO()
    picture(motions).savefig(drawn, format="png", dpi=110)
    write_whole_bytes(out / "bands.png", drawn.getvalue())


def main(arguments: list[str] | None = None) -> None:
    """Search, simulate and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=model_of, nargs="+", required=True, help="people: NAME=PATH of their models")
    parser.add_argument("--out", type=Path, required=True, help="folder for motions and tables")
    parser.add_argument("--objective", default="vasti_35_45", help="the objective whose band is replaced")
    parser.add_argument("--bands", type=band_of, nargs="+", default=[band_of(b) for b in BANDS], help="low-high")
    parser.add_argument("--count", type=int, default=10, help="motions of each band")
    parser.add_argument("--seed", type=int, default=0, help="of the searches")
    parser.add_argument("--iterations", type=int, help="of a search, instead of the objective's")
    parser.add_argument("--generator", default="built-in", help="checkpoint")
    parser.add_argument("--surrogate", default="built-in", help="checkpoint")
    parser.add_argument("--jobs", type=int, default=1, help="motions that OpenSim simulates at once")
    given = parser.parse_args(arguments)
    finished = FinishedRows(given.out / "rows")
    names = ("objective", "count", "seed", "iterations", "generator", "surrogate")
    settings = {name: getattr(given, name) for name in names}
    motions, people = [], []
    for person, model in given.model:
        bands = []
        for low, high in given.bands:
            make = partial(run_band, given, person, model, (low, high))
            made = finished.row(f"{person}-{low:g}-{high:g}", settings, make)
            bands.append(made)
            motions += made["motions"]
        people.append(summary(person, pd.DataFrame([m for band in bands for m in band["motions"]]), bands))
        write(given.out, pd.DataFrame(motions), people)
    print(pd.DataFrame(people).to_string(index=False))


if __name__ == "__main__":
    main()
