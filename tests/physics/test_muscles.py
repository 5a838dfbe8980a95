import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from bige_opensim.physics import muscles as module
from bige_opensim.physics.muscle_strength import (
    DEGROOTE_ACTIVE,
    degroote_active,
    degroote_passive,
    degroote_velocity,
    thelen_active,
    thelen_passive,
    thelen_velocity,
)
from bige_opensim.physics.muscle_tables import DEGROOTE, MILLARD, THELEN
from bige_opensim.physics.muscles import Muscles, MuscleTables, MuscleTablesError, monomial_exponents

COORDINATES = ("pelvis_ty", "hip", "knee", "ankle", "toe")
SPANS = ((1, 2), (2,), (2, 3, 4), (1, 2))
CLASSES = (MILLARD, THELEN, DEGROOTE, MILLARD)
DEGREES = (3, 5, 2, 2)
NODES = 401


def cubic_curve(low, high, value, slope):
    x = np.linspace(low, high, NODES)
    return low, x[1] - x[0], np.stack([value(x), slope(x)], axis=1)


def curves():
    active = cubic_curve(0.4, 1.6, lambda x: 1 - (x - 1) ** 2 / 0.36, lambda x: -2 * (x - 1) / 0.36)
    velocity = cubic_curve(-1.0, 1.0, lambda v: 1 + 0.7 * v - 0.3 * v**3, lambda v: 0.7 - 0.9 * v**2)
    passive = cubic_curve(1.0, 1.7, lambda x: ((x - 1) / 0.7) ** 3, lambda x: 3 * (x - 1) ** 2 / 0.343)
    return active, velocity, passive


def parameters():
    nan = np.nan
    rows = {
        "max_isometric_force": (1000.0, 500.0, 800.0, 1500.0),
        "optimal_fiber_length": (0.1, 0.12, 0.06, 0.09),
        "tendon_slack_length": (0.2, 0.15, 0.25, 0.21),
        "pennation_angle_at_optimal": (0.2, 0.0, 0.3, 0.4),
        "max_contraction_velocity": (10.0, 8.0, 10.0, 12.0),
        "maximum_pennation_angle": (1.4, 1.4, nan, 1.4),
        "FmaxMuscleStrain": (nan, 0.6, nan, nan),
        "KshapeActive": (nan, 0.45, nan, nan),
        "KshapePassive": (nan, 5.0, nan, nan),
        "Af": (nan, 0.25, nan, nan),
        "Flen": (nan, 1.4, nan, nan),
        "fv_linear_extrap_threshold": (nan, 0.95, nan, nan),
        "active_force_width_scale": (nan, nan, 1.3, nan),
        "passive_fiber_strain_at_one_norm_force": (nan, nan, 0.6, nan),
        "minimum_fiber_length": (0.03, 0.001, nan, 0.04),
        "minimum_fiber_length_along_tendon": (0.0035, 0.0, nan, 0.006),
        "passive_fiber_force": (nan, nan, 1.0, nan),
    }
    return {k: np.array(v) for k, v in rows.items()}


def tables(apart=False):
    rng = np.random.default_rng(3)
    exponents = [monomial_exponents(len(s), d) for s, d in zip(SPANS, DEGREES, strict=True)]
    coefficients = [0.01 * rng.standard_normal(len(e)) for e in exponents]
    for c, rest in zip(coefficients, (0.3, 0.27, 0.31, 0.3), strict=True):
        c[0] = rest
    coefficients = np.concatenate(coefficients)
    arm = coefficients + (0.01 * rng.standard_normal(len(coefficients)) if apart else 0.0)
    widest = max(len(s) for s in SPANS)
    low, step, nodes = zip(*curves(), strict=True)
    total = sum(len(s) for s in SPANS)
    return MuscleTables(
        names=("rectus", "vastus", "extensor", "sartorius"),
        classes=CLASSES,
        coordinates=COORDINATES,
        span_offsets=np.cumsum([0, *map(len, SPANS)]),
        span_coordinates=np.array([c for s in SPANS for c in s]),
        term_offsets=np.cumsum([0, *map(len, exponents)]),
        exponents=np.concatenate([np.pad(e, ((0, 0), (0, widest - e.shape[1]))) for e in exponents]),
        coefficients=coefficients,
        arm_coefficients=arm,
        apart=np.full(4, apart),
        moment_arm_difference=np.zeros(total),
        centre=np.array([0.0, 0.4, 0.9, 0.0, 0.1]),
        scale=np.array([1.0, 1.1, 1.2, 0.5, 0.4]),
        lower=np.array([-np.inf, -0.7, -0.3, -0.5, -0.3]),
        upper=np.array([np.inf, 1.5, 2.1, 0.5, 0.5]),
        length_rms=np.zeros(4),
        length_max=np.zeros(4),
        moment_arm_rms=np.zeros(total),
        moment_arm_max=np.zeros(total),
        outlier_fraction=np.zeros(4),
        sampled=np.zeros((1, 5)),
        rough=np.zeros((1, 4), dtype=bool),
        parameters=parameters(),
        curve_low=np.array(low),
        curve_step=np.array(step),
        curve_nodes=np.stack(nodes),
        active_curve=np.array([0, -1, -1, 0]),
        velocity_curve=np.array([1, -1, -1, 1]),
        passive_curve=np.array([2, -1, -1, 2]),
        source={"file": "leg.osim", "sha256": "0", "opensim": "4.6", "poses": 10, "seed": 0},
    )


