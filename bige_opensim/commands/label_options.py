"""Options that commands share: how labels are made, what effort costs, and what trials may take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

if TYPE_CHECKING:
    from bige_opensim.labelling.request import LabelSettings
    from bige_opensim.physics.effort_cost import EffortCost

Flag = Annotated[bool, Parameter(negative=())]


@Parameter(name="*")
@dataclass(frozen=True)
class CostOptions:
    """What effort costs: options of `bige label` and `bige solve`."""

    exponent: float | None = None
    """Exponent of activations and reserves in the cost, above 1; by default 2, and of a setup what it says."""
    weight: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Weight of a muscle, a pattern or a group in the cost, such as vas*_r=2; can be given several times."""
    volume_weighted: Flag = False
    """Weight muscles by their volume."""
    passive: Flag = False
    """Let passive fibre forces act, which OpenSim's static optimization leaves out."""

    def cost(self) -> EffortCost:
        """The cost of labels."""
        from bige_opensim.physics.effort_cost import USUAL, EffortCost, parse_weights

        exponent = USUAL.exponent if self.exponent is None else self.exponent
        return EffortCost(exponent, parse_weights(self.weight), self.volume_weighted, self.passive)


@Parameter(name="*")
@dataclass(frozen=True)
class LabelOptions:
    """How labels are made: `LabelSettings` by the names of options."""

    grf: Literal["estimated", "measured", "auto", "none"] | None = None
    """Estimate ground forces (the default), use those that a session's force plates measured, do so where they can be
    used and else estimate (auto), or use none."""
    solver: Literal["opensim", "fast"] = "opensim"
    """OpenSim's StaticOptimization, or the fast solver that reproduces it."""
    geometry: Literal["polynomial", "exact"] = "polynomial"
    """Muscle paths of the fast solver: polynomials fitted to OpenSim, or OpenSim's own."""
    audit: float = 0.002
    """Share of frames that OpenSim solves again to check the fast solver, drawn over the trials of a session and model,
    at least 20 of them; 0 for none."""
    cutoff: float | Literal["auto"] = 6.0
    """Low-pass cut-off of coordinates and measured forces, Hz; 0 filters nothing, auto takes what fits the movement."""
    start: float | None = None
    """First time of a single motion, s."""
    end: float | None = None
    """Last time of a single motion, s."""
    units: Literal["degrees", "radians"] | None = None
    """Unit of the rotations, whatever the file's header says."""
    allow_missing: Flag = False
    """Label motions that lack coordinates, which keep the model's default; the label says so."""
    chair: str | None = None
    """A chair carries besides the feet where somebody sits: auto finds its height, or HEIGHT of its seat above the
    ground, m."""
    hands: Literal["rail", "knees"] | None = None
    """Hands carry: on a rail or a table, or on the person's own knees and thighs."""
    calves: Flag = False
    """Thighs rest on calves at the bottom of a deep squat, from some 130 degrees of knee flexion."""
    device: str = "cpu"
    """Where the fast solver solves the frames: cpu, or cuda where there is a graphics card."""
    load: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """What the person carries, as MASSkg@BODY: 60kg@torso is a bar on the back, 20kg@hands, 10kg@hand_r; can be given
    several times."""
    uncertainty: int = 0
    """Draws of body and motion from which 5 to 95 % bands are found, such as 200; 0 for none."""
    residual_reduction: bool = True
    """Correct what is wrong with a person's body in all of the person's trials first: where the soles are, where the
    trunk's mass lies, how heavy segments are. --no-residual-reduction labels on the model as it is."""

    def settings(self, grf: str, cost: EffortCost) -> LabelSettings:
        """Settings of labels, with the ground forces that were found to be meant."""
        from bige_opensim.labelling.request import LabelSettings
        from bige_opensim.physics.carried_loads import parse_loads

        return LabelSettings(
            solver=self.solver,
            geometry=self.geometry,
            audit=self.audit,
            grf=grf,
            cutoff_hz=self.cutoff,
            start=self.start,
            end=self.end,
            units=self.units,
            allow_missing=self.allow_missing,
            cost=cost,
            residual_reduction=self.residual_reduction,
            chair=self.chair,
            hands=self.hands,
            calves=self.calves,
            device=self.device,
            load=parse_loads(self.load),
            uncertainty=self.uncertainty,
        )


@Parameter(name="*")
@dataclass(frozen=True)
class WorkerOptions:
    """What trials may take, and who labels them."""

    jobs: int | None = None
    """Trials labelled at once; by default one per processor core."""
    timeout: float | None = None
    """Seconds after which a trial is given up."""
    memory: float | None = None
    """Gigabytes of memory above which a trial is given up."""
    scheduler: str | None = None
    """Address of a running dask scheduler whose workers do the labelling, such as tcp://127.0.0.1:8786."""

    @property
    def memory_bytes(self) -> int | None:
        """`memory` in bytes."""
        return None if self.memory is None else round(1e9 * self.memory)
