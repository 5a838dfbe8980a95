"""Make the surrogate that comes with the package, from synthetic people, UI-PRMD and physics, and nothing else.

UI-PRMD is in the public domain (PDDL 1.0; Vakanski et al. 2018, doi:10.3390/data3010002). From nothing:

    bige synth --out people/synthetic --subjects 36 --reps 1 --model osim_models/fullbody80.osim
    bige import ui-prmd UI-PRMD --out people/ui_prmd --model LaiUhlrich2022.osim
    bige label people/synthetic people/ui_prmd --out labels --solver fast --geometry exact
    python pipelines/built_in_surrogate.py --labels labels --people people/ui_prmd people/synthetic \\
        --out bige_opensim/networks/surrogate

The same data, seed, versions and device give the same motions; weights are the same on a processor, and up to the order
of its sums on a graphics card. On one core of a processor bodies and motions take 25 minutes, training 20. One
validation person is a recorded one, the others are synthetic; all others train.
"""

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
import xarray as xr
from safetensors.torch import load_file, save_file

import bige_opensim as bige
from bige_opensim.commands.display import Steps
from bige_opensim.io.documents import read_json
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.learning.dataset import load_dataset
from bige_opensim.learning.training import SurrogateTraining, read_training_config
from bige_opensim.workflows.train import train_surrogate

SETTINGS = Path(__file__).with_suffix(".toml")
VALIDATION = ("ui_prmd_s07", "synth_034", "synth_035", "synth_036")
LICENCE = """## Licence

Apache-2.0, as the package. Trained on synthetic people (`bige synth`), on the deep squats of UI-PRMD, which are in the
public domain (PDDL 1.0; Vakanski et al. 2018, doi:10.3390/data3010002), and on motions made of these and labelled by
the physics. No other recording went into it.

## Made by

`python pipelines/built_in_surrogate.py`, whose text begins with all commands; settings in
`pipelines/built_in_surrogate.toml`. sha256 of weights.safetensors:

`{sha256}`
"""


def repetitions(labels: Path) -> xr.Dataset:
    """All people's repetitions, the few of VALIDATION apart."""
    every = bige.repetitions(labels, include_failed=True)
    people = dict.fromkeys(every["subject"].values.tolist())
    return bige.repetitions(
        labels, include_failed=True, split={p: "validation" if p in VALIDATION else "train" for p in people}
    )


def models(people: list[Path]) -> list[Path]:
    """Models of all people; the first train on streamed motions, too, as many as `stream.own_bodies`."""
    return [model for place in people for model in sorted(place.glob("*/OpenSimData/Model/*.osim"))]


def main() -> None:
    """Train, and put the checkpoint in its place with its licence."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--labels", type=Path, help="labels of synthetic people and UI-PRMD")
    data.add_argument("--data", type=Path, help="their repetitions, as netCDF")
    parser.add_argument("--people", type=Path, nargs="+", required=True, help="folders of their sessions")
    parser.add_argument("--run", type=Path, default=Path("built_in_surrogate"), help="where training keeps its files")
    parser.add_argument("--out", type=Path, required=True, help="where the checkpoint goes")
    parser.add_argument("--device", default="cpu", help="what trains: cpu, or cuda for a graphics card")
    given = parser.parse_args()
    torch.set_num_threads(1)
    dataset = repetitions(given.labels) if given.labels else load_dataset(given.data)
    settings = replace(read_training_config(SETTINGS, SurrogateTraining), device=given.device)
    train_surrogate(dataset, out=given.run, settings=settings, models=models(given.people), show=Steps)
    shutil.rmtree(given.out, ignore_errors=True)
    shutil.copytree(given.run, given.out)
    halve(given.out)
    sign(given.out)


def halve(folder: Path) -> None:
    """Write the matrices of a checkpoint in half precision, which changes activations by less than 0.001."""
    weights, described = folder / "weights.safetensors", folder / "config.json"
    tensors = load_file(weights)
    save_file({k: x.half() if k.endswith(".weight") and x.ndim > 1 else x for k, x in tensors.items()}, weights)
    config = read_json(described)
    config["sha256"][weights.name] = file_sha256(weights)
    described.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def sign(folder: Path) -> None:
    """Add licence, origin and hash of the weights to the card of a checkpoint."""
    card = folder / "card.md"
    text = LICENCE.format(sha256=file_sha256(folder / "weights.safetensors"))
    card.write_text(f"{card.read_text(encoding='utf-8')}\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
