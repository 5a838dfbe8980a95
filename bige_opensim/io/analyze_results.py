"""Result files of OpenSim's StaticOptimization, as AnalyzeTool writes them: activations, forces and controls."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
from jaxtyping import Float

from bige_opensim.io.storage import write_whole

PAD = 8
ACTIVATION_TITLE, FORCE_TITLE = "Static Optimization", "ModelForces"
ACTIVATION_TEXT = "This file contains static optimization results.\n\n"
FORCE_TEXT = """
This file contains the forces exerted on a model during a simulation.

A force is a generalized force, meaning that it can be either a force (N) or a torque (Nm).

Units are S.I. units (second, meters, Newtons, ...)
If the header above contains a line with 'inDegrees', this indicates whether rotational values are in degrees (yes) or radians (no).

"""  # noqa: E501


def write_result(
    path: Path,
    title: str,
    text: str,
    time: Float[np.ndarray, " time"],
    names: Sequence[str],
    values: Float[np.ndarray, "time column"],
    precision: int,
) -> None:
    """Write a result storage, whole or not at all: fixed point, `precision` digits in precision + 8 characters.

    One row is enough, and names may repeat, as in OpenSim's own files (two CoordinateLimitForces both report a
    PotentialEnergy).
    """
    width = precision + PAD
    header = [title, "version=1", f"nRows={len(time)}", f"nColumns={1 + len(names)}", "inDegrees=no"]
    line = "\t".join([f"%{width}.{precision}f"] * (1 + len(names)))
    rows = [line % tuple(row) for row in np.column_stack([time, values]).tolist()]
    write_whole(path, "\n".join([*header, f"{text}endheader", "\t".join(["time", *names]), *rows, ""]))


def write_controls(
    path: Path,
    time: Float[np.ndarray, " time"],
    names: Sequence[str],
    values: Float[np.ndarray, "time control"],
    version: str,
) -> None:
    """Write controls over time as a ControlSet document of piecewise linear controls (OpenSim ControlLinear)."""
    parts = [f'<?xml version="1.0" encoding="UTF-8" ?>\n<OpenSimDocument Version="{version}">\n']
    parts.append('\t<ControlSet name="Control Set">\n\t\t<objects>\n')
    for name, column in zip(names, values.T.tolist(), strict=True):
        parts.append(f"\t\t\t<ControlLinear name={quoteattr(name)}>\n{_BEFORE_NODES}")
        parts.extend(_NODE % pair for pair in zip(time.tolist(), column, strict=True))
        parts.append(_AFTER_NODES)
    parts.append("\t\t</objects>\n\t\t<groups />\n\t</ControlSet>\n</OpenSimDocument>\n")
    write_whole(path, "".join(parts))


_BEFORE_NODES = """\t\t\t\t<is_model_control>true</is_model_control>
\t\t\t\t<extrapolate>true</extrapolate>
\t\t\t\t<default_min>0.02</default_min>
\t\t\t\t<default_max>1</default_max>
\t\t\t\t<filter_on>false</filter_on>
\t\t\t\t<use_steps>false</use_steps>
\t\t\t\t<x_nodes>
"""
_NODE = """\t\t\t\t\t<ControlLinearNode>
\t\t\t\t\t\t<t>%.17g</t>
\t\t\t\t\t\t<value>%.17g</value>
\t\t\t\t\t</ControlLinearNode>
"""
_AFTER_NODES = """\t\t\t\t</x_nodes>
\t\t\t\t<min_nodes />
\t\t\t\t<max_nodes />
\t\t\t\t<kp>100</kp>
\t\t\t\t<kv>20</kv>
\t\t\t</ControlLinear>
"""
