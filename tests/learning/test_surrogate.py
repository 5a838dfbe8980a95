from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from squat_like_repetitions import squat_like_mechanics
from torch import Tensor

from bige_opensim.learning.augmentation import ARMS
from bige_opensim.learning.channels import Channels, ChannelsError, Mirror, Normaliser, Scaling, mirror_name
from bige_opensim.learning.derivatives import time_derivatives
from bige_opensim.learning.legs import told
from bige_opensim.learning.surrogate import (
    SHARPNESS,
    TOGETHER,
    Surrogate,
    SurrogateConfig,
    rounded_clip,
    rounded_clip_inverse,
    surrogate_loss,
)
from bige_opensim.physics.mechanics import Mechanics
from bige_opensim.physics.muscle_share import share

TINY = SurrogateConfig(width=16, layers=1, ground_width=16, ground_layers=2, told=8)

Inputs = tuple[Tensor, Tensor, Tensor]


def tensors(dataset: xr.Dataset) -> Inputs:
    q, duration, features = (
        torch.tensor(dataset[n].values, dtype=torch.float32) for n in ("q", "duration", "features")
    )
    return q, duration, features


def channels_of(dataset: xr.Dataset, inputs: Inputs) -> Channels:
    return Channels.measure(
        *inputs,
        coordinates=list(dataset["coordinate"].values),
        rotational=dataset["rotational"].values.tolist(),
        muscles=list(dataset["muscle"].values),
        feature_names=list(dataset["feature"].values),
    )


@pytest.fixture
def inputs(synthetic_dataset: xr.Dataset) -> Inputs:
    return tensors(synthetic_dataset)


@pytest.fixture
def surrogate(synthetic_dataset: xr.Dataset, inputs: Inputs) -> Surrogate:
    torch.manual_seed(0)
    return awake(Surrogate(TINY, channels_of(synthetic_dataset, inputs))).eval()


def awake(network: Surrogate) -> Surrogate:
    """The network with all weights at random, those too that start at zero."""
    for p in network.parameters():
        if p.ndim > 1 and not p.any():
            torch.nn.init.normal_(p, std=0.1)
    return network


def test_changing_one_frame_changes_its_neighbours_and_no_others(surrogate: Surrogate, inputs: Inputs) -> None:
    q, duration, features = (x[:1] for x in inputs)
    changed = q.clone()
    changed[:, 50, :] += 0.3
    with torch.no_grad():
        difference = (surrogate(changed, duration, features) - surrogate(q, duration, features)).abs().amax((0, 2))
    assert (difference > 0).nonzero().flatten().tolist() == [49, 50, 51]
    assert float(difference[50]) > 1e-3


def test_some_frames_are_those_of_all(surrogate: Surrogate, inputs: Inputs) -> None:
    at = torch.tensor([3, 8, 50, 99, 100])
    with torch.no_grad():
        torch.testing.assert_close(surrogate(*inputs, at=at), surrogate(*inputs)[:, at], atol=2e-6, rtol=0)


def with_loads(dataset: xr.Dataset, inputs: Inputs) -> tuple[Surrogate, Mechanics]:
    """A network with loads, and mechanics of the repetitions."""
    mechanics, known = squat_like_mechanics(dataset), channels_of(dataset, inputs)
    count = told(mechanics, len(known.coordinates), mechanics.spans.moved).shape[-1]
    scaling = known.scaling | {"loads": Scaling((0.0,) * count, (0.1,) * count)}
    moved = tuple(known.coordinates[k] for k in mechanics.spans.moved)
    return awake(Surrogate(TINY, replace(known, scaling=scaling, moved=moved))).eval(), mechanics


def mirrored(mechanics: Mechanics, coordinates: tuple[str, ...]) -> Mechanics:
    """Of the mirrored motions on a person whose sides are alike but for what is mirrored here."""
    spans = mechanics.spans
    pairs = list(zip(spans.muscle.tolist(), spans.coordinate.tolist(), strict=True))
    muscle, coordinate = Mirror.of(spans.muscles).order.tolist(), Mirror.of(coordinates).order.tolist()
    order = [pairs.index((muscle[m], coordinate[c])) for m, c in pairs]
    return Mechanics(Mirror.of_loads(coordinates)(mechanics.loads), mechanics.capacity[..., order], spans)


