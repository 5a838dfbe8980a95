"""OpenSim is made up, its answer to every frame known: what is decided must not depend on whose frames they are."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from bige_opensim.labelling.deciding_frames import (
    FLOOR,
    LARGEST,
    PROVEN,
    Known,
    audited_rows,
    gate_criteria,
    rows_of,
    share_frames,
    spans_text,
)
from bige_opensim.labelling.quality_gates import Labelled, gates

T, M, J = 120, 3, 2
MUSCLES = ("vasmed_r", "vasmed_l", "soleus_r")
SHA = hashlib.sha256(b"a motion").hexdigest()
BOUNDS = np.tile([0.01, 1.0], (M, 1))


def curves(seed: int = 0) -> np.ndarray:
    """Activations (T, M) as OpenSim would find them."""
    phase = np.linspace(0.0, np.pi, T)[:, None]
    tops = np.random.default_rng(seed).uniform(0.2, 0.6, M)
    return 0.01 + tops * np.sin(phase) ** 3


def reserves_of(seed: int = 0) -> np.ndarray:
    return 0.3 * np.random.default_rng(seed).standard_normal((T, 6 + J))


def labelled(activations: np.ndarray, reserves: np.ndarray) -> Labelled:
    return Labelled(
        residual_force=reserves[:, 3:6],
        residual_moment=reserves[:, :3],
        external_force=np.full(T, 700.0),
        com_height_m=1.0,
        reserves=reserves[:, 6:],
        net_moments=np.full((T, J), 80.0),
        activations=activations,
        solved=np.ones(T, dtype=bool),
        fastest_rotation=(1.0, "tibia_r"),
        shift_peak_mm=0.0,
    )


class OpenSim:
    """Solves frames, and remembers which."""

    def __init__(self, activations: np.ndarray, reserves: np.ndarray, failing: tuple[int, ...] = ()) -> None:
        self.activations, self.reserves, self.failing = activations, reserves, failing
        self.asked: list[int] = []

    def __call__(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        self.asked += rows.tolist()
        return self.activations[rows], self.reserves[rows], ~np.isin(rows, self.failing)


def shared(truth, fast, *, reserves=None, fast_reserves=None, error=None, failing=(), criteria=None):
    reserves = reserves_of() if reserves is None else reserves
    fast_reserves = reserves if fast_reserves is None else fast_reserves
    opensim = OpenSim(truth, reserves, failing)
    known = Known.of_fast(fast, fast_reserves, np.zeros(T) if error is None else error, BOUNDS)
    found = share_frames(known, opensim, gate_criteria(labelled) if criteria is None else criteria, SHA, MUSCLES)
    assert len(opensim.asked) == len(set(opensim.asked)), "no frame is solved twice"
    assert (
        sorted(opensim.asked) == np.flatnonzero(found.by_opensim).tolist() == rows_of(found.record["opensim"]).tolist()
    )
    np.testing.assert_array_equal(found.activations[found.by_opensim], truth[found.by_opensim])
    np.testing.assert_array_equal(found.activations[~found.by_opensim], fast[~found.by_opensim])
    return found


def test_frames_in_few_words():
    assert spans_text(np.array([0, 1, 2, 3, 7, 12, 13])) == "0-3 7 12-13"
    assert rows_of("0-3 7 12-13").tolist() == [0, 1, 2, 3, 7, 12, 13]
    assert spans_text(np.array([], dtype=int)) == ""
    assert rows_of("").tolist() == []


def test_audited_frames_are_drawn_by_the_motion_from_all_of_it():
    drawn = [audited_rows(200, hashlib.sha256(bytes([k])).hexdigest()) for k in range(200)]
    assert all((d // 25).tolist() == list(range(8)) for d in drawn), "one of each part"
    assert drawn[3].tolist() == audited_rows(200, hashlib.sha256(bytes([3])).hexdigest()).tolist()
    assert len(np.unique(np.concatenate(drawn))) == 200, "every frame can be drawn"
    assert audited_rows(3, SHA).tolist() == [0, 1, 2]


def test_solvers_that_agree_leave_most_frames_to_the_fast_one():
    truth = curves()
    found = shared(truth, truth + 0.004)
    assert found.record["margin"] == FLOOR
    assert found.record["audit"]["max"] == found.record["largest_difference"] == pytest.approx(0.004)
    assert found.by_opensim.sum() <= len(audited_rows(T, SHA)) + 4
    assert set(audited_rows(T, SHA)) <= set(np.flatnonzero(found.by_opensim))
    assert found.record["every_frame_because"] == ""


def test_the_margin_is_the_largest_difference_in_any_frame_that_both_solved():
    truth = curves()
    fast = truth + 0.004
    fast[audited_rows(T, SHA)[2], 1] += 0.016
    found = shared(truth, fast)
    assert found.record["margin"] == found.record["audit"]["max"] == pytest.approx(0.02)
    assert found.record["audit"]["muscle"] == MUSCLES[1]
    assert found.record["of_frames"] == T > found.record["frames"]


@pytest.mark.parametrize("muscle", range(M))
def test_solvers_that_do_not_agree_leave_every_frame_to_opensim(muscle):
    truth = curves()
    fast = truth.copy()
    fast[:, muscle] += LARGEST + 0.001
    found = shared(truth, fast)
    assert found.by_opensim.all()
    assert f"differs from OpenSim by 0.031 in {MUSCLES[muscle]}" in found.record["every_frame_because"]


def test_a_frame_in_which_opensim_fails_leaves_every_frame_to_it():
    truth = curves()
    failing = int(audited_rows(T, SHA)[0])
    found = shared(truth, truth, failing=(failing,))
    assert found.by_opensim.all()
    assert np.flatnonzero(~found.solved).tolist() == [failing]
    assert "do not balance the moments in 1 frame(s)" in found.record["every_frame_because"]


@pytest.mark.parametrize("error", [np.nan, np.inf, 1.1 * PROVEN])
def test_frames_without_proof_are_opensims(error):
    truth, fast, errors = curves(), curves(), np.zeros(T)
    fast[[17, 90]], errors[[17, 90]] = 0.9, error
    found = shared(truth, fast, error=errors)
    assert found.by_opensim[[17, 90]].all()
    assert found.record["unproven"] == 2
    assert found.record["margin"] == FLOOR, "what is not proven is not compared"
    assert not found.by_opensim.all()


@pytest.mark.parametrize(
    ("gate", "column", "limit"), [("residual_force", 4, 35.0), ("residual_moment", 1, 7.0), ("reserves", 7, 4.0)]
)
@pytest.mark.parametrize("share", [0.5, 0.985, 0.999, 1.001, 1.015, 2.0])
def test_gates_are_those_of_every_frame_by_opensim(gate, column, limit, share):
    """Reserves of the fast solver are off by up to 1.5 % of the limit, and largest in another frame than OpenSim's."""
    truth = curves()
    reserves = 0.01 * reserves_of(1)
    reserves[:, 6 - 1 :] *= 0.1
    by_fast = reserves.copy()
    for row, value in ((31, share), (80, share - 0.008)):
        reserves[row] = 0.0
        reserves[row, column] = value * limit
    by_fast[31], by_fast[80] = reserves[31] - 0.015 * limit * np.sign(reserves[31]), reserves[80]
    found = shared(truth, truth, reserves=reserves, fast_reserves=by_fast)
    every, merged = gates(labelled(truth, reserves)), gates(labelled(found.activations, found.reserves))
    assert merged[gate].passed is every[gate].passed
    assert {n: g.passed for n, g in merged.items()} == {n: g.passed for n, g in every.items()}
    assert abs(merged[gate].value - every[gate].value) <= 0.02 * every[gate].limit
    assert found.by_opensim[80], "the frame in which the fast solver's is largest"
    assert found.by_opensim.sum() < 20


