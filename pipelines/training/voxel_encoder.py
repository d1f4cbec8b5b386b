"""Train the universal picture-to-voxel encoder on several subjects, or a new one's part of it.

Its voxel embeddings are what functional clusters are made of. They start from response profiles in
closed form, so that a new subject's voxels begin where voxels that respond alike are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.config import Config
from phosphene.encoders.brain.base import subject_key
from phosphene.encoders.brain.voxel_readout import VoxelReadout
from phosphene.pipelines.training.engine import EngineConfig, train
from phosphene.pipelines.training.trial_items import Items, VoxelStore

__all__ = ["VoxelEncoderConfig", "fit_voxel_embeddings", "voxel_correlations"]


class VoxelEncoderConfig(Config):
    """Settings of the picture-to-voxel encoder.

    ``cosine`` weighs the agreement of whole response patterns, as in the original;
    ``voxels_per_step`` of each subject are predicted at a time.
    """

    cosine: NonNegativeFloat = 0.1
    voxels_per_step: PositiveInt = 512
    training: EngineConfig = EngineConfig(
        epochs=10, batch_size=64, learning_rate=2e-3, weight_decay=1e-3, warmup_steps=50
    )


class _Voxels(nn.Module):
    """The shared readout and one embedding per voxel of each subject."""

    def __init__(self, readout: VoxelReadout, profiles: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.readout = readout
        self.embeddings = nn.ParameterDict(
            {subject_key(subject): nn.Parameter(one.clone()) for subject, one in profiles.items()}
        )

    def forward(self, batch: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Return responses by subject, for its features and the voxels that are asked for."""
        return {
            subject: self.readout(features, self.embeddings[subject_key(subject)][voxels])
            for subject, (features, voxels) in batch.items()
        }


class _Objective:
    """Squared error of z-scored voxels less ``cosine`` times the agreement of their patterns."""

    whole_batch = False

    def __init__(
        self, items: Items, store: VoxelStore, features: Tensor, config: VoxelEncoderConfig
    ) -> None:
        self.items, self.store, self.features, self.config = items, store, features, config

    def __call__(
        self,
        model: nn.Module,
        batch: Mapping[str, Tensor],
        generator: torch.Generator,
        done: float,
    ) -> dict[str, Tensor]:
        wanted, asked = {}, {}
        for number, label in enumerate(self.items.subjects):
            places = (batch["subject"] == number).nonzero()[:, 0]
            if len(places) == 0:
                continue
            rows = batch["rows"][places]
            voxels = self.store.mean(label, rows, rows >= 0)
            noise = torch.rand(voxels.shape[1], generator=generator, device=generator.device)
            chosen = noise.argsort()[: self.config.voxels_per_step].to(voxels.device)
            shown = self.features[batch["target"][places].to(self.features.device)]
            asked[label] = (shown.to(voxels.device).float(), chosen)
            wanted[label] = voxels[:, chosen]
        error, agreement, n = torch.zeros(()), torch.zeros(()), 0
        for label, found in model(asked).items():
            error = error + (found - wanted[label]).square().mean(1).sum()
            agreement = agreement + F.cosine_similarity(found, wanted[label], dim=1).sum()
            n += len(found)
        return {
            "loss": (error - self.config.cosine * agreement) / n,
            "error": error / n,
            "agreement": agreement / n,
        }


def fit_voxel_embeddings(
    readout: VoxelReadout,
    profiles: Mapping[str, Tensor],
    items: Items,
    store: VoxelStore,
    features: Tensor,
    config: VoxelEncoderConfig,
    *,
    folder: Path,
    frozen: bool = False,
) -> dict[str, Tensor]:
    """Train the readout, and the embeddings of all voxels; return these.

    Parameters
    ----------
    readout : VoxelReadout
        Changed in place, unless ``frozen``.
    profiles : mapping of str to Tensor of shape (n_voxels, size)
        What embeddings start from, by subject.
    items : Items
        Pictures with their trials.
    store : VoxelStore
    features : Tensor of shape (n_pictures, places, dim)
    config : VoxelEncoderConfig
    folder : Path
        For checkpoints.
    frozen : bool
        Learn embeddings alone, as for a new subject.

    Returns
    -------
    dict of str to Tensor of shape (n_voxels, size)
    """
    model = _Voxels(readout, profiles)
    readout.requires_grad_(not frozen)
    objective = _Objective(items, store, features, config)
    result = train(
        model, items.tensors(), objective, config.training, folder=folder, label="voxels"
    )
    model.load_state_dict(result.state)
    readout.requires_grad_(False)
    readout.eval()
    return {
        subject: model.embeddings[subject_key(subject)].detach().cpu().clone()
        for subject in profiles
    }


@torch.no_grad()
def voxel_correlations(
    readout: VoxelReadout, embeddings: Tensor, features: Tensor, voxels: Tensor
) -> np.ndarray[Any, Any]:
    """Return the correlation of each voxel's prediction with what was measured, (n_voxels,).

    Parameters
    ----------
    readout : VoxelReadout
    embeddings : Tensor of shape (n_voxels, size)
    features : Tensor of shape (n, places, dim)
    voxels : Tensor of shape (n, n_voxels)
    """
    readout.eval()
    found = torch.cat([readout(block, embeddings) for block in features.float().split(64)])
    first, second = found - found.mean(0), voxels - voxels.mean(0)
    scale = first.square().sum(0).sqrt() * second.square().sum(0).sqrt()
    correlations = (first * second).sum(0) / scale.clamp_min(1e-12)
    return np.asarray(correlations.cpu().numpy())