@pytest.fixture(scope="module")
def muscles():
    return Muscles(tables())


def poses(*batch, seed=0):
    t = tables()
    low, high = np.maximum(t.lower, -1), np.minimum(t.upper, 1.4)
    return torch.as_tensor(np.random.default_rng(seed).uniform(low, high, (*batch, len(COORDINATES))))


def test_lengths_are_the_polynomials_of_the_spanned_coordinates(muscles):
    t, q = tables(), poses(50)
    x = (q.numpy() - t.centre) / t.scale
    for m in range(len(t.names)):
        exponents, coefficients = t.terms(m)
        expected = np.prod(x[:, None, list(t.spans(m))] ** exponents, axis=2) @ coefficients[0]
        assert_allclose(muscles.lengths(q)[:, m], expected, atol=1e-14)


def test_moment_arms_are_the_exact_negative_gradient_of_the_lengths(muscles):
    q = poses(7)
    jacobian = torch.stack([torch.autograd.functional.jacobian(muscles.lengths, frame) for frame in q])
    assert_allclose(muscles.moment_arms(q), -jacobian, atol=1e-14)


def test_muscles_apart_take_their_moment_arms_from_their_second_polynomial():
    t, q = tables(apart=True), poses(20)
    second = Muscles(MuscleTables(**(vars(t) | {"coefficients": t.arm_coefficients})))
    muscles = Muscles(t)
    assert_allclose(muscles.moment_arms(q), second.moment_arms(q), atol=1e-15)
    assert_allclose(muscles.lengths(q), Muscles(tables()).lengths(q), atol=1e-15)
    assert (muscles.lengths(q) - second.lengths(q)).abs().max() > 1e-3


def test_moment_arms_vanish_outside_the_spans(muscles):
    arms = muscles.moment_arms(poses(5))
    muscle, coordinate = muscles.spans
    spanned = torch.zeros(4, 5, dtype=torch.bool).index_put((muscle, coordinate), torch.tensor(True))
    assert (arms[:, ~spanned] == 0).all()
    assert (arms[:, spanned] != 0).all()


def test_velocities_are_the_rate_of_change_of_the_lengths_along_a_motion(muscles):
    q0, qd = poses(30), 0.1 * poses(30, seed=1)
    step = 1e-6
    expected = (muscles.lengths(q0 + step * qd) - muscles.lengths(q0 - step * qd)) / (2 * step)
    assert_allclose(muscles.velocities(q0, qd), expected, atol=1e-9)
    assert_allclose(muscles.velocities(q0, qd), -(muscles.moment_arms(q0) @ qd[..., None])[..., 0], atol=1e-14)


@pytest.mark.parametrize("batch", [(), (1,), (3, 4), (2, 1, 5), (0,)])
def test_any_leading_batch_shape_is_kept(muscles, batch):
    q = poses(*batch)
    assert muscles.lengths(q).shape == (*batch, 4)
    assert muscles.moment_arms(q).shape == (*batch, 4, 5)
    assert muscles.velocities(q, q).shape == (*batch, 4)
    assert muscles.strength(muscles.lengths(q), muscles.velocities(q, q)).shape == (*batch, 4)
    assert muscles.in_range(q).shape == batch


def test_a_frame_does_not_depend_on_the_frames_beside_it(muscles, monkeypatch):
    q = poses(50)
    expected = torch.stack([muscles.moment_arms(frame) for frame in q])
    strength = muscles.strength(*muscles.lengths_and_velocities(q, 0.3 * q))
    monkeypatch.setattr(module, "CHUNK_FRAMES", 16)
    assert_allclose(muscles.moment_arms(q), expected, atol=1e-15)
    assert_allclose(muscles.lengths(q), torch.stack([muscles.lengths(frame) for frame in q]), atol=1e-15)
    assert_allclose(muscles.strength(*muscles.lengths_and_velocities(q, 0.3 * q)), strength, rtol=1e-13)


@pytest.mark.parametrize("apart", [False, True])
def test_gradients_of_every_result_pass_gradcheck(apart):
    muscles = Muscles(tables(apart))
    q, qd = poses(3).requires_grad_(), poses(3, seed=1).requires_grad_()

    def strength(q, qd):
        return muscles.strength(*muscles.lengths_and_velocities(q, 0.3 * qd)) / 1000

    assert torch.autograd.gradcheck(muscles.lengths, (q,))
    assert torch.autograd.gradcheck(muscles.moment_arms, (q,))
    assert torch.autograd.gradcheck(muscles.velocities, (q, qd))
    assert torch.autograd.gradcheck(strength, (q, qd))
    assert torch.autograd.gradcheck(lambda q: muscles.passive_force(muscles.lengths(q)) / 1000, (q,))


