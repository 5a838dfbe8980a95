"""A dataset of repetitions as tensors: what is trained on, what chooses the checkpoint, what is tested."""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import xarray as xr
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.physics.anthropometry import STANDARD_GRAVITY
from bige_opensim.physics.mechanics import Mechanics
from bige_opensim.physics.muscle_share import Spans

NEEDED = ("q", "duration", "features", "activations", "subject", "split", "rotational")
STREAMED, REHEARSED = "streamed motions on body", "rehearsed"
"""Begin the subject's name of streamed motions, and of repetitions that a network learned from before."""

CALIBRATION_BODY = 8
"""Motions on every so many bodies of a stream are not trained on: they calibrate the intervals."""

HELD_OUT = 0.2
"""Share of the training repetitions that stops the training when no validation subject exists."""

FEWEST_FIT = 2
"""Repetitions that are the least to train on."""

UNKNOWN = ("activations", "carried")
"""What repetitions that are rehearsed do not tell."""

OTHER_SPANS = "the models must have the same muscles, which act on the same coordinates"


class TrainingError(ValueError):
    """Data or settings that cannot be trained with, or a run that belongs to others."""


class Streamed(NamedTuple):
    """Labelled motions: q (N, T, C), duration (N,), features (N, F), activations (N, T, M), loads (N, T, L).

    carried (N, T, C): net generalized forces over body weight with the ground shared between the feet as the labels
    have it; capacity (N, T, S): of the muscles, see `physics.muscle_share`, in half precision; body (N,): number of the
    body that each was planted on.
    """

    q: Float[Tensor, "motion time coordinate"]
    duration: Float[Tensor, " motion"]
    features: Float[Tensor, "motion feature"]
    activations: Float[Tensor, "motion time muscle"]
    loads: Float[Tensor, "motion time load"]
    carried: Float[Tensor, "motion time coordinate"]
    capacity: Float[Tensor, "motion time span"]
    body: Int[Tensor, " motion"]


