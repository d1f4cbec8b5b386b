"""Arrays of betas and epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.data.readers import read_recording, values
from phosphene.errors import InputError, UsageError
from phosphene.types import VoxelSpace

Array = np.ndarray[Any, Any]


@pytest.fixture
def matrix(rng: np.random.Generator) -> Array:
    return rng.standard_normal((9, 53))


def save(path: Path, array: Array) -> Path:
    np.save(path, array)
    return path


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_plain_arrays_stay_mapped(dtype: str, tmp_path: Path, matrix: Array) -> None:
    recording = read_recording(save(tmp_path / "x.npy", matrix.astype(dtype)), subject="01")
    assert isinstance(recording.data, np.memmap)
    assert recording.data.dtype == dtype
    assert recording.space is not None
    assert recording.space.grid_shape == (53,)
    np.testing.assert_array_equal(recording.data, matrix.astype(dtype))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", ">f4", "<f4", "<f2"])
@pytest.mark.parametrize("block", [64, 10_000_000])
def test_conversions(
    order: Any,
    dtype: str,
    block: int,
    tmp_path: Path,
    matrix: Array,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(values, "BLOCK_BYTES", block)
    stored = np.asarray(matrix, dtype=dtype, order=order)
    path = save(tmp_path / "x.npy", stored)
    whole = read_recording(path, subject="01")
    narrow = np.float16 if dtype == "<f2" else np.float32
    np.testing.assert_array_equal(whole.data, stored.astype(narrow))
    assert whole.data.dtype == narrow
    assert whole.data.dtype.isnative
    chosen = np.array([0, 3, 17, 51])
    part = read_recording(path, subject="01", space=VoxelSpace((53,), chosen))
    np.testing.assert_array_equal(part.data, stored[:, chosen].astype(narrow))


def test_npz_with_key(tmp_path: Path, matrix: Array) -> None:
    np.savez(tmp_path / "x.npz", betas=matrix, other=matrix[:3])
    recording = read_recording(f"{tmp_path}/x.npz:betas", subject="01")
    np.testing.assert_array_equal(recording.data, matrix.astype(np.float32))
    with pytest.raises(InputError, match="betas, other"):
        read_recording(tmp_path / "x.npz", subject="01")


def test_column_mask(tmp_path: Path, matrix: Array) -> None:
    path = save(tmp_path / "x.npy", matrix)
    keep = np.arange(53) % 3 == 1
    recording = read_recording(path, subject="01", roi=str(save(tmp_path / "m.npy", keep)))
    np.testing.assert_array_equal(recording.data, matrix[:, keep].astype(np.float32))
    with pytest.raises(InputError, match=r"53 columns.*\n.*50 columns"):
        read_recording(path, subject="01", roi=str(save(tmp_path / "short.npy", keep[:50])))


def test_columns_of_another_number(tmp_path: Path, matrix: Array) -> None:
    with pytest.raises(InputError, match=r"53 columns\.\nExpected: 60 columns, of which 60"):
        read_recording(save(tmp_path / "x.npy", matrix), subject="01", space=VoxelSpace.columns(60))


def test_masked_volumes_as_an_array(tmp_path: Path, matrix: Array, affine: Array) -> None:
    path = save(tmp_path / "x.npy", matrix)
    space = VoxelSpace((7, 8, 5), np.arange(0, 106, 2), affine)
    assert read_recording(path, subject="01", space=space).space is space
    with pytest.raises(InputError, match="no grid of voxels"):
        read_recording(path, subject="01", space=VoxelSpace((7, 8, 5), np.arange(52), affine))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.ones(53), r"reshape\(1, 53\)"),
        (np.ones((3, 4, 5)), "two axes"),
        (np.ones((3, 4), np.int16), r"astype\('float32'\)"),
        (np.ones((3, 4), bool), "holds bool values"),
        (np.ones((3, 4), np.complex64), r"numpy\.abs"),
        (np.ones((3, 4), np.longdouble), "holds float128 values"),
        (np.ones((0, 4)), "zero trials"),
        (np.ones((4, 0)), "without columns"),
        (np.array(3.0), "two axes"),
        (np.full((3, 4), 1e200), "float32 can hold"),
        (np.array([["a", "b"]]), "plain numbers"),
    ],
)
def test_refused(values: Array, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        read_recording(save(tmp_path / "x.npy", values), subject="01")


def test_pickled_objects(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled"):
        read_recording(tmp_path / "x.npy", subject="01")
    np.savez(tmp_path / "x.npz", a=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled"):
        read_recording(f"{tmp_path}/x.npz:a", subject="01")


@pytest.mark.parametrize("order", ["C", "F"])
def test_values(order: Any, tmp_path: Path, matrix: Array) -> None:
    bad = np.array(matrix, dtype=np.float32, order=order)
    bad[4, 7] = bad[4, 9] = bad[5, 9] = np.nan
    with pytest.raises(InputError, match="in 2 of 53 columns, in 2 of 9 trials"):
        read_recording(save(tmp_path / "x.npy", bad), subject="01")
    dead = np.array(matrix, dtype=np.float32, order=order)
    dead[:, 11] = 0
    with pytest.raises(InputError, match="zero in every trial in 1 of 53 columns"):
        read_recording(save(tmp_path / "x.npy", dead), subject="01")


def test_epochs(tmp_path: Path, rng: np.random.Generator) -> None:
    epochs = rng.standard_normal((5, 7, 9)).astype(np.float32)
    epochs[:, :, 0] = 0  # a time point may be zero after baseline correction
    path = save(tmp_path / "x.npy", epochs)
    recording = read_recording(path, subject="01", modality="eeg")
    assert recording.space is None
    np.testing.assert_array_equal(recording.data, epochs)
    epochs[:, 3] = 0
    with pytest.raises(InputError, match="1 of 7 channels"):
        read_recording(save(tmp_path / "y.npy", epochs), subject="01", modality="meg")
    with pytest.raises(InputError, match="n_chans"):
        read_recording(save(tmp_path / "z.npy", epochs[0]), subject="01", modality="eeg")
    with pytest.raises(UsageError, match="without --roi"):
        read_recording(path, subject="01", modality="eeg", roi="mask.npy")


def test_unknown_formats(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file or folder"):
        read_recording(tmp_path / "x.mat", subject="01")
    (tmp_path / "x.mat").write_bytes(b"MATLAB")
    with pytest.raises(InputError, match="not of a known format"):
        read_recording(tmp_path / "x.mat", subject="01")
    with pytest.raises(InputError, match="no file"):
        read_recording(tmp_path / "none.npy", subject="01")
