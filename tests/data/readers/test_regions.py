"""Masks and atlases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from phosphene.data.readers import read_space
from phosphene.errors import InputError, UsageError

Array = np.ndarray[Any, Any]
Write = Callable[..., Path]


@pytest.fixture
def atlas(rng: np.random.Generator) -> Array:
    return rng.integers(0, 6, (7, 8, 5)).astype(np.int16)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz"])
def test_mask_in_c_order(suffix: str, write: Write, mask: Array, affine: Array) -> None:
    space = read_space(str(write(f"m{suffix}", mask)))
    np.testing.assert_array_equal(space.indices, np.flatnonzero(mask))
    assert space.grid_shape == (7, 8, 5)
    np.testing.assert_allclose(space.affine, affine, atol=1e-5)


@pytest.mark.parametrize("dtype", ["int16", "float32", "uint8", "float64"])
def test_labels(dtype: str, write: Write, atlas: Array) -> None:
    path = write("atlas.nii.gz", atlas.astype(dtype))
    space = read_space(f"{path}:2,5")
    np.testing.assert_array_equal(space.indices, np.flatnonzero(np.isin(atlas, [2, 5])))
    with pytest.raises(InputError, match=r"no label 9, 12\.\nExpected: .* 5 it has: 1, 2, 3, 4, 5"):
        read_space(f"{path}:2,9,12")
    with pytest.raises(UsageError, match="whole numbers"):
        read_space(f"{path}:V1")


def test_nan_is_outside(write: Write, atlas: Array) -> None:
    values = np.where(atlas == 0, np.nan, atlas).astype(np.float32)
    np.testing.assert_array_equal(
        read_space(str(write("m.nii", values))).indices, np.flatnonzero(atlas)
    )


def test_scaled_labels(write: Write, atlas: Array) -> None:
    path = write("atlas.nii", atlas, dtype="i2", slope=2, inter=0)
    stored = nibabel.load(path).get_fdata()
    assert np.isin(4, stored)
    np.testing.assert_array_equal(read_space(f"{path}:4").indices, np.flatnonzero(stored == 4))


def test_reference(write: Write, atlas: Array, mask: Array, affine: Array) -> None:
    reference = read_space(str(write("m.nii", mask)))
    path = write("atlas.nii", atlas)
    part = read_space(f"{path}:1", reference=reference)
    np.testing.assert_array_equal(part.indices, np.flatnonzero((atlas == 1) & mask))
    empty = write("outside.nii", ~mask)
    with pytest.raises(InputError, match="no voxel among the"):
        read_space(str(empty), reference=reference)
    affine[2, 3] += 3
    with pytest.raises(InputError, match="another grid"):
        read_space(str(write("moved.nii", mask, affine)), reference=reference)


def test_nothing_selected(write: Write, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="selects no voxel"):
        read_space(str(write("m.nii", np.zeros((7, 8, 5), np.uint8))))
    np.save(tmp_path / "m.npy", np.zeros(9))
    with pytest.raises(InputError, match="selects no voxel"):
        read_space(str(tmp_path / "m.npy"))


def test_masks_of_the_wrong_form(write: Write, tmp_path: Path, mask: Array) -> None:
    with pytest.raises(InputError, match="holds 2 volumes"):
        read_space(str(write("m.nii", np.stack([mask, mask], axis=-1))))
    np.save(tmp_path / "m.npy", mask)
    with pytest.raises(InputError, match="give the mask as NIfTI"):
        read_space(str(tmp_path / "m.npy"))
    with pytest.raises(InputError, match="there is no file"):
        read_space(str(tmp_path / "none.nii.gz:1,2"))


def test_column_labels(tmp_path: Path, atlas: Array) -> None:
    np.save(tmp_path / "a.npy", atlas.ravel())
    np.savez(tmp_path / "a.npz", x=atlas.ravel())
    expected = np.flatnonzero(atlas == 3)
    np.testing.assert_array_equal(read_space(f"{tmp_path}/a.npy:3").indices, expected)
    np.testing.assert_array_equal(read_space(f"{tmp_path}/a.npz:x").indices, np.flatnonzero(atlas))


def test_a_mask_that_marks_its_outside_with_minus_one(write: Write, atlas: Array) -> None:
    """As nsdgeneral does: -1 is not in the region."""
    values = np.where(atlas > 2, 1, np.where(atlas > 0, 0, -1)).astype(np.int16)
    space = read_space(str(write("m.nii", values)))
    np.testing.assert_array_equal(space.indices, np.flatnonzero(atlas > 2))
