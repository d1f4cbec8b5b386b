"""Captions are true, readable back, and silent about everything they withhold."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from phosphene.data.scenes import (
    CAPTIONED_FACTORS,
    GROUND_TEXTURES,
    HELD_OUT_SHAPES,
    SKIES,
    VARIED_FACTORS,
    Scene,
    Solid,
    caption_vocabulary,
    captions,
    describes,
    hard_negatives,
    movie_captions,
    parse_caption,
    sample_movie,
    sample_scene,
    sample_scenes,
)
from phosphene.errors import InputError

Build = Callable[..., Scene]
BuildSolid = Callable[..., Solid]


def test_captions_are_true_different_and_in_the_vocabulary() -> None:
    words = caption_vocabulary()
    for scene in sample_scenes(0, 80):
        texts = captions(scene, 6)
        assert len(set(texts)) == 6
        for text in texts:
            assert describes(text, scene), text
            assert set(text.replace(",", "").replace(":", "").split()) <= words


def test_the_first_caption_names_all_it_may() -> None:
    for scene in sample_scenes(0, 40):
        said = sorted(
            (p.shape, p.colour, p.material, p.size) for p in parse_caption(captions(scene, 1)[0])
        )
        true = sorted((s.shape, s.colour, s.material, s.size) for s in scene.solids)
        assert said == true


def test_known_captions(make_scene: Build, make_solid: BuildSolid) -> None:
    scene = make_scene(make_solid(colour="orange", material="striped", size="small"))
    assert captions(scene, 1) == ["a small orange striped sphere"]
    assert describes("an orange ball", scene)
    assert describes("a picture of a little orange banded ball", scene)
    assert not describes("a large orange sphere", scene)
    assert not describes("an orange ball and a red ball", scene)
    held_out = sample_scene(0, distribution=HELD_OUT_SHAPES)
    assert parse_caption(captions(held_out, 1)[0])[0].shape == "octahedron"


def test_phrases_are_matched_one_to_one(make_scene: Build, make_solid: BuildSolid) -> None:
    scene = make_scene(make_solid(material="matte"), make_solid(material="metal", x=3.0))
    assert describes("two solids: a red sphere and a metallic red ball", scene)
    assert describes("a red metal sphere and a red sphere", scene)
    assert not describes("a red metal sphere and a red metal ball", scene)


def test_captions_stay_when_withheld_factors_change_and_turn_false_when_named_ones_do() -> None:
    seen = set()
    for scene in sample_scenes(0, 30):
        for factor, twin in hard_negatives(scene).items():
            seen.add(factor)
            if factor in CAPTIONED_FACTORS:
                assert not describes(captions(scene, 1)[0], twin), factor
                assert captions(scene, 4)[0] not in captions(twin, 4)
            else:
                assert captions(twin, 5) == captions(scene, 5), factor
    assert seen == set(VARIED_FACTORS)


def test_no_word_for_anything_withheld() -> None:
    withheld = {
        *("left", "right", "front", "behind", "above", "below", "near", "far", "on", "under"),
        *("shadow", "light", "lit", "sun", "moon", "sky", "ground", "floor", "view", "camera"),
        *("upright", "lying", "standing", "tilted", "crowded", "day", "evening"),
        *GROUND_TEXTURES,
        *SKIES,
    }
    assert not withheld & caption_vocabulary()


def test_order_of_mention_is_not_that_of_the_scene() -> None:
    orders = set()
    for scene in sample_scenes(0, 120):
        if len(scene.solids) == 2 and scene.solids[0].shape != scene.solids[1].shape:
            first = parse_caption(captions(scene, 1)[0])[0]
            orders.add(first.shape == scene.solids[0].shape)
    assert orders == {True, False}


@pytest.mark.parametrize(
    "text",
    ["", "a sphere", "a red", "a red red sphere", "the red sphere", "a red teapot", "red sphere"],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_caption(text)


def test_a_wrong_number_is_refused() -> None:
    with pytest.raises(InputError, match="announces three"):
        parse_caption("three solids: a red cube and a blue cube")


def test_impossible_requests_are_refused(make_scene: Build) -> None:
    with pytest.raises(InputError, match="1 to 20"):
        captions(sample_scene(0), 21)
    with pytest.raises(InputError, match="a scene of 0 solids"):
        captions(make_scene(), 1)


def test_movie_captions_tell_the_motion() -> None:
    for index in range(6):
        movie = sample_movie(index)
        for text in movie_captions(movie, 3):
            told = text.split("; then ")
            for part, shot, words in zip(told, movie.shots, movie.motion_words(), strict=True):
                assert describes(part, shot.scene, words)
                assert all(solid.motion for solid in parse_caption(part))
