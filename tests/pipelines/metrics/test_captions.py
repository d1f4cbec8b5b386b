from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest

from phosphene.data.scenes import captions, sample_scenes
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.pipelines.metrics.caption_meaning import (
    SentenceEncoder,
    caption_identification,
    caption_retrieval,
    missing_minilm,
    sentence_similarity,
)
from phosphene.pipelines.metrics.captions import (
    bleu,
    bleu_from_statistics,
    bleu_statistics,
    caption_words,
    coco_scores,
    missing_java,
    rouge,
)
from phosphene.pipelines.metrics.specs import create_metric, list_metrics

Array = np.ndarray[Any, Any]

FOUND = [
    "A puppy is running in a field.",
    "a red bus on a street",
    "Two men ride horses along the beach at sunset",
    "the cat sat on the mat near the door",
    "nothing at all",
]
KNOWN = [
    ["A dog runs on grass.", "a small dog is running through a green field"],
    ["A red bus on a street"],
    ["two people riding horses on a beach", "Two men on horses ride along a beach at sunset."],
    ["a cat on the mat", "there is a cat lying on the mat near a door"],
    ["A bowl of soup on a wooden table", "soup"],
]
needs_minilm = pytest.mark.skipif(missing_minilm() is not None, reason=str(missing_minilm()))


def names(n: int) -> list[str]:
    return [f"item-{row}" for row in range(n)]


def test_words() -> None:
    assert caption_words("  A man's T-shirt, (blue) – 3 cats!  ") == [
        "a", "man's", "t-shirt", "blue", "3", "cats",
    ]  # fmt: skip
    assert caption_words("Größe_eins -- 'quoted'") == ["größe", "eins", "quoted"]
    assert caption_words("...") == []


def test_bleu_of_a_known_sentence() -> None:
    """Papineni et al. 2002, example 2: seven times "the" matches twice."""
    many = bleu_statistics(["the the the the the the the"], [["the cat is on the mat"]])
    assert many[0, :4].tolist() == [2, 0, 0, 0]
    assert many[0, 4:8].tolist() == [7, 6, 5, 4]
    assert bleu_from_statistics(many, 1) == pytest.approx(2 / 7)
    # Shorter than its reference: exp(1 - 6 / 2) times a precision of one.
    assert bleu(["the cat"], ["the cat is on the mat"], order=2) == pytest.approx(np.exp(-2))


def test_bleu_is_that_of_two_other_libraries() -> None:
    from torchmetrics.functional.text import bleu_score

    scorer = pytest.importorskip("pycocoevalcap.bleu.bleu").Bleu(4)
    found = [" ".join(caption_words(text)) for text in FOUND]
    known = [[" ".join(caption_words(text)) for text in few] for few in KNOWN]
    coco, _ = scorer.compute_score(dict(enumerate(known)), {k: [v] for k, v in enumerate(found)})
    for order in range(1, 5):
        ours = bleu(FOUND, KNOWN, order=order)
        assert ours == pytest.approx(float(bleu_score(found, known, n_gram=order)), abs=1e-6)
        assert ours == pytest.approx(coco[order - 1], abs=1e-6)
    assert 0 < bleu(FOUND, KNOWN) < bleu(FOUND, KNOWN, order=1) < 1


def test_the_order_of_references_changes_nothing() -> None:
    """Of two lengths that are as near, the shorter counts, wherever it stands."""
    references = ["one two three four", "one two"]
    for few in (references, references[::-1]):
        assert bleu_statistics(["one two three"], [few])[0, 9] == 2
    turned = [few[::-1] for few in KNOWN]
    np.testing.assert_array_equal(bleu_statistics(FOUND, KNOWN), bleu_statistics(FOUND, turned))
    np.testing.assert_array_equal(rouge(FOUND, KNOWN), rouge(FOUND, turned))


def test_rouge_l_by_hand() -> None:
    """Lin 2004, section 3: S1 "police killed the gunman" beside S2 and S3."""
    truth = ["police killed the gunman"] * 2
    found = rouge(["police kill the gunman", "the gunman kill police"], truth)
    np.testing.assert_allclose(found, [3 / 4, 2 / 4], atol=1e-6)
    one = rouge(["the gunman kill police"], truth[:1], key="rouge1")
    np.testing.assert_allclose(one, [3 / 4], atol=1e-6)


