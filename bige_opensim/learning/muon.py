"""Muon: momentum made orthogonal for the matrices of a network, Adam for what is no matrix.

Of a matrix's momentum M = U S V^T the step takes U V^T, so that all directions are learned at one pace; the polynomial
of Newton and Schulz, X <- a X + (b X X^T + c (X X^T)^2) X, comes near it in five products (Jordan et al. 2024, "Muon:
an optimizer for hidden layers in neural networks", whose coefficients these are). Steps have 0.2 sqrt(larger side) of
the root mean square of such a matrix, as large as Adam's usually are (Liu et al. 2025, arXiv:2502.16982), so that one
learning rate could serve both. The surrogate's errors after a minute are those that Adam comes to in two.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
PRODUCTS = 5
MOMENTUM = 0.95
BETAS = (0.9, 0.999)
EPSILON = 1e-8
ADAM_SHARE = 0.3
"""Learning rate of Adam's over Muon's."""


class Muon(torch.optim.Optimizer):
    """One group of matrices, which learn by Muon, and one of all others, by Adam.

    `last` are parameters that learn by Adam though they are matrices: those of the output. A group's `share` is what it
    takes of a learning rate that a schedule sets for all.
    """

    def __init__(
        self, model: nn.Module, last: Iterable[Tensor], lr: float, weight_decay: float, share: float = 1.0
    ) -> None:
        apart = {id(p) for p in last}
        every = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in every if p.ndim == 2 and id(p) not in apart]
        chosen = {id(p) for p in matrices}
        groups: list[dict[str, Any]] = [
            {"params": matrices, "muon": True, "share": share},
            {"params": [p for p in every if id(p) not in chosen], "muon": False, "share": ADAM_SHARE * share},
        ]
        kept = [g | {"lr": lr * g["share"]} for g in groups if g["params"]]
        super().__init__(kept, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move all parameters that have a gradient."""
        for group in self.param_groups:
            move = self._orthogonal if group["muon"] else self._adam
            for p in group["params"]:
                if p.grad is not None:
                    move(p, p.grad, group["lr"], group["weight_decay"])

    def _orthogonal(self, p: Tensor, slope: Tensor, lr: float, decay: float) -> None:
        state = self.state[p]
        momentum = state.setdefault("momentum", torch.zeros_like(p))
        momentum.lerp_(slope, 1.0 - MOMENTUM)
        step = orthogonalised(slope.lerp(momentum, MOMENTUM))
        p.mul_(1.0 - lr * decay).add_(step, alpha=-0.2 * lr * max(p.shape) ** 0.5)

    def _adam(self, p: Tensor, slope: Tensor, lr: float, decay: float) -> None:
        state = self.state[p]
        if not state:
            state |= {"step": torch.zeros(()), "mean": torch.zeros_like(p), "square": torch.zeros_like(p)}
        state["step"] += 1
        mean, square = state["mean"].lerp_(slope, 1.0 - BETAS[0]), state["square"]
        square.lerp_(slope.square(), 1.0 - BETAS[1])
        first, second = (1.0 - beta ** float(state["step"]) for beta in BETAS)
        p.addcdiv_(mean / first, (square / second).sqrt_().add_(EPSILON), value=-lr)


def orthogonalised(matrix: Float[Tensor, "row column"]) -> Float[Tensor, "row column"]:
    """U V^T of the matrix U S V^T, its singular values between 0.7 and 1.2."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + EPSILON)
    for _ in range(PRODUCTS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x
