"""What a network's subjects start from: voxel profiles, clusters, neighbours, regions.

All of it is found on training trials. A new subject starts where voxels of known subjects are that
respond alike, or in the regions that they have.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.data.readers.atlas import read_atlas
from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.brain.bit import BITEncoder
from phosphene.encoders.brain.linear_reader import LinearReader
from phosphene.encoders.brain.roi_transformer import RegionTransformerEncoder
from phosphene.encoders.brain.voxel_profiles import ProfileBasis, voxel_profiles
from phosphene.encoders.brain.voxel_regions import (
    VoxelRegions,
    joined_names,
    positional_parcels,
)
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.training.brain_materials import Materials, NetworkTraining, names_of
from phosphene.pipelines.training.trial_items import make_items
from phosphene.pipelines.training.voxel_encoder import fit_voxel_embeddings
from phosphene.types import Recording, VoxelSpace

__all__ = ["find_regions", "profiles_of", "start_new_subject", "start_subjects"]

PARCELS = 16
SCALES = (0.0, 0.25, 0.5, 0.75, 1.0)
BLOCK = 256  # trials at a time


def start_subjects(
    encoder: NetworkEncoder,
    materials: Materials,
    config: NetworkTraining,
    regions: Mapping[str, VoxelRegions],
    folder: Path | None = None,
) -> None:
    """Start all subjects of a new network.

    Parameters
    ----------
    encoder : NetworkEncoder
    materials : Materials
    config : NetworkTraining
    regions : mapping of str to VoxelRegions
        Of every subject, for an encoder that has regions; empty for any other.
    folder : Path, optional
        For checkpoints of a picture-to-voxel encoder.
    """
    if isinstance(encoder, BITEncoder):
        basis, profiles = profiles_of(encoder, materials, None, config.seed)
        profiles = _learned(encoder, profiles, materials, config, folder, frozen=False)
        encoder.align(profiles, basis, seed=config.seed)
    if isinstance(encoder, LinearReader) and encoder.profile_size:
        basis, profiles = profiles_of(encoder, materials, None, config.seed)
        encoder.align(profiles, basis)
    if isinstance(encoder, RegionTransformerEncoder):
        for subject, one in regions.items():
            encoder.assign_regions(subject, one)


def start_new_subject(
    encoder: NetworkEncoder,
    subject: str,
    materials: Materials,
    config: NetworkTraining,
    folder: Path | None = None,
) -> None:
    """Start a subject that was added to a trained network; the others stay as they are."""
    if isinstance(encoder, BITEncoder):
        basis = encoder.profile_basis
        _, profiles = profiles_of(encoder, materials, basis, config.seed)
        profiles = _learned(encoder, profiles, materials, config, folder, frozen=True)
        encoder.align_subject(subject, profiles[subject])
    if isinstance(encoder, LinearReader) and (known := encoder.profile_basis) is not None:
        _, profiles = profiles_of(encoder, materials, known, config.seed)
        encoder.align_subject(subject, profiles[subject])
        _scale(encoder, subject, materials)
    if isinstance(encoder, RegionTransformerEncoder):
        encoder.assign_regions(subject, _regions_like(encoder, materials.recordings[0], config))
        encoder.start_subject(subject)


@torch.no_grad()
def _scale(encoder: LinearReader, subject: str, materials: Materials) -> None:
    """Scale what neighbours say to what predicts the training trials best; they may be wrong."""
    objective, part = materials.objective, encoder.main_part
    weight = encoder.linear_of(subject).weight
    borrowed, errors = weight.clone(), []
    training = encoder.training
    encoder.eval()
    for scale in SCALES:
        weight.copy_(scale * borrowed)
        error = 0.0
        for rows in torch.arange(len(objective.items)).split(BLOCK):
            tried = objective.items.rows[rows]
            voxels = objective.store.mean(subject, tried, tried >= 0).to(weight)
            found = encoder.predict(encoder.read(subject, voxels))[part].float().cpu()
            truth = objective.targets[part][objective.items.target[rows]].float().cpu()
            error += float((found - truth).square().sum())
        errors.append(error)
    weight.copy_(SCALES[int(np.argmin(errors))] * borrowed)
    encoder.train(training)


def profiles_of(
    encoder: BITEncoder | LinearReader, materials: Materials, basis: ProfileBasis | None, seed: int
) -> tuple[ProfileBasis, dict[str, Tensor]]:
    """Return the response profiles of all voxels of the training, and what they were found with."""
    objective = materials.objective
    values = objective.targets[encoder.main_part]
    if basis is None:
        basis = ProfileBasis.fit(values, encoder.profile_size, seed=seed)
    found = {}
    rows = {name: row for row, name in enumerate(names_of(materials.recordings))}
    for recording in materials.recordings:
        places = np.array([rows[name] for name in recording.trials["stimulus_id"]])
        blocks = functools.partial(
            _blocks, objective.store, recording.subject, values, torch.from_numpy(places)
        )
        found[recording.subject] = voxel_profiles(basis, blocks)
    return basis, found


def _blocks(
    store: Any, subject: str, values: Tensor, shown: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all trials of a subject with the targets of their pictures."""
    for voxels, rows in store.blocks(subject, shown):
        yield voxels, values[rows]


