"""What a search thinks of motions that it did not make: drawn ones, or those of another search."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.guidance import terms
from bige_opensim.guidance.generation import DRAFT, MotionSearch
from bige_opensim.guidance.objective import Evaluation
from bige_opensim.guidance.proximity import Neighbourhood
from bige_opensim.guidance.search import SearchResult


@dataclass(frozen=True)
class _Judged:
    """Activations, the objective's terms, and the loss of each motion, plausibility and nearness to people included."""

    activations: Tensor | None
    evaluation: Evaluation
    plausibility: dict[str, Tensor]
    total: Float[Tensor, " n"]


class Judge:
    """The loss of a search, without the part that is about latents, on motions of any origin.

    Activations come from what the search ends with: the surrogate, or the physics.

    Motions have their feet planted first, as a search has them: a drawn motion whose feet slide would be refused for
    them alone.
    """

    def __init__(self, prepared: MotionSearch) -> None:
        self.prepared = prepared
        frame = prepared.first.frame
        people = [str(s) for s in prepared.networks.references["subject"].values]
        references = prepared.references.to(frame.skeleton.range)
        self.neighbourhood = Neighbourhood(references, frame.rotational, people, prepared.settings.novelty)

    def asked(self, q: Float[Tensor, "n sample channel"], duration: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """What the objective alone makes of motions, at every other sample, as a search goes by; differentiable.

        Plausibility is left to whatever made them: its penalties are so steep in single control points, accelerations
        of the whole body over centimetres, that a descent without second moments cannot follow them.
        """
        return self._judged(self.prepared.planted(q[:, ::DRAFT]), duration).evaluation.loss

    def result(self, q: Float[Tensor, "n sample channel"], duration: Float[Tensor, " n"], seed: int) -> SearchResult:
        """Motions with planted feet as a search would give them, without latents; `seed` is that of their making.

        Durations are brought to between half the shortest and twice the longest of the training motions: nothing keeps
        those that are drawn from being hours.
        """
        usual = self.prepared.durations
        with torch.no_grad():
            q = self.prepared.planted(q)
            duration = duration.to(q).clamp(0.5 * float(usual.min()), 2.0 * float(usual.max()))
            judged = self._judged(q, duration, muscles=True)
        evaluation, new = judged.evaluation, self.neighbourhood.novelty(q.to(self.neighbourhood.scale))
        return SearchResult(
            motions=_array(q),
            durations=_array(duration),
            activations=None if judged.activations is None else _array(judged.activations),
            latents=np.zeros((len(q), 0)),
            channels=self.prepared.channels,
            values={k: _array(v) for k, v in evaluation.values.items()},
            channel_values={k: _array(v) for k, v in evaluation.channel_values.items()},
            met={k: v.numpy() for k, v in evaluation.met.items()},
            satisfied=evaluation.satisfied.numpy(),
            loss=_array(judged.total),
            nearest=_array(new.nearest),
            nearest_reference=new.reference.numpy(),
            usual_distance=new.usual,
            usual_nearest_distance=new.usual_nearest,
            plausibility={k: _array(v) for k, v in judged.plausibility.items()},
            limit_violations=self.prepared.first.limit_violations(q),
            history={},
            conflicts=(),
            seed=seed,
            settings=self.prepared.settings,
        )

    def diversity(self, motions: Float[np.ndarray, "n sample channel"]) -> float:
        """Mean distance between two motions over that between two training motions; nan of a single one."""
        return self._apart(torch.as_tensor(motions)) / self._apart(self.neighbourhood.references)

    def _apart(self, q: Float[Tensor, "n sample channel"]) -> float:
        q = q.to(self.neighbourhood.scale)
        between = terms.normalised_distance(q, q, self.neighbourhood.scale)
        return float(between.sum() / (len(q) * (len(q) - 1))) if len(q) > 1 else float("nan")

    def _judged(self, q: Tensor, duration: Tensor, muscles: bool = False) -> _Judged:
        prepared, settings = self.prepared, self.prepared.settings
        objective, predict = prepared.last
        active = predict(q, duration) if muscles or objective.needs_activations else None
        observation = objective.observe(q, duration, active)
        plausibility = objective.plausibility(observation)
        evaluation = objective.judge(observation)
        total = evaluation.loss + settings.beta * self.neighbourhood.penalty(observation.q)
        for name, penalty in plausibility.items():
            total = total + getattr(settings, name) * penalty
        return _Judged(active, evaluation, plausibility, total)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()
