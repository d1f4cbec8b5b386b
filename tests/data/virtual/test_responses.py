from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from phosphene.data.scenes import Scene, render
from phosphene.data.virtual import VirtualSubject
from phosphene.data.virtual.content_factors import content_factors
from phosphene.data.virtual.content_tuning import object_units, relation_units
from phosphene.data.virtual.early_vision import (
    FREQUENCIES,
    ORIENTATIONS,
    PIXEL,
    _contrast_energy,
    channels,
)
from phosphene.errors import InputError, UsageError

Array = np.ndarray[Any, Any]


def grating(frequency: float, orientation: float, contrast: float = 0.4) -> Array:
    x = (np.arange(64) + 0.5 - 32) * PIXEL
    across = -np.sin(orientation) * x[None, :] + np.cos(orientation) * -x[:, None]
    return (contrast * np.cos(2 * np.pi * frequency * across)).astype(np.float32)


def test_energy_of_a_grating_is_its_squared_contrast_at_its_own_filter() -> None:
    for scale in range(3):
        for k, orientation in enumerate(ORIENTATIONS):
            energy = _contrast_energy(grating(FREQUENCIES[scale], orientation)[None])
            inner = energy[0, :, 10:22, 10:22].mean(axis=(1, 2)).reshape(4, 4)
            assert np.unravel_index(inner.argmax(), inner.shape) == (scale, k)
            assert inner.max() == pytest.approx(0.4**2, rel=0.03)


def test_energy_does_not_depend_on_phase() -> None:
    one = grating(FREQUENCIES[1], 0)
    energy = _contrast_energy(np.stack([one, np.roll(one, 3, axis=0)]))[:, 4, 12:20, 12:20]
    np.testing.assert_allclose(energy[0], energy[1], rtol=0.05)


def test_a_grey_picture_drives_nothing() -> None:
    grey = np.full((1, 64, 64, 3), 128, dtype=np.uint8)
    assert channels(grey)[:, :16].max() < 0.01
    assert channels(grey)[:, 18:].max() < 1e-5


def test_voxels_respond_inside_their_receptive_field_and_not_outside(
    subject: VirtualSubject,
) -> None:
    """A patch of checks two degrees wide, upper right: V1 voxels there and nowhere else."""
    grey = np.full((64, 64, 3), 128, dtype=np.uint8)
    patch = grey.copy()
    checks = (np.indices((16, 16)) // 2).sum(axis=0) % 2 * 255
    patch[8:24, 40:56] = checks[..., None]  # centre at (2.1, 2.1) degrees
    drive = subject.early_vision.drive(np.stack([grey, patch]))
    change = drive[1] - drive[0]
    anatomy = subject.anatomy
    apart = np.hypot(anatomy.rf_x - 2.1, anatomy.rf_y - 2.1)
    v1 = anatomy.area_names == "V1"
    inside, outside = v1 & (apart < 0.5), v1 & (apart > 1.5 + 5 * anatomy.rf_sigma)
    assert inside.sum() > 3
    assert outside.sum() > 50
    assert np.median(change[inside]) > 0.3
    assert np.abs(change[outside]).max() < 0.01


def test_batch_equals_one_at_a_time(
    subject: VirtualSubject, scenes: list[Scene], images: Array, signal: Array
) -> None:
    single = np.concatenate([subject.respond(scenes[k : k + 1], images[k : k + 1]) for k in (7, 2)])
    np.testing.assert_allclose(single, signal[[7, 2]], atol=1e-4)


def test_signal_has_the_planned_scale(subject: VirtualSubject) -> None:
    reference = subject._calibration.signal
    np.testing.assert_allclose(reference.std(axis=0), 1, rtol=1e-3)
    assert 0.3 < np.median(subject.amplitude) < 0.7
    assert np.all((subject.suppression >= 0.05) & (subject.suppression <= 0.15))


def test_later_areas_follow_content_that_captions_never_name(
    subject: VirtualSubject, scenes: list[Scene]
) -> None:
    scene = next(s for s in scenes if any(one.shape in ("cube", "pyramid") for one in s.solids))
    turned = replace(
        scene, solids=tuple(replace(one, yaw=(one.yaw + 45) % 360) for one in scene.solids)
    )
    drive = subject.content_tuning.drive([scene, turned])
    changed = np.abs(drive[1] - drive[0]) > 1e-4
    names = subject.anatomy.area_names
    assert changed[names == "LO"].mean() > 0.3
    assert not changed[np.isin(names, ["V1", "V2", "V3"])].any()


def test_object_units_are_conjunctions(scenes: list[Scene]) -> None:
    """A product of tunings: no sum of a shape term and a material term gives the same table."""
    solid = replace(scenes[0].solids[0], tilt=0.0, on=-1, lift=0.0)
    table = []
    for shape in ("cube", "sphere"):
        for material in ("matte", "striped"):
            one = replace(solid, shape=shape, material=material, stretch=1.0)
            factors = content_factors([scenes[0].with_solids([one])])
            table.append(object_units(factors)[0][0, 0])
    interaction = table[0] - table[1] - table[2] + table[3]
    assert np.abs(interaction).max() > 0.1


def test_relations_are_counted(scenes: list[Scene]) -> None:
    alone = [s.with_solids([replace(s.solids[0], on=-1)]) for s in scenes]
    assert relation_units(content_factors(alone)).max() == 0
    assert relation_units(content_factors(scenes)).max() > 0.1


def test_gaze_shifts_the_picture_on_the_retina(subject: VirtualSubject, images: Array) -> None:
    gaze = np.tile([4 * PIXEL, -2 * PIXEL], (len(images), 1))
    moved = np.full_like(images, 128)
    moved[:, :-2, :-4] = images[:, 2:, 4:]
    still = subject.early_vision.drive(moved)
    np.testing.assert_allclose(subject.early_vision.drive(images, gaze), still, atol=0.02)


def test_pictures_alone_leave_content_at_its_mean(subject: VirtualSubject, images: Array) -> None:
    photographs = subject.respond(images=images)
    assert photographs.shape == (len(images), subject.n_voxels)
    assert np.isfinite(photographs).all()


def test_wrong_pictures_are_refused(subject: VirtualSubject, scenes: list[Scene]) -> None:
    with pytest.raises(InputError, match="64, 64, 3"):
        subject.respond(images=np.zeros((2, 32, 32, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="one per picture"):
        subject.respond(scenes, render(scenes[:1], 64).images)
    with pytest.raises(UsageError, match="neither"):
        subject.respond()