def test_the_mirror_image_of_a_motion_takes_the_mirrored_muscles(synthetic_dataset: xr.Dataset, inputs: Inputs) -> None:
    network, mechanics = with_loads(synthetic_dataset, inputs)
    assert network.sides.count == 2
    names = network.channels
    q_mirror, muscles, bodies = (Mirror.of(n) for n in (names.coordinates, names.muscles, names.features))
    q, duration, features = inputs
    with torch.no_grad():
        carried = network.carried(q, duration, features, mechanics=mechanics)
        turned = mirrored(mechanics, names.coordinates)
        swapped = network.carried(q_mirror(q), duration, bodies(features), mechanics=turned)
        once, other = network.shared(carried, mechanics), network.shared(swapped, turned)
        torch.testing.assert_close(once, network(q, duration, features, mechanics=mechanics), atol=2e-5, rtol=0)
    moved = Mirror.of(names.moved)
    for mine, theirs in ((carried.guess, swapped.guess), (carried.net, swapped.net)):
        torch.testing.assert_close(moved(theirs), mine, atol=1e-5, rtol=0)
    torch.testing.assert_close(other, muscles(once), atol=1e-4, rtol=0)
    assert float((muscles(once) - once).abs().max()) > 0.01


def test_muscles_share_what_the_plain_loads_say_until_the_shift_is_learned(
    synthetic_dataset: xr.Dataset, inputs: Inputs
) -> None:
    network, mechanics = with_loads(synthetic_dataset, inputs)
    for layer in (network.shift, network.step):
        torch.nn.init.zeros_(layer.weight)
    net = mechanics.loads[..., : inputs[0].shape[-1]]
    with torch.no_grad():
        found, carried = (ask(*inputs, mechanics=mechanics) for ask in (network, network.carried))
    plain = net[..., mechanics.spans.moved]
    torch.testing.assert_close(carried.guess, plain)
    torch.testing.assert_close(carried.net, plain)
    shared = share(mechanics.capacity, plain, mechanics.spans)
    torch.testing.assert_close(found, shared.activations, atol=1e-4, rtol=0)
    torch.testing.assert_close(carried.multipliers, shared.multipliers, atol=1e-2, rtol=1e-3)
    moved = network.channels.moved
    assert [moved[k] for k in network.legs.own] == [n for n in moved if n.endswith("_r")]


def test_a_frame_is_seen_scaled_and_in_the_mirror(synthetic_dataset: xr.Dataset, inputs: Inputs) -> None:
    """P n + c are the scaled numbers of the motion, and of its mirror image."""
    network, mechanics = with_loads(synthetic_dataset, inputs)
    legs, channels, q = network.legs, network.channels, inputs[0]
    numbers = legs.numbers(q, mechanics)
    right, left = (numbers @ matrix.T + c for matrix, c in zip(legs.frame_matrix, legs.frame_constant, strict=True))
    turned = mirrored(mechanics, channels.coordinates)
    for found, motion, known in ((right, q, mechanics), (left, Mirror.of(channels.coordinates)(q), turned)):
        postures = network._postures(motion)
        bent = [k for k, turns in enumerate(channels.rotational) if turns]
        legs_seen = legs.seen.tolist()
        seen = [*legs_seen, *(len(channels.coordinates) + bent.index(k) for k in legs_seen if k in bent)]
        loads = Normaliser(channels.scaling["loads"])(told(known, q.shape[-1], legs.moved))
        torch.testing.assert_close(found, torch.cat([postures[..., seen], loads], -1), atol=1e-4, rtol=1e-4)


