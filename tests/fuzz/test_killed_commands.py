"""Commands are killed at random moments and started again, some with other inputs than before.

What comes out must be what an undisturbed run of the last inputs makes, to the byte where nothing depends on the clock;
or a refusal in one sentence. Nothing half written may be left, nothing that was there before may be lost.
"""

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from squat_like_repetitions import MUSCLES_6, squat_like_dataset

from bige_opensim.built_in import MODEL, built_in
from bige_opensim.io.storage import read_storage
from bige_opensim.learning.dataset import load_dataset, save_dataset
from bige_opensim.learning.surrogate import SurrogateConfig
from bige_opensim.learning.training import GeneratorTraining, SurrogateTraining, train_generator, train_surrogate
from bige_opensim.learning.vqvae import GeneratorConfig

pytestmark = pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
TIMEOUT_S = 1800.0

OBJECTIVE = """
name = "Deep"
[[term]]
quantity = "coordinate"
of = ["knee_angle_r"]
stat = "peak"
at_least = {degrees}
[search]
iterations = 40
"""
NETWORK = """
epochs = {epochs}
state_every = 2
[model]
width = 16
"""
PIPELINE = """
name = "small"
[cohort]
subjects = 3
reps = {reps}
[label]
audit = 0.0
[dataset]
include_failed = true
[surrogate]
epochs = 4
state_every = 1
model = {{ width = 16, layers = 1, ground_width = 16, ground_layers = 1 }}
[generator]
epochs = 4
state_every = 1
model = {{ width = 16, latent_width = 8, codes = 16, stages = 1 }}
[search]
objective = "objective.toml"
count = 1
predictor = "surrogate"
iterations = 4
rehearsals = 1
"""


@dataclass(frozen=True)
class Command:
    """A command line by its inputs ("a" or "b") and output, and what of the output is to be compared."""

    name: str
    words: Callable[[Path, str, Path], list[object]]
    results: Callable[[Path], dict[str, object]]
    refuses_others: bool = False


