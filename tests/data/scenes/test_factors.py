"""Typed factors and twins that differ in one of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from phosphene.data.scenes import (
    CAPTIONED_FACTORS,
    DEFAULT,
    VARIED_FACTORS,
    WITHHELD_FACTORS,
    Relation,
    Scene,
    SceneFactors,
    Solid,
    SolidFactors,
    factor_table,
    hard_negatives,
    render,
    sample_scene,
    sample_scenes,
    scene_factors,
    vary,
)
from phosphene.errors import InputError, UsageError

Build = Callable[..., Scene]
BuildSolid = Callable[..., Solid]

# Which entries of the description each kind of twin may change.
MAY_CHANGE = {
    "shape": {"solids.shape", "solids.tilt"},
    "colour": {"solids.colour", "solids.rgb"},
    "material": {"solids.material"},
    "size": {"solids.size", "solids.radius"},
    "pose": {"solids.tilt"},
    "yaw": {"solids.yaw"},
    "places": {"solids.x", "solids.y"},
    "view": {"camera.azimuth"},
    "light": {"light.azimuth", "light.elevation"},
    "sky": {"sky.kind", "sky.horizon", "sky.zenith", "sky.clouds"},
    "ground_texture": {"ground.texture", "ground.scale", "ground.angle", "ground.offset"},
    "ground_colours": {"ground.colours"},
}


def test_captioned_and_withheld_cover_every_factor_once() -> None:
    names = {one.name for kind in (SceneFactors, SolidFactors) for one in fields(kind)}
    assert set(CAPTIONED_FACTORS) | set(WITHHELD_FACTORS) == names - {"solids"}
    assert not set(CAPTIONED_FACTORS) & set(WITHHELD_FACTORS)


def test_factors_of_a_hand_made_scene(make_scene: Build, make_solid: BuildSolid) -> None:
    """The camera is at +x and looks along -x, so +y is right and larger x is nearer."""
    left_far = make_solid(x=-1.5, y=-1.8, yaw=30.0)
    right_near = make_solid(shape="cube", x=1.5, y=1.8, yaw=30.0)
    stacked = make_solid(radius=0.4, x=1.5, y=1.8, on=1)
    factors = scene_factors(make_scene(left_far, right_near, stacked))
    assert factors.count == 3
    assert factors.light_angle == 40.0
    assert factors.ground_texture == "plain"
    assert factors.ground_lightness == pytest.approx(0.75)
    assert Relation(0, "left_of", 1) in factors.relations
    assert Relation(1, "left_of", 0) not in factors.relations
    assert Relation(1, "in_front_of", 0) in factors.relations
    assert [r for r in factors.relations if r.word == "on"] == [Relation(2, "on", 1)]
    first, second, third = factors.solids
    assert first.picture_x < 0 < second.picture_x
    assert third.picture_y > second.picture_y
    assert first.view_angle == second.view_angle == 30.0
    assert factors.crowding > 0.9
    turned = scene_factors(vary(make_scene(left_far, right_near), "view"))
    assert turned.solids[0].view_angle != first.view_angle


def test_projected_position_and_distance_are_those_of_the_picture() -> None:
    for scene in sample_scenes(0, 30):
        if len(scene.solids) != 1 or scene.solids[0].shape not in ("sphere", "ellipsoid"):
            continue
        rendered = render([scene], 64)
        rows, columns = np.nonzero(rendered.masks[0] == 1)
        factors = scene_factors(scene).solids[0]
        assert (columns.mean() + 0.5) / 32 - 1 == pytest.approx(factors.picture_x, abs=0.05)
        assert 1 - (rows.mean() + 0.5) / 32 == pytest.approx(factors.picture_y, abs=0.05)


def test_the_table_has_one_row_per_scene() -> None:
    scenes = sample_scenes(0, 12)
    table = factor_table(scenes)
    assert {len(column) for column in table.values()} == {12}
    assert table["count"].tolist() == [len(scene.solids) for scene in scenes]
    assert table["sky"].tolist() == [scene.sky.kind for scene in scenes]
    alone = factor_table(scenes[5:6])
    assert all(alone[name][0] == table[name][5] for name in table)
    assert factor_table([]) == {}


def test_withheld_factors_cannot_be_told_from_the_captioned_ones() -> None:
    """Correlations of withheld numbers with captioned values stay within chance, 4 / sqrt(n)."""
    scenes = [s for s in sample_scenes(0, 500) if len(s.solids) == 1]
    table = factor_table(scenes)
    assert len(scenes) > 100
    names = ("light_angle", "light_elevation", "camera_elevation", "ground_lightness")
    for name in names:
        values = table[name].astype(float)
        for word in ("main_material", "main_size", "main_colour"):
            for value in np.unique(table[word]):
                member = (table[word] == value).astype(float)
                assert abs(np.corrcoef(member, values)[0, 1]) < 4 / math.sqrt(len(scenes))


def changed_entries(one: Any, two: Any, path: str = "") -> set[str]:
    if isinstance(one, dict):
        return {
            e for k in one if k != "name" for e in changed_entries(one[k], two[k], f"{path}.{k}")
        }
    if isinstance(one, list) and one and isinstance(one[0], dict):
        assert len(one) == len(two)
        pairs = zip(one, two, strict=True)
        return {e for a, b in pairs for e in changed_entries(a, b, path)}
    return set() if one == two else {path[1:]}


def test_twins_differ_in_exactly_one_factor_and_look_different() -> None:
    seen = set()
    for scene in sample_scenes(0, 14):
        twins = hard_negatives(scene)
        pictures = render([scene, *twins.values()], 32, 1).images.astype(int)
        for picture, (factor, twin) in zip(pictures[1:], twins.items(), strict=True):
            seen.add(factor)
            assert (np.abs(picture - pictures[0]).max(axis=-1) > 4).sum() >= 5, factor
            if factor == "count":
                assert len(twin.solids) == len(scene.solids) - 1
                kept = [replace(s, on=-1) for s in twin.solids]
                assert all(s in [replace(o, on=-1) for o in scene.solids] for s in kept)
                continue
            found = changed_entries(scene.to_dict(), twin.to_dict())
            assert found
            assert found <= MAY_CHANGE[factor], factor
            moved = sum(a != b for a, b in zip(scene.solids, twin.solids, strict=True))
            in_solids = {"shape", "colour", "material", "size", "pose", "yaw"}
            assert moved == (2 if factor == "places" else int(factor in in_solids))
            if factor in ("shape", "colour", "material"):
                assert all(DEFAULT.allows(solid) for solid in twin.solids)
    assert seen == set(VARIED_FACTORS)


def test_shape_twins_keep_the_pose_and_the_category_changes() -> None:
    for index in range(20):
        scene = sample_scene(index)
        if "shape" not in (twins := hard_negatives(scene, ["shape"])):
            continue
        before, after = scene_factors(scene).solids, scene_factors(twins["shape"]).solids
        assert [s.pose for s in before] == [s.pose for s in after]
        assert sum(a.shape != b.shape for a, b in zip(before, after, strict=True)) == 1


def test_twins_are_reproducible_and_seeds_give_others() -> None:
    scene = sample_scene(4)
    assert vary(scene, "colour") == vary(scene, "colour")
    others = {str(vary(scene, "colour", seed=k).solids) for k in range(8)}
    assert len(others) > 3


def test_impossible_twins_are_refused(make_scene: Build, make_solid: BuildSolid) -> None:
    scene = make_scene(make_solid())
    with pytest.raises(InputError, match="count"):
        vary(scene, "count")
    with pytest.raises(UsageError, match="colour"):
        vary(scene, "color")
    assert "places" not in hard_negatives(scene)
