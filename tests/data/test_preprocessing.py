"""Z-scores from training trials alone, kept exactly, on the right voxels or not at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from phosphene.data.preprocessing import Preprocessor, refuse_test_trials
from phosphene.errors import InputError, UsageError
from phosphene.storage import load_tensors, read_json, save_tensors, write_json
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

Array = np.ndarray[Any, Any]
AFFINE = np.diag([2.0, 2.5, 3.0, 1.0])


def recording(data: Array, subject: str = "01", split: str = "train") -> Recording:
    table = complete_trials(pd.DataFrame({"split": [split] * len(data)}), len(data))
    indices = np.arange(0, 2 * data.shape[1], 2)
    return Recording(data, "fmri", subject, table, VoxelSpace((3, 4, 5), indices, AFFINE))


@pytest.fixture
def data() -> Array:
    rng = np.random.default_rng(6)
    return (rng.normal(size=(23, 7)) * rng.uniform(0.1, 9, 7) + 50).astype(np.float32)


def test_training_trials_have_mean_zero_and_variance_one(data: Array) -> None:
    fitted = Preprocessor().fit(recording(data))
    scored = fitted.transform(recording(data)).data
    assert scored.dtype == np.float32
    np.testing.assert_allclose(scored.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scored.std(axis=0), 1, rtol=1e-4)
    new = data[:4] + 3
    expected = (new - data.mean(axis=0, dtype=float)) / data.std(axis=0, dtype=float)
    found = fitted.transform(recording(new, split="test")).data  # by statistics of training
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_statistics_do_not_depend_on_blocks(
    data: Array, dtype: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (data + 900).astype(dtype)  # far from zero, where squares cancel
    whole = Preprocessor().fit(recording(data)).transform(recording(data)).data
    monkeypatch.setattr("phosphene.data.preprocessing.BLOCK_BYTES", 200)
    parts = Preprocessor().fit(recording(data)).transform(recording(data)).data
    np.testing.assert_allclose(parts, whole, atol=1e-5)
    exact = data.astype(np.float64)
    np.testing.assert_allclose(parts, (exact - exact.mean(0)) / exact.std(0), atol=2e-3)


def test_a_voxel_that_never_varied_is_zero(data: Array) -> None:
    data[:, 2] = 41.7
    data[:, 3] = 0
    fitted = Preprocessor().fit(recording(data))
    scored = fitted.transform(recording(data + 1)).data
    assert np.isfinite(scored).all()
    assert (scored[:, [2, 3]] == 0).all()


def test_test_trials_are_refused(data: Array) -> None:
    mixed = recording(data)
    mixed.trials.loc[[3, 8], "split"] = "test"
    with pytest.raises(InputError, match=r"2 of 23 trials given to z-scoring[\s\S]*train split"):
        Preprocessor().fit(mixed)
    with pytest.raises(InputError, match="given to a prior"):
        refuse_test_trials(mixed, purpose="a prior")
    refuse_test_trials(recording(data, split="validation"), purpose="a prior")


def test_too_little_is_refused(data: Array) -> None:
    with pytest.raises(InputError, match="1 training trial"):
        Preprocessor().fit(recording(data[:1]))
    with pytest.raises(UsageError, match="voxel space"):
        Preprocessor().fit(dataclasses.replace(recording(data), space=None))


def test_other_voxels_are_refused_naming_both(data: Array) -> None:
    fitted = Preprocessor().fit(recording(data))
    right = recording(data)
    assert right.space is not None
    moved = AFFINE.copy()
    moved[0, 3] = 2
    for space in (
        VoxelSpace((3, 4, 5), np.arange(1, 15, 2), AFFINE),
        VoxelSpace((3, 4, 5), right.space.indices, moved),
        VoxelSpace((5, 4, 3), right.space.indices, AFFINE),
        None,
    ):
        with pytest.raises(InputError, match=r"sub|voxels") as caught:
            fitted.transform(dataclasses.replace(right, space=space))
        assert right.space.describe() in str(caught.value)
        assert (space.describe() if space else "none") in str(caught.value)


def test_subjects_are_kept_apart(data: Array) -> None:
    both = Preprocessor().fit(recording(data)).fit(recording(data * 5 + 1, "02"))
    assert both.subjects == ["01", "02"]
    one, two = both.transform(recording(data)), both.transform(recording(data * 5 + 1, "02"))
    np.testing.assert_allclose(one.data, two.data, atol=1e-3)
    with pytest.raises(InputError, match=r"does not know subject '03'[\s\S]*one of 01, 02"):
        both.transform(recording(data, "03"))


def test_weights_scale_after_scoring(data: Array) -> None:
    weights = np.arange(1.0, 8.0)
    plain = Preprocessor().fit(recording(data)).transform(recording(data)).data
    weighed = Preprocessor().fit(recording(data)).weigh("01", weights)
    expected = plain * np.sqrt(weights / weights.mean())
    np.testing.assert_allclose(weighed.transform(recording(data)).data, expected, rtol=1e-5)
    assert weighed.weighted


def test_saving_is_exact_and_damage_is_told(data: Array, tmp_path: Path) -> None:
    fitted = Preprocessor().fit(recording(data)).fit(recording(data[:9], "02"))
    fitted.weigh("02", np.arange(1.0, 8.0)).save(tmp_path)
    again = Preprocessor.load(tmp_path)
    assert again.weighted
    for subject in ("01", "02"):
        one, two = (p.transform(recording(data, subject)).data for p in (fitted, again))
        np.testing.assert_array_equal(one, two)
        assert again.space(subject).hash == fitted.space(subject).hash
    tensors = load_tensors(tmp_path / "preprocessor.safetensors")
    file = tmp_path / "preprocessor.safetensors"
    save_tensors(file, {n: t for n, t in tensors.items() if n != "02.mean"})
    with pytest.raises(InputError, match=r"has no 02\.mean"):
        Preprocessor.load(tmp_path)
    save_tensors(file, tensors | {"01.indices": tensors["01.indices"] + 1})
    with pytest.raises(InputError, match="voxels of subject 01"):
        Preprocessor.load(tmp_path)
    save_tensors(file, tensors | {"01.mean": tensors["01.mean"][:-1]})
    with pytest.raises(InputError, match="01"):
        Preprocessor.load(tmp_path)
    save_tensors(file, tensors)
    content = read_json(tmp_path / "preprocessor.json")
    write_json(tmp_path / "preprocessor.json", content | {"normalisation": "minmax"})
    with pytest.raises(InputError, match="normalisation"):
        Preprocessor.load(tmp_path)
