"""Pixels as target: the plainest baseline, a linear map from voxels to grey levels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from phosphene.component import record_config
from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.schemas import TargetSpec

if TYPE_CHECKING:
    import torch

__all__ = ["PixelTarget"]


class PixelTarget(StimulusEncoder):
    """Pictures as flat vectors of grey levels or colours in 0..1.

    Parameters
    ----------
    size : int
        Side of the pictures in pixels.
    channels : {1, 3}
    """

    name = "pixels"
    can_decode = True

    @record_config
    def __init__(self, size: int = 64, channels: int = 3) -> None:
        self.size, self.channels = size, channels

    @property
    def spec(self) -> TargetSpec:
        return TargetSpec(
            name=self.name,
            layer="pixels",
            output="pooled",
            shape=(self.channels * self.size**2,),
            preprocessing={
                "size": self.size,
                "channels": self.channels,
                "resize": "pillow-bilinear-antialias, middle square",
                "range": "0..1",
            },
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        from phosphene.component import check_tensors

        check_tensors({}, tensors, owner="target pixels")

    def encode(self, pictures: Iterable[Pictures]) -> torch.Tensor:
        import torch

        fitted = fit_pictures(pictures, size=self.size, channels=self.channels)
        flat = torch.from_numpy(fitted).permute(0, 3, 1, 2).reshape(len(fitted), -1)
        return flat.to(torch.float32) / 255

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        return embedding.reshape(-1, self.channels, self.size, self.size).clamp(0, 1)
