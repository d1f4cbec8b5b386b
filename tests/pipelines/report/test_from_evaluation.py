"""The page of an evaluation: everything the file holds, pictures from where they lie."""

from __future__ import annotations

import html
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phosphene.errors import InputError
from phosphene.pipelines.report import markdown_table, read_content, render_content
from phosphene.schemas import EvaluationFile, RepetitionScores, WithinCategory

CORRELATION = "pixcorr/strict-v1"


@pytest.fixture(scope="module")
def evaluated(saved: Path, cli: Any) -> Path:
    folder = saved.parent / "evaluated"
    cli(
        "evaluate", "--predictions", saved, "--metric", CORRELATION, "--metric",
        "mse/unit-range-v1", "--set", "n_permutations=20", "--output", folder,
    ).succeeds()  # fmt: skip
    return folder


@pytest.fixture
def folder(evaluated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(evaluated, tmp_path / "evaluated"))


def changed(folder: Path, **values: Any) -> Path:
    """Write the evaluation again with other values."""
    result = EvaluationFile.load(folder / "evaluation.json")
    result.model_copy(update=values).save(folder / "evaluation.json")
    return folder


def words(page: str) -> str:
    body = re.sub(r"<(style|script)>.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_the_page_holds_what_the_file_holds(folder: Path) -> None:
    result = EvaluationFile.load(folder / "evaluation.json")
    page = render_content(read_content(folder))
    text = words(page)
    for metric in result.metrics:
        assert metric.spec["title"] in text
        assert f"{metric.value:.3f}" in text
        assert metric.permuted.mean is not None
        assert f"{metric.permuted.mean:.3f}" in text
        assert f"{metric.controls['grey_picture']:.3f}" in text
    for control in result.controls:
        if control.reason_absent:
            assert control.reason_absent in text
    assert result.protocol.pictures_hash in text
    assert result.interval_rule in text
    assert page.count("data:image/png") == 9 * 3 + 3 * 2  # the trio stands twice


def test_pictures_are_ranked_by_the_scores_of_the_file(folder: Path) -> None:
    result = EvaluationFile.load(folder / "evaluation.json")
    scores = next(metric.per_item for metric in result.metrics if metric.id == CORRELATION)
    page = render_content(read_content(folder))
    order = [int(item) for item in re.findall(r'<li id="card-(\d+)"', page)]
    assert order == sorted(range(9), key=lambda item: -(scores[item] or 0))


def test_without_stimuli_no_name_and_no_shown_picture(folder: Path) -> None:
    page = render_content(read_content(folder, stimuli=False))
    assert page.count("data:image/png") == 18
    assert "scene-" not in page
    table = markdown_table(read_content(folder, stimuli=False))
    assert "scene-" not in table


def test_curves_categories_ceilings_and_subjects(folder: Path) -> None:
    result = EvaluationFile.load(folder / "evaluation.json")
    within = WithinCategory(value=0.6, interval=(0.5, 0.7), chance=0.5, n_items=9, collapsed=False)
    first = result.metrics[0].model_copy(
        update={"within_category": within, "per_subject": {"01": 0.41, "02": 0.32}}
    )
    points = [
        RepetitionScores(
            n_repetitions=n, n_items=9, values={first.id: 0.1 * n}, intervals={first.id: (0.0, 0.5)}
        )
        for n in (1, 2)
    ]
    changed(
        folder, metrics=[first, *result.metrics[1:]], repetition_curve=points,
        noise_ceiling={first.id: 0.876}, n_seen_in_training=2,
        audit={"line": "overlap: 2 of 9 test stimuli also stand in the training set"},
    )  # fmt: skip
    text = words(render_content(read_content(folder)))
    for part in (
        "Within category", "Noise ceiling 0.876", "1: 0.100, 2: 0.200", "sub-02 0.320",
        "In short 2 of 9 test stimuli also stand in the training set",
        "Careful: 2 of 9 items show pictures that the model was trained on",
    ):  # fmt: skip
        assert part in text


def test_pictures_that_moved_leave_the_numbers(folder: Path) -> None:
    changed(folder, predictions="gone")
    content = read_content(folder)
    text = words(render_content(content))
    assert "The predictions are not found" in text
    assert "0.000" in text
    assert content.truth is None


def test_shown_pictures_that_changed_are_refused(folder: Path, saved: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(saved, tmp_path / "out"))
    changed(folder, predictions=str(moved))
    shown = sorted((moved / "stimuli").glob("*.png"))[3]
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(shown)
    with pytest.raises(InputError, match="is not the one that was scored"):
        render_content(read_content(folder))


def test_damaged_and_other_folders_are_told(folder: Path, tmp_path: Path) -> None:
    (folder / "evaluation.json").write_text("{}")
    with pytest.raises(InputError, match="evaluation file"):
        read_content(folder)
    with pytest.raises(InputError, match="not a finished output folder"):
        read_content(tmp_path)
