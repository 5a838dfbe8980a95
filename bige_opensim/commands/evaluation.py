"""Motions measured against recordings: `bige evaluate`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from bige_opensim.commands.display import console, fail

WIDTH = 180
"""Of tables that go to a file."""


def evaluate(*sets: str, reference: Path, out: Path, models: tuple[Path, ...] = ()) -> int:
    """Measure motions against recordings, beside controls that say which of the metrics mean something.

    Parameters
    ----------
    sets
        Sets of motions by name, NAME=MOTIONS: folders that `bige generate` wrote, or datasets. Sets of the same name
        are runs of one method.
    reference
        Dataset of repetitions. Its training people are the reference; those held out are a row of their own.
    out
        Folder for the tables: evaluation.csv, coordinates.csv, evaluation.tex, evaluation.png, evaluation.json.
    models
        Folder with the models of the recorded people, at any depth; contact and joint limits of recordings need them.

    """
    from bige_opensim.io.partial_folders import OutFolderError
    from bige_opensim.learning.dataset import DatasetError
    from bige_opensim.osim.model import ModelError
    from bige_opensim.validation.evaluation import HONEST, LEGACY
    from bige_opensim.validation.evaluation_files import CAPTIONS, EXPLANATION, table_lines
    from bige_opensim.validation.motion_set import MotionSetError
    from bige_opensim.workflows.evaluate import evaluate as run

    pairs = [text.partition("=") for text in sets]
    wrong = [text for text, (name, _, path) in zip(sets, pairs, strict=True) if not name or not path]
    if wrong:
        return fail(f"{', '.join(wrong)}: expected NAME=MOTIONS, such as guided=motions.")
    motions = {name: [Path(path) for other, _, path in pairs if other == name] for name, _, _ in pairs}
    try:
        found = run(reference, motions, out, models=models, report=lambda name: console.print(f"measuring {name}"))
    except (MotionSetError, DatasetError, OutFolderError, ModelError) as problem:
        return fail(str(problem))
    for group in (HONEST, LEGACY):
        header, lines = table_lines(found, group)
        table = Table(*header, title=CAPTIONS[group])
        for line in lines:
            table.add_row(*line)
        (console if console.is_terminal else Console(width=WIDTH)).print(table)
    for note in (EXPLANATION, *found.notes, f"See {out}."):
        console.print(note, markup=False, highlight=False, soft_wrap=True)
    return 0
