import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bige_opensim.guidance.language import ObjectiveError
from bige_opensim.guidance.objective import BoundObjective, Objective
from bige_opensim.guidance.quantities import GRF_COLUMNS, Dynamics

from .conftest import COORDINATES, LEG_M, TRUNK_COM_M, StiltBody, stilt_squat

PRESETS = Path(__file__).resolve().parents[2] / "pipelines" / "objectives"
MUSCLES = ("vasmed_r", "vasmed_l", "soleus_r", "soleus_l")


def bind(body: StiltBody, *terms: dict[str, Any], **options: Any) -> BoundObjective:
    return Objective.from_dict({"term": list(terms)}).bind(COORDINATES, MUSCLES, body, **options)


def deg(*angles: float) -> Tensor:
    return torch.deg2rad(torch.tensor(angles, dtype=torch.float64))


def squat(right: float = 90.0, left: float = 90.0, tilt: float = -30.0) -> Tensor:
    return stilt_squat(deg(right), deg(left), deg(tilt))


TWO_S = torch.tensor([2.0], dtype=torch.float64)

CASES = [
    ({"quantity": "coordinate", "of": ["knee_angle_r"], "stat": "peak"}, 90.0),
    ({"quantity": "coordinate", "of": ["pelvis_tilt"], "stat": "min"}, -30.0),
    ({"quantity": "coordinate", "of": ["pelvis_tilt"], "stat": "range"}, 30.0),
    ({"quantity": "coordinate", "of": ["pelvis_ty"], "at": 0.5}, LEG_M * math.cos(math.pi / 4)),
    ({"quantity": "velocity", "of": ["knee_angle_r"], "stat": "peak"}, 90 * math.pi / 2),
    ({"quantity": "velocity", "of": ["pelvis_tx"], "stat": "peak"}, 0.0),
    ({"quantity": "asymmetry", "of": ["knee_angle"], "stat": "peak"}, 0.0),
    ({"quantity": "trunk_angle", "stat": "peak"}, 30.0),
    ({"quantity": "depth", "stat": "peak"}, LEG_M * (1 - math.cos(math.pi / 4))),
    ({"quantity": "foot_slide", "stat": "peak"}, 0.0),
    ({"quantity": "duration"}, 2.0),
]


@pytest.mark.parametrize(("term", "expected"), CASES, ids=lambda x: x.get("quantity") if isinstance(x, dict) else None)
def test_quantities_of_a_squat_match_their_closed_form(body: StiltBody, term: dict[str, Any], expected: float) -> None:
    found = bind(
        body, term | {"name": "x", "at_least": -1000.0 if term["quantity"] in ("coordinate", "velocity") else 0.0}
    )
    assert found.evaluate(squat(), TWO_S).values["x"].item() == pytest.approx(expected, rel=2e-3, abs=1e-9)


def test_com_speed_and_acceleration_of_a_pendulum_trunk(body: StiltBody) -> None:
    q = torch.zeros(1, 401, len(COORDINATES), dtype=torch.float64)
    q[0, :, 0] = 0.5 * torch.linspace(0, 2, 401, dtype=torch.float64)
    found = bind(
        body,
        {"name": "v", "quantity": "com_velocity", "stat": "mean", "minimise": True},
        {"name": "a", "quantity": "com_acceleration", "stat": "rms", "minimise": True},
        {"name": "vx", "quantity": "com_velocity", "of": ["x"], "at": 0.0, "minimise": True},
    ).evaluate(q, TWO_S)
    assert found.values["v"].item() == pytest.approx(TRUNK_COM_M * 0.5, rel=1e-4)
    assert found.values["a"].item() == pytest.approx(TRUNK_COM_M * 0.25, rel=1e-3)
    assert found.values["vx"].item() == pytest.approx(-TRUNK_COM_M * 0.5, rel=1e-4)


def test_sliding_feet_are_seen(body: StiltBody) -> None:
    q = squat()
    q[..., 2] = torch.linspace(0, 0.4, 101, dtype=torch.float64)
    found = bind(body, {"name": "s", "quantity": "foot_slide", "stat": "mean", "minimise": True}).evaluate(q, TWO_S)
    assert found.values["s"].item() == pytest.approx(0.2, rel=1e-3)


