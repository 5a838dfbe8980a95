"""A perceptron of frames and of whom they are, whose layers add to what was before them."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class Perceptron(nn.Module):
    """Hidden units of frames; every layer adds to what was before it.

    The weights of the subject start at zero: a feature that all training subjects share must not move a new one.
    """

    def __init__(self, inputs: int, subject: int, width: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.from_frame = nn.Linear(inputs, width, bias=False)
        self.from_subject = nn.Linear(subject, width)
        nn.init.zeros_(self.from_subject.weight)
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.drop = nn.Dropout(dropout)

    def forward(
        self, frame: Float[Tensor, "batch time input"], subject: Float[Tensor, "batch feature"]
    ) -> Float[Tensor, "batch time unit"]:
        """h = silu(A x + B s), then h + silu(W h) for every hidden layer."""
        return self.after(self.from_frame(frame) + self.from_subject(subject)[:, None])

    def after(self, first: Float[Tensor, "*batch unit"]) -> Float[Tensor, "*batch unit"]:
        """The units, A x + B s being known."""
        x = functional.silu(first)
        for layer in self.hidden:
            x = x + self.drop(functional.silu(layer(x)))
        return x
