"""Build the OpenSim models of this folder from the tables in `parameters/`: `python osim_models/build.py`.

Tables hold the right side and the midline. The left side is the mirror image in the sagittal plane z = 0: of a position
z changes sign, of a rotation or axis of rotation x and y. Lengths are in m, angles in rad, forces in N, masses in kg.
Where every number comes from is in SOURCES.md; the column `source` names it row by row.
"""

from __future__ import annotations

import csv
import math
import os
import re
from itertools import groupby
from pathlib import Path
from typing import Any

import opensim

FOLDER = Path(__file__).resolve().parent
PARAMETERS = FOLDER / "parameters"
GRAVITY = (0.0, -9.80665, 0.0)
CREDITS = (
    "Parameters: Rajagopal et al. (2016) doi:10.1109/TBME.2016.2586891; Lai et al. (2017) "
    "doi:10.1007/s10439-017-1920-7; Uhlrich et al. (2022) doi:10.1038/s41598-022-13386-9. Written by the builder of "
    "bige_opensim from its tables; see SOURCES.md there."
)
TABLES = (
    "bodies", "meshes", "joints", "joint_axes", "joint_polynomials", "joint_splines", "coordinates", "couplers",
    "wrap_cylinders", "muscles", "muscle_curves", "path_points", "path_wraps", "actuators", "contact_spheres",
    "contact_law",
)  # fmt: skip
RIGHT = re.compile(r"_r(?=$|_)")

Row = dict[str, str]
Tables = dict[str, list[Row]]


class ParameterError(ValueError):
    """A parameter table that cannot be built from, with the file and what is wrong."""


