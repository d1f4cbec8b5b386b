"""Targets made of other targets: blurred with eccentricity, and several side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.foveated import FoveatedTarget, foveate
from phosphene.encoders.stimulus.fused import FusedTarget
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.model_folder import load_component
from phosphene.pipelines.training.materials import load_target


def pictures(n: int = 6, size: int = 33) -> Pictures:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8)


def test_the_middle_stays_and_the_corners_are_a_gaussian_of_their_own() -> None:
    picture = pictures(1)[0]
    found = foveate(picture, 0.06, growth=3.0)
    np.testing.assert_array_equal(found[16, 16], picture[16, 16])
    deviation = 0.06 * 33
    corner = gaussian_filter(picture.astype(float), (deviation, deviation, 0), mode="nearest")
    np.testing.assert_allclose(found[0, 0], corner[0, 0], atol=1)
    change = np.abs(found.astype(float) - picture).mean(axis=2)
    radius = np.hypot(*(np.mgrid[:33, :33] - 16))
    near, between, far = (
        change[(radius >= low) & (radius < high)].mean()
        for low, high in ((0, 5), (8, 13), (17, 24))
    )
    assert near < between < far


def test_no_blur_and_constant_pictures_change_nothing() -> None:
    picture = pictures(1)[0]
    np.testing.assert_array_equal(foveate(picture, 0.0), picture)
    constant = np.full((20, 30, 1), 77, np.uint8)
    np.testing.assert_array_equal(foveate(constant, 0.2, growth=0.0), constant)
    with pytest.raises(UsageError):
        FoveatedTarget(PixelTarget(8, 1), blur=-0.1)


def test_a_foveated_target_is_another_target_and_comes_back(tmp_path: Path) -> None:
    inner = PixelTarget(16, 1)
    one, other = FoveatedTarget(inner, 0.05), FoveatedTarget(inner, 0.1)
    assert len({inner.spec.hash, one.spec.hash, other.spec.hash}) == 3
    assert one.can_decode
    shown = pictures()
    expected = inner.encode([foveate(picture, 0.05) for picture in shown])
    assert torch.equal(one.encode(shown), expected)
    one.save_pretrained(tmp_path / "t")
    for again in (load_component(tmp_path / "t", STIMULUS_ENCODERS),
                  load_target(f"local-dir:{tmp_path / 't'}")):  # fmt: skip
        assert again.spec == one.spec
        assert torch.equal(again.encode(shown[:2]), expected[:2])


def test_fused_parts_have_equal_weight_whatever_their_width_and_unit(tmp_path: Path) -> None:
    shown = pictures(40)
    fused = FusedTarget([PixelTarget(2, 1), PixelTarget(8, 3)])
    with pytest.raises(UsageError, match="not fitted"):
        fused.encode(shown)
    values = fused.fit(shown).encode(shown)
    assert values.shape == (40, 4 + 192)
    torch.testing.assert_close(values.mean(dim=0), torch.zeros(196), atol=1e-5, rtol=0)
    for part in (values[:, :4], values[:, 4:]):
        torch.testing.assert_close(part.var(dim=0).sum(), torch.tensor(1.0))
    torch.testing.assert_close(fused.encode(shown[:3]), values[:3])  # nothing of the others
    fused.save_pretrained(tmp_path / "t")
    again = load_component(tmp_path / "t", STIMULUS_ENCODERS)
    assert again.spec == fused.spec
    assert torch.equal(again.encode(shown), values)
    fewer = FusedTarget([PixelTarget(2, 1), PixelTarget(8, 3)]).fit(shown[:20])
    assert fewer.spec.hash != fused.spec.hash  # measured on other pictures, another target


def test_what_cannot_be_fused_is_refused() -> None:
    with pytest.raises(UsageError, match="two or more"):
        FusedTarget([PixelTarget(2, 1)])
    constant = np.zeros((4, 9, 9, 3), np.uint8)
    with pytest.raises(InputError, match="the same for every picture"):
        FusedTarget([PixelTarget(2, 1), PixelTarget(3, 1)]).fit(constant)
