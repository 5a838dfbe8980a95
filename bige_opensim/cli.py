"""The command line: `bige COMMAND`. Thin: assembles the commands; the work is done in the rooms."""

from __future__ import annotations

import logging
import sys
import warnings

from cyclopts import App

import bige_opensim
from bige_opensim.commands.checks import doctor, info
from bige_opensim.commands.comparison import compare
from bige_opensim.commands.display import explained, fail, show_warning
from bige_opensim.commands.evaluation import evaluate
from bige_opensim.commands.labels import label
from bige_opensim.commands.markers import ik, import_ui_prmd
from bige_opensim.commands.motions import generate, report, validate
from bige_opensim.commands.networks import dataset, train_generator, train_surrogate
from bige_opensim.commands.objectives import check_objective, list_objectives
from bige_opensim.commands.people import scale, synth
from bige_opensim.commands.pipelines import demo, run
from bige_opensim.commands.solve import solve
from bige_opensim.commands.viewing import view

app = App(name="bige", help="Exercise motions that OpenSim confirms.", version=bige_opensim.__version__)
train = App(name="train", help="Train a network on a dataset of repetitions.")
train.command(train_surrogate, name="surrogate")
train.command(train_generator, name="generator")
imports = App(name="import", help="Bring public recordings into the layout of OpenCap sessions.")
imports.command(import_ui_prmd, name="ui-prmd")
objective = App(name="objective", help="What to ask of motions: objectives that come with the package, and checks.")
objective.command(list_objectives, name="list")
objective.command(check_objective, name="check")

FILES, LABELS = (info, doctor), (scale, synth, imports, ik, label, solve, compare)
MOTIONS, WHOLE = (dataset, train, objective, generate, validate, evaluate, report, view), (demo, run)
for command in (*FILES, *LABELS, *MOTIONS, *WHOLE):
    app.command(command)


def main() -> None:
    """Run the command line and exit with its status."""
    warnings.filterwarnings("ignore", message="enable_nested_tensor")
    warnings.showwarning = show_warning
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # dask leaves waits behind when it closes
    try:
        sys.exit(app(result_action="return_value") or 0)
    except OSError as error:
        sys.exit(fail(explained(error)))


if __name__ == "__main__":
    main()
