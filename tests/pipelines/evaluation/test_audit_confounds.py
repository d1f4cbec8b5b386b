"""Each switch of the virtual subjects trips its audit; the clean twin of the same seed passes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import write_picture
from phosphene.data.prepare import write_subject
from phosphene.data.virtual import Stimuli, VirtualSubject, choose_stimuli
from phosphene.data.virtual.confounds import gaze_towards_main_solid, main_shapes
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.audit import Audit, audit_dataset, with_labels
from phosphene.pipelines.evaluation.audit_confounds import (
    audit_gaze,
    audit_global_signal,
    audit_order,
    global_signal,
    nuisance_columns,
)
from phosphene.pipelines.evaluation.audit_findings import Finding
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

Array = np.ndarray[Any, Any]
N_TEST, N_TRAIN, REPETITIONS = 24, 56, 3


@cache
def subject() -> VirtualSubject:
    return VirtualSubject("01")


@cache
def shown(duplicates: bool = False) -> Stimuli:
    return choose_stimuli(N_TEST, seed=5, training=N_TRAIN, duplicates=duplicates, threads=1)


@cache
def signal(moving: bool = False, duplicates: bool = False) -> Array:
    stimuli = shown(duplicates)
    gaze = gaze_towards_main_solid(stimuli.scenes or ()) if moving else None
    return subject().respond(stimuli.scenes, stimuli.images, gaze)


@cache
def recorded(confound: str = "", seed: int = 3) -> Recording:
    """A small experiment with categories, and eye positions as a tracker would measure them."""
    stimuli = shown(confound == "duplicates")
    categories = main_shapes(stimuli.scenes or ())
    simulation = subject().simulate(
        signal(confound == "gaze", confound == "duplicates"),
        repetitions=REPETITIONS,
        seed=seed,
        confounds=[confound] if confound in ("arousal", "block-drift") else [],
        categories=categories,
    )
    recording = simulation.recording(stimuli.ids, stimuli.splits)
    rows = simulation.trials["stimulus"].to_numpy()
    gaze = np.zeros((len(stimuli), 2))
    if confound == "gaze":
        gaze = gaze_towards_main_solid(stimuli.scenes or ())
    jitter = np.random.default_rng(seed).normal(0, 0.4, size=(len(rows), 2))
    trials = recording.trials.assign(
        category=np.array(categories)[rows],
        gaze_x=(gaze[rows] + jitter)[:, 0],
        gaze_y=(gaze[rows] + jitter)[:, 1],
    )
    return replace(recording, trials=trials)


def dataset(root: Path, confound: str = "") -> CanonicalDataset:
    stimuli = shown(confound == "duplicates")
    for name, image in zip(stimuli.ids, stimuli.images, strict=True):
        write_picture(root / "pictures" / f"{name}.png", image)
    return write_subject(root / "dataset", recorded(confound), root / "pictures", dtype="float16")


def verdicts(audit: Audit) -> dict[str, str]:
    return {finding.name: finding.verdict for finding in audit.findings}


@pytest.mark.slow
def test_the_clean_twin_passes_every_audit(tmp_path: Path) -> None:
    audit = audit_dataset(dataset(tmp_path))
    assert audit.tripped == []
    found = verdicts(audit)
    assert [found[name] for name in ("overlap", "order", "global signal", "gaze")] == ["passed"] * 4
    assert audit.lines()[-1] == "overlap: 0 of 24 test stimuli also stand in the training set"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("confound", "named"),
    [
        ("block-drift", "order"),
        ("duplicates", "overlap"),
        ("arousal", "global signal"),
        ("gaze", "gaze"),
    ],
)
def test_every_confound_trips_its_audit(tmp_path: Path, confound: str, named: str) -> None:
    audit = audit_dataset(dataset(tmp_path, confound))
    assert verdicts(audit)[named] == "tripped"
    assert named in audit.facts()["audits_tripped"]
    # Blocks and drift together also move the whole brain's mean with the category.
    others = {"global signal"} if confound == "block-drift" else set()
    assert set(audit.tripped) - {named} <= others
    if confound == "duplicates":
        assert audit.lines()[-1] == "overlap: 6 of 24 test stimuli also stand in the training set"


def trials(category: Any, session: Any = "01", **columns: Any) -> pd.DataFrame:
    table = pd.DataFrame({"category": category, "session": session, **columns})
    table["stimulus_id"] = [f"p{row}" for row in range(len(table))]
    return complete_trials(table, len(table))


def test_random_order_passes_and_blocks_trip() -> None:
    rng = np.random.default_rng(0)
    kinds = np.repeat(list("abcd"), 40)
    false_alarms = sum(
        audit_order(trials(rng.permutation(kinds), np.repeat(["01", "02"], 80))).verdict
        == "tripped"
        for _ in range(8)
    )
    assert false_alarms == 0
    blocks = audit_order(
        trials(np.tile(np.repeat(list("abcd"), 20), 2), np.repeat(["01", "02"], 80))
    )
    assert blocks.verdict == "tripped"
    assert blocks.details["next_trial_same_category"]["observed"] > 0.9
    assert blocks.details["next_trial_same_category"]["p_value"] <= 0.001


def test_a_category_per_run_trips_although_no_order_is_left_within_runs() -> None:
    runs = np.repeat(["01", "02", "03", "04"], 20)
    found = audit_order(trials(np.repeat(list("abab"), 20), run=runs))
    assert found.verdict == "tripped"
    assert found.details["same_category_within_a_run"]["observed"] == 1.0


def test_onsets_give_the_order_of_rows_that_were_sorted() -> None:
    rng = np.random.default_rng(1)
    kinds = np.sort(rng.permutation(np.repeat(list("ab"), 60)))  # a table sorted by category
    assert audit_order(trials(kinds)).verdict == "tripped"
    shown_at = rng.permutation(120) * 4.0
    assert audit_order(trials(kinds, onset=shown_at)).verdict == "passed"


def recording(table: pd.DataFrame, data: Array) -> Recording:
    return Recording(
        data.astype(np.float32), "fmri", "01", table, VoxelSpace.columns(data.shape[1])
    )


def test_the_global_signal_is_standardised_within_sessions() -> None:
    rng = np.random.default_rng(2)
    table = trials(list("ab") * 30, np.repeat(["01", "02"], 30))
    data = rng.normal(size=(60, 7)) * 5 + np.repeat([[100.0], [900.0]], 30, axis=0)
    data[:, 3] = 4.0  # a voxel that never varies
    signal = global_signal(recording(table, data))
    for rows in (slice(0, 30), slice(30, 60)):
        part = data[rows]
        scored = (part - part.mean(0)) / np.where(part.std(0) > 0, part.std(0), 1)
        np.testing.assert_allclose(signal[rows], scored.mean(axis=1), atol=1e-5)


def test_patterns_of_mixed_sign_are_no_arousal() -> None:
    rng = np.random.default_rng(3)
    codes = np.tile(np.arange(4), 30)
    table = trials([f"c{code}" for code in codes])
    noise = rng.normal(size=(120, 200))
    pattern = rng.normal(size=(4, 200))
    pattern -= pattern.mean(axis=1, keepdims=True)
    assert audit_global_signal(recording(table, noise + pattern[codes])).verdict == "passed"
    level = np.linspace(-0.5, 0.5, 4)[codes][:, None]
    assert audit_global_signal(recording(table, noise + level)).verdict == "tripped"


def test_repetitions_of_a_picture_are_one_piece_of_evidence() -> None:
    rng = np.random.default_rng(4)
    tripped = 0
    for _ in range(10):  # pictures differ in brightness, categories do not
        picture = np.repeat(np.arange(12), 20)
        table = trials([f"c{one % 3}" for one in picture]).assign(
            stimulus_id=[f"p{one}" for one in picture]
        )
        data = rng.normal(size=12)[picture][:, None] + rng.normal(size=(240, 30))
        tripped += audit_global_signal(recording(table, data)).verdict == "tripped"
    assert tripped <= 1


def test_gaze_that_follows_pictures_or_categories_trips() -> None:
    rng = np.random.default_rng(5)
    picture = np.tile(np.arange(20), 6)
    base = trials([f"c{one % 4}" for one in picture]).assign(
        stimulus_id=[f"p{one}" for one in picture]
    )
    noise = rng.normal(size=120)
    assert audit_gaze(base.assign(gaze_x=noise)).verdict == "passed"
    follows = audit_gaze(base.assign(gaze_x=noise + rng.normal(size=20)[picture]))
    assert follows.verdict == "tripped"
    assert "gaze_x by picture" in follows.details
    once = trials([f"c{one % 4}" for one in range(60)], blink_rate=np.arange(60) % 4 + noise[:60])
    assert audit_gaze(once).verdict == "tripped"
    assert list(audit_gaze(once).details) == ["blink_rate by category"]
    eyes = nuisance_columns(base.assign(Pupil_size=["1.5"] * 60 + ["n/a"] * 60, gaze="left"))
    assert list(eyes) == ["Pupil_size"]  # text in a table, words in another
    assert (eyes["Pupil_size"] == 1.5).all()


def not_checked(finding: Finding) -> bool:
    return finding.verdict == "not checked" and bool(finding.summary)


def test_what_cannot_be_checked_says_why() -> None:
    table = complete_trials(None, 20)
    data = np.random.default_rng(6).normal(size=(20, 3))
    assert not_checked(audit_order(table))
    assert not_checked(audit_global_signal(recording(table, data)))
    assert not_checked(audit_gaze(table))
    assert not_checked(audit_order(trials(["a"] * 20)))
    assert not_checked(audit_order(trials([*"abcd"] * 4, [f"{k:02d}" for k in range(16)])))
    few = trials(list("aabbcc"))
    assert not_checked(audit_global_signal(recording(few, data[:6])))
    assert not_checked(audit_gaze(table.assign(stimulus_id=range(20), gaze_x=1.5)))


def test_labels_of_stimuli_become_columns_of_trials() -> None:
    table = complete_trials(pd.DataFrame({"stimulus_id": ["p1", "p2", "p1"]}), 3)
    labels = pd.DataFrame({"stimulus_id": ["p2", "p1"], "kind": ["b", "a"], "gaze_y": ["2", "1"]})
    merged = with_labels(table, labels, category="kind")
    assert merged["category"].tolist() == ["a", "b", "a"]
    assert merged["gaze_y"].tolist() == [1.0, 2.0, 1.0]
    own = with_labels(table.assign(shape=["x", "y", "x"]), labels, category="shape")
    assert own["category"].tolist() == ["x", "y", "x"]
    assert "category" not in with_labels(table, None)
    with pytest.raises(InputError, match="no row of 1 stimuli"):
        with_labels(table, labels[:1])
    with pytest.raises(InputError, match="two rows of 'p1'"):
        with_labels(table, pd.concat([labels, labels[1:]]))
    with pytest.raises(InputError, match="no column stimulus_id"):
        with_labels(table, labels[["kind"]])
