"""The setup by which OpenSim's own AnalyzeTool computes the joint loads of a label."""

from __future__ import annotations

from pathlib import Path

import opensim

from bige_opensim.osim.static_optimization import RESULT_NAME, write_tool

JOINT_REACTION = "setup_joint_reaction.xml"
MUSCLE_FORCES = f"{RESULT_NAME}_StaticOptimization_force.sto"


def write_joint_reaction_setup(
    folder: Path, model_file: str, coordinates_file: str, external_loads_file: str | None, *, start: float, end: float
) -> Path:
    """Write the setup of a JointReaction analysis of all joints, on the child, in ground; paths are relative.

    The forces are those that `setup_static_optimization.xml` writes into the same folder: that one is run first.
    Coordinates come filtered: the tool's own filter is off.
    """
    analysis = opensim.JointReaction()
    analysis.setName("JointReaction")
    analysis.setStartTime(start)
    analysis.setEndTime(end)
    analysis.setForcesFileName(MUSCLE_FORCES)
    analysis.setInFrame(_words("ground"))
    analysis.setOnBody(_words("child"))
    return write_tool(
        folder / JOINT_REACTION, "joint_loads", analysis, model_file, coordinates_file, external_loads_file
    )


def _words(word: str) -> opensim.ArrayStr:
    return opensim.ArrayStr(word, 1)
