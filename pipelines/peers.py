"""Peers of the search on one scale: recordings, plain codes, code prior, diffusion, and what a search made.

    bige dataset labels --out reps.nc
    bige generate --objective deep_squat --model scaled.osim -n 40 --out guided
    python pipelines/peers.py --data reps.nc --models sessions --guided guided --out peers

trains a code prior and diffusion with each seed, draws as many motions from each and from the generator's codes alone,
and writes the tables of `bige evaluate` into OUT/tables, beside noise, shuffled and copied motions.
"""

import argparse
from pathlib import Path

from bige_opensim.commands.display import Steps
from bige_opensim.workflows.evaluate import evaluate
from bige_opensim.workflows.peers import draw, train_diffusion, train_prior
from bige_opensim.workflows.train import folder_of


def drawn(given: argparse.Namespace) -> dict[str, list[Path]]:
    """Files of motions by method, one of each seed."""
    generator = folder_of(given.generator, "generator")
    found: dict[str, list[Path]] = {"codes": [], "prior": [], "diffusion": []}
    for seed in range(given.seeds):
        runs = {name: given.out / f"{name}-{seed}" for name in ("prior", "diffusion")}
        train_prior(given.data, out=runs["prior"], generator=generator, seed=seed, epochs=given.epochs, show=Steps)
        train_diffusion(given.data, out=runs["diffusion"], seed=seed, epochs=given.epochs, show=Steps)
        for name, files in found.items():
            files.append(given.out / f"{name}-{seed}.nc")
            draw(
                runs.get(name, generator),
                given.data,
                count=given.count,
                generator=generator,
                seed=seed,
                out=files[-1],
            )
    return found


def main() -> None:
    """Train, draw and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="dataset of repetitions, with people held out")
    parser.add_argument("--out", type=Path, required=True, help="folder for networks, motions and tables")
    parser.add_argument("--generator", default="built-in", help="checkpoint of the generator")
    parser.add_argument("--guided", type=Path, nargs="*", default=[], help="folders that `bige generate` wrote")
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="folders of the recorded people's models")
    parser.add_argument("--count", type=int, default=40, help="motions of each method and seed")
    parser.add_argument("--seeds", type=int, default=3, help="how many seeds")
    parser.add_argument("--epochs", type=int, help="replaces the trainings' own numbers of epochs")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    motions = drawn(given) | ({"guided": given.guided} if given.guided else {})
    evaluate(given.data, motions, given.out / "tables", models=given.models)


if __name__ == "__main__":
    main()
