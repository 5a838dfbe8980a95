"""Takes on a viser server: nodes of a scene, moved from frame to frame. Live views and files draw the same."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import viser
from jaxtyping import Float

from bige_opensim.viewer.bodies import Shape, loft
from bige_opensim.viewer.drawing import UNKNOWN, activation_colours, ground_lines, linear, quaternions, side_by_side
from bige_opensim.viewer.take import Take

LOOPBACK = "127.0.0.1"
SKIN_OPACITY, BONE = 0.25, (226, 216, 196)
SKINS = ((214, 178, 152), (120, 160, 214), (150, 196, 140), (205, 150, 200), (214, 200, 120))
"""The first for motions side by side; where they are overlaid, each has its own."""
FORCE, BALANCED, FALLING, CENTRE = (30, 150, 70), (40, 140, 90), (210, 60, 40), (250, 190, 30)
GROUND, GROUND_LINE_M = (198, 200, 204), 0.004
MUSCLE_M, LINE_M, CENTRE_M = 0.011, 0.006, 0.03
SMALLEST_STEP = 1.0 / 1024.0
SMALLEST_TURN = 1.0 / 2048.0
"""Lengths (m) and quaternions in files are rounded to these, so that they can be packed."""

LAYERS = ("skin", "bones", "muscles", "forces", "balance", "titles")


def loopback_server(port: int = 0, label: str | None = None) -> viser.ViserServer:
    """A server that this machine alone can reach, that prints nothing, and that shares nothing with anybody."""
    with redirect_stdout(io.StringIO()):
        server = viser.ViserServer(host=LOOPBACK, port=port, label=label, verbose=False)
    server.request_share_url = lambda *_, **__: None  # type: ignore[method-assign]
    server.gui.configure_theme(show_logo=False, show_share_button=False)
    server.scene.set_up_direction("+y")
    return server


def stopped(server: viser.ViserServer) -> None:
    """Stop a server without a word."""
    with redirect_stdout(io.StringIO()):
        server.stop()


@dataclass
class _Group:
    """The takes of one person, and the nodes of its surfaces by layer, an instance per take."""

    takes: list[int]
    nodes: list[tuple[str, str, Any]] = field(default_factory=list)
    """Layer, body and handle."""


class Stage:
    """Takes side by side or in one place.

    `step_m` rounds lengths, for files; live, nothing is rounded.
    """

    def __init__(
        self, server: viser.ViserServer, takes: Sequence[Take], *, overlaid: bool = False, step_m: float | None = None
    ) -> None:
        self.server, self.takes, self.overlaid, self.step_m = server, list(takes), overlaid, step_m
        self.offsets = np.zeros((len(takes), 3)) if overlaid else side_by_side(len(takes))
        self.layers: dict[str, list[Any]] = {layer: [] for layer in LAYERS}
        self.frame = 0
        with server.atomic():
            server.scene.reset()
            server.scene.set_up_direction("+y")
            self._lights()
            self._ground()
            self._camera()
            self._groups = self._persons()
            self._muscles = self._muscle_lines()
            self._forces, self._centres, self._projections, self._lines = self._balance()
            self._titles()
        self.show(0)

    @property
    def frames(self) -> int:
        """Of the longest take; shorter ones stay at their last."""
        return max(take.frames for take in self.takes)

    def set_visible(self, layer: str, visible: bool) -> None:
        """Show or hide a layer."""
        for node in self.layers[layer]:
            node.visible = visible

    def show(self, frame: int) -> None:
        """Move everything to a frame."""
        self.frame = frame
        at = [min(frame, take.frames - 1) for take in self.takes]
        with self.server.atomic():
            self._move_bodies(at)
            self._move_muscles(at)
            self._move_balance(at)

    def _rounded(self, lengths: np.ndarray) -> np.ndarray:
        return lengths if self.step_m is None else np.round(lengths / self.step_m) * self.step_m

    def _lights(self) -> None:
        """The sky and one lamp: neither shadows nor the picture of a room, which cost time and file size."""
        scene = self.server.scene
        scene.configure_default_lights(enabled=False)
        scene.configure_environment_map(None)
        scene.add_light_hemisphere("/lights/sky", ground_color=(150, 140, 135), intensity=1.5)
        scene.add_light_directional("/lights/lamp", intensity=1.7, position=(2.0, 3.0, 1.5))

    def _ground(self) -> None:
        """Lines half a metre apart; cheaper to draw than a textured plane where there is no graphics processor."""
        low, high = np.floor(self.offsets.min(0) - 1.0), np.ceil(self.offsets.max(0) + 1.0)
        lines = ground_lines(low, high)
        self.server.scene.add_line_segments(
            "/ground", lines.astype(np.float32), np.broadcast_to(linear(GROUND), lines.shape), thickness=GROUND_LINE_M
        )

    def _camera(self) -> None:
        """From in front of the people, to their right, so far that all are seen."""
        low, high = self.offsets.min(0), self.offsets.max(0)
        middle = 0.5 * (low + high) + (0.0, 0.9, 0.0)
        wide, deep = high[2] - low[2], high[0] - low[0]
        away = 2.3 + 0.6 * wide + 0.35 * deep
        self.server.initial_camera.look_at = tuple(middle)
        self.server.initial_camera.position = tuple(middle + away * np.array([0.85, 0.32, 0.42]))
        self.server.initial_camera.fov = 0.75

    def _persons(self) -> list[_Group]:
        groups: dict[str, _Group] = {}
        for i, take in enumerate(self.takes):
            groups.setdefault(take.person.sha256, _Group([])).takes.append(i)
        for at, group in enumerate(groups.values()):
            person = self.takes[group.takes[0]].person
            skins = linear([SKINS[i % len(SKINS)] if self.overlaid else SKINS[0] for i in group.takes])
            for layer, shapes in (("bones", person.bones), ("skin", person.flesh)):
                for shape in shapes:
                    colour = skins if layer == "skin" else linear(BONE)
                    node = self._surface(f"/person_{at}/{layer}/{shape.body}", shape, layer, colour, len(group.takes))
                    group.nodes.append((layer, shape.body, node))
                    self.layers[layer].append(node)
        return list(groups.values())

    def _surface(self, name: str, shape: Shape, layer: str, colour: np.ndarray, count: int) -> Any:
        return self.server.scene.add_batched_meshes_simple(
            name, shape.vertices.astype(np.float32), shape.faces.astype(np.uint32), lod="off",
            batched_wxyzs=np.tile(np.array([1.0, 0.0, 0.0, 0.0], dtype=np.float32), (count, 1)),
            batched_positions=np.zeros((count, 3), dtype=np.float32), batched_colors=colour,
            opacity=SKIN_OPACITY if layer == "skin" else None, cast_shadow=False, receive_shadow=False,
        )  # fmt: skip

    def _muscle_lines(self) -> Any:
        if not any(len(take.person.segments) for take in self.takes):
            return None
        points, colours = self._muscle_arrays([0] * len(self.takes))
        node = self.server.scene.add_line_segments("/muscles", points, colours, thickness=MUSCLE_M)
        self.layers["muscles"].append(node)
        return node

    def _balance(self) -> tuple[Any, Any, Any, Any]:
        scene, count = self.server.scene, len(self.takes)
        arrows = None
        if any(take.pushing.any() for take in self.takes):
            arrows = scene.add_arrows(
                "/ground_forces", np.zeros((1, 2, 3), dtype=np.float32), linear(FORCE), shaft_radius=0.009,
                head_radius=0.024, head_length=0.07,
            )  # fmt: skip
            self.layers["forces"].append(arrows)
        ball, disc = (
            scene.add_batched_meshes_simple(
                f"/mass_centre/{name}", *surface, lod="off", cast_shadow=False, receive_shadow=False,
                batched_wxyzs=np.tile(np.array([1.0, 0.0, 0.0, 0.0], dtype=np.float32), (count, 1)),
                batched_positions=np.zeros((count, 3), dtype=np.float32),
                batched_colors=linear(CENTRE),
            )
            for name, surface in (("ball", sphere(CENTRE_M)), ("projection", sphere(0.018, flat=0.15)))
        )  # fmt: skip
        points, colours = self._balance_arrays([0] * count)
        lines = scene.add_line_segments("/mass_centre/support", points, colours, thickness=LINE_M)
        self.layers["balance"] += [ball, disc, lines]
        return arrows, ball, disc, lines

    def _titles(self) -> None:
        for i, (take, offset) in enumerate(zip(self.takes, self.offsets, strict=True)):
            raised = 0.16 * i if self.overlaid else 0.0
            text = f"{take.title}: {take.verdict}" if take.verdict else take.title
            place = offset + np.array([0.0, take.top + raised, 0.0])
            size = 1.0 if len(self.takes) <= 5 else 0.8
            self.layers["titles"].append(
                self.server.scene.add_label(
                    f"/titles/{i}", text, position=tuple(place), anchor="bottom-center", font_screen_scale=size
                )
            )

    def _move_bodies(self, at: list[int]) -> None:
        for group in self._groups:
            person = self.takes[group.takes[0]].person
            rotation = np.stack([self.takes[i].rotation[at[i]] for i in group.takes])
            position = np.stack([self.takes[i].position[at[i]] + self.offsets[i] for i in group.takes])
            turns = quaternions(rotation)
            if self.step_m is not None:
                turns = np.round(turns / SMALLEST_TURN) * SMALLEST_TURN
            turns = turns.astype(np.float32)
            places = self._rounded(position).astype(np.float32)
            for _, body, node in group.nodes:
                b = person.skeleton.bodies.index(body)
                node.batched_positions, node.batched_wxyzs = places[:, b], turns[:, b]

    def _move_muscles(self, at: list[int]) -> None:
        if self._muscles is not None:
            points, colours = self._muscle_arrays(at)
            self._muscles.points, self._muscles.colors = points, colours

    def _muscle_arrays(self, at: list[int]) -> tuple[np.ndarray, np.ndarray]:
        points, colours = [], []
        for take, offset, k in zip(self.takes, self.offsets, at, strict=True):
            pairs = take.person.segments
            points.append(take.muscle_points[k][pairs] + offset)
            colours.append(linear(_muscle_colours(take, k))[take.person.paths.muscle[pairs]])
        return self._rounded(np.concatenate(points)).astype(np.float32), np.concatenate(colours)

    def _move_balance(self, at: list[int]) -> None:
        com = np.stack([take.com[k] + o for take, o, k in zip(self.takes, self.offsets, at, strict=True)])
        self._centres.batched_positions = self._rounded(com).astype(np.float32)
        self._projections.batched_positions = self._rounded(com * (1.0, 0.0, 1.0)).astype(np.float32)
        self._lines.points, self._lines.colors = self._balance_arrays(at)
        if self._forces is not None:
            arrows = [
                take.arrows[k][take.pushing[k]] + o for take, o, k in zip(self.takes, self.offsets, at, strict=True)
            ]
            drawn = self._rounded(np.concatenate(arrows)).astype(np.float32)
            self._forces.points = drawn if len(drawn) else np.full((1, 2, 3), (0.0, -9.0, 0.0), dtype=np.float32)

    def _balance_arrays(self, at: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Edges of the bases of support, and a line from every mass centre down to the ground."""
        points, colours = [], []
        for take, offset, k in zip(self.takes, self.offsets, at, strict=True):
            com = take.com[k]
            lines = np.array([[com, com * (1.0, 0.0, 1.0)]])
            colour = CENTRE
            if take.support is not None:
                corners = take.support.corners[k] + (0.0, 0.004, 0.0)
                edges = np.stack([corners, np.roll(corners, -1, axis=0)], axis=1)
                lines = np.concatenate([lines, edges])
                colour = BALANCED if take.support.balanced[k] else FALLING
            points.append(lines + offset)
            colours.append(np.broadcast_to(linear(colour), lines.shape))
        return self._rounded(np.concatenate(points)).astype(np.float32), np.concatenate(colours)


def _muscle_colours(take: Take, frame: int) -> np.ndarray:
    """(M, 3), in steps of a sixty-fourth of full activation."""
    if take.activations is None:
        return np.tile(np.array(UNKNOWN, dtype=np.uint8), (len(take.person.paths.muscles), 1))
    found = take.activations[frame]
    known = np.isfinite(found)
    colours = activation_colours(np.round(np.where(known, found, 0.0) * 64.0) / 64.0)
    return np.where(known[:, None], colours, np.array(UNKNOWN, dtype=np.uint8))


def sphere(radius: float, flat: float = 1.0) -> tuple[Float[np.ndarray, "vertex 3"], np.ndarray]:
    """A ball, or a disc that is `flat` times as high as it is broad: rings around Y."""
    turn = np.linspace(-0.49, 0.49, 7) * np.pi
    centres = radius * flat * np.sin(turn)[:, None] * np.array([0.0, 1.0, 0.0])
    widths = radius * np.cos(turn)[:, None] * np.ones(2)
    vertices, faces = loft(centres, widths, np.array([1.0, 0.0, 0.0]))
    return vertices.astype(np.float32), faces.astype(np.uint32)