@pytest.mark.parametrize("count", [0, 7, 17, 18, 19, 25])
def test_the_share_of_saturated_muscles_is_decided_by_opensim(count):
    """The limit is 5 %, 18 of 360."""
    rng = np.random.default_rng(2)
    truth = rng.uniform(0.1, 0.5, (T, M))
    chosen = rng.permutation(T * M)[: count + 30]
    truth.flat[chosen[:count]] = 0.995
    truth.flat[chosen[count:]] = 0.985
    fast = truth.copy()
    fast.flat[chosen] = 0.99 + 1e-6 * rng.choice([-1.0, 1.0], len(chosen))  # the fast solver cannot tell them apart
    found = shared(truth, fast)
    passed = gates(labelled(truth, reserves_of()))["saturated"].passed
    assert gates(labelled(found.activations, found.reserves))["saturated"].passed is passed
    assert passed is (count <= 18)


def test_criteria_are_asked_until_none_wants_a_frame():
    truth = curves()
    wanted = [40, 41, 42, 43]

    def one_by_one(known: Known) -> np.ndarray:
        return np.array([r for r in wanted if not known.by_opensim[r]][:1], dtype=int)

    found = shared(truth, truth, criteria=[one_by_one])
    assert np.flatnonzero(found.by_opensim).tolist() == sorted({*wanted, *audited_rows(T, SHA)})


def test_intervals_hold_what_opensim_finds_and_are_points_where_it_has():
    truth = curves()
    known = Known.of_fast(truth + 0.003, reserves_of(), np.full(T, 0.001), BOUNDS)
    rows = np.array([3, 60])
    known = known.with_opensim(rows, truth[rows], reserves_of()[rows])
    assert (known.low <= truth).all()
    assert (known.high >= truth).all()
    np.testing.assert_array_equal(known.low[rows], truth[rows])
    np.testing.assert_array_equal(known.high[rows], truth[rows])
    assert known.low.min() >= 0.01, "no activation is below its bound"
    middle = replace(known, margin=0.02)
    assert (middle.high - middle.low)[59] == pytest.approx(2 * 0.021)
