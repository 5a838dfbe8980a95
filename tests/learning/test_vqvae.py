import math

import pytest
import torch
import xarray as xr
from torch import Tensor

from bige_opensim.learning.channels import Channels
from bige_opensim.learning.derivatives import time_derivatives
from bige_opensim.learning.quantiser import Codebook, ResidualQuantiser
from bige_opensim.learning.vqvae import FARTHEST_BODY, Generator, GeneratorConfig, spline_matrix

TINY = GeneratorConfig(width=16, latent_width=8, codes=16)


@pytest.fixture
def motions(synthetic_dataset: xr.Dataset) -> tuple[Tensor, Tensor]:
    q, duration = (torch.tensor(synthetic_dataset[n].values, dtype=torch.float32) for n in ("q", "duration"))
    return q, duration


@pytest.fixture
def bodies(synthetic_dataset: xr.Dataset) -> Tensor:
    return torch.tensor(synthetic_dataset["features"].values[:, :6], dtype=torch.float32)


@pytest.fixture
def of_bodies(synthetic_dataset: xr.Dataset, motions: tuple[Tensor, Tensor], bodies: Tensor) -> Generator:
    """A generator that knows mass and lengths of the person."""
    torch.manual_seed(0)
    channels = Channels.measure(
        *motions,
        bodies,
        coordinates=list(synthetic_dataset["coordinate"].values),
        rotational=synthetic_dataset["rotational"].values.tolist(),
        feature_names=list(synthetic_dataset["feature"].values[:6]),
    )
    model = Generator(TINY, channels)
    model.train()(*motions, bodies)
    return model.eval()


@pytest.fixture
def generator(synthetic_dataset: xr.Dataset, motions: tuple[Tensor, Tensor]) -> Generator:
    torch.manual_seed(0)
    channels = Channels.measure(
        *motions,
        torch.zeros(len(motions[0]), 0),
        coordinates=list(synthetic_dataset["coordinate"].values),
        rotational=synthetic_dataset["rotational"].values.tolist(),
    )
    model = Generator(TINY, channels)
    model.train()(*motions)
    return model.eval()


def book(codes: Tensor, decay: float = 0.9, dead_below: float = 0.0) -> Codebook:
    made = Codebook(len(codes), codes.shape[1], decay=decay, dead_below=dead_below)
    made.codes.copy_(codes)
    made.total.copy_(codes)
    made.started.fill_(True)
    return made


def test_decoding_gives_101_samples_and_a_positive_duration(generator: Generator) -> None:
    latents = 3 * torch.randn(5, *generator.latent_shape)
    q, duration = generator.decode(latents)
    assert generator.latent_shape == (28, 8)
    assert q.shape == (5, 101, 33)
    assert duration.shape == (5,)
    assert (duration > 0).all()


def test_gradients_flow_through_the_quantiser_to_latents_in_evaluation_mode(
    generator: Generator, motions: tuple[Tensor, Tensor]
) -> None:
    assert not generator.training
    z = generator.encode(*motions).detach().requires_grad_(True)
    q, duration = generator.decode(z)
    (gradient,) = torch.autograd.grad(q.square().sum() + duration.sum(), z)
    assert (gradient.abs().sum(-1) > 0).all()


def test_the_gradient_through_the_quantiser_is_the_decoders_gradient_at_the_codes(
    generator: Generator, motions: tuple[Tensor, Tensor]
) -> None:
    z = generator.encode(*motions).detach()
    at_latents, at_codes = z.clone().requires_grad_(True), generator.quantise(z).requires_grad_(True)
    through = torch.autograd.grad(generator.decode(at_latents)[0].square().sum(), at_latents)[0]
    direct = torch.autograd.grad(generator.decode(at_codes, quantised=False)[0].square().sum(), at_codes)[0]
    torch.testing.assert_close(through, direct)


def test_decode_passes_the_quantiser_unless_told_otherwise(
    generator: Generator, motions: tuple[Tensor, Tensor]
) -> None:
    with torch.no_grad():
        z = generator.encode(*motions)
        torch.testing.assert_close(generator.decode(z)[0], generator.decode(generator.quantise(z), quantised=False)[0])
        torch.testing.assert_close(generator.decode(z)[0], generator(*motions).q)
        assert (generator.decode(z, quantised=False)[0] - generator.decode(z)[0]).abs().max() > 1e-4


def test_codes_and_back_are_the_quantised_latents(generator: Generator, motions: tuple[Tensor, Tensor]) -> None:
    with torch.no_grad():
        z = generator.encode(*motions)
        indices = generator.codes(z)
        torch.testing.assert_close(generator.from_codes(indices), generator.quantise(z))
    assert indices.shape == (24, 28, TINY.groups * TINY.stages)


