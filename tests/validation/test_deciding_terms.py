"""Terms are decided by the frames that OpenSim solved as they are by all of them, whatever the fast solver says within
its margin: OpenSim's answer is made up, and the fast solver is as wrong as it may be, where it hurts most."""

import hashlib
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from small_models import squat

from bige_opensim.guidance.objective import Objective
from bige_opensim.labelling.deciding_frames import FLOOR, Analysed, Known, share_frames
from bige_opensim.labelling.joint_loads import JointLoads
from bige_opensim.motion import Motion
from bige_opensim.physics.joint_loads import loaded_joints
from bige_opensim.validation.deciding_terms import Interval, ObjectiveAsks, bind, decisions_of, enclosure

T = 101
SHA = hashlib.sha256(b"a motion").hexdigest()
PHASE = np.linspace(0.0, 1.0, T)
TOP = 0.4
STATS = ["peak", "min", "mean", "range", "rms"]
RIGHT, LEFT = "vasmed_r", "vasmed_l"


def asked(*terms: dict) -> Objective:
    named = [{"name": f"t{k}", "hard": True} | t for k, t in enumerate(terms)]
    for term in named:
        if term.get("minimise"):
            del term["hard"]
    return Objective.from_dict({"name": "asked", "term": named})


def activation(of: list[str] = [RIGHT], **fields: object) -> dict:  # noqa: B006
    return {"quantity": "activation", "of": of, **fields}


@pytest.fixture(scope="module")
def motion(model) -> Motion:
    return squat(model, frames=T, rate_hz=50.0, depth=1.0)


@pytest.fixture
def true(skeleton) -> np.ndarray:
    """OpenSim's answer: smooth, with a peak of TOP on the right that two frames share but for 0.001."""
    muscles = skeleton.tables.muscles
    found = np.full((T, len(muscles)), 0.02)
    found[:, muscles.index(RIGHT)] = 0.015 + (TOP - 0.015) * np.sin(np.pi * PHASE) ** 2
    found[:, muscles.index(LEFT)] = 0.015 + 0.8 * (TOP - 0.015) * np.sin(np.pi * PHASE**0.8) ** 2
    return found


class Trial:
    """An objective on a motion, OpenSim's answer, and the fast solver's."""

    def __init__(self, objective: Objective, skeleton, motion: Motion, true: np.ndarray, fast: np.ndarray) -> None:
        muscles = skeleton.tables.muscles
        joints = tuple(joint.name for joint in loaded_joints(skeleton))

        def loads(activations: np.ndarray) -> JointLoads:
            """Six muscle forces of 1,000 N on every joint at full activation, 700 N of the body above."""
            force = np.zeros((T, len(joints), 3))
            force[..., 1] = 700.0 + 6000.0 * activations[:, [muscles.index(RIGHT)]]
            return JointLoads(joints, force, 700.0)

        def of_batch(activations: torch.Tensor) -> torch.Tensor:
            return torch.as_tensor(loads(activations[0].numpy()).resultant_bw)[None]

        net = np.zeros((T, len(skeleton.coordinates)))
        asks = ObjectiveAsks(objective).criteria(Analysed(skeleton, motion, muscles, net, None, 0.0, loads))
        bounds = np.tile([0.01, 1.0], (len(muscles), 1))
        known = Known.of_fast(fast, net, np.zeros(T), bounds)
        self.shared = share_frames(
            known, lambda rows: (true[rows], net[rows], np.ones(len(rows), bool)), asks, SHA, muscles
        )
        self.bound = bind(objective, skeleton, muscles, torch.as_tensor(net), torch.zeros(T, 6), 0.0, of_batch)
        self.q, self.duration = motion.select(skeleton.coordinates).values, motion.duration
        after = Known.of_fast(fast, net, np.zeros(T), bounds).with_opensim(
            np.flatnonzero(self.shared.by_opensim), true[self.shared.by_opensim], net[self.shared.by_opensim]
        )
        self.within = {d.bound.name: d.uncertainty(after) for d in decisions_of(self.bound, motion)}
        self.every, self.found = self._judged(true), self._judged(self.shared.activations)

    def _judged(self, activations: np.ndarray):
        duration = torch.tensor([self.duration], dtype=torch.float64)
        return self.bound.evaluate(torch.as_tensor(self.q)[None], duration, torch.as_tensor(activations)[None])

    @property
    def frames(self) -> int:
        return int(self.shared.by_opensim.sum())

    def value(self, name: str = "t0") -> tuple[float, float]:
        return float(self.found.values[name][0]), float(self.every.values[name][0])

    def check(self) -> None:
        """The verdict is that of every frame by OpenSim, and values differ by no more than is told."""
        assert bool(self.found.satisfied[0]) is bool(self.every.satisfied[0])
        for name in self.every.values:
            found, every = self.value(name)
            assert abs(found - every) <= self.within.get(name, 0.0) + 2e-6


