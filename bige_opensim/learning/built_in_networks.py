"""The networks that come with the package: where their checkpoints are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from bige_opensim.learning.checkpoint import CheckpointError, is_checkpoint

FOLDER = Path(__file__).resolve().parents[1] / "networks"


def built_in_network(kind: Literal["surrogate", "generator"]) -> Path:
    """Checkpoint folder of the surrogate or generator that was trained on public data; its `card.md` says how.

    Raises
    ------
    CheckpointError
        The package came without it.

    """
    folder = FOLDER / kind
    if not is_checkpoint(folder):
        raise CheckpointError(
            f"{folder}: this installation has no built-in {kind}. Install the package again, or name a {kind} that "
            f"`bige train {kind}` wrote."
        )
    return folder
