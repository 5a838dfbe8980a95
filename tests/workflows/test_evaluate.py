"""`bige evaluate`: tables of sets that are known to be good, bad or copies."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from small_models import biped
from squat_repetitions import repetitions, squats, write_motions

from bige_opensim.commands.evaluation import evaluate as command
from bige_opensim.learning.dataset import DatasetError, load_dataset, save_dataset
from bige_opensim.osim.compile import compile_skeleton
from bige_opensim.physics.skeleton import Skeleton
from bige_opensim.validation import controls, evaluation_files
from bige_opensim.validation.evaluation import METRICS, RECORDINGS, Evaluation
from bige_opensim.validation.motion_set import MotionSetError, sha256
from bige_opensim.workflows.evaluate import evaluate

FEW = 20  # replicates


@pytest.fixture(scope="module", autouse=True)
def keep_apart(own_cache: None) -> None:
    """Compiled models of these tests stay out of the user's cache."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return biped(tmp_path_factory.mktemp("people") / "biped.osim")


@pytest.fixture(scope="module")
def reference(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "reps.nc"
    save_dataset(repetitions(model), path)
    return path


@pytest.fixture(scope="module")
def good(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squats of eight people whom nobody knows."""
    skeleton = Skeleton(compile_skeleton(model))
    made = [squats(skeleton, 1, seed) for seed in range(20, 28)]
    q, duration = (np.concatenate(part) for part in zip(*made, strict=True))
    return write_motions(tmp_path_factory.mktemp("good") / "motions", model, q, duration)


@pytest.fixture(scope="module")
def copied(model: Path, reference: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training motions as files."""
    ds = load_dataset(reference)
    ds = ds.isel(repetition=ds["split"].values == "train")
    folder = tmp_path_factory.mktemp("copied") / "motions"
    return write_motions(folder, model, ds["q"].values[:8], ds["duration"].values[:8])


@pytest.fixture(scope="module")
def table(
    reference: Path, good: Path, copied: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Evaluation, Path]:
    out = tmp_path_factory.mktemp("out") / "tables"
    found = evaluate(reference, {"good": good, "copied": copied}, out, models=[model.parent], replicates=FEW)
    return found, out


def value(found: Evaluation, row: str, metric: str) -> float:
    return next(r for r in found.rows if r.name == row).values[metric].value


def test_rows_are_recordings_methods_and_controls(table: tuple[Evaluation, Path]):
    names = [row.name for row in table[0].rows]
    assert names == [RECORDINGS, "good", "copied", controls.NOISE, controls.SHUFFLED, controls.COPY]
    assert [row.motions for row in table[0].rows] == [8, 8, 8, 8, 8, 20]
    assert [row.people for row in table[0].rows[:3]] == [2, 8, 8]


WORTH = {  # who is at least as good as people who were not trained on
    "wasserstein": (controls.NOISE,),
    **dict.fromkeys(("wasserstein_velocity", "frechet", "coverage", "density", "precision", "diversity"), ()),
    "smoothness": (),
    "slide": (controls.SHUFFLED,),  # the feet of these people do not move at all
    "penetration": (controls.SHUFFLED,),
    "floating": (controls.SHUFFLED,),
    "legacy_fidelity": (controls.NOISE, controls.SHUFFLED),
    "legacy_penetration": (controls.SHUFFLED,),
    "legacy_asymmetry": (controls.SHUFFLED,),
    "novelty": None,
    "confirmed": None,
}


def test_metrics_that_mean_something_are_told_from_those_that_noise_or_shuffled_motions_win(
    table: tuple[Evaluation, Path],
):
    assert {key: table[0].won_by[key] for key in WORTH} == WORTH


def test_noise_beats_people_in_the_papers_fidelity(table: tuple[Evaluation, Path]):
    found = table[0]
    assert value(found, controls.NOISE, "legacy_fidelity") < value(found, RECORDINGS, "legacy_fidelity")
    assert value(found, controls.SHUFFLED, "legacy_fidelity") < value(found, RECORDINGS, "legacy_fidelity")


def test_a_copy_is_nearest_and_not_new(table: tuple[Evaluation, Path]):
    found = table[0]
    for metric in ("wasserstein", "wasserstein_velocity", "frechet", "legacy_fidelity", "novelty"):
        assert value(found, controls.COPY, metric) == pytest.approx(0.0, abs=1e-6)
    assert value(found, controls.COPY, "coverage") == value(found, controls.COPY, "precision") == 1.0
    assert value(found, controls.COPY, "diversity") == pytest.approx(1.0)
    assert value(found, "copied", "novelty") < 0.02 < value(found, "good", "novelty")


def test_motions_come_back_from_their_files_as_they_were_in_the_dataset(table: tuple[Evaluation, Path]):
    assert value(table[0], "copied", "precision") == 1.0
    assert value(table[0], "copied", "slide") == pytest.approx(value(table[0], controls.COPY, "slide"), abs=0.5)


def test_planted_feet_neither_slide_nor_sink(table: tuple[Evaluation, Path]):
    for metric in ("slide", "penetration", "floating"):
        assert value(table[0], "good", metric) < 1.0
    assert value(table[0], controls.NOISE, "slide") > 50.0


def test_files_hold_the_table(table: tuple[Evaluation, Path], reference: Path, model: Path):
    found, out = table
    assert sorted(p.name for p in out.iterdir()) == [
        "coordinates.csv", "evaluation.csv", "evaluation.json", "evaluation.png", "evaluation.tex",
    ]  # fmt: skip
    frame = pd.read_csv(out / "evaluation.csv")
    assert len(frame) == len(found.rows) * len(METRICS)
    one = frame[(frame["set"] == "good") & (frame["metric"] == "frechet")].iloc[0]
    assert one["value"] == pytest.approx(value(found, "good", "frechet"))
    assert one["low"] < one["value"] < one["high"]
    content = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    assert content["metrics"]["legacy_fidelity"]["discriminates"] is False
    assert content["provenance"]["reference"]["sha256"] == sha256(reference)
    assert content["provenance"]["models_sha256"] == [sha256(model)]
    assert set(content["provenance"]["sets"][0]["sha256"]) == {f"motion_{i:02d}.mot" for i in range(1, 9)} | {
        "model.osim"
    }
    text = (out / "evaluation.tex").read_text(encoding="utf-8")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert r"fidelity, deg$^2$, m$^2$ $^\dagger$ noise, shuffled" in text
    coordinates = pd.read_csv(out / "coordinates.csv")
    assert set(coordinates["unit"]) == {"deg", "mm"}


def test_the_same_inputs_give_the_same_numbers(reference: Path, good: Path, tmp_path: Path):
    made = [evaluate(reference, {"good": good}, tmp_path / name, replicates=FEW).as_dict() for name in "ab"]
    assert made[0] == made[1]


def test_sets_of_one_name_are_runs_of_one_method(reference: Path, good: Path, copied: Path, tmp_path: Path):
    found = evaluate(reference, {"both": [good, copied], "good": good, "copied": [copied]}, tmp_path, replicates=FEW)
    both, one, other = found.rows[1:4]
    assert (both.name, both.runs, both.motions, one.runs) == ("both", 2, 8, 1)
    for metric in ("frechet", "coverage", "smoothness"):
        pair = [row.values[metric].value for row in (one, other)]
        assert both.values[metric].value == pytest.approx(np.mean(pair))
        assert both.values[metric].spread == pytest.approx(1.96 * np.std(pair, ddof=1))


def test_the_order_of_the_motions_does_not_matter(reference: Path, tmp_path: Path):
    ds = load_dataset(reference)
    test = ds.isel(repetition=ds["split"].values == "test")
    save_dataset(test, tmp_path / "one.nc")
    save_dataset(test.isel(repetition=slice(None, None, -1)), tmp_path / "other.nc")
    found = evaluate(
        reference, {"one": tmp_path / "one.nc", "other": tmp_path / "other.nc"}, tmp_path / "out", replicates=FEW
    )
    for metric in METRICS:
        assert value(found, "one", metric.key) == pytest.approx(value(found, "other", metric.key), nan_ok=True)


def test_without_models_the_contact_of_recordings_is_not_known_and_said_so(reference: Path, good: Path, tmp_path: Path):
    found = evaluate(reference, {"good": good}, tmp_path / "out", replicates=FEW)
    assert np.isnan(value(found, RECORDINGS, "slide"))
    assert value(found, "good", "slide") < 1.0
    assert found.won_by["slide"] is None
    assert any("bodies of the recordings are not known" in note for note in found.notes)


def test_coordinates_in_another_order_are_taken_by_name_and_noted(reference: Path, tmp_path: Path):
    ds = load_dataset(reference)
    save_dataset(ds.isel(coordinate=slice(None, None, -1)), tmp_path / "turned.nc")
    found = evaluate(reference, {"turned": tmp_path / "turned.nc", "same": reference}, tmp_path / "out", replicates=FEW)
    assert value(found, "turned", "wasserstein") == pytest.approx(value(found, "same", "wasserstein"))
    assert found.notes[0].startswith("turned: turned.nc: coordinates are in another order")


def test_angles_that_wrap_are_the_same_motion(reference: Path, tmp_path: Path):
    ds = load_dataset(reference)
    turned = ds.copy(deep=True)
    turned["q"].loc[{"coordinate": "pelvis_rotation"}] += 2 * np.pi
    turned["q"].loc[{"coordinate": "knee_angle_r"}] -= 4 * np.pi
    save_dataset(turned, tmp_path / "turned.nc")
    found = evaluate(reference, {"turned": tmp_path / "turned.nc", "same": reference}, tmp_path / "out", replicates=FEW)
    for metric in ("wasserstein", "frechet", "legacy_fidelity"):
        assert value(found, "turned", metric) == pytest.approx(value(found, "same", metric), abs=1e-6)


def test_a_dataset_without_held_out_people_says_that_nothing_can_be_told(reference: Path, good: Path, tmp_path: Path):
    ds = load_dataset(reference)
    save_dataset(ds.isel(repetition=ds["split"].values == "train"), tmp_path / "train.nc")
    found = evaluate(tmp_path / "train.nc", {"good": good}, tmp_path / "out", replicates=FEW)
    assert found.rows[0].name == "good"
    assert set(found.won_by.values()) == {None}
    assert any("Nobody is held out" in note for note in found.notes)


# ---- what cannot be compared


def of_another_skeleton(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign_coords(coordinate=[f"{n}_other" for n in ds["coordinate"].values])


def with_lengths_for_angles(ds: xr.Dataset) -> xr.Dataset:
    return ds.assign(rotational=("coordinate", np.zeros(ds.sizes["coordinate"], dtype=bool)))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (of_another_skeleton, "of another skeleton than the reference; it lacks pelvis_tilt"),
        (with_lengths_for_angles, "their units or the root joint differ"),
        (lambda ds: ds.isel(repetition=[0]), "one motion is no distribution"),
    ],
)
def test_datasets_that_cannot_be_compared_are_refused_with_a_sentence(
    change: object, sentence: str, reference: Path, tmp_path: Path
):
    save_dataset(change(load_dataset(reference)), tmp_path / "bad.nc")  # type: ignore[operator]
    with pytest.raises(MotionSetError, match=sentence):
        evaluate(reference, {"bad": tmp_path / "bad.nc"}, tmp_path / "out", replicates=FEW)
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be_compared_are_refused_with_a_sentence(
    reference: Path, good: Path, model: Path, tmp_path: Path
):
    (tmp_path / "empty").mkdir()
    with pytest.raises(MotionSetError, match=r"expected motions \(\*.mot\) and model.osim, found 0 motions and no"):
        evaluate(reference, {"x": tmp_path / "empty"}, tmp_path / "out")
    with pytest.raises(DatasetError, match="there is no such file"):
        evaluate(reference, {"x": tmp_path / "nowhere"}, tmp_path / "out")
    one = write_motions(
        tmp_path / "one", model, np.zeros((1, 101, len(compile_skeleton(model).coordinates))), np.ones(1)
    )
    with pytest.raises(MotionSetError, match="one motion is no distribution"):
        evaluate(reference, {"x": one}, tmp_path / "out")


@pytest.mark.parametrize(("count", "sentence"), [(0, "nobody trains"), (2, "has 2 training repetition")])
def test_references_that_are_too_small_are_refused(
    count: int, sentence: str, reference: Path, good: Path, tmp_path: Path
):
    ds = load_dataset(reference)
    train = np.flatnonzero(ds["split"].values == "train")
    save_dataset(ds.drop_isel(repetition=train[count:]), tmp_path / "small.nc")
    with pytest.raises(MotionSetError, match=sentence):
        evaluate(tmp_path / "small.nc", {"good": good}, tmp_path / "out")


def test_a_folder_with_other_content_is_left_alone(reference: Path, good: Path, tmp_path: Path):
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    assert command(f"good={good}", reference=reference, out=tmp_path) == 1
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_tables_are_written_whole_or_not_at_all(
    reference: Path, good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(found: Evaluation) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(evaluation_files, "latex", broken)
    with pytest.raises(OSError, match="no space"):
        evaluate(reference, {"good": good}, tmp_path / "out", replicates=FEW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sets", "sentence"),
    [
        (("motions",), "expected NAME=MOTIONS"),
        ((), "expected sets of motions by name"),
        (("=x",), "expected NAME=MOTIONS"),
        ((f"{RECORDINGS}=x",), "made by the evaluation itself"),
    ],
)
def test_the_command_says_how_sets_are_named(
    sets: tuple[str, ...], sentence: str, reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert command(*sets, reference=reference, out=tmp_path / "out") == 1
    assert sentence in capsys.readouterr().err.replace("\n", " ")


def test_the_command_prints_both_tables(
    reference: Path, good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert command(f"good={good}", reference=reference, out=tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "Maheshwari" in printed
    assert "does not discriminate" in printed
