"""A person's model and muscle paths are made once, for all trials, and again where a motion leaves them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from small_models import biped, write_squat

from bige_opensim.io.storage import read_coordinates, write_coordinates
from bige_opensim.labelling import person_model as module
from bige_opensim.labelling.label_task import label_and_place
from bige_opensim.labelling.label_trials import label_trials
from bige_opensim.labelling.person_model import PersonModel, person_model
from bige_opensim.labelling.request import LabelSettings
from bige_opensim.physics.joint_problem import polynomial_columns
from bige_opensim.physics.muscle_pulls import KnownPaths
from bige_opensim.physics.muscles import Muscles

POLYNOMIAL = LabelSettings(solver="fast", audit=0.0)


@pytest.fixture
def squats(request_of, tmp_path):
    """Requests for four squats of one person, from shallow to deep."""
    model = biped(tmp_path / "biped.osim")
    for k, depth in enumerate((0.4, 0.6, 0.8, 1.0)):
        write_squat(model, tmp_path / f"t{k}.mot", depth=depth)
    return [request_of(f"t{k}") for k in range(4)]


@pytest.fixture
def fits(monkeypatch) -> list[np.ndarray]:
    """The movements around which paths are fitted, as they come."""
    found, compile_muscles = [], module.compile_muscles

    def noted(path, ranges, *, movement, poses, sampler):
        found.append(movement)
        return compile_muscles(path, ranges, movement=movement, poses=60, cache=False, sampler=sampler)

    monkeypatch.setattr(module, "compile_muscles", noted)
    return found


def silent(step: str, share: float) -> None:
    pass


def test_trials_of_a_person_share_one_model_and_one_fit_that_holds_all_they_do(squats, fits, monkeypatch):
    module._kept.cache_clear()
    loaded, load = [], module.load
    monkeypatch.setattr(module, "load", lambda path: (loaded.append(path), load(path))[1])
    labels = [label_and_place(r, POLYNOMIAL, squats, silent) for r in squats]
    assert [label["status"] for label in labels] == ["passed"] * 4
    assert len(loaded) == 2  # and once to sample paths
    assert len(fits) == 1
    assert len(fits[0]) == 4 * 60
    assert set(labels[0]["muscle_paths"]["moment_error_rms_nm"]) == set(labels[0]["muscles"])
    assert max(labels[0]["muscle_paths"]["moment_error_rms_nm"].values()) < 1.0


def test_a_motion_that_leaves_the_movement_is_fitted_with_it(squats, fits, tmp_path):
    person = person_model(squats[0].model)
    shallow = squats[:2]
    deep = read_coordinates(squats[3].motion, rotational=person.model.rotational).motion
    person.muscles(read_coordinates(shallow[0].motion, rotational=person.model.rotational).motion, shallow, POLYNOMIAL)
    assert len(fits) == 1
    muscles = person.muscles(deep, shallow, POLYNOMIAL)
    assert len(fits) == 2
    assert len(fits[1]) == 3 * 60
    assert bool(muscles.in_range(torch.as_tensor(deep.select(person.skeleton.coordinates).values)).all())


def test_a_trial_whose_kinematics_jump_or_cannot_be_read_does_not_spoil_the_fit_of_the_others(squats, fits):
    person = PersonModel(squats[0].model)
    broken = read_coordinates(squats[1].motion, rotational=person.model.rotational).motion
    values = broken.values.copy()
    values[30:, broken.index("knee_angle_r")] += 2.0
    write_coordinates(squats[1].motion, broken.with_values(values), rotational=person.model.rotational)
    squats[2].motion.write_text("no motion")
    person.muscles(broken, squats, replace(POLYNOMIAL, cutoff_hz=0.0))
    assert len(fits[0]) == 2 * 60
    assert fits[0][:, person.skeleton.index("knee_angle_r")].max() < 2.0


def test_trials_of_one_session_with_different_models_are_fitted_and_audited_apart(squats, tmp_path):
    stronger = biped(tmp_path / "stronger.osim", strength=1.5)
    folder = tmp_path / "labels" / "stronger"
    others = [replace(r, model=stronger, model_folder=folder, out=folder / r.trial) for r in squats[2:]]
    settings = replace(POLYNOMIAL, audit=0.01)
    outcomes = {o.trial: o for o in label_trials([*squats[:2], *others], settings, jobs=1)}
    audits = {t: o.label["audit"] for t, o in outcomes.items()}
    assert {o.status for o in outcomes.values()} == {"passed"}
    assert audits["t0"] == audits["t1"]
    assert audits["t2"] == audits["t3"]
    assert audits["t0"] != audits["t2"]
    assert all(a["of_trials"] == 2 and a["max"] < 0.02 for a in audits.values())


def test_a_missing_model_and_a_motion_of_another_model_are_said_and_the_other_trials_go_on(squats, tmp_path):
    squats[1] = replace(squats[1], model=tmp_path / "missing.osim")
    squats[2].motion.write_text(
        "Coordinates\nversion=1\nnRows=2\nnColumns=2\ninDegrees=no\nendheader\ntime\tx\n0\t0\n1\t0\n"
    )
    outcomes = {o.trial: o for o in label_trials(squats, POLYNOMIAL, jobs=1)}
    assert {t: o.status for t, o in outcomes.items()} == {
        "t0": "passed",
        "t1": "failed",
        "t2": "failed",
        "t3": "passed",
    }
    assert "no such model file" in outcomes["t1"].reason
    assert "none of its columns" in outcomes["t2"].reason


def test_known_paths_take_the_place_of_polynomials_where_they_are_known(squats):
    person = person_model(squats[0].model)
    recorded = read_coordinates(squats[0].motion, rotational=person.model.rotational).motion
    q = recorded.select(person.skeleton.coordinates)
    muscles = person.muscles(q, (), POLYNOMIAL)
    values, speeds = torch.as_tensor(q.values), torch.as_tensor(q.derivatives()[0].values)
    wanted = np.zeros((q.frames, len(muscles.names)), dtype=bool)
    wanted[10:20, [0, 3]] = True
    lengths, arms = person._sampler.where(wanted, q.values)
    which = [0, 3]
    known = KnownPaths(torch.tensor(which), torch.as_tensor(lengths[:, which]), torch.as_tensor(arms[:, which]))
    plain = polynomial_columns(muscles, values, speeds)
    mixed = polynomial_columns(muscles, values, speeds, known)
    changed = (plain != mixed).any(1)
    assert not changed[:10].any()
    assert not changed[20:].any()
    assert not changed[:, [1, 2, 4, 5]].any()
    full = person._sampler.where(np.ones_like(wanted), q.values)
    exact = polynomial_columns(
        muscles, values, speeds, KnownPaths(torch.arange(len(muscles.names)), *(torch.as_tensor(v) for v in full))
    )
    assert_allclose(mixed[10:20][:, :, which], exact[10:20][:, :, which], rtol=1e-12)


def test_muscles_that_polynomials_do_not_follow_keep_opensims_paths(squats):
    person = PersonModel(squats[0].model)
    recorded = read_coordinates(squats[3].motion, rotational=person.model.rotational).motion
    q = recorded.select(person.skeleton.coordinates)
    muscles = person.muscles(q, (), POLYNOMIAL)
    assert person.known_paths(muscles, q) is None
    tables = muscles.tables
    spoilt = replace(
        tables,
        moment_arm_max=np.where(np.arange(len(tables.moment_arm_max)) < tables.span_offsets[1], 1.0, 0.0),
        rough=np.ones_like(tables.rough),
    )
    known = person.known_paths(Muscles(spoilt), q)
    assert known is not None
    assert known.muscle.tolist() == [0]
    assert bool(known.length.isfinite().all())
    assert person.about_paths(Muscles(spoilt))["by_opensim"] == [tables.names[0]]
