"""Channels of a learned model: names, units, scaling by training statistics, and the left-right mirror."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from bige_opensim.learning.derivatives import time_derivatives
from bige_opensim.physics.stance_loads import LOADS, REFLECTED, STANDING_LOADS

MIDLINE_ODD = frozenset({"pelvis_list", "pelvis_rotation", "pelvis_tz", "lumbar_bending", "lumbar_rotation"})
"""Midline coordinates that a left-right mirror negates (rotations about X and Y, translation along Z)."""

SCALE_FLOOR = {
    "position": (0.02, 0.005),
    "velocity": (0.1, 0.03),
    "acceleration": (1.0, 0.3),
}
"""Least scale of an angle and of a translation (rad, m; per s; per s^2): a still channel must not blow up noise."""

FEATURE_FLOOR = 0.02
"""Least scale of a subject feature, as a fraction of its mean."""

LOAD_FLOOR = 0.003
"""Least scale of a load over body weight: of a moment, m."""

LOG_DURATION_FLOOR = 0.1
LEAST_FEATURE_SCALE, LARGEST_SCALE = 1e-9, 1e9


class ChannelsError(ValueError):
    """Channels that do not fit together: a missing mirror partner, a damaged description."""


@dataclass(frozen=True)
class Scaling:
    """Affine scaling: scaled = (x - offset) / scale, one pair per channel."""

    offset: tuple[float, ...]
    scale: tuple[float, ...]

    @classmethod
    def measure(cls, values: Float[Tensor, "*rows channel"], floor: Float[Tensor, " channel"]) -> "Scaling":
        """Mean and standard deviation over all rows; no scale is below its floor."""
        flat = values.double().flatten(0, -2)
        offset = flat.mean(0)
        scale = (flat - offset).square().mean(0).sqrt().maximum(floor.double())
        return cls(tuple(offset.tolist()), tuple(scale.tolist()))


@dataclass(frozen=True)
class Channels:
    """What goes in and out of a model, by name and in order.

    Attributes
    ----------
    coordinates, rotational
        OpenSim coordinates; whether each is an angle (rad) or a translation (m).
    muscles
        Muscles whose activation (0 to 1) is predicted; empty for a generator.
    features
        Subject features (SI units); empty for a generator.
    scaling
        By training statistics: "position", "velocity", "acceleration" (per coordinate; real time), "features" (per
        feature) and "log_duration" (natural logarithm of the duration in s, one entry). With "loads" the network is
        told what joints carry and muscles can do: net moments of the moved coordinates, `STANDING_LOADS` of
        `physics.stance_loads`, and those of `physics.muscle_share.able`.
    moved
        With "loads": the coordinates that muscles move.

    """

    coordinates: tuple[str, ...]
    rotational: tuple[bool, ...]
    muscles: tuple[str, ...]
    features: tuple[str, ...]
    scaling: dict[str, Scaling]
    moved: tuple[str, ...] = ()

    @classmethod
    def measure(
        cls,
        q: Float[Tensor, "repetition time coordinate"],
        duration: Float[Tensor, " repetition"],
        features: Float[Tensor, "repetition feature"],
        *,
        coordinates: Sequence[str],
        rotational: Sequence[bool],
        muscles: Sequence[str] = (),
        feature_names: Sequence[str] = (),
        loads: Float[Tensor, "repetition time load"] | None = None,
        moved: Sequence[str] = (),
    ) -> "Channels":
        """Channels with the scaling of the given repetitions (those trained on, no others)."""
        velocity, acceleration = time_derivatives(q, duration)
        scaling = {}
        for name, values in (("position", q), ("velocity", velocity), ("acceleration", acceleration)):
            angle, translation = SCALE_FLOOR[name]
            floor = torch.tensor([angle if r else translation for r in rotational])
            scaling[name] = Scaling.measure(values, floor)
        scaling["features"] = Scaling.measure(features, FEATURE_FLOOR * features.abs().mean(0) + LEAST_FEATURE_SCALE)
        scaling["log_duration"] = Scaling.measure(duration.log()[:, None], torch.tensor([LOG_DURATION_FLOOR]))
        if loads is not None:
            known = loads[torch.isfinite(loads).all(-1)]
            scaling["loads"] = Scaling.measure(known, torch.full((loads.shape[-1],), LOAD_FLOOR))
        kinds = tuple(bool(r) for r in rotational)
        return cls(tuple(coordinates), kinds, tuple(muscles), tuple(feature_names), scaling, tuple(moved))

    @property
    def loads(self) -> tuple[str, ...]:
        """Names of what the network is told of loads and of what muscles can do; none where it is told nothing."""
        return (*self.moved, *STANDING_LOADS, *_ways(self.moved)) if "loads" in self.scaling else ()

    def untold(self, driven: Sequence[str]) -> tuple[str, ...]:
        """A sentence where the muscles of a model move coordinates, of those `driven`, that a network does not know."""
        others = [name for name in driven if name not in self.coordinates]
        if not others:
            return ()
        return (
            f"Muscles of this model also move {', '.join(others)}, which the surrogate does not know. OpenSim balances "
            "their moments and the surrogate does not: muscles that could take over from each other, as the vasti can, "
            "may be far off. Label the motion, or search with the physics.",
        )

    def to_json(self) -> dict[str, Any]:
        """As written to channels.json: one entry per channel with its unit and scaling."""
        coordinates = [
            {"name": name, "unit": "rad" if angle else "m"}
            | {kind: self._entry(kind, i) for kind in ("position", "velocity", "acceleration")}
            for i, (name, angle) in enumerate(zip(self.coordinates, self.rotational, strict=True))
        ]
        return {
            "coordinates": coordinates,
            "muscles": [{"name": name, "unit": "activation, 0 to 1"} for name in self.muscles],
            "features": [{"name": n, "scaling": self._entry("features", i)} for i, n in enumerate(self.features)],
            "log_duration": {"unit": "natural logarithm of seconds", "scaling": self._entry("log_duration", 0)},
        } | ({"loads": [{"name": n, "scaling": self._entry("loads", i)} for i, n in enumerate(self.loads)]})

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Channels":
        """Inverse of `to_json`; raises ChannelsError naming the missing or malformed entry."""
        try:
            coordinates = data["coordinates"]
            kinds = ("position", "velocity", "acceleration")
            scaling = {kind: _collect([c[kind] for c in coordinates]) for kind in kinds}
            scaling["features"] = _collect([f["scaling"] for f in data["features"]])
            scaling["log_duration"] = _collect([data["log_duration"]["scaling"]])
            told = [str(load["name"]) for load in data.get("loads", ())]
            if told:
                scaling["loads"] = _collect([load["scaling"] for load in data["loads"]])
            channels = cls(
                coordinates=tuple(str(c["name"]) for c in coordinates),
                rotational=tuple(c["unit"] == "rad" for c in coordinates),
                muscles=tuple(str(m["name"]) for m in data["muscles"]),
                features=tuple(str(f["name"]) for f in data["features"]),
                scaling=scaling,
                moved=tuple(told[: told.index(STANDING_LOADS[0])]) if STANDING_LOADS[0] in told else (),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ChannelsError(f"not a description of channels, {type(error).__name__}: {error}") from error
        other = sorted({*channels.moved} - {*channels.coordinates}) or sorted({*told} ^ {*channels.loads})
        if tuple(told) != channels.loads or other:
            raise ChannelsError(
                "the network is told of other loads than this version has "
                f"({', '.join(other[:3])} of one of them only): train it again"
            )
        channels.check()
        return channels

    def check(self) -> None:
        """Raise ChannelsError where a name is there twice, or a scaling is none that training measures."""
        for names in (self.coordinates, self.muscles, self.features):
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise ChannelsError(f"the channel {twice[0]} is there {names.count(twice[0])} times")
        for kind, scaling in self.scaling.items():
            names = {"features": self.features, "log_duration": ("log_duration",), "loads": self.loads}.get(
                kind, self.coordinates
            )
            for i, (name, offset, scale) in enumerate(zip(names, scaling.offset, scaling.scale, strict=True)):
                least = self._least_scale(kind, i)
                if not (math.isfinite(offset) and least <= scale <= LARGEST_SCALE):
                    raise ChannelsError(
                        f"the scaling of {name} ({kind}: offset {offset:g}, scale {scale:g}) is none that training "
                        f"measures, whose scales are {least:g} at least; train again"
                    )

    def _least_scale(self, kind: str, channel: int) -> float:
        """The floor of `measure`, less rounding."""
        if kind in SCALE_FLOOR:
            angle, translation = SCALE_FLOOR[kind]
            return 0.99 * (angle if self.rotational[channel] else translation)
        least = {"log_duration": 0.99 * LOG_DURATION_FLOOR, "loads": 0.99 * LOAD_FLOOR}
        return least.get(kind, LEAST_FEATURE_SCALE)

    def _entry(self, kind: str, i: int) -> dict[str, float]:
        return {"offset": self.scaling[kind].offset[i], "scale": self.scaling[kind].scale[i]}


def _ways(coordinates: Sequence[str]) -> tuple[str, ...]:
    """Names of what muscles can do about coordinates."""
    return tuple(f"{way}_{name}" for way in ("raise", "lower") for name in coordinates)


def _collect(entries: list[dict[str, float]]) -> Scaling:
    return Scaling(tuple(float(e["offset"]) for e in entries), tuple(float(e["scale"]) for e in entries))


class Normaliser(torch.nn.Module):
    """Scaling as a module, so that it moves to the model's device; its numbers live in channels.json."""

    offset: Tensor
    scale: Tensor

    def __init__(self, scaling: Scaling) -> None:
        super().__init__()
        self.register_buffer("offset", torch.tensor(scaling.offset, dtype=torch.float32), persistent=False)
        self.register_buffer("scale", torch.tensor(scaling.scale, dtype=torch.float32), persistent=False)

    def forward(self, x: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """(x - offset) / scale."""
        return (x - self.offset) / self.scale

    def inverse(self, scaled: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """Scaled back to units."""
        return scaled * self.scale + self.offset


def mirror_name(name: str) -> str:
    """The channel on the other side: `vasmed_r` for `vasmed_l`; midline names stay."""
    return re.sub(r"_([rl])(?=_|$)", lambda m: "_l" if m[1] == "r" else "_r", name)


def is_right(name: str) -> bool:
    """Whether a channel is the right one of a pair."""
    return re.search(r"_r(?=_|$)", name) is not None


@dataclass(frozen=True, eq=False)
class Mirror:
    """The reflection through the sagittal plane: right becomes left, midline list, bending and rotation change sign."""

    order: Tensor
    sign: Tensor

    @classmethod
    def of(cls, names: Sequence[str]) -> "Mirror":
        """For channels of these names; ChannelsError when one has no partner on the other side."""
        lonely = [name for name in names if mirror_name(name) not in names]
        if lonely:
            raise ChannelsError(
                f"{lonely[0]} has no partner {mirror_name(lonely[0])} among the channels; mirroring needs both sides"
            )
        order = torch.tensor([list(names).index(mirror_name(name)) for name in names], dtype=torch.long)
        sign = torch.tensor([-1.0 if name in MIDLINE_ODD else 1.0 for name in names])
        return cls(order, sign)

    @classmethod
    def of_loads(cls, coordinates: Sequence[str]) -> "Mirror":
        """For the loads of `physics.stance_loads` on these coordinates."""
        names = (*coordinates, *LOADS)
        both = cls.of(names)
        return cls(both.order, both.sign * torch.tensor([-1.0 if name in REFLECTED else 1.0 for name in names]))

    @classmethod
    def of_told(cls, moved: Sequence[str]) -> "Mirror":
        """For loads on these coordinates, and what muscles can do about them: up, and then down."""
        loads, one, count = cls.of_loads(moved), cls.of(moved), len(moved)
        up = torch.where(one.sign > 0, one.order, one.order + count)
        ways = torch.cat([up, (up + count) % (2 * count)])
        return cls(
            torch.cat([loads.order, len(loads.order) + ways]), torch.cat([loads.sign, loads.sign.new_ones(2 * count)])
        )

    def __call__(self, values: Float[Tensor, "*batch channel"]) -> Float[Tensor, "*batch channel"]:
        """The mirrored values; twice gives the values back."""
        return values.index_select(-1, self.order.to(values.device)) * self.sign.to(values)
