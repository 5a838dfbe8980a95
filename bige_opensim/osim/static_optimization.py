"""OpenSim's own StaticOptimization, run through AnalyzeTool from a setup file that stays beside the results."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import opensim
from jaxtyping import Float, Int

from bige_opensim.io.storage import read_storage
from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel, load

RESULT_NAME = "static_optimization"


class StaticOptimizationResult(NamedTuple):
    """Activations (T, M) in 0..1 and reserve forces (T, C) in N or N·m, named by muscle and coordinate."""

    activations: Motion
    reserves: Motion


class StaticOptimizationError(RuntimeError):
    """OpenSim's tool ended without a usable result."""


def write_setup(
    folder: Path,
    *,
    model_file: str,
    coordinates_file: str,
    external_loads_file: str | None,
    start: float,
    end: float,
    exponent: float = 2.0,
) -> Path:
    """Write the AnalyzeTool setup; all paths are relative to `folder`, so the folder can move and runs as it is.

    The tool's own low-pass filter is off: coordinates come filtered. The file is `setup_static_optimization.xml`.
    """
    analysis = _analysis(start, end, exponent)
    tool = opensim.AnalyzeTool()
    tool.setName(RESULT_NAME)
    tool.setModelFilename(model_file)
    tool.setCoordinatesFileName(coordinates_file)
    tool.setLowpassCutoffFrequency(-1.0)
    tool.setInitialTime(start)
    tool.setFinalTime(end)
    tool.setSolveForEquilibrium(False)
    tool.setReplaceForceSet(False)
    tool.setResultsDir(".")
    tool.setOutputPrecision(12)
    if external_loads_file is not None:
        tool.setExternalLoadsFileName(external_loads_file)
    tool.getAnalysisSet().cloneAndAppend(analysis)
    path = folder / f"setup_{RESULT_NAME}.xml"
    tool.printToXML(str(path))
    return path


def _analysis(
    start: float, end: float, exponent: float = 2.0, muscle_physiology: bool = True
) -> opensim.StaticOptimization:
    """OpenSim's usual tolerance."""
    analysis = opensim.StaticOptimization()
    analysis.setName("StaticOptimization")
    analysis.setStartTime(start)
    analysis.setEndTime(end)
    analysis.setStepInterval(1)
    analysis.setInDegrees(True)
    analysis.setUseModelForceSet(True)
    analysis.setActivationExponent(exponent)
    analysis.setUseMusclePhysiology(muscle_physiology)
    analysis.setConvergenceCriterion(1e-4)
    analysis.setMaxIterations(100)
    return analysis


