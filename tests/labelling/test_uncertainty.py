"""Bands hold a truth that is drawn as they are, follow what they come from, and are told in files, tables and label."""

import json
from dataclasses import replace

import numpy as np
import opensim
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from bige_opensim.labelling.kinematics import prepare
from bige_opensim.labelling.label import Label
from bige_opensim.labelling.label_trial import label_in_memory
from bige_opensim.labelling.person_model import person_model
from bige_opensim.labelling.request import LabelSettings
from bige_opensim.labelling.uncertainty import SUFFIXES, USUAL, Case, Draw, Solver, Spreads, drawn, thinned
from bige_opensim.motion import Motion
from bige_opensim.osim.adjusted_model import write_adjusted_model
from bige_opensim.physics.contact import ground_height
from bige_opensim.settings import SettingError

NOTHING = Spreads(*(0.0,) * len(vars(USUAL)))
TRUTHS, DRAWS = 12, 60


@pytest.fixture
def settings(fast) -> LabelSettings:
    return replace(fast, cutoff_hz=0.0, consistency=None)


@pytest.fixture
def case(request_of, settings) -> Case:
    """The biped's squat at 20 frames of a second."""
    request = request_of()
    person = person_model(request.model)
    whole = prepare(person.model, person.skeleton, person.recorded(request, settings).motion, 0.0)
    window = whole.at(np.arange(0, whole.q.frames, 3))
    muscles = person.muscles(whole.q, (), settings)
    paths = (muscles, person.known_paths(muscles, window.q), person.lines(muscles))
    ground = ground_height(person.skeleton.contact_points(whole.state(person.skeleton).poses))
    return Case(person.model, person.skeleton, window, paths, ground, None, settings)


def truth(case: Case, draw: Draw, folder, request, settings) -> Label:
    """The label of a person who is as drawn, by a model file that OpenSim reads and OpenSim's own paths."""
    solver = Solver(case, USUAL)
    q, _, _ = solver.moved(draw)
    path = write_adjusted_model(case.model.path, folder / "true.osim", draw.tables)
    model = opensim.Model(str(path))
    for m, name in enumerate(case.model.muscle_names):
        muscle = model.updMuscles().get(name)
        muscle.setMaxIsometricForce(muscle.getMaxIsometricForce() * draw.strength[m])
        muscle.setTendonSlackLength(muscle.getTendonSlackLength() + draw.slack_m[m])
    model.finalizeConnections()
    model.printToXML(str(path))
    motion = Motion(case.window.q.time, q.numpy(), case.skeleton.coordinates)
    return label_in_memory(replace(request, model=path, recorded=motion), settings)


def share_inside(bands: Motion, values: Motion, names: tuple[str, ...]) -> np.ndarray:
    low, high = (np.stack([bands[f"{n}_{s}"] for n in names], axis=1) for s in (SUFFIXES[0], SUFFIXES[2]))
    found = values.select(list(names)).values
    return ((found >= low - 1e-6) & (found <= high + 1e-6)).mean(axis=0)


def test_bands_hold_truths_that_opensim_labels_on_bodies_drawn_as_they_are(case, request_of, settings, tmp_path):
    """Nine truths of ten, give or take what a dozen truths of few independent parameters allow."""
    bands, random = case.bands(DRAWS), np.random.default_rng(11)
    optimal = Solver(case, USUAL).optimal_m
    active = tuple(m for m in case.model.muscle_names if bands.activations[f"{m}_p50"].max() > 0.05)
    knees = ("knee_angle_r_moment", "knee_angle_l_moment")
    feet = ("ground_force_r_vy", "ground_force_l_vy")
    inside = []
    for _ in range(TRUTHS):
        draw = drawn(case.skeleton, optimal, case.window.q.time, USUAL, random)
        label = truth(case, draw, tmp_path, request_of(), settings).channels
        assert label.ground_forces is not None
        assert bands.ground_forces is not None
        inside.append(
            [
                share_inside(bands.activations, label.activations, active).mean(),
                share_inside(bands.moments, label.moments, knees).mean(),
                share_inside(bands.ground_forces, label.ground_forces, feet).mean(),
            ]
        )
    assert len(active) >= 6
    found = np.mean(inside, axis=0)
    assert (found > 0.75).all()
    assert found.mean() == pytest.approx(0.9, abs=0.09)
    assert np.min(inside) < 1.0