def test_asymmetry_is_the_same_for_a_motion_and_its_mirror_image(body: StiltBody) -> None:
    a = squat(right=90, left=70)
    a[..., 1], a[..., 4] = 0.05, 0.02
    b = a[..., [0, 1, 2, 3, 4, 6, 5, 7]].clone()
    b[..., [1, 4]] *= -1
    found = bind(
        body,
        {"name": "knee", "quantity": "asymmetry", "of": ["knee_angle_r"], "stat": "peak", "at_most": 5},
        {"name": "list", "quantity": "asymmetry", "of": ["pelvis_list"], "stat": "mean", "at_most": 5},
        {"name": "shift", "quantity": "asymmetry", "of": ["pelvis_tz"], "stat": "mean", "at_most": 0.1},
    )
    q = torch.cat([a, b])
    values = found.evaluate(q, TWO_S.expand(2)).values
    assert values["knee"].tolist() == pytest.approx([20, 20])
    assert values["list"].tolist() == pytest.approx([math.degrees(0.1)] * 2)
    assert values["shift"].tolist() == pytest.approx([0.04] * 2)


def test_every_muscle_must_be_inside_and_the_worst_one_is_reported(body: StiltBody) -> None:
    activations = torch.zeros(2, 101, 4, dtype=torch.float64)
    activations[0, 50, :2] = torch.tensor([0.40, 0.50])
    activations[1, 50, :2] = torch.tensor([0.40, 0.38])
    found = bind(
        body, {"name": "v", "quantity": "activation", "of": ["vasmed_*"], "stat": "peak", "between": [0.35, 0.45]}
    )
    result = found.evaluate(squat().expand(2, -1, -1), TWO_S.expand(2), activations)
    assert result.channel_values["v"].tolist() == [pytest.approx([0.40, 0.50]), pytest.approx([0.40, 0.38])]
    assert result.values["v"].tolist() == pytest.approx([0.50, 0.38])
    assert result.satisfied.tolist() == [False, True]
    assert result.violations["v"].tolist() == pytest.approx([1.0, -0.6])
    assert result.loss[0] > 0.5
    assert result.loss[1] == pytest.approx(0.0, abs=1e-9)


def test_muscle_asymmetry_compares_the_two_sides(body: StiltBody) -> None:
    activations = torch.full((1, 101, 4), 0.3, dtype=torch.float64)
    activations[..., 1] = 0.1
    found = bind(body, {"name": "v", "quantity": "asymmetry", "of": ["vasmed"], "stat": "mean", "at_most": 0.05})
    assert found.needs_activations
    assert found.evaluate(squat(), TWO_S, activations).values["v"].item() == pytest.approx(0.2)


def test_only_hard_terms_make_the_verdict_and_without_any_all_bounds_do(body: StiltBody) -> None:
    met = {"name": "knee", "quantity": "coordinate", "of": ["knee_angle_r"], "stat": "peak", "at_least": 80}
    unmet = {"name": "slow", "quantity": "duration", "at_least": 5}
    assert bind(body, met | {"hard": True}, unmet).evaluate(squat(), TWO_S).satisfied.all()
    assert not bind(body, met, unmet).evaluate(squat(), TWO_S).satisfied.any()


def test_equals_means_within_its_tolerance(body: StiltBody) -> None:
    term = {"name": "k", "quantity": "coordinate", "of": ["knee_angle_r"], "stat": "peak", "equals": 92}
    assert not bind(body, term).evaluate(squat(), TWO_S).satisfied.any()
    assert bind(body, term | {"tolerance": 3}).evaluate(squat(), TWO_S).satisfied.all()