def test_arms_and_speeds_tell_the_legs_nothing_that_loads_do_not(synthetic_dataset: xr.Dataset, inputs: Inputs) -> None:
    network, mechanics = with_loads(synthetic_dataset, inputs)
    q, duration, features = inputs
    arms = [k for k, name in enumerate(network.channels.coordinates) if name.startswith(ARMS)]
    others = q.clone()
    others[..., arms] += 1.0
    with torch.no_grad():
        usual = network(q, duration, features, mechanics=mechanics)
        torch.testing.assert_close(network(others, duration, features, mechanics=mechanics), usual)
        bent = network(q + 0.1, duration, features, mechanics=mechanics)
        whole = network(q, duration, features, mechanics=mechanics._replace(loads=1.1 * mechanics.loads))
    assert len(arms) == 10
    assert float((bent - usual).abs().max()) > 1e-3
    assert float((whole - usual).abs().max()) > 1e-3


def test_many_motions_pass_in_parts_as_they_pass_together(synthetic_dataset: xr.Dataset, inputs: Inputs) -> None:
    network, mechanics = with_loads(synthetic_dataset, inputs)
    assert len(inputs[0]) > 2 * TOGETHER
    padding = torch.zeros(inputs[0].shape[:2], dtype=torch.bool)
    padding[7, 90:] = padding[23, 60:] = True
    together = network.carried(*inputs, padding, mechanics=mechanics)
    with torch.no_grad():
        parts = network.carried(*inputs, padding, mechanics=mechanics)
    assert together.net.requires_grad
    for mine, theirs in zip(parts, together, strict=True):
        torch.testing.assert_close(mine, theirs.detach(), atol=2e-4, rtol=1e-4)


def test_a_network_with_loads_needs_mechanics_of_the_frames_asked_for(
    synthetic_dataset: xr.Dataset, inputs: Inputs
) -> None:
    network, mechanics = with_loads(synthetic_dataset, inputs)
    at = torch.tensor([3, 8, 50])
    with pytest.raises(ValueError, match=r"person's own muscles: .* by `PersonMechanics` .* got none"):
        network(*inputs)
    with pytest.raises(ValueError, match=r"expected mechanics with loads \(24, 3, \d+\), .* got \(24, 101, \d+\)"):
        network(*inputs, at=at, mechanics=mechanics)
    with torch.no_grad():
        some, every = network(*inputs, at=at, mechanics=mechanics.at(at)), network(*inputs, mechanics=mechanics)
    torch.testing.assert_close(some, every[:, at], atol=1e-4, rtol=0)


def test_a_model_may_have_its_muscles_in_another_order_and_more_of_them(
    synthetic_dataset: xr.Dataset, inputs: Inputs
) -> None:
    network, mechanics = with_loads(synthetic_dataset, inputs)
    spans, extra = mechanics.spans, len(mechanics.spans.muscles)
    order = [*range(extra)][::-1]
    turned = replace(
        spans,
        muscles=(*(spans.muscles[m] for m in order), "extra_r"),
        muscle=torch.tensor([order.index(m) for m in spans.muscle.tolist()]),
        lower=torch.full((extra + 1,), 0.01),
        upper=torch.ones(extra + 1),
    )
    with torch.no_grad():
        torch.testing.assert_close(
            network(*inputs, mechanics=mechanics._replace(spans=turned)), network(*inputs, mechanics=mechanics)
        )


def test_a_model_may_move_other_coordinates(synthetic_dataset: xr.Dataset, inputs: Inputs) -> None:
    """Ankles that no muscle moves are as ankles about which muscles can do nothing, and a trunk is carried plainly."""
    network, mechanics = with_loads(synthetic_dataset, inputs)
    spans, names = mechanics.spans, list(network.channels.coordinates)
    trunk, ankles = names.index("lumbar_extension"), [names.index(f"ankle_angle_{side}") for side in "rl"]
    kept = ~torch.isin(spans.coordinate, torch.tensor(ankles))
    others = replace(
        spans,
        muscle=torch.cat([spans.muscle[kept], torch.tensor([0])]),
        coordinate=torch.cat([spans.coordinate[kept], torch.tensor([trunk])]),
    )
    weak = mechanics._replace(capacity=torch.where(kept, mechanics.capacity, 0.0))
    nothing = torch.zeros_like(mechanics.capacity[..., :1])
    moved = mechanics._replace(capacity=torch.cat([mechanics.capacity[..., kept], nothing], -1), spans=others)
    assert trunk in others.moved
    assert not set(ankles) & set(others.moved)
    with torch.no_grad():
        expected, found = (network.carried(*inputs, mechanics=m) for m in (weak, moved))
        turned, legs = network.legs.share(found.guess, moved), network.legs.share(found.guess, weak)
    torch.testing.assert_close(found.guess, expected.guess)
    torch.testing.assert_close(turned.activations, legs.activations, atol=1e-5, rtol=0)
    at = [k for k, c in enumerate(network.legs.moved) if c not in ankles]
    torch.testing.assert_close(turned.multipliers[..., at], legs.multipliers[..., at], atol=1e-2, rtol=1e-3)
    assert not turned.multipliers[..., [network.legs.moved.index(k) for k in ankles]].any()


