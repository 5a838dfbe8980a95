"""Labelled folders become one dataset of repetitions that says what is in it and what is not."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import closed_form_movements as made
import numpy as np
import pytest
import xarray as xr
from scipy.spatial.transform import Rotation

from bige_opensim.io.storage import write_storage
from bige_opensim.learning.dataset import VARIABLES, DatasetError, build_dataset, load_dataset, save_dataset
from bige_opensim.learning.labelled_trials import FEATURES
from bige_opensim.motion import Motion
from bige_opensim.movements.body import GENERIC_LENGTHS

COORDINATES = (
    *("pelvis_tilt", "pelvis_list", "pelvis_rotation", "pelvis_tx", "pelvis_ty", "pelvis_tz"),
    *("hip_flexion_r", "knee_angle_r", "hip_flexion_l", "knee_angle_l"),
)
MUSCLES = ("vasmed_r", "soleus_r", "vasmed_l", "soleus_l")
ROOT = {
    "rotations": ["pelvis_tilt", "pelvis_list", "pelvis_rotation"],
    "axes": [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
    "translations": ["pelvis_tx", "pelvis_ty", "pelvis_tz"],
}
GROUND = -0.02
HEADING = 2.0


def squatting(repetitions: int, rate_hz: float = 100.0) -> tuple[np.ndarray, np.ndarray]:
    """Times from 1.5 s, and knee flexion (rad) of so many 2 s squats with 0.6 s of standing around each."""
    time = 1.5 + np.arange(round(2.6 * repetitions * rate_hz) + 1) / rate_hz
    phase = np.clip(((time - 1.5) % 2.6 - 0.3) / 2.0, 0.0, 1.0)
    return time, 0.05 + np.deg2rad(95.0) * np.sin(np.pi * phase) ** 2


def write_trial(
    labels: Path,
    name: str,
    *,
    subject: str,
    repetitions: int = 3,
    coordinates: Sequence[str] = COORDINATES,
    muscles: Sequence[str] = MUSCLES,
    rate_hz: float = 100.0,
    motion: Motion | None = None,
    **label: Any,
) -> Path:
    """A labelled trial: heading 2 rad, ground at -0.02 m, activations that are known functions of the knee.

    With `motion`, a trial of that motion.
    """
    folder = labels / name
    folder.mkdir(parents=True)
    time, knee = squatting(repetitions, rate_hz)
    if motion is not None:
        time, knee, coordinates = motion.time, motion["knee_angle_r"], motion.names
    forward = 0.05 * np.sin(knee)
    facing = Rotation.from_euler("Y", HEADING) * Rotation.from_euler("Z", -0.3 * knee[:, None])
    angles = np.unwrap(facing.as_euler("ZXY"), axis=0)
    moving = {
        **dict(zip(ROOT["rotations"], angles.T, strict=True)),
        "pelvis_tx": 3.0 + forward * np.cos(HEADING),
        "pelvis_ty": 0.95 - 0.2 * knee,
        "pelvis_tz": -1.0 - forward * np.sin(HEADING),
        "hip_flexion_r": 0.9 * knee,
        "hip_flexion_l": 0.9 * knee,
        "knee_angle_r": knee,
        "knee_angle_l": 0.97 * knee,
    }
    q = np.stack([moving.get(c, np.zeros_like(knee)) for c in coordinates], axis=1)
    if motion is not None:
        q = motion.values
    a = np.stack([0.05 + 0.1 * (i + 1) * knee / 2 for i in range(len(muscles))], axis=1)
    names = [f"/jointset/j/{c}/{what}" for c in coordinates for what in ("value", "speed")]
    names += [f"/forceset/{m}/activation" for m in muscles]
    values = np.hstack([np.stack([q, np.gradient(q, time, axis=0)], axis=2).reshape(len(time), -1), a])
    write_storage(folder / "states.sto", time, values, names, in_degrees=False)
    moments = [f"{c}_{'force' if c in ROOT['translations'] or c.endswith('_tx') else 'moment'}" for c in coordinates]
    write_storage(folder / "inverse_dynamics.sto", time, 0.0 * q, moments, in_degrees=False)
    content = {
        "format": "bige-label/1",
        "status": "passed",
        "reason": "all quality gates passed",
        "session": f"session_{subject}",
        "subject": subject,
        "trial": folder.name,
        "mass_kg": 70.0,
        "model": {"file": "m.osim", "sha256": "0" * 64},
        "ground_height_m": GROUND,
        "coordinates": list(coordinates),
        "muscles": list(muscles),
        "root": ROOT,
        "subject_features": {name: 0.1 * (1 + i) for i, name in enumerate(reversed(FEATURES))}
        if motion is None
        else {"mass_kg": 75.0, "strength_n": 1e5, **GENERIC_LENGTHS},
        "provenance": {"bige_opensim": "0"},
    }
    (folder / "label.json").write_text(json.dumps(content | label), encoding="utf-8")
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    root = tmp_path / "labels"
    write_trial(root, "one/squats1", subject="a", repetitions=4)
    write_trial(root, "one/squats2", subject="a", repetitions=3, rate_hz=60.0)
    write_trial(root, "deeper/two/squats1", subject="b", repetitions=2)
    write_trial(root, "deeper/three/squats1", subject="c", repetitions=2)
    return root


def test_every_repetition_of_every_trial_at_any_depth_is_there(labels: Path):
    ds = build_dataset(labels)
    assert dict(ds.sizes) == {"repetition": 11, "sample": 101, "coordinate": 10, "muscle": 4, "feature": 7}
    assert np.unique(ds["subject"].values, return_counts=True)[1].tolist() == [7, 2, 2]
    assert ds["coordinate"].values.tolist() == list(COORDINATES)
    assert ds["muscle"].values.tolist() == list(MUSCLES)
    assert ds["sample"].values[[0, 50, 100]].tolist() == [0.0, 50.0, 100.0]
    assert set(ds["status"].values) == {"passed"}


def test_values_are_those_of_the_trial_at_the_times_of_the_repetition(labels: Path):
    ds = build_dataset(labels)
    time, knee = squatting(4, 2000.0)
    for r in range(4):
        at = np.linspace(ds["start"].values[4 + r], ds["end"].values[4 + r], 101)
        expected = np.interp(at, time, knee)
        row = ds.isel(repetition=4 + r)
        assert (row["session"].item(), row["trial"].item()) == ("session_a", "squats1")
        assert row["q"].sel(coordinate="knee_angle_r").values == pytest.approx(expected, abs=1e-5)
        assert row["activations"].sel(muscle="soleus_r").values == pytest.approx(0.05 + 0.1 * expected, abs=1e-5)
        assert row["duration"].item() == pytest.approx(at[-1] - at[0])
        assert row["depth_deg"].item() == pytest.approx(np.rad2deg(knee.max()), abs=0.5)


def test_heading_place_and_ground_height_are_taken_out(labels: Path):
    ds = build_dataset(labels)
    q = ds["q"]
    for name in ("pelvis_list", "pelvis_rotation", "pelvis_tz"):
        assert np.abs(q.sel(coordinate=name).values).max() < 1e-5
    knee = q.sel(coordinate="knee_angle_r").values
    assert q.sel(coordinate="pelvis_tx").values == pytest.approx(0.05 * (np.sin(knee) - np.sin(knee[:, :1])), abs=1e-4)
    assert q.sel(coordinate="pelvis_ty").values == pytest.approx(0.95 - 0.2 * knee - GROUND, abs=1e-9)
    assert q.sel(coordinate="pelvis_tilt").values == pytest.approx(-0.3 * knee, abs=1e-5)


def test_variables_say_their_units_and_which_coordinates_turn(labels: Path):
    ds = build_dataset(labels)
    for name, (dimensions, units, _) in VARIABLES.items():
        assert ds[name].dims == dimensions
        assert ds[name].attrs["long_name"]
        assert ds[name].attrs.get("units", "") == units
    turning = dict(zip(COORDINATES, ds["rotational"].values.tolist(), strict=True))
    assert [name for name, turns in turning.items() if not turns] == ROOT["translations"]


def test_a_sliding_joint_inside_the_body_is_not_taken_for_a_rotation(tmp_path: Path):
    write_trial(tmp_path, "one/squats1", subject="a", coordinates=(*COORDINATES, "lumbar_tx"))
    ds = build_dataset(tmp_path)
    assert not ds["rotational"].sel(coordinate="lumbar_tx")
    assert ds["rotational"].sel(coordinate="knee_angle_r")


def test_features_come_in_a_fixed_order(labels: Path):
    ds = build_dataset(labels)
    assert ds["feature"].values.tolist() == list(FEATURES)
    np.testing.assert_allclose(ds["features"].values[0], [0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_a_subject_is_in_one_part_only_and_the_seed_repeats_the_dataset(labels: Path):
    ds = build_dataset(labels, seed=3)
    parts = {s: set(ds["split"].values[ds["subject"].values == s]) for s in "abc"}
    assert parts["a"] == {"train"}
    assert sorted(next(iter(parts[s])) for s in "bc") == ["test", "validation"]
    xr.testing.assert_identical(ds, build_dataset(labels, seed=3))


def test_the_split_can_be_given(labels: Path):
    ds = build_dataset(labels, split={"a": "test", "b": "train", "c": "validation"})
    assert set(ds["split"].values[ds["subject"].values == "a"]) == {"test"}
    with pytest.raises(DatasetError, match="without a part: b, c"):
        build_dataset(labels, split={"a": "train"})


def test_saved_and_loaded_it_is_the_same(labels: Path, tmp_path: Path):
    ds = build_dataset(labels)
    save_dataset(ds, tmp_path / "reps.nc")
    xr.testing.assert_identical(load_dataset(tmp_path / "reps.nc"), ds)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["reps.nc"]


def test_a_failed_write_leaves_the_old_file(labels: Path, tmp_path: Path):
    path = tmp_path / "reps.nc"
    ds = build_dataset(labels)
    save_dataset(ds, path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_dataset(ds.assign_attrs(bad=object()), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["reps.nc"]


def test_the_dataset_for_tests_of_networks_looks_like_a_built_one(labels: Path, synthetic_dataset: xr.Dataset):
    ds = build_dataset(labels)
    assert set(synthetic_dataset.variables) == set(ds.variables)
    assert set(synthetic_dataset.attrs) == set(ds.attrs)
    for name in ds.variables:
        assert synthetic_dataset[name].dims == ds[name].dims
        assert synthetic_dataset[name].dtype == ds[name].dtype
        assert synthetic_dataset[name].attrs.keys() == ds[name].attrs.keys()
    assert synthetic_dataset["feature"].values.tolist() == ds["feature"].values.tolist()


def test_trials_that_cannot_be_used_are_listed_with_the_reason(labels: Path):
    write_trial(labels, "bad/failing", subject="d", status="gates_failed", reason="residual_force 12 > 5 %")
    write_trial(labels, "bad/crashed", subject="d", status="failed", reason="the model broke")
    write_trial(labels, "bad/standing", subject="d", repetitions=1, muscles=MUSCLES[:1])
    still = labels / "bad/standing/states.sto"
    lines = still.read_text(encoding="utf-8").splitlines()
    still.write_text("\n".join(lines[:40]).replace("nRows=261", "nRows=33"), encoding="utf-8")
    (write_trial(labels, "bad/cut", subject="d") / "states.sto").write_text("", encoding="utf-8")
    (write_trial(labels, "bad/json", subject="d") / "label.json").write_text("{", encoding="utf-8")
    (write_trial(labels, "bad/old", subject="d") / "label.json").write_text('{"format": "x/0"}', encoding="utf-8")
    write_trial(labels, "bad/thin", subject="d", subject_features={"mass_kg": 1.0})
    (write_trial(labels, "bad/other", subject="d") / "inverse_dynamics.sto").unlink()
    ds = build_dataset(labels)
    reasons = {item["trial"]: item["reason"] for item in json.loads(ds.attrs["excluded"])}
    assert ds.sizes["repetition"] == 11
    assert reasons.keys() == {f"bad/{path.name}" for path in (labels / "bad").iterdir()}
    assert len(reasons) == 8
    assert "residual_force 12" in reasons["bad/failing"]
    assert "the model broke" in reasons["bad/crashed"]
    assert "no repetition" in reasons["bad/standing"]
    assert "states.sto: the file is empty" in reasons["bad/cut"]
    assert "not JSON" in reasons["bad/json"]
    assert "bige-label/1" in reasons["bad/old"]
    assert "lacks femur_length_m" in reasons["bad/thin"]
    assert "inverse_dynamics.sto" in reasons["bad/other"]


def test_failed_gates_can_be_included_and_stay_marked(labels: Path):
    write_trial(labels, "bad/failing", subject="d", repetitions=2, status="gates_failed", reason="residual_force")
    ds = build_dataset(labels, include_failed=True)
    assert ds.sizes["repetition"] == 13
    assert set(ds["status"].values[ds["subject"].values == "d"]) == {"gates_failed"}


def test_folders_still_being_written_are_passed_over(labels: Path):
    write_trial(labels, "one/.squats3.partial-1", subject="a")
    assert build_dataset(labels).sizes["repetition"] == 11


def test_trials_can_be_chosen_by_name(labels: Path):
    ds = build_dataset(labels, trials="*2")
    assert set(ds["trial"].values) == {"squats2"}
    assert len(json.loads(ds.attrs["excluded"])) == 3


def test_coordinates_that_a_trial_lacks_are_left_out_and_noted(labels: Path):
    write_trial(labels, "new/squats1", subject="d", coordinates=(*COORDINATES[:-1], "neck", COORDINATES[-1]))
    ds = build_dataset(labels)
    assert ds["coordinate"].values.tolist() == list(COORDINATES)
    assert json.loads(ds.attrs["coordinates_left_out"]) == ["neck"]


def test_other_muscles_are_an_error_that_names_the_trial(labels: Path):
    write_trial(labels, "z/squats1", subject="d", muscles=(*MUSCLES[:-1], "gasmed_l"))
    with pytest.raises(DatasetError, match=r"z/squats1 has 4 muscles.*gasmed_l, soleus_l"):
        build_dataset(labels)


def test_another_root_joint_is_an_error_that_names_the_trial(labels: Path):
    write_trial(labels, "z/squats1", subject="d", root=ROOT | {"axes": ROOT["axes"][::-1]})
    with pytest.raises(DatasetError, match=r"and z/squats1 place the body by different root joints"):
        build_dataset(labels)


def test_an_oblique_root_axis_is_an_error_that_names_the_trial(tmp_path: Path):
    axes = Rotation.from_euler("Y", 0.3).as_matrix().tolist()
    write_trial(tmp_path, "z/squats1", subject="d", root=ROOT | {"axes": axes})
    with pytest.raises(DatasetError, match=r"z/squats1.*three coordinate axes"):
        build_dataset(tmp_path)


def test_provenance_names_labels_models_and_versions(labels: Path):
    found = build_dataset(labels, seed=5)
    attrs = found.attrs
    assert attrs["seed"] == 5
    assert {len(sha) for sha in json.loads(attrs["labels_sha256"]).values()} == {64}
    first = f"{found['session'].values[0]}/{found['trial'].values[0]}"
    assert json.loads(attrs["models"])[first]["file"] == "m.osim"
    assert json.loads(attrs["root"]) == ROOT
    assert attrs["bige_opensim"]


def test_models_are_known_by_session_and_trial_wherever_labels_lie(tmp_path: Path):
    """A single label has no folders around it; rounds of labels have one more."""
    write_trial(tmp_path, "round 1/one/squats1", subject="a")
    deeper, alone = (build_dataset(tmp_path / place) for place in ("", "round 1/one/squats1"))
    for found in (deeper, alone):
        names = {f"{s}/{t}" for s, t in zip(found["session"].values, found["trial"].values, strict=True)}
        assert json.loads(found.attrs["models"]).keys() == names


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_labels_is_named(tmp_path: Path, exists: bool):
    folder = tmp_path if exists else tmp_path / "nothing"
    with pytest.raises(DatasetError, match=f"{folder.name}: no labelled trials"):
        build_dataset(folder)


def test_when_all_are_left_out_the_reasons_and_the_remedy_are_listed(tmp_path: Path):
    write_trial(tmp_path, "one/squats1", subject="a", status="gates_failed", reason="reserves 9 > 5 %")
    write_trial(tmp_path, "one/squats2", subject="a", status="failed", reason="no model")
    with pytest.raises(DatasetError, match=r"(?s)reserves 9 > 5 %.*no model.*--include-failed"):
        build_dataset(tmp_path)


def test_the_remedy_is_not_offered_where_it_does_not_help(tmp_path: Path):
    write_trial(tmp_path, "one/squats2", subject="a", status="failed", reason="no model")
    with pytest.raises(DatasetError) as caught:
        build_dataset(tmp_path)
    assert "--include-failed" not in str(caught.value)


def test_another_movement_is_cut_by_its_own_rule_with_sides_and_events(tmp_path: Path):
    write_trial(tmp_path, "one/walk", subject="a", motion=made.walking())
    ds = build_dataset(tmp_path, movement="gait")
    assert ds.attrs["movement"] == "gait"
    assert ds["side"].values.tolist() == ["right", "left"] * 3
    for r in range(6):
        row = ds.isel(repetition=r)
        times = dict(json.loads(row["events"].item()))
        assert times.keys() == {"opposite_strike", "toe_off"}
        assert all(row["start"].item() < time < row["end"].item() for time in times.values())


def test_a_trial_of_another_movement_is_left_out_and_the_reason_says_which(labels: Path):
    write_trial(labels, "chair/rise1", subject="d", motion=made.sit_to_stands())
    ds = build_dataset(labels)
    (left_out,) = json.loads(ds.attrs["excluded"])
    assert left_out["trial"] == "chair/rise1"
    assert (
        "no repetition of the movement 'squat' found; it holds 3 of the movement 'sit-to-stand'" in left_out["reason"]
    )


@pytest.mark.parametrize(("make", "movement"), [(made.squats, "squat"), (made.jumps, "jump")])
def test_auto_finds_the_movement_that_all_trials_share(tmp_path: Path, make: Callable[[], Motion], movement: str):
    write_trial(tmp_path, "one/first", subject="a", motion=make())
    write_trial(tmp_path, "two/second", subject="b", motion=make())
    still = made.sit_to_stands().between(0.0, 0.9)
    write_trial(tmp_path, "two/still", subject="b", motion=still)
    ds = build_dataset(tmp_path, movement="auto")
    assert ds.attrs["movement"] == movement
    assert set(ds["trial"].values) == {"first", "second"}
    (left_out,) = json.loads(ds.attrs["excluded"])
    assert left_out == {"trial": "two/still", "reason": "no repetition of any movement found"}


def test_auto_refuses_several_movements_and_says_where_each_was_found(tmp_path: Path):
    for name, make in {"up": made.sit_to_stands, "squat": made.squats, "down": made.squats}.items():
        write_trial(tmp_path, f"one/{name}", subject="a", motion=make())
    with pytest.raises(DatasetError, match="hold 2 movements, and a dataset holds one") as caught:
        build_dataset(tmp_path, movement="auto")
    assert "squat: one/down, one/squat\n" in str(caught.value)
    assert "sit-to-stand: one/up\n" in str(caught.value)
    assert set(build_dataset(tmp_path, movement="sit-to-stand")["trial"].values) == {"up"}


def test_measured_forces_of_a_label_place_the_events(tmp_path: Path):
    motion = made.walking()
    folder = write_trial(tmp_path, "one/walk", subject="a", motion=motion, grf="measured")
    phase = [((motion.time - made.FIRST_STRIKE_S) / made.STRIDE_S - shift) % 1.0 for shift in (0.0, 0.5)]
    force = np.stack([np.where(p < made.STANCE, 500.0, 0.0) for p in phase], axis=1)
    write_storage(folder / "grf.mot", motion.time, force, [f"ground_force_{s}_vy" for s in "rl"], in_degrees=False)
    starts = build_dataset(tmp_path, movement="gait")["start"].values
    assert starts == pytest.approx(made.FIRST_STRIKE_S + made.STRIDE_S / 2 * np.arange(6), abs=0.011)


def test_missing_support_in_a_label_says_when_the_seat_was_left(tmp_path: Path):
    support = [{"start_s": 0.0, "end_s": 1.7, "peak_missing_bw": 0.6, "where": "seat"}]
    write_trial(tmp_path, "one/up", subject="a", motion=made.sit_to_stands(times=1), missing_support=support)
    (events,) = build_dataset(tmp_path, movement="sit-to-stand")["events"].values
    assert dict(json.loads(events))["seat_off"] == pytest.approx(1.7, abs=0.02)


def test_files_from_before_sides_and_events_can_be_read(labels: Path, tmp_path: Path):
    save_dataset(build_dataset(labels).drop_vars(["side", "events"]), tmp_path / "old.nc")
    ds = load_dataset(tmp_path / "old.nc")
    assert set(ds["side"].values) == {"both"}
    xr.testing.assert_identical(ds, build_dataset(labels))


def test_an_unknown_movement_is_an_error(labels: Path):
    with pytest.raises(DatasetError, match="no event rule for 'deadlift'"):
        build_dataset(labels, movement="deadlift")


@pytest.mark.parametrize("kind", ["missing", "text", "cut", "other netCDF"])
def test_what_is_no_dataset_is_refused_by_name(labels: Path, tmp_path: Path, kind: str):
    path = tmp_path / "reps.nc"
    if kind == "text":
        path.write_text("time\tknee\n", encoding="utf-8")
    elif kind == "cut":
        save_dataset(build_dataset(labels), path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "other netCDF":
        xr.Dataset({"a": ("x", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    expected = {"missing": "there is no such file", "other netCDF": "not a dataset of repetitions"}
    with pytest.raises(DatasetError, match=f"reps.nc: {expected.get(kind, 'not a netCDF file')}"):
        load_dataset(path)


def test_a_folder_that_does_not_exist_is_named_on_saving(labels: Path, tmp_path: Path):
    with pytest.raises(DatasetError, match=r"the folder .* does not exist"):
        save_dataset(build_dataset(labels), tmp_path / "no" / "reps.nc")
