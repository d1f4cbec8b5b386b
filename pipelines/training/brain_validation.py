"""How a network does on held-out pictures: its error, and how well pictures are found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.pipelines.metrics import (
    brain_to_image_retrieval,
    image_to_brain_retrieval,
    two_way_identification,
)
from phosphene.pipelines.training.brain_objective import LossConfig, network_of
from phosphene.pipelines.training.trial_items import Items, VoxelStore
from phosphene.types import BrainEmbedding

__all__ = ["BrainValidation"]

BLOCK = 64


class BrainValidation:
    """Held-out pictures, each with the mean of its trials, of one or more subjects.

    Parameters
    ----------
    items : Items
        One per picture and subject.
    store : VoxelStore
        Of the held-out trials.
    targets : mapping of str to Tensor of shape (n_pictures, ...)
        As in training.
    variance : mapping of str to float
        Of the training targets.
    losses : LossConfig
    monitor : {"error", "identification"}
        What is watched.
    """

    def __init__(
        self,
        items: Items,
        store: VoxelStore,
        targets: Mapping[str, Tensor],
        variance: Mapping[str, float],
        losses: LossConfig,
        monitor: Literal["error", "identification"] = "error",
    ) -> None:
        self.items, self.store, self.losses, self.monitor = items, store, losses, monitor
        self.targets, self.variance = dict(targets), dict(variance)

    def __call__(self, model: nn.Module) -> float:
        """Return the score that is watched; lower is better."""
        network = network_of(model)
        errors, identified = [], []
        for number in range(len(self.items.subjects)):
            found, truth = self.predict(network, number)
            error = self._error(found, truth, network.main_part)
            if "lowlevel" in truth and network.main_part != "lowlevel":
                weight = self.losses.lowlevel
                error = error + weight * self._error(found, truth, "lowlevel")
            errors.append(error)
            if self.monitor == "identification":
                keys = _flat(found.get("retrieval", found[network.main_part]))
                identified.append(
                    two_way_identification(keys, _flat(truth[network.main_part])).mean
                )
        return 1 - float(np.mean(identified)) if identified else float(np.mean(errors))

    def predict(
        self, network: NetworkEncoder, number: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what the network says of one subject's pictures, and the truth, on the CPU."""
        mine = (self.items.subject == number).nonzero()[:, 0]
        label, parts = self.items.subjects[number], []
        for places in mine.split(BLOCK):
            rows = self.items.rows[places]
            voxels = self.store.mean(label, rows, rows >= 0)
            with torch.no_grad():
                parts.append(network({label: voxels}))
        found = {part: torch.cat([one[part] for one in parts]).float().cpu() for part in parts[0]}
        rows = self.items.target[mine]
        return found, {part: values[rows].float().cpu() for part, values in self.targets.items()}

    def embedding(self, network: NetworkEncoder, number: int) -> BrainEmbedding:
        """Return the predictions for one subject's pictures as an embedding."""
        found, _ = self.predict(network, number)
        return BrainEmbedding(**{part: found[part] for part in network.targets})

    def figures(self, network: NetworkEncoder) -> dict[str, float]:
        """Return explained variance, identification and retrieval per subject and on average.

        Chance is .5 for identification and 1/n for the first place among n pictures.
        """
        network.eval()
        found: dict[str, float] = {}
        names = ("r2", "identification", "brain to image", "image to brain")
        for number, subject in enumerate(self.items.subjects):
            predicted, truth = self.predict(network, number)
            main = network.main_part
            wanted = _flat(truth[main])
            keys = _flat(predicted.get("retrieval", predicted[main]))
            values = (
                1 - self._error(predicted, truth, main),
                two_way_identification(_flat(predicted[main]), wanted).mean,
                float(brain_to_image_retrieval(keys, wanted).top_k(1).mean()),
                float(image_to_brain_retrieval(keys, wanted).top_k(1).mean()),
            )
            found |= {f"sub-{subject} {n}": v for n, v in zip(names, values, strict=True)}
            if "lowlevel" in truth and main != "lowlevel":
                found[f"sub-{subject} r2 of latents"] = 1 - self._error(
                    predicted, truth, "lowlevel"
                )
        for name in names:
            of_all = [found[f"sub-{subject} {name}"] for subject in self.items.subjects]
            found[f"validation {name}"] = float(np.mean(of_all))
        return found

    def _error(self, found: Mapping[str, Tensor], truth: Mapping[str, Tensor], part: str) -> float:
        """Return the squared error over the variance of the training targets."""
        return float((found[part] - truth[part]).square().mean()) / self.variance[part]


def _flat(values: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return values.flatten(1).numpy()
