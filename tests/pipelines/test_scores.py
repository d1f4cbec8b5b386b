"""Numbers of a run: beside chance and plain rivals, and never more than the pictures allow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.scores import known_categories, score_pictures
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


def test_the_pairing_is_permuted_everywhere(truth: Array, protocol: Protocol) -> None:
    noise = np.random.default_rng(1).integers(0, 256, truth.shape, dtype=np.uint8)
    good = by_name(score_pictures(truth[:, None], truth, protocol, mean_picture=None))
    bad = by_name(score_pictures(noise[:, None], truth, protocol, mean_picture=None))
    for name, metric in good.items():
        assert metric.permuted.p_value == pytest.approx(1 / 1001), name
        assert metric.permuted.n_permutations == 1000
        assert bad[name].permuted.p_value > 0.05, name
    assert good["pixcorr"].permuted.mean == good["pixcorr"].chance
    assert good["two-way-pixels"].permuted.mean == pytest.approx(0.5)
    same = np.broadcast_to(truth[0], truth.shape)
    flat = by_name(score_pictures(same[:, None], truth, protocol, mean_picture=None))
    assert flat["two-way-pixels"].permuted.p_value == 1.0  # nothing depends on the pairing


def test_repetitions_are_exchanged_together(truth: Array, protocol: Protocol) -> None:
    """Of two pictures, each shown six times, there are two pairings: no p is small."""
    pictures = ["a"] * 6 + ["b"] * 6
    shown = np.repeat(truth[[0, 6]], 6, axis=0)
    file = score_pictures(
        shown[:, None], shown, protocol, mean_picture=None, pictures=pictures, categories=["x"] * 12
    )
    for name, metric in by_name(file).items():
        assert metric.permuted.p_value > 0.4, name
    within = by_name(file)["two-way-pixels"].within_category
    assert (within.value, within.n_items) == (1.0, 12)


def test_the_right_category_alone_is_told_apart(truth: Array, protocol: Protocol) -> None:
    """Each reconstruction is another picture of the right category."""
    kinds = [f"kind {row % 3}" for row in range(12)]
    of_kind = np.random.default_rng(8).integers(0, 180, (3, 9, 9, 3))
    shown = (of_kind[np.arange(12) % 3] + 0.3 * truth).astype(np.uint8)
    other = np.roll(shown, 3, axis=0)  # the next one of its kind
    found = by_name(
        score_pictures(other[:, None], shown, protocol, mean_picture=None, categories=kinds)
    )
    metric = found["two-way-pixels"]
    assert metric.value > 0.6
    assert metric.permuted.p_value < 0.05
    assert metric.within_category.value < 0.5  # the very picture is among the rivals
    assert metric.within_category.p_value > 0.3
    assert metric.within_category.shuffled == pytest.approx(metric.value, abs=0.1)
    assert found["pixcorr"].within_category is None


def test_categories_come_from_the_trials() -> None:
    table = pd.DataFrame({"stimulus_id": ["a", "b"], "category": ["face", "house"]})
    assert known_categories(table) == ["face", "house"]
    assert known_categories(table.drop(columns="category")) is None
    assert known_categories(table.assign(category=["face", "n/a"])) is None


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


def test_networks_tell_pictures_apart_too(truth: Array, protocol: Protocol) -> None:
    class Means:
        """Mean colour: all that a very small network sees."""

        def encode(self, pictures: Any) -> torch.Tensor:
            return torch.stack([torch.from_numpy(one).float().mean((0, 1)) for one in pictures])

    flat = np.broadcast_to(np.rint(truth.mean((1, 2), keepdims=True)), truth.shape)
    blurred = flat.astype(np.uint8)
    file = score_pictures(
        blurred[:, None], truth, protocol, mean_picture=None, networks={"means/strict-v1": Means()}
    )
    found = by_name(file)
    assert list(found)[-2:] == ["two-way-pixels", "means"]
    assert found["means"].value > 0.9
    assert found["means"].permuted.p_value == pytest.approx(1 / 1001)
    assert found["means"].chance == 0.5
    assert len(file.per_item["means/strict-v1"]) == 12
