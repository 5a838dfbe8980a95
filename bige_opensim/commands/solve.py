"""A laboratory's own setup files: `bige solve`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bige_opensim.commands.display import console, fail
from bige_opensim.commands.label_options import CostOptions


def solve(
    setup: Path,
    /,
    *,
    out: Path,
    geometry: Literal["auto", "polynomial", "exact"] = "auto",
    audit: int = 10,
    units: Literal["degrees", "radians"] | None = None,
    cost: CostOptions = CostOptions(),
) -> int:
    """Solve the static optimization of a laboratory's AnalyzeTool setup, and write what OpenSim would.

    Parameters
    ----------
    setup
        The setup file of an AnalyzeTool with one StaticOptimization; its paths are relative to its folder.
    out
        Where OpenSim's result files go, under OpenSim's names; the setup's results_directory is not used.
    geometry
        Muscle paths: OpenSim's own, polynomials fitted to them, or what is sooner done.
    audit
        Number of frames that OpenSim solves again for comparison; 0 for none.
    units
        Unit of the rotations, whatever the file's header says.

    """
    if out.exists() and not out.is_dir():
        return fail(f"{out}: this is a file; name a folder for the results.")
    from bige_opensim.physics.effort_cost import parse_weights
    from bige_opensim.workflows.solve import SetupErrors
    from bige_opensim.workflows.solve import solve as solve_setup

    try:
        solved = solve_setup(
            setup,
            out=out,
            geometry=geometry,
            audit=audit,
            units=units,
            exponent=cost.exponent,
            weights=parse_weights(cost.weight),
            volume_weighted=cost.volume_weighted,
            passive=cost.passive,
        )
    except SetupErrors as error:
        return fail(str(error))
    for note in solved.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    console.print(solved.summary, markup=False, highlight=False, soft_wrap=True)
    return 0 if solved.solved.any() else 1
