"""GIFTI and CIFTI files, written by nibabel."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from nibabel.cifti2 import BrainModelAxis, LabelAxis, ParcelsAxis, ScalarAxis, SeriesAxis
from nibabel.gifti import GiftiDataArray, GiftiImage

from phosphene.data.readers import read_recording, read_space, surface
from phosphene.errors import InputError

Array = np.ndarray[Any, Any]


def gifti(path: Path, maps: Array, encoding: str = "B64GZ") -> Path:
    arrays = [GiftiDataArray(row, encoding=f"GIFTI_ENCODING_{encoding}") for row in maps]
    nibabel.save(GiftiImage(darrays=arrays), path)
    return path


def grayordinates(n: int) -> Any:
    left = BrainModelAxis.from_mask(np.arange(20) % 2 == 0, name="CortexLeft")
    right = BrainModelAxis.from_mask(np.arange(20) < n - 10, name="CortexRight")
    return left + right


def cifti(path: Path, maps: Array, first: Any = None, second: Any = None) -> Path:
    first = first or ScalarAxis([f"beta {i}" for i in range(len(maps))])
    nibabel.save(nibabel.Cifti2Image(maps, (first, second or grayordinates(maps.shape[1]))), path)
    return path


@pytest.fixture
def maps(rng: np.random.Generator) -> Array:
    return rng.standard_normal((5, 19)).astype(np.float32)


@pytest.mark.parametrize("encoding", ["B64GZ", "B64BIN", "ASCII"])
def test_gifti(encoding: str, tmp_path: Path, maps: Array) -> None:
    recording = read_recording(gifti(tmp_path / "a.func.gii", maps, encoding), subject="01")
    np.testing.assert_allclose(recording.data, maps, atol=1e-6 if encoding == "ASCII" else 0)
    assert recording.space is not None
    assert recording.space.grid_shape == (19,)


def test_hemispheres_and_label_atlas(tmp_path: Path, maps: Array) -> None:
    left, right = maps[:, :7], maps[:, 7:]
    pair = f"{gifti(tmp_path / 'lh.func.gii', left)},{gifti(tmp_path / 'rh.func.gii', right)}"
    labels = (np.arange(19) % 4).astype(np.int32)
    atlas = (
        f"{gifti(tmp_path / 'lh.label.gii', labels[None, :7])},"
        f"{gifti(tmp_path / 'rh.label.gii', labels[None, 7:])}"
    )
    np.testing.assert_array_equal(read_recording(pair, subject="01").data, maps)
    part = read_recording(pair, subject="01", roi=f"{atlas}:1,3")
    np.testing.assert_array_equal(part.data, maps[:, labels % 2 == 1])
    assert part.space is not None
    again = read_recording(pair, subject="01", space=part.space)
    np.testing.assert_array_equal(again.data, part.data)
    with pytest.raises(InputError, match=r"different numbers of trials.*5.*4"):
        read_recording(f"{gifti(tmp_path / 'a.func.gii', left)},"
                       f"{gifti(tmp_path / 'b.func.gii', right[:4])}", subject="01")  # fmt: skip


@pytest.mark.parametrize("block", [40, 2**24])
@pytest.mark.parametrize("suffix", ["dscalar", "dtseries"])
def test_cifti(
    suffix: str, block: int, tmp_path: Path, maps: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surface, "BLOCK_BYTES", block)
    first = SeriesAxis(0, 1, 5) if suffix == "dtseries" else None
    path = cifti(tmp_path / f"a.{suffix}.nii", maps, first)
    np.testing.assert_array_equal(read_recording(path, subject="01").data, maps)
    labels = (np.arange(19) % 4).astype(np.float32)[None]
    names = LabelAxis(["areas"], [{i: (f"area {i}", (1, 1, 1, 1)) for i in range(4)}])
    atlas = cifti(tmp_path / "a.dlabel.nii", labels, names)
    part = read_recording(path, subject="01", roi=f"{atlas}:2")
    np.testing.assert_array_equal(part.data, maps[:, labels[0] == 2])
    np.save(tmp_path / "m.npy", labels[0] > 0)
    masked = read_recording(path, subject="01", roi=str(tmp_path / "m.npy"))
    np.testing.assert_array_equal(masked.data, maps[:, labels[0] > 0])


def test_medial_wall_has_to_be_masked(tmp_path: Path, maps: Array) -> None:
    maps[:, 4:6] = 0
    path = gifti(tmp_path / "a.func.gii", maps)
    with pytest.raises(InputError, match=r"2 of 19 columns") as caught:
        read_recording(path, subject="01")
    assert "--roi" in caught.value.remedy


def test_other_columns(tmp_path: Path, maps: Array, affine: Array, write: Any) -> None:
    path = gifti(tmp_path / "a.func.gii", maps)
    np.save(tmp_path / "m.npy", np.ones(18))
    with pytest.raises(InputError, match=r"19 columns\.\nExpected: 18 columns"):
        read_recording(path, subject="01", roi=str(tmp_path / "m.npy"))
    volume = read_space(str(write("m.nii", np.ones((7, 8, 5), np.uint8))))
    with pytest.raises(InputError, match="no grid of voxels"):
        read_recording(path, subject="01", space=volume)


def test_refused(tmp_path: Path, maps: Array) -> None:
    points = gifti(tmp_path / "a.surf.gii", maps[None, :, :3])
    with pytest.raises(InputError, match="coordinates"):
        read_recording(points, subject="01")
    with pytest.raises(InputError, match="zero trials"):
        read_recording(gifti(tmp_path / "none.gii", maps[:0]), subject="01")
    parcels = ParcelsAxis.from_brain_models([("a", grayordinates(19)), ("b", grayordinates(19))])
    path = cifti(tmp_path / "a.dscalar.nii", maps[:, :2], None, parcels)
    with pytest.raises(InputError, match="not grayordinates"):
        read_recording(path, subject="01")
    plain = tmp_path / "b.dscalar.nii"
    nibabel.save(nibabel.Nifti1Image(np.ones((7, 8, 5), np.float32), np.eye(4)), plain)
    with pytest.raises(InputError, match="CIFTI-2"):
        read_recording(plain, subject="01")


def test_data_in_another_file_are_never_followed(tmp_path: Path, maps: Array) -> None:
    (tmp_path / "secret.bin").write_bytes(maps.tobytes())
    path = gifti(tmp_path / "a.func.gii", maps[:1], "B64BIN")
    text = path.read_text().replace('"Base64Binary"', '"ExternalFileBinary"')
    path.write_text(text.replace('ExternalFileName=""', 'ExternalFileName="secret.bin"'))
    assert "secret.bin" in path.read_text()
    with pytest.raises(InputError, match="ExternalFileBinary"):
        read_recording(path, subject="01")


@pytest.mark.parametrize("seed", range(40))
def test_damage(seed: int, tmp_path: Path, maps: Array) -> None:
    rng = np.random.default_rng(seed)
    for path in (
        gifti(tmp_path / "a.func.gii", maps),
        cifti(tmp_path / "a.dscalar.nii", maps),
    ):
        content = bytearray(path.read_bytes())
        for place in rng.integers(0, len(content), 4):
            content[place] = rng.integers(0, 256)
        path.write_bytes(content[: rng.integers(1, len(content)) if seed % 2 else None])
        with contextlib.suppress(InputError):  # anything else that is raised fails the test
            read_recording(path, subject="01")