def test_rouge_of_coco_joins_two_references() -> None:
    """Precision of the first reference and recall of the second: more than either has."""
    pytest.importorskip("pycocoevalcap")
    caption, few = "a b c d", ["a b c d e f g h", "a b"]
    joined = coco_scores([caption], [few], scorer="rouge")[0]
    apart = [coco_scores([caption], [[one]], scorer="rouge")[0] for one in few]
    assert joined == pytest.approx(1)
    assert max(apart) < 0.8
    assert rouge([caption], [few])[0] == pytest.approx(2 / 3, abs=1e-6)


def test_cider_by_hand() -> None:
    """Two captions without a word in common, each equal to its reference: 10 is the largest."""
    pytest.importorskip("pycocoevalcap")
    texts = ["a red bus here", "two old dogs sleep"]
    np.testing.assert_allclose(coco_scores(texts, texts, scorer="cider"), 10)
    np.testing.assert_allclose(coco_scores(texts[::-1], texts, scorer="cider"), 0, atol=1e-12)
    # One word of four shared, nothing longer: cosine 1/4 for words, 0 for the rest, times 10 / 4.
    mixed = ["red x y z", "two old dogs sleep"]
    found = coco_scores(mixed, texts, scorer="cider")
    assert found[0] == pytest.approx(10 / 4 / 4)
    # Alone, every n-gram is in every reference and weighs nothing: the quirk of the definition.
    assert coco_scores(texts[:1], texts[:1], scorer="cider").tolist() == [0.0]
    assert next(spec.transductive for spec in list_metrics("cider/*"))


@pytest.mark.slow
@pytest.mark.skipif(missing_java() is not None, reason=str(missing_java()))
def test_meteor_runs_offline() -> None:
    """METEOR 1.5: identity is 1, a caption without any word 0, synonyms count a little."""
    pytest.importorskip("pycocoevalcap")
    found = ["a dog runs on grass", "a puppy is running in a field", "", "a red ||| bus\n"]
    known = ["a dog runs on grass"] * 3 + ["a red bus"]
    metric = create_metric("meteor/coco-v1")
    metric.update(found, known, names(4))
    scores = metric.compute().scores
    np.testing.assert_allclose(scores[[0, 2, 3]], [1, 0, 1], atol=1e-9)
    assert 0.02 < scores[1] < 0.3


def test_what_is_absent_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons = {spec.id: spec.availability() for spec in list_metrics("*") if spec.kind == "caption"}
    assert "Stanford" in str(reasons["spice/coco-v1"])
    assert "WordNet" in str(reasons["meteor/mindeye2"])
    for name in ("spice/coco-v1", "meteor/mindeye2"):
        with pytest.raises(AssetError, match="cannot run here"):
            create_metric(name)
        with pytest.raises(AssetError, match="cannot run here"):
            create_metric(name, weights_folder="anywhere")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "there is no java" in str(missing_java())
    pytest.importorskip("pycocoevalcap")
    with pytest.raises(AssetError, match="METEOR"):
        coco_scores(FOUND, KNOWN, scorer="meteor")


@needs_minilm
def test_meaning_beyond_words() -> None:
    close, far = "a puppy plays on the lawn", "a ceramic bowl of soup"
    truth = ["a young dog running around in the garden"] * 2
    similarity = sentence_similarity([close, far], truth)
    assert similarity[0] > 0.4 > 0.2 > similarity[1]
    assert sentence_similarity(truth, truth) == pytest.approx([1, 1], abs=1e-12)
    several = sentence_similarity([close], [[truth[0], far]])
    each = [sentence_similarity([close], [one])[0] for one in (truth[0], far)]
    assert several[0] == pytest.approx(np.mean(each), abs=1e-6)


