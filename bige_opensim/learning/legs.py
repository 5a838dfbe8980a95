"""What a network with loads sees of a frame, in every view, and where what it says of a leg belongs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from bige_opensim.learning.augmentation import ARMS
from bige_opensim.learning.channels import Channels, Mirror, Scaling, is_right
from bige_opensim.learning.perceptron import Perceptron
from bige_opensim.physics.mechanics import Mechanics
from bige_opensim.physics.muscle_share import Shared, able, share
from bige_opensim.physics.stance_loads import standing_loads

LEAST_BEND = 0.3
"""rad; least scale whose square divides 1 - cos: a coordinate that hardly moved in training must not blow up."""


Views = tuple[dict[str, Mirror] | None, ...]
"""What mirrors the numbers of each view; None where nothing does."""


class Carried(NamedTuple):
    """Net moments over body weight, m, of the coordinates that muscles move: by the network's guess, and in the end.

    multipliers: of the share of the guess, 1/m.
    """

    guess: Float[Tensor, "batch frame moved"]
    net: Float[Tensor, "batch frame moved"]
    multipliers: Float[Tensor, "batch frame moved"]


class Legs(nn.Module):
    """Views of frames: one, or two where all channels have partners, the motion and its mirror image.

    A view is an affine map of numbers that all views have in common, x = P n + c: sines and cosines of the angles of
    legs and trunk, translations, and what is told; P mirrors and scales. A layer A x of every view is (A P) n + A c, so
    that no number is mirrored or scaled frame by frame. Of the coordinates that muscles move, `own` are those of the
    leg that is predicted from a view.
    """

    place: Tensor
    size: Tensor
    spread: Tensor
    frame_matrix: Tensor
    frame_constant: Tensor
    moved_matrix: Tensor
    moved_constant: Tensor
    angle: Tensor
    seen: Tensor

    def __init__(self, channels: Channels, mirrors: dict[str, Mirror] | None) -> None:
        super().__init__()
        names, moved = channels.coordinates, channels.moved
        seen = [k for k, name in enumerate(names) if not name.startswith(ARMS)]
        self.register_buffer("seen", torch.tensor(seen), persistent=False)
        self.moved = [names.index(name) for name in moved]
        own = [k for k, name in enumerate(moved) if mirrors is not None and is_right(name)]
        self.own = own or list(range(len(moved)))
        self.register_buffer("angle", torch.tensor(channels.rotational)[seen], persistent=False)
        views: Views = (None,)
        if mirrors is not None:
            views = (None, mirrors | {"seen": Mirror.of([names[k] for k in seen])})
        position, loads = (_numbers(channels.scaling[kind]) for kind in ("position", "loads"))
        posture = tuple(x[seen] for x in position)
        net = tuple(x[: len(moved)] for x in loads)

        def of_frame(n: Tensor, mirror: dict[str, Mirror] | None) -> Tensor:
            sine, cosine, told = n.tensor_split([len(seen), 2 * len(seen)], -1)
            if mirror is not None:
                cosine = cosine.index_select(-1, mirror["seen"].order)
                sine, told = mirror["seen"](sine), mirror["loads"](told)
            offset, scale = posture
            bending = torch.nonzero(self.angle).flatten()
            turned_sine = sine * offset.cos() - cosine * offset.sin()
            turned_cosine = cosine * offset.cos() + sine * offset.sin()
            x = scaled_postures(turned_sine, turned_cosine, sine - offset, scale, self.angle, bending)
            return torch.cat([x, _scaled(told, *loads)], -1)

        def of_moved(n: Tensor, mirror: dict[str, Mirror] | None) -> Tensor:
            found, slope = n.chunk(2, -1) if mirror is None else map(mirror["moved"], n.chunk(2, -1))
            return torch.cat([_scaled(found, *net), slope], -1)

        self._affine("frame", of_frame, 2 * len(seen) + len(channels.loads), views)
        self._affine("moved", of_moved, 2 * len(moved), views)
        ends, signs = torch.tensor(self.own), torch.ones(len(self.own))
        if mirrors is not None:
            across = mirrors["moved"]
            ends, signs = torch.cat([ends, across.order[ends]]), torch.cat([signs, across.sign[ends]])
        size = net[1][self.own].repeat(len(views))
        self.register_buffer("place", ends, persistent=False)
        self.register_buffer("size", size * signs, persistent=False)
        self.register_buffer("spread", torch.ones(len(moved)).index_copy(0, ends, size), persistent=False)

    @property
    def inputs(self) -> tuple[int, int]:
        """How many numbers are seen of a frame, and how many of net moments and what they cost."""
        return self.frame_matrix.shape[1], self.moved_matrix.shape[1]

    def numbers(
        self, q: Float[Tensor, "batch frame coordinate"], mechanics: Mechanics
    ) -> Float[Tensor, "batch frame number"]:
        """What all views of a frame have in common."""
        in_single = mechanics._replace(loads=mechanics.loads.to(q), capacity=mechanics.capacity.to(q))
        q, of_person = q.index_select(-1, self.seen), told(in_single, q.shape[-1], self.moved)
        return torch.cat([torch.where(self.angle, q.sin(), q), q.cos(), of_person], -1)

    def units(
        self,
        network: Perceptron,
        frame: Float[Tensor, "batch frame number"],
        subject: Float[Tensor, "view batch feature"],
        moved: Float[Tensor, "batch frame more"] | None = None,
    ) -> Float[Tensor, "batch frame view unit"]:
        """The units of a network in every view; `moved` are net moments, and what they cost, as it is told."""
        weight, seen = network.from_frame.weight, self.inputs[0]
        of_frame, of_moved = weight[:, :seen], weight[:, seen:]
        layer, constant = of_frame @ self.frame_matrix, self.frame_constant @ of_frame.T
        if moved is not None:
            frame = torch.cat([frame, moved], -1)
            layer = torch.cat([layer, of_moved @ self.moved_matrix], -1)
            constant = constant + self.moved_constant @ of_moved.T
        first = functional.linear(frame, layer.flatten(0, 1), constant.flatten()).unflatten(-1, constant.shape)
        return network.after(first + network.from_subject(subject).transpose(0, 1)[:, None])

    def joined(self, shift: Float[Tensor, "batch frame view own"]) -> Float[Tensor, "batch frame moved"]:
        """Net moments over body weight, m, from those of the leg of every view, scaled."""
        own = shift.flatten(-2) * self.size
        return own.new_zeros(*own.shape[:-1], len(self.moved)).index_copy(-1, self.place, own)

    def share(
        self,
        net: Float[Tensor, "batch frame moved"],
        mechanics: Mechanics,
        start: Float[Tensor, "batch frame moved"] | None = None,
    ) -> Shared:
        """How a person's own muscles share net moments, see `share`.

        Coordinates that they move and those of the training did not are carried as the loads have it; what they do not
        move costs them nothing.
        """
        spans, capacity = mechanics.spans, mechanics.capacity
        if spans.moved == self.moved:
            return share(capacity, net, spans, start)
        both = [c for c in self.moved if c in spans.moved]
        here, there = (
            torch.tensor([moved.index(c) for c in both], device=net.device) for moved in (self.moved, spans.moved)
        )
        theirs = some_of(mechanics.loads, spans.moved).to(net).index_copy(-1, there, net.index_select(-1, here))
        begun = None
        if start is not None:
            begun = torch.zeros_like(theirs).index_copy(-1, there, start.index_select(-1, here))
        found = share(capacity, theirs, spans, begun)
        own = torch.zeros_like(net).index_copy(-1, here, found.multipliers.index_select(-1, there))
        return found._replace(multipliers=own)

    def error(
        self, net: Float[Tensor, "batch frame moved"], true: Float[Tensor, "batch frame moved"]
    ) -> Float[Tensor, "batch frame moved"]:
        """How far net moments are off, scaled, and alike on both sides."""
        return (net - true) / self.spread

    def _affine(
        self,
        name: str,
        view: Callable[[Tensor, dict[str, Mirror] | None], Tensor],
        count: int,
        views: Views,
    ) -> None:
        """Keep P and c of every view of so many numbers."""
        zero, one = torch.zeros(1, count), torch.eye(count)
        constant = [view(zero, mirror) for mirror in views]
        matrix = [(view(one, mirror) - c).T for mirror, c in zip(views, constant, strict=True)]
        self.register_buffer(f"{name}_constant", torch.cat(constant), persistent=False)
        self.register_buffer(f"{name}_matrix", torch.stack(matrix), persistent=False)


def scaled_postures(
    sine: Float[Tensor, "*batch coordinate"],
    cosine: Float[Tensor, "*batch coordinate"],
    off: Float[Tensor, "*batch coordinate"],
    scale: Float[Tensor, " coordinate"],
    angle: Bool[Tensor, " coordinate"],
    bending: Int[Tensor, " angle"],
) -> Float[Tensor, "*batch posture"]:
    """Sines of angles about their mean, and translations `off` theirs; then 1 - cosine of the angles, number `bending`.

    Whole turns change nothing. Scales are those of the positions, so that small angles go in as they would unbent;
    1 - cos goes in with the square of its scale, which is not small.
    """
    size = scale.clamp(max=1.0)
    bent = (1.0 - cosine) / size.clamp(min=LEAST_BEND) ** 2
    return torch.cat([torch.where(angle, sine / size, off / scale), bent.index_select(-1, bending)], -1)


def told(mechanics: Mechanics, coordinates: int, moved: Sequence[int]) -> Float[Tensor, "batch frame load"]:
    """What the network is told, in the order of `Channels.loads`, of mechanics that know so many coordinates."""
    loads = mechanics.loads
    standing, can = standing_loads(loads[..., coordinates:]), able(mechanics.capacity, mechanics.spans, moved)
    return torch.cat([some_of(loads, moved), standing, can], -1)


def some_of(x: Float[Tensor, "*batch all"], places: Sequence[int]) -> Float[Tensor, "*batch some"]:
    """Those at some places of the last axis."""
    return x.index_select(-1, torch.tensor(list(places), device=x.device))


def _numbers(scaling: Scaling) -> tuple[Tensor, Tensor]:
    return torch.tensor(scaling.offset), torch.tensor(scaling.scale)


def _scaled(x: Tensor, offset: Tensor, scale: Tensor) -> Tensor:
    return (x - offset) / scale
