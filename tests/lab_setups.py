"""AnalyzeTool setups with static optimization as labs have them: an arm without a root, and a biped on force plates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import opensim

from bige_opensim.io.storage import write_storage

ARM_MUSCLES = ("TRIlong", "TRIlat", "BIClong", "BICshort", "BRA")


def arm(path: Path, *, kind: str = "Thelen2003Muscle") -> Path:
    """Upper arm and forearm on two pins, with five muscles of the sizes and paths of OpenSim's arm26."""
    model = opensim.Model()
    model.setName("arm")
    zero = opensim.Vec3(0)
    humerus = opensim.Body("humerus", 1.86, opensim.Vec3(0, -0.18, 0), opensim.Inertia(0.0148, 0.0046, 0.0132))
    forearm = opensim.Body("forearm", 1.53, opensim.Vec3(0, -0.18, 0), opensim.Inertia(0.0193, 0.0016, 0.0201))
    for body in (humerus, forearm):
        model.addBody(body)
    for name, parent, at, child in (
        ("r_shoulder_elev", model.getGround(), (0.0, 0.8, 0.17), humerus),
        ("r_elbow_flex", humerus, (0.0061, -0.2904, -0.0123), forearm),
    ):
        joint = opensim.PinJoint(name, parent, opensim.Vec3(*at), zero, child, zero, zero)
        joint.finalizeFromProperties()
        joint.upd_coordinates(0).setName(name)
        joint.upd_coordinates(0).setRangeMin(-1.57 if "shoulder" in name else 0.0)
        joint.upd_coordinates(0).setRangeMax(3.14 if "shoulder" in name else 2.27)
        model.addJoint(joint)
    ground = model.getGround()
    above, below = [(humerus, -0.025, -0.27), (forearm, -0.021, 0.01)], (forearm, 0.035, -0.045)
    paths = {
        "TRIlong": (798.5, 0.134, 0.143, 0.209, [(ground, -0.04, 0.76), *above]),
        "TRIlat": (624.3, 0.1138, 0.098, 0.157, [(humerus, -0.02, -0.127), *above]),
        "BIClong": (624.3, 0.1157, 0.2723, 0.0, [(ground, 0.03, 0.815), (humerus, 0.02, -0.1), below]),
        "BICshort": (435.6, 0.1321, 0.1923, 0.0, [(ground, 0.035, 0.77), (humerus, 0.02, -0.15), below]),
        "BRA": (987.3, 0.0858, 0.0535, 0.0, [(humerus, 0.012, -0.17), (forearm, 0.02, -0.025)]),
    }
    for name, (force, fibre, tendon, pennation, points) in paths.items():
        muscle = getattr(opensim, kind)()
        muscle.setName(name)
        muscle.set_max_isometric_force(force)
        muscle.set_optimal_fiber_length(fibre)
        muscle.set_tendon_slack_length(tendon)
        muscle.set_pennation_angle_at_optimal(pennation)
        for i, (frame, x, y) in enumerate(points):
            muscle.addNewPathPoint(f"{name}_{i}", frame, opensim.Vec3(x, y, 0.0))
        model.addForce(muscle)
    model.finalizeConnections()
    state = model.initSystem()
    for name, value in (("r_shoulder_elev", 0.3), ("r_elbow_flex", 1.0)):
        model.getCoordinateSet().get(name).setValue(state, value, False)
    model.realizePosition(state)
    muscles = [model.getMuscles().get(name) for name in paths]
    lengths = [muscle.getLength(state) for muscle in muscles]
    for muscle, length in zip(muscles, lengths, strict=True):  # fibres work about their optimal lengths
        muscle.set_tendon_slack_length(length - muscle.get_optimal_fiber_length())
    model.finalizeConnections()
    model.printToXML(str(path))
    return path


