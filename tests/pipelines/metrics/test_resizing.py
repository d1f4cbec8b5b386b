from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.metrics.resizing import (
    as_tensor,
    match_size,
    resize_chain,
    resize_pictures,
)

Array = np.ndarray[Any, Any]


@pytest.fixture
def pictures() -> Array:
    return np.random.default_rng(0).integers(0, 256, (2, 40, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize("antialias", [True, False])
def test_tensor_rules_are_those_of_torchvision(pictures: Array, antialias: bool) -> None:
    rule = "tensor-bilinear-antialias" if antialias else "tensor-bilinear"
    for size in ((16, 16), (64, 50)):
        expected = v2.functional.resize(as_tensor(pictures), list(size), antialias=antialias)
        found = resize_pictures(pictures, size, rule)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected.permute(0, 2, 3, 1).numpy(), atol=1e-5)


def test_without_averaging_fine_texture_aliases() -> None:
    """A chessboard of single pixels is grey from afar; without averaging it stays black or white.

    Halving puts samples between four pixels, so that a third of the size shows it.
    """
    board = np.indices((48, 48)).sum(axis=0) % 2 * np.uint8(255)
    board = board.astype(np.uint8)[None, ..., None]
    averaged, sampled = (
        resize_pictures(board, 16, rule)
        for rule in ("tensor-bilinear-antialias", "tensor-bilinear")
    )
    assert averaged[:, 2:-2, 2:-2].std() < 0.12
    assert sampled.std() > 0.45


def test_pillow_rules_are_pillow(pictures: Array) -> None:
    for rule, kind in (("pillow-bilinear", "BILINEAR"), ("pillow-bicubic", "BICUBIC")):
        found = resize_pictures(pictures, (20, 25), rule)
        expected = Image.fromarray(pictures[1]).resize((25, 20), Image.Resampling[kind])
        np.testing.assert_array_equal(found[1], np.asarray(expected))
        grey = resize_pictures(pictures[..., :1], 20, rule)
        assert grey.shape == (2, 20, 20, 1)
    assert resize_pictures(pictures, (40, 30), "pillow-bicubic") is pictures
    with pytest.raises(InputError, match="float32"):
        resize_pictures(pictures.astype(np.float32) / 255, 20, "pillow-bilinear")
    with pytest.raises(UsageError, match="did you mean 'tensor-bilinear"):
        resize_pictures(pictures, 20, "tensor-bilinea")


def test_a_chain_is_its_links(pictures: Array) -> None:
    by_hand = resize_pictures(
        resize_pictures(pictures, 16, "tensor-bilinear"), 33, "tensor-bilinear"
    )
    np.testing.assert_array_equal(resize_chain(pictures, (16, 33), "tensor-bilinear"), by_hand)
    assert resize_chain(pictures, (), "tensor-bilinear") is pictures
    assert torch.equal(
        as_tensor(pictures), as_tensor(as_tensor(pictures).permute(0, 2, 3, 1).numpy())
    )


def test_reconstructions_are_brought_to_the_truth(pictures: Array) -> None:
    small = resize_pictures(pictures, (20, 15), "pillow-bilinear")
    made, shown = match_size(small, pictures)
    assert shown is pictures
    np.testing.assert_array_equal(made, resize_pictures(small, (40, 30), "pillow-bilinear"))
    grey, shown = match_size(pictures[..., :1], pictures)
    assert grey.shape == shown.shape
    np.testing.assert_array_equal(grey[..., 2], pictures[..., 0])
    with pytest.raises(InputError, match="the same aspect"):
        match_size(pictures[:, :30], pictures)
