"""Spaces: which names open what, and texts beside pictures, against open_clip itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.open_clip import OpenClipTarget
from phosphene.errors import AssetError, UsageError
from phosphene.pipelines.retrieval.key_encoder import (
    KeyEncoder,
    keys_of,
    open_encoder,
    projector_hash,
)
from phosphene.priors.retrieval import RetrievalProjector

Array = np.ndarray[Any, Any]
TEXTS = ["a red cube", "cube", "red red"]


@pytest.fixture(scope="module")
def projector() -> RetrievalProjector:
    torch.manual_seed(0)
    truth = torch.randn(60, 4, 16)
    return RetrievalProjector(64, 5).fit(truth + torch.randn(60, 4, 16), truth)


def test_an_open_clip_folder_has_pictures_and_texts_in_one_space(
    tiny_parts_folder: Path, tiny_pictures: Pictures
) -> None:
    """Token targets have the text tower too: the very folder, opened as open_clip's."""
    folder = tiny_parts_folder / "target"
    encoder = open_encoder(f"open-clip:local-dir:{folder}")
    assert encoder.space.dimension == 8
    network, _, prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
    with torch.no_grad():
        texts = network.encode_text(tokens, normalize=True).numpy()
    np.testing.assert_allclose(encoder.texts(TEXTS), texts, atol=1e-5)
    keys = encoder.pictures(tiny_pictures[:3])
    np.testing.assert_allclose(np.linalg.norm(keys, axis=1), 1, atol=1e-5)
    assert prepare is not None


def test_texts_of_a_standardised_target_rank_pictures_as_clip_does(
    tiny_target: OpenClipTarget, tiny_pictures: Pictures
) -> None:
    """The products differ from CLIP's own by the same number for all pictures."""
    plain = OpenClipTarget(tiny_target.config["model"], tiny_target.words, "pooled")
    plain.clip.load_state_dict(tiny_target.clip.state_dict())
    cosines = plain.encode_text(TEXTS) @ plain.encode(tiny_pictures).T
    plain.standardise(tiny_pictures)
    encoder = KeyEncoder("x", plain)
    products = encoder.texts(TEXTS) @ encoder.pictures(tiny_pictures).T
    offsets = products - cosines.numpy()
    np.testing.assert_allclose(offsets, np.repeat(offsets[:, :1], len(tiny_pictures), 1), atol=1e-5)


def test_texts_for_tokens_are_refused(tiny_parts_folder: Path) -> None:
    encoder = open_encoder(f"local-dir:{tiny_parts_folder / 'target'}")
    assert encoder.space.dimension == 64
    with pytest.raises(UsageError, match="open-clip:local-dir"):
        encoder.texts(TEXTS)


def test_keys_are_the_flattened_target_or_its_projection(projector: RetrievalProjector) -> None:
    values = torch.randn(7, 4, 16)
    np.testing.assert_array_equal(keys_of(values, None), values.flatten(1).numpy())
    np.testing.assert_array_equal(keys_of(values.numpy(), None), values.flatten(1).numpy())
    expected = projector.project(values).numpy()
    np.testing.assert_allclose(keys_of(values.numpy(), projector), expected, atol=1e-6)


def test_another_projection_is_another_space(
    tiny_target: OpenClipTarget, projector: RetrievalProjector
) -> None:
    plain, projected = KeyEncoder("x", tiny_target), KeyEncoder("x", tiny_target, projector)
    assert plain.space.target == projected.space.target
    assert projected.space.projector == projector_hash(projector)
    assert (plain.space.dimension, projected.space.dimension) == (64, 5)
    other = RetrievalProjector(64, 5)
    other.load_tensors({**projector.tensors(), "mean": projector.mean + 1})
    assert projector_hash(other) != projector_hash(projector)
    with pytest.raises(UsageError, match="a text for an index"):
        projected.texts(TEXTS)


def test_efficientnet_is_opened_by_its_name() -> None:
    assert open_encoder("efficientnet-lite0").space.dimension == 1280


def test_a_folder_that_is_not_there_is_a_missing_asset(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="there is no model folder"):
        open_encoder(f"local-dir:{tmp_path / 'nothing'}")
    with pytest.raises(UsageError, match="without weights"):
        open_encoder("open-clip:ViT-B-32")
