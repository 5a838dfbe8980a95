"""Whether a file has the coordinates that the model's movement needs, and which names may be meant by others."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from pathlib import Path

from bige_opensim.doctor.findings import Finding, Severity, listed
from bige_opensim.doctor.known_model import KnownModel
from bige_opensim.physics.skeleton import Skeleton

LIGHT = 0.02
"""Share of the body's mass beyond a joint below which its angle may be missing. The toes, the foot below the talus and
the hand stay below it: at some other angle, a fiftieth of the body moves by a decimetre and the mass centre by 2 mm,
a tenth of what the gate of the whole-body shift allows. The whole foot, the forearm and all that is above do not."""

_SIMILAR = 0.75
_SIDES = {"right": "r", "left": "l"}


def check_columns(
    path: Path, names: Collection[str], unknown: Sequence[str], model: KnownModel, *, allow_missing: bool = False
) -> list[Finding]:
    """Coordinates that are missing among `names`, with the `unknown` columns that may be meant, and the other columns.

    Coordinates that a coupler determines or the model locks may be missing, and those that carry little (`LIGHT`).
    Missing ones stay at the model's default: an error, or with `allow_missing` a note.
    """
    assert model.osim is not None
    free = model.osim.free_coordinates
    missing = [n for n in free if n not in names]
    meant = nearest(unknown, missing)
    return [
        *_missing(path, missing, meant, model, allow_missing=allow_missing),
        *_unknown(path, [label for label in unknown if label not in meant.values()], model),
    ]


def _missing(
    path: Path, missing: list[str], meant: dict[str, str], model: KnownModel, *, allow_missing: bool
) -> list[Finding]:
    assert model.osim is not None
    count, share = len(model.osim.free_coordinates), mass_beyond(model.skeleton)
    shown = [f"{n} (is '{meant[n]}' meant?)" if n in meant else n for n in missing]
    if [n for n in missing if n in model.root] or len(missing) > 0.5 * count:
        sentence = (
            f"{count - len(missing)} of the {count} coordinates of {model.path.name} are in the file (missing: "
            f"{listed(shown)}). This motion was made with another model, or its columns have other names."
        )
        remedy = "Name the model it belongs to, or rename the columns."
        return [Finding(path, missing[0], "error", "missing-coordinates", sentence, remedy)]
    needed = [n for n in missing if share.get(n, 1.0) > LIGHT]
    found = []
    if needed:
        sentence = (
            f"Coordinates of {model.path.name} are not in the file: "
            f"{listed([text for n, text in zip(missing, shown, strict=True) if n in needed])}."
        )
        remedy = "Add or rename the columns; `bige label --allow-missing` keeps the model's default for them."
        heaviest = 100 * max(share.get(n, 1.0) for n in needed)
        severity: Severity = "note" if allow_missing else "error"
        remedy = "As allowed, they keep the model's default." if allow_missing else remedy
        measure = (heaviest, 100 * LIGHT, "% of the mass beyond the joint")
        found.append(Finding(path, needed[0], severity, "missing-coordinates", sentence, remedy, False, *measure))
    light = [text for n, text in zip(missing, shown, strict=True) if n not in needed]
    if light:
        sentence = f"Coordinates that move little mass are not in the file: {listed(light)}."
        remedy = "They keep the model's default value; add the columns if the joints move."
        found.append(Finding(path, light[0].split()[0], "note", "missing-coordinates", sentence, remedy))
    return found


def _unknown(path: Path, unknown: list[str], model: KnownModel) -> list[Finding]:
    others = [label for label in unknown if "/" not in label]
    if not others:
        return []
    sentence = f"{len(others)} column(s) are no coordinates of {model.path.name}: {listed(others)}."
    remedy = "They are left out; check that the motion belongs to this model."
    return [Finding(path, others[0], "note", "columns", sentence, remedy)]


def mass_beyond(skeleton: Skeleton | None) -> dict[str, float]:
    """Share of the person's mass that each coordinate moves."""
    if skeleton is None:
        return {}
    moved = skeleton.selector.T @ skeleton.subtree > 0
    share = (moved * skeleton.person_mass).sum(-1) / skeleton.person_mass.sum()
    return dict(zip(skeleton.coordinates, share.tolist(), strict=True))


def nearest(unknown: Sequence[str], missing: Sequence[str]) -> dict[str, str]:
    """For each missing coordinate the unknown column that is spelt most like it, if any is; each column once.

    Case, separators and the place and spelling of the side do not count: `RightHipFlexion` is `hip_flexion_r`.
    """
    left, meant = {plain(label): label for label in unknown}, dict[str, str]()
    for name in missing:
        if plain(name) in left:
            meant[name] = left.pop(plain(name))
    for name in missing:
        close = get_close_matches(plain(name), list(left), n=1, cutoff=_SIMILAR) if name not in meant else []
        if close:
            meant[name] = left.pop(close[0])
    return meant


def plain(name: str) -> str:
    """A name in lower case, its words parted by underscores and its side, as r or l, last."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.rstrip("/").removesuffix("/value").rsplit("/", 1)[-1])
    words = [_SIDES.get(w, w) for w in re.split(r"[^a-z0-9]+", spaced.lower()) if w]
    sides = [w for w in words if w in _SIDES.values()]
    return "_".join([*(w for w in words if w not in sides), *sides])
