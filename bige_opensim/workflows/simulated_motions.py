"""What a label finds of motions of one person, in memory: what `bige validate` will find, by the fast solver."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

from bige_opensim.guidance.edit import Simulation
from bige_opensim.guidance.objective import Objective
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_trial import TrialError, label_in_memory
from bige_opensim.labelling.person_model import PersonModel, person_model
from bige_opensim.labelling.request import LabelSettings, TrialRequest, person_of
from bige_opensim.motion import Motion
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation.certificate import judge, read_simulated
from bige_opensim.validation.motion_gates import Anatomy, MotionGate, MotionOnGround, motion_gates

NAME = Path("motion")


class SimulationError(ValueError):
    """A motion that cannot be simulated, with the reason."""


@dataclass(frozen=True, eq=False)
class Simulator:
    """Labels motions as they are: no filter, estimated ground forces, OpenSim's own muscle paths, no audit.

    These are the settings of `bige validate`, with the fast solver in place of OpenSim's, whose activations it
    reproduces to some thousandths.
    """

    model: Path
    objective: Objective

    @cached_property
    def person(self) -> PersonModel:
        """The person's model."""
        return person_model(self.model)

    @property
    def skeleton(self) -> Skeleton:
        """Its skeleton."""
        return self.person.skeleton

    @cached_property
    def anatomy(self) -> Anatomy:
        """What the motion's gates need."""
        return Anatomy.of(self.person.model, self.skeleton)

    def label(self, motion: Motion) -> Label:
        """The label of a motion (rad, m, ground at height 0).

        Raises
        ------
        SimulationError
            It cannot be labelled.

        """
        here = TrialRequest(
            self.model, NAME, NAME, NAME, "edit", person_of(self.model), NAME.name, recorded=motion, synthetic=True
        )
        settings = LabelSettings(
            solver="fast", geometry="exact", audit=0.0, cutoff_hz=0.0, cost=self.objective.cost, allow_missing=True
        )
        try:
            return label_in_memory(here, settings)
        except TrialError as error:
            raise SimulationError(str(error)) from error

    def find(self, motion: Motion) -> tuple[Simulation, Label]:
        """Values of the objective's terms and the verdict of all gates, and the label."""
        label = self.label(motion)
        with TemporaryDirectory(prefix="bige-edit-") as folder:
            simulated = read_simulated(label.save(Path(folder) / "label"), self.skeleton)
        _, evaluation = judge(self.objective, self.skeleton, simulated)
        gates = motion_gates(
            MotionOnGround(self.anatomy, simulated.q, simulated.vertical_n, simulated.label["ground_height_m"])
        )
        wrong = [_failed(name, gate) for name, gate in gates.items() if not gate.satisfied]
        reason = " ".join([*([] if label.passed else [label.reason]), *wrong])
        values = {name: found[0].detach().numpy() for name, found in evaluation.channel_values.items()}
        shares = {name: gate.value / gate.limit for name, gate in (label.gates | gates).items()}
        return Simulation(values, not reason, reason, shares), label


def _failed(name: str, gate: MotionGate) -> str:
    return f"{name} {gate.value:.3g} > {gate.limit:g} {gate.unit}{f' ({gate.where})' if gate.where else ''}."
