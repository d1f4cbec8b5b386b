"""Results of GLMsingle, as Python and MATLAB write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest

from phosphene.data.readers import read_recording
from phosphene.data.reliability import keep_reliable
from phosphene.errors import InputError

GRID, N = (4, 3, 2), 7
NAME = "TYPED_FITHRF_GLMDENOISE_RR"


@pytest.fixture
def betas() -> Any:
    return np.random.default_rng(0).normal(size=(*GRID, N)).astype(np.float32)


@pytest.fixture
def mask(tmp_path: Path) -> Any:
    inside = np.random.default_rng(1).random(GRID) < 0.5
    image = nibabel.Nifti1Image(inside.astype(np.uint8), np.diag([2.0, 2, 2, 1]))
    nibabel.save(image, tmp_path / "mask.nii.gz")
    return inside


@pytest.mark.parametrize("ending", [".npy", ".hdf5", ".mat"])
def test_volumes_within_a_mask(tmp_path: Path, betas: Any, mask: Any, ending: str) -> None:
    path = tmp_path / f"{NAME}{ending}"
    if ending == ".npy":
        np.save(path, {"betasmd": betas, "HRFindex": np.zeros(GRID), "pcnum": 3}, allow_pickle=True)  # type: ignore[arg-type]
    else:
        with h5py.File(path, "w") as file:
            file["betasmd"] = betas if ending == ".hdf5" else betas.transpose()
    recording = read_recording(str(path), subject="01", roi=str(tmp_path / "mask.nii.gz"))
    np.testing.assert_array_equal(recording.data, betas[mask].T)
    assert recording.space is not None
    assert recording.space.indices.tolist() == np.flatnonzero(mask.ravel()).tolist()


def test_lists_of_voxels_need_no_mask(tmp_path: Path, betas: Any) -> None:
    flat = betas.reshape(-1, 1, 1, N)
    np.save(tmp_path / f"{NAME}.npy", {"betasmd": flat}, allow_pickle=True)  # type: ignore[arg-type]
    recording = read_recording(str(tmp_path / f"{NAME}.npy"), subject="01")
    np.testing.assert_array_equal(recording.data, betas.reshape(-1, N).T)


def test_what_does_not_fit_is_refused(tmp_path: Path, betas: Any, mask: Any) -> None:
    path = tmp_path / f"{NAME}.hdf5"
    with h5py.File(path, "w") as file:
        file["betasmd"] = betas[:3]
    roi = str(tmp_path / "mask.nii.gz")
    with pytest.raises(InputError, match="grid"):
        read_recording(str(path), subject="01", roi=roi)
    with pytest.raises(InputError, match="--roi"):
        read_recording(str(path), subject="01")
    with h5py.File(tmp_path / "TYPEB_FITHRF.hdf5", "w") as file:
        file["R2"] = betas
    with pytest.raises(InputError, match="betasmd"):
        read_recording(str(tmp_path / "TYPEB_FITHRF.hdf5"), subject="01", roi=roi)


def test_reliable_voxels_are_kept(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    codes = np.tile(np.arange(30), 4)
    data = rng.normal(size=(120, 6))
    data[:, :3] += 2 * rng.normal(size=(30, 3))[codes]
    import pandas as pd

    trials = pd.DataFrame({"stimulus_id": [f"p{code}" for code in codes]})
    np.save(tmp_path / "x.npy", data.astype(np.float32))
    recording = read_recording(str(tmp_path / "x.npy"), subject="01", trials=trials)
    kept = keep_reliable(recording, 1.0)
    assert kept.space is not None
    assert kept.space.indices.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(kept.data, recording.data[:, :3])