def read_table(path: Path) -> list[Row]:
    """Rows of a parameter table as they stand in the file, by column name."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = [i for i, row in enumerate(rows, 2) if None in row or None in row.values()]
    if wrong:
        raise ParameterError(f"{path}: line {wrong[0]} has another number of cells than the header.")
    return rows


def fullbody_tables() -> Tables:
    """All tables of the full-body model, both sides."""
    return {name: both_sides(read_table(PARAMETERS / f"{name}.csv")) for name in TABLES}


def planar_leg_tables() -> Tables:
    """Tables of the planar leg: its own joints, and the full body's rows for its bodies and muscles.

    A muscle stands for the muscles named in `lumped`: their maximum isometric forces are added, its path and fibres
    are its own.
    """
    tables = {name: read_table(PARAMETERS / f"{name}.csv") for name in TABLES}
    own = {path.stem: read_table(path) for path in sorted((PARAMETERS / "planar_leg").glob("*.csv"))}
    chosen = {row["muscle"]: row["lumped"].split() for row in own.pop("muscles")}
    forces = {row["muscle"]: float(row["max_isometric_force_n"]) for row in tables["muscles"]}
    tables |= own | {"actuators": []}
    bodies = {row["child"] for row in tables["joints"]}
    for name in ("bodies", "meshes", "wrap_cylinders", "contact_spheres"):
        tables[name] = [row for row in tables[name] if row["body"] in bodies]
    for name in ("muscles", "path_points", "path_wraps"):
        tables[name] = [row for row in tables[name] if row["muscle"] in chosen]
    for row in tables["muscles"]:
        row["max_isometric_force_n"] = repr(sum(forces[name] for name in chosen[row["muscle"]]))
    used = {row["wrap"] for row in tables["path_wraps"]}
    tables["wrap_cylinders"] = [row for row in tables["wrap_cylinders"] if row["wrap"] in used]
    return tables


def both_sides(rows: list[Row]) -> list[Row]:
    """Every run of right-sided rows followed by its mirror image; the first column tells the side."""
    found: list[Row] = []
    for right, run in groupby(rows, key=lambda row: RIGHT.search(next(iter(row.values()))) is not None):
        block = list(run)
        found += block + ([mirrored(row) for row in block] if right else [])
    return found


def mirrored(row: Row) -> Row:
    """The row of the left side for a row of the right side."""
    turned = {"rx_rad", "ry_rad", "ixz_kgm2", "iyz_kgm2"}
    if "part" in row:
        turned |= {"axis_x", "axis_y"} if row["part"].startswith("rotation") else {"axis_z"}
    left = {}
    for name, cell in row.items():
        if name == "source":
            left[name] = cell
        elif name.endswith("z_m") or name in turned or name.removeprefix("parent_").removeprefix("child_") in turned:
            left[name] = repr(-float(cell) + 0.0)
        else:
            left[name] = RIGHT.sub("_l", cell)
    if "mesh_left" in row:
        left["mesh"] = row["mesh_left"]
    return left


def build(name: str, tables: Tables) -> opensim.Model:
    """An OpenSim model from tables that hold every row it shall have.

    Raises
    ------
    ParameterError
        A table names something that no other table has, or a kind of joint or function that is not known.

    """
    model = opensim.Model()
    model.setName(name)
    model.set_credits(CREDITS)
    model.setGravity(opensim.Vec3(*GRAVITY))
    frames: dict[str, Any] = {"ground": model.getGround()}
    for row in tables["bodies"]:
        frames[row["body"]] = add_body(model, row)
    for row in tables["meshes"]:
        mesh = opensim.Mesh(row["mesh"])
        mesh.set_scale_factors(opensim.Vec3(float(row["scale"])))
        frames[row["body"]].attachGeometry(mesh)
    for row in tables["joints"]:
        add_joint(model, row, frames, tables)
    for row in tables["couplers"]:
        add_coupler(model, row)
    wraps = {row["wrap"]: add_wrap_cylinder(frames[row["body"]], row) for row in tables["wrap_cylinders"]}
    for row in tables["muscles"]:
        add_muscle(model, row, frames, wraps, tables)
    add_groups(model, tables["muscles"])
    for row in tables["actuators"]:
        add_actuator(model, row)
    add_contact(model, frames, tables)
    model.finalizeConnections()
    return model


def vector(row: Row, *columns: str) -> opensim.Vec3:
    """Three cells of a row as a Vec3."""
    return opensim.Vec3(*(float(row[c]) for c in columns))


def add_body(model: opensim.Model, row: Row) -> opensim.Body:
    """Add a body; inertia is about its centre of mass, in its own axes."""
    inertia = opensim.Inertia(*(float(row[f"i{k}_kgm2"]) for k in ("xx", "yy", "zz", "xy", "xz", "yz")))
    body = opensim.Body(row["body"], float(row["mass_kg"]), vector(row, "com_x_m", "com_y_m", "com_z_m"), inertia)
    model.addBody(body)
    return body


def add_joint(model: opensim.Model, row: Row, frames: dict[str, Any], tables: Tables) -> None:
    """Add a joint with its coordinates."""
    name, kind = row["joint"], row["type"]
    ends: list[Any] = [name]
    for end in ("parent", "child"):
        position = vector(row, *(f"{end}_{k}_m" for k in "xyz"))
        ends += [frames[row[end]], position, vector(row, *(f"{end}_r{k}_rad" for k in "xyz"))]
    if kind == "custom":
        joint = opensim.CustomJoint(*ends, spatial_transform(name, tables))
    elif kind in ("pin", "weld"):
        joint = (opensim.PinJoint if kind == "pin" else opensim.WeldJoint)(*ends)
    else:
        raise ParameterError(f"joints.csv: joint {name} is of type '{kind}'; use custom, pin or weld.")
    joint.finalizeFromProperties()
    coordinates = [c for c in tables["coordinates"] if c["joint"] == name]
    if len(coordinates) != joint.numCoordinates():
        raise ParameterError(
            f"coordinates.csv: joint {name} has {joint.numCoordinates()} coordinates, {len(coordinates)} are described."
        )
    for i, described in enumerate(coordinates):
        coordinate = joint.upd_coordinates(i)
        coordinate.setName(described["coordinate"])
        coordinate.setRangeMin(float(described["min"]))
        coordinate.setRangeMax(float(described["max"]))
        coordinate.setDefaultValue(float(described["default"]))
        coordinate.setDefaultClamped(described["clamped"] == "true")
    model.addJoint(joint)


def spatial_transform(joint: str, tables: Tables) -> opensim.SpatialTransform:
    """The six axes of a custom joint: a function of one coordinate, or a constant, along each."""
    transform = opensim.SpatialTransform()
    parts = ("rotation1", "rotation2", "rotation3", "translation1", "translation2", "translation3")
    for row in (r for r in tables["joint_axes"] if r["joint"] == joint):
        axis = transform.updTransformAxis(parts.index(row["part"]))
        names = opensim.ArrayStr()
        if row["coordinate"]:
            names.append(row["coordinate"])
        axis.setCoordinateNames(names)
        axis.setAxis(vector(row, "axis_x", "axis_y", "axis_z"))
        axis.set_function(axis_function(row, tables))
    return transform


def axis_function(row: Row, tables: Tables) -> opensim.Function:
    """Linear (slope `value`), constant (`value`), polynomial or spline (rows of the joint's tables)."""
    kind, key = row["function"], (row["joint"], row["part"])
    if kind == "linear":
        return opensim.LinearFunction(float(row["value"]), 0.0)
    if kind == "constant":
        return opensim.Constant(float(row["value"]))
    if kind == "polynomial":
        terms = [r for r in tables["joint_polynomials"] if (r["joint"], r["part"]) == key]
        terms.sort(key=lambda r: -int(r["power"]))
        coefficients = opensim.Vector(len(terms), 0.0)
        for i, term in enumerate(terms):
            coefficients.set(i, float(term["coefficient"]))
        return opensim.PolynomialFunction(coefficients)
    if kind == "spline":
        spline = opensim.SimmSpline()
        for r in tables["joint_splines"]:
            if (r["joint"], r["part"]) == key:
                spline.addPoint(float(r["x"]), float(r["y"]))
        return spline
    raise ParameterError(f"joint_axes.csv: {key} has function '{kind}'; use linear, constant, polynomial or spline.")


def add_coupler(model: opensim.Model, row: Row) -> None:
    """Add `dependent = slope · independent + offset`."""
    coupler = opensim.CoordinateCouplerConstraint()
    coupler.setName(row["coupler"])
    coupler.setIndependentCoordinateNames(opensim.ArrayStr(row["independent"], 1))
    coupler.setDependentCoordinateName(row["dependent"])
    coupler.setFunction(opensim.LinearFunction(float(row["slope"]), float(row["offset"])))
    model.addConstraint(coupler)


def add_wrap_cylinder(body: opensim.Body, row: Row) -> opensim.WrapCylinder:
    """Add a cylinder that muscle paths may wrap over; hidden in the GUI, as muscles show where it is."""
    cylinder = opensim.WrapCylinder()
    cylinder.setName(row["wrap"])
    cylinder.set_translation(vector(row, "x_m", "y_m", "z_m"))
    cylinder.set_xyz_body_rotation(vector(row, "rx_rad", "ry_rad", "rz_rad"))
    cylinder.set_radius(float(row["radius_m"]))
    cylinder.set_length(float(row["length_m"]))
    cylinder.set_quadrant(row["quadrant"])
    cylinder.upd_Appearance().set_visible(False)
    body.addWrapObject(cylinder)
    return cylinder


def add_muscle(
    model: opensim.Model, row: Row, frames: dict[str, Any], wraps: dict[str, opensim.WrapCylinder], tables: Tables
) -> None:
    """Add a muscle with its path."""
    name = row["muscle"]
    numbers = ("max_isometric_force_n", "optimal_fibre_length_m", "tendon_slack_length_m", "pennation_rad")
    muscle = opensim.Millard2012EquilibriumMuscle(name, *(float(row[c]) for c in numbers))
    for law in tables["muscle_curves"]:
        owner = muscle if law["curve"] == "muscle" else getattr(muscle, f"upd_{law['curve']}")()
        getattr(owner, f"set_{law['parameter']}")(float(law["value"]))
    for p in (p for p in tables["path_points"] if p["muscle"] == name):
        muscle.addNewPathPoint(f"{name}-P{p['point']}", frames[p["body"]], vector(p, "x_m", "y_m", "z_m"))
    path = muscle.updGeometryPath()
    for i, wrap in enumerate(w for w in tables["path_wraps"] if w["muscle"] == name):
        path.addPathWrap(wraps[wrap["wrap"]])
        path_wrap = path.updWrapSet().get(i)
        path_wrap.setName(f"{name}-{wrap['wrap']}")
        path_wrap.set_method(wrap["method"])
        for k, end in enumerate(("first_point", "last_point")):
            path_wrap.set_range(k, int(wrap[end]) if wrap[end] else -1)
    model.addForce(muscle)


def add_groups(model: opensim.Model, rows: list[Row]) -> None:
    """Add muscle groups by function and side, for the GUI's lists."""
    members: dict[str, list[str]] = {}
    for row in rows:
        for group in row["groups"].split():
            members.setdefault(f"{group}_{row['muscle'][-1]}", []).append(row["muscle"])
    for group, muscles in members.items():
        model.updForceSet().addGroup(group)
        for muscle in muscles:
            model.updForceSet().addObjectToGroup(group, muscle)


def add_actuator(model: opensim.Model, row: Row) -> None:
    """Add an ideal torque actuator for a coordinate that no muscle drives."""
    actuator = opensim.CoordinateActuator(row["coordinate"])
    actuator.setName(row["actuator"])
    actuator.setOptimalForce(float(row["optimal_force_nm"]))
    actuator.setMinControl(-math.inf)
    actuator.setMaxControl(math.inf)
    model.addForce(actuator)


def add_contact(model: opensim.Model, frames: dict[str, Any], tables: Tables) -> None:
    """Add the floor y = 0, the feet's spheres, and the smooth Hunt-Crossley force between them."""
    floor = opensim.ContactHalfSpace(opensim.Vec3(0), opensim.Vec3(0, 0, -math.pi / 2), frames["ground"], "floor")
    model.addContactGeometry(floor)
    for row in tables["contact_spheres"]:
        centre = vector(row, "x_m", "y_m", "z_m")
        sphere = opensim.ContactSphere(float(row["radius_m"]), centre, frames[row["body"]], row["sphere"])
        model.addContactGeometry(sphere)
        force = opensim.SmoothSphereHalfSpaceForce(f"contact_{row['sphere']}", sphere, floor)
        for law in tables["contact_law"]:
            getattr(force, f"set_{law['parameter']}")(float(law["value"]))
        model.addForce(force)


def fullbody80() -> opensim.Model:
    """The full-body model: 33 free coordinates and 2 patellae coupled to the knees, 80 muscles of the legs."""
    return build("fullbody80", fullbody_tables())


def planar_leg() -> opensim.Model:
    """A right leg that moves in the sagittal plane: 6 free coordinates, a coupled patella, 9 muscles."""
    return build("planar_leg", planar_leg_tables())


def write(model: opensim.Model, path: Path) -> Path:
    """Write the model whole or not at all."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    model.printToXML(str(partial))
    partial.replace(path)
    return path


if __name__ == "__main__":
    opensim.Logger.removeFileSink()
    opensim.Logger.setLevelString("Error")
    for made in (fullbody80(), planar_leg()):
        write(made, FOLDER / f"{made.getName()}.osim")
