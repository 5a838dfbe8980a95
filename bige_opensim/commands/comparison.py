"""Labels beside measurements: `bige compare`."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from bige_opensim.commands.display import console, fail


def compare(label: Path, /, *, emg: Path, out: Path, map: Path | None = None) -> int:
    """Compare the activations of a labelled trial with electromyograms.

    Parameters
    ----------
    label
        Folder of one labelled trial.
    emg
        Electromyograms, raw or as envelopes, on the trial's clock (.sto, .mot, .csv, or .c3d with analog channels).
    out
        Folder for comparison.json, comparison.csv and comparison.png.
    map
        TOML file that says which channel is which muscle, in lines such as "EMG 3" = "vasmed_r".

    """
    from bige_opensim.io.emg import EmgError
    from bige_opensim.io.partial_folders import OutFolderError
    from bige_opensim.io.storage import StorageError
    from bige_opensim.workflows.compare import compare as run

    try:
        found = run(label, emg, map=map, out=out)
    except (EmgError, OutFolderError, StorageError) as problem:
        return fail(str(problem))
    table = Table("channel", "muscles", "r", "RMSE", "on/off alike", "own lag, s", "r at own lag")
    for row in found.rows:
        numbers = (
            f"{row.r:.2f}",
            f"{row.rmse:.2f}",
            f"{row.same_state:.0%}",
            f"{row.own_lag_s:.3f}",
            f"{row.own_r:.2f}",
        )
        table.add_row(row.channel, " ".join(row.muscles), *numbers)
    console.print(table)
    console.print(f"The electromyogram leads by {found.lag_s:.3f} s. See {out}.", highlight=False)
    for note in found.notes:
        console.print(note, markup=False, highlight=False)
    return 0
