"""Train the generator that comes with the package, on nothing but synthetic people and public domain recordings.

    bige import ui-prmd UI-PRMD --out sessions           # 8 people, deep squats, PDDL 1.0, doi:10.3390/data3010002
    bige synth --out sessions --subjects 36 --seed 0     # nobody
    bige label sessions --out labels --solver fast
    python pipelines/built_in_generator.py labels

Writes bige_opensim/networks/generator, with the settings of built_in_generator.toml. Only kinematics are learned, so
trials that failed quality gates count too. The checkpoint's references, where searches start, are synthetic people's
repetitions: no recording is beside the network.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import xarray as xr

from bige_opensim.built_in import NETWORK_FOLDER
from bige_opensim.io.documents import read_json
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.learning.dataset import BY_TRIAL, build_dataset
from bige_opensim.learning.training import GeneratorTraining, read_training_config, train_generator

SETTINGS = Path(__file__).with_suffix(".toml")
PUBLIC = "ui_prmd_"
SYNTHETIC = "synth_"
VALIDATION = ("ui_prmd_s06", "synth_004", "synth_012")
REFERENCES = 24
CARD = """## Licence and origin

Apache-2.0, as the package. Trained on synthetic people (`bige synth`) and on the deep squats of UI-PRMD (Vakanski et
al. 2018, doi:10.3390/data3010002; public domain, PDDL 1.0), and on nothing else; `references.nc` holds synthetic
people's repetitions only. Made by `python pipelines/built_in_generator.py LABELS`, whose first lines say how the labels
are made.

sha256 of weights.safetensors: {weights}
"""


def main() -> None:
    """Train, and write the checkpoint with its card."""
    words = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words.add_argument("labels", type=Path, help="labels of UI-PRMD and of synthetic people")
    words.add_argument("--out", type=Path, default=NETWORK_FOLDER / "generator")
    words = words.parse_args()
    out = train(public_repetitions(words.labels), words.out)
    size = sum(path.stat().st_size for path in out.iterdir())
    print(f"{out}: {size / 1e6:.1f} MB")


def public_repetitions(labels: Path) -> xr.Dataset:
    """Repetitions of synthetic people and of UI-PRMD below a folder of labels; SystemExit where others are there."""
    people = {str(read_json(path)["subject"]) for path in labels.rglob("label.json")}
    others = sorted(name for name in people if not name.startswith((PUBLIC, SYNTHETIC)))
    if others:
        raise SystemExit(f"{labels}: {', '.join(others)} may not be in what ships; give labels of public people alone.")
    split = {name: "validation" if name in VALIDATION else "train" for name in people}
    return build_dataset(labels, include_failed=True, split=split)


def train(data: xr.Dataset, out: Path) -> Path:
    """The checkpoint folder."""
    settings = read_training_config(SETTINGS, GeneratorTraining)
    train_generator(data, out, settings, report=_tell, references=of_nobody(data))
    card = out / "card.md"
    card.write_text(card.read_text() + "\n" + CARD.format(weights=file_sha256(out / "weights.safetensors")))
    return out


def of_nobody(data: xr.Dataset) -> xr.Dataset:
    """Repetitions of synthetic people that are trained on, and what the dataset says of their trials."""
    synthetic = np.char.startswith(data["subject"].values.astype(str), SYNTHETIC) & (data["split"].values == "train")
    found = data.isel(repetition=np.flatnonzero(synthetic)[:REFERENCES])
    trials = {f"{s}/{t}" for s, t in zip(found["session"].values, found["trial"].values, strict=True)}
    by_trial = {name: json.loads(data.attrs[name]) for name in BY_TRIAL}
    kept = {name: json.dumps({t: v for t, v in told.items() if t in trials}) for name, told in by_trial.items()}
    return found.assign_attrs(kept | {"excluded": "[]"})


def _tell(epoch: int, epochs: int, metrics: dict[str, int | float]) -> None:
    if epoch % 20 == 0:
        print(f"{epoch} of {epochs}: validation {metrics['validation_score']:.3f}", flush=True)


if __name__ == "__main__":
    main()
