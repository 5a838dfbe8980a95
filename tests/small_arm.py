"""An arm fixed to ground at the shoulder, two degrees of freedom and six muscles, as OpenSim's arm26 has them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import opensim
from small_models import body, name_coordinates, write

from bige_opensim.io.storage import write_coordinates
from bige_opensim.motion import Motion
from bige_opensim.osim.static_optimization import StaticOptimizationResult, run_setup, write_setup

MUSCLES = ("TRIlong", "TRIlat", "TRImed", "BIClong", "BICshort", "BRA")
SHOULDER, ELBOW = "r_shoulder_elev", "r_elbow_flex"


def arm(
    path: Path, *, kind: str = "Thelen2003Muscle", change: Callable[[opensim.Model], None] = lambda model: None
) -> Path:
    """Write the arm; `change` may alter the model before it is written."""
    model = opensim.Model()
    model.setName("arm")
    humerus, forearm = body(model, "humerus", 1.9, (0, -0.18, 0)), body(model, "forearm", 1.5, (0, -0.18, 0))
    ground, zero = model.getGround(), opensim.Vec3(0)
    shoulder = opensim.PinJoint("shoulder", ground, opensim.Vec3(0, 0.8, 0.2), zero, humerus, zero, zero)
    elbow = opensim.PinJoint("elbow", humerus, opensim.Vec3(0.006, -0.29, 0), zero, forearm, zero, zero)
    for joint, name, high in ((shoulder, SHOULDER, 3.1), (elbow, ELBOW, 2.3)):
        name_coordinates(joint, [name], -1.6 if joint is shoulder else 0.0, high)
        model.addJoint(joint)
    behind = [(humerus, -0.025, -0.27), (forearm, -0.022, 0.01)]
    paths = {
        "TRIlong": (798.5, [(ground, -0.05, 0.77), (humerus, -0.027, -0.11), *behind]),
        "TRIlat": (624.3, [(humerus, -0.006, -0.126), *behind]),
        "TRImed": (624.3, [(humerus, -0.008, -0.137), *behind]),
        "BIClong": (1248.6, [(ground, 0.02, 0.82), (humerus, 0.022, -0.22), (forearm, 0.01, -0.05)]),
        "BICshort": (871.2, [(ground, 0.035, 0.79), (humerus, 0.024, -0.2), (forearm, 0.008, -0.05)]),
        "BRA": (987.3, [(humerus, 0.007, -0.17), (forearm, 0.003, -0.026)]),
    }  # fmt: skip
    for name, (force, points) in paths.items():
        muscle = getattr(opensim, kind)()
        muscle.setName(name)
        muscle.setMaxIsometricForce(force)
        for k, (frame, x, y) in enumerate(points):
            muscle.addNewPathPoint(f"{name}-P{k}", frame, opensim.Vec3(x, y, 0.2 if frame is ground else 0.0))
        model.addForce(muscle)
    model.finalizeConnections()
    _fit_fibres(model)
    change(model)
    return write(model, path)


def _fit_fibres(model: opensim.Model) -> None:
    """Optimal fibre lengths at a bent elbow."""
    state = model.initSystem()
    model.getCoordinateSet().get(ELBOW).setValue(state, 1.2, False)
    model.realizePosition(state)
    for i in range(model.getMuscles().getSize()):
        muscle = model.updMuscles().get(i)
        length = muscle.getLength(state)
        muscle.setOptimalFiberLength(0.5 * length)
        muscle.setTendonSlackLength(0.5 * length)


def reach(*, frames: int = 30, rate_hz: float = 60.0) -> Motion:
    """Elbow and shoulder bend and stretch again within the recording."""
    time = np.arange(frames) / rate_hz
    phase = 1 - np.cos(2 * np.pi * time / time[-1])
    return Motion(time, np.column_stack([0.1 + 0.25 * phase, 0.4 + 0.5 * phase]), (SHOULDER, ELBOW))


def write_motion(path: Path, motion: Motion) -> Path:
    """Write coordinates that are all angles."""
    write_coordinates(path, motion, rotational=frozenset(motion.names))
    return path


def with_reserves(model_path: Path, path: Path, optimal: dict[str, float]) -> Path:
    """The model with coordinate actuators `reserve_<coordinate>`, as a lab's own script adds them."""
    model = opensim.Model(str(model_path))
    for name, force in optimal.items():
        actuator = opensim.CoordinateActuator(name)
        actuator.setName(f"reserve_{name}")
        actuator.setOptimalForce(force)
        actuator.setMinControl(-np.inf)
        actuator.setMaxControl(np.inf)
        model.addForce(actuator)
    return write(model, path)


def opensims_own(model_path: Path, motion: Motion, folder: Path) -> StaticOptimizationResult:
    """What OpenSim's AnalyzeTool says of a motion, by nothing but a setup file: the oracle."""
    folder.mkdir(parents=True, exist_ok=True)
    write_motion(folder / "coordinates.mot", motion)
    setup = write_setup(
        folder,
        model_file=str(model_path),
        coordinates_file="coordinates.mot",
        external_loads_file=None,
        start=float(motion.time[0]),
        end=float(motion.time[-1]),
    )
    return run_setup(setup)
