"""What the picture model of a subject makes of single volumes: where a video decoder starts."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import torch

from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.encoders.brain.ridge_solver import RidgeSolution
from phosphene.encoders.brain.volume_map import VolumeMap
from phosphene.pipelines.model_folder import ModelParts
from phosphene.types import VoxelSpace

__all__ = ["picture_maps"]

logger = logging.getLogger(__name__)
RANK = 192  # of a map that was kept whole


def picture_maps(parts: ModelParts, subject: str, space: VoxelSpace | None) -> dict[str, VolumeMap]:
    """Return the maps from a subject's voxels to tokens, features and latents, by head.

    Runs and betas are standardised voxel by voxel, so that a map of one serves for the other. None
    is returned where the picture model does not know the subject, was fitted on other voxels than
    the runs have, or is no ridge.

    Parameters
    ----------
    parts : ModelParts
        Of the picture model.
    subject : str
    space : VoxelSpace or None
        Of the runs; may have more voxels than the picture model looks at.
    """
    columns = _columns(parts, subject, space)
    if columns is None or space is None:
        return {}
    lowlevel = parts.structure if parts.structure_target is None else None
    encoders = {"tokens": parts.encoder, "features": parts.features, "lowlevel": lowlevel}
    found = {
        head: _volume_map(encoder.solutions_[subject], columns, space.n_voxels)
        for head, encoder in encoders.items()
        if isinstance(encoder, RidgeEncoder) and subject in encoder.solutions_
    }
    logger.info("subject %s starts from the picture model: %s", subject, ", ".join(found) or "no")
    return found


def _columns(
    parts: ModelParts, subject: str, space: VoxelSpace | None
) -> np.ndarray[Any, Any] | None:
    """Return where the picture model's voxels stand among those of the runs."""
    preprocessor: Any = parts.preprocessor
    # Of weighted voxels it is not known how large they are.
    if space is None or subject not in preprocessor.subjects or preprocessor.weighted:
        return None
    known: VoxelSpace = preprocessor.space(subject)
    same = known.grid_shape == space.grid_shape and (
        known.affine is None
        if space.affine is None
        else known.affine is not None and np.allclose(known.affine, space.affine, atol=1e-3)
    )
    place = np.searchsorted(space.indices, known.indices).clip(max=space.n_voxels - 1)
    if not same or (space.indices[place] != known.indices).any():
        return None
    return place


def _volume_map(solution: RidgeSolution, columns: Any, n_voxels: int) -> VolumeMap:
    if solution.basis is not None:
        weights, basis = solution.weights, solution.basis
    else:
        left, size, right = torch.linalg.svd(solution.coefficients().double(), full_matrices=False)
        weights, basis = (left * size)[:, :RANK], right[:RANK]
    placed = torch.zeros(n_voxels, weights.shape[1])
    placed[torch.from_numpy(columns)] = weights.float()
    return VolumeMap(placed, basis.float())
