"""Tiny real files: a grid with unequal axes, a mask on it and a series of betas."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

SHAPE = (7, 8, 5)
AFFINE = np.array([[-2.0, 0, 0, 9], [0, 2.5, 0.3, -11], [0, -0.2, 3.0, 4], [0, 0, 0, 1]])
N_TRIALS = 9

Array = np.ndarray[Any, Any]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def mask(rng: np.random.Generator) -> Array:
    return rng.random(SHAPE) < 0.3


@pytest.fixture
def betas(rng: np.random.Generator) -> Array:
    return rng.standard_normal((*SHAPE, N_TRIALS)).astype(np.float32)


@pytest.fixture
def affine() -> Array:
    return AFFINE.copy()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a volume by nibabel; the suffix chooses the format."""

    def write(name: str, values: Array, affine: Array = AFFINE, **header: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        stored = values.astype(np.uint8) if values.dtype == bool else values
        if path.suffix in (".mgz", ".mgh"):
            nibabel.save(nibabel.MGHImage(stored, affine), path)
            return path
        kind = header.pop("kind", nibabel.Nifti1Image)
        image = kind(stored, affine, dtype=header.pop("dtype", stored.dtype))
        if header:
            image.header.set_slope_inter(header.pop("slope"), header.pop("inter"))
        nibabel.save(image, path)
        return path

    return write


@pytest.fixture
def mask_file(write: Callable[..., Path], mask: Array) -> Path:
    return write("mask.nii.gz", mask)


@pytest.fixture(scope="session")
def haxby() -> Path:
    default = Path(__file__).parents[3] / ".." / "shared" / "data"
    folder = Path(os.environ.get("PHOSPHENE_SHARED_DATA", default)) / "haxby_slice"
    if not folder.is_dir():
        pytest.skip("the recording haxby_slice is not here; set PHOSPHENE_SHARED_DATA")
    return folder