def test_the_papers_losses_are_mean_squares_with_its_weights(body: StiltBody) -> None:
    q = squat(right=90, left=80)
    found = bind(
        body,
        {"name": "a", "quantity": "asymmetry", "of": ["knee_angle"], "stat": "rms", "minimise": True,
         "scale": 57.29578},
        {"name": "t", "quantity": "coordinate", "of": ["pelvis_tilt"], "stat": "min", "minimise": True, "weight": 0.5,
         "scale": 57.29578},
    ).evaluate(q, TWO_S)  # fmt: skip
    mean_square = (q[..., 5] - q[..., 6]).square().mean().item()
    assert found.penalties["a"].item() == pytest.approx(mean_square, rel=1e-5)
    assert found.loss.item() == pytest.approx(mean_square + 0.5 * math.radians(-30), rel=1e-5)


def test_a_deeper_forward_lean_lowers_the_presets_tilt_loss(body: StiltBody) -> None:
    tilt = Objective.load(PRESETS / "bige_squat.toml").terms[0]
    bound = Objective("tilt", (tilt,), Objective.load(PRESETS / "bige_squat.toml").settings).bind(COORDINATES, (), body)
    q = torch.cat([squat(tilt=-20), squat(tilt=-45), squat(tilt=20)])
    loss = bound.evaluate(q, TWO_S.expand(3)).loss
    assert loss[1] < loss[0] < loss[2]


def test_moments_and_ground_forces_come_from_the_callers_dynamics(body: StiltBody) -> None:
    def dynamics(q: Tensor, duration: Tensor, activations: Tensor | None) -> Dynamics:
        force = torch.zeros(*q.shape[:2], len(GRF_COLUMNS), dtype=q.dtype)
        force[..., 1] = 70 * 9.81 / 2
        return Dynamics(torch.full_like(q, 140.0), force)

    terms = (
        {"name": "m", "quantity": "moment", "of": ["knee_angle_r"], "stat": "peak", "at_most": 3},
        {"name": "f", "quantity": "grf", "of": ["ground_force_r_vy"], "stat": "peak", "at_most": 1},
    )
    values = bind(body, *terms, dynamics=dynamics).evaluate(squat(), TWO_S).values
    assert values["m"].item() == pytest.approx(2.0)
    assert values["f"].item() == pytest.approx(0.5)
    with pytest.raises(ObjectiveError, match="term 'm' measures moment, which needs dynamics"):
        bind(body, *terms)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ({"quantity": "activation", "of": ["vasmed_x"]}, "unknown muscle 'vasmed_x'; did you mean 'vasmed_"),
        (
            {"quantity": "coordinate", "of": ["knee_angle"]},
            "unknown coordinate 'knee_angle'; did you mean 'knee_angle_",
        ),
        ({"quantity": "coordinate", "of": ["pelvis_t*"]}, "mix angles and lengths"),
        ({"quantity": "coordinate", "of": ["pelvis_ty"], "unit": "deg"}, "pelvis_ty is measured in m, not deg"),
        ({"quantity": "asymmetry", "of": ["pelvis_tilt"]}, "has no left-right partner"),
        ({"quantity": "asymmetry", "of": ["knee_angle", "vasmed"]}, "mixes coordinates and muscles"),
        ({"quantity": "asymmetry", "of": ["nee_angle"]}, "did you mean 'knee_angle'"),
        ({"quantity": "foot_slide", "of": ["s9_r"]}, "unknown contact point 's9_r'"),
        ({"quantity": "com_velocity", "of": ["w"]}, "known: norm, x, y, z"),
    ],
)
def test_names_that_do_not_fit_the_model_are_refused_with_the_nearest(
    body: StiltBody, term: dict[str, Any], message: str
) -> None:
    with pytest.raises(ObjectiveError, match=message):
        bind(body, term | {"stat": "peak", "at_most": 0.5})


def test_channels_may_come_in_any_order_and_leave_coordinates_out(body: StiltBody) -> None:
    names = ("knee_angle_l", "pelvis_ty", "knee_angle_r", "pelvis_tilt")
    objective = Objective.from_dict({"term": [{"name": "t", "quantity": "trunk_angle", "stat": "peak", "at_most": 90}]})
    q = squat()[..., [COORDINATES.index(n) for n in names]]
    bound = objective.bind(names, (), body)
    assert bound.evaluate(q, TWO_S).values["t"].item() == pytest.approx(30, rel=1e-6)
    with pytest.raises(ObjectiveError, match="channel 'hip' of the motions is no coordinate"):
        objective.bind(("hip",), (), body)