def test_a_model_without_two_sides_has_one_limb(synthetic_dataset: xr.Dataset, inputs: Inputs) -> None:
    known = channels_of(synthetic_dataset, inputs)
    lonely = replace(known, muscles=("biceps", *known.muscles))
    network = awake(Surrogate(TINY, lonely)).eval()
    assert network.sides.count == 1
    with torch.no_grad():
        found = network(*inputs)
    assert found.shape[-1] == len(known.muscles) + 1
    network.start_from(torch.linspace(0.1, 0.4, found.shape[-1]))
    network.head.weight.data.zero_()
    with torch.no_grad():
        torch.testing.assert_close(network(*inputs)[0, 0], torch.linspace(0.1, 0.4, found.shape[-1]))


def test_activations_go_with_strength_as_least_effort_has_it(synthetic_dataset: xr.Dataset, inputs: Inputs) -> None:
    q, duration, features = inputs
    names = [str(n) for n in synthetic_dataset["feature"].values]
    muscles = [str(m) for m in synthetic_dataset["muscle"].values]
    told = Channels.measure(
        q,
        duration,
        torch.cat([features, torch.full((len(q), len(muscles)), 7.0)], 1),
        coordinates=list(synthetic_dataset["coordinate"].values),
        rotational=synthetic_dataset["rotational"].values.tolist(),
        muscles=muscles,
        feature_names=[*names, *(f"strength_{m}" for m in muscles)],
    )
    network = Surrogate(TINY, told).eval()
    network.start_from(torch.full((len(muscles),), 0.2))
    network.head.weight.data.zero_()
    force = 9.81 * features[:1, names.index("mass_kg"), None] * torch.exp(torch.tensor(7.0)) * torch.ones(1, 6)

    def activations(strength: Tensor) -> Tensor:
        with torch.no_grad():
            return network(q[:1], duration[:1], torch.cat([features[:1], strength], 1))[0, 0]

    usual, doubled = activations(force), activations(2.0 * force)
    torch.testing.assert_close(usual, torch.full((6,), 0.2), atol=2e-3, rtol=0)
    torch.testing.assert_close(doubled, torch.full((6,), 0.1), atol=8e-3, rtol=0)  # the corner is round
    one = force.clone()
    one[0, 0] *= 1.1
    assert activations(one)[0] > 1.05 * usual[0]
    assert (activations(one)[1:] < usual[1:]).all()


def test_the_rounded_clip_is_nearly_the_clip_and_has_its_inverse() -> None:
    x = torch.linspace(-0.5, 1.5, 201, dtype=torch.float64)
    found = rounded_clip(x)
    assert (found - x.clamp(0, 1)).abs().max() == pytest.approx(np.log(2) / SHARPNESS, rel=1e-3)
    assert (found.diff() > 0).all()
    inside = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    torch.testing.assert_close(rounded_clip(rounded_clip_inverse(inside)), inside)


def test_a_motions_output_does_not_depend_on_what_else_is_in_the_batch(surrogate: Surrogate, inputs: Inputs) -> None:
    with torch.no_grad():
        together = surrogate(*inputs)
        alone = torch.cat([surrogate(*(x[i : i + 1] for x in inputs)) for i in range(4)])
        order = torch.arange(len(together)).flip(0)
        reversed_batch = surrogate(*(x[order] for x in inputs))
    torch.testing.assert_close(together[:4], alone, atol=2e-6, rtol=0)
    torch.testing.assert_close(reversed_batch, together[order], atol=2e-6, rtol=0)


