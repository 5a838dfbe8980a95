"""From a person's own recorded repetition, the smallest change that meets an objective."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bige_opensim.guidance.conflicts import target_of
from bige_opensim.guidance.deformation import Deformation, DeformationError, Shape
from bige_opensim.guidance.edit import STEPS, Edit, Forces, Limits, Simulation
from bige_opensim.guidance.edit import edit as smallest_change
from bige_opensim.guidance.edited import Edited
from bige_opensim.guidance.generated import FORMAT, name_of
from bige_opensim.guidance.language import ObjectiveError, closest
from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.guidance.objective_text import objective_text
from bige_opensim.guidance.quantities import Dynamics
from bige_opensim.io.file_hash import file_sha256
from bige_opensim.io.storage import read_coordinates
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.person_model import fitted_muscles
from bige_opensim.labelling.quality_gates import GATE_LIMITS, MOMENT_FLOOR_NM
from bige_opensim.motion import Motion
from bige_opensim.movements.events import RepetitionError
from bige_opensim.movements.repetitions import find_repetitions
from bige_opensim.osim.inverse_dynamics import complete
from bige_opensim.osim.messages import quiet_opensim
from bige_opensim.physics.carried_loads import Loads, loads_of
from bige_opensim.physics.contact import ground_height
from bige_opensim.physics.predictor import PhysicsPredictor
from bige_opensim.provenance import provenance
from bige_opensim.reporting.changes import changes, sentences
from bige_opensim.validation.joint_limits import joint_limits
from bige_opensim.workflows.objectives import bind_to_model, objective_file
from bige_opensim.workflows.personal import Limits as Ranges
from bige_opensim.workflows.personal import Person, Strength
from bige_opensim.workflows.progress import Show, Silent
from bige_opensim.workflows.simulated_motions import Simulator

RATE_HZ, CUTOFF_HZ = 50.0, 6.0
SHORTEST_S, LONGEST_S = 0.5, 10.0
WIDER = 0.15
"""How far beyond the recorded poses muscle paths are fitted, in shares of their range: for derivatives alone."""


class EditError(ValueError):
    """A motion that cannot be edited, with the reason and what to do."""


@dataclass(frozen=True)
class Window:
    """The part of a recording that is edited: times in s, or the number of a squat, from 1."""

    start: float | None = None
    end: float | None = None
    repetition: int | None = None


@dataclass(frozen=True, eq=False)
class Recorded:
    """A repetition at 50 Hz with the ground at height 0, what a label finds of it, and when it was."""

    motion: Motion
    simulation: Simulation
    label: Label
    start: float
    end: float


def read_repetition(path: Path, simulator: Simulator, window: Window) -> Recorded:
    """One repetition of a recording, low-passed like recordings are, on the ground, and simulated.

    Without a window the first squat that passes its own gates is taken, or the whole recording where it holds none.

    Raises
    ------
    EditError
        The file holds no such repetition, or none that passes its own gates.
    StorageError, MotionError
        It cannot be read.

    """
    model = simulator.person.model
    known = [c.name for c in model.coordinates]
    read = read_coordinates(path, rotational=model.rotational, known=known).motion
    q = complete(model, read.lowpass(CUTOFF_HZ))
    failed = []
    for start, end in _windows(path, q, window):
        motion = _grounded(simulator, _cut(q, start, end))
        simulation, label = simulator.find(motion)
        if label.passed:
            return Recorded(motion, simulation, label, start, end)
        failed.append(f"{start:.2f} to {end:.2f} s: {label.reason}")
    raise EditError(
        f"{path}: the motion fails its own gates, so that nothing could be said of a change of it: {' '.join(failed)} "
        "`bige doctor` looks for faults of model and recording."
    )


def _windows(path: Path, q: Motion, window: Window) -> list[tuple[float, float]]:
    if window.start is not None or window.end is not None:
        start = q.time[0] if window.start is None else window.start
        end = q.time[-1] if window.end is None else window.end
        return [(_within(path, q, start), _within(path, q, end))]
    try:
        found = [(r.start, r.end) for r in find_repetitions(q)]
    except RepetitionError:
        found = []
    if window.repetition is not None:
        if not 1 <= window.repetition <= len(found):
            raise EditError(f"{path}: repetition {window.repetition} of {len(found)} squats; name one of them.")
        return [found[window.repetition - 1]]
    if not found and q.duration > LONGEST_S:
        raise EditError(
            f"{path}: no squats were found in {q.duration:.0f} s. Say which part to edit with --start and --end: one "
            "repetition on two planted feet."
        )
    return found or [(float(q.time[0]), float(q.time[-1]))]


def _within(path: Path, q: Motion, time: float) -> float:
    if not q.time[0] - 1e-6 <= time <= q.time[-1] + 1e-6:
        raise EditError(f"{path}: {time:g} s is not in the recording, from {q.time[0]:g} to {q.time[-1]:g} s.")
    return float(time)


def _cut(q: Motion, start: float, end: float) -> Motion:
    """The window at 50 Hz, from time 0."""
    if not SHORTEST_S <= end - start <= LONGEST_S:
        raise EditError(f"{end - start:.2f} s from {start:.2f} to {end:.2f} s; from 0.5 to 10 s are edited at once.")
    time = np.linspace(start, end, round((end - start) * RATE_HZ) + 1)
    part = q.resampled(time)
    return Motion(part.time - part.time[0], part.values, part.names)


def _grounded(simulator: Simulator, motion: Motion) -> Motion:
    """The motion in the order of the skeleton, with the ground that its feet show at height 0."""
    skeleton = simulator.skeleton
    ordered = motion.select(skeleton.coordinates)
    values = ordered.values.copy()
    points = skeleton.contact_points(skeleton(torch.as_tensor(values)))
    vertical = skeleton.tables.root["translations"]
    if len(vertical) != 3 or len(skeleton.contact_names) == 0:
        raise EditError(
            f"{simulator.model}: motions are edited for models with a free pelvis and two feet; this one has none."
        )
    values[:, skeleton.index(vertical[1])] -= ground_height(points)
    return ordered.with_values(values)


def edited_shape(motion: Shape, names: Sequence[str]) -> Motion:
    """A changed motion as it is written: 50 Hz."""
    coarse = Motion(np.linspace(0.0, motion.duration, len(motion.q)), motion.q.numpy(), tuple(names))
    frames = round(motion.duration * RATE_HZ) + 1
    return coarse if frames == coarse.frames else coarse.resampled(np.linspace(0.0, motion.duration, frames))


class Editor:
    """One repetition of one person, ready for changes.

    Raises
    ------
    EditError
        A foot leaves the ground.
    ObjectiveError
        The objective cannot be met by this model.

    """

    def __init__(self, simulator: Simulator, recorded: Recorded) -> None:
        self.simulator, self.recorded = simulator, recorded
        skeleton = simulator.skeleton
        self.objective: BoundObjective = bind_to_model(simulator.objective, simulator.person.model, skeleton)
        q = torch.as_tensor(recorded.motion.values)
        try:
            self.deformation = Deformation(skeleton, q, recorded.motion.duration)
        except DeformationError as error:
            raise EditError(str(error)) from error
        middle = q.mean(0)
        poses = torch.cat([q, self.deformation.base, middle + (1.0 + WIDER) * (q - middle)])
        muscles = fitted_muscles(simulator.model, skeleton, poses.numpy())
        cost = simulator.objective.cost
        pressed = any(term.quantity == "joint_load" for term in simulator.objective.terms)
        lines = simulator.person.lines(muscles) if pressed else None
        self.physics = PhysicsPredictor(skeleton, muscles, skeleton.coordinates, samples=len(q), cost=cost, lines=lines)
        self.limits: Limits = joint_limits(simulator.person.model)

    def find(self, *, start: torch.Tensor | None = None, steps: int = STEPS, show: Show = Silent) -> Edit:
        """The smallest change that meets the objective."""
        names = self.simulator.skeleton.coordinates

        def simulate(shape: Shape) -> Simulation:
            return self.simulator.find(edited_shape(shape, names))[0]

        with show(steps, "editing") as progress:
            return smallest_change(
                self.objective, self.deformation, self.forces, simulate, self.limits, start=start, steps=steps,
                progress=lambda i, n, text: progress.advance(i, text, every=1),
            )  # fmt: skip

    def forces(self, q: torch.Tensor, duration: torch.Tensor) -> Forces:
        """What a motion takes, differentiable; gates as `quality_gates` defines them, their divisors held."""
        found, skeleton = self.physics.solve(q[None], duration[None]), self.simulator.skeleton
        external = float(found.grf[0].detach().unflatten(-1, (2, 3)).sum(1).norm(dim=-1).max())
        height = float(skeleton.com(skeleton(q.detach()))[:, 1].mean())
        driven = torch.tensor([name in skeleton.tables.muscle_driven for name in skeleton.coordinates])
        peaks = found.moments[0].detach().abs().amax(0).clamp(min=MOMENT_FLOOR_NM)[driven]
        limits = {name: GATE_LIMITS[name] / 100.0 for name in ("residual_force", "residual_moment", "reserves")}
        gates = {
            "residual_force": found.residual_force[0, :, None] / external / limits["residual_force"],
            "residual_moment": found.residual_moment[0, :, None] / (external * height) / limits["residual_moment"],
            "reserves": found.reserves[0][:, driven].abs() / peaks / limits["reserves"],
        }
        return Forces(found.activations, Dynamics(found.moments, found.grf, found.joint_loads), gates)


def edit(
    motion: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str],
    objective: str | os.PathLike[str],
    start: float | None = None,
    end: float | None = None,
    repetition: int | None = None,
    strength: Strength | None = None,
    limits: Ranges | None = None,
    load: Loads = None,
    steps: int = STEPS,
    show: Show = Silent,
) -> Edited:
    """Change a person's own recorded repetition as little as it takes to meet an objective.

    No networks are needed. The feet stay where they stand; pelvis, trunk and legs change smoothly, and the duration.
    Smallest is the sum, over joints, of the mean square over time of the change, a change of 5 degrees counting 1, with
    places of pelvis and feet (5 cm), the way of the mass centre over the feet (2 cm) and the duration (10 %). Every
    step is simulated as `validate` will simulate it, by the fast solver.

    Parameters
    ----------
    motion
        Recorded coordinates (`.mot`, `.sto`): squats, or another movement on two planted feet.
    model
        The person's model.
    objective
        Objective file (TOML), or the name of one that comes with the package.
    start, end
        The part of the recording, s; by default the first squat that passes its own gates, or all where there is none.
    repetition
        Number of the squat, from 1, instead.
    strength, limits, load
        As in `generate`.
    steps
        Most simulations, of a second or two each.
    show
        How progress is shown; by default not at all.

    Returns
    -------
    Edited
        In memory; `save` writes the folder, the recorded repetition beside. What was predicted is no verdict: ask
        `validate`.

    Raises
    ------
    EditError
        The recording holds no repetition that can be edited, or none that passes its own gates.
    ObjectiveError, PersonError, ModelError, StorageError, MotionError
        The objective, the person, the model or the recording cannot be used.

    """
    asked, window = Objective.load(objective_file(objective)), Window(start, end, repetition)
    person = Person(strength or {}, limits or {}, loads_of(load) or asked.loads)
    return _edits(Path(motion), Path(model), [asked], window, person, steps, show)[0]


def edit_series(
    motion: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str],
    objective: str | os.PathLike[str],
    term: str,
    values: Sequence[float],
    start: float | None = None,
    end: float | None = None,
    repetition: int | None = None,
    strength: Strength | None = None,
    limits: Ranges | None = None,
    load: Loads = None,
    steps: int = STEPS,
    show: Show = Silent,
) -> list[Edited]:
    """A dose-response series: `edit` with one term of the objective at each of some values, each from the last one.

    The term then asks for its value, give or take its tolerance (by default a fifth of its natural scale), and decides.
    Other arguments and errors as `edit`.

    Parameters
    ----------
    term
        Name of the term.
    values
        Its values, in the unit of the file.

    """
    asked, window = Objective.load(objective_file(objective)), Window(start, end, repetition)
    person = Person(strength or {}, limits or {}, loads_of(load) or asked.loads)
    doses = [with_value(asked, term, value) for value in values]
    return _edits(Path(motion), Path(model), doses, window, person, steps, show)


def with_value(objective: Objective, name: str, value: float) -> Objective:
    """The objective with one term that asks for a value, and decides; ObjectiveError where it has no such term."""
    known = [t.name for t in objective.terms]
    if name not in known:
        raise ObjectiveError(f"{objective.source}: no term is called '{name}'{closest(name, known)}")
    terms = tuple(
        replace(t, goal="band", low=value, high=value, hard=True) if t.name == name else t for t in objective.terms
    )
    return replace(objective, name=f"{objective.name}: {name} {value:g}", terms=terms)


@quiet_opensim()
def _edits(
    motion: Path, model: Path, objectives: Sequence[Objective], window: Window, person: Person, steps: int, show: Show
) -> list[Edited]:
    found = []
    with person.model(model) as path:
        start: torch.Tensor | None = None
        known: Recorded | None = None
        for objective in objectives:
            simulator = Simulator(path, objective)
            bind_to_model(objective, simulator.person.model, simulator.skeleton)
            if known is None:
                recorded = known = read_repetition(motion, simulator, window)
            else:
                recorded = replace(known, simulation=simulator.find(known.motion)[0])
            editor = Editor(simulator, recorded)
            result = editor.find(start=start, steps=steps, show=show)
            start = result.best.x
            edited = _edited(editor, result, motion, path, objective)
            if not person.usual:
                edited.record["person"] = person.record(model)
            found.append(edited)
    return found


def _edited(editor: Editor, found: Edit, source: Path, model: Path, objective: Objective) -> Edited:
    simulator, recorded, best = editor.simulator, editor.recorded, found.best
    after = edited_shape(best.shape, simulator.skeleton.coordinates)
    label = simulator.label(after)
    changed = changes(simulator.skeleton, recorded.motion, after)
    record = _record(editor, found, after, source)
    record["edit"]["changes"] = sentences(changed, recorded.motion, after)
    record["edit"]["by_joint"] = [c._asdict() for c in changed]
    file = Path(objective.source)
    same = file.is_file() and Objective.load(file) == objective
    text = file.read_bytes() if same else objective_text(objective).encode()
    name = name_of(0)
    return Edited(
        motions={name: after},
        predicted={name: label.channels.activations},
        record=record,
        result=None,
        model=model.read_bytes(),
        objective=text,
        rotational=frozenset(simulator.person.model.rotational),
        references=None,
        recorded=recorded.motion,
        recorded_activations=recorded.label.channels.activations,
    )


def _record(editor: Editor, found: Edit, after: Motion, source: Path) -> dict[str, Any]:
    """What `generation.json` holds."""
    objective, best, recorded = editor.objective, found.best, editor.recorded
    names = [t.name for t in objective.terms if t.bounded]
    entry = {
        "name": name_of(0),
        "duration_s": after.duration,
        "predicted": _values(objective, best.simulation),
        "predicted_met": {n: _met(objective, best.simulation, n) for n in names},
        "predicted_satisfied": best.holds,
        "loss": best.cost,
        "nearest_training_motion": None,
        "limit_violations": objective.limit_violations(best.shape.q[None])[0],
    }
    notes = [f"The edited motion fails a gate: {best.simulation.reason}"] if best.simulation.reason else []
    return {
        "format": FORMAT,
        "objective": objective.objective.name,
        "synthetic": False,
        "predictor": "the label's own simulation, fast solver",
        "terms": {t.name: target_of(t) for t in objective.terms},
        "motions": [entry],
        "conflicts": _conflicts(objective, found),
        "notes": notes,
        "edit": {
            "motion": source.name,
            "start_s": recorded.start,
            "end_s": recorded.end,
            "recorded": _values(objective, recorded.simulation),
            "size": best.size.total,
            "simulations": found.tries,
        },
        "provenance": provenance(
            torch=torch.__version__,
            model_sha256=file_sha256(editor.simulator.model),
            motion_sha256=file_sha256(source),
        ),
    }


def _values(objective: BoundObjective, simulation: Simulation) -> dict[str, float]:
    """One number per term, as certificates have it."""
    values = {t.name: t.value(torch.as_tensor(simulation.values[t.name])[None]) for t in objective.terms}
    return {name: float(x[0]) for name, x in values.items()}


def _met(objective: BoundObjective, simulation: Simulation, name: str) -> bool:
    term = next(t for t in objective.terms if t.name == name)
    values = simulation.values[name]
    return bool((values >= term.low).all() and (values <= term.high).all())


def _conflicts(objective: BoundObjective, found: Edit) -> list[str]:
    """Which terms keep each other from being met, and how far each is missed by, at the best compromise."""
    best = found.best
    if not best.missed:
        return []
    units = {t.name: (t.scale, "" if t.measured.unit == "1" else f" {t.measured.unit}") for t in objective.terms}
    missed = [f"'{n}' by {units[n][0] * x:.3g}{units[n][1]}" for n, x in best.missed.items()]
    pulling = [f"'{n}'" for n, x in found.pull.items() if x > 1e-6 and n in units]
    beside = [
        f"the gate {n.removeprefix('gate ')}" if n.startswith("gate ") else f"the range of {n}"
        for n, x in found.pull.items()
        if x > 1e-6 and n not in units
    ]
    return [
        f"No change was found that meets every deciding term. The best compromise misses {', '.join(missed)}; what "
        f"stands against each other there: {', '.join([*pulling, *beside]) or 'nothing that is known'}."
    ]
