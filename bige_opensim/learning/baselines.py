"""Peers of the guided search: networks of the same skeleton and data that draw motions without searching.

**Code prior** (T2M-GPT, Zhang et al. 2023, arXiv:2301.06052): a causal transformer over the tokens of a generator. A
token holds K codes (groups times residual stages), c_t1 ... c_tK, of which each may hang on those before it,

    p(c) = prod_t prod_k p(c_tk | c_1 ... c_(t-1), c_t1 ... c_t(k-1), body),

the tokens before through attention, the codes before in the same token through the sum of their embeddings.

**Diffusion** (MDM, Tevet et al. 2022, arXiv:2209.14916): a transformer that predicts the motion x_0 from
x_t = sqrt(A_t) x_0 + sqrt(1 - A_t) e, with the cosine schedule A_t of Nichol and Dhariwal 2021 (arXiv:2102.09672).
Motions are the control points of the generator's splines, scaled, with the logarithm of the duration as one more
channel: drawn motions are as smooth as decoded ones. Sampling is that of Ho et al. 2020 (arXiv:2006.11239, eq. 7): with
alpha = A_t / A_(t-1),

    x_(t-1) = [sqrt(A_(t-1)) (1 - alpha) x_0 + sqrt(alpha) (1 - A_(t-1)) x_t] / (1 - A_t) + s e,
    s^2 = (1 - A_(t-1)) (1 - alpha) / (1 - A_t),

where an objective can move the predicted x_0 down its gradient g in every step, by strength (1 - A_t) g: as the noise
goes, so does the push (our choice), and the last steps mend what it roughened.

**Rejection** draws many and keeps the best; `best_of`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from bige_opensim.learning.channels import Channels, Normaliser
from bige_opensim.learning.setting_limits import require_within
from bige_opensim.learning.transformer import Block, TransformerConfig
from bige_opensim.learning.vqvae import FARTHEST_BODY, Generator, spline_matrix

Drawn = tuple[Float[Tensor, "motion time coordinate"], Float[Tensor, " motion"]]
"""Motions in rad and m, and their durations in s."""

Loss = Callable[[Tensor, Tensor], Float[Tensor, " motion"]]
"""(motions, durations) -> what an objective makes of each, differentiable."""

NOISE_STEPS_AHEAD = 0.008
LARGEST_STEP = 0.999
"""s of the cosine schedule, which keeps the first steps from vanishing, and the largest 1 - alpha of a step."""

LARGEST_PUSH = 1.0
"""Of guidance in a step, in spreads of the training motions: an early guess at a motion can be far from any."""


@dataclass(frozen=True)
class PriorConfig:
    """Size of the code prior: tokens of a motion, codes of a token, entries of a codebook, and the transformer."""

    tokens: int = 28
    depth: int = 24
    codes: int = 256
    width: int = 96
    heads: int = 4
    layers: int = 3
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require_within(self, {"tokens": (1, 10_000), "depth": (1, 1024), "codes": (2, 100_000)})
        _transformer(self)


@dataclass(frozen=True)
class DiffusionConfig:
    """Size of the diffusion model: samples of a motion, steps of the noise, and the transformer."""

    samples: int = 101
    steps: int = 100
    width: int = 128
    heads: int = 4
    layers: int = 4
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require_within(self, {"samples": (9, 10_001), "steps": (2, 10_000)})
        _transformer(self)


def _transformer(config: PriorConfig | DiffusionConfig) -> TransformerConfig:
    """Of the blocks; ValueError for sizes that do not fit."""
    return TransformerConfig(config.width, config.heads, config.layers, config.dropout)


class CodePrior(nn.Module):
    """Which codes follow which; `channels` are the generator's."""

    folder: Path | None = None

    def __init__(self, config: PriorConfig, channels: Channels) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        width = config.width
        self.body = Normaliser(channels.scaling["features"])
        self.embedding = nn.Embedding(config.depth * config.codes, width)
        nn.init.normal_(self.embedding.weight, std=1.0 / math.sqrt(config.depth * width))
        self.first = nn.Parameter(torch.zeros(width))
        self.position = nn.Parameter(0.02 * torch.randn(config.tokens, width))
        self.from_body = nn.Linear(len(channels.features), width)
        self.blocks = nn.ModuleList(Block(_transformer(config)) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.heads = nn.Parameter(torch.randn(config.depth, width, config.codes) / math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(config.depth, config.codes))
        self.register_buffer("offset", config.codes * torch.arange(config.depth), persistent=False)

    def forward(
        self, codes: Int[Tensor, "batch token depth"], body: Float[Tensor, "batch feature"]
    ) -> Float[Tensor, "batch token depth code"]:
        """Logarithms of the chances, up to a constant, of every code given those before it."""
        embedded = self.embedding(codes + self.get_buffer("offset"))  # (batch, token, depth, width)
        known = self._before(embedded, body)  # (batch, token, width)
        within = embedded.cumsum(2) - embedded  # codes before in the same token
        return self._logits(known[:, :, None] + within)

    def _before(self, embedded: Tensor, body: Tensor) -> Float[Tensor, "batch token width"]:
        """What the tokens before and the body tell of each token."""
        batch, tokens = embedded.shape[:2]
        past = torch.cat([self.first.expand(batch, 1, -1), embedded.sum(2)[:, : tokens - 1]], 1)
        x = past + self.position[:tokens] + self.from_body(self._person(body))[:, None]
        seen = torch.ones(tokens, tokens, dtype=torch.bool, device=x.device).tril()[None, None]
        for block in self.blocks:
            x = block(x, seen)
        return x

    def _logits(self, x: Float[Tensor, "batch token depth width"]) -> Float[Tensor, "batch token depth code"]:
        return torch.einsum("btkw,kwc->btkc", self.norm(x), self.heads) + self.bias

    def _person(self, body: Tensor) -> Tensor:
        return self.body(body.to(self.bias.dtype)).clamp(-FARTHEST_BODY, FARTHEST_BODY)

    @torch.no_grad()
    def sample(
        self, body: Float[Tensor, "batch feature"], random: torch.Generator, temperature: float = 1.0
    ) -> Int[Tensor, "batch token depth"]:
        """Codes drawn one after the other, for people with these features; decode them with the generator."""
        config, batch = self.config, len(body)
        codes = torch.zeros(batch, 0, config.depth, dtype=torch.long, device=body.device)
        for token in range(config.tokens):
            more = torch.cat([codes, codes.new_zeros(batch, 1, config.depth)], 1)
            state = self._before(self.embedding(more + self.get_buffer("offset")), body)[:, token]
            for k in range(config.depth):
                logits = self.norm(state) @ self.heads[k] + self.bias[k]
                chances = torch.softmax(logits / temperature, -1).cpu()
                more[:, token, k] = torch.multinomial(chances, 1, generator=random)[:, 0].to(more.device)
                state = state + self.embedding(more[:, token, k] + k * config.codes)
            codes = more
        return codes


class MotionDiffusion(nn.Module):
    """Motions out of noise."""

    spline: Tensor
    to_control: Tensor
    kept: Tensor
    folder: Path | None = None

    def __init__(self, config: DiffusionConfig, channels: Channels) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        self.position = Normaliser(channels.scaling["position"])
        self.log_duration = Normaliser(channels.scaling["log_duration"])
        self.body = Normaliser(channels.scaling["features"])
        spline = spline_matrix(config.samples)
        self.register_buffer("spline", spline, persistent=False)
        self.register_buffer("to_control", torch.linalg.pinv(spline.double()).to(spline), persistent=False)
        self.register_buffer("kept", cosine_schedule(config.steps), persistent=False)
        inputs, width = len(channels.coordinates) + 1, config.width
        self.inwards = nn.Linear(inputs, width)
        self.places = nn.Parameter(0.02 * torch.randn(spline.shape[1], width))
        self.from_step = nn.Embedding(config.steps, width)
        self.from_body = nn.Linear(len(channels.features), width)
        self.blocks = nn.ModuleList(Block(_transformer(config)) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.outwards = nn.Linear(width, inputs)

    def forward(
        self,
        noisy: Float[Tensor, "batch control channel"],
        step: Int[Tensor, " batch"],
        body: Float[Tensor, "batch feature"],
    ) -> Float[Tensor, "batch control channel"]:
        """The motion, as scaled control points, that was noised so many steps (0 the first)."""
        person = self.body(body.to(noisy.dtype)).clamp(-FARTHEST_BODY, FARTHEST_BODY)
        x = self.inwards(noisy) + self.places + (self.from_step(step) + self.from_body(person))[:, None]
        for block in self.blocks:
            x = block(x, None)
        return self.outwards(self.norm(x))

    def control_points(
        self, q: Float[Tensor, "batch time coordinate"], duration: Float[Tensor, " batch"]
    ) -> Float[Tensor, "batch control channel"]:
        """Scaled control points of motions, the duration a channel."""
        log_duration = self.log_duration(duration.to(self.spline.dtype).log()[:, None])[:, None]
        channels = [self.position(q.to(self.spline.dtype)), log_duration.expand(-1, q.shape[1], -1)]
        return self.to_control @ torch.cat(channels, -1)

    def motions(self, control: Float[Tensor, "batch control channel"]) -> Drawn:
        """Motions (rad, m) and durations (s) of control points."""
        channels = self.spline @ control
        log_duration = self.log_duration.inverse(channels[..., -1:].mean(1))
        return self.position.inverse(channels[..., :-1]), log_duration[:, 0].exp()

    def noised(self, clean: Tensor, step: Int[Tensor, " batch"], noise: Tensor) -> Tensor:
        """sqrt(A_t) x_0 + sqrt(1 - A_t) e."""
        kept = self.kept[step + 1][:, None, None]
        return kept.sqrt() * clean + (1.0 - kept).sqrt() * noise

    @torch.no_grad()
    def sample(
        self,
        body: Float[Tensor, "batch feature"],
        random: torch.Generator,
        objective: Loss | None = None,
        strength: float = 1.0,
    ) -> Drawn:
        """Motions drawn for people with these features; with an objective, guided down its gradient."""
        shape = (len(body), *self.places.shape[:1], len(self.channels.coordinates) + 1)
        x = torch.randn(shape, generator=random).to(self.places)
        for t in range(self.config.steps - 1, -1, -1):
            clean = self(x, torch.full((len(body),), t, device=x.device), body)
            if objective is not None:
                clean = clean - strength * (1.0 - self.kept[t + 1]) * self._slope(objective, clean)
            noise = torch.randn(shape, generator=random).to(x)
            x = backwards(x, clean, noise, self.kept[t + 1], self.kept[t])
        return self.motions(x)

    @torch.enable_grad()
    def _slope(self, objective: Loss, clean: Tensor) -> Tensor:
        """Gradient of the objective in scaled control points, at most `LARGEST_PUSH` in root mean square."""
        clean = clean.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(objective(*self.motions(clean)).sum(), clean)
        size = slope.square().mean((1, 2), keepdim=True).sqrt()
        return slope * (LARGEST_PUSH / size.clamp(min=LARGEST_PUSH))


def cosine_schedule(steps: int) -> Float[Tensor, " level"]:
    """A_0 = 1 ... A_steps: what is left of the motion's variance after so many steps of noise."""
    t = torch.arange(steps + 1, dtype=torch.float64) / steps
    f = torch.cos((t + NOISE_STEPS_AHEAD) / (1 + NOISE_STEPS_AHEAD) * math.pi / 2).square()
    lost = (1.0 - f[1:] / f[:-1]).clamp(max=LARGEST_STEP)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1.0 - lost).cumprod(0)]).float()