@needs_minilm
def test_embeddings_are_those_of_transformers() -> None:
    """Mean over tokens, then unit length, computed with transformers alone."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from phosphene.pipelines.metrics.caption_meaning import minilm_folder

    tokens = AutoTokenizer.from_pretrained(minilm_folder())(
        FOUND, padding=True, return_tensors="pt"
    )
    model = AutoModel.from_pretrained(minilm_folder(), use_safetensors=True).eval()
    with torch.no_grad():
        last = model(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    mean = (last * mask).sum(1) / mask.sum(1)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()
    np.testing.assert_allclose(SentenceEncoder().encode(FOUND), expected, atol=1e-5)


@needs_minilm
def test_the_true_caption_is_found_among_all() -> None:
    scenes = sample_scenes(0, 12, seed=3)
    written = [captions(scene, 4, seed=1) for scene in scenes]
    found, known = [few[0] for few in written], [few[1:] for few in written]
    result = caption_retrieval(found, known)
    assert result.top_k(1).mean() > 0.8
    assert result.chance() == pytest.approx(1 / 12)
    shuffled = caption_retrieval(found[1:] + found[:1], known)
    assert shuffled.mean_rank > 3
    one_for_all = caption_retrieval([found[0]] * 12, known)
    assert one_for_all.top_k(1).mean() == pytest.approx(1 / 12)
    told = caption_identification([found[0]] * 12, known)
    assert told.mean == pytest.approx(0.5)
    assert told.collapsed
    assert caption_identification(found, known, ways=5).mean > 0.9


@pytest.mark.parametrize(
    "name",
    [
        "bleu-1/strict-v1", "bleu-4/strict-v1", "rouge-1/strict-v1", "rouge-l/strict-v1",
        "rouge-l/coco", "cider/coco-v1", "sentence-similarity/minilm-v1",
        "caption-retrieval/minilm-v1", "caption-identification/minilm-v1",
    ],
)  # fmt: skip
def test_batches_and_their_order_change_nothing(name: str) -> None:
    if (reason := next(iter(list_metrics(name))).availability()) is not None:
        pytest.skip(reason)
    whole, parts = create_metric(name), create_metric(name)
    whole.update(FOUND, KNOWN, names(5))
    for rows in ([4], [1, 3], [], [2, 0, 1]):
        parts.update(*([text[row] for row in rows] for text in (FOUND, KNOWN)),
                     [names(5)[row] for row in rows])  # fmt: skip
    one, two = whole.compute(), parts.compute()
    assert one.items == two.items == tuple(names(5))
    assert one.value == two.value
    assert one.details == two.details
    np.testing.assert_array_equal(np.array(one.scores), np.array(two.scores))
    low, high = whole.spec.value_range
    assert low <= one.value <= high
    if one.scores is None:  # of the set alone, with an interval of its own
        assert one.details["low"] <= one.value <= one.details["high"]
        assert one.value == bleu(FOUND, KNOWN, order=int(name[5]))
    else:
        assert one.value == pytest.approx(one.scores.mean())


def test_metrics_with_few_items() -> None:
    for spec in list_metrics("caption-*/minilm-v1"):
        if spec.availability() is None:
            metric = create_metric(spec.id)
            metric.update(FOUND[:1], KNOWN[:1], ["only"])
            outcome = metric.compute()
            assert outcome.value is None
            assert outcome.note == "a single caption"
    metric = create_metric("bleu-4/strict-v1")
    metric.update([""], ["a red bus"], ["only"])
    assert metric.compute().value == 0


def test_what_cannot_be_scored(tmp_path: Any) -> None:
    for found, known in ((FOUND, KNOWN[:4]), ("a text", ["a text"]), (["a text"], "a text")):
        with pytest.raises(InputError):
            bleu(found, known)
    with pytest.raises(InputError, match="no text"):
        rouge(["a", 7], ["a", "b"])  # type: ignore[list-item]
    with pytest.raises(InputError, match="caption 1 has no reference"):
        rouge(["a", "b"], [["a"], ["", "!"]])
    with pytest.raises(UsageError, match="`order` is 5"):
        bleu(FOUND, KNOWN, order=5)
    with pytest.raises(UsageError, match="did you mean 'cider'"):
        coco_scores(FOUND, KNOWN, scorer="cidr")  # type: ignore[arg-type]
    if next(iter(list_metrics("sentence-similarity/*"))).availability() is None:
        with pytest.raises(AssetError, match="sha256"):
            create_metric("sentence-similarity/minilm-v1", weights_folder=str(tmp_path))
        with pytest.raises(AssetError, match="no network of sentence-transformers"):
            SentenceEncoder(tmp_path)
