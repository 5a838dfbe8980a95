import sys
from functools import cache

import clarabel
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from recordings import recorded, tables_of
from scipy import sparse
from small_models import biped, squat

from bige_opensim.labelling.kinematics import prepare
from bige_opensim.osim.model import load, reserve_optimal_forces
from bige_opensim.osim.muscles import muscle_frames
from bige_opensim.physics import least_effort, native
from bige_opensim.physics.contact import ContactSettings, contact_columns, ground_height
from bige_opensim.physics.dynamics import inverse_dynamics
from bige_opensim.physics.joint_problem import muscle_columns
from bige_opensim.physics.least_effort import ITERATION_LIMIT, NOT_FINITE, SOLVED, LeastEffort, solve
from bige_opensim.physics.native_build import compile_c, library_path
from bige_opensim.physics.skeleton import Skeleton

Problem = dict[str, torch.Tensor]


@pytest.fixture(autouse=True, params=["C", "torch"])
def route(request, monkeypatch):
    """Every test here holds for the compiled method and for that on batches, which does what C does not."""
    if request.param == "torch":
        monkeypatch.setattr(native, "library", cache(lambda: None))
    elif native.library() is None:
        pytest.skip("the package was built without a C compiler")
    return request.param


def random_problem(frames: int = 12, coordinates: int = 9, unknowns: int = 30, seed: int = 0) -> Problem:
    """Sparse moment arms times strengths; some unknowns without upper bound, weights and reserves of many sizes."""
    rng = np.random.default_rng(seed)
    A = rng.normal(0, 60, (frames, coordinates, unknowns)) * (rng.random((coordinates, unknowns)) < 0.4)
    b = rng.normal(0, 90, (frames, coordinates))
    lower = np.where(np.arange(unknowns) % 3 == 0, 0.0, 0.01)
    upper = np.where(np.arange(unknowns) % 5 == 0, np.inf, 1.0)
    weight = np.where(np.arange(unknowns) % 5 == 0, 0.05, 1.0)
    optimal = 10.0 ** rng.uniform(-0.5, 3, coordinates)
    arrays = {"A": A, "b": b, "weight": weight, "lower": lower, "upper": upper, "reserve_optimal": optimal}
    return {k: torch.as_tensor(v) for k, v in arrays.items()}


@pytest.mark.parametrize("length", [3.0, 30.0, 300.0])
def test_along_a_step_the_search_stops_where_the_dual_stops_rising(length):
    """For any step: where a tenth of the slope is left, or, where it has no zero before, at the full step."""
    p = random_problem(frames=40)
    c = 0.5 * p["reserve_optimal"] ** 2
    problem = least_effort._Problem(p["A"], p["b"], p["weight"], p["lower"], p["upper"], c, None)
    rng = torch.Generator().manual_seed(0)
    lam = 0.01 * torch.randn(p["b"].shape, generator=rng, dtype=torch.float64)
    gradient = problem.gradient(lam)
    step = length * torch.linalg.solve(problem.hessian(lam), gradient.unsqueeze(-1)).squeeze(-1)
    taken = least_effort._line_search(problem, lam, problem.pull(lam), gradient, step)
    shortened = 0
    for t in range(len(lam)):

        def slope(alpha: float, t: int = t) -> float:
            return float((step[t] * problem.gradient(lam + alpha * step)[t]).sum())

        if slope(1.0) >= -0.1 * slope(0.0):
            assert taken[t] == 1.0
        else:
            shortened += 1
            assert 0.0 < taken[t] < 1.0
            assert abs(slope(float(taken[t]))) <= 0.1 * slope(0.0) * (1.0 + 1e-9)
    assert shortened >= 5


def problem_with_ground(model, skeleton: Skeleton, p) -> Problem:
    """Muscles, contact rays and residuals of a recording as `joint_problem` poses them."""
    settings = ContactSettings()
    state, qd = p.state(skeleton), p.tensor(skeleton, p.qd)
    frames = muscle_frames(model, p.q, p.qd, skeleton.bodies)
    muscles = muscle_columns(
        skeleton, state, *(torch.as_tensor(v) for v in (frames.force, frames.moment, frames.strength))
    )
    ground = ground_height(skeleton.contact_points(state.poses))
    rays = contact_columns(skeleton, state, qd, ground, settings).columns
    n, m = rays.shape[-1], muscles.shape[-1]
    optimal = reserve_optimal_forces(model)
    for name in model.root_coordinates:
        optimal[name] = settings.residual_moment_nm if name in model.rotational else settings.residual_force_n
    bounds = torch.as_tensor(model.activation_bounds)
    return {
        "A": torch.cat([muscles, rays], -1),
        "b": inverse_dynamics(skeleton, state),
        "weight": torch.cat([torch.ones(m), torch.full((n,), settings.weight)]).double(),
        "lower": torch.cat([bounds[:, 0], torch.zeros(n)]).double(),
        "upper": torch.cat([bounds[:, 1], torch.full((n,), torch.inf)]).double(),
        "reserve_optimal": torch.tensor([optimal[c] for c in skeleton.coordinates], dtype=torch.float64),
    }


