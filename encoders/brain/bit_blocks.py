"""Transformer blocks of the voxel-cluster transformer, under the names of the original."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["CrossBlock", "SelfBlock"]

WIDER = 4


class _MLP(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, WIDER * width)
        self.fc2 = nn.Linear(WIDER * width, width)

    def forward(self, values: Tensor) -> Tensor:
        found: Tensor = self.fc2(F.gelu(self.fc1(values)))
        return found


class _SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, values: Tensor) -> Tensor:
        query, key, value = (_split(one, self.heads) for one in self.qkv(values).chunk(3, dim=-1))
        found: Tensor = self.proj(_attend(query, key, value))
        return found


class _CrossAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, values: Tensor) -> Tensor:
        key, value = (_split(one, self.heads) for one in self.kv(values).chunk(2, dim=-1))
        found: Tensor = self.proj(_attend(_split(queries, self.heads), key, value))
        return found


class SelfBlock(nn.Module):
    """Self-attention over the nodes, norms first."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = _SelfAttention(width, heads), _MLP(width)

    def forward(self, nodes: Tensor) -> Tensor:
        """Return the nodes (n, k, width) after attention and perceptron."""
        nodes = nodes + self.attn(self.norm1(nodes))
        found: Tensor = nodes + self.mlp(self.norm2(nodes))
        return found


class CrossBlock(nn.Module):
    """Output queries look at the nodes; queries are used as they are, without a map or norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = _CrossAttention(width, heads), _MLP(width)

    def forward(self, queries: Tensor, nodes: Tensor) -> Tensor:
        """Return the queries (n, q, width) plus what they found among the nodes (n, k, width)."""
        seen = self.attn(queries, self.norm1(nodes))
        found: Tensor = queries + seen + self.mlp(self.norm2(seen))
        return found


def _split(values: Tensor, heads: int) -> Tensor:
    found: Tensor = values.unflatten(-1, (heads, -1))
    return found.transpose(1, 2)


def _attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    found: Tensor = F.scaled_dot_product_attention(query, key, value)
    return found.transpose(1, 2).flatten(2)
