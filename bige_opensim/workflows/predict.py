"""What the surrogate says of a motion, without simulation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from bige_opensim.learning.dataset import SAMPLES
from bige_opensim.learning.surrogate import Surrogate
from bige_opensim.motion import Motion, MotionError
from bige_opensim.movements.heading import Root, without_heading
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.osim.model import load
from bige_opensim.physics.anthropometry import subject_features
from bige_opensim.physics.contact import ground_height
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.workflows.label import read_motion
from bige_opensim.workflows.train import folder_of, load_surrogate

if TYPE_CHECKING:
    import pandas as pd


@quiet_opensim()
def predict(
    motion: Motion | str | os.PathLike[str],
    *,
    model: Path | str,
    surrogate: Surrogate | str | os.PathLike[str],
    cutoff_hz: float = 6.0,
) -> pd.DataFrame:
    """Predict the muscle activations of one repetition; nothing is simulated.

    The surrogate learned from repetitions of 101 samples, from standing to standing for squats: give it one, such as
    `motion.between(1.2, 3.4)`. It says nothing of how far a motion is from what it was trained on: compare with
    `label` before relying on it.

    Parameters
    ----------
    motion
        One repetition in rad and m, or its file.
    model
        The person's model.
    surrogate
        The network, or its folder.
    cutoff_hz
        Low-pass cut-off, as of `label`; 0 for none.

    Returns
    -------
    pandas.DataFrame
        Activations, 0 to 1: 101 rows, index time in s, a column per muscle.

    Raises
    ------
    MotionError
        A coordinate that the surrogate knows is neither in the motion nor in the model.
    CheckpointError, ModelError, StorageError
        A file cannot be used.

    """
    network = surrogate if isinstance(surrogate, Surrogate) else load_surrogate(folder_of(surrogate))
    q = motion if isinstance(motion, Motion) else read_motion(Path(motion), model=model)
    about = load(Path(model))
    skeleton = Skeleton(compile_skeleton(Path(model)))
    q = complete(about, q.lowpass(cutoff_hz))
    missing = [name for name in network.channels.coordinates if name not in q]
    if missing:
        raise MotionError(f"The surrogate needs {', '.join(missing[:6])}, which {Path(model).name} does not have.")
    points = skeleton.contact_points(skeleton(torch.as_tensor(q.select(skeleton.coordinates).values)))
    root = Root.from_label(skeleton.tables.root)
    cut = q.resampled(np.linspace(q.time[0], q.time[-1], SAMPLES))
    cut = without_heading(cut, root, ground_height_m=ground_height(points)).select(network.channels.coordinates)
    features = subject_features(skeleton)
    with torch.no_grad():
        found = network(
            torch.as_tensor(cut.values)[None],
            torch.tensor([cut.duration]),
            torch.tensor([[features[name] for name in network.channels.features]]),
        )
    return Motion(cut.time, found[0].double().numpy(), network.channels.muscles).to_frame()
