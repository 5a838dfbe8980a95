"""Sessions of synthetic people, in OpenCap's layout, marked as synthetic wherever a reader may look."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bige_opensim.io.documents import read_json
from bige_opensim.io.storage import write_coordinates, write_whole
from bige_opensim.motion import Motion
from bige_opensim.osim.anthropometric_scaling import ScalingError, scale_model
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.messages import only_errors
from bige_opensim.osim.model import ModelError, opensim_version
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.provenance import __version__, provenance
from bige_opensim.settings import one_of
from bige_opensim.synthesis.closed_chain import ClosedChainError
from bige_opensim.synthesis.movements import MOVEMENTS
from bige_opensim.synthesis.people import SyntheticPerson, draw_person
from bige_opensim.workers.alone import alone, as_they_come
from bige_opensim.workers.worker_process import ProcessLostError

FORMAT = "bige-synthetic/1"
RECORD = "synthetic.json"
STYLES = 30
"""Styles drawn for a body before it is given up: some ask for a posture that the body cannot take."""
NOISE_M_PER_DEG = 0.002
MADE, KEPT = "made", "kept"


class SynthesisError(ValueError):
    """A cohort that cannot be made as asked."""


MOST = {"subjects": 100_000, "reps": 1000}
LARGEST_NOISE_DEG = 45.0


@dataclass(frozen=True)
class CohortSettings:
    """What to make: people, repetitions of each, seed, noise on every coordinate, and the movement.

    The noise is in degrees (and 2 mm per degree); the movement is one of `movements.MOVEMENTS`.
    """

    subjects: int
    repetitions: int
    seed: int = 0
    noise_deg: float = 0.0
    movement: str = "squat"

    def __post_init__(self) -> None:
        one_of("movement", self.movement, tuple(MOVEMENTS))
        for what, value in (("subjects", self.subjects), ("reps", self.repetitions)):
            if not 1 <= value <= MOST[what]:
                raise SynthesisError(f"--{what} must be at least 1 and at most {MOST[what]}, got {value}.")
        if not 0.0 <= self.noise_deg <= LARGEST_NOISE_DEG:
            raise SynthesisError(f"--noise must be degrees, 0 for none, got {self.noise_deg:g}.")


@dataclass(frozen=True)
class PersonMade:
    """What became of a person: made, or kept from before; and the record."""

    name: str
    status: str
    record: dict[str, Any]


def make_cohort(out: Path, model: Path, settings: CohortSettings, *, jobs: int | None = None) -> Iterator[PersonMade]:
    """Write a session folder per person below `out`, yielding people as they come; the same seed makes the same people.

    Person i depends on the seed and i alone, so that a larger cohort begins with the people of a smaller one. People
    made before with the same settings are kept. Each person is made in a process beside this one, for which a script
    needs no main guard.

    Raises
    ------
    SynthesisError
        `out` holds other things than synthetic people, a body finds no repetition, or a process was lost.
    ScalingError, ModelError
        The model cannot be scaled to a person, or not be read.

    """
    out.mkdir(parents=True, exist_ok=True)
    people = [(out / f"synth_{i + 1:03d}", i, model, settings) for i in range(settings.subjects)]
    yield from as_they_come(_made, people, jobs)


def _made(person: tuple[Path, int, Path, CohortSettings]) -> PersonMade:
    try:
        return alone(make_person, *person, errors=(SynthesisError, ScalingError, ModelError))
    except ProcessLostError as error:
        raise SynthesisError(f"{person[0]}: {error}.") from error


def make_person(folder: Path, index: int, model: Path, settings: CohortSettings) -> PersonMade:
    """Draw a person and how they move, and write the session, whole or not at all."""
    only_errors()
    fingerprint = _fingerprint(index, model, settings)
    if folder.exists():
        record = _record_of(folder)
        if record.get("provenance", {}).get("fingerprint") == fingerprint:
            return PersonMade(folder.name, KEPT, record)
        if record.get("format") != FORMAT:
            raise SynthesisError(
                f"{folder}: the folder holds something else than a synthetic person; name a new --out."
            )
    random = np.random.default_rng([settings.seed, index])
    person = draw_person(folder.name, random)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        record = _write(partial, person, random, model, settings, fingerprint)
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return PersonMade(folder.name, MADE, record)


def _write(
    folder: Path,
    person: SyntheticPerson,
    random: np.random.Generator,
    model: Path,
    settings: CohortSettings,
    fingerprint: dict[str, Any],
) -> dict[str, Any]:
    scaled = folder / "OpenSimData/Model" / f"{model.stem}_scaled.osim"
    scale_model(model, scaled, height_m=person.height_m, mass_kg=person.mass_kg, segment_scales=person.segment_scales)
    skeleton = Skeleton(compile_skeleton(scaled))
    movement = MOVEMENTS[settings.movement]
    style, repetitions, motion = _performed(person, skeleton, random, settings)
    motion = with_noise(motion, skeleton.tables.rotational, settings.noise_deg, random)
    kinematics = folder / "OpenSimData/Kinematics"
    kinematics.mkdir(parents=True)
    rotational = [n for n, turns in zip(skeleton.coordinates, skeleton.tables.rotational, strict=True) if turns]
    title = f"Coordinates of a synthetic person, not a recording (bige synth, seed {settings.seed})"
    write_coordinates(kinematics / f"{movement.trial}.mot", motion, rotational=rotational, title=title)
    metadata = {
        "subjectID": person.name,
        "mass_kg": person.mass_kg,
        "height_m": person.height_m,
        "gender_mf": person.sex[0],
        "openSimModel": model.stem,
        "synthetic": True,
        "made_by": f"bige_opensim {__version__}, bige synth, seed {settings.seed}; not a recording",
    } | ({"chair": movement.chair} if movement.chair else {})
    write_whole(folder / "sessionMetadata.yaml", yaml.safe_dump(metadata, sort_keys=False))
    record = {
        "format": FORMAT,
        "synthetic": True,
        "person": asdict(person),
        "style": asdict(style),
        "movement": settings.movement,
        movement.repetitions: [asdict(r) for r in repetitions],
        "units": "rad, m, s",
        "provenance": provenance(
            opensim=opensim_version(),
            fingerprint=fingerprint,
        ),
    }
    write_whole(folder / RECORD, json.dumps(record, indent=1) + "\n")
    return record


def _performed(
    person: SyntheticPerson, skeleton: Skeleton, random: np.random.Generator, settings: CohortSettings
) -> tuple[Any, tuple[Any, ...], Motion]:
    """A style that the body can take, its repetitions as they came out, and the motion."""
    reasons = []
    for _ in range(STYLES):
        try:
            return MOVEMENTS[settings.movement].perform(skeleton, settings.repetitions, random)
        except ClosedChainError as reason:
            reasons.append(str(reason))
    raise SynthesisError(f"{person.name}: no {settings.movement} in {STYLES} tries, the last because {reasons[-1]}")


def with_noise(motion: Motion, rotational: tuple[bool, ...], noise_deg: float, random: np.random.Generator) -> Motion:
    """Add white noise of a standard deviation in degrees to rotations, and of 2 mm per degree to translations.

    Video-based coordinates scatter by a few tenths of a degree from frame to frame; 0 adds nothing.
    """
    if noise_deg == 0.0:
        return motion
    scale = noise_deg * np.where(rotational, np.deg2rad(1.0), NOISE_M_PER_DEG)
    return motion.with_values(motion.values + scale * random.standard_normal(motion.values.shape))


def _fingerprint(index: int, model: Path, settings: CohortSettings) -> dict[str, Any]:
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    made = {k: v for k, v in asdict(settings).items() if k != "subjects"}
    return {"format": FORMAT, "index": index, "model": digest, "settings": made, "version": __version__}


def _record_of(folder: Path) -> dict[str, Any]:
    try:
        content = read_json(folder / RECORD)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
