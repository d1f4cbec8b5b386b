"""Volumes: values equal to nibabel's and nilearn's, and one clear message for each mistake."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.masking import apply_mask

from phosphene.data.readers import nifti, read_recording, read_space
from phosphene.errors import InputError
from phosphene.types import VoxelSpace

Array = np.ndarray[Any, Any]
Write = Callable[..., Path]


def read(path: Path, mask: Path, **options: Any) -> Any:
    return read_recording(path, subject="01", roi=str(mask), **options)


@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz", "b.mgz", "b.mgh"])
def test_equals_nilearn(name: str, write: Write, betas: Array, mask_file: Path) -> None:
    path = write(name, betas)
    recording = read(path, mask_file)
    if name.endswith("gz") or name.endswith(".nii"):
        reference = nibabel.Nifti1Image(betas, nibabel.load(mask_file).affine)
        np.testing.assert_array_equal(recording.data, apply_mask(reference, str(mask_file)))
    np.testing.assert_array_equal(recording.data, betas[nibabel.load(mask_file).get_fdata() > 0].T)
    assert recording.data.dtype == np.float32
    assert list(recording.trials["trial"]) == list(range(9))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize(
    ("dtype", "slope", "inter"),
    [("u1", 1, 0), ("i2", 1, 0), ("i2", 0.0123, -4.5), ("i4", 3.5, 0), ("f4", 2, 1), ("f8", 1, 0)],
)
def test_stored_types(
    suffix: str,
    kind: Any,
    dtype: str,
    slope: float,
    inter: float,
    write: Write,
    rng: np.random.Generator,
    mask_file: Path,
    mask: Array,
) -> None:
    values = rng.integers(1, 200, (7, 8, 5, 9)).astype(dtype)
    path = write(f"b{suffix}", values, kind=kind, slope=slope, inter=inter)
    expected = nibabel.load(path).get_fdata()[mask].T.astype(np.float32)
    np.testing.assert_array_equal(read(path, mask_file).data, expected)


def test_big_endian_and_extension(tmp_path: Path, betas: Array, affine: Array) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"where data start later"))
    header.set_data_dtype(">f4")
    nibabel.save(nibabel.Nifti1Image(betas, affine, header), tmp_path / "b.nii.gz")
    volumes = nifti.open_volumes(tmp_path / "b.nii.gz")
    assert volumes.dtype.byteorder == ">"
    assert volumes.offset > 352
    np.testing.assert_array_equal(volumes.read(np.arange(280)), betas.reshape(-1, 9).T)


def test_pieces_smaller_than_a_volume(
    write: Write, betas: Array, mask_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {suffix: read(write(f"a{suffix}", betas), mask_file).data for suffix in (".nii",)}
    monkeypatch.setattr(nifti, "PIECE_BYTES", 4 * 13)  # 13 voxels: some pieces hold no mask voxel
    for suffix in (".nii", ".nii.gz", ".mgz"):
        found = read(write(f"b{suffix}", betas), mask_file).data
        np.testing.assert_array_equal(found, expected[".nii"])


def test_one_volume_is_one_trial(write: Write, betas: Array, mask_file: Path, mask: Array) -> None:
    recording = read(write("one.nii.gz", betas[..., 3]), mask_file)
    np.testing.assert_array_equal(recording.data, betas[mask][:, 3][None])


def test_trailing_axes_of_one(write: Write, betas: Array, mask_file: Path) -> None:
    five = read(write("five.nii", betas[..., None]), mask_file)
    np.testing.assert_array_equal(five.data, read(write("four.nii", betas), mask_file).data)
    with pytest.raises(InputError, match="5 axes"):
        read(write("bad.nii", betas[:, :, :, None]), mask_file)


def test_given_space_and_trials(write: Write, betas: Array, mask_file: Path) -> None:
    space = read_space(str(mask_file))
    table = pd.DataFrame({"stimulus_id": [f"s{i % 4}" for i in range(9)]})
    recording = read_recording(write("b.nii", betas), subject="sub-01", space=space, trials=table)
    assert recording.space is not None
    assert recording.space.hash == space.hash
    assert recording.subject == "01"
    assert list(recording.trials["repetition"]) == [1, 1, 1, 1, 2, 2, 2, 2, 3]
    with pytest.raises(InputError, match=r"8 rows.*9 trials"):
        read_recording(tmp := write("c.nii", betas), subject="01", space=space, trials=table[:8])
    assert tmp.exists()


def test_roi_selects_among_the_space(write: Write, betas: Array, mask_file: Path) -> None:
    space = read_space(str(mask_file))
    half = np.zeros((7, 8, 5), bool)
    half[:4] = True
    part = read_recording(
        write("b.nii", betas), subject="01", space=space, roi=str(write("half.nii", half))
    )
    assert part.space is not None
    assert set(part.space.indices) == set(space.indices) & set(np.flatnonzero(half))


def test_no_mask(write: Write, betas: Array) -> None:
    with pytest.raises(InputError, match="--roi"):
        read_recording(write("b.nii", betas), subject="01")


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz"])
def test_missing(suffix: str, tmp_path: Path, mask_file: Path) -> None:
    with pytest.raises(InputError, match="there is no file") as caught:
        read(tmp_path / f"none{suffix}", mask_file)
    assert caught.value.exit_code == 3


def test_not_a_nifti(tmp_path: Path, mask_file: Path) -> None:
    path = tmp_path / "text.nii"
    path.write_text("this is a text file, " * 40)
    with pytest.raises(InputError, match=r"is not a NIfTI file: it starts with b'this is "):
        read(path, mask_file)


def test_pair_of_files(tmp_path: Path, betas: Array, affine: Array, mask_file: Path) -> None:
    nibabel.save(nibabel.Nifti1Pair(betas, affine), tmp_path / "pair.hdr")
    (tmp_path / "pair.hdr").rename(tmp_path / "pair.nii")
    with pytest.raises(InputError, match="pair of files"):
        read(tmp_path / "pair.nii", mask_file)


@pytest.mark.parametrize("keep", [0.02, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", ["b.nii", "b.nii.gz", "b.mgz"])
def test_truncated(name: str, keep: float, write: Write, betas: Array, mask_file: Path) -> None:
    path = write(name, betas)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(InputError, match=r"truncated|damaged|is not a NIfTI"):
        read(path, mask_file)


def test_flipped_bit_in_compressed_data(write: Write, betas: Array, mask_file: Path) -> None:
    path = write("b.nii.gz", betas)
    content = bytearray(path.read_bytes())
    content[-6] ^= 1  # in the checksum, which only the end of the stream tells
    path.write_bytes(content)
    with pytest.raises(InputError, match="CRC"):
        read(path, mask_file)


def test_short_stream_in_a_whole_gzip(write: Write, betas: Array, mask_file: Path) -> None:
    path = write("b.nii", betas)
    short = path.with_suffix(".nii.gz")
    short.write_bytes(gzip.compress(path.read_bytes()[:-40]))
    with pytest.raises(InputError, match="the data end"):
        read(short, mask_file)


def test_zero_trials(write: Write, betas: Array, mask_file: Path) -> None:
    path = write("b.nii", betas)
    content = bytearray(path.read_bytes())
    content[48:50] = b"\0\0"  # dim[4]
    path.write_bytes(content)
    with pytest.raises(InputError, match="zero trials"):
        read(path, mask_file)


def test_complex_and_colours(write: Write, betas: Array, mask_file: Path) -> None:
    with pytest.raises(InputError, match=r"complex numbers \(complex64\)"):
        read(write("c.nii", betas.astype(np.complex64)), mask_file)
    colours = np.zeros((7, 8, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match="colours"):
        read(write("rgb.nii", colours), mask_file)


def test_wrong_grid_names_both(write: Write, betas: Array, mask_file: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(write("b.nii", betas[:, :7]), mask_file)
    message = str(caught.value)
    assert "7 x 7 x 5 voxels" in message
    assert "7 x 8 x 5 voxels" in message
    assert "orientation LAS" in message
    assert "resample_to_img" in message


def test_wrong_affine(write: Write, betas: Array, affine: Array, mask_file: Path) -> None:
    for change, told in ((0.004, None), (0.05, "0.05 mm apart"), (2.0, "2 mm apart")):
        moved = affine.copy()
        moved[0, 3] += change
        path = write("b.nii", betas, moved)
        if told is None:
            read(path, mask_file)
        else:
            with pytest.raises(InputError, match=told):
                read(path, mask_file)


def test_other_orientation(write: Write, betas: Array, mask_file: Path, mask: Array) -> None:
    image = nibabel.load(write("b.nii", betas))
    turned = nibabel.as_closest_canonical(image)
    flipped = write("turned.nii", np.asarray(turned.dataobj), turned.affine)
    with pytest.raises(InputError, match=r"right voxels in another order of axes.*RAS") as caught:
        read(flipped, mask_file)
    assert "as_reoriented" in caught.value.remedy
    # The advice works: after it the values are those of the mask.
    from nibabel.orientations import io_orientation, ornt_transform

    wanted = nibabel.load(mask_file)
    scan = nibabel.load(flipped)
    back = scan.as_reoriented(
        ornt_transform(io_orientation(scan.affine), io_orientation(wanted.affine))
    )
    right = write("back.nii", np.asarray(back.dataobj), back.affine)
    np.testing.assert_array_equal(read(right, mask_file).data, betas[mask].T)


def test_swapped_axes_are_recognised(
    write: Write, betas: Array, affine: Array, mask_file: Path
) -> None:
    swapped = affine[:, [1, 0, 2, 3]]
    with pytest.raises(InputError, match=r"8 x 7 x 5.*") as caught:
        read(write("b.nii", betas.transpose(1, 0, 2, 3), swapped), mask_file)
    assert "another order of axes" in caught.value.found


def test_collapsed_affine(write: Write, betas: Array, mask_file: Path) -> None:
    path = write("b.nii", betas)
    content = bytearray(path.read_bytes())
    content[280:296] = bytes(16)  # srow_x
    path.write_bytes(content)
    with pytest.raises(InputError, match="not invertible"):
        read(path, mask_file)


def test_volume_for_a_model_of_arrays(write: Write, betas: Array) -> None:
    with pytest.raises(InputError, match="columns of an array"):
        read_recording(write("b.nii", betas), subject="01", space=VoxelSpace.columns(280))


def test_values_that_are_not_finite(write: Write, betas: Array, mask_file: Path) -> None:
    inside = np.argwhere(nibabel.load(mask_file).get_fdata() > 0)
    betas[(*inside[0], 2)] = np.nan
    betas[(*inside[5], 2)] = np.inf
    n_voxels = len(inside)
    with pytest.raises(InputError, match=f"in 2 of {n_voxels} voxels, in 1 of 9 trials") as caught:
        read(write("b.nii", betas), mask_file)
    assert "--roi" in caught.value.remedy


def test_values_beyond_float32(write: Write, betas: Array, mask_file: Path) -> None:
    with pytest.raises(InputError, match=r"float32 can hold"):
        read(write("b.nii", betas.astype(np.float64) * 1e300), mask_file)


def test_voxels_without_data(write: Write, betas: Array, mask_file: Path) -> None:
    inside = np.argwhere(nibabel.load(mask_file).get_fdata() > 0)
    betas[tuple(inside[0])] = 0
    n_voxels = len(inside)
    with pytest.raises(InputError, match=f"zero in every trial in 1 of {n_voxels} voxels"):
        read(write("b.nii", betas), mask_file)
    read(write("few.nii", betas[..., :3]), mask_file)  # one zero in three trials is a value
    for index in inside[: n_voxels // 10]:
        betas[tuple(index)] = 0
    with pytest.raises(InputError, match=r"zero in every trial(.|\n)*is of that subject"):
        read(write("many.nii", betas[..., :3]), mask_file)


def test_trial_without_data(write: Write, betas: Array, mask_file: Path) -> None:
    betas[..., 6] = 0
    with pytest.raises(InputError, match=r"1 of 9 trials, the first being row 6"):
        read(write("b.nii", betas), mask_file)
