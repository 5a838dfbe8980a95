"""What to ask for: `bige objective list`, `bige objective check`."""

from __future__ import annotations

from pathlib import Path

from bige_opensim.commands.display import console, fail


def list_objectives() -> int:
    """List the objectives that come with the package: their names, what they are for, where their numbers come from."""
    from bige_opensim.guidance.objective import Objective
    from bige_opensim.workflows.objectives import objectives

    for name, path in objectives().items():
        objective = Objective.load(path)
        console.print(f"{name}: {objective.name}", style="bold", markup=False, highlight=False)
        console.print(f"  {objective.description}", markup=False, highlight=False, soft_wrap=True)
    console.print(
        "Use one by its name (--objective deep_squat), or copy its file and change it: "
        f"{next(iter(objectives().values())).parent}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return 0


def check_objective(objective: str, /, *, model: Path | None = None) -> int:
    """Say in words what an objective asks for, or what is wrong with it.

    Parameters
    ----------
    objective
        Objective file (TOML), or the name of one that comes with the package.
    model
        The person's model, against which names and bounds are held; by default the package's own.

    """
    from bige_opensim.guidance.language import ObjectiveError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.workflows.objectives import check_objective as check

    try:
        found = check(objective, model=model)
    except (ObjectiveError, ModelError) as error:
        return fail(str(error))
    lines = [found.name, *([found.description] if found.description else [])]
    for t in found.terms:
        kind = "must" if t.required else f"wish, weight {t.weight:g}"
        lines.append(f"- {t.measures}: {t.asks} ({kind}; '{t.name}')")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0
