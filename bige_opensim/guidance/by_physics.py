"""The physics as a search asks it: activations first, then the forces that go with them, solved once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import Objective
from bige_opensim.guidance.quantities import Dynamics, needs_dynamics
from bige_opensim.physics.predictor import PhysicsPredictor, Predicted


class ByPhysics:
    """Activations of the muscles number `order`, and moments, ground forces and joint loads, of the same motions."""

    def __init__(self, predictor: PhysicsPredictor, order: Sequence[int]) -> None:
        self.predictor, self.order = predictor, list(order)
        self._last: tuple[Tensor, Tensor, Predicted] | None = None

    def activations(
        self, q: Float[Tensor, "batch time channel"], duration: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch time muscle"]:
        """Muscle activations; gradients pass through the solution."""
        found = self.predictor.solve(q, duration)
        self._last = q, duration, found
        return found.activations[..., self.order]

    def dynamics(self, q: Tensor, duration: Tensor, activations: Tensor | None) -> Dynamics:
        """Forces of the motions whose activations were just asked for, else of these; gradients pass through."""
        last = self._last
        if last is None or last[0] is not q or last[1] is not duration:
            last = q, duration, self.predictor.solve(q, duration)
        return Dynamics(last[2].moments, last[2].grf, last[2].joint_loads)


def without_dynamics(objective: Objective) -> Objective:
    """What of an objective a surrogate can follow: without moments, ground forces and joint loads."""
    kept = tuple(term for term in objective.terms if not needs_dynamics(term))
    return replace(objective, terms=kept)


def refuse_dynamics(objective: Objective) -> None:
    """Raise ObjectiveError where a term measures what the surrogate, which knows activations alone, does not."""
    for term in objective.terms:
        if needs_dynamics(term):
            raise ObjectiveError(
                f"{objective.source}: term '{term.name}' measures {term.quantity}, which the surrogate does not "
                "predict. Search through the physics too (--predictor physics), or remove the term."
            )