def by_clarabel(p: Problem, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Unknowns and reserve forces of one frame from an interior-point solver, which sees r / opt."""
    a, b = p["A"][frame].numpy(), p["b"][frame].numpy()
    weight, lower, upper, optimal = (p[k].numpy() for k in ("weight", "lower", "upper", "reserve_optimal"))
    C, n = a.shape
    scale = 1.0 / np.maximum(1.0, np.abs(b).max())
    P = sparse.csc_matrix(sparse.diags(2.0 * np.concatenate([weight, np.ones(C)])))
    equality = scale * np.hstack([a, np.diag(optimal)])
    bounded = np.flatnonzero(np.isfinite(upper))
    below = sparse.eye(n, n + C, format="csr")
    rows = sparse.vstack([sparse.csr_matrix(equality), below[bounded], -below]).tocsc()
    right = np.concatenate([scale * b, upper[bounded], -lower])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
    cones = [clarabel.ZeroConeT(C), clarabel.NonnegativeConeT(len(bounded) + n)]
    answer = clarabel.DefaultSolver(P, np.zeros(n + C), rows, right, cones, settings).solve()
    assert str(answer.status) in ("Solved", "AlmostSolved")
    x = np.array(answer.x)
    return x[:n], x[n:] * optimal


def check_against_clarabel(p: Problem) -> None:
    answer = solve(**p)
    assert answer.solved.all()
    for frame in range(len(p["b"])):
        x, reserve = by_clarabel(p, frame)
        assert_allclose(answer.x[frame], x, atol=1e-5)
        assert_allclose(answer.reserve[frame], reserve, atol=1e-5 * (1.0 + np.abs(p["b"][frame].numpy()).max()))


@pytest.mark.parametrize("seed", range(4))
def test_random_problems_agree_with_an_interior_point_solver(seed):
    p = random_problem(seed=seed)
    check_against_clarabel(p)
    x = solve(**p).x
    assert ((x == p["upper"]).any() and (x == p["lower"]).any()) or seed


def test_frames_of_a_real_squat_with_ground_agree_with_an_interior_point_solver(shared_data):
    model, skeleton, p = recorded(shared_data, "subject6", "squats1", start=1.0, end=6.0)
    at = np.linspace(0, p.q.frames - 1, 20).astype(int)
    few = type(p)(*(type(m)(m.time[at], m.values[at], m.names) for m in (p.q, p.qd, p.qdd)), (0.0, ""), ())
    problem = problem_with_ground(model, skeleton, few)
    assert problem["A"].shape == (20, 33, 80 + 48)
    check_against_clarabel(problem)


def test_frames_of_a_small_bipeds_squat_with_ground_agree_with_an_interior_point_solver(tmp_path):
    path = biped(tmp_path / "biped.osim")
    model, skeleton = load(path), Skeleton(tables_of(path))
    check_against_clarabel(problem_with_ground(model, skeleton, prepare(model, skeleton, squat(path, frames=20), 0.0)))


def check_kkt(p: Problem, s: LeastEffort) -> None:
    """Balance, box, r = opt^2 lam / 2, and the sign of the reduced gradient at each bound."""
    produced = torch.einsum("fcu,fu->fc", p["A"], s.x) + s.reserve
    assert_allclose(produced, p["b"], atol=1e-8 * (1 + p["b"].abs().max()))
    assert ((s.x >= p["lower"]) & (s.x <= p["upper"])).all()
    assert_allclose(s.reserve, 0.5 * p["reserve_optimal"] ** 2 * s.multiplier, rtol=1e-9)
    reduced = 2 * p["weight"] * s.x - torch.einsum("fcu,fc->fu", p["A"], s.multiplier)
    at_lower, at_upper = s.x <= p["lower"], s.x >= p["upper"]
    assert (reduced[at_lower] >= -1e-9).all()
    assert (reduced[at_upper] <= 1e-9).all()
    assert reduced[~at_lower & ~at_upper].abs().max() < 1e-9
    assert s.imbalance.max() < 1e-8 * (1 + p["b"].abs().max())


@pytest.mark.parametrize("seed", range(10))
def test_optimality_conditions_hold(seed):
    p = random_problem(frames=40, seed=100 + seed)
    s = solve(**p)
    assert s.solved.all()
    check_kkt(p, s)


def test_optimality_conditions_hold_where_muscles_are_far_too_weak():
    p = random_problem(frames=40, seed=5)
    p["b"] = p["b"] * 100
    s = solve(**p)
    assert s.solved.all()
    assert (s.x == p["upper"]).float().mean() > 0.1
    check_kkt(p, s)


def test_a_frame_that_is_not_finite_is_marked_and_the_others_are_solved():
    p = random_problem()
    whole = solve(**p)
    p["b"][3, 0] = torch.nan
    p["A"][7, 2, 2] = torch.inf
    s = solve(**p)
    bad = torch.zeros(12, dtype=torch.bool)
    bad[[3, 7]] = True
    assert (s.status[bad] == NOT_FINITE).all()
    assert (s.status[~bad] == SOLVED).all()
    assert_allclose(s.x[~bad], whole.x[~bad], atol=1e-12)


def test_all_frames_not_finite_is_no_error():
    p = random_problem(frames=3)
    p["b"][:] = torch.nan
    assert (solve(**p).status == NOT_FINITE).all()


def test_frames_without_enough_iterations_say_so_and_how_far_off_they_are():
    p = random_problem(frames=30, seed=2)
    s = solve(**p, max_iterations=1)
    unsolved = s.status == ITERATION_LIMIT
    assert unsolved.any()
    assert (s.imbalance[unsolved] > 1e-6).all()
    assert solve(**p).iterations.max() < 40


def test_the_start_does_not_change_the_answer():
    p = random_problem(seed=3)
    cold = solve(**p)
    for start in (torch.zeros_like(p["b"]), cold.multiplier.roll(1, 0), 100 * torch.ones_like(p["b"])):
        warm = solve(**p, start=start)
        assert warm.solved.all()
        assert_allclose(warm.x, cold.x, atol=1e-9)
    assert solve(**p, start=cold.multiplier).iterations.max() == 0


def test_a_frames_answer_does_not_depend_on_its_batch():
    p = random_problem(seed=6)
    whole = solve(**p)
    for frame in (0, 5, 11):
        alone = solve(**{k: v[frame : frame + 1] if k in ("A", "b") else v for k, v in p.items()})
        assert_allclose(alone.x[0], whole.x[frame], atol=1e-10)


def test_coordinates_that_no_unknown_couples_are_carried_by_their_reserves_and_disturb_nothing():
    p = random_problem(seed=12)
    p["A"][:, [2, 5]] = 0.0
    p["A"][:, :4, 15:] = 0.0
    p["A"][:, 4:, :15] = 0.0
    s = solve(**p)
    assert s.solved.all()
    assert_allclose(s.reserve[:, [2, 5]], p["b"][:, [2, 5]], rtol=1e-9)
    check_kkt(p, s)
    check_against_clarabel(p)


def test_an_unknown_that_does_nothing_stays_at_its_smallest_cost():
    p = random_problem(seed=7)
    p["A"][:, :, 4] = 0.0
    p["lower"][4] = 0.02
    assert_allclose(solve(**p).x[:, 4], 0.02)


def test_gradients_in_arms_and_moments_are_those_of_finite_differences():
    p = random_problem(frames=3, coordinates=4, unknowns=8, seed=8)
    p["A"] = 60 * torch.randn(3, 4, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    p["reserve_optimal"][:] = 30.0
    fixed = {k: v for k, v in p.items() if k not in ("A", "b")}

    def answer(A: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        s = solve(A, b, **fixed, tolerance=1e-12)
        return s.x, s.reserve

    x = answer(p["A"], p["b"])[0]
    assert (x == p["lower"]).any()
    assert ((x > p["lower"]) & (x < p["upper"])).any()
    inputs = (p["A"].requires_grad_(), p["b"].requires_grad_())
    assert torch.autograd.gradcheck(answer, inputs, eps=1e-5, atol=1e-6, rtol=1e-4)


def test_gradients_flow_past_a_frame_that_is_not_finite():
    p = random_problem(seed=9)
    p["b"][2] = torch.nan
    p["b"].requires_grad_()
    s = solve(**p)
    s.x[s.solved].sum().backward()
    assert p["b"].grad[s.solved].isfinite().all()
    assert p["b"].grad[s.solved].abs().max() > 0


def test_single_precision_finds_the_same_activations():
    p = random_problem(seed=10)
    single = solve(**{k: v.float() for k, v in p.items()})
    assert single.solved.all()
    assert_allclose(single.x, solve(**p).x, atol=2e-3)


def test_compiled_and_on_batches_the_method_takes_the_same_steps_to_the_same_multipliers(monkeypatch):
    p = random_problem(frames=60, coordinates=14, unknowns=50, seed=21)
    p["b"][7, 3] = torch.nan
    monkeypatch.setattr(native, "FEWEST_PER_THREAD", 14 * 50 * 20)
    threaded = solve(**p)
    monkeypatch.setattr(native, "library", lambda: None)
    batch = solve(**p)
    assert (threaded.status == batch.status).all()
    assert (threaded.iterations == batch.iterations).all()
    assert threaded.iterations.max() > 3
    fine = batch.solved
    assert_allclose(threaded.multiplier[fine], batch.multiplier[fine], rtol=1e-9, atol=1e-12)
    assert_allclose(threaded.x[fine], batch.x[fine], atol=1e-12)


@pytest.mark.parametrize(
    ("compiler", "said"),
    [
        ("no-such-compiler-here", "no-such-compiler-here does not start"),
        (f"{sys.executable} -c raise(SystemExit(3))", "does not compile the physics"),
        ("", "no C compiler"),
    ],
)
def test_without_a_compiler_or_with_one_that_fails_nothing_is_left(compiler, said, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", compiler)
    if not compiler:
        monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=said):
        compile_c(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_was_compiled_from_another_source_is_replaced_and_never_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("bige_opensim.physics.native_build.WIDTHS", {"": ()})  # the others take longer
    older = tmp_path / "physics_000000000000.native"
    older.write_bytes(b"of another version")
    try:
        made = compile_c(tmp_path)
    except RuntimeError as error:
        pytest.skip(str(error))
    assert made == library_path(tmp_path)
    assert made.name != older.name
    assert [f.name for f in tmp_path.iterdir()] == [made.name]


def test_code_that_this_machine_cannot_load_is_left_to_torch(tmp_path, monkeypatch):
    monkeypatch.setattr(native, "library_path", lambda: tmp_path / "other.native")
    (tmp_path / "other.native").write_bytes(b"for another machine")
    native.library.cache_clear()
    try:
        assert native.library() is None
        assert solve(**random_problem()).solved.all()
    finally:
        native.library.cache_clear()


def test_gradients_in_c_are_those_of_the_batches_in_all_that_is_returned(monkeypatch):
    """Two blocks, a coordinate that nothing moves, a frame that is not finite."""
    p = random_problem(frames=8, coordinates=9, unknowns=30, seed=23)
    p["A"][:, 8] = 0.0
    p["A"][:, :4, 15:] = 0.0
    p["A"][:, 4:, :15] = 0.0
    p["b"][2, 1] = torch.nan
    rng = torch.Generator().manual_seed(5)
    asked = [torch.randn(8, n, generator=rng, dtype=torch.float64) for n in (30, 9, 9)]

    def gradients() -> list[torch.Tensor]:
        inputs = [p[name].clone().requires_grad_() for name in ("A", "b")]
        s = solve(*inputs, **{k: v for k, v in p.items() if k not in ("A", "b")})
        fine = s.solved
        sum((w[fine] * v[fine]).sum() for w, v in zip(asked, (s.x, s.reserve, s.multiplier), strict=True)).backward()
        return [v.grad[fine] for v in inputs]

    ours = gradients()
    monkeypatch.setattr(native, "library", lambda: None)
    theirs = gradients()
    linked = (p["A"] != 0).any(0)
    assert_allclose(ours[0][:, linked], theirs[0][:, linked], rtol=1e-6, atol=1e-9)
    assert_allclose(ours[1], theirs[1], rtol=1e-6, atol=1e-9)
    assert ours[1].abs().min(0).values.max() > 0
