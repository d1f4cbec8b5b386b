"""Numbers of a run: beside chance and plain rivals, and never more than the pictures allow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.scores import score_pictures
from phosphene.schemas import MetricsFile, MetricValue, Protocol

Array = np.ndarray[Any, Any]


@pytest.fixture
def protocol(model: Any) -> Protocol:
    return Reconstructor.from_pretrained(model).parts.protocol


@pytest.fixture
def truth() -> Array:
    return np.random.default_rng(3).integers(0, 256, (12, 9, 9, 3), dtype=np.uint8)


def by_name(file: MetricsFile) -> dict[str, MetricValue]:
    return {metric.id.split("/")[0]: metric for metric in file.metrics}


def test_perfect_pictures(truth: Array, protocol: Protocol) -> None:
    mean = truth.mean(axis=0).astype(np.uint8)
    file = score_pictures(truth[:, None], truth, protocol, mean_picture=mean)
    found = by_name(file)
    assert {name: metric.value for name, metric in found.items()} == pytest.approx(
        {"pixcorr": 1, "ssim": 1, "mse": 0, "two-way-pixels": 1}
    )
    assert found["pixcorr"].interval == pytest.approx((1, 1))
    assert abs(found["pixcorr"].chance) < 0.05
    assert found["mse"].chance == pytest.approx(1 / 6, abs=0.02)  # of two uniform values
    assert found["mse"].baselines["grey_picture"] == pytest.approx(1 / 12, abs=0.01)
    assert 0 < found["pixcorr"].baselines["mean_picture"] < 0.5
    assert not found["mse"].higher_is_better
    assert {len(scores) for scores in file.per_item.values()} == {12}
    assert {metric.n_items for metric in file.metrics} == {12}


def test_a_collapsed_decoder_is_flagged(truth: Array, protocol: Protocol) -> None:
    same = np.broadcast_to(truth.mean(axis=0).astype(np.uint8), truth.shape)
    found = by_name(score_pictures(same[:, None], truth, protocol, mean_picture=same[0]))
    assert found["two-way-pixels"].value == pytest.approx(0.5)
    assert "collapsed" in found["two-way-pixels"].note
    for name in ("pixcorr", "ssim", "mse"):  # it is the mean picture and scores as such
        assert found[name].value == pytest.approx(found[name].baselines["mean_picture"])
        assert found[name].chance == pytest.approx(found[name].value, abs=0.02)


def test_samples_are_averaged_by_score(truth: Array, protocol: Protocol) -> None:
    noise = np.random.default_rng(1).integers(0, 256, truth.shape, dtype=np.uint8)
    both = np.stack([truth, noise], axis=1)
    one, two, whole = (
        by_name(score_pictures(images, truth, protocol, mean_picture=None))
        for images in (truth[:, None], noise[:, None], both)
    )
    for name, metric in whole.items():
        assert metric.value == pytest.approx((one[name].value + two[name].value) / 2)
        assert set(metric.baselines) == {"grey_picture"}  # no mean was given


def test_one_item_has_no_interval_and_no_rival(truth: Array, protocol: Protocol) -> None:
    found = by_name(score_pictures(truth[:1, None], truth[:1], protocol, mean_picture=None))
    assert found["pixcorr"].value == pytest.approx(1)
    assert found["pixcorr"].interval is None
    assert found["pixcorr"].chance is None
    assert found["two-way-pixels"].value is None
    assert "one picture" in found["two-way-pixels"].note


def test_tiny_pictures_have_no_ssim(truth: Array, protocol: Protocol) -> None:
    tiny = truth[:, :5, :5]
    found = by_name(score_pictures(tiny[:, None], tiny, protocol, mean_picture=None))
    assert found["ssim"].value is None
    assert "7 x 7" in found["ssim"].note
    assert found["pixcorr"].value == pytest.approx(1)