@dataclass(frozen=True, eq=False)
class Repetitions:
    """Repetitions in single precision, on one device; row indices per role are on the CPU.

    `rows["fit"]` are trained on, `rows["validation"]` choose the checkpoint, `rows["test"]` are measured once at the
    end. `by_subject`: whether validation is by subjects that are not trained on. `held_out_models`: sha256 of the
    models of subjects that are not. `streamed`: how many are motions of a stream; those of
    `rows["calibration"]` are on bodies that are not trained on. `rehearsed`: how many taught the network before that is
    gone on from; they have kinematics alone. `loads` and `capacity` (in half precision) are those of
    `physics.mechanics`, by `spans`; None where nobody has given the people's models.
    """

    q: Float[Tensor, "repetition time coordinate"]
    duration: Float[Tensor, " repetition"]
    features: Float[Tensor, "repetition feature"]
    activations: Float[Tensor, "repetition time muscle"]
    carried: Float[Tensor, "repetition time coordinate"]
    coordinates: tuple[str, ...]
    rotational: tuple[bool, ...]
    muscles: tuple[str, ...]
    feature_names: tuple[str, ...]
    subjects: tuple[str, ...]
    rows: dict[str, Int[Tensor, " row"]]
    by_subject: bool
    left_out: int
    fingerprint: str
    held_out_models: tuple[str, ...] = ()
    streamed: int = 0
    rehearsed: int = 0
    loads: Float[Tensor, "repetition time load"] | None = None
    capacity: Float[Tensor, "repetition time span"] | None = None
    spans: Spans | None = None

    @classmethod
    def read(cls, dataset: xr.Dataset, *, labelled: bool, seed: int, device: str) -> "Repetitions":
        """From the dataset of repetitions; with `labelled`, repetitions without complete activations are left out.

        Raises
        ------
        TrainingError
            Variables missing, coordinates that are not finite, subjects in two splits, too little to train on.

        """
        missing = [name for name in NEEDED if name not in dataset]
        if missing:
            raise TrainingError(f"the dataset has no {', '.join(missing)}; make it with `bige dataset`")
        q, duration = dataset["q"].values, dataset["duration"].values
        bad = ~(np.isfinite(q).all((1, 2)) & np.isfinite(duration) & (duration > 0))
        if bad.any():
            raise TrainingError(
                f"repetition {int(bad.argmax())} of subject {dataset['subject'].values[bad.argmax()]} has coordinates "
                "that are not finite or no duration; make the dataset again"
            )
        if labelled:
            known = np.isfinite(dataset["activations"].values).all((1, 2))
            known &= np.isfinite(dataset["features"].values).all(1)
        else:
            known = np.ones(len(q), dtype=bool)
        rows, by_subject = _roles(dataset, known, seed)

        def tensor(name: str) -> Tensor:
            return torch.tensor(np.nan_to_num(dataset[name].values), dtype=torch.float32, device=device)

        return cls(
            q=tensor("q"),
            duration=tensor("duration"),
            features=tensor("features"),
            activations=tensor("activations"),
            carried=torch.tensor(_over_weight(dataset), dtype=torch.float32, device=device),
            coordinates=tuple(str(name) for name in dataset["coordinate"].values),
            rotational=tuple(bool(r) for r in dataset["rotational"].values),
            muscles=tuple(str(name) for name in dataset["muscle"].values),
            feature_names=tuple(str(name) for name in dataset["feature"].values),
            subjects=tuple(str(name) for name in dataset["subject"].values),
            rows=rows,
            by_subject=by_subject,
            left_out=int((~known).sum()),
            fingerprint=_fingerprint(dataset),
            held_out_models=_held_out_models(dataset) if by_subject else (),
        )

    def with_stream(self, streamed: Streamed, spans: Spans, fingerprint: str) -> "Repetitions":
        """These repetitions, and streamed motions besides: to train on, or, on some bodies, to calibrate with.

        Raises
        ------
        TrainingError
            These repetitions have no mechanics, or those of other muscles.

        """
        if self.loads is None or self.spans is None:
            raise TrainingError("a stream needs the mechanics of the repetitions: give the models of their people")
        if not spans.same(self.spans):
            raise TrainingError(f"streamed motions are of other muscles than the repetitions: {OTHER_SPANS}")
        first, more = len(self.q), len(streamed.q)
        kept_out = streamed.body % CALIBRATION_BODY == CALIBRATION_BODY - 1
        number = torch.arange(first, first + more)
        names = ("q", "duration", "features", "activations", "loads", "carried", "capacity")
        both = {name: torch.cat([old := getattr(self, name), getattr(streamed, name).to(old)]) for name in names}
        return replace(
            self,
            **both,  # type: ignore[arg-type]
            subjects=(*self.subjects, *(f"{STREAMED} {body}" for body in streamed.body.tolist())),
            rows=self.rows | {"fit": torch.cat([self.rows["fit"], number[~kept_out]]), "calibration": number[kept_out]},
            fingerprint=hashlib.sha256(f"{self.fingerprint} {fingerprint}".encode()).hexdigest(),
            streamed=more,
        )

    def rehearsing(self, before: xr.Dataset) -> "Repetitions":
        """These repetitions, and the kinematics of others besides, to train on; its coordinates are the same."""
        first, more = len(self.q), before.sizes["repetition"]
        before = before.reindex(feature=list(self.feature_names))
        told = {name: torch.tensor(np.nan_to_num(before[name].values)) for name in ("q", "duration", "features")}
        both = {name: torch.cat([old := getattr(self, name), x.to(old)]) for name, x in told.items()}
        blank = {name: torch.cat([old := getattr(self, name), old.new_zeros(more, *old.shape[1:])]) for name in UNKNOWN}
        rows = torch.arange(first, first + more)
        return replace(
            self,
            **both,  # type: ignore[arg-type]
            **blank,  # type: ignore[arg-type]
            subjects=(*self.subjects, *(f"{REHEARSED} {name}" for name in before["subject"].values)),
            rows=self.rows | {"fit": torch.cat([self.rows["fit"], rows])},
            fingerprint=hashlib.sha256(f"{self.fingerprint} {_fingerprint(before)}".encode()).hexdigest(),
            rehearsed=more,
        )

    def with_mechanics(self, mechanics: Mechanics) -> "Repetitions":
        """These repetitions with what the people's models say of them; those of which it is not known are left out.

        Raises
        ------
        TrainingError
            Too few are left to train on.

        """
        digest = hashlib.sha256(self.fingerprint.encode())
        loads, capacity = mechanics.loads.float(), mechanics.capacity.half()
        for x in (loads, capacity):
            digest.update(np.ascontiguousarray(x.numpy()).tobytes())
        known = torch.isfinite(loads).all(-1).all(-1) & torch.isfinite(capacity).all(-1).all(-1)
        rows = {role: chosen[known[chosen]] for role, chosen in self.rows.items()}
        lost = sum(len(chosen) for chosen in self.rows.values()) - sum(len(chosen) for chosen in rows.values())
        if len(rows["fit"]) < FEWEST_FIT or len(rows["validation"]) < 1:
            raise TrainingError(
                f"the models that were given are of {len(rows['fit'])} repetitions to train on and "
                f"{len(rows['validation'])} to validate with; at least {FEWEST_FIT} and 1 are needed: give the models "
                "that the repetitions were labelled on"
            )
        device, C = self.q.device, len(self.coordinates)
        spanned = torch.zeros(C, dtype=torch.bool).index_fill(0, mechanics.spans.coordinate, True)
        carried = torch.where(spanned, self.carried.cpu(), loads[..., :C])  # what no muscle moves, loads know as well
        return replace(
            self,
            carried=torch.where(torch.isfinite(self.carried).cpu(), carried, torch.nan).to(device),
            loads=loads.to(device),
            capacity=capacity.to(device),
            spans=mechanics.spans,
            rows=rows,
            left_out=self.left_out + lost,
            fingerprint=digest.hexdigest(),
        )

    def mechanics(self, rows: Int[Tensor, " row"], at: Int[Tensor, " frame"] | None = None) -> Mechanics | None:
        """Of some repetitions, at some frames; None where no models were given."""
        if self.loads is None or self.capacity is None or self.spans is None:
            return None
        frames = slice(None) if at is None else at
        loads, capacity = (x[rows][:, frames].to(self.q) for x in (self.loads, self.capacity))
        return Mechanics(loads, capacity, self.spans)

    def groups(self, rows: Int[Tensor, " row"]) -> Int[Tensor, " row"]:
        """Number of the subject, or streamed body, of every row."""
        order = {name: i for i, name in enumerate(dict.fromkeys(self.subjects))}
        return torch.tensor([order[self.subjects[i]] for i in rows.tolist()])

    def subjects_of(self, role: str) -> list[str]:
        """Names of the subjects with repetitions in a role."""
        found = {self.subjects[i] for i in self.rows[role].tolist()}
        return sorted(name for name in found if not name.startswith((STREAMED, REHEARSED)))


