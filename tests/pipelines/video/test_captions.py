"""Captions of clips: which words belong to a clip, and how decoded ones find theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from phosphene.checkpoints.registry import model_folder
from phosphene.data.movies import Movie
from phosphene.encoders.stimulus.open_clip import OpenClipTarget
from phosphene.pipelines.video.captions import KnownCaptions, thinned

TEXTS = (
    "a small cyan striped torus spinning",
    "a large brown metal cylinder resting",
    "a small white glossy sphere bouncing",
    "a large red metal cone gliding",
)


def test_each_clip_has_the_words_of_its_scene() -> None:
    movie = Movie("film", Path("film.mp4"), (2.0, 5.0), "; then ".join(TEXTS[:3]))
    assert [movie.caption_at(second) for second in (0, 1.9, 2, 4.9, 5, 60)] == [
        TEXTS[0], TEXTS[0], TEXTS[1], TEXTS[1], TEXTS[2], TEXTS[2],
    ]  # fmt: skip
    whole = Movie("film", Path("film.mp4"), (2.0,), "a dog; then a cat; then a bird")
    assert whole.caption_at(3) == "a dog; then a cat; then a bird"  # other parts than scenes
    assert Movie("film", Path("film.mp4")).caption_at(1) == ""
    assert Movie("film", Path("film.mp4"), caption="n/a").caption_at(1) == ""


def test_shrunken_and_noisy_embeddings_find_their_words() -> None:
    target = OpenClipTarget.from_pretrained(model_folder("virtual-fmri") / "target")
    known = KnownCaptions(TEXTS, target)
    embeddings = target.encode_text(TEXTS)
    mean = embeddings.mean(0)
    noise = torch.randn(embeddings.shape, generator=torch.manual_seed(0))
    decoded = mean + 0.2 * (embeddings - mean) + 0.002 * noise
    assert known.nearest(decoded) == list(TEXTS)
    assert known.nearest(decoded[2:3]) == [TEXTS[2]]  # company changes nothing


@pytest.mark.parametrize("count", [3, 1000, 2500])
def test_captions_are_thinned_evenly_and_kept_once(count: int) -> None:
    texts = [f"scene {number}" for number in range(count)]
    found = thinned([*texts, "", *texts])
    assert len(found) == len(set(found)) <= 1000
    assert found[0] == texts[0]
    assert len(found) >= min(count, 500)