def bige(words: list[object], cwd: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bige_opensim.cli", *map(str, words)]
    return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> bool:
    """Kill a command as a power cut would; whether it was still at work."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        children = []
    at_work = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, alive = psutil.wait_procs(children, timeout=20.0)
    assert not alive, "processes outlive their command"
    return at_work


def content(path: Path) -> object:
    """What a file says, without dates, seconds and places of this run."""
    if path.suffix == ".json":
        return without_clock(json.loads(path.read_text()))
    if path.suffix == ".nc":
        return {name: repr(values.values.tolist()) for name, values in load_dataset(path).data_vars.items()}
    if path.suffix in (".mot", ".sto"):
        table = read_storage(path)
        return table.names, table.values.round(6).tolist()
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.open(newline="")))
        return [{k: v for k, v in row.items() if k != "simulated again"} for row in rows]
    return path.read_bytes()


def without_clock(value: object) -> object:
    if isinstance(value, dict):
        timed = ("timings", "date", "seconds", "provenance", "left", "sha256", "mark", "files")
        return {k: without_clock(v) for k, v in value.items() if k not in timed}
    return [without_clock(v) for v in value] if isinstance(value, list) else value


def files(*patterns: str) -> Callable[[Path], dict[str, object]]:
    def results(out: Path) -> dict[str, object]:
        found = sorted({path for pattern in patterns for path in out.glob(pattern)})
        assert found
        return {path.relative_to(out).as_posix(): content(path) for path in found}

    return results


def report(out: Path) -> dict[str, object]:
    text = (out / "report.html").read_text()
    assert text.rstrip().endswith("</html>")
    return {"report": len(re.sub(r"\d+(\.\d+)?", "", text)) > 1000}


TRAIN = Command(
    "train",
    lambda base, kind, out: [
        *("train", "generator", "--data", base / f"{kind}.nc", "--out", out / "generator"),
        *("--config", base / "train.toml"),
    ],
    files("generator/weights.safetensors", "generator/channels.json", "generator/references.nc"),
    refuses_others=True,
)
GENERATE = Command(
    "generate",
    lambda base, kind, out: [
        *("generate", "--generator", base / "generator", "--surrogate", base / "surrogate", "-n", 2, "--rehearsals", 1),
        *("--objective", base / f"{kind}.toml", "--model", built_in(MODEL), "--out", out / "motions"),
    ],
    files("motions/*.mot", "motions/generation.json", "motions/objective.toml", "motions/predicted/*.sto"),
)
VALIDATE = Command(
    "validate",
    lambda base, kind, out: ["validate", out / "motions", "--jobs", 1],
    files("motions/*/certificate.json", "motions/*/activations.sto", "motions/summary.csv"),
)
REPORT = Command("report", lambda base, kind, out: ["report", out / "motions", "--out", out / "report.html"], report)
RUN = Command(
    "run",
    lambda base, kind, out: ["run", base / f"pipeline_{kind}.toml", "--out", out / "run", "--jobs", 2],
    files("run/repetitions.nc", "run/*/weights.safetensors", "run/motions/*.mot", "run/motions/*/certificate.json"),
)
COMMANDS = {command.name: command for command in (TRAIN, GENERATE, VALIDATE, REPORT, RUN)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two datasets, two networks, two objectives, two pipelines."""
    folder = tmp_path_factory.mktemp("base")
    for seed, kind in enumerate("ab"):
        save_dataset(squat_like_dataset(MUSCLES_6, seed=seed), folder / f"{kind}.nc")
        (folder / f"{kind}.toml").write_text(OBJECTIVE.format(degrees=90 + 10 * seed))
        (folder / f"pipeline_{kind}.toml").write_text(PIPELINE.format(reps=2 + seed))
    shutil.copy(folder / "a.toml", folder / "objective.toml")
    (folder / "train.toml").write_text(NETWORK.format(epochs=30))
    data = load_dataset(folder / "a.nc")
    train_generator(data, folder / "generator", GeneratorTraining(epochs=2, model=GeneratorConfig(width=16)))
    train_surrogate(
        data, folder / "surrogate", SurrogateTraining(epochs=2, model=SurrogateConfig(width=16, ground_width=16))
    )
    return folder


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What a command said; one that takes too long does not outlive its test."""
    try:
        return process.communicate(timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        kill(process)
        raise


def finish(process: subprocess.Popen[str]) -> str:
    said, errors = ended(process)
    assert process.returncode == 0, f"{said}\n{errors}"
    assert "Traceback" not in errors
    return said


def prepared(command: Command, base: Path, kind: str, out: Path) -> None:
    """Inputs that a command finds in its output folder: motions to validate or report."""
    out.mkdir(exist_ok=True)
    if command in (VALIDATE, REPORT):
        finish(bige(GENERATE.words(base, kind, out), base))


def change_motions(base: Path, out: Path) -> None:
    """Let other motions take the place of those that were validated, in the same files."""
    other = out / "other"
    prepared(VALIDATE, base, "b", other)
    for path in (other / "motions").iterdir():
        if path.is_file():
            shutil.copy(path, out / "motions" / path.name)
    shutil.copytree(other / "motions" / "predicted", out / "motions" / "predicted", dirs_exist_ok=True)
    shutil.rmtree(other)


@pytest.fixture(scope="module")
def undisturbed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Command, str], tuple[dict, float]]:
    """Results, and seconds, of a command that nobody kills."""
    known: dict[tuple[str, str], tuple[dict, float]] = {}

    def results(command: Command, kind: str) -> tuple[dict, float]:
        if (command.name, kind) not in known:
            out = tmp_path_factory.mktemp(f"{command.name}_{kind}")
            prepared(command, base, kind, out)
            began = time.monotonic()
            finish(bige(command.words(base, kind, out), base))
            known[command.name, kind] = command.results(out), time.monotonic() - began
        return known[command.name, kind]

    return results


MOMENTS = [
    ("train", 1),
    *(pytest.param(name, count, marks=pytest.mark.slow) for name, count in
      (("train", 10), ("generate", 8), ("report", 6), ("validate", 8), ("run", 8))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "kills"), MOMENTS)
def test_a_command_killed_at_any_moment_ends_as_if_it_had_not_been(
    name: str,
    kills: int,
    base: Path,
    tmp_path: Path,
    undisturbed: Callable[[Command, str], tuple[dict, float]],
    record_property: Callable[[str, object], None],
):
    """The last inputs decide; every third time they are others than those of the killed run."""
    command, rng = COMMANDS[name], random.Random(f"{name} {kills}")
    at_work = 0
    for i in range(kills):
        kind = "b" if i % 3 == 1 else "a"
        expected, seconds = undisturbed(command, kind)
        out = tmp_path / f"{i:02d}"
        prepared(command, base, "a", out)
        process = bige(command.words(base, "a", out), base)
        time.sleep(rng.uniform(0.2, 1.0) * seconds)
        at_work += kill(process)
        if kind == "b" and command in (VALIDATE, REPORT):
            change_motions(base, out)
        again = bige(command.words(base, kind, out), base)
        said, errors = ended(again)
        assert "Traceback" not in errors
        if again.returncode and command.refuses_others and kind == "b":
            assert re.search("belongs to a training with other data|holds a checkpoint trained with other data", errors)
            continue
        assert again.returncode == 0, f"{said}\n{errors}"
        found = command.results(out)
        assert found.keys() == expected.keys()
        assert [key for key in found if found[key] != expected[key]] == []
        left = [p.name for p in out.rglob("*") if ".partial" in p.name or p.name.endswith((".part", ".lock"))]
        assert left == []
        assert not list(out.rglob("*.training"))
    record_property("killed at work", at_work)
    assert at_work >= kills // 2
