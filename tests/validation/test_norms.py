"""Norms against closed forms: intervals that hold what they say, and errors of measurement that were put in."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from small_models import biped, squat

import bige_opensim as bige
from bige_opensim.labelling.label import Label
from bige_opensim.validation.norms import (
    Channel,
    Performance,
    bounds_of,
    decade,
    interval,
    norms_of,
    statistics,
)
from bige_opensim.validation.norms_files import Norms, NormsError


def test_nineteen_of_twenty_new_people_lie_in_the_interval_even_of_few():
    """Also for five people, whose standard deviation is poorly known: the t distribution makes up for it."""
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(4000):
        people = rng.normal(10.0, 3.0, 6)
        low, high = interval(people[:5, None])
        assert low is not None
        assert high is not None
        inside.append(low[0] <= people[5] <= high[0])
    assert np.mean(inside) == pytest.approx(0.95, abs=0.012)


def test_a_person_counts_once_however_many_repetitions_there_are():
    few = statistics({"a": [1.0], "b": [2.0], "c": [3.0]}, "s")
    many = statistics({"a": [1.0] * 50, "b": [2.0], "c": [3.0]}, "s")
    assert (
        (few.mean, few.sd, few.low, few.high)
        == (many.mean, many.sd, many.low, many.high)
        == (
            2.0,
            1.0,
            pytest.approx(2.0 - stats.t.ppf(0.975, 2) * np.sqrt(4 / 3)),
            pytest.approx(2.0 + stats.t.ppf(0.975, 2) * np.sqrt(4 / 3)),
        )
    )


def test_the_error_of_measurement_and_the_detectable_change_are_those_that_were_put_in():
    rng = np.random.default_rng(1)
    people = rng.normal(50.0, 8.0, 400)
    found = statistics({str(i): list(m + rng.normal(0.0, 2.0, 5)) for i, m in enumerate(people)}, "degrees")
    assert found.sem == pytest.approx(2.0, rel=0.04)
    assert found.mdc95 == pytest.approx(1.96 * np.sqrt(2.0) * found.sem, rel=1e-3)
    assert found.icc == pytest.approx(64.0 / (64.0 + 4.0), abs=0.02)
    changes = rng.normal(0.0, 2.0, 20000) - rng.normal(0.0, 2.0, 20000)
    assert np.mean(np.abs(changes) > found.mdc95) == pytest.approx(0.05, abs=0.015), "chance alone, one time in twenty"


def test_icc_of_a_balanced_table_is_that_of_shrout_and_fleiss():
    """The six targets and four judges of Shrout and Fleiss 1979, table 2, whose ICC(1,1) is .17."""
    table = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)
    assert statistics({str(i): list(row) for i, row in enumerate(table)}, "1").icc == pytest.approx(0.17, abs=0.005)


def test_nothing_is_claimed_of_too_few_people_or_single_repetitions():
    found = statistics({"a": [1.0], "b": [2.0]}, "s")
    assert (found.low, found.high, found.sem, found.mdc95, found.icc) == (None,) * 5


def test_magnitudes_are_not_below_nothing_nor_activations_above_all():
    assert bounds_of("vasmed_r peak", "1") == (0.0, 1.0)
    assert bounds_of("knee_angle_r min", "degrees") == (-np.inf, np.inf)
    found = statistics({"a": [0.1], "b": [0.9], "c": [0.5]}, "1", (0.0, 1.0))
    assert (found.low, found.high) == (0.0, 1.0)


def performance(subject: str, right: float, left: float, **about: object) -> Performance:
    curve = np.sin(np.linspace(0.0, np.pi, 101))
    channels = {
        "knee_angle_r": Channel("degrees", right * curve + 5.0, True),
        "knee_angle_l": Channel("degrees", left * curve + 5.0, True),
        "ground_force_r_vy": Channel("body weights", 0.6 * curve, False),
        "ground_force_l_vy": Channel("body weights", 0.4 * curve, False),
        "lumbar_extension": Channel("degrees", -20.0 * curve, True),
    }
    return Performance(subject, "squat", 2.0, channels, **about)  # type: ignore[arg-type]


def test_measures_and_symmetry_of_a_repetition_are_those_of_its_curves():
    found = performance("a", 100.0, 80.0)
    assert found.measures["knee_angle_r max"] == (pytest.approx(105.0), "degrees")
    assert found.measures["knee_angle_r range"] == (pytest.approx(100.0), "degrees")
    assert found.measures["lumbar_extension min"] == (pytest.approx(-20.0), "degrees")
    assert found.measures["ground_force_r_vy peak"] == (pytest.approx(0.6), "body weights")
    assert found.symmetry == {
        "knee_angle symmetry": (pytest.approx(200.0 * 20.0 / 180.0), "%"),
        "ground_force_vy symmetry": (pytest.approx(40.0), "%"),
    }
    assert performance("a", 80.0, 100.0).symmetry["knee_angle symmetry"][0] == pytest.approx(-200.0 * 20.0 / 180.0)


def test_groups_of_sex_and_age_are_made_where_they_are_known_and_have_several_people():
    people = [("a", "f", 25.0), ("b", "f", 29.0), ("c", "m", 23.0), ("d", None, None)]
    found = norms_of([performance(s, 90.0, 90.0, sex=sex, age_years=age) for s, sex, age in people])
    groups = {(g["sex"], g["age"]): g["people"] for g in found["squat"]["groups"]}
    assert groups == {(None, None): 4, ("f", None): 2, (None, "20-29"): 3, ("f", "20-29"): 2}
    assert (decade(30.0), decade(29.9), decade(None)) == ("30-39", "20-29", None)


def test_curves_have_the_interval_of_people_at_every_sample():
    found = norms_of([performance(str(i), 90.0 + i, 90.0) for i in range(5)])["squat"]["curves"]["knee_angle_r"]
    curve = np.sin(np.linspace(0.0, np.pi, 101))
    assert_allclose(found["mean"], 92.0 * curve + 5.0)
    half = stats.t.ppf(0.975, 4) * np.std(np.arange(5.0), ddof=1) * np.sqrt(1.2) * curve
    assert_allclose(found["high"] - found["mean"], half, atol=1e-9)
    assert_allclose(found["mean"] - found["low"], half, atol=1e-9)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> list[Label]:
    """Four people who squat to different depths, twice each."""
    model = biped(tmp_path_factory.mktemp("norms") / "biped.osim")
    made = []
    for k, depth in enumerate((0.9, 1.0, 1.1, 1.2)):
        motion = squat(model, frames=240, rate_hz=60.0, depth=depth)
        label = bige.label(motion, model=model, solver="fast", geometry="exact", audit=0.0, cutoff_hz=0.0)
        record = {**label.record, "subject": f"s{k}", "session": f"OpenCapData_s{k}", "trial": "squats"}
        made.append(Label(record, label.channels, label.joints, label.rotational, label.model))
    return made


def test_norms_of_labels_are_what_the_labels_show(labels: list[Label], tmp_path: Path):
    found = bige.norms(labels, movement="squat", include_failed=True)
    depth = found.measures("squat")["knee_angle_r max"]
    shown = [np.rad2deg(label.coordinates["knee_angle_r"].max()) for label in labels]
    assert depth.people == 4
    assert depth.mean == pytest.approx(np.mean(shown), rel=1e-3)
    assert depth.sd == pytest.approx(np.std(shown, ddof=1), rel=1e-2)
    force = found.measures("squat")["ground_force_r_vy peak"]
    assert 0.4 < force.mean < 1.0, "about half a body weight on each foot"
    assert abs(found.measures("squat")["ground_force_vy symmetry"].mean) < 2.0, "the biped is symmetric"
    again = Norms.load(found.save(tmp_path / "norms.json"))
    assert again.measures("squat")["knee_angle_r max"].mean == pytest.approx(depth.mean, rel=1e-5)
    assert again.provenance["labels"] == [f"OpenCapData_s{k}/squats" for k in range(4)]
    table = found.to_frame()
    assert list(table.columns[:5]) == ["movement", "sex", "age", "measure", "unit"]
    found.save(tmp_path / "norms.csv")
    assert (tmp_path / "norms.csv").read_text().count("\n") == len(table) + 1


def test_metadata_of_sessions_tell_sex_and_age(labels: list[Label], tmp_path: Path):
    for k, lines in enumerate(("gender_mf: F\nage_years: 24", "sex: female\nage: 28", "gender_mf: M", "age: old")):
        session = tmp_path / f"OpenCapData_s{k}"
        (session / "OpenSimData").mkdir(parents=True)
        (session / "sessionMetadata.yaml").write_text(f"subjectID: s{k}\nmass_kg: 70\n{lines}\n", encoding="utf-8")
    found = bige.norms(labels, sessions=tmp_path, movement="squat", include_failed=True)
    groups = {(g["sex"], g["age"]): g["people"] for g in found.movements["squat"]["groups"]}
    assert groups == {(None, None): 4, ("f", None): 2, (None, "20-29"): 2, ("f", "20-29"): 2}


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        '{"format": "bige-norms/1"}',
        '{"format": "bige-norms/1", "movements": {"squat": {"groups": []}}}',
        "x",
    ],
)
def test_a_file_that_holds_no_norms_is_refused_in_a_sentence(content: str, tmp_path: Path):
    path = tmp_path / "norms.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(NormsError, match=r"norms\.json"):
        Norms.load(path)


def test_numbers_that_are_none_are_refused(labels: list[Label], tmp_path: Path):
    path = bige.norms(labels, movement="squat", include_failed=True).save(tmp_path / "norms.json")
    content = json.loads(path.read_text())
    content["movements"]["squat"]["groups"][0]["measures"]["duration"]["mean"] = "<script>"
    path.write_text(json.dumps(content))
    with pytest.raises(NormsError, match="norms"):
        Norms.load(path)


def test_labels_without_a_repetition_say_what_to_do(tmp_path: Path):
    with pytest.raises(NormsError, match="bige label"):
        bige.norms(tmp_path)
