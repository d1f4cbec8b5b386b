"""A transformer over nodes that all subjects share, which learned queries read the output from.

The trunk of Brain-IT (Beliy et al. 2025), under its names: what the nodes are, clusters of voxels
or regions, is left to the encoder.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.brain.bit_blocks import CrossBlock, SelfBlock
from phosphene.errors import UsageError

__all__ = ["QueryTransformer"]

LATENT_TOKENS = 256  # at most; latents are read in patches that keep to it


class QueryTransformer(NetworkEncoder):
    """Nodes (n, k, width) to the parts of the target.

    Parts share the trunk: queries do not see one another, so that reading latents beside tokens
    costs their queries alone.
    """

    def build_trunk(self, width: int, depth: int, heads: int) -> None:
        """Make blocks, queries and heads of all parts."""
        if width < 1 or heads < 1 or width % heads:
            raise UsageError(
                f"a `width` of {width} for {heads} `heads`", "a width that heads divide"
            )
        self.block_crosses = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth + 1))
        self.blocks = nn.ModuleList(SelfBlock(width, heads) for _ in range(depth))
        self.pred_tokens = nn.Parameter(torch.randn(self._layout(self.main_part)[0], width))
        self.proj = nn.Linear(width, self._layout(self.main_part)[1])
        self.more_tokens, self.more_proj = nn.ParameterDict(), nn.ModuleDict()
        for part in self.targets:
            if part != self.main_part:
                n_tokens, dim = self._layout(part)
                self.more_tokens[part] = nn.Parameter(torch.randn(n_tokens, width))
                self.more_proj[part] = nn.Linear(width, dim)

    def _layout(self, part: str) -> tuple[int, int]:
        """Return how many queries a part takes, and how many numbers each gives."""
        shape = self.targets[part]
        if part != "lowlevel":
            return (shape[0], shape[1]) if len(shape) == 2 else (1, shape[0])
        patch = _patch(shape)
        return shape[1] * shape[2] // patch**2, shape[0] * patch**2

    def read_nodes(self, nodes: Tensor) -> dict[str, Tensor]:
        """Return each part (n, *shape) from normalised nodes (n, k, width)."""
        parts = [self.main_part, *self.more_tokens]
        learned = [self.pred_tokens, *self.more_tokens.values()]
        queries = torch.cat(learned).expand(len(nodes), -1, -1)
        queries = self.block_crosses[0](queries, nodes)
        for block, cross in zip(self.blocks, self.block_crosses[1:], strict=True):
            nodes = block(nodes)
            queries = cross(queries, nodes)
        found = {}
        read = queries.split([len(one) for one in learned], dim=1)
        for part, tokens in zip(parts, read, strict=True):
            head = self.proj if part == self.main_part else self.more_proj[part]
            found[part] = self._shaped(part, head(tokens))
        return found

    def _shaped(self, part: str, tokens: Tensor) -> Tensor:
        shape = self.targets[part]
        if part != "lowlevel":
            return tokens.reshape(-1, *shape)
        patch = _patch(shape)
        grid = tokens.transpose(1, 2).unflatten(2, (shape[1] // patch, shape[2] // patch))
        return F.pixel_shuffle(grid, patch)


def _patch(shape: tuple[int, ...]) -> int:
    """Return the side of the patches that latents (c, h, w) are read in."""
    patch = 1
    while shape[1] % (2 * patch) == 0 and shape[2] % (2 * patch) == 0:
        patch *= 2
        if shape[1] * shape[2] // patch**2 <= LATENT_TOKENS:
            break
    return patch
