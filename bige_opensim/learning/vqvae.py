"""The generator: a one-dimensional convolutional VQ-VAE of whole repetitions.

Architecture: van den Oord et al. 2017, "Neural discrete representation learning" (arXiv:1711.00937) with the codebook
by exponential moving averages (its appendix A.1; Razavi et al. 2019, arXiv:1906.00446), dead codes reset as in Zhang et
al. 2023 (T2M-GPT, arXiv:2301.06052), and residual stages as in Zeghidour et al. 2021 (SoundStream, arXiv:2107.03312).

**Duration.** A repetition is 101 samples of 0-100 % and a duration. The logarithm of the duration, scaled, is one more
channel, the same in every sample: the encoder sees it beside the pose, and the decoder's duration is the exponential
of the mean of its channel. So codes hold tempo as they hold posture, a duration is positive whatever the latents, and
guidance can change it by gradient, without a second network. The logarithm, because tempo varies by ratios.

**Body.** Encoder and decoder are told whose motion it is: mass and lengths of the person, scaled by those trained on
(`channels.features`), enter the encoder as channels that are the same in every sample, and the decoder beside every
token. Codes then hold how somebody moves, and the same codes on a longer leg give a higher pelvis. Without a body the
mean one of the training is meant.

**Straight through.** Beside the convolutions, what enters is reduced to control points by least squares and mapped
linearly to the latents, and codes are mapped back linearly; the convolutions add what is not linear. Untrained, the
network is a projection, so that it is the codes that limit how well people are reproduced whom nobody trained on.

**Smoothness.** Noise in a decoded motion becomes noise in forces: 1 mm at 10 Hz is 4 m/s^2. The decoder therefore does
not emit samples: it emits control points, one per token, of a uniform cubic B-spline (de Boor 1978), which a fixed
matrix evaluates at the 101 samples. Accelerations are continuous by construction, and what the codes cannot express
is above 12.5 cycles per repetition, 6 Hz for one of 2 s. On 34 real squats and sit-to-stands of 1.2 to 2.8 s, filtered
at 6 Hz, the spline alone costs 0.07 degrees and 0.25 mm (RMS), and a quarter of the RMS vertical acceleration of the
pelvis: sharp events, such as leaving a chair, are smoothed.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.interpolate import BSpline
from torch import Tensor, nn
from torch.nn import functional

from bige_opensim.learning.channels import Channels, Normaliser
from bige_opensim.learning.derivatives import time_derivatives
from bige_opensim.learning.quantiser import Quantised, ResidualQuantiser
from bige_opensim.learning.setting_limits import require_within

SPLINE_DEGREE = 3
DOWNSAMPLE = 4
GROUPS = 8
AT_FIRST = 0.1
"""Share of the convolutions in the untrained network."""
FARTHEST_BODY = 4.0
"""Standard deviations of a feature of the body from the mean of the training beyond which it counts no more."""


LIMITS = {
    **dict.fromkeys(("width", "latent_width"), (1, 8192)),
    "samples": (9, 10_001),
    "largest_error_scale_deg": (0.1, 1e6),
    "largest_error_scale_mm": (0.1, 1e6),
    "codes": (2, 100_000),
    "stages": (1, 64),
    "groups": (1, 1024),
    **dict.fromkeys(
        ("dead_below", "commitment_weight", "velocity_weight", "acceleration_weight", "duration_weight"), (0.0, 1e6)
    ),
}


@dataclass(frozen=True)
class GeneratorConfig:
    """Size of the generator, its codebooks, and the weights of its losses.

    `largest_error_scale_deg`, `largest_error_scale_mm`: errors of positions count in scales of their channels, or in
    these where those are larger: a knee's degree is worth as much as a hip's, though it moves more.
    """

    samples: int = 101
    width: int = 96
    latent_width: int = 40
    codes: int = 256
    stages: int = 3
    groups: int = 8
    decay: float = 0.97
    dead_below: float = 0.3
    commitment_weight: float = 0.25
    velocity_weight: float = 0.5
    acceleration_weight: float = 0.1
    duration_weight: float = 0.5
    largest_error_scale_deg: float = 8.0
    largest_error_scale_mm: float = 25.0

    def __post_init__(self) -> None:
        require_within(self, LIMITS)
        if self.width % GROUPS or min(self.width, self.latent_width, self.stages) < 1 or self.codes < 2:
            raise ValueError(f"width must be a multiple of {GROUPS}, with at least 2 codes and 1 stage, got {self}")
        if self.samples < 2 * DOWNSAMPLE + 1 or (self.samples - 1) % DOWNSAMPLE:
            raise ValueError(f"samples must be a multiple of {DOWNSAMPLE} plus 1, at least 9, got {self.samples}")
        if not 0 < self.decay < 1:
            raise ValueError(f"decay lies between 0 and 1, got {self.decay}")
        if self.latent_width % self.groups:
            raise ValueError(f"latent_width {self.latent_width} cannot be cut into {self.groups} groups")

    @property
    def tokens(self) -> int:
        """Tokens of a repetition, and control points of its splines."""
        return (self.samples - 1) // DOWNSAMPLE + SPLINE_DEGREE


class Reconstruction(NamedTuple):
    """A repetition through the whole network: q (batch, time, coordinate), duration (batch,), and its quantisation."""

    q: Tensor
    duration: Tensor
    quantised: Quantised


class Residual(nn.Module):
    """Two convolutions added to the input; (batch, width, time) to the same."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape kept."""
        return x + self.layers(x)


