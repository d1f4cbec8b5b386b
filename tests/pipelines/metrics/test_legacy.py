"""Peers' variants: each test shows what makes it differ from the strict definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from skimage.color import rgb2gray
from skimage.metrics import structural_similarity
from torchvision.transforms import v2

from phosphene.data.pictures import fit_pictures
from phosphene.pipelines.metrics.resizing import as_tensor, resize_pictures
from phosphene.pipelines.metrics.specs import METRICS, create_metric, list_metrics

Array = np.ndarray[Any, Any]


def names(n: int) -> list[str]:
    return [f"item-{number:03d}" for number in range(n)]


def outcome(metric: str, made: Array, shown: Array, **more: Any) -> Any:
    measure = create_metric(metric)
    measure.update(made, shown, names(len(shown)), **more)
    return measure.compute()


@pytest.fixture(scope="module")
def photographs() -> Array:
    """Return three photographs with fine texture, 500 pixels a side as a generator gives them."""
    return fit_pictures([data.coffee(), data.astronaut(), data.chelsea()], size=500, channels=3)


@pytest.fixture(scope="module")
def textured(photographs: Array) -> Array:
    """Return them blurred, under a texture of single pixels: what reducing does to it matters."""
    from skimage.filters import gaussian

    smooth = np.stack([255 * gaussian(one / 255, 3, channel_axis=-1) for one in photographs])
    board = 90.0 * (np.indices((500, 500)).sum(axis=0) % 2 * 2 - 1)
    return np.clip(smooth + board[None, ..., None], 0, 255).astype(np.uint8)


def test_pixcorr_without_averaging(photographs: Array, textured: Array) -> None:
    found = outcome("pixcorr/mindeye2", textured, photographs)
    chain = [
        v2.functional.resize(
            v2.functional.resize(as_tensor(x), [256, 256], antialias=False),
            [425, 425], antialias=False,
        ).flatten(1).double().numpy()
        for x in (textured, photographs)
    ]  # fmt: skip
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(*chain, strict=True)]
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)
    # With averaging, as newer libraries do by default, the texture would be gone.
    averaged = [resize_pictures(x, 256, "pillow-bilinear") for x in (textured, photographs)]
    modern = outcome("pixcorr/strict-v1", *averaged)
    assert modern.value > found.value + 0.02
    assert METRICS["pixcorr/mindeye2"].spec.antialias is False


def test_pixcorr_of_brain_diffuser_is_bicubic_in_whole_levels(
    photographs: Array, textured: Array
) -> None:
    found = outcome("pixcorr/brain-diffuser", textured, photographs)
    pair = [resize_pictures(x, 425, "pillow-bicubic").reshape(3, -1) / 255
            for x in (textured, photographs)]  # fmt: skip
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(*pair, strict=True)]
    np.testing.assert_allclose(found.scores, expected, atol=1e-9)
    assert abs(found.value - outcome("pixcorr/mindeye2", textured, photographs).value) > 0.01


def test_ssim_of_the_chain_is_not_ssim_of_the_pictures(photographs: Array, textured: Array) -> None:
    found = outcome("ssim/mindeye2", textured, photographs)
    chain = [
        v2.functional.resize(
            v2.functional.resize(as_tensor(x), [256, 256], antialias=False),
            [425, 425], antialias=False,
        ).permute(0, 2, 3, 1).double().numpy()
        for x in (textured, photographs)
    ]  # fmt: skip
    expected = [
        structural_similarity(
            rgb2gray(a), rgb2gray(b), gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, data_range=1.0,
        )
        for a, b in zip(*chain, strict=True)
    ]  # fmt: skip
    np.testing.assert_allclose(found.scores, expected, atol=1e-5)
    assert abs(found.value - outcome("ssim/strict-v1", textured, photographs).value) > 0.02


def test_ssim_with_columns_for_channels(photographs: Array) -> None:
    """Noise that varies along columns alone is invisible to windows that run along lines.

    Each of Brain-Diffuser's windows sees one line-wise stretch of a column, so its value is that
    of 1-D SSIM per column, and differs from SSIM on the plane.
    """
    noise = np.random.default_rng(0).normal(0, 25, photographs.shape[:3])[..., None]
    made = np.clip(photographs + noise, 0, 255).astype(np.uint8)
    found = outcome("ssim/brain-diffuser", made, photographs)
    a, b = (rgb2gray(resize_pictures(x, 425, "pillow-bicubic")[0]) for x in (made, photographs))
    columns = [
        structural_similarity(
            a[:, k], b[:, k], gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
            data_range=1.0,
        )
        for k in range(425)
    ]  # fmt: skip
    assert found.scores[0] == pytest.approx(np.mean(columns), abs=1e-9)
    plane = outcome("ssim/mindeye2", made, photographs)
    assert abs(found.value - plane.value) > 0.02


def test_ties_that_lose(photographs: Array) -> None:
    """Equal predictions score 0 where the strict rule says .5."""
    truth = np.random.default_rng(5).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    grey = np.full_like(truth, 128)
    assert outcome("two-way-pixels/strict-less", grey, truth).scores.tolist() == [0.0] * 6
    assert outcome("two-way-pixels/strict-v1", grey, truth).scores.tolist() == [0.5] * 6
    assert outcome("two-way-pixels/strict-less", truth, truth).value == 1
    for name in ("alexnet2", "alexnet5", "inception", "clip"):
        for variant in ("mindeye2", "brain-diffuser"):
            assert METRICS[f"{name}/{variant}"].options["ties"] == "lose"
    assert outcome("efficientnet-lite0/strict-less", photographs, photographs).value == 1


def test_one_win_too_many_is_subtracted() -> None:
    truth = np.random.default_rng(5).integers(0, 256, (11, 8, 8, 3), dtype=np.uint8)
    noisy = np.random.default_rng(6).integers(0, 256, truth.shape, dtype=np.uint8)
    assert outcome("two-way-pixels/enigma", truth, truth).value == pytest.approx(0.9)
    strict = outcome("two-way-pixels/strict-v1", noisy, truth).value
    assert outcome("two-way-pixels/enigma", noisy, truth).value == pytest.approx(strict - 0.1)
    # So is guessing: its chance is not .5, and depends on how many items there are.
    assert METRICS["two-way-pixels/enigma"].spec.chance is None
    for n in (11, 3, 2):
        grey = outcome("two-way-pixels/enigma", np.full_like(truth[:n], 128), truth[:n])
        assert grey.value == pytest.approx(0.5 - 1 / (n - 1))
        assert grey.chance == pytest.approx(grey.value)
        assert METRICS["two-way-pixels/enigma"].spec.value_range[0] <= grey.scores.min()


def test_takagi_asks_the_other_way_round() -> None:
    """One reconstruction that resembles everything: it fails itself or it hinders the others."""
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
    made = truth.copy()
    made[0] = truth.mean(axis=0).astype(np.uint8)
    strict = outcome("two-way-pixels/strict-v1", made, truth)
    other = outcome("two-way-pixels/takagi", made, truth)
    r = np.corrcoef(truth.reshape(8, -1), made.reshape(8, -1))[:8, 8:]
    by_truth = [(r[i, i] > np.delete(r[i], i)).mean() for i in range(8)]
    by_prediction = [(r[j, j] > np.delete(r[:, j], j)).mean() for j in range(8)]
    np.testing.assert_allclose(other.scores, by_truth)
    np.testing.assert_allclose(strict.scores, by_prediction)
    assert strict.value != other.value


def test_network_chains_are_those_of_the_papers() -> None:
    """Sizes, weights and rules that published numbers hang on, as a table."""
    expected = {
        "alexnet2/mindeye2": ("alexnet", "features.4", (256,), "tensor-bilinear"),
        "alexnet5/mindeye2": ("alexnet", "features.11", (256,), "tensor-bilinear"),
        "inception/mindeye2": ("inception-v3", "avgpool", (256, 342), "tensor-bilinear"),
        "clip/mindeye2": ("clip-vit-l-14", "embedding", (256, 224), "tensor-bilinear"),
        "efficientnet-b1/mindeye2": ("efficientnet-b1", "avgpool", (256, 255), "tensor-bilinear"),
        "swav/mindeye2": ("swav", "avgpool", (256, 224), "tensor-bilinear"),
        "alexnet2/brain-diffuser": ("alexnet", "features.4", (224,), "pillow-bilinear"),
        "efficientnet-b1/brain-diffuser": (
            "efficientnet-b1-v1", "avgpool", (224,), "pillow-bilinear",
        ),
    }  # fmt: skip
    for name, chain in expected.items():
        options = METRICS[name].options
        found = tuple(options[key] for key in ("network", "layer", "sizes", "resize"))
        assert found == chain, name
        assert METRICS[name].spec.network == chain[0]
    # The two papers' EfficientNet-B1 has different weights: not one column.
    one, two = (METRICS[f"efficientnet-b1/{v}"].spec for v in ("mindeye2", "brain-diffuser"))
    assert one.weights != two.weights


def test_a_chain_of_a_network_changes_its_features(photographs: Array, textured: Array) -> None:
    """The offline network through MindEye2's chain: without averaging it sees another texture."""
    from phosphene.pipelines.metrics.network_features import FrozenFeatures

    options: Any = {"colours": "lite"}
    with_average = FrozenFeatures(
        "efficientnet-lite0", "embedding", sizes=(224,), resize="pillow-bilinear", **options
    )
    without = FrozenFeatures(
        "efficientnet-lite0", "embedding", sizes=(256, 224), resize="tensor-bilinear", **options
    )
    assert with_average.identity != without.identity
    one, two = (network.encode(textured[:1])[0] for network in (with_average, without))
    assert torch.corrcoef(torch.stack([one, two]))[0, 1] < 0.9


def test_every_variant_says_its_quirk() -> None:
    strict = {"strict-v1", "uniform7-v1", "unit-range-v1", "csls10-v1"}
    for spec in list_metrics():
        if spec.kind in ("picture", "retrieval") and spec.id.partition("/")[2] not in strict:
            assert spec.note, spec.id
            assert spec.source, spec.id
