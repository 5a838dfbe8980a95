"""Vector quantisation with codebooks that follow the data by exponential moving averages.

For each code k with count n_k and sum m_k of the latents z assigned to it in a batch (van den Oord et al. 2017,
arXiv:1711.00937, appendix A.1), with decay g:

    N_k <- g N_k + (1 - g) n_k,    M_k <- g M_k + (1 - g) m_k,    e_k = M_k / N'_k,

N'_k = (N_k + eps) / (N + K eps) N with N = sum_k N_k: Laplace smoothing.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

LAPLACE = 1e-5


class Quantised(NamedTuple):
    """Latents after quantisation.

    z (batch, token, latent): the codes' sum, whose gradient is that of the latents; indices (batch, token, stage);
    commitment: mean square distance of the latents to it.
    """

    z: Tensor
    indices: Tensor
    commitment: Tensor


class Codebook(nn.Module):
    """One codebook; starts from latents of the first training batch, and revives codes that no latent chooses."""

    codes: Tensor
    count: Tensor
    total: Tensor
    started: Tensor

    def __init__(self, codes: int, width: int, *, decay: float, dead_below: float) -> None:
        super().__init__()
        self.decay, self.dead_below = decay, dead_below
        self.register_buffer("codes", torch.randn(codes, width))
        self.register_buffer("count", torch.ones(codes))
        self.register_buffer("total", self.codes.clone())
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def nearest(self, z: Float[Tensor, "row latent"]) -> Int[Tensor, " row"]:
        """Index of the nearest code in Euclidean distance."""
        square = self.codes.square().sum(1) - 2 * z @ self.codes.T  # |z - e|^2 less |z|^2
        return square.argmin(1)

    @torch.no_grad()
    def start(self, z: Float[Tensor, "row latent"]) -> None:
        """Take latents drawn at random as codes."""
        self._replace(torch.ones_like(self.count, dtype=torch.bool), z)
        self.started.fill_(True)

    @torch.no_grad()
    def follow(self, z: Float[Tensor, "row latent"], indices: Int[Tensor, " row"]) -> None:
        """One step of the moving averages, then the reset of codes whose count fell below `dead_below`."""
        n = torch.zeros_like(self.count).index_add_(0, indices, z.new_ones(len(z)))
        m = torch.zeros_like(self.total).index_add_(0, indices, z)
        self.count.lerp_(n, 1 - self.decay)
        self.total.lerp_(m, 1 - self.decay)
        everything = self.count.sum()
        smoothed = (self.count + LAPLACE) / (everything + len(self.count) * LAPLACE) * everything
        self.codes.copy_(self.total / smoothed[:, None])
        self._replace(self.count < self.dead_below, z)

    def _replace(self, dead: Tensor, z: Tensor) -> None:
        """Dead codes become latents of the batch, drawn on the CPU so that every device draws alike."""
        number = int(dead.sum())
        if number == 0:
            return
        drawn = z[torch.randint(len(z), (number,)).to(z.device)]
        spread = z.std(0, correction=0) * 0.01
        self.codes[dead] = drawn + spread * torch.randn(drawn.shape).to(z)
        self.count[dead] = 1.0
        self.total[dead] = self.codes[dead]


class ResidualQuantiser(nn.Module):
    """Stages of codebooks, each quantising what the ones before left over; one stage is plain vector quantisation.

    With several groups the latent is cut into as many parts of equal width, each with its own stages: few codes for
    each part make many for the whole (product quantisation, Jegou et al. 2011, doi:10.1109/TPAMI.2010.57), so that
    latents that no training has seen are near to some.
    """

    def __init__(
        self, stages: int, codes: int, width: int, *, decay: float, dead_below: float, groups: int = 1
    ) -> None:
        super().__init__()
        self.stages, self.groups = stages, groups
        part = width // groups
        books = (Codebook(codes, part, decay=decay, dead_below=dead_below) for _ in range(groups * stages))
        self.books = nn.ModuleList(books)

    def forward(self, z: Float[Tensor, "batch token latent"]) -> Quantised:
        """Quantise; in training mode the codebooks move. Gradients pass straight through to z in every mode."""
        parts, indices = [], []
        for group, part in enumerate(z.detach().reshape(-1, z.shape[-1]).chunk(self.groups, -1)):
            residual = part.contiguous()
            for book in self._books(group):
                if self.training and not book.started:
                    book.start(residual)
                index = book.nearest(residual)
                chosen = book.codes[index]
                if self.training:
                    book.follow(residual, index)
                residual = residual - chosen
                indices.append(index)
            parts.append(part - residual)
        codes = torch.cat(parts, -1).view_as(z)
        commitment = (z - codes).square().mean()
        return Quantised(z + (codes - z).detach(), torch.stack(indices, -1).view(*z.shape[:-1], -1), commitment)

    def indices(self, z: Float[Tensor, "batch token latent"]) -> Int[Tensor, "batch token code"]:
        """Codes of latents, the stages of one group after those of another; moves nothing."""
        found = []
        for group, part in enumerate(z.detach().chunk(self.groups, -1)):
            residual = part
            for book in self._books(group):
                found.append(book.nearest(residual.reshape(-1, part.shape[-1])).view(z.shape[:-1]))
                residual = residual - book.codes[found[-1]]
        return torch.stack(found, -1)

    def lookup(self, indices: Int[Tensor, "batch token code"]) -> Float[Tensor, "batch token latent"]:
        """The latents of codes: sums over stages, groups side by side."""
        parts = []
        for group in range(self.groups):
            mine = indices[..., group * self.stages : (group + 1) * self.stages]
            books = self._books(group)
            parts.append(torch.stack([book.codes[mine[..., k]] for k, book in enumerate(books)]).sum(0))
        return torch.cat(parts, -1)

    def _books(self, group: int) -> list[Codebook]:
        books = self.books[group * self.stages : (group + 1) * self.stages]
        return [book for book in books if isinstance(book, Codebook)]
