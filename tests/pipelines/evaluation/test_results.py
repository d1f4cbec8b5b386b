from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from phosphene.errors import InputError
from phosphene.pipelines.evaluation.results import load_evaluation, write_evaluation
from phosphene.schemas import AbsentMetric, EvaluationFile
from phosphene.storage import read_json, write_json

PIXCORR, MSE = "pixcorr/strict-v1", "mse/unit-range-v1"


@pytest.fixture
def written(tmp_path: Path, make_result: Any) -> Path:
    result = make_result(
        "a",
        ["x", "y"],
        {PIXCORR: [0.5, 0.25], MSE: [1 / 3, 2.0]},
        absent=[AbsentMetric(id="clip/strict-v1", reason="its weights\nare not here")],
    )
    return write_evaluation(tmp_path / "out", result).parent


def test_what_is_written_is_read_back(written: Path) -> None:
    result = load_evaluation(written)
    assert result == load_evaluation(written / "evaluation.json")
    assert [metric.id for metric in result.metrics] == [PIXCORR, MSE]
    assert result.metrics[1].per_item == [1 / 3, 2.0]


def test_the_tables(written: Path) -> None:
    rows = [line.split("\t") for line in (written / "metrics.tsv").read_text().splitlines()]
    assert rows[0][:7] == ["metric", "value", "low", "high", "chance", "mean_picture", "n_items"]
    assert rows[1][:7] == [PIXCORR, "0.375", "0.25", "0.5", "0.5", "0.2", "2"]
    assert dict(zip(rows[0], rows[2], strict=True))["better"] == "lower"
    assert rows[3][0] == "clip/strict-v1"
    assert rows[3][-1] == "absent: its weights are not here"
    assert {len(row) for row in rows} == {len(rows[0])}
    items = [line.split("\t") for line in (written / "items.tsv").read_text().splitlines()]
    assert items == [
        ["item", "picture", "subject", "category", PIXCORR, MSE],
        ["x 0", "x", "n/a", "n/a", "0.5", "0.333333"],
        ["y 1", "y", "n/a", "n/a", "0.25", "2"],
    ]


def test_a_folder_without_a_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no evaluation\.json"):
        load_evaluation(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"extra": 1}, "extra: extra inputs are not permitted"),
        ({"schema_version": 2}, "version 2 of the evaluation schema"),
        ({"items": []}, "2 scores per item"),
    ],
)
def test_what_is_not_the_schema_is_refused(
    written: Path, change: dict[str, Any], words: str
) -> None:
    path = written / "evaluation.json"
    write_json(path, read_json(path) | change)
    with pytest.raises(InputError, match=words):
        EvaluationFile.load(path)


def test_a_number_without_the_grey_picture_is_refused(written: Path) -> None:
    path = written / "evaluation.json"
    content = read_json(path)
    del content["metrics"][0]["controls"]["grey_picture"]
    write_json(path, content)
    with pytest.raises(InputError, match="pixcorr/strict-v1 stands without the grey picture"):
        EvaluationFile.load(path)
