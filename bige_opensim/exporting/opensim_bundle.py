"""A folder that opens in the OpenSim GUI: model, motion with activations, ExternalLoads, and setups to run again.

File > Load Motion reads a file as `Storage`, takes it for a motion of the model where a column is one of its
coordinates (`MotionsDB.motionAssociationPossible`), and brings the columns to the model's states
(`Model.formStateStorage`): only files that hold coordinates and activations together show coloured muscles.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np

from bige_opensim.exporting.selection import Selected
from bige_opensim.io.storage import write_coordinates, write_storage, write_whole
from bige_opensim.labelling.label_files import (
    COORDINATES,
    LOADS,
    MODEL_NAME,
    SETUP,
    STATES,
    joints_of,
    state_columns,
)
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.joint_reaction_setup import JOINT_REACTION, write_joint_reaction_setup
from bige_opensim.osim.model import ModelError, load
from bige_opensim.viewer.take import at_times

README, MODEL = "README.txt", "model.osim"
_MODEL_FILE = re.compile(r"(<model_file>)[^<]*(</model_file>)")

_LOAD = """In the OpenSim GUI (4.x):
  File > Open Model     {model}
  File > Load Motion    {states}     (coordinates{activations})
"""
_RERUN = """  Tools > Static Optimization, Load    {static}{audit}
  Tools > Analyze, Load                {reaction}     (joint loads, from the forces that the first one writes)

From a command line: opensim-cmd run-tool {static}
All paths in the setups are relative to this folder, which can be moved. {loads}
"""
_AUDIT = """
                                       (activations.sto is of the fast solver; label.json says how far OpenSim is)"""


def write_bundle(selected: Selected, folder: Path) -> tuple[str, ...]:
    """Write the bundle of one motion into a folder that exists, and return what is to be known of it.

    Raises
    ------
    ModelError
        A label came without the model that its static optimization ran on.

    """
    if selected.label is None:
        return _plain(selected, folder)
    label = selected.label
    if label.model is None:
        raise ModelError(
            f"{selected.name}: the label came without {MODEL_NAME}, on which its setups run. Label the motion again."
        )
    if selected.folder is None:
        label.save(folder)
    else:
        _copy(selected.folder, folder)
        (folder / MODEL_NAME).write_bytes(label.model)
    setup = folder / SETUP
    write_whole(setup, _MODEL_FILE.sub(rf"\g<1>{MODEL_NAME}\g<2>", setup.read_text(encoding="utf-8")))
    time = label.channels.activations.time
    loads = LOADS if (folder / LOADS).is_file() else None
    write_joint_reaction_setup(folder, MODEL_NAME, COORDINATES, loads, start=float(time[0]), end=float(time[-1]))
    rerun = _RERUN.format(
        static=SETUP,
        audit=_AUDIT if label.record.get("solver") == "fast" else "",
        reaction=JOINT_REACTION,
        loads=f"Ground forces: {LOADS}." if loads else "There are no ground forces.",
    )
    load_motion = _LOAD.format(model=MODEL_NAME, states=STATES, activations=" and activations")
    write_whole(folder / README, load_motion + rerun)
    return ()


def _copy(source: Path, folder: Path) -> None:
    """The files of a label as they are: their hashes stand in certificates."""
    for path in sorted(source.iterdir()):
        if path.is_file() and not path.name.startswith("."):
            shutil.copyfile(path, folder / path.name)


def _plain(selected: Selected, folder: Path) -> tuple[str, ...]:
    """A motion that nobody labelled: coordinates, states with the activations that are known, and the model."""
    recorded = selected.recorded
    shutil.copyfile(selected.person.model, folder / MODEL)
    model = load(selected.person.model)
    motion = complete(model, recorded.coordinates)
    write_coordinates(folder / COORDINATES, motion, rotational=model.rotational)
    names, values = state_columns(joints_of(model), motion, motion.derivatives()[0])
    columns = dict(zip(names, values.T, strict=True))
    if recorded.activations is not None:
        found = at_times(recorded.activations, motion.time)
        columns |= {f"/forceset/{m}/activation": found[:, i] for i, m in enumerate(recorded.activations.names)}
    table = np.column_stack(list(columns.values()))
    write_storage(folder / STATES, motion.time, table, tuple(columns), in_degrees=False, title="States")
    known = recorded.activations is not None
    about = _LOAD.format(model=MODEL, states=STATES, activations=" and activations" if known else "")
    write_whole(folder / README, about)
    return () if known else ("no activations are known: label or validate the motion for coloured muscles",)
