"""Betas of single trials equal those of nilearn's models, fitted one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import FirstLevelModel

from phosphene.data.bold.events import RunEvents
from phosphene.data.bold.single_trials import beta_weights, percent_change
from phosphene.errors import InputError

TR, VOLUMES = 2.0, 60


def events(kinds: list[str], others: list[float] = []) -> RunEvents:  # noqa: B006
    onsets = 4 + 8.0 * np.arange(len(kinds))
    trials = pd.DataFrame({"onset": onsets, "duration": 2.0, "kind": kinds, "stimulus_id": "p"})
    other = pd.DataFrame({"onset": others, "duration": 1.0, "trial_type": "button"})
    return RunEvents(trials, other, True, [])


def by_nilearn(series: np.ndarray[Any, Any], table: pd.DataFrame, name: str) -> Any:
    data = series.T.reshape(-1, 1, 1, VOLUMES).astype(np.float64)
    image = nibabel.Nifti1Image(data, np.eye(4))
    mask = nibabel.Nifti1Image(np.ones(data.shape[:3], np.uint8), np.eye(4))
    fitted = FirstLevelModel(
        t_r=TR, noise_model="ols", hrf_model="glover", drift_model="cosine", high_pass=0.01,
        mask_img=mask, signal_scaling=False, minimize_memory=False,
    ).fit(image, events=table)  # fmt: skip
    contrast = fitted.compute_contrast(name, output_type="effect_size")
    return np.asarray(contrast.dataobj).ravel()


@pytest.mark.parametrize("model", ["lsa", "lss"])
def test_betas_equal_those_of_nilearn(model: str) -> None:
    rng = np.random.default_rng(0)
    found = events(["a", "b", "a", "a", "b", "b"], [30.0])
    series = rng.normal(size=(VOLUMES, 3)) + np.linspace(0, 2, VOLUMES)[:, None]
    betas = beta_weights(found, np.arange(VOLUMES) * TR, model=model) @ series
    button = found.others
    for row in (1, 3):
        names = found.trials["kind"].to_numpy(dtype=object).copy()
        names[row] = "mine"
        if model == "lsa":
            names = np.array([f"t{n}" for n in range(len(names))], dtype=object)
            names[row] = "mine"
        table = found.trials[["onset", "duration"]].assign(trial_type=names)
        expected = by_nilearn(series, pd.concat([table, button], ignore_index=True), "mine")
        np.testing.assert_allclose(betas[row], expected, atol=1e-6)


@pytest.mark.parametrize("named", [False, True])
def test_kinds_of_one_trial_each_are_one_kind(named: bool) -> None:
    """Else every other trial would have a regressor of its own, which is the other model."""
    rng = np.random.default_rng(2)
    found = dataclasses.replace(events(["a", "b", "c", "d", "e", "f"]), named=named)
    series = rng.normal(size=(VOLUMES, 3))
    betas = beta_weights(found, np.arange(VOLUMES) * TR) @ series
    names = np.array(["other", "other", "mine", "other", "other", "other"])
    table = found.trials[["onset", "duration"]].assign(trial_type=names)
    np.testing.assert_allclose(betas[2], by_nilearn(series, table, "mine"), atol=1e-6)


def test_volumes_that_are_left_out_have_no_weight() -> None:
    kept = np.arange(4, VOLUMES)
    weights = beta_weights(events(["a"] * 6), np.arange(VOLUMES) * TR, kept=kept)
    assert (weights[:, :4] == 0).all()
    assert np.abs(weights[:, 4:]).sum() > 0


def test_confounds_are_taken_out() -> None:
    rng = np.random.default_rng(1)
    confound = pd.DataFrame({"trans_x": np.cumsum(rng.normal(size=VOLUMES))})
    for model in ("lsa", "lss"):
        weights = beta_weights(
            events(["a"] * 6), np.arange(VOLUMES) * TR, model=model, confounds=confound
        )
        np.testing.assert_allclose(weights @ confound.to_numpy(), 0, atol=1e-8)


def test_trials_at_one_time_cannot_be_told_apart() -> None:
    found = events(["a", "b", "a"])
    found.trials.loc[1, "onset"] = found.trials.loc[0, "onset"]
    with pytest.raises(InputError, match="told"):
        beta_weights(found, np.arange(VOLUMES) * TR, model="lsa")


def test_more_regressors_than_volumes_is_an_error() -> None:
    with pytest.raises(InputError, match="volumes"):
        beta_weights(events(["a"] * 6), np.arange(7) * TR, model="lsa")


def test_percent_change() -> None:
    series = np.full((10, 4), 200.0, dtype=np.float32)
    series[5] = 202
    series[:, 1] = 0
    series[:, 2] = np.nan
    series[:, 3] = 100
    scaled, alive = percent_change(series)
    assert alive.tolist() == [True, False, False, False]
    assert scaled[5, 0] - scaled[0, 0] == pytest.approx(100 * 2 / 200.2, abs=1e-3)
    centred = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    same, alive = percent_change(centred)
    np.testing.assert_array_equal(same, centred)
    assert alive.all()
