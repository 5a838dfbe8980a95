"""What effort costs: the exponent of activations, weights of muscles, and whether passive fibres pull for nothing.

    cost = sum_m w_m a_m^p + sum_j |r_j / opt_j|^p

OpenSim's StaticOptimization has w_m = 1 and p = activation_exponent, for reserves too. A weight makes a muscle dearer;
volume weighting makes it cost what it is (w_m proportional to F_max l_opt, mean 1), so that splitting a muscle into
parts changes nothing (Holmberg and Klarbring 2012, doi:10.1007/s11044-011-9277-4). With passive fibre forces the
elastic part of every fibre pulls without cost, and muscles supply what is left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from jaxtyping import Float

Weights = Mapping[str, float] | Sequence[tuple[str, float]]
"""Weights of muscles in the cost by name, pattern or group: a dictionary, or pairs."""


class EffortCostError(ValueError):
    """A cost that cannot be: an exponent of 1 or below, a weight that is not positive or fits no muscle."""


@dataclass(frozen=True)
class EffortCost:
    """How effort is counted.

    Attributes
    ----------
    exponent
        Exponent p of activations and reserves, above 1.
    weights
        Pairs of a muscle's name, a pattern such as `glmax*_r`, or a group of the model, and a positive weight; where
        several fit a muscle, their product counts.
    volume_weighted
        Weight muscles by their volume besides.
    passive
        Let passive fibre forces act; OpenSim's static optimization leaves them out.

    """

    exponent: float = 2.0
    weights: tuple[tuple[str, float], ...] = ()
    volume_weighted: bool = False
    passive: bool = False

    def __post_init__(self) -> None:
        if not 1.0 < self.exponent < math.inf:
            raise EffortCostError(f"The exponent of the cost must be above 1; got {self.exponent:g}.")
        for name, weight in self.weights:
            if not 0.0 < weight < math.inf:
                raise EffortCostError(f"The weight of {name} must be above 0; got {weight:g}.")

    @property
    def weighted(self) -> bool:
        """Whether muscles differ in what they cost."""
        return bool(self.weights) or self.volume_weighted

    @property
    def usual(self) -> bool:
        """Whether this is the cost that OpenSim has by default."""
        return self == EffortCost()

    @property
    def beyond_opensim(self) -> bool:
        """Whether OpenSim's StaticOptimization has no property for it."""
        return self.weighted or self.passive

    def as_dict(self) -> dict[str, Any]:
        """For label.json."""
        return {
            "exponent": self.exponent,
            "weights": dict(self.weights),
            "volume_weighted": self.volume_weighted,
            "passive": self.passive,
        }

    def muscle_weights(
        self,
        muscles: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        volume: Float[np.ndarray, " muscle"],
    ) -> Float[np.ndarray, " muscle"]:
        """Weight of every muscle.

        Parameters
        ----------
        muscles, groups
            Names, and the model's named groups of them.
        volume
            Anything proportional to the muscles' volumes, such as F_max l_opt.

        Raises
        ------
        EffortCostError
            A name, pattern or group fits no muscle.

        """
        weight = volume / volume.mean() if self.volume_weighted else np.ones(len(muscles))
        for name, factor in self.weights:
            chosen = [m for m in muscles if fnmatchcase(m, name)] or [m for m in groups.get(name, ()) if m in muscles]
            if not chosen:
                known = ", ".join(groups) or "none"
                raise EffortCostError(
                    f"The weight of '{name}' fits no muscle of the model ({', '.join(muscles[:6])}, ...) and no group "
                    f"({known}). Name a muscle, a pattern such as glmax*_r, or a group."
                )
            weight[[muscles.index(m) for m in chosen]] *= factor
        return weight


USUAL = EffortCost()


def weight_pairs(weights: Weights) -> tuple[tuple[str, float], ...]:
    """Weights as `EffortCost` has them."""
    return tuple(weights.items()) if isinstance(weights, Mapping) else tuple(weights)


def parse_weights(texts: Sequence[str]) -> tuple[tuple[str, float], ...]:
    """Pairs from texts such as `vas*_r=2`.

    Raises
    ------
    EffortCostError
        A text is no name and number.

    """
    pairs = []
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            pairs.append((name.strip(), float(value)))
        except ValueError:
            raise EffortCostError(f"A weight is written as MUSCLE=NUMBER, such as vas*_r=2; got '{text}'.") from None
        if not name.strip():
            raise EffortCostError(f"A weight is written as MUSCLE=NUMBER, such as vas*_r=2; got '{text}'.")
    return tuple(pairs)
