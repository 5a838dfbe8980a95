"""How near a motion stays to the data, and how new it is.

Two measures, both zero for anything as usual as the reference motions themselves:

- in latent space, the distance from a latent to what the generator makes of it (its codes, or the latent of the motion
  it decodes to) against that distance for the references' own latents: off the manifold, codes and latents part;
- in motion space, the distance to the nearest reference motion against the distances between nearest references
  (`terms.tube_penalty`): far is a motion farther than 95 % of references are from their nearest fellow, near is one
  nearer than 95 % of them are. Where references are of several people, fellows are motions of other people: one
  person's repetitions are alike, and a motion as near to one of them as they are to each other would be a copy.

Unlike a plain distance to the nearest training latent, neither has its minimum on a training motion.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bige_opensim.guidance import terms
from bige_opensim.guidance.language import ObjectiveError

WIDEN = 1.25
"""Where novelty asks for more than the references' own distances, the tube begins there and is this wide."""
MARGIN = 1.1
"""A search pushes motions this much farther away than the novelty that is asked for: it ends when little is left."""
SCALE_FLOOR = {True: 0.035, False: 0.01}
"""Least scale of a channel, 2 degrees or 1 cm, so that a channel that hardly moves does not rule the distance."""


class Novelty(NamedTuple):
    """Distance of each motion to its nearest reference, dimensionless (root mean square over scaled channels).

    `reference` is the place of the nearest one; `usual` the median distance between two different references;
    `usual_nearest` the median distance from a reference to its nearest fellow (of another person, where there are
    several).
    """

    nearest: Float[Tensor, " n"]
    reference: Int[Tensor, " n"]
    usual: float
    usual_nearest: float

    @property
    def ratio(self) -> Float[Tensor, " n"]:
        """Nearest distance over the usual distance between references: 0 is a copy, 1 as new as another reference."""
        return self.nearest / self.usual


class Neighbourhood:
    """The reference motions (r, time, channel), their channel scales and their usual distances.

    `people` says who moves in each; motions nearer to one than `novelty` usual distances are too near, at any rate.
    """

    def __init__(
        self,
        references: Float[Tensor, "r time channel"],
        rotational: tuple[bool, ...],
        people: Sequence[str] | None = None,
        novelty: float = 0.0,
    ) -> None:
        if references.ndim != 3 or len(references) < 2:
            raise ObjectiveError(
                f"a search needs at least two reference motions (r, time, channel), got {tuple(references.shape)}"
            )
        floor = references.new_tensor([SCALE_FLOOR[angle] for angle in rotational])
        self.references = references
        self.scale = references.flatten(0, 1).std(0).maximum(floor)
        between = terms.normalised_distance(references, references, self.scale)
        others = ~torch.eye(len(references), dtype=torch.bool, device=references.device)
        self.usual = max(float(between[others].median()), 1e-6)
        fellows = others
        if people is not None and len(set(people)) > 1:
            number = torch.tensor([sorted(set(people)).index(p) for p in people], device=references.device)
            fellows = number[:, None] != number
        nearest = between.masked_fill(~fellows, torch.inf).amin(1)
        self.usual_nearest = float(nearest.median())
        near, far = (max(float(x), 1e-3 * self.usual) for x in nearest.quantile(nearest.new_tensor([0.05, 0.95])))
        near = max(near, MARGIN * novelty * self.usual)
        self.tube = terms.ProximityScale(near, max(far, WIDEN * near))

    def novelty(self, motions: Float[Tensor, "n time channel"]) -> Novelty:
        """Nearest reference of each motion and the distance to it; motions may have every so many samples only."""
        every = max((self.references.shape[1] - 1) // (motions.shape[1] - 1), 1)
        distance = terms.normalised_distance(motions.to(self.scale), self.references[:, ::every], self.scale)
        nearest, index = distance.min(1)
        return Novelty(nearest, index, self.usual, self.usual_nearest)

    def penalty(self, motions: Float[Tensor, "n time channel"]) -> Float[Tensor, " n"]:
        """`terms.tube_penalty` of each motion."""
        return terms.tube_penalty(self.novelty(motions).nearest, self.tube)


class Manifold:
    """Distance of latents to the generator's manifold, in units of what is usual for the references' latents.

    `anchor` maps latents (n, ...) to the nearest point the generator stands on. The penalty is
    max(0, m / m95 - 1)^2 with m = mean (z - anchor(z))^2, no gradient through the anchor, and m95 the 95th percentile
    of m over the references.
    """

    def __init__(self, anchor: Callable[[Tensor], Tensor], reference_latents: Tensor) -> None:
        self.anchor = anchor
        floor = 1e-4 * float(reference_latents.var())
        self.usual = max(float(self._distance(reference_latents).quantile(0.95)), floor, 1e-12)

    def _distance(self, latents: Tensor) -> Float[Tensor, " n"]:
        with torch.no_grad():
            anchor = self.anchor(latents)
        return (latents - anchor).square().flatten(1).mean(1)

    def penalty(self, latents: Tensor) -> Float[Tensor, " n"]:
        """Zero for latents as near the manifold as those of the references."""
        return (self._distance(latents) / self.usual - 1).clamp(min=0).square()
