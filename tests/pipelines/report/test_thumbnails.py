"""Pictures of a page: exact where there is room, small where there is not."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phosphene.pipelines.report.thumbnails import BUDGET, MAX_SIDE, encode_pictures

Array = np.ndarray[Any, Any]


def decoded(address: str) -> Array:
    _, _, content = address.partition(";base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


def noise(n: int, side: int, channels: int = 3) -> list[Array]:
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (n, side, side, channels), dtype=np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
def test_few_small_pictures_are_exact(channels: int) -> None:
    pictures = noise(5, 20, channels)
    found = encode_pictures(pictures)
    assert found.note == ""
    for address, pixels in zip(found.addresses, pictures, strict=True):
        assert address.startswith("data:image/png;base64,")
        np.testing.assert_array_equal(decoded(address), np.broadcast_to(pixels, (20, 20, 3)))


def test_large_pictures_are_shrunk_in_proportion() -> None:
    found = encode_pictures([np.zeros((600, 300, 3), np.uint8)])
    assert decoded(found.addresses[0]).shape == (MAX_SIDE, MAX_SIDE // 2, 3)
    assert found.note == "shrunk to at most 256 pixels"


def test_many_pictures_are_compressed_until_they_fit() -> None:
    pictures = noise(40, 200)  # noise is the worst that can be compressed
    found = encode_pictures(pictures, budget=400_000)
    size = sum(len(address) for address in found.addresses) * 3 / 4
    assert size < 440_000
    assert all(address.startswith("data:image/webp") for address in found.addresses)
    assert "compressed with small losses" in found.note
    assert len(found.addresses) == 40


def test_a_compressed_picture_is_still_that_picture() -> None:
    ramp = np.linspace(0, 255, 128).astype(np.uint8)
    picture = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], ramp[::-1, None]), -1)
    found = encode_pictures([picture], budget=100)
    one = decoded(found.addresses[0])
    small = np.asarray(Image.fromarray(picture).resize(one.shape[1::-1], Image.Resampling.LANCZOS))
    assert np.abs(one.astype(int) - small).mean() < 6


def test_nothing_is_nothing() -> None:
    assert encode_pictures([]).addresses == []
    assert BUDGET < 2_000_000