@pytest.mark.parametrize("filler", [0.0, 7.0, float("nan")])
def test_padding_changes_nothing_whatever_it_holds(surrogate: Surrogate, inputs: Inputs, filler: float) -> None:
    q, duration, features = (x[:3] for x in inputs)
    padded = torch.cat([q, torch.full((3, 20, q.shape[-1]), filler)], dim=1)
    padding = torch.zeros(padded.shape[:2], dtype=torch.bool)
    padding[:, q.shape[1] :] = True
    with torch.no_grad():
        expected = surrogate(q, duration, features)
        found = surrogate(padded, duration, features, padding)
    torch.testing.assert_close(found[:, : q.shape[1]], expected, atol=2e-6, rtol=0)


def test_motions_of_different_lengths_share_a_batch(surrogate: Surrogate, inputs: Inputs) -> None:
    q, duration, features = (x[:2] for x in inputs)
    padding = torch.zeros(q.shape[:2], dtype=torch.bool)
    padding[1, 60:] = True
    with torch.no_grad():
        together = surrogate(q, duration, features, padding)
        alone = surrogate(q[1:, :60], duration[1:], features[1:])
    torch.testing.assert_close(together[1:, :60], alone, atol=2e-6, rtol=0)


def test_output_is_an_activation_however_wild_the_motion(surrogate: Surrogate, inputs: Inputs) -> None:
    q, duration, features = inputs
    with torch.no_grad():
        found = surrogate(q * 100, duration, features * 100)
    assert found.shape == (len(q), 101, 6)
    assert ((found >= 0) & (found <= 1)).all()


def test_gradients_reach_motion_and_duration(surrogate: Surrogate, inputs: Inputs) -> None:
    q, duration, features = (x[:2].clone().requires_grad_(True) for x in inputs)
    surrogate(q, duration, features).square().sum().backward()
    assert q.grad is not None
    assert duration.grad is not None
    assert (q.grad.abs().amax(2) > 0).all()
    assert (duration.grad.abs() > 0).all()


def test_the_same_path_walked_faster_gives_other_activations(surrogate: Surrogate, inputs: Inputs) -> None:
    q, duration, features = inputs
    with torch.no_grad():
        assert (surrogate(q, duration / 2, features) - surrogate(q, duration, features)).abs().max() > 1e-3


def test_start_from_predicts_the_means_before_training(surrogate: Surrogate, inputs: Inputs) -> None:
    mean = torch.tensor([0.05, 0.2, 0.5]).repeat(2)
    surrogate.start_from(mean)
    surrogate.head.weight.data.zero_()
    with torch.no_grad():
        torch.testing.assert_close(surrogate(*inputs)[0, 0], mean)


def test_loss_of_a_peak_weighs_more() -> None:
    low, high = torch.full((1, 2, 1), 0.0), torch.full((1, 2, 1), 1.0)
    assert surrogate_loss(low + 0.1, low, 2.0).item() == pytest.approx(0.1)
    assert surrogate_loss(high - 0.1, high, 2.0).item() == pytest.approx(0.3)


def test_loss_of_a_muscle_weighs_as_it_is_told() -> None:
    target = torch.zeros(1, 2, 2)
    errors = torch.tensor([[[0.2, 0.0], [0.2, 0.0]]]), torch.tensor([[[0.0, 0.1], [0.0, 0.1]]])
    weight = torch.tensor([0.5, 1.5])
    one, other = (float(surrogate_loss(target + e, target, 2.0, weight)) for e in errors)
    assert one == pytest.approx(0.05)
    assert other == pytest.approx(0.075)


def test_wrong_shapes_are_named(surrogate: Surrogate, inputs: Inputs, unchecked_shapes: None) -> None:
    q, duration, features = inputs
    with pytest.raises(ValueError, match=r"expected q \(batch, time >= 3, 33\), got \(24, 101, 32\)"):
        surrogate(q[..., :-1], duration, features)
    with pytest.raises(ValueError, match=r"features \(24, 7\)"):
        surrogate(q, duration, features[:, :-1])


