"""Plans: the law is recovered exactly, and what a larger recording reaches lies in the interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from phosphene.cli.app import app
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.prepare import write_subject
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.plan import Curve, fit_curve, make_plan, measure_points
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

N_VOXELS, SIDE = 60, 4


def made_up(n_pictures: int, repetitions: int, signal: float = 1.0, seed: int = 0) -> Any:
    """Pictures of noise through a fixed linear map to voxels."""
    weights = np.random.default_rng(99).normal(size=(SIDE * SIDE, N_VOXELS)) / 4
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (n_pictures, SIDE, SIDE, 1), dtype=np.uint8)
    codes = np.tile(np.arange(n_pictures), repetitions)
    features = pictures.reshape(n_pictures, -1) / 74.0 - 1.72
    data = signal * (features @ weights)[codes] + 4 * rng.normal(size=(len(codes), N_VOXELS))
    table = pd.DataFrame({"stimulus_id": [f"p{code:04d}" for code in codes]})
    table["session"] = [f"{1 + 2 * k // len(codes):02d}" for k in range(len(codes))]
    trials = complete_trials(table, len(table))
    space = VoxelSpace.columns(N_VOXELS)
    recording = Recording(data.astype(np.float32), "fmri", "01", trials, space)
    return recording, ([f"p{k:04d}" for k in range(n_pictures)], pictures), features[codes]


def test_the_law_is_recovered() -> None:
    law = Curve(0.2, 150.0, 1.5)
    n = np.repeat([50.0, 100.0, 200.0, 400.0], 3)
    r = np.tile([1.0, 2.0, 3.0], 4)
    accuracy = np.array([law.accuracy(a, int(b)) for a, b in zip(n, r, strict=True)])
    found = fit_curve(n, r, accuracy)
    np.testing.assert_allclose([found.a, found.b, found.c], [0.2, 150, 1.5], rtol=1e-3)


def test_what_more_data_reach_lies_in_the_interval(tmp_path: Path) -> None:
    recording, stimuli, _ = made_up(90, 2)
    dataset = write_subject(tmp_path / "pilot", recording, stimuli)
    plan = make_plan(dataset, "01", "pixels:4x1")
    larger, _, targets = made_up(480, 2, seed=5)  # 720 trials in a fold of four: four pilots
    reached, _ = measure_points(larger, targets.astype(np.float32))
    actual = next(p.accuracy for p in reached if p.n_trials > 600 and p.repetitions == 1)
    row = plan.table[(plan.table["n_trials"] == 720) & (plan.table["test_repetitions"] == 1)].iloc[
        0
    ]
    assert row["low"] - 0.02 <= actual <= row["high"] + 0.02
    assert row["sessions"] == 8
    small = plan.table[(plan.table["n_trials"] == 180) & (plan.table["test_repetitions"] == 1)]
    assert small["accuracy"].iloc[0] < row["accuracy"]
    assert plan.new_or_again is not None
    assert all(0.5 < value < 1 for value in plan.new_or_again)


def test_noise_is_not_extrapolated(tmp_path: Path) -> None:
    recording, stimuli, _ = made_up(60, 1, signal=0.0)
    dataset = write_subject(tmp_path / "noise", recording, stimuli)
    with pytest.raises(InputError, match="chance"):
        make_plan(dataset, "01", "pixels:4x1")


def test_command(tmp_path: Path) -> None:
    recording, stimuli, _ = made_up(60, 2, signal=2.0)
    trials = recording.trials.copy()
    test = trials["stimulus_id"].isin([f"p{k:04d}" for k in range(10)])
    trials["split"] = np.where(test, "test", "train")
    data = recording.data.copy()
    data[test.to_numpy()] = np.float32(1e6)  # tests are not looked at
    spoiled = Recording(data, "fmri", "01", trials, recording.space)
    write_subject(tmp_path / "pilot", spoiled, stimuli)
    line = ["plan", "--pilot", str(tmp_path / "pilot"), "--target", "pixels:4x1"]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"plan: {tmp_path / 'pilot' / 'plan.tsv'}"
    table = pd.read_csv(tmp_path / "pilot" / "plan.tsv", sep="\t")
    assert list(table) == ["n_trials", "sessions", "test_repetitions", "accuracy", "low", "high"]
    assert table["n_trials"].min() == 100
    assert CliRunner().invoke(app, ["plan"]).exit_code == 2
    few = made_up(10, 2)
    write_subject(tmp_path / "few", few[0], few[1])
    assert CliRunner().invoke(app, ["plan", "--pilot", str(tmp_path / "few")]).exit_code == 3
    assert CanonicalDataset.open(tmp_path / "few").file.n_stimuli == 10
