"""Every metric of clips through the registry: batches, order, controls, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.pipelines.evaluation.clip_controls import score_clips
from phosphene.pipelines.evaluation.permutation import exchange_labels, permuted_statistic
from phosphene.pipelines.metrics.clips import (
    ClipMetric,
    frame_features,
    grey_clips,
    mostly_one,
    still_clips,
)
from phosphene.pipelines.metrics.specs import MetricSpec, create_metric, list_metrics
from phosphene.pipelines.metrics.video_identification import ClipIdentification

Array = np.ndarray[Any, Any]
PIXELS = "phosphene.pipelines.metrics.{}"
QUICK = [
    "video-ssim/strict-v1", "video-ssim/mind-video", "video-ssim/neurons", "video-psnr/strict-v1",
    "hue-correlation/strict-v1", "hue-pcc/mind-animator",
]  # fmt: skip


@pytest.fixture(scope="module")
def truth() -> Array:
    """Return smooth coloured clips that drift (6, 3, 16, 16, 3)."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (6, 5, 5, 3)).repeat(6, axis=1).repeat(6, axis=2)
    return np.stack([coarse[:, f : f + 16, 2 * f : 2 * f + 16] for f in range(3)], axis=1).astype(
        np.uint8
    )


@pytest.fixture(scope="module")
def noisy(truth: Array) -> Array:
    noise = np.random.default_rng(8).normal(0, 60, truth.shape)
    return np.clip(truth + noise, 0, 255).astype(np.uint8)


def names(n: int) -> list[str]:
    return [f"clip-{row}" for row in range(n)]


def made(measure: str, **arguments: Any) -> ClipMetric:
    """Return a metric over pixels, where the registered one needs a network."""
    spec = MetricSpec(id="test/test", title="", kind="video", source="")
    return ClipMetric(spec, PIXELS.format(measure), arguments)


def metrics() -> list[Any]:
    pixels = PixelTarget(size=8)
    over_pixels = [
        ("video_identification:ClipIdentification", {"ways": 2, "network": pixels}),
        ("video_identification:ClipIdentification", {"ways": 4, "network": pixels}),
        ("temporal:TemporalDifference", {"network": pixels}),
        ("optical_flow:FlowError", {"size": 16}),
    ]
    return [pytest.param(lambda n=name: create_metric(n), id=name) for name in QUICK] + [
        pytest.param(lambda m=m, a=a: made(m, **a), id=f"{m}-{a.get('ways', '')}")
        for m, a in over_pixels
    ]


@pytest.mark.parametrize("make", metrics())
def test_batches_and_their_order_change_nothing(make: Any, truth: Array, noisy: Array) -> None:
    whole, parts = make(), make()
    whole.update(noisy, truth, names(6))
    for rows in ([4], [1, 3], [], [5, 2, 0]):
        parts.update(noisy[rows], truth[rows], [names(6)[row] for row in rows])
    one, two = whole.compute(), parts.compute()
    assert one.items == two.items == tuple(names(6))
    np.testing.assert_array_equal(one.scores, two.scores)
    assert one.value == two.value == pytest.approx(one.scores.mean())
    assert one.details == two.details
    low, high = whole.spec.value_range
    assert low is None or low <= one.value
    assert high is None or one.value <= high


@pytest.mark.parametrize("make", metrics())
def test_the_truth_scores_best_and_grey_beside_it(make: Any, truth: Array) -> None:
    metric = make()
    metric.update(truth, truth, names(6))
    found = metric.compute()
    best = {"FrameRatio": 58.92, "TemporalDifference": 0, "FlowError": 0}
    expected = best.get(type(metric.measure).__name__, 1)
    np.testing.assert_allclose(found.scores, expected, atol=0.01)
    grey, still = found.details["grey_picture"], found.details["still_picture"]
    lower_is_better = expected == 0
    assert grey > found.value if lower_is_better else grey < found.value
    if lower_is_better:  # of motion: a still of the truth is no better than grey
        assert still == pytest.approx(grey)
        assert still > 0
    if metric.measure.whole_set:
        assert grey == pytest.approx(1 / metric.measure.ways, abs=1e-12)
        assert not found.collapsed
        metric.reset()
        metric.update(grey_clips(truth), truth, names(6))
        constant = metric.compute()
        assert constant.value == pytest.approx(1 / metric.measure.ways, abs=1e-12)
        assert constant.collapsed


