"""Force-plate recordings: .mot and .sto files whose columns are named in one of the ways that laboratories use."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import minimum_filter1d, uniform_filter1d

from bige_opensim.io.storage import StorageTable, read_storage

LOADED_N = 20.0
"""Vertical force above the plate's unloaded baseline below which nobody stands on it."""
BASELINE_S, SMOOTHED_S, MOST_BASELINE_N = 3.0, 0.05, 60.0
"""Least force over so many seconds, smoothed: a plate's unloaded baseline if it is below so many N."""
LARGEST_FORCE_N = 20_000.0
FARTHEST_M = 20.0

FORCE, POINT, TORQUE = "force", "point", "torque"
_KINDS = {"v": FORCE, "f": FORCE, "force": FORCE, "grf": FORCE, "p": POINT, "cop": POINT}
_KINDS |= {"m": TORQUE, "t": TORQUE, "moment": TORQUE, "torque": TORQUE}
_QUANTITY = r"(?P<quantity>force|grf|cop|moment|torque|[fpmt])"
_PLATE = r"(?P<plate>(?:(?:fp|f?plate|force_?plate|platform)_?)?\d+|r|l|right|left)"
_AXIS = r"(?P<axis>[xyz])"
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?:(?P<before>\w+?)_)?(?:ground_?(?:reaction_?)?)(?P<what>force|torque|moment)s?_?"
        rf"(?:(?P<after>\w+?)_?)??(?P<quantity>[vfpmt]?)_?{_AXIS}",
        rf"{_PLATE}[_.]{_QUANTITY}[_.]?{_AXIS}",
        rf"{_QUANTITY}[_.]?{_AXIS}[_.]?{_PLATE}",
        rf"{_QUANTITY}{_PLATE}[_.]?{_AXIS}",
        rf"{_QUANTITY}{_PLATE}[_.](?P<number>[123])",
    )
)


class ForcePlateError(ValueError):
    """Measured forces that cannot be used."""


@dataclass(frozen=True, eq=False)
class Plate:
    """What one plate reports: force on the person (N), where it acts (m), and the torque left there (N·m), in ground.

    The point may be the centre of pressure or any other point that the torque is taken about, such as the plate's
    origin: force, point and torque together are one wrench. `unloaded` is the vertical force that it reports while
    nobody stands on it, N: zeros drift.
    """

    name: str
    force: Float[np.ndarray, "time 3"]
    point: Float[np.ndarray, "time 3"]
    torque: Float[np.ndarray, "time 3"]
    unloaded: Float[np.ndarray, " time"] | float = 0.0

    @property
    def loaded(self) -> Bool[np.ndarray, " time"]:
        """Samples in which somebody stands on it."""
        return self.force[:, 1] > self.unloaded + LOADED_N

    def with_baseline(self, time: Float[np.ndarray, " time"]) -> Plate:
        """The plate with its unloaded baseline: the least smoothed force around every sample, where that is small.

        Under somebody who stands for longer than BASELINE_S the least force is no baseline; the zero is believed there.
        """
        step = float(np.median(np.diff(time))) if len(time) > 1 else 1.0
        smooth = uniform_filter1d(self.force[:, 1], max(1, round(SMOOTHED_S / step)), mode="nearest")
        least = minimum_filter1d(smooth, max(1, round(BASELINE_S / step)), mode="nearest")
        return replace(self, unloaded=np.where((least > 0.0) & (least < MOST_BASELINE_N), least, 0.0))

    @property
    def side(self) -> str | None:
        """The foot that its name claims: "r", "l" or None."""
        match = re.match(r"(?:calcn_)?(r|l|right|left)(?:_|$)", self.name, re.IGNORECASE)
        return match[1][0].lower() if match else None

    @property
    def moment(self) -> Float[np.ndarray, "time 3"]:
        """Moment about the ground origin: torque + point x force."""
        return self.torque + np.cross(self.point, self.force)

    @property
    def height(self) -> float:
        """Height of its surface, m: the median of the points under load; 0 if nobody ever stands on it."""
        return float(np.median(self.point[self.loaded, 1])) if self.loaded.any() else 0.0

    def centre_of_pressure(self) -> Float[np.ndarray, "time 3"]:
        """Where the force crosses the surface, m; NaN without load."""
        return np.where(self.loaded[:, None], point_on_plane(self.force, self.moment, self.height), np.nan)


