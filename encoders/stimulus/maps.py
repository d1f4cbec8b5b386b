"""Maps of a picture as target: edges or depth, for generators that keep to one.

ControlNet (Zhang et al. 2023) and T2I-Adapter (Mou et al. 2023) draw along such a map. Decoders
that predict depth apart from content are those of Takagi and Nishimoto 2023 and Xia et al. 2024.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.component import check_tensors, record_config
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import network_hash
from phosphene.encoders.stimulus.standardised import StandardisedTarget
from phosphene.errors import AssetError, UsageError, check_option
from phosphene.names import resolve_folder
from phosphene.schemas import TargetSpec

__all__ = ["DepthTarget", "EdgeTarget", "MapTarget"]

LUMINANCE = (0.2125, 0.7154, 0.0721)
# Networks whose output is large where things are near, which is what ControlNets were shown.
ESTIMATORS = ("depth_anything", "dpt")


class MapTarget(StandardisedTarget):
    """Pictures to standardised maps (1, size, size) in 0..1, and back."""

    can_decode = True
    batch = 16
    least_scale = 1e-3

    def _make(self, size: int) -> None:
        if size < 1:
            raise UsageError(f"`size` is {size}", expected="at least 1")
        self.size = size
        # Measured over training pictures: how bright each place is, and how much it varies.
        self.keep_moments((1, size, size))

    @abstractmethod
    def maps(self, pictures: Pictures) -> Tensor:
        """Return maps (n, 1, size, size) in 0..1 of pictures (n, H, W, 3), uint8."""

    @abstractmethod
    def _layer(self) -> str:
        """Return what the map is, in words."""

    @property
    def spec(self) -> TargetSpec:
        return TargetSpec(
            name=self.name,
            layer=self._layer(),
            output="lowlevel",
            shape=(1, self.size, self.size),
            preprocessing={
                "size": self.reading,
                "channels": 3,
                "resize": "pillow-bilinear-antialias, middle square",
                "range": "0..1",
            },
            weights_hash=network_hash(self, {"size": self.size}),
        )

    def unscaled(self, pictures: Pictures) -> Tensor:
        return self.maps(pictures)

    @torch.no_grad()
    def decode(self, embedding: Tensor) -> Tensor:
        """Return maps (n, 1, size, size) in 0..1: what ``BrainEmbedding.control`` takes."""
        shown: Tensor = embedding.to(self.target_mean) * self.target_scale + self.target_mean
        return shown.clamp(0, 1)


class EdgeTarget(MapTarget):
    """How steep the brightness of a picture is, over the steepest place of it.

    Parameters
    ----------
    size : int
        Side of the map.
    reading : int
        Side of the pictures that are read, a multiple of ``size``.
    """

    name = "edges"

    @record_config
    def __init__(self, size: int = 32, reading: int = 128) -> None:
        super().__init__()
        if size < 1 or reading % size:
            raise UsageError(
                f"maps of {size} from pictures of {reading} pixels", "a multiple of the map's side"
            )
        self._make(size)
        self._reading = reading

    @property
    def reading(self) -> int:
        return self._reading

    def _layer(self) -> str:
        return "Sobel magnitude of luminance over its maximum, averaged, standardised"

    def maps(self, pictures: Pictures) -> Tensor:
        values = torch.from_numpy(pictures).to(self.target_mean.device).float() / 255
        grey = (values * values.new_tensor(LUMINANCE)).sum(-1)[:, None]
        smooth, slope = grey.new_tensor([1.0, 2, 1]) / 4, grey.new_tensor([1.0, 0, -1]) / 2
        kernels = torch.stack([torch.outer(slope, smooth), torch.outer(smooth, slope)])[:, None]
        # Beyond the border a picture goes on as it ends.
        steep = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
        size = steep.square().sum(1, keepdim=True).div(2).sqrt()
        # Less than a third of a shade is rounding: a plain picture has no edges.
        top = size.amax((2, 3), keepdim=True).clamp_min(1e-3)
        found: Tensor = F.avg_pool2d(size / top, self.reading // self.size)
        return found


class DepthTarget(MapTarget):
    """What a network says of depth: near is 1, far is 0, for each picture on its own.

    Parameters
    ----------
    model : dict
        Configuration of transformers: Depth Anything (Yang et al. 2024) or DPT (Ranftl et al.
        2021).
    size : int
        Side of the map.
    reading : int
        Side of the pictures that are read, a multiple of the network's patches.
    """

    name = "depth"

    @record_config
    def __init__(self, model: dict[str, Any], size: int = 32, reading: int = 224) -> None:
        super().__init__()
        import transformers

        check_option("model_type", str(model.get("model_type")), ESTIMATORS)
        self._make(size)
        self._reading = reading
        settings = {key: value for key, value in model.items() if key != "model_type"}
        config: Any = transformers.AutoConfig.for_model(model["model_type"], **settings)
        kind: Any = transformers.AutoModelForDepthEstimation
        self.network: Any = kind.from_config(config)

    @property
    def reading(self) -> int:
        return self._reading

    def _layer(self) -> str:
        kind = self.config["model"]["model_type"]
        return f"nearness by {kind}, from 0 to 1 within a picture, averaged, standardised"

    def maps(self, pictures: Pictures) -> Tensor:
        device = self.target_mean.device
        values = torch.from_numpy(pictures).permute(0, 3, 1, 2).to(device).float() / 255
        mean = values.new_tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
        std = values.new_tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
        # One at a time: company changes the rounding, and the range of a map is its own.
        near = torch.stack(
            [self.network((one[None] - mean) / std).predicted_depth[0] for one in values]
        )
        low, high = near.amin((1, 2), keepdim=True), near.amax((1, 2), keepdim=True)
        scaled = (near - low) / (high - low).clamp_min(1e-20)
        return F.adaptive_avg_pool2d(scaled[:, None], self.size)

    @classmethod
    def from_transformers(cls, name: str, *, size: int = 32, reading: int = 224) -> DepthTarget:
        """Take a published network: ``local-dir:FOLDER`` or ``hf-hub:ID``.

        For example ``hf-hub:depth-anything/Depth-Anything-V2-Small-hf`` (Apache-2.0).
        """
        from transformers import AutoModelForDepthEstimation

        folder = resolve_folder(name)
        try:
            network: Any = AutoModelForDepthEstimation.from_pretrained(
                folder, local_files_only=True, use_safetensors=True
            )
        except Exception as error:  # transformers raises many kinds
            raise AssetError(
                f"the depth network in {folder} could not be loaded ({error})",
                expected="config.json and model.safetensors of Depth Anything or DPT",
                remedy="name its folder with local-dir:FOLDER",
            ) from error
        made = cls(network.config.to_dict(), size, reading)
        weights = {key: value.float() for key, value in network.state_dict().items()}
        check_tensors(made.network.state_dict(), weights, owner=f"the depth network in {folder}")
        made.network.load_state_dict(weights, strict=True)
        return made
