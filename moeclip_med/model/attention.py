"""Self-attention through PyTorch's fused kernel, with the parameters of `nn.MultiheadAttention`."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional


class FusedAttention(nn.Module):
    """Stands in for a frozen `nn.MultiheadAttention` of a transformer block; same parameters, same names.

    In evaluation mode `nn.MultiheadAttention` takes a path of its own, which on a processor forms the whole matrix of
    attention weights. `scaled_dot_product_attention` never does, and every engine has a fused kernel for it.
    """

    def __init__(self, attention: nn.MultiheadAttention) -> None:
        """Take over the parameters, which are shared, not copied."""
        super().__init__()
        self.num_heads = attention.num_heads
        self.in_proj_weight = attention.in_proj_weight
        self.in_proj_bias = attention.in_proj_bias
        self.out_proj = attention.out_proj

    def forward(self, query: Tensor, *_: Tensor, **__: Any) -> tuple[Tensor, None]:  # noqa: ANN401 - as replaced
        """Attend of tokens (B, N, width) to themselves.

        Args:
            query: (B, N, width). A block also passes key and value, the same tensor, and options for the attention
                weights and mask, which an image tower does not use.

        Returns:
            (B, N, width), and None in place of the attention weights.
        """
        projected = functional.linear(query, self.in_proj_weight, self.in_proj_bias)
        heads = projected.reshape(*query.shape[:2], 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        # Not by indexing: OpenVINO's int8 would then round all three as one tensor, which costs more than it saves.
        queries, keys, values = heads.unbind()
        attended = functional.scaled_dot_product_attention(queries, keys, values)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), None


def fuse_attention(block: nn.Module) -> nn.Module:
    """Let a transformer block attend through the fused kernel; blocks built otherwise are left as they are."""
    attention = getattr(block, "attn", None)
    if type(attention) is nn.MultiheadAttention and attention.batch_first and attention.in_proj_weight is not None:
        block.attn = FusedAttention(attention)
    return block