def arm_motion(path: Path, *, frames: int = 61, rate_hz: float = 60.0) -> Path:
    """The arm lifts and flexes within a second, degrees."""
    time = np.arange(frames) / rate_hz
    wave = 0.5 * (1 - np.cos(2 * np.pi * time / time[-1]))
    values = np.column_stack([10 + 40 * wave, 20 + 80 * wave**2])
    write_storage(path, time, values, ("r_shoulder_elev", "r_elbow_flex"), in_degrees=True)
    return path


def actuator_file(path: Path, actuators: list[opensim.Force]) -> Path:
    """A force set of extra actuators, as the files of reserves and residuals are."""
    forces = opensim.ForceSet()
    for actuator in actuators:
        forces.cloneAndAppend(actuator)
    forces.printToXML(str(path))
    return path


def reserve(coordinate: str, optimal_force: float, bound: float = np.inf) -> opensim.CoordinateActuator:
    """A reserve as labs name them."""
    actuator = opensim.CoordinateActuator(coordinate)
    actuator.setName(f"{coordinate}_reserve")
    actuator.setOptimalForce(optimal_force)
    actuator.setMinControl(-bound)
    actuator.setMaxControl(bound)
    return actuator


def setup_file(
    path: Path,
    *,
    model: str,
    coordinates: str = "",
    states: str = "",
    force_sets: tuple[str, ...] = (),
    replace: bool = False,
    external_loads: str = "",
    start: float = 0.0,
    end: float = 10.0,
    cutoff: float = -1.0,
    interval: int = 1,
    exponent: float = 2.0,
    physiology: bool = True,
    model_forces: bool = True,
    results: str = "results",
    name: str = "lab",
) -> Path:
    """An AnalyzeTool setup as OpenSim writes it."""
    analysis = opensim.StaticOptimization()
    analysis.setStepInterval(interval)
    analysis.setActivationExponent(exponent)
    analysis.setUseMusclePhysiology(physiology)
    analysis.setUseModelForceSet(model_forces)
    tool = opensim.AnalyzeTool()
    tool.setName(name)
    tool.setModelFilename(model)
    if coordinates:
        tool.setCoordinatesFileName(coordinates)
    if states:
        tool.setStatesFileName(states)
    tool.setReplaceForceSet(replace)
    names = opensim.ArrayStr()
    for each in force_sets:
        names.append(each)
    tool.setForceSetFiles(names)
    if external_loads:
        tool.setExternalLoadsFileName(external_loads)
    tool.setInitialTime(start)
    tool.setFinalTime(end)
    tool.setLowpassCutoffFrequency(cutoff)
    tool.setResultsDir(results)
    tool.getAnalysisSet().cloneAndAppend(analysis)
    tool.printToXML(str(path))
    return path


def run_opensim(setup: Path) -> None:
    """OpenSim's own run of the setup, into its own results folder."""
    opensim.AnalyzeTool(str(setup)).run()


MOVING_POINT = """<MovingPathPoint name="BRA_1">
<socket_parent_frame>/bodyset/forearm</socket_parent_frame>
<socket_x_coordinate>/jointset/r_elbow_flex/r_elbow_flex</socket_x_coordinate>
<socket_y_coordinate>/jointset/r_elbow_flex/r_elbow_flex</socket_y_coordinate>
<socket_z_coordinate>/jointset/r_elbow_flex/r_elbow_flex</socket_z_coordinate>
<x_location><LinearFunction><coefficients> 0.01 0.02</coefficients></LinearFunction></x_location>
<y_location><LinearFunction><coefficients> -0.02 -0.025</coefficients></LinearFunction></y_location>
<z_location><Constant><value>0</value></Constant></z_location>
</MovingPathPoint>"""


def with_moving_point(path: Path) -> Path:
    """The arm with an insertion of BRA that moves with the elbow, as the patellar ligament of gait2392 does."""
    text = path.read_text()
    start = text.index('<PathPoint name="BRA_1">')
    end = text.index("</PathPoint>", start) + len("</PathPoint>")
    path.write_text(text[:start] + MOVING_POINT + text[end:])
    return path
