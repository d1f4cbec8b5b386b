from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics.retrieval import RetrievalHitRate

from phosphene.errors import UsageError
from phosphene.pipelines.metrics import brain_to_image_retrieval, image_to_brain_retrieval
from phosphene.pipelines.metrics.retrieval import csls_similarity
from phosphene.pipelines.metrics.specs import METRICS, create_metric, list_metrics

Array = np.ndarray[Any, Any]
DIRECTIONS = ("brain-to-image-top1", "image-to-brain-rank")


def names(n: int) -> list[str]:
    return [f"item-{number:03d}" for number in range(n)]


def outcome(metric: str, predicted: Array, truth: Array, **more: Any) -> Any:
    measure = create_metric(metric)
    measure.update(predicted, truth, names(len(truth)), **more)
    return measure.compute()


@pytest.fixture
def truth() -> Array:
    return np.random.default_rng(5).normal(size=(12, 4, 5)).astype(np.float32)


@pytest.fixture
def noisy(truth: Array) -> Array:
    noise = np.random.default_rng(6).normal(size=truth.shape)
    return (truth + 2.5 * noise).astype(np.float32)


def test_the_directions_are_named() -> None:
    """Pictures are axes, so the cosines are the numbers: rows are brains, columns pictures.

    Brain 0 finds picture 1 (.8), brain 1 picture 2 (.96), brain 2 picture 2: one of three.
    Picture 0 is nearest to brain 0 (.6), picture 1 to brain 0 (.8), picture 2 to brain 2: two.
    """
    truth = np.eye(3)
    predicted = np.array([[0.6, 0.8, 0], [0.28, 0, 0.96], [0, 0, 1]])
    brain = outcome("brain-to-image-top1/strict-v1", predicted, truth)
    image = outcome("image-to-brain-top1/strict-v1", predicted, truth)
    assert brain.scores.tolist() == [0, 0, 1]
    assert image.scores.tolist() == [1, 0, 1]
    assert brain.chance == image.chance == pytest.approx(1 / 3)
    assert outcome("brain-to-image-rank/strict-v1", predicted, truth).scores.tolist() == [2, 3, 1]
    for spec in list_metrics("*/*"):
        if spec.kind == "retrieval" and spec.id.endswith("strict-v1"):
            side = spec.id.partition("-top")[0].partition("-rank")[0]
            assert spec.direction.startswith(
                {"brain-to-image": "each predicted", "image-to-brain": "each true"}[side]
            )


def test_top_k_is_the_hit_rate_of_torchmetrics(truth: Array, noisy: Array) -> None:
    a, b = (x.reshape(12, -1) / np.linalg.norm(x.reshape(12, -1), axis=1, keepdims=True)
            for x in (noisy, truth))  # fmt: skip
    for name, similarity in (("brain-to-image", a @ b.T), ("image-to-brain", b @ a.T)):
        for k in (1, 5):
            found = outcome(f"{name}-top{k}/strict-v1", noisy, truth)
            reference = RetrievalHitRate(top_k=k)(
                torch.tensor(similarity).flatten(),
                torch.eye(12, dtype=torch.bool).flatten(),
                indexes=torch.arange(12).repeat_interleave(12),
            )
            assert found.value == pytest.approx(float(reference))
            assert found.chance == pytest.approx(k / 12)


def test_a_smaller_pool_is_the_mean_over_all_pools(truth: Array, noisy: Array) -> None:
    closed = outcome("brain-to-image-top1-of-10/strict-v1", noisy, truth)
    ranks = brain_to_image_retrieval(noisy, truth)
    np.testing.assert_allclose(closed.scores, ranks.top_1_among(10))
    assert closed.chance == 0.1
    few = outcome("brain-to-image-top1-of-50/strict-v1", noisy, truth)
    assert few.value is None
    assert few.note == "12 pictures: 50 are needed"


@pytest.mark.parametrize(
    "metric", ["brain-to-image-top1/strict-v1", "image-to-brain-rank/strict-v1"]
)
def test_batches_and_order_change_nothing(metric: str, truth: Array, noisy: Array) -> None:
    whole = outcome(metric, noisy, truth)
    parts = create_metric(metric)
    for rows in ([7, 3], [0], [1, 2, 4, 5, 6, 8, 11, 10, 9]):
        parts.update(torch.tensor(noisy[rows]), truth[rows], [names(12)[row] for row in rows])
    found = parts.compute()
    np.testing.assert_array_equal(found.scores, whole.scores)
    assert found.items == whole.items == tuple(names(12))


