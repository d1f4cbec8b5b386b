"""Property tests: whatever happens to a file, a recording or an InputError comes out."""

from __future__ import annotations

import contextlib
import gzip
import io
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from phosphene.data.readers import read_recording, read_space
from phosphene.errors import InputError
from phosphene.types import Recording

Array = np.ndarray[Any, Any]

SHAPE = (3, 5, 4)
AFFINE = np.diag([2.0, 2.5, 3.0, 1.0])
BETAS = np.random.default_rng(3).standard_normal((*SHAPE, 7)).astype(np.float32)
QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def volume_bytes(kind: Any, tmp_path: Path, suffix: str) -> bytes:
    path = tmp_path / f"whole{suffix}"
    nibabel.save(kind(BETAS, AFFINE), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damage")


@pytest.fixture(scope="module")
def mask(folder: Path) -> str:
    nibabel.save(nibabel.Nifti1Image(np.ones(SHAPE, np.uint8), AFFINE), folder / "mask.nii")
    return str(folder / "mask.nii")


@pytest.fixture(scope="module")
def originals(folder: Path) -> dict[str, bytes]:
    array = io.BytesIO()
    np.save(array, BETAS.reshape(-1, 7).T.copy())
    archive = io.BytesIO()
    np.savez_compressed(archive, x=BETAS.reshape(-1, 7).T)
    return {
        ".nii": volume_bytes(nibabel.Nifti1Image, folder, ".nii"),
        "2.nii": volume_bytes(nibabel.Nifti2Image, folder, ".nii"),
        ".nii.gz": volume_bytes(nibabel.Nifti1Image, folder, ".nii.gz"),
        ".mgh": volume_bytes(nibabel.MGHImage, folder, ".mgh"),
        ".mgz": volume_bytes(nibabel.MGHImage, folder, ".mgz"),
        ".npy": array.getvalue(),
        ".npz": archive.getvalue(),
    }


def attempt(path: Path, mask: str) -> Recording | None:
    roi = None if path.suffix in (".npy", ".npz") else mask
    try:
        recording = read_recording(path, subject="01", roi=roi)
    except InputError:  # exit code 3; anything else that is raised fails the test
        return None
    assert recording.data.dtype in (np.float16, np.float32)
    assert np.isfinite(recording.data).all()
    assert len(recording.trials) == len(recording.data)
    return recording


NAMES = st.sampled_from([".nii", "2.nii", ".nii.gz", ".mgh", ".mgz", ".npy", ".npz"])
EDITS = st.lists(st.tuples(st.integers(0, 560), st.integers(0, 255)), min_size=1, max_size=6)


def test_whole_files_are_read(folder: Path, mask: str, originals: dict[str, bytes]) -> None:
    for name, content in originals.items():
        path = folder / f"intact{name}"
        path.write_bytes(content)
        recording = attempt(path, mask)
        assert recording is not None
        np.testing.assert_array_equal(recording.data, BETAS.reshape(-1, 7).T)


@QUICK
@given(name=NAMES, edits=EDITS)
def test_flipped_bytes(
    name: str,
    edits: list[tuple[int, int]],
    folder: Path,
    mask: str,
    originals: dict[str, bytes],
) -> None:
    content = bytearray(originals[name])
    for place, value in edits:
        content[place % len(content)] = value
    path = folder / f"flipped{name}"
    path.write_bytes(content)
    attempt(path, mask)


@QUICK
@given(name=NAMES, share=st.floats(0, 1))
def test_truncated(
    name: str, share: float, folder: Path, mask: str, originals: dict[str, bytes]
) -> None:
    content = originals[name]
    length = min(int(share * len(content)), len(content) - 1)
    path = folder / f"cut{name}"
    path.write_bytes(content[:length])
    recording = attempt(path, mask)
    if recording is not None:  # only what follows the data of a volume may be missing
        assert name == ".mgh"
        np.testing.assert_array_equal(recording.data, BETAS.reshape(-1, 7).T)


@QUICK
@given(
    dims=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=8, max_size=8),
    code=st.integers(-(2**15), 2**15 - 1)
    | st.sampled_from([2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048]),
    floats=st.lists(st.floats(width=32), min_size=3, max_size=3),
    gz=st.booleans(),
)
@example(dims=[4, 32767, 32767, 32767, 32767, 1, 1, 1], code=16, floats=[352, 1, 0], gz=True)
@example(dims=[4, 3, 5, 4, 32767, 1, 1, 1], code=64, floats=[1e38, 1, 0], gz=False)
@example(dims=[4, 3, 5, 4, 7, 1, 1, 1], code=16, floats=[352, 1, float("nan")], gz=False)
@example(dims=[4, -1, 1, 1, 7, 1, 1, 1], code=16, floats=[352, 1, 0], gz=False)
@example(dims=[4, 3, 5, 4, 7, 1, 1, 1], code=16, floats=[352, 3e38, 3e38], gz=True)
def test_hostile_headers(
    dims: list[int],
    code: int,
    floats: list[float],
    gz: bool,
    folder: Path,
    mask: str,
    originals: dict[str, bytes],
) -> None:
    content = bytearray(originals[".nii"])
    content[40:56] = struct.pack("<8h", *dims)
    content[70:72] = struct.pack("<h", code)
    content[108:120] = struct.pack("<3f", *floats)  # vox_offset, scl_slope, scl_inter
    path = folder / ("hostile.nii.gz" if gz else "hostile.nii")
    path.write_bytes(gzip.compress(content, 1) if gz else content)
    attempt(path, mask)
    with contextlib.suppress(InputError):
        read_space(str(path))


@QUICK
@given(
    shape=st.lists(st.integers(-1, 2**70), min_size=0, max_size=4).map(tuple),
    descr=st.sampled_from(["<f4", ">f8", "<f2", "|O", "<c8", "|V9", "<i4", "<U9999999", "zz", ""]),
    order=st.booleans(),
)
@example(shape=(2**40, 2**40), descr="<f4", order=False)
@example(shape=(2**62, 2), descr=">f8", order=True)
def test_hostile_array_headers(
    shape: tuple[int, ...], descr: str, order: bool, folder: Path, mask: str
) -> None:
    header = repr({"descr": descr, "fortran_order": order, "shape": shape}).encode()
    header += b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    path = folder / "hostile.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(400))
    attempt(path, mask)


@QUICK
@given(
    values=hnp.arrays(
        dtype=st.sampled_from(["f2", "f4", ">f4", "f8", "i2", "u1", "c8", "?"]),
        shape=hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
    )
)
def test_any_array(values: Array, folder: Path, mask: str) -> None:
    np.save(folder / "any.npy", values)
    recording = attempt(folder / "any.npy", mask)
    if recording is not None:
        narrow = np.float16 if values.dtype == np.float16 else np.float32
        np.testing.assert_array_equal(recording.data, values.astype(narrow))