def _learned(
    encoder: BITEncoder,
    profiles: dict[str, Tensor],
    materials: Materials,
    config: NetworkTraining,
    folder: Path | None,
    *,
    frozen: bool,
) -> dict[str, Tensor]:
    """Return embeddings of the picture-to-voxel encoder, where the encoder has one."""
    if encoder.readout is None:
        return profiles
    objective = materials.objective
    features = objective.targets[encoder.main_part]
    features = features[:, None] if features.ndim == 2 else features
    places = {name: row for row, name in enumerate(names_of(materials.recordings))}
    items = make_items(materials.recordings, places, "average")
    typical = torch.cat([one.norm(dim=1) for one in profiles.values()]).square().mean().sqrt()
    if not frozen:
        encoder.profile_length.copy_(typical)
    scale = encoder.profile_size**0.5 / encoder.profile_length.clamp_min(1e-12)
    start = {subject: one * scale for subject, one in profiles.items()}
    with TemporaryDirectory() as temporary:
        return fit_voxel_embeddings(
            encoder.readout,
            start,
            items,
            objective.store,
            features,
            config.voxel_encoder,
            folder=(folder or Path(temporary)) / "voxels",
            frozen=frozen,
        )


def find_regions(
    materials: Materials, config: NetworkTraining, parcels: int = PARCELS
) -> tuple[tuple[str, ...], dict[str, VoxelRegions]]:
    """Return the regions of every subject's voxels, and the names of all of them.

    Of the atlas that the configuration names, or parcels by position without one.
    """
    found = {
        one.subject: _atlas(one, config.regions)
        if config.regions is not None
        else positional_parcels(_space(one), parcels)
        for one in materials.recordings
    }
    names = joined_names(found)
    if not names:
        raise InputError("an atlas without a region among the voxels", "at least one region")
    return names, found


def _regions_like(
    encoder: RegionTransformerEncoder, recording: Recording, config: NetworkTraining
) -> VoxelRegions:
    """Return a new subject's regions, of the kind that the encoder was trained with."""
    if config.regions is not None:
        return _atlas(recording, config.regions)
    parcels = len(encoder.regions)
    if parcels & (parcels - 1) == 0:
        found = positional_parcels(_space(recording), parcels)
        if found.names == encoder.regions:
            return found
    raise UsageError(
        f"no atlas for sub-{recording.subject}",
        expected=f"the regions of the other subjects ({', '.join(encoder.regions[:6])}, ...)",
        remedy="name one with --set regions=ATLAS",
    )


def _atlas(recording: Recording, pattern: str) -> VoxelRegions:
    region, names = read_atlas(pattern.replace("{subject}", recording.subject), _space(recording))
    return VoxelRegions(region, names)


def _space(recording: Recording) -> VoxelSpace:
    if recording.space is not None:
        return recording.space
    return VoxelSpace.columns(int(np.prod(recording.data.shape[1:])))
