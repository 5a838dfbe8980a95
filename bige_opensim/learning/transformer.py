"""Blocks of a transformer over the frames or codes of one motion.

The encoder of Vaswani et al. 2017, "Attention is all you need" (arXiv:1706.03762), with the normalisation before each
layer (Xiong et al. 2020, arXiv:2002.04745). Attention runs over time, never over the batch.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from bige_opensim.learning.setting_limits import require_within


@dataclass(frozen=True)
class TransformerConfig:
    """Size of a block, and what of it is dropped at random in training."""

    width: int
    heads: int
    layers: int
    dropout: float

    def __post_init__(self) -> None:
        require_within(self, {"width": (1, 8192), "heads": (1, 256), "layers": (1, 100)})
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of 2 * heads, got width {self.width}, heads {self.heads}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), got {self.dropout}")


class TimeAttention(nn.Module):
    """Multi-head self-attention over the frames of each motion."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.out = nn.Linear(config.width, config.width)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """x (batch, time, width); visible (batch, 1, 1, time), False where a frame is padding."""
        batch, time, width = x.shape
        packed = self.query_key_value(x).view(batch, time, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4)  # 3 x (batch, head, time, width / heads)
        dropout = self.dropout if self.training else 0.0
        y = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible, dropout_p=dropout)
        return self.out(y.transpose(1, 2).reshape(batch, time, width))


class Block(nn.Module):
    """Attention and a two-layer perceptron, each normalised before and added to its input."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(config.width)
        self.attention = TimeAttention(config)
        self.before_perceptron = nn.LayerNorm(config.width)
        hidden = 4 * config.width
        self.perceptron = nn.Sequential(nn.Linear(config.width, hidden), nn.GELU(), nn.Linear(hidden, config.width))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """(batch, time, width) to the same."""
        x = x + self.drop(self.attention(self.before_attention(x), visible))
        return x + self.drop(self.perceptron(self.before_perceptron(x)))
