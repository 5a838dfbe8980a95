"""A laboratory's own setup files: `bige solve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from bige_opensim.commands.display import console, fail


def solve(
    setup: Path,
    /,
    *,
    out: Path,
    geometry: Literal["auto", "polynomial", "exact"] = "auto",
    audit: int = 10,
    units: Literal["degrees", "radians"] | None = None,
    exponent: float | None = None,
    weight: Annotated[list[str] | None, Parameter(negative=())] = None,
    volume_weighted: Annotated[bool, Parameter(negative=())] = False,
    passive: Annotated[bool, Parameter(negative=())] = False,
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
    exponent
        Exponent of activations and reserves in the cost, in place of the setup's.
    weight
        Weight of a muscle, a pattern or a group in the cost, such as vas*_r=2; can be given several times.
    volume_weighted
        Weight muscles by their volume.
    passive
        Let passive fibre forces act, which OpenSim's static optimization leaves out.

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
            exponent=exponent,
            weights=parse_weights(weight or []),
            volume_weighted=volume_weighted,
            passive=passive,
        )
    except SetupErrors as error:
        return fail(str(error))
    for note in solved.notes:
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    console.print(solved.summary, markup=False, highlight=False, soft_wrap=True)
    return 0 if solved.solved.any() else 1
