"""The surrogate, refined on motions that were simulated while a search went on.

A search goes where the surrogate says that motions are good, which is where it errs in their favour. Each round of
rehearsals simulates such motions: what the muscles do there is learned, by Adam on the surrogate's own loss, beside the
earlier answers on the training motions, so that these are not forgotten. The networks on disk stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.guidance.generated import Rehearsal
from bige_opensim.guidance.generation import MotionSearch
from bige_opensim.guidance.search import SearchResult
from bige_opensim.learning.surrogate import surrogate_loss

STEPS, LEARNING_RATE = 40, 3e-4
PEAK_WEIGHT = 4.0
"""Of high activations: their peaks are what objectives bound."""
REMEMBERED = 24
"""Training motions, evenly chosen, on which the surrogate keeps its earlier answers."""


class Round(NamedTuple):
    """One round: how many motions were simulated by then, and the root mean square error of the surrogate on them.

    `gap` is that on the motions of this round before they were learned from, `after` that on all afterwards.
    """

    motions: int
    gap: float
    after: float

    def in_words(self) -> str:
        """One line."""
        return f"surrogate refined on {self.motions} motions: off by {self.gap:.4f} before, {self.after:.4f} now"


class Refinement:
    """What was simulated so far, and the rounds of refinement."""

    def __init__(self, prepared: MotionSearch, rounds: int) -> None:
        self.prepared, self.left = prepared, rounds
        self.rounds: list[Round] = []
        chosen = np.linspace(0, len(prepared.references) - 1, min(REMEMBERED, len(prepared.references))).astype(int)
        self._old = prepared.references[chosen], prepared.durations[chosen]
        self._q: list[Tensor] = []
        self._duration: list[Tensor] = []
        self._target: list[Tensor] = []

    def learn(self, result: SearchResult, rehearsals: Sequence[Rehearsal | None]) -> bool:
        """Learn from the motions of a result that were simulated; False where nothing is left to learn or to do."""
        known = [(i, r.activations) for i, r in enumerate(rehearsals) if r is not None and r.activations is not None]
        if self.left == 0 or not known:
            return False
        self.left -= 1
        muscles = self.prepared.networks.surrogate.channels.muscles
        samples = result.motions.shape[1]
        new = len(self._q)
        for i, active in known:
            even = active.resampled(np.linspace(active.time[0], active.time[-1], samples)).select(muscles)
            self._q.append(torch.as_tensor(result.motions[i], dtype=torch.float32))
            self._duration.append(torch.tensor(float(result.durations[i])))
            self._target.append(torch.as_tensor(even.values, dtype=torch.float32))
        q, duration, target = (torch.stack(x) for x in (self._q, self._duration, self._target))
        gap = self._error(q[new:], duration[new:], target[new:])
        self._fit(q, duration, target)
        self.rounds.append(Round(len(q), gap, self._error(q, duration, target)))
        return True

    def record(self) -> list[dict[str, float]]:
        """For generation.json."""
        return [{"round": k + 1, **r._asdict()} for k, r in enumerate(self.rounds)]

    def _error(self, q: Tensor, duration: Tensor, target: Float[Tensor, "n time muscle"]) -> float:
        with torch.no_grad():
            return float((self.prepared.by_surrogate(q, duration) - target).square().mean().sqrt())

    def _fit(self, q: Tensor, duration: Tensor, target: Float[Tensor, "n time muscle"]) -> None:
        predict, surrogate = self.prepared.by_surrogate, self.prepared.networks.surrogate
        with torch.no_grad():
            earlier = predict(*self._old)
        adam = torch.optim.Adam(surrogate.parameters(), lr=LEARNING_RATE)
        with torch.enable_grad():
            for _ in range(STEPS):
                adam.zero_grad()
                new = surrogate_loss(predict(q, duration), target, PEAK_WEIGHT)
                kept = surrogate_loss(predict(*self._old), earlier, PEAK_WEIGHT)
                (new + kept).backward()
                adam.step()