def point_on_plane(
    force: Float[np.ndarray, "*time 3"], moment: Float[np.ndarray, "*time 3"], height_m: float
) -> Float[np.ndarray, "*time 3"]:
    """Where a force crosses the plane at height h: x = (M_z + h F_x) / F_y, z = (h F_z - M_x) / F_y.

    Force F in N and moment M about the ground origin in N·m; the point (m) means nothing where F_y is next to 0.
    """
    vertical = np.where(force[..., 1] == 0.0, np.nan, force[..., 1])
    x = (moment[..., 2] + height_m * force[..., 0]) / vertical
    z = (height_m * force[..., 2] - moment[..., 0]) / vertical
    return np.stack([x, np.full_like(x, height_m), z], axis=-1)


@dataclass(frozen=True, eq=False)
class ForceFile:
    """Plates of one recording over time (s), and what was noticed while reading them."""

    path: Path
    time: Float[np.ndarray, " time"]
    plates: tuple[Plate, ...]
    notes: tuple[str, ...]


def read_force_plates(path: Path | str) -> ForceFile:
    """Read every plate of a .mot or .sto file, in N, m and N·m, with Y up.

    Columns are told by their labels, in upper or lower case, with the plate's number or side before, inside or after:
    `ground_force_vx`, `1_ground_force_vx`, `ground_force_1_vx`, `R_ground_force_vx`, `ground_force_r_vx` (points `px`,
    torques `ground_torque_x` or `ground_moment_mx`), `FP1_Fx`, `FP1_COPx`, `FP1_Mx`, `Fx1`, `COPx1`, `f1_x`, `f1_1`.
    A plate has three columns of force and three of its point; three of torque, or none.

    Points and torques may be NaN while nobody stands on the plate. A plate whose mean vertical force under load is
    negative reports what the person does to it: its force and torque are turned, with a note.

    Raises
    ------
    StorageError
        As `read_storage`.
    ForcePlateError
        No column or half a group of columns is recognised; or the numbers show that the vertical is not Y, or that the
        units are not N and m; or numbers are missing under load.

    """
    table = read_storage(path, gaps=True)
    groups, others = _groups(table)
    plates, notes = [], list(table.notes)
    for name, columns in groups.items():
        plate, note = _plate(table, name, columns)
        plates.append(plate.with_baseline(table.time))
        notes += [note] if note else []
    if others:
        shown = ", ".join(others[:6]) + (" and others" if len(others) > 6 else "")
        notes.append(f"{table.path.name}: {len(others)} column(s) left out that belong to no plate: {shown}.")
    if not any(plate.loaded.any() for plate in plates):
        names = ", ".join(plate.name for plate in plates)
        raise ForcePlateError(
            f"{table.path}: no plate ({names}) ever carries more than {LOADED_N:g} N; nobody steps on one here."
        )
    return ForceFile(table.path, table.time, tuple(plates), tuple(notes))


def _groups(table: StorageTable) -> tuple[dict[str, dict[str, dict[str, int]]], list[str]]:
    """Columns by plate, quantity and axis, and the labels that fit nothing."""
    groups: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
    names: dict[str, str] = {}
    others = []
    for column, label in enumerate(table.names):
        found = _meaning(label)
        if found is None:
            others.append(label)
            continue
        name, quantity, axis = found
        group = groups[names.setdefault(name.lower(), name)]
        if axis in group[quantity]:
            before = table.names[group[quantity][axis]]
            raise ForcePlateError(
                f"{table.path}: '{before}' and '{label}' both name the {quantity} along {axis} of plate '{name}'; "
                "rename one."
            )
        group[quantity][axis] = column
    if not groups:
        raise ForcePlateError(
            f"{table.path}: no column is recognised as a plate's; expected labels such as ground_force_1_vx, "
            f"ground_force_1_px, ground_torque_1_x or FP1_Fx, FP1_COPx. It has: {', '.join(table.names)}."
        )
    incomplete = [text for name, group in groups.items() for text in _lacking(table, name, group)]
    if incomplete:
        raise ForcePlateError(
            f"{table.path}: {'; '.join(incomplete)}. A plate needs three columns of force and three of the point where "
            "it acts, and three of torque or none; add or rename the columns."
        )
    return {name: dict(group) for name, group in groups.items()}, others


