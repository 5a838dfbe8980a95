"""Ground forces and the ExternalLoads document that applies them to a model's bodies."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from bige_opensim.io.storage import StorageError, write_storage, write_whole
from bige_opensim.io.text import count

GROUND_FORCES_TITLE = "Ground forces"
_SIDES = ("r", "l")
_SUPPORT = "support_force_"
_DOCUMENT_VERSION = "40000"
_DISABLES_NO_MORE = 30509  # the first document version in which OpenSim ignores <isDisabled>


class ExternalLoadsError(ValueError):
    """An ExternalLoads file that cannot be used."""


@dataclass(frozen=True)
class ExternalForce:
    """One force of an ExternalLoads document (OpenSim::ExternalForce).

    Identifiers are prefixes of columns: `<force_identifier>x`, `y`, `z`. An empty point or torque identifier means that
    the document applies none.
    """

    name: str
    applied_to_body: str
    force_identifier: str
    point_identifier: str = ""
    torque_identifier: str = ""
    force_expressed_in_body: str = "ground"
    point_expressed_in_body: str = "ground"

    def columns(self) -> tuple[str, ...]:
        """Labels that the data file must have."""
        identifiers = (self.force_identifier, self.point_identifier, self.torque_identifier)
        return tuple(f"{identifier}{axis}" for identifier in identifiers if identifier for axis in "xyz")


@dataclass(frozen=True)
class ExternalLoads:
    """An ExternalLoads document: its data file, resolved against the document's folder, and its forces."""

    path: Path
    datafile: Path
    forces: tuple[ExternalForce, ...]


def read_external_loads(path: Path | str) -> ExternalLoads:
    """Read an ExternalLoads document of OpenSim 3 or 4; forces that it switches off are left out.

    Raises
    ------
    ExternalLoadsError
        If the file is no ExternalLoads document, names no data file or one that does not exist, or has no force, or a
        force without body or identifier.

    """
    path = Path(path)
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as problem:
        raise ExternalLoadsError(f"{path}: cannot be read ({problem.strerror}); check the path.") from problem
    except (ElementTree.ParseError, UnicodeError, LookupError) as problem:
        raise ExternalLoadsError(f"{path}: not an XML document ({problem}); export it again.") from problem
    loads = root if root.tag == "ExternalLoads" or not len(root) else root[0]
    if loads.tag != "ExternalLoads":
        raise ExternalLoadsError(
            f"{path}: no <ExternalLoads> as its first element; give the external loads file of the trial."
        )
    datafile = _text(path, loads, "datafile").replace("\\", "/")
    if not datafile:
        raise ExternalLoadsError(f"{path}: <datafile> is empty; name the .mot file of the forces there.")
    if not _is_file(path.parent / datafile):
        raise ExternalLoadsError(
            f"{path}: its data file {datafile} is not at {path.parent / datafile}; move it there or correct <datafile>."
        )
    version = count(root.get("Version"))
    forces = [_force(path, item) for item in loads.findall("objects/ExternalForce") if _applied(path, item, version)]
    if not forces:
        raise ExternalLoadsError(f"{path}: applies no <ExternalForce>; at least one was expected.")
    return ExternalLoads(path, path.parent / datafile, tuple(forces))


def write_external_loads(path: Path | str, datafile_name: str, forces: Iterable[ExternalForce]) -> None:
    """Write an ExternalLoads document of OpenSim 4, whole or not at all.

    Parameters
    ----------
    path
        The .xml file.
    datafile_name
        Path of the forces' .mot file relative to the folder of `path`.
    forces
        What is applied where.

    Raises
    ------
    ExternalLoadsError
        If there are no forces or two of the same name.
    StorageError
        If the folder does not exist.

    """
    forces = tuple(forces)
    if not forces or len({force.name for force in forces}) < len(forces):
        raise ExternalLoadsError(f"{path}: at least one force and unique names were expected. Nothing was written.")
    document = ElementTree.Element("OpenSimDocument", Version=_DOCUMENT_VERSION)
    loads = ElementTree.SubElement(document, "ExternalLoads", name="externalloads")
    objects = ElementTree.SubElement(loads, "objects")
    for force in forces:
        item = ElementTree.SubElement(objects, "ExternalForce", name=force.name)
        for tag in (
            "applied_to_body",
            "force_expressed_in_body",
            "point_expressed_in_body",
            "force_identifier",
            "point_identifier",
            "torque_identifier",
        ):
            ElementTree.SubElement(item, tag).text = getattr(force, tag)
    ElementTree.SubElement(loads, "groups")
    ElementTree.SubElement(loads, "datafile").text = datafile_name
    ElementTree.indent(document)
    text = ElementTree.tostring(document, encoding="unicode")
    write_whole(Path(path), f'<?xml version="1.0" encoding="UTF-8" ?>\n{text}\n')


def ground_forces(bodies: Mapping[str, str]) -> tuple[ExternalForce, ...]:
    """The forces of a file written by `write_ground_forces`, by side ("r", "l") and the body each acts on."""
    return tuple(
        ExternalForce(
            name=f"ground_force_{side}",
            applied_to_body=body,
            force_identifier=f"ground_force_{side}_v",
            point_identifier=f"ground_force_{side}_p",
            torque_identifier=f"ground_torque_{side}_",
        )
        for side, body in bodies.items()
    )


