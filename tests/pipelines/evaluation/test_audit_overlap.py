"""The audit flags a dataset whose test stimuli were trained on, and passes one that is clean."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures, write_picture
from phosphene.data.prepare import write_subject
from phosphene.data.scenes import render, sample_scenes
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.audit_overlap import (
    audit_categories,
    audit_overlap,
    nearest_as_close,
    split_stimuli,
)
from phosphene.schemas import AuditFile
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

Array = np.ndarray[Any, Any]
Change = Callable[[Pictures], Pictures]
N_TRAIN, N_TEST = 24, 12


@pytest.fixture(scope="module")
def scenes() -> Pictures:
    return render(sample_scenes(0, N_TRAIN + N_TEST), 64, threads=1).images


def jpeg(picture: Pictures) -> Pictures:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=60)
    return np.asarray(Image.open(buffer).convert("RGB"))


def moved(picture: Pictures) -> Pictures:
    wide = np.asarray(Image.fromarray(picture).resize((90, 90), Image.Resampling.BILINEAR))
    return wide[4:84, 6:86]  # another size, another place, a ninth cut off


def dataset_of(
    root: Path, scenes: Pictures, copies: dict[int, Change], columns: dict[str, Any] | None = None
) -> CanonicalDataset:
    """Scenes of which some test pictures are training pictures, by ``copies``: row to change."""
    folder = root / "pictures"
    for row, picture in enumerate(scenes):
        source = scenes[row - N_TRAIN] if row in copies else picture
        shown = copies[row](source) if row in copies else picture
        write_picture(folder / f"p{row:02d}.png", shown)
    names = [f"p{row:02d}" for row in range(len(scenes))]
    table = pd.DataFrame(
        {
            "stimulus_id": names,
            "split": ["train"] * (N_TRAIN - 4) + ["validation"] * 4 + ["test"] * N_TEST,
            **(columns or {}),
        }
    )
    data = np.random.default_rng(0).normal(size=(len(names), 5)).astype(np.float32)
    recording = Recording(
        data, "fmri", "01", complete_trials(table, len(table)), VoxelSpace.columns(5)
    )
    return write_subject(root / "dataset", recording, folder)


def test_a_clean_dataset_passes(tmp_path: Path, scenes: Pictures) -> None:
    overlap, finding = audit_overlap(dataset_of(tmp_path, scenes, {}))
    assert overlap.shared == ()
    assert (overlap.n_test, overlap.n_training) == (N_TEST, N_TRAIN)
    assert overlap.line == "overlap: 0 of 12 test stimuli also stand in the training set"
    assert finding.verdict == "passed"


@pytest.mark.parametrize(
    ("change", "how"),
    [(lambda p: p, "same pixels"), (jpeg, "near copy"), (moved, "near copy")],
    ids=["exact", "JPEG", "moved"],
)
def test_test_stimuli_that_were_trained_on_are_flagged(
    tmp_path: Path, scenes: Pictures, change: Change, how: str
) -> None:
    rows = [25, 28, 31]
    overlap, finding = audit_overlap(dataset_of(tmp_path, scenes, dict.fromkeys(rows, change)))
    assert [(one.test, one.training, one.how) for one in overlap.shared] == [
        (f"p{row:02d}", f"p{row - N_TRAIN:02d}", how) for row in rows
    ]
    assert overlap.line == "overlap: 3 of 12 test stimuli also stand in the training set"
    assert finding.verdict == "tripped"
    assert finding.details[how] == 3


def test_one_identifier_in_both_splits_is_shared(tmp_path: Path, scenes: Pictures) -> None:
    dataset = dataset_of(tmp_path, scenes, {})
    table = dataset.table.copy()
    table.loc[table["stimulus_id"] == "p03", "split"] = "test"
    twice = pd.concat([table, dataset.table[dataset.table["stimulus_id"] == "p03"]])
    mixed = CanonicalDataset(dataset.root, dataset.file, twice, dataset.stimuli)
    overlap, _ = audit_overlap(mixed)
    assert [(one.test, one.how) for one in overlap.shared] == [("p03", "same identifier")]
    assert overlap.n_test == N_TEST + 1


def test_without_pictures_only_names_are_compared(tmp_path: Path) -> None:
    table = complete_trials(
        pd.DataFrame({"stimulus_id": list("abcb"), "split": ["train", "train", "test", "test"]}), 4
    )
    data = np.zeros((4, 2), dtype=np.float32)
    recording = Recording(data, "fmri", "01", table, VoxelSpace.columns(2))
    overlap, finding = audit_overlap(write_subject(tmp_path / "d", recording, None))
    assert overlap.line == "overlap: 1 of 2 test stimuli also stand in the training set"
    assert "only identifiers" in finding.summary
    none = recording.trials.assign(split="train", trial=range(4))
    other = Recording(data, "fmri", "01", none, VoxelSpace.columns(2))
    overlap, finding = audit_overlap(write_subject(tmp_path / "e", other, None))
    assert overlap.line == "overlap: 0 of 0 test stimuli also stand in the training set"
    assert finding.verdict == "not checked"


def test_embeddings_tell_how_near_the_test_is(tmp_path: Path, scenes: Pictures) -> None:
    dataset = dataset_of(tmp_path, scenes, dict.fromkeys([25, 28], jpeg))
    rng = np.random.default_rng(1)
    embeddings = {f"p{row:02d}": rng.normal(size=16) for row in range(N_TRAIN + N_TEST)}
    overlap, finding = audit_overlap(dataset, embeddings=embeddings)
    assert len(overlap.shared) == 2
    assert finding.details["cosine"]["test_to_training_highest"] < 0.95
    embeddings["p30"] = 3 * embeddings["p07"]
    overlap, _ = audit_overlap(dataset, embeddings=embeddings)
    assert overlap.cosine["test_to_training_highest"] == pytest.approx(1)
    assert len(overlap.shared) == 2  # alike to a target, but not the same picture
    del embeddings["p30"]
    with pytest.raises(InputError, match="1 stimuli have no embedding, 'p30'"):
        audit_overlap(dataset, embeddings=embeddings)


def test_categories_of_test_and_training() -> None:
    table = pd.DataFrame({"split": ["train", "train", "test", "test"]})
    assert audit_categories(table).verdict == "not checked"
    found = audit_categories(table.assign(concept=["a", "b", "b", "c"]))
    assert found.verdict == "noted"
    assert found.details == {"column": "concept", "shared": ["b"], "unseen": ["c"]}
    assert found.summary == "1 of 2 test categories also occur in training, 1 are unseen"


def test_showing_training_pictures_would_do_as_well() -> None:
    rng = np.random.default_rng(2)
    truth, training = rng.normal(size=(10, 50)), rng.normal(size=(30, 50))
    good = truth + 0.3 * rng.normal(size=truth.shape)
    assert nearest_as_close(truth, good, training)[0] == 0
    near = np.concatenate([training, truth[:4] + 0.1 * rng.normal(size=(4, 50))])
    share, nearest = nearest_as_close(truth, good, near)
    assert share == 0.4
    assert (nearest[:4] > 0.98).all()
    assert nearest_as_close(truth, np.zeros_like(truth), training)[0] == 1
    with pytest.raises(InputError):
        nearest_as_close(truth, good[:3], training)


def test_validation_counts_as_training_and_unknown_as_nothing() -> None:
    table = pd.DataFrame(
        {
            "stimulus_id": ["a", "b", "c", "n/a", "n/a"],
            "split": ["train", "validation", "test", "test", "train"],
        }
    )
    assert split_stimuli(table) == (["c"], ["a", "b"])


def test_the_command_ends_with_the_overlap(tmp_path: Path, scenes: Pictures, cli: Any) -> None:
    columns = {"category": ["x", "y"] * 18, "gaze_x": np.linspace(0, 1, 36)}
    dataset_of(tmp_path, scenes, dict.fromkeys([25, 28, 31], jpeg), columns)
    folder, page = tmp_path / "dataset", tmp_path / "audit.json"
    found = cli("evaluate audit", "--dataset", folder, "--target", "pixels:8x1", "--output", page)
    lines = found.succeeds().out.splitlines()
    assert lines[-1] == "overlap: 3 of 12 test stimuli also stand in the training set"
    assert lines[-2] == f"audit: {page}"
    assert any(line.startswith("tripped: overlap: 3 of 12") for line in lines)
    assert any(line.startswith("passed: global signal (subject 01)") for line in lines)
    stored = AuditFile.load(page)
    assert stored.shared == {"p25": "p01", "p28": "p04", "p31": "p07"}
    assert stored.n_shared == 3
    assert {one.name for one in stored.findings} == {
        "overlap", "categories", "sources", "order", "global signal", "gaze",
    }  # fmt: skip


def test_the_command_takes_labels_of_stimuli(tmp_path: Path, scenes: Pictures, cli: Any) -> None:
    dataset_of(tmp_path, scenes, {})
    labels = pd.DataFrame(
        {"stimulus_id": [f"p{row:02d}" for row in range(36)], "main_shape": ["cube", "cone"] * 18}
    )
    labels.to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
    words = ("--dataset", tmp_path / "dataset", "--labels", tmp_path / "labels.tsv")
    found = cli("evaluate audit", *words, "--category", "main_shape").succeeds()
    assert "noted: categories: 2 of 2 test categories" in found.out
    cli("evaluate audit", *words, "--category", "colour").refuses(3, "no column 'colour'")
    labels[1:].to_csv(tmp_path / "labels.tsv", sep="\t", index=False)
    refused = cli("evaluate audit", *words)
    assert refused.code == 3
    assert "no row of 1 stimuli, 'p00'" in refused.err
    assert cli("evaluate audit").code == 2
