"""A live view: the scene on a server of this machine, with a clock, controls, and curves that follow it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from bige_opensim.viewer.stage import LAYERS, Stage, loopback_server, stopped
from bige_opensim.viewer.take import Take

SPEEDS = ("0.1", "0.25", "0.5", "1", "2")
KINDS = {"muscle": "Muscles", "joint": "Joints", "moment": "Joint moments", "force": "Ground forces"}
CONTROLS_HZ = 8.0
"""How often the slider and the curves follow the scene; people read them more slowly than they see motion."""
LAYER_WORDS = {
    "skin": "Body", "bones": "Bones", "muscles": "Muscles", "forces": "Ground forces",
    "balance": "Mass centre and base of support", "titles": "Titles",
}  # fmt: skip
ALL = "all motions"


class Player:
    """Takes in a browser, played in real time until `stop`.

    It can be reached from this machine alone, at `url`. Nothing of it is kept.
    """

    def __init__(
        self, takes: Sequence[Take], *, overlaid: bool = False, port: int = 0, title: str = "bige view"
    ) -> None:
        self.takes = list(takes)
        self.rate_hz = takes[0].rate_hz
        self.server = loopback_server(port, title)
        self.shown = list(range(len(takes)))
        self.overlaid = overlaid
        self.playing, self.speed, self.time = True, 1.0, 0.0
        self._lock, self._stopped = threading.RLock(), threading.Event()
        self.stage = Stage(self.server, takes, overlaid=overlaid)
        self._controls()
        self._curves = CurvePanel(self)
        self._clock = threading.Thread(target=self._run, name="bige-view", daemon=True)
        self._clock.start()

    @property
    def url(self) -> str:
        """Where a browser of this machine finds it."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    @property
    def duration(self) -> float:
        """Of the longest motion, s."""
        return max(take.duration for take in self.takes)

    def seek(self, time_s: float) -> None:
        """Show a time, s."""
        with self._lock:
            self.time = float(np.clip(time_s, 0.0, self.duration))
            self.stage.show(round(self.time * self.rate_hz))

    def wait(self) -> None:
        """Return when the view is stopped, by `stop` or from the keyboard."""
        try:
            while not self._stopped.wait(0.5):
                pass
        except KeyboardInterrupt:
            self.stop()

    def stop(self) -> None:
        """Close the server."""
        if not self._stopped.is_set():
            self._stopped.set()
            if threading.current_thread() is not self._clock:
                self._clock.join(timeout=5.0)
            stopped(self.server)

    def __repr__(self) -> str:
        return f"<View of {len(self.takes)} motion(s) at {self.url}>"

    def _controls(self) -> None:
        gui = self.server.gui
        self._button = gui.add_button("Pause")
        self._slider: Any = gui.add_slider(
            "Time (s)", min=0.0, max=round(max(self.duration, 0.01), 2), step=0.01, initial_value=0.0
        )
        speed = gui.add_dropdown("Speed", SPEEDS, initial_value="1")
        with gui.add_folder("Shown", expand_by_default=False):
            if len(self.takes) > 1:
                self._arrangement()
            for layer in LAYERS:
                self._layer_switch(layer)

        @self._button.on_click
        def _(_: Any) -> None:
            self.playing = not self.playing
            self._button.label = "Pause" if self.playing else "Play"

        @self._slider.on_update
        def _(event: Any) -> None:
            if event.client is not None:  # moved by a person, not by the clock
                self.playing = False
                self._button.label = "Play"
                self.seek(self._slider.value)
                self._curves.follow()

        @speed.on_update
        def _(_: Any) -> None:
            self.speed = float(speed.value)

    def _arrangement(self) -> None:
        gui = self.server.gui
        names = [f"{i + 1}. {take.title}" for i, take in enumerate(self.takes)]
        placed = gui.add_dropdown(
            "Place", ("side by side", "overlaid"), initial_value="overlaid" if self.overlaid else "side by side"
        )
        which = gui.add_dropdown("Motion", (ALL, *names), initial_value=ALL)

        def arrange(_: Any) -> None:
            self.overlaid = placed.value == "overlaid"
            self.shown = list(range(len(self.takes))) if which.value == ALL else [names.index(which.value)]
            self._restage()

        placed.on_update(arrange)
        which.on_update(arrange)

    def _layer_switch(self, layer: str) -> None:
        box = self.server.gui.add_checkbox(LAYER_WORDS[layer], initial_value=True)
        self._switches: dict[str, Any] = {**getattr(self, "_switches", {}), layer: box}

        @box.on_update
        def _(_: Any) -> None:
            self.stage.set_visible(layer, box.value)

    def _restage(self) -> None:
        with self._lock:
            chosen = [self.takes[i] for i in self.shown]
            self.stage = Stage(self.server, chosen, overlaid=self.overlaid)
            for layer, box in self._switches.items():
                self.stage.set_visible(layer, box.value)
            self.stage.show(round(self.time * self.rate_hz))
        self._curves.draw()

    def _run(self) -> None:
        """Show frames at the display's rate; those that cannot be sent in time are left out, so that time is right."""
        before = followed = time.perf_counter()
        while not self._stopped.wait(max(0.0, before + 1.0 / self.rate_hz - time.perf_counter())):
            now = time.perf_counter()
            passed, before = now - before, now
            if not self.playing:
                continue
            length = self.duration + 1.0 / self.rate_hz
            self.seek((self.time + passed * self.speed) % length)
            if now - followed > 1.0 / CONTROLS_HZ:
                followed = now
                self._slider.value = round(self.time, 2)
                self._curves.follow()


