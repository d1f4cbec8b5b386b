"""Captions in tables: matched by identifier, never alone, told apart within categories."""

from __future__ import annotations

from pathlib import Path

import pytest

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.captions import GREY, read_captions, score_captions
from phosphene.pipelines.evaluation.evaluate import EvaluateConfig, evaluate
from phosphene.pipelines.metrics.captions import bleu, rouge
from phosphene.pipelines.metrics.specs import METRICS
from phosphene.schemas import EvaluationFile

BLEU, ROUGE = "bleu-1/strict-v1", "rouge-l/strict-v1"
SIMILARITY, TWO_WAY = "sentence-similarity/minilm-v1", "caption-identification/minilm-v1"
TRUTH = {
    "a": ["a red cube on grass", "a cube that is red"],
    "b": ["a blue sphere on sand", "one blue ball"],
    "c": ["a dog runs along a beach", "a dog at the sea"],
    "d": ["a dog sleeps on a sofa", "a sleepy dog on a couch"],
}
MADE = {name: texts[0] for name, texts in TRUTH.items()}
KINDS = {"a": "thing", "b": "thing", "c": "being", "d": "being"}


def write(path: Path, rows: list[tuple[str, str]], column: str = "caption") -> Path:
    lines = [f"stimulus_id\t{column}", *(f"{name}\t{text}" for name, text in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def run(
    root: Path, made: dict[str, str], *, category: bool = False, **more: object
) -> EvaluationFile:
    truth = [(f"{name}.png", text) for name, texts in TRUTH.items() for text in texts]
    config = EvaluateConfig(
        predictions=str(write(root / "made.tsv", sorted(made.items(), reverse=True))),
        truth=str(write(root / "truth.tsv", truth, "said")),
        output=str(root / "out"),
        category=str(write(root / "kinds.tsv", list(KINDS.items()), "category"))
        if category
        else None,
        **{"metrics": (BLEU, ROUGE), "n_permutations": 60} | more,
    )
    return evaluate(config)[1]


def test_tables_are_matched_by_identifier(tmp_path: Path) -> None:
    result = run(tmp_path, MADE)
    assert [item.key for item in result.items] == list("abcd")
    assert result.protocol.size_rule == "captions beside 2 true ones each"
    for metric in result.metrics:
        assert metric.value == pytest.approx(1.0)
        assert metric.controls["grey_picture"] < 0.4
        assert metric.permuted.mean < 0.8
        assert metric.permuted.p_value < 0.2  # of 24 pairings
        assert metric.permuted.p_holm >= metric.permuted.p_value
    assert result.metrics[1].per_item == pytest.approx([1.0] * 4)
    reasons = {one.name: one.reason_absent for one in result.controls}
    assert "--category" in reasons["within_category"]
    assert reasons["grey_picture"] == ""


def test_scores_are_those_of_the_functions(tmp_path: Path) -> None:
    made = MADE | {"a": "a green cube", "c": "a cat sleeps"}
    result = run(tmp_path, made)
    predicted, truth = [made[name] for name in "abcd"], [TRUTH[name] for name in "abcd"]
    found = {metric.id: metric for metric in result.metrics}
    assert found[BLEU].value == pytest.approx(bleu(predicted, truth, order=1))
    assert found[ROUGE].per_item == pytest.approx(rouge(predicted, truth, key="rougeL").tolist())
    grey = rouge([GREY] * 4, truth, key="rougeL").mean()
    assert found[ROUGE].controls["grey_picture"] == pytest.approx(grey)


def test_what_cannot_be_matched_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 of 4 shown pictures of truth have no prediction, 'b'"):
        run(tmp_path, {name: text for name, text in MADE.items() if name != "b"})
    with pytest.raises(InputError, match="does not hold, 'x' for example"):
        run(tmp_path, MADE | {"x": "a stranger"})
    with pytest.raises(UsageError, match="captions together with metrics of pictures"):
        run(tmp_path, MADE, metrics=(BLEU, "pixcorr/strict-v1"))
    twice = write(tmp_path / "twice.tsv", [*MADE.items(), ("a", "again")])
    config = EvaluateConfig(
        predictions=str(twice), truth=str(tmp_path / "truth.tsv"), output=str(tmp_path / "two"),
        suite="captions",
    )  # fmt: skip
    with pytest.raises(InputError, match="2 captions of 'a'"):
        evaluate(config)
    with pytest.raises(InputError, match="no caption for 'a'"):
        read_captions(write(tmp_path / "empty.tsv", [("a", "n/a")]))


@pytest.mark.slow
def test_the_right_category_alone_is_told_apart(tmp_path: Path) -> None:
    if reason := METRICS[TWO_WAY].spec.availability():
        pytest.skip(reason)
    swapped = {"a": MADE["b"], "b": MADE["a"], "c": MADE["d"], "d": MADE["c"]}
    for made, within in ((MADE, 1.0), (swapped, 0.0)):
        folder = tmp_path / str(within)
        folder.mkdir()
        result = run(folder, made, category=True, metrics=(TWO_WAY, SIMILARITY))
        found = {metric.id: metric for metric in result.metrics}
        assert found[TWO_WAY].within_category.value == within
        assert found[SIMILARITY].within_category is None  # it identifies nothing
        assert found[TWO_WAY].controls["grey_picture"] == pytest.approx(0.5)
        assert found[TWO_WAY].collapsed is False
    assert found[TWO_WAY].value > 0.5  # the category is right
    direct, absent = score_captions(
        [SIMILARITY], [MADE[name] for name in "abcd"], [TRUTH[name] for name in "abcd"]
    )
    assert not absent
    assert direct[0].value > 0.7
