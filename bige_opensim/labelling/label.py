"""What was found for one motion: ground forces, joint moments and activations, with the verdict on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bige_opensim.labelling.quality_gates import Gate
from bige_opensim.motion import Motion

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


class LabelError(ValueError):
    """A folder that holds no label, or a channel that a label does not have."""


@dataclass(frozen=True, eq=False)
class LabelChannels:
    """The curves of a label, in rad, m, s, N and N·m.

    coordinates: every coordinate of the model over the whole recording, as it was analysed; speeds: their derivatives
    in the labelled frames, per s; activations: by muscle; moments: net generalized forces, named as OpenSim's inverse
    dynamics names them; ground_forces: as in `grf.mot`, None where the ground does nothing; joint_loads: as in
    `joint_loads.sto`, None where the model has none of these joints, and in labels of earlier versions; bands: of
    activations, moments, ground_forces and joint_loads where they were asked for (`uncertainty`), empty without.
    """

    coordinates: Motion
    speeds: Motion
    activations: Motion
    moments: Motion
    ground_forces: Motion | None
    joint_loads: Motion | None = None
    bands: Mapping[str, Motion] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, repr=False)
class Label:
    """Ground forces, joint moments and muscle activations of one motion, in memory.

    Attributes
    ----------
    record
        What `label.json` holds: verdict, gates, notes, provenance.
    channels
        The curves as `Motion`; the properties below give them as tables.
    joints
        The joint of every coordinate, by name.
    rotational
        Coordinates that are angles: rad here, degrees in files.
    model
        The file of the model that OpenSim's static optimization runs on; None where a folder came without it.
    adjusted_model
        The file of the person's model as residual reduction corrected it, with what is carried; None where it did not.
    loaded_model
        The file of the person's model with what is carried; None where nothing is.

    """

    record: Mapping[str, Any]
    channels: LabelChannels
    joints: Mapping[str, str]
    rotational: frozenset[str]
    model: bytes | None
    adjusted_model: bytes | None = None
    loaded_model: bytes | None = None

    @property
    def trial(self) -> str:
        """Name of the trial."""
        return str(self.record["trial"])

    @property
    def session(self) -> str:
        """Name of the session."""
        return str(self.record["session"])

    @property
    def subject(self) -> str:
        """Who moves."""
        return str(self.record["subject"])

    @property
    def passed(self) -> bool:
        """Whether all quality gates are passed."""
        return self.record["status"] == "passed"

    @property
    def reason(self) -> str:
        """Why it passed or did not, in one sentence."""
        return str(self.record["reason"])

    @cached_property
    def gates(self) -> dict[str, Gate]:
        """Quality gates by name: value, limit, unit, remedy, passed."""
        return {name: Gate.from_dict(gate) for name, gate in self.record["gates"].items()}

    @cached_property
    def activations(self) -> pd.DataFrame:
        """Muscle activations, 0 to 1; index time in s, a column per muscle."""
        return self.channels.activations.to_frame()

    @cached_property
    def moments(self) -> pd.DataFrame:
        """Net joint moments (N·m, `knee_angle_r_moment`) and forces (N, `pelvis_tx_force`); index time in s."""
        return self.channels.moments.to_frame()

    @cached_property
    def ground_forces(self) -> pd.DataFrame:
        """Force on each foot (N), its point (m), free torque (N·m) in ground axes; without columns where nothing acts.

        Columns are those of `grf.mot`: `ground_force_r_vx`, `ground_force_r_px`, `ground_torque_r_x` and so on.
        """
        import pandas as pd

        found = self.channels.ground_forces
        return found.to_frame() if found is not None else pd.DataFrame(index=self.activations.index)

    @cached_property
    def joint_loads(self) -> pd.DataFrame:
        """Contact forces at hip, knee (tibiofemoral), patellofemoral joint and ankle, both sides; index time in s.

        `knee_r_fx`, `knee_r_fy`, `knee_r_fz` (N): force of the proximal on the distal bone in the distal bone's axes (y
        along the bone, so that compression is negative), as OpenSim's JointReaction has it on child, in child;
        `knee_r_resultant` (N) and `knee_r_resultant_bw` (body weights): its length. Without columns where the model has
        none of these joints, and in labels of earlier versions.
        """
        import pandas as pd

        found = self.channels.joint_loads
        return found.to_frame() if found is not None else pd.DataFrame(index=self.activations.index)

    @cached_property
    def bands(self) -> dict[str, pd.DataFrame]:
        """How sure it is: 5, 50 and 95 % over draws, of "activations", "moments", "ground_forces" and "joint_loads".

        Each has three columns per channel, such as `vasmed_r_p05`, `vasmed_r_p50`, `vasmed_r_p95`; index time in s.
        Empty where no `uncertainty` was asked for.
        """
        return {name: motion.to_frame() for name, motion in self.channels.bands.items()}

    @cached_property
    def coordinates(self) -> pd.DataFrame:
        """Coordinates as they were analysed, rad and m, over the whole recording; index time in s."""
        return self.channels.coordinates.to_frame()

    def plot(self, names: Sequence[str], *, ax: Axes | None = None) -> Axes:
        """Draw channels over time: muscles, moments, ground forces, joint loads or coordinates (angles in degrees).

        Parameters
        ----------
        names
            Columns of one of the tables.
        ax
            Axes to draw into; new ones by default.

        Raises
        ------
        LabelError
            A name is no column, or the names are of different tables.

        """
        from matplotlib import pyplot

        chosen = [names] if isinstance(names, str) else list(names)
        table, title = self._table_with(chosen)
        if ax is None:
            ax = pyplot.subplots(figsize=(7.0, 3.5), layout="constrained")[1]
        for name in chosen:
            turn = np.rad2deg(1.0) if table is self.coordinates and name in self.rotational else 1.0
            (line,) = ax.plot(table.index, turn * table[name].to_numpy(), label=name)
            self._draw_band(ax, name, line)
        ax.set(xlabel="time (s)", ylabel=title, title=f"{self.session}/{self.trial}")
        ax.legend(frameon=False)
        return ax

    def _draw_band(self, ax: Axes, name: str, line: Line2D) -> None:
        """The 5 to 95 % band of a channel, where there is one."""
        for table in self.bands.values():
            if f"{name}_p05" in table:
                low, high = table[f"{name}_p05"], table[f"{name}_p95"]
                ax.fill_between(table.index, low, high, color=line.get_color(), alpha=0.25, linewidth=0)

    def _table_with(self, names: Sequence[str]) -> tuple[pd.DataFrame, str]:
        tables = {
            "activation": self.activations,
            "moment (N·m) or force (N)": self.moments,
            "ground force (N, m, N·m)": self.ground_forces,
            "joint contact force (N or body weights)": self.joint_loads,
            "coordinate (degrees or m)": self.coordinates,
        }
        for title, table in tables.items():
            if names and set(names) <= set(table.columns):
                return table, title
        known = {str(column) for table in tables.values() for column in table.columns}
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise LabelError(
                f"{', '.join(unknown) or 'nothing'}: no such channel. Muscles: {_few(self.activations)}; moments: "
                f"{_few(self.moments)}; ground forces: {_few(self.ground_forces)}; joint loads: "
                f"{_few(self.joint_loads)}; coordinates: {_few(self.coordinates)}."
            )
        raise LabelError(f"{', '.join(names)}: channels of one plot must share a unit; draw these in several.")

    def save(self, folder: Path | str) -> Path:
        """Write the label's folder, whole or not at all; returns it.

        It holds `activations.sto`, `states.sto`, `inverse_dynamics.sto`, `joint_loads.sto`, `coordinates.mot`,
        `label.json`, where the ground acts `grf.mot` and `external_loads.xml`, the setup of static
        optimization, and the model that it runs on.

        Raises
        ------
        OutFolderError
            The folder holds other files than a label.
        LabelError
            The label was read from a folder without the model that the setup needs.

        """
        from bige_opensim.labelling.label_files import save_label

        return save_label(self, Path(folder))

    @classmethod
    def load(cls, folder: Path | str) -> Label:
        """Read the folder of a label, also of one that an earlier version wrote.

        Raises
        ------
        LabelError
            The folder holds no label, or not all of its files.
        StorageError
            A file of it cannot be read.

        """
        from bige_opensim.labelling.label_files import load_label

        return load_label(Path(folder))

    def __repr__(self) -> str:
        time = self.channels.activations.time
        what = (
            f"{len(time)} frames from {time[0]:.2f} to {time[-1]:.2f} s, {len(self.channels.activations.names)} muscles"
        )
        return f"<Label {self.session}/{self.trial}: {self.record['status']}. {what}. {self.reason}>"

    def _repr_html_(self) -> str:
        rows = [
            f"<tr><td>{name}</td><td>{gate.value:.3g}</td><td>{gate.limit:g}</td><td>{gate.unit}</td>"
            f"<td>{'passed' if gate.passed else 'failed'}</td></tr>"
            for name, gate in self.gates.items()
        ]
        head = f"<b>{self.session}/{self.trial}</b>: {self.record['status'].replace('_', ' ')}. {self.reason}"
        return f"<div>{head}<table>{''.join(rows)}</table>{self._curve()}</div>"

    def _curve(self, width: int = 240, height: int = 48) -> str:
        """The activation of the muscle that works most, drawn small."""
        motion = self.channels.activations
        most = int(motion.values.max(0).argmax())
        x = np.linspace(0, width, motion.frames)
        y = height * (1.0 - motion.values[:, most])
        points = " ".join(f"{a:.0f},{b:.1f}" for a, b in zip(x, y, strict=True))
        return (
            f'<svg width="{width}" height="{height}"><polyline points="{points}" fill="none" stroke="currentColor"/>'
            f"</svg> {motion.names[most]}, 0 to 1"
        )


def _few(table: pd.DataFrame) -> str:
    names = [str(column) for column in table.columns]
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") if names else "none"