class CurvePanel:
    """Curves of one channel of all motions that are shown, with a line at the time of the scene."""

    def __init__(self, player: Player) -> None:
        self.player = player
        gui = player.server.gui
        self.by_kind = channels_by_kind(player.takes)
        with gui.add_folder("Curves"):
            self.kind = gui.add_dropdown("Of", tuple(KINDS[k] for k in self.by_kind))
            self.channel: Any = gui.add_dropdown("Which", self._names())
            self.plot: Any = None
            self.draw()
        self.kind.on_update(self._kind_chosen)
        self.channel.on_update(lambda _: self.draw())

    def _names(self) -> tuple[str, ...]:
        kind = next(k for k, word in KINDS.items() if word == self.kind.value)
        return self.by_kind[kind]

    def _kind_chosen(self, _: Any) -> None:
        names = self._names()
        self.channel.options = names
        self.channel.value = names[0]
        self.draw()

    def draw(self) -> None:
        """Draw the chosen channel anew."""
        takes = [self.player.takes[i] for i in self.player.shown]
        self.rows = CurveRows(takes, str(self.channel.value))
        data, series = self.rows.at(self.player.time), self.rows.series
        scales: Any = {"x": {"time": False}, "y": {"auto": False, "range": self.rows.range}}
        axes: Any = ({"label": "time (s)"}, {"label": self.rows.unit})
        if self.plot is None:
            self.plot = self.player.server.gui.add_uplot(
                data, series, scales=scales, axes=axes, legend={"show": len(takes) <= 8}, aspect=1.5
            )
        else:
            with self.player.server.atomic():
                self.plot.series, self.plot.scales, self.plot.axes = series, scales, axes
                self.plot.legend = {"show": len(takes) <= 8}
                self.plot.data = data

    def follow(self) -> None:
        """Move the line to the time of the scene."""
        self.plot.data = self.rows.at(self.player.time)


class CurveRows:
    """The rows of a plot: time, a curve per motion, and a line at one time, as a spike between equal times."""

    def __init__(self, takes: Sequence[Take], channel: str) -> None:
        having = [take for take in takes if channel in take.curves]
        frames, rate = max(take.frames for take in takes), takes[0].rate_hz
        self.unit = having[0].curves[channel].unit if having else ""
        self.time = np.arange(frames) / rate
        held = [np.minimum(np.arange(frames), take.frames - 1) for take in having]
        self.curves = [take.curves[channel].values[at] for take, at in zip(having, held, strict=True)]
        low = min((float(c.min()) for c in self.curves), default=0.0)
        high = max((float(c.max()) for c in self.curves), default=1.0)
        room = 0.05 * (high - low) or 0.5
        self.range = (low - room, high + room)
        self.series: Any = (
            {"label": "time (s)"},
            *({"label": t.title, "stroke": colour(i), "width": 2} for i, t in enumerate(having)),
            {"label": "now", "stroke": "#444", "width": 1},
        )

    def at(self, time_s: float) -> tuple[np.ndarray, ...]:
        """All rows with the line at a time, s."""
        k = int(np.clip(round(time_s / (self.time[1] - self.time[0])), 0, len(self.time) - 1))
        at = np.insert(np.arange(len(self.time)), k, [k, k])
        line = np.full(len(at), self.range[0])
        line[k + 1] = self.range[1]
        return (self.time[at], *(curve[at] for curve in self.curves), line)


def colour(i: int) -> str:
    """A colour of its own for every motion, by the golden angle; that of the curves in files."""
    return f"hsl({(210 + 137.5 * i) % 360:g}, 65%, 42%)"


def channels_by_kind(takes: Sequence[Take]) -> dict[str, tuple[str, ...]]:
    """Names of the channels that any take has, by kind, in the order of the kinds."""
    found: dict[str, dict[str, None]] = {kind: {} for kind in KINDS}
    for take in takes:
        for name, curve in take.curves.items():
            found[curve.kind][name] = None
    return {kind: tuple(names) for kind, names in found.items() if names}