def external_forces(columns: Sequence[str]) -> tuple[ExternalForce, ...]:
    """The forces of a label's `grf.mot` by its columns: those of both feet, and of what else supports bodies."""
    forces = (column for column in columns if column.startswith(_SUPPORT) and column.endswith("_vx"))
    bodies = [column.removeprefix(_SUPPORT).removesuffix("_vx") for column in forces]
    return (
        *ground_forces({"r": "calcn_r", "l": "calcn_l"}),
        *(
            ExternalForce(
                name=f"{_SUPPORT}{body}",
                applied_to_body=body,
                force_identifier=f"{_SUPPORT}{body}_v",
                point_identifier=f"{_SUPPORT}{body}_p",
                torque_identifier=f"support_torque_{body}_",
            )
            for body in bodies
        ),
    )


def write_ground_forces(
    path: Path | str,
    time: Float[np.ndarray, " time"],
    sides: Mapping[str, tuple[Float[np.ndarray, "time 3"], Float[np.ndarray, "time 3"], Float[np.ndarray, "time 3"]]],
) -> None:
    """Write ground forces as `ground_force_{r,l}_v*`, `ground_force_{r,l}_p*` and `ground_torque_{r,l}_*`.

    Parameters
    ----------
    path
        The .mot file.
    time
        Seconds.
    sides
        For "r", "l" or both: force on the foot (N), its point (m) and its free torque (N·m), all in ground.

    Raises
    ------
    StorageError
        If a side is unknown, shapes do not agree, or as `write_storage`.

    """
    names, values = ground_force_columns(time, sides, path)
    write_storage(path, time, values, names, in_degrees=False, title=GROUND_FORCES_TITLE)


def ground_force_columns(
    time: Float[np.ndarray, " time"],
    sides: Mapping[str, tuple[Float[np.ndarray, "time 3"], Float[np.ndarray, "time 3"], Float[np.ndarray, "time 3"]]],
    path: Path | str = "ground forces",
    *,
    supports: Mapping[str, tuple[Float[np.ndarray, "time 3"], Float[np.ndarray, "time 3"], Float[np.ndarray, "time 3"]]]
    | None = None,
) -> tuple[list[str], Float[np.ndarray, "time column"]]:
    """Names and values of the columns of `write_ground_forces`; errors as there, with `path`.

    `supports` are those of other bodies, by name: `support_force_<body>_v*`, `_p*` and `support_torque_<body>_*`.
    """
    unknown = [side for side in sides if side not in _SIDES]
    if unknown or not sides:
        raise StorageError(
            f"{path}: the sides 'r' and 'l' were expected, not {unknown or 'none'}. Nothing was written."
        )
    names, blocks = [], []
    feet = ((f"ground_force_{side}", f"ground_torque_{side}", sides[side]) for side in _SIDES if side in sides)
    others = ((f"{_SUPPORT}{name}", f"support_torque_{name}", of) for name, of in (supports or {}).items())
    for force, torque, parts in (*feet, *others):
        for prefix, block in zip((f"{force}_v", f"{force}_p", f"{torque}_"), parts, strict=True):
            if np.shape(block) != (len(time), 3):
                raise StorageError(
                    f"{path}: {prefix}* has shape {np.shape(block)}, not ({len(time)}, 3). Nothing was written."
                )
            names += [f"{prefix}{axis}" for axis in "xyz"]
            blocks.append(np.asarray(block, dtype=np.float64))
    return names, np.concatenate(blocks, axis=1)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _text(path: Path, element: ElementTree.Element, tag: str) -> str:
    found = element.findall(tag)
    if len(found) > 1 or (found and len(found[0])):
        raise ExternalLoadsError(f"{path}: <{tag}> must be there once and hold text only; repair it.")
    text = " ".join((found[0].text or "").split()) if found else ""
    if not text.isprintable():
        raise ExternalLoadsError(f"{path}: <{tag}> holds characters that cannot be in a name; repair it.")
    return "" if text == "Unassigned" else text


def _applied(path: Path, item: ElementTree.Element, version: int | None) -> bool:
    off, on = (_text(path, item, tag).lower() for tag in ("isDisabled", "appliesForce"))
    if not {off, on} <= {"", "true", "false"} or (off and off == on):
        raise ExternalLoadsError(
            f"{path}: <isDisabled> and <appliesForce> must be true or false and agree; got '{off}' and '{on}'."
        )
    if off == "true" and not on and version is not None and version >= _DISABLES_NO_MORE:
        raise ExternalLoadsError(
            f"{path}: OpenSim ignores <isDisabled> in documents of version {version}; write <appliesForce>false."
        )
    return off != "true" and on != "false"


def _frame(path: Path, item: ElementTree.Element, tag: str) -> str:
    frame = _text(path, item, tag)
    if not frame and item.find(tag) is not None:
        raise ExternalLoadsError(f"{path}: <{tag}> is empty; name a body there, such as ground.")
    return frame or "ground"


def _force(path: Path, item: ElementTree.Element) -> ExternalForce:
    name = item.get("name", "").strip() or "unnamed"
    body, identifier = _text(path, item, "applied_to_body"), _text(path, item, "force_identifier")
    torque = _text(path, item, "torque_identifier")
    if not body or not (identifier or torque):
        missing = "applied_to_body" if not body else "force_identifier"
        raise ExternalLoadsError(f"{path}: the force '{name}' has no <{missing}>; name it there.")
    return ExternalForce(
        name=name,
        applied_to_body=body,
        force_identifier=identifier,
        point_identifier=_text(path, item, "point_identifier"),
        torque_identifier=torque,
        force_expressed_in_body=_frame(path, item, "force_expressed_in_body"),
        point_expressed_in_body=_frame(path, item, "point_expressed_in_body"),
    )