Try = Callable[..., Trial]


@pytest.fixture
def tried(skeleton, motion, true) -> Try:
    def make(*terms: dict, fast: np.ndarray | None = None) -> Trial:
        return Trial(asked(*terms), skeleton, motion, true, true if fast is None else fast)

    return make


def off(true: np.ndarray, how: str, skeleton) -> np.ndarray:
    """A fast solver that is wrong by just less than the least margin."""
    m = 0.999 * FLOOR
    rng = np.random.default_rng(4)
    column = true[:, skeleton.tables.muscles.index(RIGHT)]
    by = {
        "too low at the peak": np.where(column > TOP - 0.05, -m, 0.0),
        "too high beside the peak": np.where((column > TOP - 0.015) & (column < TOP - 0.002), m, -m),
        "too high": np.full(T, m),
        "too low": np.full(T, -m),
        "random": rng.uniform(-m, m, T),
        "signs": m * rng.choice([-1.0, 1.0], T),
    }[how]
    return np.clip(true + by[:, None], 0.01, 1.0)


HOW = ["too low at the peak", "too high beside the peak", "too high", "too low", "random", "signs"]


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("stat", STATS)
@pytest.mark.parametrize("beside", [-1e-5, 1e-5, *(pytest.param(x, marks=pytest.mark.slow) for x in (-0.003, 0.003))])
@pytest.mark.parametrize("quantity", ["activation", "asymmetry"])
def test_no_error_within_the_margin_flips_a_verdict(tried, true, skeleton, how, stat, beside, quantity):
    of = {"quantity": quantity, "of": [RIGHT] if quantity == "activation" else ["vasmed"], "stat": stat}
    _, value = tried(of | {"minimise": True}).value()
    for bound in ({"at_most": max(value + beside, 0.0)}, {"at_least": max(value + beside, 0.0)}):
        tried(of | bound, fast=off(true, how, skeleton)).check()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("stat", ["peak", "min", "range"])
def test_extremes_that_are_told_are_opensims_own(tried, true, skeleton, how, stat):
    trial = tried(activation(stat=stat, minimise=True), fast=off(true, how, skeleton))
    found, every = trial.value()
    assert found == pytest.approx(every, abs=2e-6)
    assert trial.frames < T / 2


@pytest.mark.parametrize("how", HOW)
def test_the_peak_of_a_joint_load_is_opensims_own(tried, true, skeleton, how):
    (joint, *_) = (joint.name for joint in loaded_joints(skeleton))
    term = {"quantity": "joint_load", "of": [joint], "stat": "peak"}
    every = 1.0 + 6000.0 / 700.0 * true[:, skeleton.tables.muscles.index(RIGHT)].max()
    for bound in ({"at_most": every + 1e-6}, {"at_most": every - 1e-6}):
        trial = tried(term | bound, fast=off(true, how, skeleton))
        trial.check()
        assert trial.value()[0] == pytest.approx(every, abs=1e-5)
        assert trial.frames < T / 2


@pytest.mark.parametrize("at", [0.0, 0.333, 0.5, 1.0])
def test_a_value_at_a_phase_is_that_of_the_frames_around_it(tried, true, skeleton, at):
    trial = tried(activation(at=at, minimise=True), fast=off(true, "signs", skeleton))
    found, every = trial.value()
    assert found == pytest.approx(every, abs=1e-12)
    around = {math.floor(100 * at), math.ceil(100 * at)}
    assert trial.shared.by_opensim[list(around)].all()
    assert trial.within["t0"] < 1e-12


@pytest.mark.parametrize("stat", ["mean", "rms"])
def test_averages_take_no_frames_far_from_a_bound_and_all_that_are_needed_near_it(tried, true, skeleton, stat):
    fast = off(true, "too high", skeleton)
    few = tried(activation(stat=stat, minimise=True)).frames
    _, value = tried(activation(stat=stat, minimise=True)).value()
    assert tried(activation(stat=stat, at_most=value + 0.02), fast=fast).frames == few
    near = tried(activation(stat=stat, at_most=value + 0.003), fast=fast)
    near.check()
    assert few < near.frames < T
    unsolved = T - near.frames
    if stat == "mean":
        assert near.within["t0"] == pytest.approx(FLOOR * unsolved / T)
    assert tried(activation(stat=stat, at_most=value + 1e-9), fast=fast).frames == T


@pytest.mark.parametrize("stat", ["mean", "rms"])
def test_averages_that_decide_nothing_take_no_frames(tried, true, skeleton, stat):
    few = tried(activation(stat=stat, minimise=True)).frames
    _, value = tried(activation(stat=stat, minimise=True)).value()
    pace = {"quantity": "duration", "at_least": 0.1, "hard": True}
    trial = tried(pace, activation(stat=stat, at_most=value, hard=False), fast=off(true, "signs", skeleton))
    assert trial.frames == few
    trial.check()


