"""The command line: `bige COMMAND`. Thin: assembles the commands; the work is done in the rooms."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable

from cyclopts import App, CycloptsError, Group
from rich.console import Console
from rich.markup import escape

from bige_opensim.commands.checks import doctor, info
from bige_opensim.commands.comparison import compare
from bige_opensim.commands.display import explained, fail, show_warning
from bige_opensim.commands.editing import edit
from bige_opensim.commands.evaluation import evaluate
from bige_opensim.commands.examples import EXAMPLES
from bige_opensim.commands.exporting import export
from bige_opensim.commands.labels import label
from bige_opensim.commands.markers import ik, import_ui_prmd
from bige_opensim.commands.motions import generate, report, validate
from bige_opensim.commands.networks import (
    dataset,
    draw,
    predict,
    train_diffusion,
    train_generator,
    train_prior,
    train_surrogate,
)
from bige_opensim.commands.norms import norms
from bige_opensim.commands.objectives import check_objective, list_objectives
from bige_opensim.commands.people import scale, synth
from bige_opensim.commands.pipelines import demo, run
from bige_opensim.commands.serving import serve
from bige_opensim.commands.solve import solve
from bige_opensim.commands.viewing import view
from bige_opensim.provenance import __version__
from bige_opensim.workers.kept_memory import keep_freed_memory

GROUPS: dict[str, dict[str, Callable[..., int | None] | dict[str, Callable[..., int | None]]]] = {
    "Prepare recordings": {
        "doctor": doctor,
        "scale": scale,
        "ik": ik,
        "import": {"ui-prmd": import_ui_prmd},
        "synth": synth,
    },
    "Label": {"label": label, "solve": solve, "compare": compare, "norms": norms},
    "Learn": {
        "dataset": dataset,
        "train": {
            "surrogate": train_surrogate,
            "generator": train_generator,
            "prior": train_prior,
            "diffusion": train_diffusion,
        },
        "draw": draw,
        "predict": predict,
        "evaluate": evaluate,
    },
    "Search and verify": {
        "objective": {"list": list_objectives, "check": check_objective},
        "generate": generate,
        "edit": edit,
        "validate": validate,
    },
    "Look and share": {"serve": serve, "report": report, "view": view, "export": export},
    "All in one": {"demo": demo, "run": run},
    "This installation": {"info": info},
}
"""What the command line can do, by what a user is about to do."""
PARENTS = {
    "import": "Bring public recordings into the layout of OpenCap sessions.",
    "train": "Train a network on a dataset of repetitions.",
    "objective": "What to ask of motions: objectives that come with the package, and checks.",
}
EXIT_STATUS = "Exit status: 0 done; 1 not done, or something was found wrong; 2 the command line was not understood."


def build() -> App:
    """The command line with its groups, examples and suggestions."""
    made = App(
        name="bige",
        help="Exercise motions that OpenSim confirms.",
        help_epilogue=f"`bige COMMAND --help` explains a command. {EXIT_STATUS}",
        version=__version__,
        error_console=Console(stderr=True, soft_wrap=True, highlight=False),
        error_formatter=misunderstood,
    )
    for title, commands in GROUPS.items():
        group = Group.create_ordered(title)
        for name, command in commands.items():
            if callable(command):
                made.command(command, name=name, group=group, help_epilogue=example(name))
                continue
            examples = example(*(f"{name} {sub}" for sub in command))
            parent = App(name=name, help=PARENTS[name], help_epilogue=examples, group=group)
            for sub, function in command.items():
                parent.command(function, name=sub, help_epilogue=example(f"{name} {sub}"))
            made.command(parent)
    made.register_install_completion_command(group=group, help="Have the shell complete commands and options.")
    for flag in (*made.help_flags, *made.version_flags):
        made[flag].group = group
    return made


def example(*commands: str) -> str:
    """The end of a command's help."""
    lines = [line for command in commands for line in EXAMPLES[command]]
    return f"Example{'s' * (len(lines) > 1)}:\n\n" + "\n".join(f"    {line}" for line in lines)


def misunderstood(error: CycloptsError) -> str:
    """One line on what was not understood, as all failures end with."""
    return f"bige: {escape(' '.join(str(error).split()))}"


app = build()


def main() -> None:
    """Run the command line and exit with its status."""
    keep_freed_memory()
    warnings.filterwarnings("ignore", message="enable_nested_tensor")
    warnings.showwarning = show_warning
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # dask leaves waits behind when it closes
    try:
        sys.exit(app(result_action="return_value") or 0)
    except BrokenPipeError:  # who reads has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        sys.exit(fail(explained(error)))


if __name__ == "__main__":
    main()
