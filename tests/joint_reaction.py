"""OpenSim's JointReaction analysis of given muscle tensions, reserves and ground forces."""

from pathlib import Path

import numpy as np
import opensim
import torch

from bige_opensim.io.external_loads import ground_forces, write_external_loads, write_ground_forces
from bige_opensim.io.storage import read_storage, write_coordinates, write_storage
from bige_opensim.labelling.kinematics import Prepared
from bige_opensim.osim.model import OsimModel, write_static_optimization_model
from bige_opensim.osim.muscles import MuscleFrames
from bige_opensim.physics.contact import GroundForces
from bige_opensim.physics.joint_problem import muscle_columns, net_generalized_forces
from bige_opensim.physics.skeleton import Skeleton


def by_opensim(
    folder: Path, model: OsimModel, skeleton: Skeleton, p: Prepared, frames: MuscleFrames, tension: np.ndarray,
    ground: GroundForces, whole: Prepared | None = None, frame: str = "ground",
) -> tuple[tuple[str, ...], np.ndarray]:  # fmt: skip
    """Columns and values of OpenSim's JointReaction on all joints, on child in a frame, for the same forces."""
    stripped = write_static_optimization_model(model, folder / "stripped.osim")
    net = net_generalized_forces(skeleton, p.state(skeleton), ground)
    arms = muscle_moments(skeleton, p, frames, tension)
    reserves = {n: (net - arms)[:, c].numpy() for c, n in enumerate(skeleton.coordinates)}
    write_coordinates(folder / "coordinates.mot", (whole or p).q, rotational=model.rotational)
    feet = (ground.force, ground.point, ground.torque)
    right, left = (tuple(part[:, i].numpy() for part in feet) for i in range(2))
    write_ground_forces(folder / "grf.mot", p.q.time, {"r": right, "l": left})
    write_external_loads(folder / "loads.xml", "grf.mot", ground_forces({"r": "calcn_r", "l": "calcn_l"}))
    names = [*model.muscle_names, *(f"reserve_{n}" for n in reserves)]
    write_storage(
        folder / "forces.sto", p.q.time, np.column_stack([tension, *reserves.values()]), names, in_degrees=False,
        title="forces",
    )  # fmt: skip
    analysis = opensim.JointReaction()
    analysis.setName("JointReaction")
    for setter, word in ((analysis.setOnBody, "child"), (analysis.setInFrame, frame)):
        words = opensim.ArrayStr()
        words.append(word)
        setter(words)
    analysis.setForcesFileName(str(folder / "forces.sto"))
    tool = opensim.AnalyzeTool()
    tool.setName("reaction")
    tool.setModelFilename(str(stripped))
    tool.setCoordinatesFileName(str(folder / "coordinates.mot"))
    tool.setExternalLoadsFileName(str(folder / "loads.xml"))
    tool.setLowpassCutoffFrequency(-1.0)
    tool.setInitialTime(float(p.q.time[0]))
    tool.setFinalTime(float(p.q.time[-1]))
    tool.setResultsDir(str(folder))
    tool.setOutputPrecision(14)
    tool.getAnalysisSet().cloneAndAppend(analysis)
    tool.printToXML(str(folder / "setup.xml"))
    assert opensim.AnalyzeTool(str(folder / "setup.xml")).run()
    table = read_storage(folder / "reaction_JointReaction_ReactionLoads.sto")
    return table.names, table.values


def muscle_moments(skeleton: Skeleton, p: Prepared, frames: MuscleFrames, tension: np.ndarray) -> torch.Tensor:
    wrenches = (torch.as_tensor(v) for v in (frames.force, frames.moment))
    return muscle_columns(skeleton, p.state(skeleton), *wrenches, torch.as_tensor(tension)).sum(-1)


def of_joint(names: tuple[str, ...], values: np.ndarray, start: str) -> np.ndarray:
    return values[:, [next(i for i, n in enumerate(names) if n.startswith(start) and n.endswith(f"_f{a}"))
                      for a in "xyz"]]  # fmt: skip