def test_derivatives_of_a_parabola_are_exact_at_every_frame() -> None:
    time = torch.linspace(0, 2.5, 101, dtype=torch.float64)
    q = (1 + 2 * time - 3 * time**2)[None, :, None]
    velocity, acceleration = time_derivatives(q, torch.tensor([2.5], dtype=torch.float64))
    torch.testing.assert_close(velocity[0, :, 0], 2 - 6 * time, atol=1e-9, rtol=0)
    torch.testing.assert_close(acceleration, torch.full_like(acceleration, -6.0), atol=1e-7, rtol=0)


def test_derivatives_agree_with_numpy_inside_and_scale_with_duration() -> None:
    random = np.random.default_rng(0)
    q = random.standard_normal((3, 40, 2))
    duration = np.array([1.0, 2.0, 4.0])
    velocity, acceleration = time_derivatives(torch.tensor(q), torch.tensor(duration))
    for i, d in enumerate(duration):
        h = d / 39
        np.testing.assert_allclose(velocity[i, 1:-1], np.gradient(q[i], h, axis=0)[1:-1], atol=1e-10)
        np.testing.assert_allclose(acceleration[i, 1:-1], np.diff(q[i], n=2, axis=0) / h**2, atol=1e-9)


def test_scaling_gives_unit_channels_and_does_not_blow_up_still_ones(
    synthetic_dataset: xr.Dataset, inputs: Inputs
) -> None:
    q = inputs[0].clone()
    q[..., 0] = 0.4 + 1e-6 * torch.randn(q.shape[:2])
    channels = channels_of(synthetic_dataset, (q, *inputs[1:]))
    scaled = Normaliser(channels.scaling["position"])(q).flatten(0, 1)
    assert scaled[:, 0].abs().max() < 1e-3
    torch.testing.assert_close(scaled.mean(0), torch.zeros(33), atol=1e-3, rtol=0)
    moving = [channels.coordinates.index(n) for n in ("knee_angle_r", "pelvis_ty", "hip_flexion_l")]
    torch.testing.assert_close(scaled[:, moving].std(0, correction=0), torch.ones(3), atol=1e-3, rtol=0)


def test_channels_survive_json_and_say_what_is_missing(synthetic_dataset: xr.Dataset, inputs: Inputs) -> None:
    channels = channels_of(synthetic_dataset, inputs)
    data = channels.to_json()
    assert Channels.from_json(data) == channels
    assert data["coordinates"][channels.coordinates.index("pelvis_ty")]["unit"] == "m"
    del data["coordinates"][3]["velocity"]
    with pytest.raises(ChannelsError, match="velocity"):
        Channels.from_json(data)


def test_mirroring_twice_is_the_identity_and_once_swaps_sides(inputs: Inputs, synthetic_dataset: xr.Dataset) -> None:
    names = list(synthetic_dataset["coordinate"].values)
    mirror, q = Mirror.of(names), inputs[0]
    mirrored = mirror(q)
    torch.testing.assert_close(mirror(mirrored), q)
    torch.testing.assert_close(mirrored[..., names.index("knee_angle_r")], q[..., names.index("knee_angle_l")])
    torch.testing.assert_close(mirrored[..., names.index("pelvis_list")], -q[..., names.index("pelvis_list")])
    torch.testing.assert_close(mirrored[..., names.index("pelvis_tilt")], q[..., names.index("pelvis_tilt")])


def test_names_mirror_as_opensim_writes_them() -> None:
    found = [mirror_name(n) for n in ("vasmed_r", "knee_angle_l_beta", "pelvis_rotation", "arm_rot_l")]
    assert found == ["vasmed_l", "knee_angle_r_beta", "pelvis_rotation", "arm_rot_r"]
    with pytest.raises(ChannelsError, match="hip_flexion_r has no partner hip_flexion_l"):
        Mirror.of(["hip_flexion_r", "pelvis_tilt"])