def _meaning(label: str) -> tuple[str, str, str] | None:
    """Plate, quantity and axis of a column, None where the label does not tell."""
    for pattern in _PATTERNS:
        match = pattern.fullmatch(label)
        if match is None:
            continue
        found = match.groupdict()
        quantity = _KINDS.get((found["quantity"] or "").lower(), FORCE)
        if found.get("what", "force").lower() != FORCE:
            if quantity == POINT:
                return None
            quantity = TORQUE
        plate = found.get("plate") or "_".join(part for part in (found.get("before"), found.get("after")) if part)
        axis = found.get("axis") or "xyz"[int(found["number"]) - 1]
        return plate or "ground_force", quantity, axis.lower()
    return None


def _lacking(table: StorageTable, name: str, group: Mapping[str, Mapping[str, int]]) -> list[str]:
    lacking = [
        f"its {quantity} along {', '.join(axis for axis in 'xyz' if axis not in group.get(quantity, ()))}"
        for quantity in (FORCE, POINT, TORQUE)
        if (quantity != TORQUE or group.get(TORQUE)) and len(group.get(quantity, ())) < 3
    ]
    if not lacking:
        return []
    there = ", ".join(table.names[c] for columns in group.values() for c in columns.values())
    return [f"plate '{name}' lacks {' and '.join(lacking)} (it has {there})"]


def _plate(table: StorageTable, name: str, columns: Mapping[str, Mapping[str, int]]) -> tuple[Plate, str]:
    def block(quantity: str) -> Float[np.ndarray, "time 3"]:
        return table.values[:, [columns[quantity][axis] for axis in "xyz"]]

    force, point = block(FORCE), block(POINT)
    torque = block(TORQUE) if columns.get(TORQUE) else np.zeros_like(force)
    force, point, torque = _without_gaps(table, name, force, point, torque)
    plate, turned = upright(table.path, Plate(name, force, point, torque))
    note = "" if columns.get(TORQUE) else f"{table.path.name}: plate '{name}' reports no torque; none is applied."
    return plate, f"{turned} {note}".strip()


def _without_gaps(
    table: StorageTable, name: str, force: np.ndarray, point: np.ndarray, torque: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same with zeros for points and torques that are missing while the plate is empty."""
    missing = np.isnan(point).any(axis=1) | np.isnan(torque).any(axis=1)
    empty = np.linalg.norm(force, axis=1) <= LOADED_N
    wrong = np.isnan(force).any(axis=1) | (missing & ~empty)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise ForcePlateError(
            f"{table.path}: plate '{name}' has no number at {table.time[at]:g} s, where it is loaded or its force is "
            "missing; fill the gap or cut the trial."
        )
    return force, np.where(missing[:, None], 0.0, point), np.where(missing[:, None], 0.0, torque)


def upright(path: Path, plate: Plate) -> tuple[Plate, str]:
    """The plate with the force on the person, and a note if that was turned.

    Raises
    ------
    ForcePlateError
        If the numbers show that the vertical is not Y, or that the units are not N and m.

    """
    size = np.linalg.norm(plate.force, axis=1)
    under_load = size > LOADED_N
    if not under_load.any():
        return plate, ""
    mean = plate.force[under_load].mean(axis=0)
    vertical = int(np.abs(mean).argmax())
    remedy = f"`bige doctor {path.name}` says more."
    if size.max() > LARGEST_FORCE_N:
        raise ForcePlateError(
            f"{path}: plate '{plate.name}' reports {size.max():.3g}, hardly newtons; convert the forces. {remedy}"
        )
    if vertical != 1:
        raise ForcePlateError(
            f"{path}: the largest force of plate '{plate.name}' acts along {'XYZ'[vertical]}, not along Y, which "
            f"points up in OpenSim; turn forces, points and torques. {remedy}"
        )
    farthest = float(np.median(np.abs(plate.point[under_load]).max(axis=1)))
    if farthest > FARTHEST_M:
        raise ForcePlateError(
            f"{path}: the points of plate '{plate.name}' are {farthest:.3g} from the origin, hardly metres; divide "
            f"them by 1000 if they are millimetres (torques too, if N·mm). {remedy}"
        )
    if mean[1] > 0:
        return plate, ""
    note = (
        f"{path.name}: plate '{plate.name}' reports the force on the plate (its vertical force is negative); force and "
        "torque were turned."
    )
    return Plate(plate.name, -plate.force, plate.point, -plate.torque), note
