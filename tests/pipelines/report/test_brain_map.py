"""Importance is the norm of the weights, and slices show it where the voxel is."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from phosphene import Reconstruction
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.errors import InputError
from phosphene.pipelines.report.brain_map import brain_map_of, draw_slices, voxel_importance
from phosphene.pipelines.report.from_reconstruction import content_of_reconstruction
from phosphene.schemas import ModelIndex
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

Array = np.ndarray[Any, Any]


@pytest.mark.parametrize("form", ["primal", "dual"])
@pytest.mark.parametrize("rank", [None, 3])
def test_importance_is_the_norm_of_the_coefficients(form: Any, rank: int | None) -> None:
    rng = np.random.default_rng(0)
    table = complete_trials(pd.DataFrame({"stimulus_id": np.arange(40)}), 40)
    data = rng.normal(size=(40, 15)).astype(np.float32)
    recording = Recording(data, "fmri", "01", table, VoxelSpace.columns(15))
    encoder = RidgeEncoder(form=form, rank=rank)
    encoder.fit(recording, torch.from_numpy(rng.normal(size=(40, 7)).astype(np.float32)))
    expected = encoder.solutions_["01"].coefficients().norm(dim=1).numpy()
    found = voxel_importance(encoder, "01")
    np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-6)
    assert voxel_importance(encoder, "02") is None
    assert voxel_importance(object(), "01") is None


def drawn(space: VoxelSpace, importance: Array) -> list[Array]:
    slices = draw_slices(space, importance, 1.0)
    return [
        np.asarray(Image.open(io.BytesIO(one.png)).convert("RGB")).astype(int) for one in slices
    ]


@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_left_is_left_whatever_the_order_of_voxels(flip: float) -> None:
    shape = (8, 9, 6)
    affine = np.diag([flip * 3.0, 3.0, 3.0, 1.0])
    space = VoxelSpace(shape, np.arange(int(np.prod(shape))), affine)
    x = np.unravel_index(space.indices, shape)[0]
    left = x < 4 if flip > 0 else x >= 4  # the smaller millimetres
    for picture in drawn(space, np.where(left, 1.0, 0.05)):
        brightness = picture.sum(axis=-1)
        half = brightness.shape[1] // 2
        assert brightness[:, :half].mean() > 1.5 * brightness[:, half:].mean()


def test_what_is_no_voxel_of_the_model_stays_black() -> None:
    shape = (10, 10, 4)
    inside = np.zeros(shape, dtype=bool)
    inside[1:9, 1:9] = True
    inside[3:7, 3:7] = False
    space = VoxelSpace(shape, np.flatnonzero(inside), np.diag([2.0, 2.0, 2.0, 1.0]))
    for picture in drawn(space, np.ones(space.n_voxels)):
        height, width = picture.shape[:2]
        assert picture[height // 2, width // 2].sum() < 30
        assert picture.sum(axis=-1).max() > 300


def test_a_run_finds_its_model(
    volume_model: Path, toy: Any, decode: Any, cli: Any, tmp_path: Path
) -> None:
    decode(toy.file("scan.nii"), volume_model, tmp_path / "out").succeeds()
    assert "Where the decoder reads" in (tmp_path / "out/report.html").read_text()
    result = Reconstruction.load(tmp_path / "out")
    content = content_of_reconstruction(result)
    assert content.brain is not None
    assert 1 <= len(content.brain.slices) <= 6
    assert "120 of them" in content.brain.meaning


def test_another_model_is_not_drawn(model: Path, volume_model: Path) -> None:
    used = ModelIndex.load(model / "model_index.json")
    config = {"model": str(volume_model)}
    found, why = brain_map_of(config, used.name, used.hash, "01", named=None)
    assert found is None
    assert "not the one that was used" in why
    with pytest.raises(InputError, match="not the one that was used"):
        brain_map_of({}, used.name, used.hash, "01", named=str(volume_model))


def test_reasons_are_given_where_there_is_no_map(model: Path, tmp_path: Path) -> None:
    used = ModelIndex.load(model / "model_index.json")
    found, why = brain_map_of({"model": str(model)}, used.name, used.hash, "01", named=None)
    assert found is None
    assert "no place in a volume" in why
    gone = {"model": str(tmp_path / "gone")}
    assert "--model says where" in brain_map_of(gone, "m", used.hash, "01", named=None)[1]
    hub = {"model": "hf-hub:someone/model"}
    assert "hub" in brain_map_of(hub, "m", used.hash, "01", named=None)[1]
