"""Training motions without limit: recorded ones varied, planted on many bodies, and labelled by the physics.

Real repetitions alone do not reach unseen people: a few hundred motions on a few bodies leave the surrogate guessing
what another body does. The least-effort problem of `physics` labels motions at thousands of frames a second, so that
every motion can be had on every body. A streamed motion is made of a recorded one, step by step: put on one branch of
its angles, mirrored, mixed with another person's, bent with its knees further forward and by smooth curves, retimed
(`augmentation`); planted on a body drawn from those given, with masses varied, and each with strengths of its own
(`bodies`); labelled; and kept if the ground carries it.

Motions come in shards, files that are whole or absent. Shard k depends on the data, the bodies, the settings and k
alone: a stopped stream goes on where it was, and a longer one begins with the shards of a shorter one.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bige_opensim.learning.augmentation import (
    ARMS,
    Augmentation,
    knees_forward,
    lopsided,
    mirrored_rows,
    trembling,
    varied,
    with_arms_of_others,
)
from bige_opensim.learning.bodies import Body, BodySpread, planted, varied_body, varied_strength
from bige_opensim.learning.channels import Mirror
from bige_opensim.learning.setting_limits import require_within
from bige_opensim.learning.training_data import OTHER_SPANS, Repetitions, Streamed, TrainingError
from bige_opensim.physics.anthropometry import STRENGTH, subject_features
from bige_opensim.physics.muscle_share import MuscleCapacity, Spans
from bige_opensim.physics.rotations import rotation_triples
from bige_opensim.physics.skeleton import Skeleton, SkeletonTables
from bige_opensim.physics.stance_loads import LOADS, StanceLoads

FORMAT = "bige-stream/6"
HALVED = ("activations", "loads", "carried")
"""What shards keep in half precision, beside capacities, which they keep at the labelled frames alone."""

ROOT_TURNS, ROOT_SLIDES = 0.3, 0.4
"""Shares of the tremor of joints, and of that up and down, with which the root turns and moves on the level."""

STILL_DEG = 1.0
"""Standard deviation below which an angle counts as held still by the models of the recordings."""

BATCH = 48
"""Motions planted on one body together."""

GLANCE = 8
"""Every so many frames are solved first: most motions that the ground does not carry show there."""

MOST_BATCHES = 60
"""Batches after which a shard that the quality gate keeps empty is given up, times the batches that would fill it."""


class StreamError(TrainingError):
    """A stream that cannot be made, or shards that cannot be used."""


@dataclass(frozen=True)
class StreamSettings:
    """What is streamed.

    motions: how many, 0 for none; own_bodies: how many of the models given are bodies, 0 for all; wide_bodies: how many
    bodies of wide proportions besides the models given; shard: motions of a shard; mirrored: share that is reflected;
    redescribed: share whose arms, and other ball-like joints that no muscle drives, change to the other angles of the
    same orientation; other_arms: share that gets the arms of other motions, bent by curves of arm_deg; lopsided,
    forward_deg: see `lopsided` and `knees_forward`; tremble_rad_s2, tremble_m_s2: accelerations of angles, and of the
    pelvis up and down, by which motions tremble; held_deg: standard deviation of the angle at which a coordinate stands
    that recordings hold still; residual: largest residual force, in body weights, of a motion that is kept, and moment
    in body weights times metres; every: every so many frames are labelled, those between by straight lines, since more
    motions teach more than more frames; motion, body: how both vary.
    """

    motions: int = 0
    own_bodies: int = 0
    wide_bodies: int = 24
    shard: int = 240
    mirrored: float = 0.5
    redescribed: float = 0.25
    other_arms: float = 0.5
    arm_deg: float = 15.0
    lopsided: float = 0.4
    forward_deg: float = 6.0
    tremble_rad_s2: float = 3.0
    tremble_m_s2: float = 0.8
    held_deg: float = 5.0
    residual: float = 0.2
    every: int = 2
    motion: Augmentation = field(
        default_factory=lambda: Augmentation(mixed=0.7, mix_low=-0.1, mix_high=1.0, angle_deg=3.0, tempo=0.3)
    )
    body: BodySpread = field(default_factory=BodySpread)

    def __post_init__(self) -> None:
        require_within(
            self,
            {
                "motions": (0, 10_000_000),
                "own_bodies": (0, 10_000),
                "wide_bodies": (0, 10_000),
                "shard": (1, 100_000),
                "mirrored": (0.0, 1.0),
                "redescribed": (0.0, 1.0),
                "other_arms": (0.0, 1.0),
                "arm_deg": (0.0, 90.0),
                "lopsided": (0.0, 2.0),
                "forward_deg": (0.0, 30.0),
                "tremble_rad_s2": (0.0, 100.0),
                "tremble_m_s2": (0.0, 20.0),
                "held_deg": (0.0, 45.0),
                "residual": (1e-6, 10.0),
                "every": (1, 10),
            },
            StreamError,
        )


class MotionMix:
    """Varied motions of the repetitions trained on; `tables` say what floats and which joints are ball-like."""

    def __init__(self, data: Repetitions, settings: StreamSettings, tables: SkeletonTables) -> None:
        rows, triples = data.rows["fit"], rotation_triples(tables)
        self.coordinates, self.rotational, self.settings = data.coordinates, data.rotational, settings
        self.mirror = Mirror.of(data.coordinates)
        self.triples = [[data.coordinates.index(n) for n in t] for t in triples if set(t) <= set(data.coordinates)]
        self.q = one_branch(data.q[rows].double().cpu(), self.triples)
        self.duration = data.duration[rows].double().cpu()
        self.arms = [k for k, name in enumerate(data.coordinates) if name.startswith(ARMS)]
        still = self.q.flatten(0, 1).std(0) < math.radians(STILL_DEG)
        self.held = math.radians(settings.held_deg) * (still & torch.tensor(self.rotational))
        self.tremor = self._tremor(tables.root)

    def draw(self, random: torch.Generator) -> tuple[Float[Tensor, "batch time channel"], Float[Tensor, " batch"]]:
        """A batch of motions with durations in s: mirrored, mixed, bent, retimed and trembling."""
        s = self.settings
        rows = torch.randint(len(self.q), (BATCH,), generator=random)
        flip = torch.rand(BATCH, generator=random) < s.mirrored
        q = one_branch(mirrored_rows(self.q[rows], self.mirror, flip), self.triples)
        q = lopsided(q, self.mirror, s.lopsided, random)
        q = knees_forward(q, self.coordinates, s.forward_deg, random)
        q = with_arms_of_others(q, self.arms, s.other_arms, s.arm_deg, random)
        q, duration = varied(q, self.duration[rows], self.rotational, s.motion, random)
        q = q + self.held * torch.randn(BATCH, 1, q.shape[-1], generator=random)
        return trembling(q, duration, self.tremor, random), duration

    def _tremor(self, root: dict[str, Any]) -> Float[Tensor, " channel"]:
        """Accelerations by which channels tremble; trunk and legs as one less, which the ground could not hold."""
        size = torch.where(torch.tensor(self.rotational), self.settings.tremble_rad_s2, self.settings.tremble_m_s2)
        for names, share in ((root["rotations"], ROOT_TURNS), (root["translations"][::2], ROOT_SLIDES)):
            size[[self.coordinates.index(n) for n in names if n in self.coordinates]] *= share
        return size

    def poses(self, count: int, random: torch.Generator) -> Float[Tensor, "pose channel"]:
        """Poses of varied motions, such as muscle paths are to be known for."""
        batches = [self.draw(random)[0].flatten(0, 1) for _ in range(-(-count // (BATCH * self.q.shape[1])))]
        every = torch.cat(batches)
        return every[torch.randperm(len(every), generator=random)[:count]]


class MotionStream:
    """Motions of a mix, on bodies, in shards of a folder."""

    def __init__(
        self, data: Repetitions, bodies: Sequence[Body], settings: StreamSettings, folder: Path, seed: int
    ) -> None:
        if not bodies:
            raise StreamError("a stream of motions needs bodies: give the models of the people that were labelled")
        for body in bodies:
            _require_known(body, data)
        self.data, self.bodies, self.settings, self.folder, self.seed = data, tuple(bodies), settings, folder, seed
        tables = bodies[0].skeleton
        spans = [Spans.of(body.skeleton, body.muscles, data.coordinates) for body in bodies]
        other = next((body.name for body, found in zip(bodies, spans, strict=True) if not found.same(spans[0])), None)
        if other is not None:
            raise StreamError(f"{other}: its muscles are not those of {bodies[0].name}: {OTHER_SPANS}")
        self.spans = spans[0]
        self.mix = MotionMix(data, settings, tables)
        held = {*tables.muscle_driven, *tables.root["rotations"]}
        self.loose = [
            [data.coordinates.index(n) for n in names]
            for names in rotation_triples(tables)
            if held.isdisjoint(names) and set(names) <= set(data.coordinates)
        ]
        made_of = {
            "format": FORMAT,
            "data": data.fingerprint,
            "rows": hashlib.sha256(data.rows["fit"].numpy().tobytes()).hexdigest(),
            "features": list(data.feature_names),
            "bodies": [body.fingerprint for body in bodies],
            "settings": {k: v for k, v in asdict(settings).items() if k != "motions"},
            "seed": seed,
        }
        self.fingerprint = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()

    @property
    def nothing(self) -> Streamed:
        """No motions."""
        samples = self.data.q.shape[1]
        return Streamed(
            torch.zeros(0, samples, len(self.data.coordinates), dtype=torch.float64),
            torch.zeros(0, dtype=torch.float64),
            torch.zeros(0, len(self.data.feature_names)),
            torch.zeros(0, samples, len(self.data.muscles), dtype=torch.float64),
            torch.zeros(0, samples, len(self.data.coordinates) + len(LOADS)),
            torch.zeros(0, samples, len(self.data.coordinates)),
            torch.zeros(0, samples, len(self.spans.muscle)),
            torch.zeros(0, dtype=torch.long),
        )

    @property
    def shards(self) -> int:
        """How many shards the motions take."""
        return -(-self.settings.motions // self.settings.shard)

    def path(self, index: int) -> Path:
        """Where a shard is."""
        return self.folder / f"shard-{index:05d}.safetensors"

    def make(self, report: Callable[[int, str], None] | None = None) -> list[dict[str, Any]]:
        """Make the shards that are missing; what every shard says of itself.

        Raises
        ------
        StreamError
            A shard is damaged or of another stream, or the ground carries next to no motion.

        """
        self.folder.mkdir(parents=True, exist_ok=True)
        told = []
        for index in range(self.shards):
            if not self.path(index).exists():
                self._save(index, *self._made(index))
            told.append(self._header(index)[1])
            if report is not None:
                report(index + 1, f"{told[-1]['kept']:.0%} of the motions carried by the ground")
        return told

    def read(self) -> Streamed:
        """All motions, the first `settings.motions` of the shards that `make` made."""
        parts = []
        for index in range(self.shards):
            with safe_open(self._header(index)[0], framework="pt") as file:
                part = {name: file.get_tensor(name) for name in Streamed._fields}
            labelled = part["capacity"].float()
            part["capacity"] = between(labelled, self.settings.every, part["q"].shape[1]).half()
            parts.append(list(part.values()))
        joined = Streamed(*(torch.cat(p)[: self.settings.motions] for p in zip(*parts, strict=True)))
        return joined._replace(**{name: getattr(joined, name).float() for name in HALVED})

    def _header(self, index: int) -> tuple[Path, dict[str, Any]]:
        path = self.path(index)
        try:
            with safe_open(path, framework="pt") as file:
                header = json.loads((file.metadata() or {}).get("about", "{}"))
                names = set(file.keys())
        except (SafetensorError, OSError, ValueError) as error:
            raise StreamError(f"{path}: cut off or no shard ({error}); remove it, and it is made again") from error
        if header.get("format") != FORMAT or not names.issuperset(Streamed._fields):
            raise StreamError(f"{path}: format {header.get('format')}, expected {FORMAT}; remove it to make it again")
        if header.get("stream") != self.fingerprint:
            raise StreamError(
                f"{path}: made from other data, bodies or settings; name another folder, or remove this one"
            )
        return path, header

    def _save(self, index: int, streamed: Streamed, about: dict[str, Any]) -> None:
        path = self.path(index)
        partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        tensors = {name: x if name == "body" else x.float() for name, x in streamed._asdict().items()}
        no_sign_of_zero = 0.0  # which of the two zeros a sum ends at is the machine's choice
        halved = {name: getattr(streamed, name) for name in HALVED}
        halved["capacity"] = streamed.capacity[:, :: self.settings.every]
        tensors |= {name: x.half() + no_sign_of_zero for name, x in halved.items()}
        about = {"format": FORMAT, "stream": self.fingerprint} | about
        header = {"about": json.dumps(about)}  # one entry: safetensors writes several in any order
        try:
            save_file({k: v.contiguous() for k, v in tensors.items()}, partial, metadata=header)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    def _made(self, index: int) -> tuple[Streamed, dict[str, Any]]:
        numbers = np.random.default_rng([self.seed, index])
        random = torch.Generator().manual_seed(int(numbers.integers(2**62)))
        parts: list[Streamed] = []
        wanted, found, tried = self.settings.shard, 0, 0
        most = MOST_BATCHES * -(-wanted // BATCH)
        while found < wanted:
            if tried >= most * BATCH:
                raise StreamError(
                    f"the ground carries {found} of {tried} motions: the bodies do not fit the motions, or `residual` "
                    f"({self.settings.residual:g} body weights) is too small"
                )
            number = int(numbers.integers(len(self.bodies)))
            body = varied_body(self.bodies[number], self.settings.body, numbers)
            drawn = [varied_strength(body.muscles, self.settings.body, numbers) for _ in range(BATCH)]
            part = self._labelled(number, body, *self.mix.draw(random), torch.as_tensor(np.stack(drawn)), random)
            tried += BATCH
            found += len(part.q)
            parts.append(part)
        joined = Streamed(*(torch.cat(p)[:wanted] for p in zip(*parts, strict=True)))
        return joined, {"kept": found / tried, "motions": float(wanted)}

    def _labelled(
        self, number: int, body: Body, q: Tensor, duration: Tensor, strength: Tensor, random: torch.Generator
    ) -> Streamed:
        """Those motions of a batch that the ground carries, on this body with each its own strength."""
        predictor = body.predictor(self.data.coordinates, q.shape[1])
        skeleton = predictor.skeleton
        q = planted(skeleton, [skeleton.coordinates.index(n) for n in self.data.coordinates], q)
        limit = self.settings.residual * float(skeleton.weight_n)
        with torch.no_grad():
            likely = predictor.solve(q, duration, GLANCE, strength).carried(limit)
            if not likely.any():
                return self.nothing
            q, duration, strength = q[likely], duration[likely], strength[likely]
            solved = predictor.solve(q, duration, self.settings.every, strength)
        carried = solved.moments / float(skeleton.weight_n)
        capacity = MuscleCapacity(skeleton, predictor.muscles, self.data.coordinates, q.shape[1])
        able = capacity(q, duration, self.settings.every)
        able = able * strength.index_select(1, self.spans.muscle)[:, None]
        labels, carried, able = (
            between(x, self.settings.every, q.shape[1]) for x in (solved.activations, carried, able)
        )
        again = torch.rand(len(q), generator=random) < self.settings.redescribed
        q = torch.where(again[:, None, None], redescribed(q, self.loose), q)
        kept = solved.carried(limit)
        q, duration, features = q[kept], duration[kept], self._features(skeleton, strength[kept])
        with torch.no_grad():
            loads = StanceLoads(skeleton, self.data.coordinates, q.shape[1])(q, duration)
        whose = torch.full((len(q),), number)
        return Streamed(q, duration, features, labels[kept], loads, carried[kept], able[kept], whose)

    def _features(self, skeleton: Skeleton, strength: Tensor) -> Tensor:
        """(motion, feature) of a body with these factors on its muscles' forces."""
        known = subject_features(skeleton)
        force = strength * torch.as_tensor(skeleton.tables.max_isometric_force)
        own = {f"{STRENGTH}{name}": force[:, m] for m, name in enumerate(skeleton.tables.muscles)}
        own["strength_n"] = force.sum(1)
        columns = [own.get(n, torch.full((len(strength),), known[n]).double()) for n in self.data.feature_names]
        return torch.stack(columns, 1)