def test_several_responses_to_a_picture(truth: Array) -> None:
    rng = np.random.default_rng(2)
    shown = np.repeat(truth[:4], 3, axis=0)
    responses = (shown + 2 * rng.normal(size=shown.shape)).astype(np.float32)
    labels = [f"picture-{k // 3}" for k in range(12)]
    by_name = outcome("brain-to-image-top1/strict-v1", responses, shown, pictures=labels)
    by_content = outcome("brain-to-image-top1/strict-v1", responses, shown)
    np.testing.assert_array_equal(by_name.scores, by_content.scores)
    assert len(by_name.scores) == 12
    assert by_name.chance == pytest.approx(1 / 4)
    # A picture searches one response per picture: their mean.
    backward = outcome("image-to-brain-rank/strict-v1", responses, shown)
    assert len(backward.scores) == 4
    means = responses.reshape(4, 3, 4, 5).mean(axis=1)
    np.testing.assert_array_equal(backward.scores, image_to_brain_retrieval(means, truth[:4]).ranks)
    grouped = outcome("brain-to-image-top1/strict-v1", truth, truth, groups=list("aabbccddeeff"))
    assert grouped.chance == 0.5


def test_csls_by_hand() -> None:
    """Two queries, three candidates, one neighbour: 2 s - best of the row - best of the column."""
    similarity = np.array([[0.9, 0.5, 0.1], [0.8, 0.2, 0.4]])
    expected = [[1.8 - 0.9 - 0.9, 1 - 0.9 - 0.5, 0.2 - 0.9 - 0.4],
                [1.6 - 0.8 - 0.9, 0.4 - 0.8 - 0.5, 0.8 - 0.8 - 0.4]]  # fmt: skip
    np.testing.assert_allclose(csls_similarity(similarity, 1), expected, atol=1e-15)
    both = csls_similarity(similarity, 2)
    assert both[0, 0] == pytest.approx(1.8 - 0.7 - 0.85)
    for wrong in (0, 3):
        with pytest.raises(UsageError, match="`neighbours`"):
            csls_similarity(similarity, wrong)


def test_csls_undoes_a_hub_and_says_that_it_is_transductive() -> None:
    """All predictions lean to one picture, which then is near to all of them."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40, 30))
    predicted = truth + 1.2 * rng.normal(size=truth.shape) + 2.5 * truth[:1]
    plain = outcome("brain-to-image-top1/strict-v1", predicted, truth)
    scaled = outcome("brain-to-image-top1/csls10-v1", predicted, truth)
    assert scaled.value > plain.value + 0.1
    assert METRICS["brain-to-image-top1/csls10-v1"].spec.transductive
    assert not METRICS["brain-to-image-top1/strict-v1"].spec.transductive
    # Transductive: leaving others out changes the score of those that stay.
    half = outcome("brain-to-image-top1/csls10-v1", predicted[:12], truth[:12])
    assert half.value is not None
    few = outcome("brain-to-image-top1/csls10-v1", predicted[:6], truth[:6])
    assert few.note == "6 pictures: 10 are needed"


def test_peers_names_stand_for_the_other_direction() -> None:
    """What tables call image retrieval searches the brains; the draws are of 300 items."""
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(320, 24)).astype(np.float32)
    predicted = (truth + 1.5 * rng.normal(size=truth.shape) + 1.5 * truth[:1]).astype(np.float32)
    image = outcome("image-retrieval/mindeye2", predicted, truth)
    brain = outcome("brain-retrieval/mindeye2", predicted, truth)
    closed = {
        name: outcome(f"{name}-top1-of-300/strict-v1", predicted, truth).value
        for name in ("brain-to-image", "image-to-brain")
    }
    assert abs(closed["brain-to-image"] - closed["image-to-brain"]) > 0.1
    assert image.value == pytest.approx(closed["image-to-brain"], abs=0.01)
    assert brain.value == pytest.approx(closed["brain-to-image"], abs=0.01)
    # The quirk of its interval: thirty overlapping draws, far narrower than over pictures.
    width = image.details["interval_high"] - image.details["interval_low"]
    over_pictures = 2 * 1.96 * np.sqrt(image.value * (1 - image.value) / 300)
    assert width < over_pictures / 5
    few = outcome("image-retrieval/mindeye2", predicted[:299], truth[:299])
    assert few.note == "299 items: 300 are needed"


def test_drawn_rivals_change_from_seed_to_seed(truth: Array, noisy: Array) -> None:
    from phosphene.pipelines.metrics.retrieval_metrics import SampledRetrieval

    spec = METRICS["4-way-retrieval/atm"].spec
    closed = brain_to_image_retrieval(noisy, truth).top_1_among(4).mean()
    values = []
    for seed in range(40):
        metric = SampledRetrieval(spec, direction="brain-to-image", pool=4, draws=0, seed=seed)
        metric.update(noisy, truth, names(12))
        values.append(metric.compute().value)
    assert len(set(values)) > 3  # the published number is one of these
    assert np.mean(values) == pytest.approx(closed, abs=0.03)
    assert outcome("4-way-retrieval/atm", noisy, truth).value == values[0]