def test_misshapen_batches_and_missing_activations_are_refused(body: StiltBody) -> None:
    bound = bind(body, {"quantity": "activation", "of": ["vasmed_r"], "stat": "peak", "at_most": 0.5})
    with pytest.raises(ObjectiveError, match="no activations were given"):
        bound.evaluate(squat(), TWO_S)
    with pytest.raises(ObjectiveError, match=r"expected motions \(batch, time >= 3, 8\)"):
        bound.evaluate(squat()[..., :3], TWO_S)
    with pytest.raises(ObjectiveError, match="expected activations"):
        bound.evaluate(squat(), TWO_S, torch.zeros(1, 101, 2))


def test_a_plausible_squat_costs_nothing_and_each_fault_its_own_penalty(body: StiltBody) -> None:
    bound = bind(body, {"quantity": "duration", "at_least": 1})
    sunk, hung, bent = squat(), squat(), squat()
    sunk[..., 3] -= 0.03
    hung[..., 3] += 0.03
    bent[:, 50, 5] = math.radians(130)
    q = torch.cat([squat(), sunk, hung, bent])
    found = bound.plausibility(bound.observe(q, TWO_S.expand(4)))
    assert found["penetration"][:3].tolist() == pytest.approx([0, 4, 0])
    assert found["floating"][:3].tolist() == pytest.approx([0, 0, 4])
    assert found["joint_limits"].tolist() == pytest.approx([0, 0, 0, 25 / 101])
    assert bound.limit_violations(q)[3] == {"knee_angle_r": pytest.approx(10.0)}


def test_an_unmet_depth_pulls_the_lowest_frames_down_and_gradients_are_finite_everywhere(body: StiltBody) -> None:
    deep = {"name": "d", "quantity": "depth", "stat": "peak", "at_least": 0.5}
    others = [
        {"name": "c", "quantity": "com_acceleration", "stat": "rms", "minimise": True},
        {"name": "f", "quantity": "foot_slide", "stat": "rms", "minimise": True},
        {"name": "t", "quantity": "trunk_angle", "stat": "peak", "at_most": 10},
        {"name": "a", "quantity": "asymmetry", "stat": "rms", "at_most": 1},
    ]
    q = squat().requires_grad_(True)
    (gradient,) = torch.autograd.grad(bind(body, deep).evaluate(q, TWO_S).loss.sum(), q)
    assert gradient[0, 50, 3] > 0 > gradient[0, 0, 3]
    assert (gradient[..., 5:7] == 0).all()
    for term in others:
        (gradient,) = torch.autograd.grad(bind(body, term).evaluate(q, TWO_S).loss.sum(), q)
        assert torch.isfinite(gradient).all()


def test_presets_bind_to_a_real_model(shared_data: Path) -> None:
    pytest.importorskip("opensim")
    from bige_opensim.osim.compile import compile_skeleton
    from bige_opensim.physics.skeleton import Skeleton

    skeleton = Skeleton(compile_skeleton(shared_data / "models" / "LaiUhlrich2022.osim"), dtype=torch.float32)
    muscles = tuple(skeleton.tables.muscles)

    def standing(q: Tensor, *_: Any) -> Dynamics:
        return Dynamics(torch.zeros_like(q), torch.zeros(*q.shape[:2], 6))

    for preset in sorted(PRESETS.glob("*.toml")):
        bound = Objective.load(preset).bind(skeleton.coordinates, muscles, skeleton, dynamics=standing)
        q = torch.zeros(2, 101, len(skeleton.coordinates))
        q[..., skeleton.coordinates.index("pelvis_ty")] = 0.93
        found = bound.evaluate(q, torch.tensor([2.0, 3.0]), torch.full((2, 101, len(muscles)), 0.4))
        assert torch.isfinite(found.loss).all()
        assert found.loss.dtype == torch.float32
