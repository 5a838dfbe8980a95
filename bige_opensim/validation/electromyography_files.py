"""Files of a comparison with electromyograms: its map, and comparison.json, comparison.csv, comparison.png."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from matplotlib.figure import Figure

from bige_opensim.io.emg import EmgError
from bige_opensim.io.partial_folders import whole_folder
from bige_opensim.validation.electromyography import Comparison


def labelled_trial(path: Path) -> Path:
    """The one labelled trial at or below a folder.

    Raises
    ------
    EmgError
        There is none, or more than one.

    """
    if (path / "activations.sto").is_file():
        return path
    found = sorted(p.parent for p in path.rglob("activations.sto")) if path.is_dir() else []
    if len(found) != 1:
        listed = ", ".join(str(p.relative_to(path)) for p in found[:8])
        raise EmgError(
            f"{path}: expected the folder of one labelled trial, found {len(found)}"
            f"{': ' + listed if found else '; label the motion first'}. Name one of them."
        )
    return found[0]


def read_map(path: Path) -> dict[str, tuple[str, ...]]:
    """Channels and the muscles they mean, from a TOML file of lines `"channel" = "muscle"` or lists of muscles.

    Raises
    ------
    EmgError
        The file is missing, no TOML, or holds something else.

    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise EmgError(f"{path}: cannot be read as TOML ({problem}).") from problem
    found = {}
    for channel, muscles in content.items():
        names = [muscles] if isinstance(muscles, str) else muscles
        if not (isinstance(names, list) and names and all(isinstance(n, str) for n in names)):
            raise EmgError(f'{path}: {channel}: expected "muscle" or a list of muscles, got {muscles!r}.')
        found[channel] = tuple(names)
    return found


def write_comparison(found: Comparison, out: Path, title: str) -> None:
    """Table, figure and JSON in a new folder, whole or not at all."""
    with whole_folder(out, "comparison.json") as folder:
        (folder / "comparison.json").write_text(json.dumps(found.as_dict(), indent=1), encoding="utf-8")
        found.to_frame().to_csv(folder / "comparison.csv", index=False)
        figure(found, title).savefig(folder / "comparison.png", dpi=120)


def figure(found: Comparison, title: str) -> Figure:
    """Normalised curves of every matched channel, the electromyogram moved by the lag."""
    columns = min(3, len(found.rows))
    lines = -(-len(found.rows) // columns)
    picture = Figure(figsize=(4.2 * columns, 2.1 * lines + 0.6), layout="constrained")
    axes = picture.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, row, e, a in zip(axes, found.rows, found.emg.T, found.activation.T, strict=False):
        axis.fill_between(found.time, e, color="0.8", label="electromyogram")
        axis.plot(found.time, a, color="C3", lw=1.2, label="static optimization")
        axis.set_title(f"{row.channel}   r = {row.r:.2f}", fontsize=9)
        axis.set_ylim(0, 1.02)
    for axis in axes[len(found.rows) :]:
        axis.set_axis_off()
    axes[0].legend(fontsize=7, loc="upper right")
    picture.supxlabel("time, s", fontsize=9)
    picture.supylabel("share of own peak", fontsize=9)
    picture.suptitle(f"{title}: electromyogram {1e3 * found.lag_s:.0f} ms later", fontsize=10)
    return picture
