"""Perceptual distances of pairs, each by the library that defines it, with weights found here."""

from __future__ import annotations

import os
import tempfile
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.data.pictures import Pictures
from phosphene.errors import AssetError
from phosphene.names import require
from phosphene.pipelines.metrics.base import ItemMetric, check_picture_batch
from phosphene.pipelines.metrics.networks import FOLDER_VARIABLE, check_weights, find_weights
from phosphene.pipelines.metrics.resizing import as_tensor, match_size, resize_pictures
from phosphene.pipelines.metrics.specs import MetricOutcome, MetricSpec

__all__ = [
    "DreamSimDistance",
    "PerceptualSimilarity",
    "StructureTextureSimilarity",
    "missing_dreamsim",
]

SIZE, BATCH = 256, 16


class _PerceptualMetric(ItemMetric):
    """One distance per pair, from a network of two pictures.

    Parameters
    ----------
    spec : MetricSpec
    network : str, optional
        Whose weights are looked for.
    weights_folder : path, optional
        Where they lie.
    compute_on : str
        Device of the network.
    """

    def __init__(
        self,
        spec: MetricSpec,
        *,
        network: str = "",
        weights_folder: str | os.PathLike[str] | None = None,
        compute_on: str = "cpu",
        **kwargs: Any,
    ) -> None:
        super().__init__(spec, **kwargs)
        self.compute_on, self.weights_hash = compute_on, ""
        path = None
        if network:
            path = find_weights(network, weights_folder)
            self.weights_hash = check_weights(network, path)
        self.keep("scores")
        # In a list: the frozen network is no state of the metric.
        self._network = [self._build(path, weights_folder)]

    @abstractmethod
    def _build(self, path: Path | None, folder: str | os.PathLike[str] | None) -> Any:
        """Return the network."""

    @abstractmethod
    def _distance(self, network: Any, made: Pictures, shown: Pictures) -> Tensor:
        """Return distances (n,) of uint8 pictures (n, 256, 256, 3)."""

    def update(
        self,
        reconstructed: Pictures,
        truth: Pictures,
        items: Sequence[str],
        *,
        pictures: Sequence[str] | None = None,
        groups: Sequence[str] | None = None,
    ) -> None:
        """Score a batch of pairs, uint8 (n, H, W, 3)."""
        check_picture_batch(reconstructed, truth)
        scores = [np.zeros(0)]
        for start in range(0, len(truth), BATCH):
            rows = slice(start, start + BATCH)
            pair = match_size(reconstructed[rows], truth[rows])
            made, shown = (
                resize_pictures(
                    x if x.shape[-1] == 3 else np.repeat(x, 3, axis=-1), SIZE, "pillow-bilinear"
                )
                for x in pair
            )
            with torch.no_grad():
                found = self._distance(self._network[0], made, shown)
            scores.append(found.flatten().cpu().double().numpy())
        self.add(items, scores=np.concatenate(scores))

    def compute(self) -> MetricOutcome:
        """Return the mean distance, and one per item."""
        items, states = self.collected()
        return self.outcome(states["scores"].cpu().numpy(), items, weights_hash=self.weights_hash)


class PerceptualSimilarity(_PerceptualMetric):
    """LPIPS with AlexNet; its linear layers come with torchmetrics."""

    def _build(self, path: Path | None, folder: str | os.PathLike[str] | None) -> Any:
        from torchmetrics.functional.image.lpips import _LPIPS

        assert path is not None
        network = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
        stored: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        backbone = network.net.state_dict()
        taken = {}
        for name in backbone:  # slice3.6.weight is features.6.weight
            taken[name] = stored["features." + name.partition(".")[2]]
        network.net.load_state_dict(taken, strict=True)
        return network.eval().to(self.compute_on)

    def _distance(self, network: Any, made: Pictures, shown: Pictures) -> Tensor:
        one, two = (as_tensor(x).to(self.compute_on) for x in (made, shown))
        found: Tensor = network(one, two, normalize=True)
        return found


class StructureTextureSimilarity(_PerceptualMetric):
    """DISTS; its weights of layers come with torchmetrics, the network is torchvision's VGG16."""

    def _build(self, path: Path | None, folder: str | os.PathLike[str] | None) -> Any:
        from torchmetrics.functional.image.dists import DISTSNetwork

        assert path is not None
        # The library asks torch's hub for VGG16, which takes a file of that name without asking
        # any further: it is shown the one that was found and checked.
        before = torch.hub.get_dir()
        with tempfile.TemporaryDirectory() as home:
            place = Path(home) / "checkpoints"
            place.mkdir()
            (place / path.name).symlink_to(path.resolve())
            try:
                torch.hub.set_dir(home)
                network = DISTSNetwork(load_weights=True)
            finally:
                torch.hub.set_dir(before)
        return network.eval().to(self.compute_on)

    def _distance(self, network: Any, made: Pictures, shown: Pictures) -> Tensor:
        one, two = (as_tensor(x).to(self.compute_on) for x in (made, shown))
        found: Tensor = network(one, two, require_grad=False)
        return found


class DreamSimDistance(_PerceptualMetric):
    """DreamSim by its own package, with weights that a folder holds."""

    def _build(self, path: Path | None, folder: str | os.PathLike[str] | None) -> Any:
        library = require("dreamsim", "metrics")
        place = folder or os.environ.get(FOLDER_VARIABLE)
        if not place or not (Path(place) / "dreamsim").is_dir():
            raise AssetError(
                "the weights of DreamSim are not on this machine",
                expected="a folder dreamsim that the package filled, about 2 GB",
                remedy=f"name the folder that holds it by weights_folder or {FOLDER_VARIABLE}",
            )
        model, _ = library.dreamsim(
            pretrained=True, cache_dir=str(Path(place) / "dreamsim"), device=self.compute_on
        )
        return model

    def _distance(self, network: Any, made: Pictures, shown: Pictures) -> Tensor:
        one, two = (
            as_tensor(resize_pictures(x, 224, "pillow-bicubic")).to(self.compute_on)
            for x in (made, shown)
        )
        found: Tensor = network(one, two)
        return found


def missing_dreamsim(spec: MetricSpec) -> str | None:
    """Return why DreamSim cannot run here, or None."""
    with suppress(PackageNotFoundError):
        version("dreamsim")
        place = os.environ.get(FOLDER_VARIABLE)
        if place and (Path(place) / "dreamsim").is_dir():
            return None
        return f"its weights (2 GB) are not in a folder dreamsim of {FOLDER_VARIABLE}"
    return "the Python package dreamsim is not installed: pip install dreamsim"