def test_terms_on_motion_and_forces_take_no_frames(tried):
    few = tried({"quantity": "duration", "at_least": 0.1}).frames
    knee = {"quantity": "coordinate", "of": ["knee_angle_r"], "stat": "peak", "at_least": 30.0}
    moment = {"quantity": "moment", "of": ["knee_angle_r"], "stat": "min", "at_least": -5.0}
    assert tried(knee, moment).frames == few


def test_of_several_channels_only_those_that_can_be_the_worst_take_frames(tried, true, skeleton):
    both = activation([RIGHT, LEFT], stat="peak", at_most=0.5)
    one, other = tried(activation([RIGHT], stat="peak", at_most=0.5)), tried(both)
    assert one.frames == other.frames, "the left is 0.08 lower"
    tried(both, fast=off(true, "signs", skeleton)).check()
    low = tried(activation([RIGHT, LEFT], stat="peak", at_least=0.1))
    assert low.value()[0] == pytest.approx(true[:, skeleton.tables.muscles.index(LEFT)].max(), abs=1e-6)


@pytest.mark.parametrize("delta", [0.05, 0.2])
@pytest.mark.parametrize("hidden", [(45, 56), (0, T), (20, 21)], ids=["the peak", "everywhere", "one frame"])
def test_what_the_audit_can_see_it_does_not_overlook(tried, true, skeleton, hidden, delta):
    """A fast solver that is wrong by more than it may, in frames of which some are audited or decide."""
    column = skeleton.tables.muscles.index(RIGHT)
    fast = true.copy()
    fast[slice(*hidden), column] = np.maximum(fast[slice(*hidden), column] - delta, 0.01)
    trial = tried(activation(stat="peak", between=[TOP - 0.01, TOP + 0.01]), fast=fast)
    seen = trial.shared.record["every_frame_because"]
    wrong_and_solved = np.arange(*hidden)[trial.shared.by_opensim[slice(*hidden)]]
    assert bool(seen) is bool(len(wrong_and_solved))
    if seen:
        assert trial.frames == T
        trial.check()


@pytest.mark.parametrize("stat", STATS)
def test_statistics_lie_in_what_encloses_them_and_reach_its_ends(stat):
    rng = np.random.default_rng(7)
    term = asked({"quantity": "velocity", "of": ["knee_angle_r"], "stat": stat, "minimise": True}).terms[0]
    middle, radius = rng.standard_normal((T, 3)), rng.uniform(0, 0.2, (T, 3))
    x = Interval(middle - radius, middle + radius)
    between = enclosure(term, x)
    drawn = [enclosure(term, Interval(y, y)).low for y in rng.uniform(x.low, x.high, (500, T, 3))]
    assert (np.array(drawn) >= between.low - 1e-12).all()
    assert (np.array(drawn) <= between.high + 1e-12).all()
    alone = enclosure(term, Interval(middle, middle))
    np.testing.assert_allclose(alone.low, alone.high, atol=1e-12)
    if stat in ("peak", "min", "mean"):
        np.testing.assert_allclose(enclosure(term, Interval(x.high, x.high)).low, between.high, atol=1e-12)


@pytest.mark.parametrize(
    ("stat", "low", "high"),
    [("peak", 2.5, 3.5), ("min", -1.5, -0.5), ("mean", 0.5, 1.5), ("range", 3.0, 5.0),
     ("rms", math.sqrt((2.5**2 + 0.5**2 + 0.5**2) / 3), math.sqrt((3.5**2 + 1.5**2 + 1.5**2) / 3))],
)  # fmt: skip
def test_enclosures_in_closed_form(stat, low, high):
    """Values 3, -1, 1, each known to 0.5."""
    term = asked({"quantity": "velocity", "of": ["knee_angle_r"], "stat": stat, "minimise": True}).terms[0]
    x = np.array([[3.0], [-1.0], [1.0]])
    between = enclosure(term, Interval(x - 0.5, x + 0.5))
    assert (between.low[0], between.high[0]) == (pytest.approx(low), pytest.approx(high))


def test_what_is_between_two_frames_is_enclosed_by_theirs():
    term = asked({"quantity": "velocity", "of": ["knee_angle_r"], "at": 0.75, "minimise": True}).terms[0]
    x = np.array([[3.0], [-1.0], [1.0]])
    between = enclosure(term, Interval(x - 0.5, x + np.array([[9.0], [0.1], [0.3]])))
    assert (between.low[0], between.high[0]) == (pytest.approx(-0.5), pytest.approx(0.2))
