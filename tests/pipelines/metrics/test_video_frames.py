from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from phosphene.data.pictures import fit_pictures
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.metrics import structural_similarity as picture_similarity
from phosphene.pipelines.metrics.video_frames import FrameRatio, FrameSimilarity

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def clips() -> Array:
    """Return three clips of two cuts each, of photographs (3, 2, 48, 48, 3)."""
    scenes = [data.chelsea(), data.coffee(), data.astronaut()]
    cuts = [fit_pictures([scene[:200, :200], scene], size=48, channels=3) for scene in scenes]
    return np.stack(cuts)


@pytest.fixture(scope="module")
def noisy(clips: Array) -> Array:
    noise = np.random.default_rng(0).normal(0, 25, clips.shape)
    return np.clip(clips + noise, 0, 255).astype(np.uint8)


def test_uniform_window_is_that_of_the_pictures(clips: Array, noisy: Array) -> None:
    scores = FrameSimilarity("rgb-uniform").compare(noisy, clips)
    frames = picture_similarity(noisy.reshape(6, 48, 48, 3), clips.reshape(6, 48, 48, 3))
    np.testing.assert_allclose(scores, frames.reshape(3, 2).mean(axis=1), rtol=1e-12)
    on_levels = [
        structural_similarity(a, b, data_range=255, channel_axis=-1)
        for a, b in zip(noisy[0], clips[0], strict=True)
    ]
    assert scores[0] == pytest.approx(np.mean(on_levels), abs=1e-9)


def test_the_strict_form_is_that_of_torchmetrics(clips: Array, noisy: Array) -> None:
    """Wang's Gaussian window by another library, which also averages over the border."""
    import torch
    from skimage.color import rgb2gray
    from torchmetrics.functional.image import structural_similarity_index_measure

    grey = [torch.from_numpy(rgb2gray(x.reshape(6, 48, 48, 3)))[:, None] for x in (noisy, clips)]
    _, everywhere = structural_similarity_index_measure(
        *grey, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True
    )
    expected = everywhere[..., 5:-5, 5:-5].mean(dim=(1, 2, 3))
    scores = FrameSimilarity("grey-gaussian").compare(noisy, clips)
    np.testing.assert_allclose(scores, expected.reshape(3, 2).mean(1), atol=2e-4)


def test_similarity_of_columns_is_higher_for_what_is_not_similar(clips: Array) -> None:
    """The quirk: one dimension in place of two; another photograph and flat grey gain by it."""
    strict, columns = FrameSimilarity("grey-gaussian"), FrameSimilarity("columns")
    for other in (np.roll(clips, 1, axis=0), np.full_like(clips, 128)):
        gained = columns.compare(other, clips) - strict.compare(other, clips)
        assert (gained > 0.02).all()
        assert gained.mean() > 0.05


@pytest.mark.parametrize("definition", ["grey-gaussian", "rgb-uniform", "columns"])
def test_identity_and_order(definition: Any, clips: Array, noisy: Array) -> None:
    measure = FrameSimilarity(definition)
    np.testing.assert_allclose(measure.compare(clips, clips), 1, atol=1e-12)
    scores = measure.compare(noisy, clips)
    np.testing.assert_array_equal(measure.compare(noisy[[2, 0]], clips[[2, 0]]), scores[[2, 0]])
    # Frames are compared with those of their time: backwards is another clip.
    assert (measure.compare(clips[:, ::-1], clips) < 0.9).all()


def test_ratio_is_that_of_scikit_image(clips: Array, noisy: Array) -> None:
    measure = FrameRatio()
    expected = [
        np.mean([peak_signal_noise_ratio(b, a, data_range=255) for a, b in zip(p, t, strict=True)])
        for p, t in zip(noisy, clips, strict=True)
    ]
    np.testing.assert_allclose(measure.compare(noisy, clips), expected, rtol=1e-12)


def test_ratio_by_hand() -> None:
    """All levels off by 51 = 255 / 5: 20 log10(5). Equal frames: the error of rounding."""
    measure, truth = FrameRatio(), np.full((1, 2, 4, 4, 3), 100, dtype=np.uint8)
    off = truth + np.uint8(51)
    assert measure.compare(off, truth)[0] == pytest.approx(20 * np.log10(5))
    equal = measure.compare(truth, truth)[0]
    assert equal == pytest.approx(58.92, abs=0.01)
    one_level = truth.copy()
    one_level[0, 0, 0, 0, 0] += 1  # the least difference there can be in a small frame
    assert measure.compare(one_level, truth)[0] <= equal


def test_what_cannot_be_compared(clips: Array) -> None:
    with pytest.raises(InputError, match="at least 11 x 11"):
        FrameSimilarity().describe(clips[:, :, :10])
    with pytest.raises(UsageError, match="definition"):
        FrameSimilarity("grey")  # type: ignore[arg-type]
