"""Which voxels an encoder listens to: by gradient, and by silencing whole regions.

For a linear encoder the gradient measure is the norm of each voxel's weights over all targets.
For any other it is the same of its local linear map, averaged over trials.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from phosphene.errors import InputError, UsageError
from phosphene.storage import atomic_path
from phosphene.types import BrainEmbedding, Recording, VoxelSpace

__all__ = ["RegionEffect", "occlude_regions", "save_voxel_map", "voxel_importance"]

Array = np.ndarray[Any, Any]
BLOCK = 64


class _Encoder(Protocol):
    def respond(self, subject: str, voxels: Tensor) -> Tensor: ...

    def encode(self, recording: Recording) -> BrainEmbedding: ...


def voxel_importance(
    encoder: _Encoder, recording: Recording, *, probes: int = 16, seed: int = 0
) -> Array:
    """Return how strongly the prediction follows each voxel.

    With J the Jacobian of the main part with respect to the voxels of a trial, this is the root
    of the mean over trials of ``sum_j J_jv ** 2``, by random probes of the outputs (Hutchinson
    1990): the error falls with the root of ``probes`` times trials.

    Parameters
    ----------
    encoder : brain encoder
    recording : Recording
        Normalised trials, as in training.
    probes : int
        Backward passes per block of trials.
    seed : int

    Returns
    -------
    ndarray of shape (n_voxels,)
        Change of the embedding per unit of the voxel.
    """
    if probes < 1:
        raise UsageError(f"{probes} probes of the outputs", expected="at least 1")
    training = isinstance(encoder, nn.Module) and encoder.training
    if isinstance(encoder, nn.Module):
        encoder.eval()
    generator = torch.Generator().manual_seed(seed)
    data = recording.data.reshape(len(recording), -1)
    like = _like(encoder, recording.subject)
    total = torch.zeros(data.shape[1], dtype=torch.float64)
    try:
        for start in range(0, len(data), BLOCK):
            rows = torch.from_numpy(np.array(data[start : start + BLOCK])).to(like)
            rows.requires_grad_(True)
            found = encoder.respond(recording.subject, rows).flatten(1)
            for number in range(probes):
                probe = torch.randint(2, found.shape, generator=generator).to(found) * 2 - 1
                (gradient,) = torch.autograd.grad(
                    found, rows, probe, retain_graph=number + 1 < probes
                )
                total += gradient.double().square().sum(0).cpu()
    finally:
        if isinstance(encoder, nn.Module):
            encoder.train(training)
    return (total / (probes * len(data))).sqrt().float().numpy()


def _like(encoder: Any, subject: str) -> Tensor:
    """Return a tensor of the encoder, for its type and device."""
    if isinstance(encoder, nn.Module):
        return next(encoder.parameters())
    found: Tensor = encoder.tensors()[f"{subject}.weights"]
    return found


class RegionEffect:
    """What silencing one region does.

    Attributes
    ----------
    region : str
    n_voxels : int
    change : float
        Squared change of the prediction over the squared spread of predictions across trials: 0
        where the region does nothing.
    r2_lost : float, optional
        Explained variance of the targets that is lost, where targets were given.
    """

    def __init__(self, region: str, n_voxels: int, change: float, r2_lost: float | None) -> None:
        self.region, self.n_voxels, self.change, self.r2_lost = region, n_voxels, change, r2_lost

    def __repr__(self) -> str:
        lost = "" if self.r2_lost is None else f", r2_lost={self.r2_lost:.4f}"
        return f"RegionEffect({self.region!r}, {self.n_voxels}, change={self.change:.4f}{lost})"


def occlude_regions(
    encoder: _Encoder,
    recording: Recording,
    regions: Mapping[str, Array],
    targets: Tensor | None = None,
) -> list[RegionEffect]:
    """Set the voxels of one region after another to their training mean and predict again.

    Parameters
    ----------
    encoder : brain encoder
    recording : Recording
        Normalised trials: the training mean of every voxel is zero.
    regions : mapping of str to ndarray of bool (n_voxels,)
        A region, or a network of several, by name; they may overlap.
    targets : Tensor of shape (n_trials, ...), optional
        Of the main part, to say what each region is worth.

    Returns
    -------
    list of RegionEffect
        In the order of ``regions``.
    """
    data = np.asarray(recording.data).reshape(len(recording), -1)
    for region, mask in regions.items():
        if np.asarray(mask).shape != data.shape[1:] or np.asarray(mask).dtype != bool:
            raise InputError(
                f"a mask of shape {np.asarray(mask).shape} and type {np.asarray(mask).dtype} for "
                f"the region {region!r}",
                expected=f"one truth value for each of {data.shape[1]} voxels",
                remedy="take the mask in the order of the recording's columns",
            )
    whole = _main(encoder.encode(recording))
    spread = (whole - whole.mean(0)).square().sum().clamp_min(torch.finfo(whole.dtype).tiny)
    effects = []
    for region, mask in regions.items():
        silent = np.where(np.asarray(mask), np.zeros((), data.dtype), data)
        without = _main(encoder.encode(_with(recording, silent)))
        change = float((without - whole).square().sum() / spread)
        lost = None if targets is None else _r2(whole, targets) - _r2(without, targets)
        effects.append(RegionEffect(region, int(np.sum(mask)), change, lost))
    return effects


def _with(recording: Recording, rows: Array) -> Recording:
    from dataclasses import replace

    return replace(recording, data=rows.reshape(recording.data.shape))


def _main(embedding: BrainEmbedding) -> Tensor:
    parts = (embedding.tokens, embedding.pooled, embedding.lowlevel)
    return next(part for part in parts if part is not None).flatten(1).double().cpu()


def _r2(predicted: Tensor, targets: Tensor) -> float:
    truth = targets.flatten(1).double().cpu()
    error = (predicted - truth).square().sum()
    return float(1 - error / (truth - truth.mean(0)).square().sum())


def save_voxel_map(path: str | os.PathLike[str], values: Array, space: VoxelSpace) -> None:
    """Write one number per voxel as a NIfTI volume; everything outside the mask is NaN.

    Raises
    ------
    InputError
        If the voxels have no place in a volume, or there are not as many values.
    """
    import nibabel

    if space.affine is None or len(space.grid_shape) != 3:
        raise InputError(
            f"voxels without a place in a volume ({space.describe()})",
            expected="a recording that was read from volumes",
            remedy="save the values as they are: one number per column",
        )
    if np.asarray(values).shape != (space.n_voxels,):
        raise InputError(
            f"a map of shape {np.asarray(values).shape}", expected=f"({space.n_voxels},)"
        )
    volume = np.full(space.grid_shape, np.nan, dtype=np.float32)
    volume.reshape(-1)[space.indices] = values
    with atomic_path(path) as temporary:
        nibabel.save(nibabel.Nifti1Image(volume, space.affine), temporary)  # type: ignore[no-untyped-call]
