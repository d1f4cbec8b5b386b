"""Designs that cannot be decoded honestly trip one named audit each; their clean twin passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from phosphene.cli.app import app
from phosphene.data.prepare import write_subject
from phosphene.pipelines.evaluation.audit_design import (
    audit_pictures,
    audit_repetitions,
    audit_sequence,
    audit_test_trials,
    audit_timing,
)
from phosphene.pipelines.evaluation.audit_reliability import audit_reliability
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

RUNS, LENGTH = 8, 30


def clean(seed: int = 0) -> pd.DataFrame:
    """60 pictures, four times each in different runs, in a new order in every run."""
    rng = np.random.default_rng(seed)
    halves = [np.arange(30), np.arange(30, 60)]
    rows = []
    for run in range(RUNS):
        for trial, picture in enumerate(rng.permutation(halves[run % 2])):
            rows.append((f"{run // 4 + 1:02d}", f"{run + 1:02d}", trial + 1, f"p{picture:02d}"))
    table = pd.DataFrame(rows, columns=["session", "run", "trial", "stimulus_id"])
    table["onset"] = table["trial"] * 10.0
    table["split"] = np.where(table["stimulus_id"].isin([f"p{k}" for k in range(45, 60)]),
                              "test", "train")  # fmt: skip
    return complete_trials(table, len(table))


def recording(table: pd.DataFrame, signal: float, seed: int = 1) -> Recording:
    rng = np.random.default_rng(seed)
    codes = np.unique(table["stimulus_id"], return_inverse=True)[1]
    data = signal * rng.normal(size=(codes.max() + 1, 40))[codes] + rng.normal(
        size=(len(table), 40)
    )
    return Recording(data.astype(np.float32), "fmri", "01", table, VoxelSpace.columns(40))


def test_clean_design_passes_every_audit() -> None:
    table = clean()
    for audit in (audit_pictures, audit_repetitions, audit_sequence, audit_timing,
                  audit_test_trials):  # fmt: skip
        found = audit(table, subject="01")
        assert found.verdict == "passed", found.line()
    assert audit_reliability(recording(table, 0.5)).verdict == "passed"


def test_repetitions_in_one_run() -> None:
    table = clean()
    table["stimulus_id"] = [
        f"p{(int(run) - 1) * 15 + (trial - 1) % 15:03d}"
        for run, trial in zip(table["run"], table["trial"], strict=True)
    ]
    found = audit_repetitions(table)
    assert found.verdict == "tripped"
    assert "120 of 120 repeated pictures were shown in one run only" in found.summary


def test_the_same_order_in_every_run() -> None:
    table = clean()
    table["stimulus_id"] = [f"p{trial:02d}" for trial in table["trial"]]
    found = audit_sequence(table)
    assert found.verdict == "tripped"
    assert found.details["place in the run"]["observed"] == pytest.approx(1)
    assert audit_sequence(table.assign(onset=np.random.default_rng(0).random(len(table)))).verdict \
        == "passed"  # fmt: skip


def test_a_rotated_order_trips_by_neighbours() -> None:
    """Every run begins elsewhere in one fixed circle: places differ, the picture before tells."""
    table = clean()
    table["stimulus_id"] = [
        f"p{(trial + 7 * int(run)) % LENGTH:02d}"
        for run, trial in zip(table["run"], table["trial"], strict=True)
    ]
    found = audit_sequence(table)
    assert found.verdict == "tripped"
    assert found.details["picture before"]["observed"] > 0.9


def test_timing() -> None:
    table = clean()
    fast = audit_timing(table.assign(onset=table["trial"] * 4.0))
    assert fast.verdict == "noted"
    assert "overlap" in fast.summary
    table.loc[1, "onset"] = table.loc[0, "onset"]
    assert audit_timing(table).verdict == "tripped"
    assert audit_timing(table.drop(columns="onset")).verdict == "not checked"


def test_conditions_are_no_pictures() -> None:
    table = clean()
    kinds = table["stimulus_id"].str[-1]
    found = audit_pictures(table.assign(stimulus_id=kinds, category=kinds))
    assert found.verdict == "tripped"
    assert "nothing can be said about single pictures" in found.summary
    few = audit_pictures(table[table["stimulus_id"] < "p20"])
    assert few.verdict == "noted"
    assert "20 different" in few.summary


def test_nothing_to_test_on() -> None:
    table = clean()
    assert audit_test_trials(table.assign(split="train")).verdict == "tripped"
    assert audit_test_trials(table.assign(split="test")).verdict == "tripped"
    own = table.assign(split=np.where(table["session"] == "02", "test", "train"))
    assert audit_test_trials(own).details["sessions_of_test_alone"] == 1


def test_noise_is_not_reliable_in_most_draws() -> None:
    table = clean()
    verdicts = [audit_reliability(recording(table, 0.0, seed)).verdict for seed in range(8)]
    assert verdicts.count("tripped") >= 6  # 5 % pass by chance
    once = table.drop_duplicates("stimulus_id").reset_index(drop=True)
    assert audit_reliability(recording(once, 1.0)).verdict == "not checked"


def test_session_offsets_are_no_reliability() -> None:
    """Pictures that are tied to a session share its offset, and not a response."""
    table = clean()
    table["stimulus_id"] = table["stimulus_id"] + table["session"]
    made = recording(table, 0.0)
    shifted = made.data + 5.0 * (table["session"] == "02").to_numpy()[:, None]
    shifted = Recording(shifted.astype(np.float32), "fmri", "01", table, made.space)
    assert audit_reliability(shifted).verdict == "tripped"


def invoke(*line: str) -> Any:
    return CliRunner().invoke(app, ["prepare", "check", *line])


def test_command_and_page(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (60, 6, 6, 3), dtype=np.uint8)
    names = [f"p{k:02d}" for k in range(60)]
    for name, signal in (("good", 0.5), ("noise", 0.0)):
        write_subject(tmp_path / name, recording(clean(), signal), (names, pictures))
    good = invoke(str(tmp_path / "good"))
    assert good.exit_code == 0, good.output
    assert good.output.splitlines()[-1] == "check: no warnings"
    assert good.output.splitlines()[-2] == f"quality: {tmp_path / 'good' / 'quality.html'}"
    bad = invoke(str(tmp_path / "noise"), "--output", str(tmp_path / "q.html"), "--strict")
    assert bad.exit_code == 3
    assert bad.output.splitlines()[-1] == "check: 1 warnings (reliability)"
    page = (tmp_path / "q.html").read_text()
    assert "would be invented" in page
    assert "<table>" in page
    assert "http" not in page.replace("http-equiv", "")
    wrong = invoke(str(tmp_path / "good"), "--output", str(tmp_path / "q.pdf"))
    assert wrong.exit_code == 2
    missing = invoke(str(tmp_path / "nothing"))
    assert missing.exit_code == 3