def test_without_spread_bands_are_the_label_and_with_more_they_are_wider(case):
    nothing, usual = case.bands(3, NOTHING), case.bands(20)
    for bands in nothing.by_name.values():
        low, middle, high = (bands.values[:, k::3] for k in range(3))
        assert_array_equal(low, high)
        assert_array_equal(low, middle)
    label = Solver(case, NOTHING).solve(
        drawn(case.skeleton, Solver(case, NOTHING).optimal_m, case.window.q.time, NOTHING, np.random.default_rng(0))
    )
    assert_allclose(nothing.activations.values[:, ::3], label[0], atol=1e-6)
    width = [float((b.activations.values[:, 2::3] - b.activations.values[:, ::3]).mean()) for b in (nothing, usual)]
    more = case.bands(20, replace(USUAL, strength=0.4))
    assert width[0] == 0.0
    assert width[1] > 0.01
    assert float((more.activations.values[:, 2::3] - more.activations.values[:, ::3]).mean()) > 1.2 * width[1]
    assert_array_equal(usual.activations.values, case.bands(20).activations.values)


def test_feet_stay_where_they_were_seen(case):
    solver, random = Solver(case, USUAL), np.random.default_rng(2)
    s, away, turned = case.skeleton, [], []
    for _ in range(40):
        q, _, _ = solver.moved(drawn(s, solver.optimal_m, case.window.q.time, USUAL, random))
        heel = s.bodies.index("calcn_r")
        away.append((s(q).position[:, heel] - s(solver.q).position[:, heel]).numpy())
        turned.append((q - solver.q)[:, s.index("knee_angle_r")].numpy())
    assert np.sqrt(np.mean(np.square(away))) < 1.5 * USUAL.place_m
    assert 0.4 * USUAL.angle_rad < np.std(turned) < 1.1 * USUAL.angle_rad


def test_the_label_has_bands_in_files_tables_and_record(request_of, fast, tmp_path):
    request = request_of()
    label = label_in_memory(request, replace(fast, cutoff_hz=0.0, end=0.4, uncertainty=20))
    assert set(label.bands) == {"activations", "moments", "ground_forces", "joint_loads"}
    said = label.record["uncertainty"]
    assert said["draws"] == 20
    low, middle, high = said["peaks"]["vasmed_r"]
    assert low < middle < high
    assert low < label.activations["vasmed_r"].max() < high
    again = Label.load(label.save(tmp_path / "saved"))
    assert sorted(p.name for p in (tmp_path / "saved").glob("*_bands.sto")) == [
        *("activations_bands.sto", "grf_bands.sto", "inverse_dynamics_bands.sto", "joint_loads_bands.sto"),
    ]
    for name, table in label.bands.items():
        assert list(table) == list(again.bands[name])
        assert_allclose(table, again.bands[name], rtol=1e-5, atol=1e-5)
    assert json.loads((tmp_path / "saved/label.json").read_text())["uncertainty"]["spreads"]["strength"] == 0.15
    assert len(label.plot(["vasmed_r"]).collections) == 1
    plain = label_in_memory(request, replace(fast, cutoff_hz=0.0, end=0.4))
    assert plain.bands == {}
    assert "uncertainty" not in plain.record["provenance"]["fingerprint"]["settings"]


def test_frames_of_bands_are_at_most_25_a_second(case):
    rows = thinned(case.window)
    assert rows[0] == 0
    assert rows[-1] == case.window.q.frames - 1
    assert len(rows) == case.window.q.frames  # 20 a second already


@pytest.mark.parametrize("draws", [1, 19, -5, 10_001])
def test_too_few_or_too_many_draws_are_one_message(draws):
    with pytest.raises(SettingError, match="uncertainty"):
        LabelSettings(uncertainty=draws)
