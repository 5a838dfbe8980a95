"""Peers: the prior sees what comes before, diffusion draws from a normal distribution, rejection keeps the best."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

from bige_opensim.learning.baseline_training import DiffusionTraining, PriorTraining, train_diffusion, train_prior
from bige_opensim.learning.baselines import (
    LARGEST_PUSH,
    CodePrior,
    DiffusionConfig,
    Loss,
    MotionDiffusion,
    PriorConfig,
    backwards,
    best_of,
    cosine_schedule,
    prior_loss,
)
from bige_opensim.learning.channels import Channels
from bige_opensim.learning.checkpoint import CheckpointError, load_diffusion, load_generator, load_prior
from bige_opensim.learning.training import GeneratorTraining, train_generator
from bige_opensim.learning.training_data import TrainingError
from bige_opensim.learning.vqvae import GeneratorConfig

PRIOR = PriorConfig(tokens=4, depth=2, codes=4, width=16, heads=2, layers=1, dropout=0.0)
DIFFUSION = DiffusionConfig(steps=20, width=16, heads=2, layers=1, dropout=0.0)


@pytest.fixture
def channels(synthetic_dataset: xr.Dataset) -> Channels:
    ds = synthetic_dataset
    q, duration, features = (torch.tensor(ds[n].values, dtype=torch.float32) for n in ("q", "duration", "features"))
    return Channels.measure(
        q,
        duration,
        features[:, :2],
        coordinates=list(ds["coordinate"].values),
        rotational=ds["rotational"].values.tolist(),
        feature_names=list(ds["feature"].values)[:2],
    )


def body(channels: Channels, count: int) -> torch.Tensor:
    return torch.tensor(channels.scaling["features"].offset).expand(count, -1)


def test_the_prior_sees_codes_before_and_none_after(channels: Channels) -> None:
    torch.manual_seed(0)
    prior = CodePrior(PRIOR, channels).eval()
    codes = torch.randint(4, (1, 4, 2), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = prior(codes, body(channels, 1))
        for token in range(4):
            for k in range(2):
                other = codes.clone()
                other[0, token, k] = (other[0, token, k] + 1) % 4
                moved = (prior(other, body(channels, 1)) - before).abs().amax(-1)[0].flatten()
                place = 2 * token + k
                assert (moved[: place + 1] < 1e-5).all()
                assert (moved[place + 1 :] > 1e-4).all()


def test_the_prior_learns_a_rule_between_tokens_and_one_within_and_draws_by_them(channels: Channels) -> None:
    """Codes go up by one from token to token; the second code of a token is the first one's complement."""
    torch.manual_seed(0)
    prior, random = CodePrior(PRIOR, channels), torch.Generator().manual_seed(0)
    optimiser = torch.optim.Adam(prior.parameters(), lr=2e-2)
    for _ in range(150):
        first = (torch.randint(4, (32, 1), generator=random) + torch.arange(4)) % 4
        codes = torch.stack([first, 3 - first], -1)
        loss = prior_loss(prior(codes, body(channels, 32)), codes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() == pytest.approx(np.log(4.0) / 8.0, abs=0.03)  # the first of eight codes is all there is to know
    drawn = prior.eval().sample(body(channels, 200), random)
    first, second = drawn.unbind(-1)
    assert float((second == 3 - first).float().mean()) > 0.97
    assert float((first.diff(dim=1) % 4 == 1).float().mean()) > 0.97
    assert (first[:, 0].bincount(minlength=4) > 20).all()


def test_with_the_best_denoiser_of_a_normal_distribution_the_sampler_draws_from_it() -> None:
    """E[x_0 | x_t] = m + s^2 sqrt(A) (x_t - sqrt(A) m) / (s^2 A + 1 - A) for x_0 of mean m and deviation s."""
    m, s, random = 0.7, 0.3, torch.Generator().manual_seed(0)
    kept = cosine_schedule(200).double()
    x = torch.randn(20_000, generator=random).double()
    for t in range(200, 0, -1):
        a = kept[t]
        clean = m + s**2 * a.sqrt() * (x - a.sqrt() * m) / (s**2 * a + 1.0 - a)
        x = backwards(x, clean, torch.randn(len(x), generator=random).double(), a, kept[t - 1])
    assert float(x.mean()) == pytest.approx(m, abs=0.01)
    assert float(x.std()) == pytest.approx(s, rel=0.05)


def test_noise_grows_from_none_to_all() -> None:
    kept = cosine_schedule(100)
    assert float(kept[0]) == 1.0
    assert (kept.diff() < 0).all()
    assert float(kept[-1]) < 1e-4
    assert float(kept[50]) == pytest.approx(0.5, abs=0.02)


def test_motions_go_through_control_points_and_back(channels: Channels) -> None:
    model = MotionDiffusion(DIFFUSION, channels)
    control = torch.randn(3, 28, 34, generator=torch.Generator().manual_seed(0))
    control[..., -1] = control[:, :1, -1]
    q, duration = model.motions(control)
    torch.testing.assert_close(model.control_points(q, duration), control, atol=1e-3, rtol=1e-3)
    assert (duration > 0).all()


def test_an_objective_guides_what_is_drawn(channels: Channels) -> None:
    torch.manual_seed(0)
    model, knee = MotionDiffusion(DIFFUSION, channels).eval(), list(channels.coordinates).index("knee_angle_r")
    wanted = channels.scaling["position"].offset[knee] + 1.0

    def objective(q: torch.Tensor, duration: torch.Tensor) -> torch.Tensor:
        return (q[..., knee] - wanted).square().mean(1)

    def missed(f: Loss | None, strength: float) -> torch.Tensor:
        return objective(*model.sample(body(channels, 4), torch.Generator().manual_seed(0), f, strength))

    free, gently, strongly = missed(None, 20.0), missed(objective, 20.0), missed(objective, 200.0)
    assert (gently < free).all()
    assert (strongly < free - 5 * (free - gently)).all()


def test_guidance_pushes_by_a_spread_at_most(channels: Channels) -> None:
    model = MotionDiffusion(DIFFUSION, channels)
    clean = torch.randn(2, 28, 34, generator=torch.Generator().manual_seed(0))

    def pushed(steepness: float) -> torch.Tensor:
        return model._slope(lambda q, duration: steepness * q.square().mean((1, 2)) + 0.0 * duration, clean)

    gentle, steep = pushed(1e-6), pushed(1e9)
    torch.testing.assert_close(pushed(2e-6), 2 * gentle)
    torch.testing.assert_close(steep.square().mean((1, 2)).sqrt(), torch.full((2,), LARGEST_PUSH))
    size = gentle.square().mean((1, 2), keepdim=True).sqrt()
    torch.testing.assert_close(steep, LARGEST_PUSH * gentle / size, rtol=1e-3, atol=1e-4)


def test_rejection_keeps_the_best_and_of_n_uniform_draws_that_is_one_over_n_plus_one() -> None:
    random = torch.Generator().manual_seed(0)

    def draw(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        q = torch.rand(count, 1, 1, generator=random)
        return q, q[:, 0, 0]

    q, duration = best_of(draw, lambda q, duration: q[:, 0, 0], 4000, 9)
    assert len(q) == 4000
    assert torch.equal(q[:, 0, 0], duration)
    assert float(q.mean()) == pytest.approx(0.1, abs=0.005)


@pytest.mark.parametrize("kind", ["prior", "diffusion"])
def test_a_peer_is_trained_kept_loaded_and_draws_motions_of_the_skeleton(
    kind: str, synthetic_dataset: xr.Dataset, tmp_path: Path
) -> None:
    ds = synthetic_dataset
    small = GeneratorConfig(width=16, latent_width=8, codes=8, stages=1, groups=2)
    generator = load_generator(train_generator(ds, tmp_path / "g", GeneratorTraining(epochs=1, model=small)))

    def train(out: Path, epochs: int = 3) -> Path:
        if kind == "prior":
            settings: Any = PriorTraining(epochs=epochs, state_every=1, model=replace(PRIOR, dropout=0.1))
            return train_prior(ds, out, settings, generator=generator)
        return train_diffusion(ds, out, DiffusionTraining(epochs=epochs, state_every=1, model=DIFFUSION))

    once, again = train(tmp_path / "a"), train(tmp_path / "b")
    one, other = (load_file(path / "weights.safetensors") for path in (once, again))
    assert all(torch.equal(one[k], other[k]) for k in one)
    random = torch.Generator().manual_seed(0)
    if kind == "prior":
        prior = load_prior(once)
        of = torch.tensor(prior.channels.scaling["features"].offset).expand(2, -1)
        codes = prior.sample(of, random)
        assert codes.shape[1:] == generator.codes(torch.zeros(1, *generator.latent_shape)).shape[1:]
        q, duration = generator.decode(generator.from_codes(codes), quantised=False, body=of)
    else:
        model = load_diffusion(once)
        q, duration = model.sample(torch.tensor(model.channels.scaling["features"].offset).expand(2, -1), random)
    assert q.shape == (2, 101, 33)
    assert torch.isfinite(q).all()
    assert (duration > 0).all()
    wrong = load_diffusion if kind == "prior" else load_prior
    with pytest.raises(CheckpointError, match=f"holds a {kind}"):
        wrong(once)


def test_a_generator_of_another_skeleton_is_refused(synthetic_dataset: xr.Dataset, tmp_path: Path) -> None:
    ds = synthetic_dataset
    small = GeneratorConfig(width=16, latent_width=8, codes=8, stages=1, groups=2)
    generator = load_generator(train_generator(ds, tmp_path / "g", GeneratorTraining(epochs=1, model=small)))
    with pytest.raises(TrainingError, match="other coordinates"):
        train_prior(
            ds.isel(coordinate=slice(0, 20)), tmp_path / "p", PriorTraining(epochs=1, mirror=False), generator=generator
        )