def solve_frames(
    model_file: Path,
    states_file: Path,
    rows: Int[np.ndarray, " frame"],
    *,
    external_loads: Path | None = None,
    exponent: float = 2.0,
    muscle_physiology: bool = True,
) -> dict[str, Float[np.ndarray, " frame"]]:
    """Activations, and controls of reserves, by name, in one frame or some, by the analysis of `run_setup` alone.

    AnalyzeTool visits every frame of a file, also those that the analysis leaves out, at some 5 ms each, and converts
    coordinates to states before, at another 5 ms per frame: a sample of a long trial costs less this way. Muscles are
    given no states of their own here: the analysis, which takes tendons as rigid and activations as controls, returns
    the same numbers, and has splines to fit through the columns of coordinates alone.

    Parameters
    ----------
    model_file
        Model with the reserves, as for `write_setup`.
    states_file
        Values and speeds of all coordinates by state names, over the whole motion, which OpenSim differentiates.
    rows
        Rows of the file to solve, increasing.
    external_loads
        ExternalLoads file; its data file is beside it.
    exponent, muscle_physiology
        Exponent of the cost; whether muscles have their force-length-velocity curves.

    Raises
    ------
    StaticOptimizationError
        OpenSim stopped, or solved other frames than asked for.

    """
    analysis = _analysis(-np.inf, np.inf, exponent, muscle_physiology)
    try:
        model = opensim.Model(str(model_file))
        _without_muscle_states(model)
        if external_loads is not None:
            loads = opensim.ExternalLoads(str(external_loads), True)
            model.addModelComponent(loads)
        state = model.initSystem()
        states = opensim.Storage()
        model.formStateStorage(opensim.Storage(str(states_file)), states, False)
        analysis.setModel(model)
        analysis.setStatesStore(states)
        for step, row in enumerate(rows):
            frame = states.getStateVector(int(row))
            state.setTime(frame.getTime())
            model.setStateVariableValues(state, opensim.Vector(_values(frame)))
            model.realizeVelocity(state)
            if step == 0:
                analysis.begin(state)
            else:
                analysis.step(state, step)
    except RuntimeError as error:
        raise StaticOptimizationError(
            f"{model_file}: OpenSim's StaticOptimization stopped: {str(error).strip()}"
        ) from error
    found = analysis.getActivationStorage()
    if found.getSize() != len(rows):
        raise StaticOptimizationError(f"{model_file}: {found.getSize()} of {len(rows)} frames were solved by OpenSim.")
    labels = found.getColumnLabels()
    frames = [found.getStateVector(i) for i in range(found.getSize())]
    names = [labels.get(i) for i in range(1, labels.getSize())]
    return dict(zip(names, np.array([_values(f) for f in frames]).T, strict=True))


def _without_muscle_states(model: opensim.Model) -> None:
    muscles = model.updMuscles()
    for muscle in (muscles.get(i) for i in range(muscles.getSize())):
        muscle.set_ignore_activation_dynamics(True)
        muscle.set_ignore_tendon_compliance(True)
    model.finalizeFromProperties()


def _values(row: opensim.StateVector) -> list[float]:
    data = row.getData()
    return [data.get(i) for i in range(data.getSize())]


def run_setup(setup: Path, model: OsimModel | None = None) -> StaticOptimizationResult:
    """Run a setup file and read its results. Grows the process by some 54 MB: call it in a worker process.

    `model` has the muscles and free coordinates of the setup's; where it is not given, the setup's model is read.

    Raises
    ------
    StaticOptimizationError
        The tool failed or wrote no result.

    """
    folder = setup.parent
    try:
        tool = opensim.AnalyzeTool(str(setup))
        finished = tool.run()
    except RuntimeError as error:
        raise StaticOptimizationError(f"{setup}: OpenSim's AnalyzeTool stopped: {str(error).strip()}") from error
    name = tool.getName()
    activation_file = folder / f"{name}_StaticOptimization_activation.sto"
    force_file = folder / f"{name}_StaticOptimization_force.sto"
    if not finished or not activation_file.is_file() or not force_file.is_file():
        raise StaticOptimizationError(f"{setup}: OpenSim's StaticOptimization ended without results.")
    model = model or load(folder / tool.getModelFilename())
    activations, forces = read_storage(activation_file), read_storage(force_file)
    free = model.free_coordinates
    result = StaticOptimizationResult(
        by_muscle(model, Motion(activations.time, activations.values, activations.names)),
        _reserves(Motion(forces.time, forces.values, forces.names), free),
    )
    for path in folder.glob(f"{name}_StaticOptimization_*"):
        path.unlink()
    return result


def by_muscle(model: OsimModel, found: Motion) -> Motion:
    """Activations of every muscle from what OpenSim found, which leaves out muscles that are off: theirs are 0."""
    working = [m for m in model.muscle_names if m not in model.muscles_off]
    values = np.zeros((found.frames, len(model.muscle_names)))
    values[:, [model.muscle_names.index(m) for m in working]] = found.select(working).values
    return Motion(found.time, values, model.muscle_names)


def _reserves(forces: Motion, free: tuple[str, ...]) -> Motion:
    return Motion(forces.time, forces.select([f"reserve_{n}" for n in free]).values, free)
