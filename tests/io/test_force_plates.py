"""Force-plate files with the column names that laboratories use, and those that must not be guessed at."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bige_opensim.io.force_plates import ForceFile, ForcePlateError, Plate, read_force_plates, upright
from bige_opensim.io.storage import write_storage

TIME = np.linspace(0.0, 1.0, 50)
BOTH = {  # labels of force, point and torque of two plates
    "number before": "{n}_ground_force_v{a} {n}_ground_force_p{a} {n}_ground_torque_{a}",
    "number inside": "ground_force_{n}_v{a} ground_force_{n}_p{a} ground_torque_{n}_{a}",
    "exported from c3d": "ground_force_{n}_v{a} ground_force_{n}_p{a} ground_moment_{n}_m{a}",
    "capital letters": "FP{n}_F{a} FP{n}_COP{a} FP{n}_M{a}",
    "dots": "Plate{n}.F{a} Plate{n}.CoP{a} Plate{n}.T{a}",
    "number last": "F{a}{n} COP{a}{n} M{a}{n}",
    "number in the middle": "f{n}_{a} p{n}_{a} m{n}_{a}",
    "axes by number": "f{n}_{d} p{n}_{d} m{n}_{d}",
    "words": "plate_{n}_force_{a} plate_{n}_cop_{a} plate_{n}_moment_{a}",
}


def values(seed: int = 0) -> np.ndarray:
    """Two plates of force, point, torque; more than 20 N throughout."""
    table = np.random.default_rng(seed).normal(0.0, 0.1, (len(TIME), 18))
    table[:, [1, 10]] += [400.0, 350.0]
    return table


def labels(pattern: str) -> list[str]:
    return [part.format(n=n, a=a, d="xyz".index(a) + 1) for n in (1, 2) for part in pattern.split() for a in "xyz"]


def write(folder: Path, names: list[str], table: np.ndarray) -> Path:
    write_storage(folder / "forces.mot", TIME, table, names, in_degrees=False, title="forces")
    return folder / "forces.mot"


def read(folder: Path, names: list[str], table: np.ndarray) -> ForceFile:
    return read_force_plates(write(folder, names, table))


@pytest.mark.parametrize("pattern", BOTH.values(), ids=BOTH.keys())
def test_every_way_of_naming_gives_the_same_plates(tmp_path, pattern):
    recorded = read(tmp_path, labels(pattern), values())
    assert len(recorded.plates) == 2
    found = np.hstack([np.hstack([p.force, p.point, p.torque]) for p in recorded.plates])
    assert_allclose(found, values())
    assert recorded.notes == ()


@pytest.mark.parametrize(
    ("pattern", "sides"),
    [
        ("{s}_ground_force_v{a} {s}_ground_force_p{a} {s}_ground_torque_{a}", "RL"),
        ("ground_force_{s}_v{a} ground_force_{s}_p{a} ground_torque_{s}_{a}", "rl"),
        ("ground_force_calcn_{s}_v{a} ground_force_calcn_{s}_p{a} ground_torque_calcn_{s}_{a}", "rl"),
        ("{s}_F{a} {s}_COP{a} {s}_M{a}", ("right", "left")),
    ],
)
def test_names_of_sides_are_read_as_claims(tmp_path, pattern, sides):
    names = [part.format(s=s, a=a) for s in sides for part in pattern.split() for a in "xyz"]
    assert [plate.side for plate in read(tmp_path, names, values()).plates] == ["r", "l"]


def test_one_plate_without_a_number_is_read(tmp_path):
    names = [f"{p}{a}" for p in ("ground_force_v", "ground_force_p", "ground_torque_") for a in "xyz"]
    (plate,) = read(tmp_path, names, values()[:, :9]).plates
    assert plate.side is None
    assert_allclose(plate.force, values()[:, :3])


def test_columns_in_any_order_and_foreign_ones_are_sorted_out(tmp_path):
    names, table = [*labels(BOTH["number inside"]), "emg_1", "belt_speed"], np.hstack([values(), np.ones((50, 2))])
    order = np.random.default_rng(1).permutation(len(names))
    recorded = read(tmp_path, [names[k] for k in order], table[:, order])
    by_name = {plate.name: plate for plate in recorded.plates}
    assert_allclose(by_name["2"].force, values()[:, 9:12])
    assert_allclose(by_name["1"].torque, values()[:, 6:9])
    (note,) = recorded.notes
    assert "2 column(s) left out" in note
    assert "emg_1" in note
    assert "belt_speed" in note


@pytest.mark.parametrize(
    ("gone", "lacks"),
    [
        ({"ground_force_2_vz"}, "plate '2' lacks its force along z (it has ground_force_2_vx"),
        ({f"ground_force_1_p{a}" for a in "xyz"}, "plate '1' lacks its point along x, y, z"),
        ({"ground_torque_1_x", "ground_torque_1_z"}, "plate '1' lacks its torque along x, z"),
        ({f"ground_force_2_v{a}" for a in "xyz"}, "plate '2' lacks its force along x, y, z"),
    ],
)
def test_an_incomplete_plate_is_refused_by_its_columns(tmp_path, gone, lacks):
    names = labels(BOTH["number inside"])
    kept = [k for k, name in enumerate(names) if name not in gone]
    with pytest.raises(ForcePlateError, match=re.escape(lacks)):
        read(tmp_path, [names[k] for k in kept], values()[:, kept])


def test_a_file_without_plates_is_refused_by_its_columns(tmp_path):
    with pytest.raises(ForcePlateError, match=r"no column is recognised.*It has: knee_angle_r, pelvis_tx"):
        read(tmp_path, ["knee_angle_r", "pelvis_tx"], np.ones((50, 2)))


def test_two_columns_of_one_meaning_are_refused(tmp_path):
    names, table = [*labels(BOTH["number inside"]), "1_ground_force_vx"], np.hstack([values(), np.ones((50, 1))])
    with pytest.raises(ForcePlateError, match="'1_ground_force_vx' both name the force along x"):
        read(tmp_path, names, table)


def test_a_plate_without_torque_is_read_with_a_note(tmp_path):
    names = labels(BOTH["number inside"])
    kept = [k for k, name in enumerate(names) if "torque_1" not in name]
    recorded = read(tmp_path, [names[k] for k in kept], values()[:, kept])
    assert_allclose(recorded.plates[0].torque, 0.0)
    assert recorded.notes == ("forces.mot: plate '1' reports no torque; none is applied.",)


def test_the_force_on_the_plate_is_turned_with_a_note(tmp_path):
    table = values()
    table[:, [0, 1, 2, 6, 7, 8]] *= -1.0
    recorded = read(tmp_path, labels(BOTH["number inside"]), table)
    found = np.hstack([np.hstack([p.force, p.point, p.torque]) for p in recorded.plates])
    assert_allclose(found, values())
    (note,) = recorded.notes
    assert "plate '1' reports the force on the plate" in note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t[:, [0, 2, 1, *range(3, 18)]], "plate '1' acts along Z, not along Y"),
        (lambda t: t * np.where(np.isin(np.arange(18), [3, 4, 5]), 1e5, 1.0), "hardly metres; divide them by 1000"),
        (lambda t: t * 1e3, "hardly newtons"),
        (lambda t: t * 1e-3, "no plate .* ever carries more than 20 N"),
    ],
)
def test_other_axes_and_units_are_refused(tmp_path, change, message):
    with pytest.raises(ForcePlateError, match=message):
        read(tmp_path, labels(BOTH["number inside"]), change(values()))


def test_a_torque_about_the_plates_origin_gives_the_same_centre_of_pressure():
    """p x F about the centre of pressure is (p - o) x F more about the origin o of the plate."""
    force = np.array([[12.0, 600.0, -30.0]] * 3)
    pressed = np.array([[0.31, 0.02, -0.12], [0.33, 0.02, -0.10], [0.35, 0.02, -0.11]])
    free = np.array([[0.0, 4.0, 0.0]] * 3)
    origin = np.array([[0.25, 0.02, -0.25]] * 3)
    at_pressure = Plate("1", force, pressed, free)
    at_origin = Plate("1", force, origin, free + np.cross(pressed - origin, force))
    assert_allclose(at_origin.moment, at_pressure.moment, atol=1e-12)
    assert_allclose(at_origin.centre_of_pressure(), pressed, atol=1e-12)


def test_an_unloaded_plate_has_no_centre_of_pressure_and_is_not_turned():
    idle = Plate("3", np.full((4, 3), -3.0), np.zeros((4, 3)), np.zeros((4, 3)))
    assert np.isnan(idle.centre_of_pressure()[:, [0, 2]]).all()
    plate, note = upright(Path("x.mot"), idle)
    assert plate is idle
    assert note == ""


def with_text(path: Path, row: int, columns: range) -> Path:
    """Write NaN into some cells of a row, as laboratories do for points of an empty plate."""
    lines = path.read_text(encoding="utf-8").splitlines()
    at = lines.index("endheader") + 2 + row
    cells = lines[at].split("\t")
    for column in columns:
        cells[column + 1] = "NaN"
    lines[at] = "\t".join(cells)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_points_may_be_missing_while_the_plate_is_empty(tmp_path):
    table = values()
    table[3, :9] = 0.0
    names = labels(BOTH["number before"])
    found = read_force_plates(with_text(write(tmp_path, names, table), 3, range(3, 9)))
    assert_allclose(found.plates[0].point[3], 0.0)
    assert_allclose(found.plates[0].torque[3], 0.0)
    assert_allclose(found.plates[1].point, table[:, 12:15])


@pytest.mark.parametrize("columns", [range(1), range(3, 6)], ids=["force", "point under load"])
def test_numbers_missing_under_load_are_refused(tmp_path, columns):
    path = with_text(write(tmp_path, labels(BOTH["number before"]), values()), 3, columns)
    with pytest.raises(ForcePlateError, match=r"plate '1' has no number at 0\.0612"):
        read_force_plates(path)
