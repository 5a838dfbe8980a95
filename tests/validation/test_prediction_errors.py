import numpy as np
import pytest

from bige_opensim.validation.prediction_errors import eight_muscles, prediction_errors, r_squared

MUSCLES = ["vasmed_r", "vasmed_l", "soleus_r", "soleus_l", "tfl_r"]


def truth() -> np.ndarray:
    t = np.linspace(0.0, 2.0 * np.pi, 64, endpoint=False)
    size = np.array([0.1, 0.1, 0.2, 0.2, 0.001])
    return 0.3 + size * np.sin(t)[None, :, None] * np.ones((2, 1, 1))


def test_perfect_mean_and_shifted_predictions_have_the_r2_that_algebra_gives() -> None:
    a = truth()
    np.testing.assert_allclose(r_squared(a, a), 1.0)
    np.testing.assert_allclose(r_squared(np.broadcast_to(a.mean((0, 1)), a.shape), a), 0.0, atol=1e-12)
    # a shift d costs d^2 over the variance s^2 / 2 of a sine of amplitude s
    np.testing.assert_allclose(r_squared(a + 0.02, a)[:4], 1.0 - 0.02**2 / (np.array([0.1, 0.1, 0.2, 0.2]) ** 2 / 2))


def test_a_muscle_that_never_changes_has_no_r2() -> None:
    assert np.isnan(r_squared(np.zeros((1, 5, 1)), np.full((1, 5, 1), 0.2)))[0]


def test_errors_count_muscles_that_act_and_pool_sides() -> None:
    a = truth()
    p = a.copy()
    p[..., 0] += 0.05
    found = prediction_errors(p, a, MUSCLES, (p - 0.01, p + 0.01))
    assert (found.repetitions, found.acting, found.worst) == (2, 4, "vasmed")
    assert found.worst_r2 == pytest.approx(1.0 - (0.05**2 / 2) / (0.1**2 / 2))
    assert found.eight_r2 == pytest.approx((found.worst_r2 + 1.0) / 2)
    assert found.eight_rmse == pytest.approx(0.05 / 2)
    assert found.rmse == pytest.approx(0.05 / np.sqrt(5))
    assert found.covered == pytest.approx(0.8)
    eight = eight_muscles(p, a, MUSCLES)
    assert eight["vasmed"] == (found.worst_r2, pytest.approx(0.05 / np.sqrt(2)))
    assert eight["soleus"] == (pytest.approx(1.0), 0.0)
    assert set(eight) == {"vasmed", "soleus"}, "of those there are"


def test_nothing_that_acts_is_said() -> None:
    with pytest.raises(ValueError, match="nothing to predict"):
        prediction_errors(np.zeros((1, 4, 5)), np.zeros((1, 4, 5)), MUSCLES)