def between(
    values: Float[Tensor, "motion labelled channel"], every: int, samples: int
) -> Float[Tensor, "motion time channel"]:
    """Values at every sample by straight lines between those at every so many; the last stays after the last."""
    at = torch.arange(samples, dtype=values.dtype) / every
    low = at.long().clamp(max=values.shape[1] - 1)
    high = (low + 1).clamp(max=values.shape[1] - 1)
    return torch.lerp(values[:, low], values[:, high], (at - low)[None, :, None])


def one_branch(
    q: Float[Tensor, "batch time channel"], triples: Sequence[Sequence[int]]
) -> Float[Tensor, "batch time channel"]:
    """Every motion's ball-like joints in the description whose middle angle is within a quarter turn on average.

    Angles (a, b, c) about three orthogonal axes and (a + pi, pi - b, c + pi) are one orientation, as are all that
    differ by whole turns. One choice for a whole motion, so that its curves stay smooth; a is left between -90 and 270
    degrees on average, where arms hang, reach and point upwards, b and c about 0.
    """
    q = q.clone()
    other = redescribed(q, triples)
    for triple in triples:
        far = torch.cos(q[..., triple[1]]).mean(1, keepdim=True) < 0
        for channel, centre in zip(triple, (0.5 * torch.pi, 0.0, 0.0), strict=True):
            value = torch.where(far, other[..., channel], q[..., channel])
            turns = torch.round((value.mean(1, keepdim=True) - centre) / (2 * torch.pi))
            q[..., channel] = value - 2 * torch.pi * turns
    return q


def redescribed(
    q: Float[Tensor, "batch time channel"], triples: Sequence[Sequence[int]]
) -> Float[Tensor, "batch time channel"]:
    """The same orientations by the other triple of angles, (a + pi, pi - b, c + pi); twice is a whole turn."""
    q = q.clone()
    for a, b, c in triples:
        q[..., a], q[..., b], q[..., c] = q[..., a] + torch.pi, torch.pi - q[..., b], q[..., c] + torch.pi
    return q


def _require_known(body: Body, data: Repetitions) -> None:
    missing = [name for name in data.coordinates if name not in body.skeleton.coordinates]
    if missing:
        raise StreamError(f"{body.name}: lacks the coordinates {', '.join(missing[:5])} of the dataset")
    if body.muscles.names != data.muscles:
        raise StreamError(f"{body.name}: its muscles are not those of the dataset, in the same order")
