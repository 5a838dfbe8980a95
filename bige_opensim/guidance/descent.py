"""Adam on the latents of many motions at once, of which each leaves when it has arrived.

Adam is elementwise: no motion sees another, and those that are still searched are moved as if they were alone. A motion
has arrived when nothing is left to gain, its loss being as good as zero, or when its loss has stayed where it is for
some iterations, at its own learning rate and, unless little is left, at three smaller ones.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from bige_opensim.guidance.language import SearchSettings

FIRST_DECAY, SECOND_DECAY, TINY = 0.9, 0.999, 1e-8
ARRIVED, NEARLY = 0.01, 0.1
"""Loss below which nothing is left to gain, a term a fiftieth of its scale from where it should be; and the one below
which a motion that meets the verdict is not searched on once its loss has stayed where it is."""
NOTABLE = 0.02
"""Share by which a loss must fall to count as falling."""
REDUCTION, REDUCTIONS = 0.4, 3
LOOK = 5
"""Motions leave at every so many iterations: what the physics keeps from one iteration for the next is kept."""


class Descent:
    """The state of a search: latents of the motions that are still searched, and the best of all.

    `least` is what the loss can be at best, -inf where it has no least value.

    Attributes
    ----------
    rows
        Numbers of the motions that are still searched.
    latents
        Theirs.
    best, total, satisfied
        Of all motions, the best latents, their loss, and whether they meet the verdict.

    """

    def __init__(self, start: Float[Tensor, "n ..."], settings: SearchSettings, least: float = 0.0) -> None:
        self.settings, self.least = settings, least
        self.latents, self.best = start.clone(), start.clone()
        count, device = len(start), start.device
        self.rows: Int[Tensor, " active"] = torch.arange(count, device=device)
        self.total = torch.full((count,), torch.inf, device=device, dtype=start.dtype)
        self.satisfied: Bool[Tensor, " n"] = torch.zeros(count, dtype=torch.bool, device=device)
        self._mark = self.total.clone()
        self._waited = torch.zeros(count, dtype=torch.long, device=device)
        self._reductions = torch.zeros(count, dtype=torch.long, device=device)
        self._first, self._second = torch.zeros_like(start), torch.zeros_like(start)

    @property
    def over(self) -> bool:
        """Whether all motions have left."""
        return len(self.rows) == 0

    def note(self, total: Float[Tensor, " active"], satisfied: Bool[Tensor, " active"], iteration: int) -> None:
        """Take the losses of the latents in, and keep what is best.

        One that meets the verdict is better than one that does not; then the lower loss is.
        """
        rows, total = self.rows, total.to(self.total)
        before = self.satisfied[rows]
        better = torch.where(satisfied == before, total < self.total[rows], satisfied)
        kept = rows[better]
        self.best[kept], self.total[kept] = self.latents.detach()[better], total[better]
        self.satisfied[kept] |= satisfied[better]
        mark = self._mark[rows]
        fell = better & ((total < mark - NOTABLE * mark.abs()) | torch.isinf(mark) | (satisfied & ~before))
        fell |= torch.full_like(fell, iteration < self.settings.warmup)
        self._mark[rows[fell]] = total[fell]
        self._waited[rows] = torch.where(fell, 0, self._waited[rows] + 1)

    def move(self, gradient: Float[Tensor, "active ..."], iteration: int) -> None:
        """One step of Adam, after which motions leave that have arrived.

        The learning rate falls to a tenth along a cosine, and besides by steps for a motion that does not go on.
        """
        g, s = gradient, self.settings
        rows = self.rows
        self._first[rows] = FIRST_DECAY * self._first[rows] + (1.0 - FIRST_DECAY) * g
        self._second[rows] = SECOND_DECAY * self._second[rows] + (1.0 - SECOND_DECAY) * g.square()
        first = self._first[rows] / (1.0 - FIRST_DECAY ** (iteration + 1))
        second = self._second[rows] / (1.0 - SECOND_DECAY ** (iteration + 1))
        rate = s.learning_rate * (0.55 + 0.45 * math.cos(math.pi * iteration / s.iterations))
        own = rate * REDUCTION ** self._reductions[rows].to(g)
        step = first / (second.sqrt() + TINY)
        self.latents = self.latents.detach() - own.reshape(-1, *[1] * (g.ndim - 1)) * step
        if iteration % LOOK == 0:
            self._leave()

    def _leave(self) -> None:
        """Let motions leave that have arrived; those that do not go on are taken back to their best."""
        rows, patience = self.rows, self.settings.patience
        waited = (self._waited[rows] >= patience) if patience else torch.zeros_like(rows, dtype=torch.bool)
        stuck = rows[waited]
        self._reductions[stuck] += 1
        self._waited[stuck], self._first[stuck] = 0, 0.0
        self.latents = torch.where(waited.reshape(-1, *[1] * (self.latents.ndim - 1)), self.best[rows], self.latents)
        enough = torch.where(self._reductions[rows] > 0, NEARLY, ARRIVED)
        arrived = self.satisfied[rows] & (self.total[rows] < self.least + enough)
        stays = ~arrived & (self._reductions[rows] <= REDUCTIONS)
        self.rows, self.latents = rows[stays], self.latents.detach()[stays]
