"""Networks in folders of transformers: tiny ones with random weights, made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.errors import AssetError
from phosphene.pipelines.metrics.specs import create_metric
from phosphene.pipelines.metrics.video_networks import (
    ClipClasses,
    ClipPictureFeatures,
    FrameClasses,
    LiteClasses,
    resampled_frames,
)

Array = np.ndarray[Any, Any]
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "image_size": 16, "patch_size": 8,
        "initializer_range": 1.0}  # fmt: skip
SQUARE = {"height": 16, "width": 16}


@pytest.fixture(scope="module")
def clips() -> Array:
    """Return three clips of different colours (3, 4, 18, 18, 3)."""
    noise = np.random.default_rng(0).integers(0, 60, (3, 4, 18, 18, 3))
    colours = np.array([[190, 10, 60], [0, 190, 20], [60, 40, 190]])
    return (noise + colours[:, None, None, None]).astype(np.uint8)


@pytest.fixture(scope="module")
def videomae(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers as t

    folder = tmp_path_factory.mktemp("videomae")
    torch.manual_seed(0)
    config = t.VideoMAEConfig(**TINY, num_frames=8, tubelet_size=2, num_labels=60)
    model = t.VideoMAEForVideoClassification(config)
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    t.VideoMAEImageProcessor(size={"shortest_edge": 16}, crop_size=SQUARE).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import transformers as t

    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(1)
    model = t.ViTForImageClassification(t.ViTConfig(**TINY, num_labels=60))
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    t.ViTImageProcessor(size=SQUARE).save_pretrained(folder)
    return folder


def test_frames_are_resampled_to_what_the_network_learned_with(
    videomae: Path, clips: Array
) -> None:
    assert resampled_frames(np.arange(5), 2).tolist() == [1, 3]
    assert resampled_frames(np.arange(4), 8).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    own = ClipClasses(str(videomae)).logits(clips)
    assert own.shape == (3, 60)
    np.testing.assert_array_equal(own, ClipClasses(str(videomae)).logits(clips.repeat(2, axis=1)))
    stretched = ClipClasses(str(videomae), stretch=True)
    assert np.abs(stretched.logits(clips) - own).max() > 1e-4
    eight = clips.repeat(2, axis=1)
    np.testing.assert_allclose(stretched.logits(eight), own, atol=1e-6)
    np.testing.assert_array_equal(stretched.logits(clips[1:2])[0], stretched.logits(clips)[1])


def test_classes_of_frames(vit: Path, clips: Array) -> None:
    found = FrameClasses(str(vit)).logits(clips)
    assert found.shape == (3, 4, 60)
    np.testing.assert_array_equal(FrameClasses(str(vit)).logits(clips[:, 2:])[:, 0], found[:, 2])


@pytest.mark.slow
def test_lite_classes_see_a_cat() -> None:
    """Chelsea, the cat of scikit-image, is class 281 to 287 of ImageNet."""
    from skimage import data

    from phosphene.data.pictures import fit_pictures

    cat = fit_pictures([data.chelsea()], size=224, channels=3)[None]
    classes = np.argsort(-LiteClasses().logits(cat)[0, 0])[:3]
    assert set(classes) & {281, 282, 283, 284, 285, 286, 287}


@pytest.mark.parametrize("name", ["video-50way/strict-v1", "video-50way/mind-video"])
def test_metrics_of_video_classes(name: str, videomae: Path, clips: Array) -> None:
    metric = create_metric(name, weights_folder=str(videomae))
    metric.update(clips, clips, ["a", "b", "c"])
    assert metric.compute().scores.tolist() == [1.0] * 3
    metric.reset()
    metric.update(clips[[1, 2, 0]], clips, ["a", "b", "c"])
    assert metric.compute().value < 1


def test_metrics_of_frame_classes(vit: Path, clips: Array) -> None:
    outcomes = {}
    for name in ("frame-2way/strict-v1", "frame-2way/mind-video"):
        metric = create_metric(name, weights_folder=str(vit))
        metric.update(clips[[1, 2, 0]], clips, ["a", "b", "c"])
        outcomes[name] = metric.compute()
    strict, legacy = outcomes.values()
    assert (strict.chance, legacy.chance) == (0.5, 0.75)
    assert legacy.value > strict.value
    assert legacy.details["grey_picture"] > strict.details["grey_picture"]


def test_clip_features_of_a_folder(tmp_path: Path, clips: Array) -> None:
    import transformers as t

    torch.manual_seed(2)
    vision = t.CLIPVisionConfig(**TINY, projection_dim=12)
    model = t.CLIPVisionModelWithProjection(vision)
    model.save_pretrained(tmp_path)
    t.CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=SQUARE).save_pretrained(tmp_path)
    assert ClipPictureFeatures(str(tmp_path)).encode(list(clips[0])).shape == (4, 12)
    metric = create_metric("clip-pcc/neurons", weights_folder=str(tmp_path))
    metric.update(clips, clips, ["a", "b", "c"])
    found = metric.compute()
    assert found.details["still_picture"] == pytest.approx(1)
    assert found.value < 1


def test_folders_that_hold_no_network(tmp_path: Path, vit: Path) -> None:
    with pytest.raises(AssetError, match="does not load as AutoModelForImageClassification"):
        FrameClasses(str(tmp_path))
    with pytest.raises(AssetError, match="no model folder"):
        FrameClasses(str(tmp_path / "nowhere"))
    (vit / "preprocessor_config.json").rename(vit / "aside.json")
    try:
        with pytest.raises(AssetError, match="image processor"):
            FrameClasses(str(vit))
    finally:
        (vit / "aside.json").rename(vit / "preprocessor_config.json")
