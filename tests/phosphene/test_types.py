from __future__ import annotations

import numpy as np
import pytest
import torch

from phosphene.errors import InputError, UsageError
from phosphene.trials import complete_trials
from phosphene.types import BrainEmbedding, Recording, VoxelSpace


def recording(n_trials: int = 6, n_voxels: int = 5) -> Recording:
    data = np.random.default_rng(0).normal(size=(n_trials, n_voxels)).astype(np.float32)
    table = complete_trials(None, n_trials).assign(stimulus_id=list("abcabc"))
    return Recording(data, "fmri", "sub-01", table, VoxelSpace.columns(n_voxels))


def test_subject_is_a_label_without_prefix() -> None:
    assert recording().subject == "01"
    with pytest.raises(UsageError, match="letters and digits"):
        Recording(np.ones((1, 2)), "fmri", "../x", complete_trials(None, 1))


@pytest.mark.parametrize("shape", [(3,), (3, 4, 5), (0, 4), (3, 0)])
def test_fmri_data_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="n_trials, n_voxels"):
        Recording(np.ones(shape), "fmri", "01", complete_trials(None, shape[0]))


def test_space_and_data_must_have_as_many_columns() -> None:
    with pytest.raises(InputError, match="4 columns of data for 5 voxels"):
        Recording(np.ones((2, 4)), "fmri", "01", complete_trials(None, 2), VoxelSpace.columns(5))


def test_average_is_the_mean_of_each_stimulus_repetitions() -> None:
    whole = recording()
    averaged = whole.average("stimulus_id")
    np.testing.assert_allclose(averaged.data, (whole.data[:3] + whole.data[3:]) / 2, rtol=1e-6)
    assert averaged.trials["repetition"].tolist() == [2, 2, 2]


def test_selection_keeps_data_and_table_together() -> None:
    part = recording().select(np.array([4, 1]))
    np.testing.assert_array_equal(part.data, recording().data[[4, 1]])
    assert part.trials["stimulus_id"].tolist() == ["b", "b"]


def test_voxel_hash_tells_grid_affine_and_voxels_apart() -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    space = VoxelSpace((3, 4, 5), np.array([1, 7]), affine)
    shifted = affine.copy()
    shifted[0, 3] = 1.0
    others = [
        VoxelSpace((3, 4, 5), np.array([1, 8]), affine),
        VoxelSpace((3, 5, 4), np.array([1, 7]), affine),
        VoxelSpace((3, 4, 5), np.array([1, 7]), shifted),
    ]
    assert len({space.hash, *(other.hash for other in others)}) == 4
    assert space.hash == VoxelSpace((3, 4, 5), [1, 7], affine + 1e-9).hash


@pytest.mark.parametrize("indices", [[3, 1], [1, 1], [-1, 2], [0, 60], []])
def test_voxel_indices_must_increase_inside_the_grid(indices: list[int]) -> None:
    with pytest.raises(InputError):
        VoxelSpace((3, 4, 5), np.array(indices))


def test_parts_of_an_embedding_have_equal_length() -> None:
    with pytest.raises(InputError, match="equal length"):
        BrainEmbedding(pooled=torch.zeros(3, 2), tokens=torch.zeros(4, 5, 2))
    embedding = BrainEmbedding(pooled=torch.arange(6.0).reshape(3, 2))
    assert embedding[1:].main.tolist() == [[2.0, 3.0], [4.0, 5.0]]
