"""Results to report on: made of a planted truth, and large ones made of nothing but noise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from phosphene import Reconstruction
from phosphene.pipelines.scores import score_pictures
from phosphene.schemas import Protocol, RunFile

Array = np.ndarray[Any, Any]
Make = Callable[..., Reconstruction]

PROTOCOL = Protocol(
    dataset="made-up", dataset_hash="0" * 16, subjects=["01"], mask="12 columns, 12 used",
    normalisation="z-score", normalisation_fitted_on="training trials",
    averaging_train="single trials", averaging_test="single trials", n_train_trials={"01": 90},
    train_stimulus_ids=[f"train-{row}" for row in range(30)], train_picture_hashes=[],
    validation_rule="pictures left out", selection_rule="left-out error",
)  # fmt: skip


def run_file(n_items: int, n_samples: int, **changes: Any) -> RunFile:
    values: dict[str, Any] = {
        "command": "reconstruct",
        "config": {
            "subject": "01",
            "seed": 0,
            "generator": "none",
            "truth": "/archive/lab/secret-pictures",
        },
        "model": "made-up-model",
        "model_hash": "1" * 16,
        "input_hash": "2" * 16,
        "n_items": n_items,
        "n_samples": n_samples,
        "versions": {"python": "3.11"},
        "started": "2026-01-01T00:00:00+00:00",
        "protocol": PROTOCOL,
    }  # fmt: skip
    return RunFile.model_validate(values | changes)


@pytest.fixture(scope="session")
def make() -> Make:
    """Make a result whose decoded pictures are shown ones with more and more noise."""

    def result(
        n_items: int = 8, n_samples: int = 1, side: int = 12, *, truth: bool = True,
        scored: bool = True, names: list[str] | None = None, seed: int = 0, **run: Any,
    ) -> Reconstruction:  # fmt: skip
        rng = np.random.default_rng(seed)
        shown = rng.integers(0, 256, (n_items, side, side, 3), dtype=np.uint8)
        levels = np.linspace(0, 300, n_items).reshape(-1, 1, 1, 1, 1)
        noise = rng.normal(size=(n_items, n_samples, side, side, 3)) * levels
        images = np.clip(shown[:, None] + noise, 0, 255).astype(np.uint8)
        metrics = None
        if truth and scored:
            metrics = score_pictures(images, shown, PROTOCOL, mean_picture=shown[0])
        return Reconstruction(
            images=images,
            embeddings={"pooled": np.zeros((n_items, 2), dtype=np.float32)},
            trials=pd.DataFrame(
                {
                    "stimulus_id": names or [f"scene-{row:03d}" for row in range(n_items)],
                    "source_trials": "ses-01_run-01_trial-000000",
                }
            ),
            provenance=run_file(n_items, n_samples, **run),
            seeds=np.zeros((n_items, n_samples), dtype=np.int64),
            truth=shown if truth else None,
            metrics=metrics,
        )

    return result


@pytest.fixture(scope="session")
def saved(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(9, 2).save(tmp_path_factory.mktemp("saved") / "out")
