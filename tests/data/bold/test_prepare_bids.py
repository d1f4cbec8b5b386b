"""Series with events become single-trial betas: a miniature, and real recordings and designs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from phosphene.cli.app import app
from phosphene.data.bold.events import mark_tests, read_run_events
from phosphene.data.bold.prepare import BidsSettings, prepare_bids
from phosphene.data.bold.runs import BoldRun, find_runs
from phosphene.data.bold.single_trials import beta_weights
from phosphene.data.canonical import CanonicalDataset
from phosphene.errors import InputError, UsageError


def invoke(*line: str) -> Any:
    return CliRunner().invoke(app, ["prepare", "bids", *line])


@pytest.mark.parametrize("model", ["lss", "lsa"])
def test_planted_responses_are_found(made: Any, tmp_path: Path, model: str) -> None:
    out = str(tmp_path / "d")
    result = invoke("--source", str(made.raw), "--task", "see", "--model", model, "--output", out)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"dataset: {tmp_path / 'd'}"
    recording = CanonicalDataset.open(out).recording("01")
    trials = recording.trials
    assert (trials["split"] == "test").sum() == 4 * 6
    assert trials["stimulus_id"].nunique() == 6 + 4 * 18
    assert recording.space is not None
    assert recording.space.indices.tolist() == np.flatnonzero(made.mask.ravel()).tolist()
    planted = np.concatenate([made.betas[key] for key in sorted(made.betas)])
    ours = [np.corrcoef(one, two)[0, 1] for one, two in zip(recording.data, planted, strict=True)]
    assert np.median(ours) > 0.75
    train = (trials["split"] == "train").to_numpy()
    for session in ("a", "b"):
        mine = train & (trials["session"] == session).to_numpy()
        np.testing.assert_allclose(recording.data[mine].mean(0), 0, atol=1e-4)


def test_folder_of_fmriprep_alone_finds_events_in_its_dataset(made: Any, tmp_path: Path) -> None:
    settings = BidsSettings(task="see", normalise="none")
    whole, _ = prepare_bids(made.raw, tmp_path / "a", None, settings)
    alone, _ = prepare_bids(made.fmriprep, tmp_path / "b", ["01"], settings)
    np.testing.assert_array_equal(whole.recording("01").data, alone.recording("01").data)
    assert find_runs(made.fmriprep, "01", "see")[0].reference == pytest.approx(0.5)


def test_confounds_help_where_the_head_moved(made: Any, tmp_path: Path) -> None:
    planted = np.concatenate([made.betas[key] for key in sorted(made.betas)])
    found = {}
    for confounds in ("auto", "none"):
        settings = BidsSettings(task="see", confounds=confounds, normalise="none")
        dataset, _ = prepare_bids(made.raw, tmp_path / confounds, None, settings)
        data = dataset.recording("01").data
        found[confounds] = np.corrcoef(data.ravel(), planted.ravel())[0, 1]
    assert found["auto"] > found["none"]


def test_raw_series_without_a_derivative(made: Any, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(made.raw, bare, ignore=shutil.ignore_patterns("derivatives"))
    dataset, notes = prepare_bids(bare, tmp_path / "d", None, BidsSettings(task="see"))
    assert dataset.file.subjects["01"].n_trials == 96
    assert any("name a region with --roi" in note for note in notes)


def test_mistakes_are_told(made: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its tasks are see"):
        find_runs(made.raw, "01", "sea")
    with pytest.raises(InputError, match="space"):
        find_runs(made.raw, "01", "see", space="MNI152NLin2009cAsym")
    with pytest.raises(UsageError, match="no column"):
        prepare_bids(
            made.raw, tmp_path / "a", None, BidsSettings(task="see", stimulus_column="nothing")
        )
    with pytest.raises(InputError, match="is true of 0"):
        prepare_bids(made.raw, tmp_path / "b", None, BidsSettings(task="see", test=["session=x*"]))
    result = invoke("--source", str(made.raw), "--task", "see", "--model", "olm", "--output", "x")
    assert result.exit_code == 2
    assert "lsa, lss" in result.output


def one_run(path: Path, tr: float = 2.0) -> BoldRun:
    return BoldRun(path, path, {"run": "01"}, tr, 0.0, None, None)


def test_onsets_in_milliseconds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x_events.tsv"
    table = pd.DataFrame({"onset": [6000, 12000], "duration": 2000, "trial_type": ["a", "b"]})
    table.to_csv(path, sep="\t", index=False)
    with pytest.raises(InputError, match="seconds"):
        read_run_events(one_run(path), 100)


def test_trials_after_the_end_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x_events.tsv"
    table = pd.DataFrame({"onset": [10.0, 199.0], "duration": 2.0, "stim_file": ["a.png", "b.png"]})
    table.to_csv(path, sep="\t", index=False)
    found = read_run_events(one_run(path), 100)
    assert found.trials["stimulus_id"].tolist() == ["a"]
    assert found.notes == ["1 trials after the last volume left out"]


def test_tests_by_rule_and_by_column() -> None:
    table = pd.DataFrame({"trial_type": ["train", "test"], "session": ["one", "two"]})
    assert mark_tests(table, None)[0]["split"].tolist() == ["train", "test"]
    assert mark_tests(table, ["session=o*"])[0]["split"].tolist() == ["test", "train"]
    assert mark_tests(table.assign(trial_type="picture"), None)[1] == ""


@pytest.mark.parametrize("model", ["lss", "lsa"])
def test_real_series_of_objects(
    shared_data: Callable[[str], Path], tmp_path: Path, model: str
) -> None:
    source = shared_data("haxby_slice")
    result = invoke(
        "--source", str(source), "--task", "objectviewing", "--model", model,
        "--output", str(tmp_path / "d"), "--test", "run=09",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "not pictures" in result.output
    recording = CanonicalDataset.open(tmp_path / "d").recording("01")
    assert recording.data.shape == (72, 530)
    assert set(recording.trials["category"]) == set(recording.trials["stimulus_id"])
    assert (recording.trials["split"] == "test").sum() == 8


def test_real_designs(shared_data: Callable[[str], Path]) -> None:
    """Every table of two public datasets is read, and its trials can be told apart."""
    source = shared_data("designs")
    expected = {"perceptionTraining": 55, "perceptionTest": 55, "imagery": 0}
    god = sorted(source.glob("ds001246/sub-01/ses-*/func/*_events.tsv"))
    for path in god:
        name = next(name for name in expected if name in path.name)
        column = "category_name" if name == "imagery" else None
        found = read_run_events(
            one_run(path, 3.0), 250, column=column, kinds=["imagery"] if column else None
        )
        n_trials = expected[name] or len(found.trials)
        assert len(found.trials) == n_trials
        assert not found.trials["stimulus_id"].eq("n/a").any()
    weights = beta_weights(found, np.arange(250) * 3.0)
    assert np.isfinite(weights).all()
    moments = sorted(source.glob("ds005165/sub-01/ses-*/func/*task-t*_events.tsv"))
    for path in moments:
        found = read_run_events(one_run(path, 1.75), 240)
        kinds = set(found.trials["trial_type"])
        assert kinds in ({"train"}, {"test"}), path
        assert set(found.others["trial_type"]) <= {"oddball"}
        assert found.trials["stimulus_id"].str.fullmatch(r"\d{4}").all()
    assert god
    assert moments
