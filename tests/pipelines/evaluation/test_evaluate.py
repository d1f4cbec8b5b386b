"""Several subjects, and that nothing depends on how files are listed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene.pipelines.evaluation.evaluate import EvaluateConfig, evaluate
from phosphene.schemas import EvaluationFile

PIXCORR, TWO_WAY = "pixcorr/strict-v1", "two-way-pixels/strict-v1"
N = 6


def draw(root: Path) -> None:
    """Write shown pictures and predictions of two subjects: one perfect, one of noise."""
    rng = np.random.default_rng(0)
    rows = []
    (root / "shown").mkdir()
    for number in range(N):
        shown = rng.integers(0, 256, size=(10, 10, 3), dtype=np.uint8)
        Image.fromarray(shown).save(root / "shown" / f"s{number}.png")
        noise = rng.integers(0, 256, size=shown.shape, dtype=np.uint8)
        for subject, pixels in (("01", shown), ("02", noise)):
            file = f"sub-{subject}/sub-{subject}_item-{number}.png"
            (root / "made" / file).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(root / "made" / file)
            item = number + N * int(subject == "02")
            rows.append({"item": item, "sample": 0, "stimulus_id": f"s{number}", "file": file})
    pd.DataFrame(rows).to_csv(root / "made" / "trials.tsv", sep="\t", index=False)


def run(root: Path, output: str) -> EvaluationFile:
    config = EvaluateConfig(
        predictions=str(root / "made"), truth=str(root / "shown"), output=str(root / output),
        metrics=(PIXCORR, TWO_WAY), n_permutations=100,
    )  # fmt: skip
    return evaluate(config)[1]


def test_subjects_are_scored_alone_and_count_the_same(tmp_path: Path) -> None:
    draw(tmp_path)
    result = run(tmp_path, "out")
    assert result.protocol.subjects == ["01", "02"]
    assert result.protocol.n_items == 2 * N
    assert result.protocol.n_pictures == N
    for metric in result.metrics:
        assert metric.per_subject["01"] == pytest.approx(1.0)
        assert metric.value == pytest.approx(np.mean(list(metric.per_subject.values())))
        assert metric.permuted.rule.endswith("each subject alone")
        own = [row for row, item in enumerate(result.items) if item.subject == "02"]
        scores = [metric.per_item[row] for row in own]
        assert metric.per_subject["02"] == pytest.approx(np.mean(scores))
        others = metric.across_subjects
        assert others.n_subjects == 2
        assert others.value == pytest.approx(metric.value)
        assert others.interval[0] < metric.interval[0]  # two people tell little about a third
        assert others.p_value > 0.05
        # Two metrics were tested: the smaller p counts twice, the larger one at least as much.
        assert metric.permuted.p_holm >= metric.permuted.p_value
    smallest = min(result.metrics, key=lambda metric: metric.permuted.p_value)
    assert smallest.permuted.p_holm == pytest.approx(2 * smallest.permuted.p_value)
    present = {one.name for one in result.controls if not one.reason_absent}
    assert "across_subjects" in present
    # A pool of both subjects' items would hold every picture twice.
    two_way = next(metric for metric in result.metrics if metric.id == TWO_WAY)
    assert {round(score * (N - 1), 6) % 1 for score in two_way.per_item if score} == {0.0}


def test_listing_order_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path)
    (tmp_path / "made" / "trials.tsv").unlink()
    for path in list((tmp_path / "made").rglob("*.png")):
        if "sub-01" in path.name:
            path.unlink()
        else:
            path.rename(tmp_path / "made" / f"s{path.stem[-1]}.png")
    plain = run(tmp_path, "plain")
    listed = Path.rglob

    def shuffled(self: Path, pattern: str) -> Iterator[Path]:
        found = sorted(listed(self, pattern))
        random.Random(self.name).shuffle(found)
        return iter(found)

    monkeypatch.setattr(Path, "rglob", shuffled)
    mixed = run(tmp_path, "mixed")
    assert mixed.metrics == plain.metrics
    assert mixed.items == plain.items
