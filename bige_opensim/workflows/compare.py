"""Activations of a label beside electromyograms."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bige_opensim.io.emg import read_emg
from bige_opensim.io.storage import read_storage
from bige_opensim.labelling.label import Label
from bige_opensim.motion import Motion
from bige_opensim.validation.electromyography import Comparison
from bige_opensim.validation.electromyography import compare as compared
from bige_opensim.validation.electromyography_files import labelled_trial, read_map, write_comparison

Channels = Mapping[str, str | Sequence[str]]
"""Muscles that channels mean: {"EMG 3": "vasmed_r"}, or several muscles for one channel."""


def compare(
    label: Label | str | os.PathLike[str],
    emg: str | os.PathLike[str],
    *,
    map: Channels | str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Compare the activations of a label with electromyograms, muscle by muscle.

    One lag within 0.25 s is sought for the whole recording, since electromyograms lead the force they announce.

    Parameters
    ----------
    label
        A label, or the folder of one labelled trial.
    emg
        Electromyograms, raw or as envelopes, on the trial's clock (.sto, .mot, .csv, or .c3d with analog channels).
    map
        Which channel is which muscle where its name does not say: {"EMG 3": "vasmed_r"}, or a TOML file of such lines.
    out
        Folder for comparison.json, comparison.csv and comparison.png; by default nothing is written.

    Returns
    -------
    Comparison
        The lag, and agreement by channel; `to_frame` is the table.

    Raises
    ------
    EmgError
        The label, the electromyograms or the map cannot be used.
    StorageError
        The label cannot be read.
    OutFolderError
        `out` holds something else.

    """
    recorded, given = Path(emg), _channels(map)
    if isinstance(label, Label):
        trial, activations = label.trial, label.channels.activations
    else:
        folder = labelled_trial(Path(label))
        table = read_storage(folder / "activations.sto")
        trial, activations = folder.name, Motion(table.time, table.values, table.names)
    found = compared(activations, read_emg(recorded), given)
    if out is not None:
        write_comparison(found, Path(out), f"{trial} and {recorded.name}")
    return found


def _channels(map: Channels | str | os.PathLike[str] | None) -> dict[str, tuple[str, ...]] | None:
    if isinstance(map, str | os.PathLike):
        return read_map(Path(map))
    return None if map is None else {k: (v,) if isinstance(v, str) else tuple(v) for k, v in map.items()}
