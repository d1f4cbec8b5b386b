"""A video decoder starts from what the picture model makes of single volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from phosphene.pipelines.model_folder import load_model
from phosphene.pipelines.training.picture_maps import picture_maps
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace


def wider(space: VoxelSpace) -> VoxelSpace:
    """Return the voxels of a space and others of its grid beside them."""
    size = int(np.prod(space.grid_shape))
    others = np.setdiff1d(np.arange(size), space.indices)[:3]
    return VoxelSpace(space.grid_shape, np.union1d(space.indices, others), space.affine)


def test_maps_say_of_a_volume_what_the_picture_model_says(picture_model: Path) -> None:
    parts = load_model(str(picture_model))
    space = parts.preprocessor.space("01")
    assert isinstance(space, VoxelSpace)
    maps = picture_maps(parts, "01", space)
    assert {"tokens"} <= set(maps) <= {"tokens", "features", "lowlevel"}
    volumes = np.random.default_rng(0).normal(size=(7, space.n_voxels)).astype(np.float32)
    recording = Recording(volumes, "fmri", "01", complete_trials(None, 7), space)
    told = parts.encoder.encode(recording).main.flatten(1)
    said = torch.from_numpy(volumes) @ maps["tokens"].weights @ maps["tokens"].basis
    torch.testing.assert_close(said - said.mean(0), told - told.mean(0), atol=1e-3, rtol=1e-3)


def test_runs_may_have_more_voxels_but_not_others(picture_model: Path) -> None:
    parts = load_model(str(picture_model))
    space = parts.preprocessor.space("01")
    if wider(space).n_voxels > space.n_voxels:
        found = picture_maps(parts, "01", wider(space))["tokens"]
        place = np.isin(wider(space).indices, space.indices)
        assert (found.weights[~place] == 0).all()
        known = picture_maps(parts, "01", space)["tokens"]
        torch.testing.assert_close(found.weights[place], known.weights)
    assert picture_maps(parts, "01", VoxelSpace.columns(space.n_voxels + 5)) == {}
    assert picture_maps(parts, "nobody", space) == {}
    assert picture_maps(parts, "01", None) == {}
    if space.affine is not None:
        moved = space.affine.copy()
        moved[0, 3] += 2.0
        assert picture_maps(parts, "01", replace(space, affine=moved)) == {}