def test_single_precision_agrees_with_double(muscles):
    single, q = Muscles(tables(), torch.float32), poses(100)
    assert single.lengths(q.float()).dtype == torch.float32
    assert_allclose(single.lengths(q.float()), muscles.lengths(q), atol=1e-6)
    assert_allclose(single.moment_arms(q.float()), muscles.moment_arms(q), atol=1e-6)


def test_frames_outside_the_fitted_range_are_flagged_by_coordinate(muscles):
    q = torch.tensor([[0.0, 0.4, 0.9, 0.0, 0.1]] * 5, dtype=torch.float64)
    q[1, 2] = 2.2
    q[2, 1] = -0.8
    q[3, 0] = 1e3
    q[4, 3] = torch.nan
    assert muscles.in_range(q).tolist() == [True, False, False, True, False]
    assert muscles.coordinates_in_range(q)[1].tolist() == [True, True, False, True, True]


def test_wrong_number_of_coordinates_is_an_error_that_names_them(muscles, unchecked_shapes):
    with pytest.raises(MuscleTablesError, match=r"expected 5 coordinates .*pelvis_ty, hip.*got shape \(2, 4\)"):
        muscles.lengths(torch.zeros(2, 4, dtype=torch.float64))


def test_packed_tables_are_unpacked_the_same():
    t = tables(apart=True)
    back = MuscleTables.from_bytes(t.to_bytes())
    for name, value in vars(t).items():
        other = getattr(back, name)
        if name == "parameters":
            assert value.keys() == other.keys()
            assert all(np.array_equal(value[k], other[k], equal_nan=True) for k in value)
        elif isinstance(value, np.ndarray):
            assert np.array_equal(value, other)
            assert value.dtype == other.dtype
        else:
            assert value == other


def test_millard_strength_is_the_rigid_tendon_formula(muscles):
    length, velocity = torch.tensor([0.3] * 4, dtype=torch.float64), torch.tensor([-0.1] * 4, dtype=torch.float64)
    along, height = 0.3 - 0.2, 0.1 * np.sin(0.2)
    fibre = np.hypot(along, height)
    l, v = fibre / 0.1, -0.1 * (along / fibre) / (0.1 * 10)  # noqa: E741
    multiplier = (1 - (l - 1) ** 2 / 0.36) * (1 + 0.7 * v - 0.3 * v**3)
    expected = 1000 * multiplier * np.cos(np.arcsin(height / l))
    assert_allclose(muscles.strength(length, velocity)[0], expected, rtol=1e-12)


def test_a_fibre_shorter_than_its_minimum_is_without_force_and_without_nan_gradient(muscles):
    length = torch.full((4,), 0.1, dtype=torch.float64, requires_grad=True)
    strength = muscles.strength(length, torch.zeros(4, dtype=torch.float64))
    assert strength[[0, 1, 3]].tolist() == [0.0, 0.0, 0.0]
    strength.sum().backward()
    assert torch.isfinite(length.grad).all()


def test_curves_continue_linearly_beyond_their_ends(muscles):
    x = torch.tensor([[0.3, 1.7]], dtype=torch.float64)
    value = muscles.strengths._curve(torch.tensor([0, 0]), x)
    assert_allclose(value, [[-0.1 * 1.2 / 0.36, -0.1 * 1.2 / 0.36]], atol=1e-12)


def test_thelen_velocity_solves_the_published_equation_for_the_force():
    af, flen, threshold = (torch.tensor(v, dtype=torch.float64) for v in (0.25, 1.4, 0.95))
    force = torch.linspace(0.0, 0.95 * 1.4 - 1e-9, 200, dtype=torch.float64)
    shortening = (force - 1) / (1 + force / af)
    lengthening = (force - 1) * (flen - 1) / ((2 + 2 / af) * (flen - force))
    velocity = torch.where(force <= 1, shortening, lengthening)
    assert_allclose(thelen_velocity(velocity, af, flen, threshold), force, atol=1e-12)
    beyond = velocity[-1] + torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
    assert_allclose(np.diff(thelen_velocity(beyond, af, flen, threshold), n=2), 0, atol=1e-8)
    assert thelen_velocity(torch.tensor(-1.5), af, flen, threshold) == 0


def test_closed_forms_pass_through_their_defining_points():
    one, strain = torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    assert thelen_active(one, 0.45 * one) == 1
    assert_allclose(thelen_passive(torch.stack([0.8 * one, one, one + strain]), strain, 5 * one), [0, 0, 1], atol=1e-12)
    assert_allclose(degroote_active(one, 1.3 * one), 1, atol=1e-8)
    assert_allclose(degroote_velocity(torch.stack([-one, 0 * one])), [0, 1], atol=1e-12)
    assert_allclose(degroote_passive(torch.stack([0.2 * one, one + strain]), strain), [0, 1], atol=1e-7)
    assert len(DEGROOTE_ACTIVE) == 3


def test_monomials_are_all_of_total_degree_at_most_d_by_rising_degree():
    exponents = monomial_exponents(3, 4)
    assert len(exponents) == 35
    assert len({tuple(e) for e in exponents}) == 35
    assert (np.diff(exponents.sum(axis=1)) >= 0).all()