class Generator(nn.Module):
    """Motions to latents, latents to codes, codes to motions; names, units and scaling in `channels`."""

    spline: Tensor
    to_control: Tensor
    error_scale: Tensor

    folder: Path | None = None
    """The checkpoint that the network was loaded from."""

    def __init__(self, config: GeneratorConfig, channels: Channels) -> None:
        super().__init__()
        self.config, self.channels = config, channels
        self.position = Normaliser(channels.scaling["position"])
        self.velocity = Normaliser(channels.scaling["velocity"])
        self.acceleration = Normaliser(channels.scaling["acceleration"])
        self.log_duration = Normaliser(channels.scaling["log_duration"])
        self.body = Normaliser(channels.scaling["features"])
        width, inputs, body = config.width, len(channels.coordinates) + 1, len(channels.features)
        largest = [
            math.radians(config.largest_error_scale_deg) if angle else 1e-3 * config.largest_error_scale_mm
            for angle in channels.rotational
        ]
        scale = torch.minimum(self.position.scale, torch.tensor(largest))
        self.register_buffer("error_scale", scale, persistent=False)
        self.encoder = nn.Sequential(
            nn.Conv1d(inputs + body, width, 5, padding=2),
            Residual(width, 1),
            nn.Conv1d(width, width, 4, stride=2, padding=1),
            Residual(width, 3),
            nn.Conv1d(width, width, 4, stride=2, padding=1),
            Residual(width, 3),
            Residual(width, 1),
            nn.Conv1d(width, config.latent_width, 1),
        )
        self.quantiser = ResidualQuantiser(
            config.stages,
            config.codes,
            config.latent_width,
            decay=config.decay,
            dead_below=config.dead_below,
            groups=config.groups,
        )
        self.decoder = nn.Sequential(
            nn.Conv1d(config.latent_width + body, width, 3, padding=1),
            Residual(width, 1),
            Residual(width, 3),
            Residual(width, 9),
            Residual(width, 1),
            nn.GroupNorm(GROUPS, width),
            nn.SiLU(),
            nn.Conv1d(width, inputs, 3, padding=1),
        )
        spline = spline_matrix(config.samples)
        self.register_buffer("spline", spline, persistent=False)
        self.register_buffer("to_control", torch.linalg.pinv(spline.double()).to(spline), persistent=False)
        self.inwards = nn.Linear(inputs, config.latent_width)
        self.outwards = nn.Linear(config.latent_width, inputs)
        self.of_body = nn.Parameter(torch.zeros(inputs, body))
        nn.init.orthogonal_(self.inwards.weight)
        with torch.no_grad():
            self.outwards.weight.copy_(self.inwards.weight.T)
            self.inwards.bias.zero_()
            self.outwards.bias.zero_()
            for layer in (self.encoder[-1], self.decoder[-1]):
                assert isinstance(layer, nn.Conv1d)
                layer.weight.mul_(AT_FIRST)

    @property
    def latent_shape(self) -> tuple[int, int]:
        """Tokens and latent width of one motion."""
        return self.config.tokens, self.config.latent_width

    def encode(
        self,
        q: Float[Tensor, "batch time coordinate"],
        duration: Float[Tensor, " batch"],
        body: Float[Tensor, "batch feature"] | None = None,
    ) -> Float[Tensor, "batch token latent"]:
        """Latents, before quantisation, of motions in rad and m and durations in s of people with these features.

        Raises ValueError for shapes that do not fit the channels or the number of samples.
        """
        expected = (self.config.samples, len(self.channels.coordinates))
        if q.ndim != 3 or tuple(q.shape[1:]) != expected or duration.shape != q.shape[:1]:
            raise ValueError(
                f"expected q (batch, {expected[0]}, {expected[1]}) and durations (batch,), "
                f"got {tuple(q.shape)} and {tuple(duration.shape)}"
            )
        q, duration = q.to(self.spline.dtype), duration.to(self.spline.dtype)
        log_duration = self.log_duration(duration.log()[:, None])  # (batch, 1)
        constant = log_duration[:, None].expand(-1, q.shape[1], -1)  # (batch, time, 1)
        person = self._person(body, len(q))[:, None]  # (batch, 1, feature)
        motion = torch.cat([self.position(q), constant], dim=-1) - person @ self.of_body.T  # (batch, time, channel)
        straight = self.inwards(self.to_control @ motion)  # (batch, token, latent)
        x = torch.cat([motion, person.expand(-1, q.shape[1], -1)], dim=-1).transpose(1, 2)  # (batch, channel, time)
        spare = DOWNSAMPLE * self.config.tokens - self.config.samples
        x = functional.pad(x, (spare - spare // 2, spare // 2), mode="replicate")
        return straight + self.encoder(x).transpose(1, 2)

    def quantise(self, z: Float[Tensor, "batch token latent"]) -> Float[Tensor, "batch token latent"]:
        """Latents replaced by sums of codes; gradients pass straight through, in evaluation mode too."""
        return self.quantiser(z).z

    def codes(self, z: Float[Tensor, "batch token latent"]) -> Int[Tensor, "batch token code"]:
        """Indices of the codes of latents, one per group and residual stage."""
        return self.quantiser.indices(z)

    def from_codes(self, indices: Int[Tensor, "batch token code"]) -> Float[Tensor, "batch token latent"]:
        """Quantised latents of codes; decode them with `quantised=False`."""
        return self.quantiser.lookup(indices)

    def decode(
        self,
        z: Float[Tensor, "batch token latent"],
        quantised: bool = True,
        body: Float[Tensor, "batch feature"] | None = None,
    ) -> tuple[Float[Tensor, "batch time coordinate"], Float[Tensor, " batch"]]:
        """Motions (rad and m) and durations (s) of latents, on bodies with these features.

        With `quantised` the latents pass the quantiser first, as in training; without it they are decoded as they are
        (latents that are quantised already, or a continuous preview).
        """
        if z.ndim != 3 or tuple(z.shape[1:]) != self.latent_shape:
            raise ValueError(f"expected latents (batch, {self.latent_shape}), got {tuple(z.shape)}")
        z = z.to(self.spline.dtype)
        z = self.quantise(z) if quantised else z
        person = self._person(body, len(z))[:, None]  # (batch, 1, feature)
        codes = torch.cat([z, person.expand(-1, z.shape[1], -1)], -1)
        control = self.outwards(z) + person @ self.of_body.T + self.decoder(codes.transpose(1, 2)).transpose(1, 2)
        channels = self.spline @ control  # (batch, time, channel)
        log_duration = self.log_duration.inverse(channels[..., -1:].mean(1))  # (batch, 1)
        return self.position.inverse(channels[..., :-1]), log_duration[:, 0].exp()

    def forward(
        self,
        q: Float[Tensor, "batch time coordinate"],
        duration: Float[Tensor, " batch"],
        body: Float[Tensor, "batch feature"] | None = None,
    ) -> Reconstruction:
        """Encode, quantise (moving the codebooks in training mode), decode."""
        quantised = self.quantiser(self.encode(q, duration, body))
        return Reconstruction(*self.decode(quantised.z, quantised=False, body=body), quantised)

    def _person(self, body: Tensor | None, batch: int) -> Float[Tensor, "batch feature"]:
        """Scaled features, no farther out than `FARTHEST_BODY`."""
        if body is None:
            return self.spline.new_zeros(batch, len(self.channels.features))
        return self.body(body.to(self.spline.dtype)).clamp(-FARTHEST_BODY, FARTHEST_BODY)

    def loss(
        self, q: Float[Tensor, "batch time coordinate"], duration: Float[Tensor, " batch"], through: Reconstruction
    ) -> dict[str, Float[Tensor, ""]]:
        """Terms of the loss, each dimensionless, and their weighted sum "total".

        Position, velocity and acceleration are mean absolute errors in scales of the channels, both motions run at the
        target's duration; duration is the absolute error of the scaled logarithm; commitment the mean square distance
        of latents to their codes.
        """
        config = self.config
        found, target = (time_derivatives(x, duration) for x in (through.q, q))
        terms = {"position": ((through.q - q) / self.error_scale).abs().mean()}
        terms["velocity"] = ((found[0] - target[0]) / self.velocity.scale).abs().mean()
        terms["acceleration"] = ((found[1] - target[1]) / self.acceleration.scale).abs().mean()
        terms["duration"] = ((through.duration.log() - duration.log()) / self.log_duration.scale).abs().mean()
        terms["commitment"] = through.quantised.commitment
        weights = {
            "position": 1.0,
            "velocity": config.velocity_weight,
            "acceleration": config.acceleration_weight,
            "duration": config.duration_weight,
            "commitment": config.commitment_weight,
        }
        total = torch.stack([weights[name] * term for name, term in terms.items()]).sum()
        return terms | {"total": total}


def spline_matrix(samples: int) -> Float[Tensor, "sample control"]:
    """Values at the samples of the uniform cubic B-splines whose knots lie every `DOWNSAMPLE` samples."""
    control = (samples - 1) // DOWNSAMPLE + SPLINE_DEGREE
    knots = DOWNSAMPLE * (np.arange(control + SPLINE_DEGREE + 1) - SPLINE_DEGREE).astype(float)
    design = BSpline.design_matrix(np.arange(samples, dtype=float), knots, SPLINE_DEGREE)
    return torch.tensor(design.toarray(), dtype=torch.float32)