def test_a_permuted_batch_gives_permuted_motions(generator: Generator, motions: tuple[Tensor, Tensor]) -> None:
    order = torch.randperm(len(motions[0]), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        plain, permuted = generator(*motions), generator(*(x[order] for x in motions))
        alone = generator(motions[0][:1], motions[1][:1])
    torch.testing.assert_close(permuted.q, plain.q[order], atol=1e-5, rtol=0)
    torch.testing.assert_close(permuted.duration, plain.duration[order])
    torch.testing.assert_close(alone.q, plain.q[:1], atol=1e-5, rtol=0)


def test_codebooks_move_in_training_and_stay_in_evaluation(
    generator: Generator, motions: tuple[Tensor, Tensor]
) -> None:
    before = {k: v.clone() for k, v in generator.state_dict().items()}
    generator.eval()(*motions)
    assert all(torch.equal(v, before[k]) for k, v in generator.state_dict().items())
    generator.train()(*motions)
    assert not torch.equal(generator.state_dict()["quantiser.books.0.codes"], before["quantiser.books.0.codes"])


def test_codes_follow_the_closed_form_of_the_moving_average() -> None:
    codes = torch.tensor([[0.0, 0.0], [10.0, 10.0]])
    made, z = book(codes), torch.tensor([[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]])
    made.follow(z, made.nearest(z))
    count = 0.9 * torch.tensor([1.0, 1.0]) + 0.1 * torch.tensor([2.0, 1.0])
    total = 0.9 * codes + 0.1 * torch.tensor([[1.0, 2.0], [9.0, 9.0]])
    torch.testing.assert_close(made.codes, total / count[:, None], atol=1e-4, rtol=0)


def test_codes_converge_to_cluster_means() -> None:
    torch.manual_seed(0)
    clusters = torch.tensor([[-5.0, 0.0], [5.0, 1.0], [0.0, 8.0]])
    z = (clusters[:, None] + 0.3 * torch.randn(3, 200, 2)).flatten(0, 1)
    made = book(clusters + 1.0)
    for _ in range(200):
        made.follow(z, made.nearest(z))
    torch.testing.assert_close(made.codes, z.view(3, 200, 2).mean(1), atol=1e-3, rtol=0)


def test_dead_codes_are_revived_from_the_batch() -> None:
    torch.manual_seed(0)
    z = torch.randn(300, 2)
    made = book(torch.tensor([[0.0, 0.0], [1e3, 1e3], [-1e3, 1e3]]), dead_below=0.5)
    for _ in range(10):
        made.follow(z, made.nearest(z))
    assert made.codes.abs().max() < 5
    assert made.nearest(z).unique().numel() == 3


def test_a_chosen_code_is_the_nearest() -> None:
    torch.manual_seed(0)
    made, z = book(torch.randn(40, 8)), torch.randn(200, 8)
    assert torch.equal(made.nearest(z), torch.cdist(z, made.codes).argmin(1))


def test_every_residual_stage_comes_closer() -> None:
    torch.manual_seed(0)
    z = torch.randn(16, 28, 4)
    distances = []
    for stages in (1, 2, 3):
        torch.manual_seed(0)
        quantiser = ResidualQuantiser(stages, 32, 4, decay=0.9, dead_below=0.3)
        for _ in range(30):
            quantiser.train()(z)
        distances.append(float(quantiser.eval()(z).commitment))
    assert distances[0] > 1.5 * distances[1] > 1.5**2 * distances[2]


def test_parts_that_vary_by_themselves_are_met_by_codes_of_their_own() -> None:
    torch.manual_seed(0)
    clusters = 5 * torch.randn(2, 8, 3)
    choice = torch.randint(8, (2, 40, 28))
    z = torch.cat([clusters[0][choice[0]], clusters[1][choice[1]]], -1) + 0.01 * torch.randn(40, 28, 6)
    left = []
    for groups in (1, 2):
        torch.manual_seed(0)
        quantiser = ResidualQuantiser(2 // groups, 16, 6, decay=0.9, dead_below=0.3, groups=groups)
        for _ in range(60):
            quantiser.train()(z)
        left.append(float(quantiser.eval()(z).commitment))
    assert left[1] < 0.05 * left[0]
    torch.testing.assert_close(quantiser.lookup(quantiser.indices(z)), quantiser(z).z)


def test_splines_reproduce_cubics_and_sum_to_one() -> None:
    basis = spline_matrix(101)
    assert basis.shape == (101, 28)
    torch.testing.assert_close(basis.sum(1), torch.ones(101))
    x = torch.linspace(-1, 1, 101)
    cubic = (x**3 - 0.5 * x**2 + x)[:, None]
    fitted = basis @ torch.linalg.lstsq(basis, cubic).solution
    torch.testing.assert_close(fitted, cubic, atol=1e-5, rtol=0)


def test_decoded_accelerations_stay_small_where_noise_on_samples_would_not() -> None:
    torch.manual_seed(0)
    control, sampled = 0.001 * torch.randn(200, 28), 0.001 * torch.randn(200, 101)
    duration = torch.full((1,), 3.0)

    def acceleration(motion: Tensor) -> float:
        return float(time_derivatives(motion.T[None], duration)[1].square().mean().sqrt())

    smooth = acceleration(control @ spline_matrix(101).T)
    assert smooth < 0.25
    assert acceleration(sampled) > 10 * smooth


def test_duration_is_learnt_as_a_channel(generator: Generator, motions: tuple[Tensor, Tensor]) -> None:
    q, duration = motions
    with torch.no_grad():
        slow, fast = generator.encode(q, 2 * duration), generator.encode(q, duration / 2)
    assert (slow - fast).abs().max() > 1e-2


def test_loss_of_a_perfect_reconstruction_is_the_commitment_alone(
    generator: Generator, motions: tuple[Tensor, Tensor]
) -> None:
    q, duration = motions
    perfect = generator(q, duration)._replace(q=q, duration=duration)
    terms = generator.loss(q, duration, perfect)
    torch.testing.assert_close(terms["total"], TINY.commitment_weight * terms["commitment"])


def test_wrong_shapes_are_named(generator: Generator, motions: tuple[Tensor, Tensor], unchecked_shapes: None) -> None:
    with pytest.raises(ValueError, match=r"expected q \(batch, 101, 33\) .* got \(24, 100, 33\)"):
        generator.encode(motions[0][:, 1:], motions[1])
    with pytest.raises(ValueError, match="expected latents"):
        generator.decode(torch.zeros(2, 28, 9))


@pytest.mark.parametrize("wrong", [{"samples": 100}, {"width": 12}, {"codes": 1}, {"decay": 1.0}, {"groups": 3}])
def test_sizes_that_cannot_be_built_are_refused(wrong: dict) -> None:
    with pytest.raises(ValueError):
        GeneratorConfig(**wrong)


def test_the_same_codes_are_another_motion_on_another_body(
    of_bodies: Generator, motions: tuple[Tensor, Tensor], bodies: Tensor
) -> None:
    z = of_bodies.encode(*motions, bodies)
    tall = bodies * torch.tensor([1.2, 1.1, 1.1, 1.1, 1.1, 1.1])
    own, other = of_bodies.decode(z, body=bodies)[0], of_bodies.decode(z, body=tall)[0]
    assert (own - other).abs().amax((1, 2)).min() > 1e-4
    torch.testing.assert_close(of_bodies(*motions, bodies).q, own)


def test_without_a_body_the_mean_one_is_meant(of_bodies: Generator, motions: tuple[Tensor, Tensor]) -> None:
    mean = torch.tensor(of_bodies.channels.scaling["features"].offset).expand(len(motions[0]), -1)
    torch.testing.assert_close(of_bodies(*motions).q, of_bodies(*motions, mean).q)


def test_a_body_far_outside_counts_no_more_than_one_at_the_edge(
    of_bodies: Generator, motions: tuple[Tensor, Tensor]
) -> None:
    scaling = of_bodies.channels.scaling["features"]
    mean, scale = torch.tensor(scaling.offset), torch.tensor(scaling.scale)
    giant, edge = ((mean + k * scale).expand(len(motions[0]), -1) for k in (50.0, FARTHEST_BODY))
    torch.testing.assert_close(of_bodies(*motions, giant).q, of_bodies(*motions, edge).q, atol=1e-5, rtol=0)


def test_errors_count_in_the_scale_of_a_channel_but_no_larger_than_its_limit(
    generator: Generator, motions: tuple[Tensor, Tensor]
) -> None:
    q, duration = motions
    largest = torch.where(torch.tensor(generator.channels.rotational), math.radians(8.0), 0.025)
    scale = torch.minimum(generator.position.scale, largest)
    off = generator(q, duration)._replace(q=q + 0.01, duration=duration)
    torch.testing.assert_close(generator.loss(q, duration, off)["position"], (0.01 / scale).mean())


def test_without_convolutions_and_codes_a_motion_comes_back_as_its_spline(
    of_bodies: Generator, motions: tuple[Tensor, Tensor], bodies: Tensor
) -> None:
    torch.manual_seed(0)
    straight = Generator(GeneratorConfig(width=16, latent_width=40), of_bodies.channels).eval()
    for layer in (straight.encoder[-1], straight.decoder[-1]):
        assert isinstance(layer, torch.nn.Conv1d)
        torch.nn.init.zeros_(layer.weight)
        assert layer.bias is not None
        torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        q, duration = straight.decode(straight.encode(*motions, bodies), quantised=False, body=bodies)
    basis = spline_matrix(101)
    fitted = basis @ torch.linalg.lstsq(basis.expand(24, -1, -1), motions[0]).solution
    torch.testing.assert_close(q, fitted, atol=1e-4, rtol=0)
    torch.testing.assert_close(duration, motions[1], atol=1e-3, rtol=0)
