"""What the surrogate says of a motion, without simulation."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bige_opensim.built_in import BUILT_IN
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.io.storage import write_storage, write_whole
from bige_opensim.labelling.person_model import person_mechanics
from bige_opensim.learning.dataset import SAMPLES
from bige_opensim.learning.intervals import COVERAGE
from bige_opensim.learning.surrogate import Surrogate
from bige_opensim.motion import Motion, MotionError
from bige_opensim.movements.heading import Root, without_heading
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.model import ModelError, load
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.contact import ground_height
from bige_opensim.physics.mechanics import PersonMechanics
from bige_opensim.physics.rotations import one_branch, rotation_triples
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.physics.stance_loads import stands
from bige_opensim.provenance import __version__
from bige_opensim.workflows.label import read_motion
from bige_opensim.workflows.train import load_surrogate

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Prediction:
    """Activations of one repetition as the surrogate has them; nothing was simulated.

    Attributes
    ----------
    activations, lower, upper
        Activations, 0 to 1, and the ends of their 90 % intervals: tables with index time in s and a column per muscle.
        The surrogate's card says on whom the intervals were calibrated.
    outside
        Sentences on what is unlike everything that the surrogate was trained on; the intervals do not hold there.
    record
        Distances, versions and hashes, as `save` writes them.

    """

    activations: pd.DataFrame
    lower: pd.DataFrame
    upper: pd.DataFrame
    outside: tuple[str, ...]
    record: dict[str, Any]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write activations.sto, activations_lower.sto, activations_upper.sto and prediction.json into a folder."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        for name, table in (("", self.activations), ("_lower", self.lower), ("_upper", self.upper)):
            path = place / f"activations{name}.sto"
            title = f"Predicted activations{name.replace('_', ', ')}, not simulated"
            write_storage(path, table.index.to_numpy(), table.to_numpy(), list(table), in_degrees=False, title=title)
        write_whole(place / "prediction.json", json.dumps(self.record, indent=1) + "\n")
        return place


@quiet_opensim()
def predict(
    motion: Motion | str | os.PathLike[str],
    *,
    model: Path | str,
    surrogate: Surrogate | str | os.PathLike[str] = BUILT_IN,
    cutoff_hz: float = 6.0,
) -> Prediction:
    """Predict the muscle activations of one repetition; nothing is simulated.

    The surrogate learned from repetitions of 101 samples, from standing to standing for squats: give it one, such as
    `motion.between(1.2, 3.4)`. Motions and bodies unlike those it was trained on are said to be outside: label them.

    Parameters
    ----------
    motion
        One repetition in rad and m, or its file.
    model
        The person's model.
    surrogate
        The network, or its folder; by default the one that comes with the package.
    cutoff_hz
        Low-pass cut-off, as of `label`; 0 for none.

    Returns
    -------
    Prediction
        Activations and their intervals, 101 rows each, and what is outside.

    Raises
    ------
    MotionError
        A coordinate that the surrogate knows is neither in the motion nor in the model.
    CheckpointError, ModelError, StorageError
        A file cannot be used; the model lacks a muscle that the surrogate was told of, or two feet to stand on.

    """
    network = surrogate if isinstance(surrogate, Surrogate) else load_surrogate(surrogate)
    cut, skeleton, features = _as_trained(motion, Path(model), network, cutoff_hz)
    given = (torch.as_tensor(cut.values)[None], torch.tensor([cut.duration]), features[None])
    with torch.no_grad():
        person = _mechanics(network, Path(model), skeleton, cut) if network.channels.loads else None
        found = network(*given, mechanics=None if person is None else person(*given[:2]))
        ends = network.bounds(found) if network.calibrated else (found, found)
        strange = [float(x) for x in network.strangeness(*given)] if network.calibrated else None
    activations, lower, upper = (
        Motion(cut.time, x[0].double().numpy(), network.channels.muscles).to_frame() for x in (found, *ends)
    )
    outside = _outside(network, given, strange) + network.channels.untold(skeleton.tables.muscle_driven)
    record = {
        "format": "bige-prediction/1",
        "surrogate": network.folder.name if network.folder else None,
        "weights_sha256": file_sha256(network.folder / "weights.safetensors") if network.folder else None,
        "model_sha256": file_sha256(Path(model)),
        "interval": COVERAGE if network.calibrated else None,
        "distance": None if strange is None else {"motion": strange[0], "body": strange[1], "outside_above": 1.0},
        "outside": list(outside),
        "cutoff_hz": cutoff_hz,
        "bige_opensim": __version__,
    }
    return Prediction(activations, lower, upper, outside, record)


def _as_trained(
    motion: Motion | str | os.PathLike[str], model: Path, network: Surrogate, cutoff_hz: float
) -> tuple[Motion, Skeleton, torch.Tensor]:
    """The motion as repetitions are in a dataset, the body and its features, in the network's channels."""
    q = motion if isinstance(motion, Motion) else read_motion(Path(motion), model=model)
    skeleton = Skeleton(compile_skeleton(model))
    q = complete(load(model), q.lowpass(cutoff_hz))
    missing = [name for name in network.channels.coordinates if name not in q]
    if missing:
        raise MotionError(f"The surrogate needs {', '.join(missing[:6])}, which {model.name} does not have.")
    points = skeleton.contact_points(skeleton(torch.as_tensor(q.select(skeleton.coordinates).values)))
    root = Root.from_label(skeleton.tables.root)
    cut = q.resampled(np.linspace(q.time[0], q.time[-1], SAMPLES))
    cut = without_heading(cut, root, ground_height_m=ground_height(points)).select(network.channels.coordinates)
    turns = np.array(network.channels.rotational)
    values = one_branch(cut.values[None], cut.names, turns, rotation_triples(skeleton.tables))[0]
    cut = cut.with_values(values)
    known = subject_features(skeleton)
    unknown = [name for name in network.channels.features if name not in known]
    if unknown:
        raise ModelError(
            f"{model}: the surrogate was told of {', '.join(unknown[:4])}, which the model does not have; give a model "
            "of the family that it was trained on, or train one on models of this."
        )
    return cut, skeleton, torch.tensor([known[name] for name in network.channels.features])


