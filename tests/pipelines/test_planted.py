"""The whole way, from files to pictures, where the exact answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene import Reconstruction


def test_the_pictures_come_back_exactly(toy: Any, model: Path, decode: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = decode(toy.file("test.npy"), model, out, "--truth", toy.file("shown.npy")).succeeds()
    assert done.out.splitlines()[-1] == f"report: {out / 'report.html'}"
    result = Reconstruction.load(out)
    np.testing.assert_array_equal(result.images[:, 0], toy.shown)
    values = {metric.id: metric.value for metric in result.metrics.metrics}
    assert values["pixcorr/strict-v1"] == pytest.approx(1)
    assert values["mse/unit-range-v1"] == 0
    assert values["ssim/uniform7-v1"] == pytest.approx(1)


def test_the_pictures_come_back_exactly_from_a_volume(
    toy: Any, volume_model: Path, decode: Any, tmp_path: Path
) -> None:
    files = ("--trials", toy.file("test.tsv"), "--truth", toy.file("stimuli"))
    decode(toy.file("scan.nii"), volume_model, tmp_path / "out", *files).succeeds()
    result = Reconstruction.load(tmp_path / "out")
    np.testing.assert_array_equal(result.images[:, 0], toy.shown)
    np.testing.assert_array_equal(result.truth, toy.shown)
