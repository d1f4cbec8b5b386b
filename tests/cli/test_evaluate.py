"""``phosphene evaluate`` from folders and from end to end, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene.pipelines.evaluation.results import load_evaluation

N = 10
QUICK = "pixcorr/strict-v1"


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Shown pictures, and noisy copies of them as predictions."""
    rng = np.random.default_rng(4)
    for name in ("shown", "made"):
        (tmp_path / name).mkdir()
    for number in range(N):
        shown = rng.integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
        made = (shown / 2 + rng.integers(0, 128, size=shown.shape)).astype(np.uint8)
        Image.fromarray(shown).save(tmp_path / "shown" / f"scene-{number}.png")
        Image.fromarray(made).save(tmp_path / "made" / f"scene-{number}.png")
    return tmp_path / "made", tmp_path / "shown"


def values(folder: Path) -> dict[str, float]:
    return {metric.id: metric.value for metric in load_evaluation(folder).metrics}


def test_a_folder_of_any_program(folders: tuple[Path, Path], tmp_path: Path, cli: Any) -> None:
    made, shown = folders
    done = cli(
        "evaluate", "--predictions", made, "--truth", shown, "--suite", "quick",
        "--output", tmp_path / "out",
    ).succeeds()  # fmt: skip
    assert done.out.strip().splitlines()[-1] == f"evaluation: {tmp_path / 'out/evaluation.json'}"
    result = load_evaluation(tmp_path / "out")
    assert [item.key for item in result.items] == [f"scene-{number}" for number in range(N)]
    for metric in result.metrics:
        assert metric.controls["grey_picture"] is not None
        assert metric.permuted.p_value is not None
        assert metric.permuted.p_value < 0.02
        assert metric.spec["id"] == metric.id
        assert len(metric.per_item) == N
    assert {control.name for control in result.controls if not control.reason_absent} >= {
        "grey_picture", "permuted",
    }  # fmt: skip
    table = pd.read_csv(tmp_path / "out/metrics.tsv", sep="\t")
    assert list(table)[:7] == [
        "metric", "value", "low", "high", "chance", "mean_picture", "n_items",
    ]  # fmt: skip
    items = pd.read_csv(tmp_path / "out/items.tsv", sep="\t")
    assert items[QUICK].mean() == pytest.approx(values(tmp_path / "out")[QUICK], abs=1e-5)


def test_end_to_end(dataset: Path, model: Path, tmp_path: Path, cli: Any) -> None:
    done = cli(
        "evaluate", "--model", model, "--dataset", dataset, "--output", tmp_path / "out"
    ).succeeds()
    result = load_evaluation(tmp_path / "out")
    assert result.protocol.subjects == ["01"]
    assert done.out
    metric = next(metric for metric in result.metrics if metric.id == QUICK)
    assert metric.value > 0.999
    print(json.dumps(metric.controls), result.repetition_curve, result.noise_ceiling)
    print(result.controls)