def _mechanics(network: Surrogate, model: Path, skeleton: Skeleton, motion: Motion) -> PersonMechanics:
    """Of the person's motions; paths fitted around what the network knows serve all motions within it.

    Raises
    ------
    ModelError
        The model does not stand on two feet, or its muscles are not supported.

    """
    if not stands(skeleton):
        raise ModelError(
            f"{model}: the surrogate predicts people who stand on two feet, and this model has no contact points under "
            "both; give a surrogate that was trained without models."
        )
    known, own = network.poses.double().numpy(), motion.values
    driven = [k for k, name in enumerate(motion.names) if name in skeleton.tables.muscle_driven]
    within = (own >= known.min(0)) & (own <= known.max(0))
    poses = known if within[:, driven].all() else np.concatenate([known, own])
    return person_mechanics(model, skeleton.tables, motion.names, poses, SAMPLES)


def _outside(
    network: Surrogate, given: tuple[torch.Tensor, torch.Tensor, torch.Tensor], strange: list[float] | None
) -> tuple[str, ...]:
    """Sentences on what is outside, with the channel that is farthest from the mean."""
    if strange is None:
        return ("The surrogate was trained without calibration: it has no intervals and cannot tell what is outside.",)
    q, _, features = given
    far = network.position(q[0].float()).abs().amax(0)
    body = network.scaled_body(features)[0].abs()
    said = []
    if strange[0] > 1.0:
        name = network.channels.coordinates[int(far.argmax())]
        said.append(
            f"The motion is {strange[0]:.1f} times as far from those trained on as is usual; of single "
            f"coordinates {name} goes farthest, {float(far.max()):.1f} standard deviations from its mean."
        )
    if strange[1] > 1.0:
        name = network.channels.features[int(body.argmax())]
        said.append(
            f"The body is {strange[1]:.1f} times as far from those trained on as is usual; of single "
            f"features {name} is farthest, {float(body.max()):.1f} standard deviations from its mean."
        )
    return tuple(said)
