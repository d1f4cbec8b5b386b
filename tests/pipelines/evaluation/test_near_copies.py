"""Copies are found however they were saved; different pictures of one kind are not copies."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phosphene.data.pictures import Pictures
from phosphene.data.scenes import render, sample_scenes
from phosphene.pipelines.evaluation.near_copies import (
    NearCopies,
    aligned_correlation,
    perceptual_hash,
    thumbnails,
)

Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def scenes() -> Pictures:
    return render(sample_scenes(0, 70), 64, threads=1).images


@pytest.fixture(scope="module")
def finder(scenes: Pictures) -> NearCopies:
    return NearCopies(thumbnails(scenes[:50]))


def jpeg(picture: Pictures, quality: int) -> Pictures:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))


def resized(picture: Pictures, side: int) -> Pictures:
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))


def shifted(picture: Pictures, dy: int, dx: int) -> Pictures:
    edge = 6
    padded = np.pad(picture, ((edge, edge), (edge, edge), (0, 0)), mode="edge")
    return padded[edge + dy : edge + dy + 64, edge + dx : edge + dx + 64]


CHANGES: dict[str, Callable[[Pictures], Pictures]] = {
    "as it is": lambda p: p,
    "JPEG of quality 75": lambda p: jpeg(p, 75),
    "JPEG of quality 30": lambda p: jpeg(p, 30),
    "half the size": lambda p: resized(p, 32),
    "twice the size": lambda p: resized(p, 128),
    "shifted": lambda p: shifted(p, 2, -3),
    "shifted by a tenth": lambda p: shifted(p, -6, 6),
    "cropped": lambda p: resized(p[3:61, 3:61], 64),
    "darker": lambda p: (p * 0.8 + 10).astype(np.uint8),
    "grey": lambda p: np.repeat(np.asarray(Image.fromarray(p).convert("L"))[..., None], 3, -1),
    "grainy": lambda p: np.clip(
        p + np.random.default_rng(0).normal(0, 8, p.shape), 0, 255
    ).astype(np.uint8),
}  # fmt: skip


@pytest.mark.parametrize("change", list(CHANGES))
def test_copies_are_found(finder: NearCopies, scenes: Pictures, change: str) -> None:
    rows = range(0, 12, 2)
    for row in rows:
        found = finder.nearest(thumbnails([CHANGES[change](scenes[row])])[0])
        assert found.row == row, change
        assert finder.is_copy(found), (change, found)


def test_other_scenes_are_no_copies(finder: NearCopies, scenes: Pictures) -> None:
    found = [finder.nearest(one) for one in thumbnails(scenes[50:])]
    assert not any(finder.is_copy(one) for one in found)
    assert max(one.correlation for one in found) < finder.threshold - 0.05


def test_where_all_pictures_are_alike_the_threshold_rises() -> None:
    rng = np.random.default_rng(1)
    base = rng.normal(size=(64, 64))
    alike = [base + 0.5 * rng.normal(size=base.shape) for _ in range(30)]
    pictures = [np.clip(128 + 30 * one, 0, 255).astype(np.uint8)[..., None] for one in alike]
    thumbs = thumbnails(pictures)
    finder = NearCopies(thumbs[:20])
    assert 0.75 < finder.threshold <= 0.95
    assert not any(finder.is_copy(finder.nearest(one)) for one in thumbs[20:])
    assert all(finder.is_copy(finder.nearest(one)) for one in thumbs[:20])


def test_copies_within_training_do_not_hide_copies(scenes: Pictures) -> None:
    twice = thumbnails([*scenes[:35], *[jpeg(one, 60) for one in scenes[:8]]])
    finder = NearCopies(twice)
    assert finder.threshold < 0.85
    assert finder.is_copy(finder.nearest(thumbnails([jpeg(scenes[30], 50)])[0]))


def test_flat_pictures_resemble_nothing(scenes: Pictures) -> None:
    flat = np.full((64, 64), 90, dtype=np.uint8)
    assert aligned_correlation(flat, thumbnails(scenes[:3])).tolist() == [0, 0, 0]
    finder = NearCopies(thumbnails(scenes[:1]))  # one training picture is enough
    assert not finder.is_copy(finder.nearest(flat))
    assert finder.nearest(thumbnails(scenes[:1])[0]).correlation == pytest.approx(1)


def test_hashes_differ_in_few_bits_between_copies(scenes: Pictures) -> None:
    own = perceptual_hash(thumbnails(scenes[:30]))
    copies = perceptual_hash(thumbnails([jpeg(one, 60) for one in scenes[:30]]))
    assert own.shape == (30, 64)
    assert (own != copies).sum(axis=1).max() <= 8
    others = (own[:, None] != copies[None]).sum(axis=2)[~np.eye(30, dtype=bool)]
    assert np.median(others) > 20
    brighter = perceptual_hash(thumbnails([(one * 0.7).astype(np.uint8) for one in scenes[:30]]))
    assert (own != brighter).sum(axis=1).max() <= 6


def test_colour_grey_and_odd_shapes_become_thumbnails() -> None:
    shapes = [(20, 31, 3), (100, 70, 1), (64, 64, 3)]
    pictures = [np.zeros(shape, dtype=np.uint8) for shape in shapes]
    assert thumbnails(pictures).shape == (3, 64, 64)
    assert thumbnails([]).shape == (0, 64, 64)
