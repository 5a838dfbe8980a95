"""Repaired copies of models that earlier versions of OpenSim read and today's does not, or not as it means."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from bige_opensim.io.storage import write_whole

THELEN = "Thelen2003Muscle"
LEAST_ACTIVATION = 0.01
"""OpenSim's Thelen2003Muscle divides by its activation, and refuses models that allow less."""


class ModelRepairError(ValueError):
    """A model whose XML cannot be read."""


def can_be_repaired(path: Path) -> bool:
    """Whether `repair_model` would change anything of a file; no, where it is no XML."""
    try:
        return bool(_raised(path)[1])
    except ModelRepairError:
        return False


def repair_model(path: Path, target: Path) -> list[str]:
    """Write a copy whose Thelen muscles keep an activation of 0.01, and controls not below it, where they do not.

    Returns
    -------
    One sentence for every kind of change; none, and no copy, where nothing is to be changed.

    Raises
    ------
    ModelRepairError
        The file is no XML.

    """
    root, actions = _raised(path)
    if actions:
        target.parent.mkdir(parents=True, exist_ok=True)
        text = ElementTree.tostring(root, encoding="unicode")
        write_whole(target, f'<?xml version="1.0" encoding="UTF-8" ?>\n{text}\n')
    return actions


def _raised(path: Path) -> tuple[ElementTree.Element, list[str]]:
    """The root with least activations and controls raised, and a sentence for every kind of change."""
    try:
        parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
        root = ElementTree.parse(path, parser).getroot()
    except ElementTree.ParseError as error:
        raise ModelRepairError(f"{path}: not XML ({error}); restore the file from where it came from.") from error
    raised: dict[str, list[str]] = {"minimum_activation": [], "min_control": []}
    for muscle in root.iter(THELEN):
        least = max(_number(muscle, "minimum_activation", LEAST_ACTIVATION), LEAST_ACTIVATION)
        for name, muscles in raised.items():
            element = muscle.find(name)
            if element is not None and _number(muscle, name, least) < least:
                element.text = f"{least:g}"
                muscles.append(muscle.get("name", "a default"))
    return root, [
        f"{name} was raised to {LEAST_ACTIVATION:g} in {len(muscles)} {THELEN}(s): {', '.join(muscles[:5])}"
        + (", ..." if len(muscles) > 5 else "")
        for name, muscles in raised.items()
        if muscles
    ]


def _number(muscle: ElementTree.Element, name: str, absent: float) -> float:
    try:
        return float(muscle.findtext(name, ""))
    except ValueError:
        return absent
