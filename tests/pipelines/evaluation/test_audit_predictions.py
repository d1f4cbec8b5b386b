"""Outputs are audited beside their dataset: nearer than training pictures, not collapsed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.audit import audit_dataset, target_embeddings
from phosphene.pipelines.evaluation.audit_predictions import audit_predictions
from phosphene.pipelines.reconstruction import Reconstruction
from phosphene.pipelines.reconstructor import Reconstructor


@pytest.fixture(scope="module")
def opened(dataset: Path) -> CanonicalDataset:
    return CanonicalDataset.open(dataset)


@pytest.fixture(scope="module")
def result(opened: CanonicalDataset, model: Path) -> Reconstruction:
    test = opened.recording("01", ["test"])
    loaded = Reconstructor.from_pretrained(str(model))
    return loaded.reconstruct(test, subject="01", average="stimulus")


def test_a_good_decoder_is_nearer_than_training(
    opened: CanonicalDataset, result: Reconstruction
) -> None:
    true = target_embeddings(opened, "pixels:8x1")
    nearest, collapse = audit_predictions(opened, result, embeddings=true)
    assert nearest.verdict == "noted"
    assert nearest.details["share"] == 0
    assert collapse.verdict == "passed"
    kinds = opened.table.assign(
        category=np.where(opened.table["stimulus_id"] < "scene-088", "seen", "unseen")
    )
    _, collapse = audit_predictions(opened, result, table=kinds, embeddings=true)
    assert collapse.details["identification_unseen"] == 1.0
    whole = audit_dataset(opened, embeddings=true, result=result)
    assert {"nearest training", "collapse"} <= {one.name for one in whole.findings}


def test_a_decoder_that_makes_one_picture_trips_both(
    opened: CanonicalDataset, result: Reconstruction
) -> None:
    true = target_embeddings(opened, "pixels:8x1")
    same = Reconstruction(
        images=np.broadcast_to(result.images[:1] // 2 + 60, result.images.shape),
        embeddings={name: np.repeat(one[:1], 9, 0) for name, one in result.embeddings.items()},
        trials=result.trials,
        provenance=result.provenance,
        seeds=result.seeds,
    )
    nearest, collapse = audit_predictions(opened, same, embeddings=true)
    assert nearest.verdict == "tripped"
    assert collapse.verdict == "tripped"


def test_what_cannot_be_audited(opened: CanonicalDataset, result: Reconstruction) -> None:
    _, collapse = audit_predictions(opened, result)
    assert collapse.verdict == "not checked"
    _, collapse = audit_predictions(
        opened, result, embeddings=target_embeddings(opened, "pixels:4x1")
    )
    assert collapse.verdict == "not checked"
    other = Reconstruction(
        images=result.images,
        embeddings=result.embeddings,
        trials=result.trials.assign(stimulus_id="elsewhere"),
        provenance=result.provenance,
        seeds=result.seeds,
    )
    with pytest.raises(InputError, match="9 of 9 reconstructed items"):
        audit_predictions(opened, other)


def test_the_command_takes_an_output_folder(
    dataset: Path, result: Reconstruction, tmp_path: Path, cli: Any
) -> None:
    result.save(tmp_path / "out")
    found = cli(
        "evaluate audit", "--dataset", dataset, "--predictions", tmp_path / "out", "--target",
        "pixels:8x1",
    ).succeeds()  # fmt: skip
    assert "noted: nearest training: for 0.00 of 9 items" in found.out
    assert "passed: collapse" in found.out
    last = "overlap: 0 of 9 test stimuli also stand in the training set"
    assert found.out.splitlines()[-1] == last
