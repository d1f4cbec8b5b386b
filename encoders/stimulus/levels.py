"""Features of several levels of a network as target, and a network that turns them back.

What brains say of pictures is spread over the levels of a visual network, early areas with early
levels (Güçlü and van Gerven 2015; Horikawa and Kamitani 2017). Shen et al. 2019, *Deep image
reconstruction from human brain activity*, decode all of them and search for each item a picture
that has them; here a network learned once to go back (Dosovitskiy and Brox 2016, *Inverting visual
representations with convolutional networks*), so that an item costs one pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.batches import in_equal_blocks
from phosphene.component import check_tensors, record_config
from phosphene.encoders.stimulus.efficientnet import BLOCK, MEAN, STD, FrozenLite0
from phosphene.errors import UsageError
from phosphene.schemas import TargetSpec
from phosphene.storage import hash_bytes

__all__ = ["FeatureInverter", "LevelsTarget"]

# Last blocks of four stages of EfficientNet-Lite0, and the side of the grid each is averaged to.
STAGES = ((0, 8), (2, 8), (4, 8), (10, 4))
SMALLEST = 64  # pixels at which the deepest of these stages still has its grid


class FeatureInverter(nn.Module):
    """Features of several levels (n, d) to pictures (n, 3, H, H) in 0..1.

    Every level is mapped to the same width and enlarged to the finest grid; convolutions double
    the sum until it has the size of the pictures.

    Parameters
    ----------
    levels : sequence of (int, int)
        Channels and side of each level, in the order of the features.
    shown : int
        Side H of the pictures: the finest grid times a power of two.
    width : int
        Channels at the finest grid; half as many after each doubling, 16 at least.
    """

    def __init__(self, levels: Sequence[tuple[int, int]], shown: int, width: int) -> None:
        super().__init__()
        self.levels = [(int(channels), int(side)) for channels, side in levels]
        self.grid = max(side for _, side in self.levels)
        doublings = math.log2(shown / self.grid)
        if doublings < 0 or doublings % 1:
            raise UsageError(
                f"pictures of {shown} pixels from a grid of {self.grid}",
                expected=f"{self.grid}, {2 * self.grid}, {4 * self.grid}, ... pixels",
            )
        self.read = nn.ModuleList(nn.Conv2d(channels, width, 1) for channels, _ in self.levels)
        layers: list[nn.Module] = [nn.GELU(), nn.Conv2d(width, width, 3, padding=1), nn.GELU()]
        for _ in range(int(doublings)):
            narrow = max(16, width // 2)
            layers += [nn.Upsample(scale_factor=2.0), nn.Conv2d(width, narrow, 3, padding=1)]
            layers += [nn.GELU()]
            width = narrow
        self.draw = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1), nn.Sigmoid())

    def forward(self, features: Tensor) -> Tensor:
        """Return pictures of standardised features."""
        parts = features.split([channels * side**2 for channels, side in self.levels], dim=1)
        total: Tensor | float = 0.0
        for part, (channels, side), read in zip(parts, self.levels, self.read, strict=True):
            grid = read(part.unflatten(1, (channels, side, side)))
            total = total + F.interpolate(grid, (self.grid, self.grid), mode="bilinear")
        found: Tensor = self.draw(total)
        return found


class LevelsTarget(FrozenLite0):
    """Pictures to features of four stages of EfficientNet-Lite0, and back.

    Only the standardisation and the network back are saved; the weights stay in their package,
    and their hash is part of the configuration.

    Parameters
    ----------
    size : int
        Side at which pictures are read, in pixels, 64 at least.
    shown : int
        Side of decoded pictures.
    width : int
        Of the network back.
    weights_hash : str
        SHA-256 (first 16 digits) that the weights have to have; empty takes those installed.
    """

    name = "efficientnet-levels"
    can_decode = True

    @record_config
    def __init__(
        self, size: int = 128, shown: int = 64, width: int = 96, weights_hash: str = ""
    ) -> None:
        super().__init__()
        self._open(size, SMALLEST, weights_hash)
        blocks = self.network._blocks
        levels = [(blocks[last]._bn2.num_features, side) for last, side in STAGES]
        self.inverter = FeatureInverter(levels, shown, width)
        self.width = sum(channels * side**2 for channels, side in levels)
        self._measured(self.width)

    def train(self, mode: bool = True) -> LevelsTarget:
        """Keep the frozen network's statistics; only the network back learns."""
        super().train(False)
        self.inverter.train(mode)
        return self

    @property
    def spec(self) -> TargetSpec:
        statistics = b"".join(
            tensor.cpu().numpy().tobytes() for tensor in (self.target_mean, self.target_scale)
        )
        return TargetSpec(
            name=self.name,
            layer="ends of four stages, averaged to grids of "
            + ", ".join(str(side) for _, side in STAGES)
            + ", standardised",
            output="lowlevel",
            shape=(self.width,),
            preprocessing={
                "size": self.size,
                "channels": 3,
                "resize": "pillow-bilinear-antialias, middle square",
                "range": "(level - 127) / 128, RGB",
            },
            weights_hash=hash_bytes(self.weights_hash.encode() + statistics)[:16],
        )

    def tensors(self) -> dict[str, Tensor]:
        found = {"mean": self.target_mean, "scale": self.target_scale}
        found |= {f"inverter.{name}": value for name, value in self.inverter.state_dict().items()}
        return {name: value.detach().cpu() for name, value in found.items()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        check_tensors(self.tensors(), tensors, owner=f"target {self.name}")
        self.target_mean.copy_(tensors["mean"])
        self.target_scale.copy_(tensors["scale"])
        own = {
            name.removeprefix("inverter."): value
            for name, value in tensors.items()
            if name.startswith("inverter.")
        }
        self.inverter.load_state_dict(own, strict=True)

    def features(self, pictures: Tensor) -> Tensor:
        """Return features (n, d), not standardised, of pictures (n, 3, size, size) in 0..1."""
        network, found = self.network, []
        sides = dict(STAGES)
        values = network._swish(network._bn0(network._conv_stem((pictures - MEAN) / STD)))
        for index, block in enumerate(network._blocks[: STAGES[-1][0] + 1]):
            values = block(values)
            if index in sides:
                found.append(F.adaptive_avg_pool2d(values, sides[index]).flatten(1))
        return torch.cat(found, dim=1)

    @torch.no_grad()
    def decode(self, embedding: Tensor) -> Tensor:
        rows = embedding.to(self.target_mean.device).float()
        return in_equal_blocks(self.inverter.eval(), rows, size=BLOCK)