def test_a_clip_beside_others_of_another_size() -> None:
    rng = np.random.default_rng(0)
    metric = create_metric("video-psnr/strict-v1")
    for row, side in enumerate((16, 20)):
        clip = rng.integers(0, 256, (1, 2 + row, side, side, 3), dtype=np.uint8)
        metric.update(clip, clip, [f"clip-{row}"])
    assert metric.compute().value == pytest.approx(58.92, abs=0.01)


def test_frames_are_described_alike_in_any_company(truth: Array) -> None:
    from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget

    network = EfficientNetTarget(size=32)
    together = frame_features(truth[:2], network)
    alone = np.concatenate([frame_features(truth[row : row + 1], network) for row in range(2)])
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(together[1], network.encode(truth[1]).numpy(), atol=1e-4)
    stills = frame_features(still_clips(truth[:2]), network)
    np.testing.assert_array_equal(stills[:, 0], together[:, 1])
    np.testing.assert_array_equal(stills[:, 0], stills[:, 2])


def test_what_is_one_and_the_same() -> None:
    rows = np.random.default_rng(0).normal(size=(6, 4))
    assert not mostly_one(rows)
    assert mostly_one(np.ones((3, 4)))
    assert mostly_one(np.zeros((3, 4)))
    assert mostly_one(np.concatenate([rows[:1]] * 5 + [rows[1:2]]))
    assert not mostly_one(rows[:1])


def test_controls_of_a_good_a_wrong_and_a_still_prediction(truth: Array, noisy: Array) -> None:
    found = score_clips("video-psnr/strict-v1", noisy, truth, n_permutations=99)
    assert found.scores.shape == (6,)
    assert found.interval[0] <= found.value <= found.interval[1]
    assert found.permuted.observed == found.value
    assert found.permuted.p_value == 0.01
    assert found.permuted.chance < found.value
    assert set(found.controls) == {"still_picture", "still_truth", "grey_picture"}
    wrong = score_clips(
        "video-psnr/strict-v1", np.roll(noisy, 1, axis=0), truth, n_permutations=99,
        rivals={"mean_clip": np.broadcast_to(truth.mean(0).astype(np.uint8), truth.shape)},
    )  # fmt: skip
    assert wrong.permuted.p_value > 0.1
    assert wrong.controls["mean_clip"] > wrong.value


def test_one_clip_for_all_is_flagged_beside_its_controls(truth: Array) -> None:
    few, name = truth[:3], "video-identification/strict-v1"
    grey = score_clips(name, grey_clips(few), few, n_permutations=9)
    assert grey.value == pytest.approx(0.5, abs=1e-12)
    assert grey.collapsed
    assert grey.permuted.p_value == 1
    own = score_clips(name, few, few, n_permutations=9)
    assert own.scores.tolist() == [1.0] * 3
    assert not own.collapsed
    assert not score_clips("video-psnr/strict-v1", grey_clips(few), few).collapsed  # of each alone


def test_motion_stands_beside_no_motion(truth: Array, noisy: Array) -> None:
    found = score_clips("flow-epe/strict-v1", truth[:3], truth[:3], n_permutations=5)
    assert found.value == 0
    no_motion = found.controls["still_truth"]
    assert found.controls["still_picture"] == found.controls["grey_picture"] == no_motion > 0
    assert found.permuted.p_value < 1