def spread_over(rows: Int[Tensor, " row"], most: int) -> Int[Tensor, " chosen"]:
    """At most so many rows, evenly among them."""
    return rows[torch.linspace(0, len(rows) - 1, min(len(rows), most)).long()]


def _over_weight(dataset: xr.Dataset) -> Float[np.ndarray, "repetition sample coordinate"]:
    """Net generalized forces of the labels over body weight; not a number where a dataset does not say."""
    features = [str(name) for name in dataset["feature"].values]
    if "moments" not in dataset or "mass_kg" not in features:
        return np.full(dataset["q"].shape, np.nan)
    weight = STANDARD_GRAVITY * dataset["features"].values[:, features.index("mass_kg")]
    return dataset["moments"].values / weight[:, None, None]


def _roles(dataset: xr.Dataset, known: np.ndarray, seed: int) -> tuple[dict[str, Tensor], bool]:
    """Rows of each role; without a validation subject, some training repetitions of every subject are held out."""
    split, subject = dataset["split"].values.astype(str), dataset["subject"].values.astype(str)
    for name in np.unique(subject):
        if len(found := np.unique(split[subject == name])) > 1:
            raise TrainingError(f"subject {name} is in {' and '.join(found)}; splits must be by subject")
    by = {role: np.flatnonzero(known & (split == role)) for role in ("train", "validation", "test")}
    by_subject = len(by["validation"]) > 0
    if not by_subject:
        order = np.random.default_rng(seed).permutation(by["train"])
        ranks = {name: np.cumsum(subject[order] == name) / max(1, (subject[order] == name).sum()) for name in subject}
        held = np.array([ranks[subject[row]][i] > 1 - HELD_OUT for i, row in enumerate(order)], dtype=bool)
        by["train"], by["validation"] = np.sort(order[~held]), np.sort(order[held])
    if len(by["train"]) < FEWEST_FIT or len(by["validation"]) < 1:
        raise TrainingError(
            f"{len(by['train'])} repetitions to train on and {len(by['validation'])} to validate with; "
            f"at least {FEWEST_FIT} and 1 are needed: label more trials"
        )
    names = {"train": "fit", "validation": "validation", "test": "test"}
    return {names[role]: torch.as_tensor(rows) for role, rows in by.items()}, by_subject


def _held_out_models(dataset: xr.Dataset) -> tuple[str, ...]:
    """sha256 of the models of validation and test subjects, as the dataset's provenance has them by trial."""
    models = json.loads(dataset.attrs.get("models", "{}"))
    trained = dataset["split"].values.astype(str) == "train"
    found: set[str] = set()
    for session, trial, train in zip(*(dataset[n].values for n in ("session", "trial")), trained, strict=True):
        if not train:
            known = models.get(f"{session}/{trial}", {})
            found |= {known[name] for name in ("sha256", "adjusted_sha256") if name in known}
    return tuple(sorted(found))


def _fingerprint(dataset: xr.Dataset) -> str:
    """sha256 over the numbers and names that training reads."""
    digest = hashlib.sha256()
    for name in NEEDED:
        values = dataset[name].values
        numeric = values.dtype.kind in "fiub"
        digest.update(np.ascontiguousarray(values).tobytes() if numeric else "\n".join(map(str, values)).encode())
    for name in ("coordinate", "muscle", "feature"):
        digest.update("\n".join(str(value) for value in dataset[name].values).encode())
    return digest.hexdigest()