def backwards(x: Tensor, clean: Tensor, noise: Tensor, now: Tensor, before: Tensor) -> Tensor:
    """x_(t-1) of x_t, the predicted x_0 and fresh noise; `now` is A_t, `before` A_(t-1)."""
    alpha = now / before
    mean = (before.sqrt() * (1.0 - alpha) * clean + alpha.sqrt() * (1.0 - before) * x) / (1.0 - now)
    return mean + ((1.0 - before) * (1.0 - alpha) / (1.0 - now)).sqrt() * noise


@torch.no_grad()
def draw_codes(
    generator: Generator,
    known: Int[Tensor, "known token code"],
    body: Float[Tensor, "batch feature"],
    random: torch.Generator,
) -> Drawn:
    """Motions of codes that are drawn each by itself, as often as the `known` motions have it at its place."""
    at = torch.randint(len(known), (len(body), *known.shape[1:]), generator=random)
    return generator.decode(generator.from_codes(known.gather(0, at)), quantised=False, body=body)


@torch.no_grad()
def draw_prior(
    prior: CodePrior,
    generator: Generator,
    body: Float[Tensor, "batch feature"],
    random: torch.Generator,
    temperature: float = 1.0,
) -> Drawn:
    """Motions of codes that a prior draws, decoded by the generator that it is of."""
    codes = prior.sample(body, random, temperature)
    return generator.decode(generator.from_codes(codes), quantised=False, body=body)


def best_of(draw: Callable[[int], Drawn], objective: Loss, count: int, tries: int) -> Drawn:
    """Rejection sampling: of `tries` motions for each wanted, the one of least loss; `draw` makes so many."""
    q, duration = draw(count * tries)
    with torch.no_grad():
        loss = objective(q, duration).reshape(count, tries)
    rows = torch.arange(count, device=loss.device) * tries + loss.argmin(1)
    return q[rows], duration[rows]


def prior_loss(
    logits: Float[Tensor, "batch token depth code"], codes: Int[Tensor, "batch token depth"]
) -> Float[Tensor, ""]:
    """Mean negative logarithm of the chances of codes, nats a code."""
    return functional.cross_entropy(logits.flatten(0, 2), codes.flatten())