def test_runs_and_scenes(truth: Array, noisy: Array) -> None:
    """Only clips of one run may be exchanged; clips of one scene are drawn together."""
    plain = score_clips("video-psnr/strict-v1", noisy, truth, n_permutations=50)
    runs = score_clips(
        "video-psnr/strict-v1", noisy, truth, n_permutations=50, runs=[0, 0, 1, 1, 2, 2],
        scenes=["a", "a", "a", "b", "b", "b"],
    )  # fmt: skip
    assert runs.permuted.rule == "labels exchanged within groups"
    assert runs.permuted.chance > plain.permuted.chance  # half of the clips keep their own truth
    means = sorted(plain.scores.reshape(2, 3).mean(axis=1))
    np.testing.assert_allclose(runs.interval, means, rtol=1e-9)


def test_what_is_absent_says_why(truth: Array) -> None:
    reasons = {spec.id: spec.availability() for spec in list_metrics("*") if spec.kind == "video"}
    assert "weights_folder" in str(reasons["video-2way/strict-v1"])
    assert "VIFI" in str(reasons["clip-pcc/mind-animator"])
    with pytest.raises(AssetError, match="video-50way/mind-video cannot run here"):
        create_metric("video-50way/mind-video")
    with pytest.raises(UsageError, match="does not compare clips"):
        score_clips("mse/unit-range-v1", truth, truth)


def test_clips_that_cannot_be_compared(truth: Array) -> None:
    metric = create_metric("video-psnr/strict-v1")
    with pytest.raises(InputError, match="uint8 frames"):
        metric.update(truth / 255, truth, names(6))
    with pytest.raises(InputError, match="uint8 frames"):
        metric.update(truth[0], truth[0], names(3))
    with pytest.raises(InputError, match="as many frames"):
        metric.update(truth[:, :2], truth, names(6))
    with pytest.raises(InputError, match="as many labels"):
        metric.update(truth, truth, names(5))
    with pytest.raises(InputError, match="at least 2 frames"):
        made("temporal:TemporalDifference").update(truth[:, :1], truth[:, :1], names(6))
    with pytest.raises(InputError, match="at least two"):
        score_clips("video-psnr/strict-v1", truth[:1], truth[:1])


def test_permutations_are_those_of_one_pairing_at_a_time(truth: Array, noisy: Array) -> None:
    """Pairs are compared once and looked up; the null is that of comparing every pairing."""
    found = score_clips("video-ssim/strict-v1", noisy, truth, n_permutations=25, seed=3)
    measure = create_metric("video-ssim/strict-v1").measure
    drawn = exchange_labels(len(truth), n_permutations=25, seed=3)
    slow = permuted_statistic(lambda row: measure.compare(noisy, truth[row]).mean(), drawn)
    np.testing.assert_allclose(found.permuted.null, slow.null, rtol=1e-12)
    assert (found.permuted.observed, found.permuted.p_value) == (found.value, slow.p_value)


@pytest.mark.parametrize("ways", [2, 4])
def test_identification_in_many_orders_is_that_of_each_order(ways: int) -> None:
    rng = np.random.default_rng(ways)
    shown = rng.normal(size=(6, 3, 5)).astype(np.float32)
    found = (shown + 2 * rng.normal(size=shown.shape)).astype(np.float32)
    found[3] = found[2]  # a tie
    measure, orders = ClipIdentification(ways), exchange_labels(6, n_permutations=7).rows
    each = np.stack([measure.compare(found, shown[order]) for order in orders])
    np.testing.assert_allclose(measure.compare_orders(found, shown, orders), each, rtol=1e-12)


def test_many_clips_are_permuted_less_often_and_never_below_99(monkeypatch: Any) -> None:
    from phosphene.pipelines.evaluation import clip_controls

    monkeypatch.setattr(clip_controls, "MOST_PAIRS", 900)
    rng = np.random.default_rng(0)
    for n, expected in ((30, 300), (31, 99), (5, 300)):
        many = rng.integers(0, 255, (n, 1, 2, 2, 3), dtype=np.uint8)
        found = score_clips("video-psnr/strict-v1", many, many, n_permutations=300)
        assert len(found.permuted.null) == expected
