"""OpenSim's own StaticOptimization, run through AnalyzeTool from a setup file that stays beside the results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import opensim
from jaxtyping import Float, Int

from bige_opensim.io.storage import read_storage
from bige_opensim.motion import Motion
from bige_opensim.osim.model import OsimModel, load

RESULT_NAME = "static_optimization"
STATELESS = ("Millard2012EquilibriumMuscle", "DeGrooteFregly2016Muscle")
"""Classes of muscles that can do without states; Thelen's refuses."""


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
    path = folder / f"setup_{RESULT_NAME}.xml"
    analysis = _analysis(start, end, exponent)
    return write_tool(path, RESULT_NAME, analysis, model_file, coordinates_file, external_loads_file)


def write_tool(
    path: Path,
    name: str,
    analysis: opensim.Analysis,
    model_file: str,
    coordinates_file: str,
    external_loads_file: str | None,
) -> Path:
    """Write an AnalyzeTool setup of one analysis, over its times, of a motion that is filtered already."""
    tool = opensim.AnalyzeTool()
    tool.setName(name)
    tool.setModelFilename(model_file)
    tool.setCoordinatesFileName(coordinates_file)
    tool.setLowpassCutoffFrequency(-1.0)
    tool.setInitialTime(analysis.getStartTime())
    tool.setFinalTime(analysis.getEndTime())
    tool.setSolveForEquilibrium(False)
    tool.setReplaceForceSet(False)
    tool.setResultsDir(".")
    tool.setOutputPrecision(12)
    if external_loads_file is not None:
        tool.setExternalLoadsFileName(external_loads_file)
    tool.getAnalysisSet().cloneAndAppend(analysis)
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


class FrameAnalysis:
    """The analysis of `run_setup` alone, on a motion whose frames are solved in any order, a few at a time.

    AnalyzeTool visits every frame of a file, also those that the analysis leaves out, at some 5 ms each, and converts
    coordinates to states before, at another 5 ms per frame: a sample of a long trial costs less this way. A frame's
    answer does not depend on which were solved before it. Muscles are given no states of their own here: the analysis,
    which takes tendons as rigid and activations as controls, returns the same numbers, and has splines to fit through
    the columns of coordinates alone.

    Parameters
    ----------
    model_file
        Model with the reserves, as for `write_setup`.
    states_file
        Values and speeds of all coordinates by state names, over the whole motion, which OpenSim differentiates. It is
        read at once.
    external_loads
        ExternalLoads file; its data file is beside it.
    exponent, muscle_physiology
        Exponent of the cost; whether muscles have their force-length-velocity curves.

    Raises
    ------
    StaticOptimizationError
        OpenSim cannot read the files.

    """

    def __init__(
        self,
        model_file: Path,
        states_file: Path,
        *,
        external_loads: Path | None = None,
        exponent: float = 2.0,
        muscle_physiology: bool = True,
    ) -> None:
        self.model_file, self._steps = model_file, 0
        self._analysis = _analysis(-np.inf, np.inf, exponent, muscle_physiology)
        with self._named():
            self._model = opensim.Model(str(model_file))
            _without_muscle_states(self._model)
            if external_loads is not None:
                self._model.addModelComponent(opensim.ExternalLoads(str(external_loads), True))
            self._state = self._model.initSystem()
            self._states = opensim.Storage()
            self._model.formStateStorage(opensim.Storage(str(states_file)), self._states, False)
            self._speeds = _speeds(self._states)
            self._analysis.setModel(self._model)
            self._analysis.setStatesStore(self._speeds)

    def solve(self, rows: Int[np.ndarray, " frame"]) -> dict[str, Float[np.ndarray, " frame"]]:
        """Activations, and controls of reserves, by name, in rows of the states file.

        Raises
        ------
        StaticOptimizationError
            OpenSim stopped, or solved other frames than asked for.

        """
        before = self._analysis.getActivationStorage().getSize() if self._steps else 0
        with self._named():
            for row in rows:
                self._step(int(row))
        found = self._analysis.getActivationStorage()
        if found.getSize() != before + len(rows):
            raise StaticOptimizationError(
                f"{self.model_file}: {found.getSize() - before} of {len(rows)} frames were solved by OpenSim."
            )
        labels = found.getColumnLabels()
        frames = [found.getStateVector(before + i) for i in range(len(rows))]
        names = [labels.get(i) for i in range(1, labels.getSize())]
        return dict(zip(names, np.array([_values(f) for f in frames]).reshape(-1, len(names)).T, strict=True))

    def _step(self, row: int) -> None:
        frame = self._states.getStateVector(row)
        self._state.setTime(frame.getTime())
        self._model.setStateVariableValues(self._state, opensim.Vector(_values(frame)))
        self._model.realizeVelocity(self._state)
        if self._steps == 0:
            self._analysis.begin(self._state)
        else:
            self._analysis.step(self._state, self._steps)
        self._steps += 1

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise StaticOptimizationError(
                f"{self.model_file}: OpenSim's StaticOptimization stopped: {str(error).strip()}"
            ) from error


def solve_frames(
    model_file: Path,
    states_file: Path,
    rows: Int[np.ndarray, " frame"],
    *,
    external_loads: Path | None = None,
    exponent: float = 2.0,
    muscle_physiology: bool = True,
) -> dict[str, Float[np.ndarray, " frame"]]:
    """Activations, and controls of reserves, by name, in some frames: a `FrameAnalysis` used once."""
    frames = FrameAnalysis(
        model_file,
        states_file,
        external_loads=external_loads,
        exponent=exponent,
        muscle_physiology=muscle_physiology,
    )
    return frames.solve(rows)


def _without_muscle_states(model: opensim.Model) -> None:
    """Spare the states of muscles, which static optimization does not look at, where their class knows how to."""
    muscles = model.updMuscles()
    for muscle in (muscles.get(i) for i in range(muscles.getSize())):
        if muscle.getConcreteClassName() in STATELESS:
            muscle.set_ignore_activation_dynamics(True)
            muscle.set_ignore_tendon_compliance(True)
    model.finalizeFromProperties()


def _speeds(states: opensim.Storage) -> opensim.Storage:
    """The speeds alone: of the splines that the analysis fits through every column it differentiates theirs."""
    labels, kept = states.getColumnLabels(), opensim.ArrayStr()
    kept.append(labels.get(0))
    columns = [k for k in range(labels.getSize() - 1) if labels.get(k + 1).endswith("/speed")]
    for k in columns:
        kept.append(labels.get(k + 1))
    found = opensim.Storage(states.getSize(), "speeds")
    found.setColumnLabels(kept)
    for row in (states.getStateVector(k) for k in range(states.getSize())):
        data = row.getData()
        found.append(row.getTime(), opensim.Vector([data.get(k) for k in columns]))
    return found


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
