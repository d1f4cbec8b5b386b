from __future__ import annotations

import numpy as np
import pytest

from phosphene.data.virtual import AREA_NAMES, VirtualSubject
from phosphene.data.virtual.anatomy import FOVEAL_SCALE, MAGNIFICATION, build_anatomy, distances
from phosphene.data.virtual.areas import AREAS
from phosphene.data.virtual.draws import Stream
from phosphene.errors import UsageError


@pytest.mark.parametrize("label", ["01", "02", "anna"])
def test_every_label_has_all_areas_in_both_hemispheres(label: str) -> None:
    anatomy = build_anatomy(label)
    assert 2000 <= anatomy.n_voxels <= 4000
    for name in AREA_NAMES:
        for side in (0, 1):
            assert ((anatomy.area_names == name) & (anatomy.hemisphere == side)).sum() > 50
    assert np.all((anatomy.positions[:, 0] >= 0) == anatomy.hemisphere)


def test_labels_differ_and_repeat() -> None:
    one, again, other = build_anatomy("01"), build_anatomy("01"), build_anatomy("02")
    assert one.space.hash == again.space.hash != other.space.hash
    np.testing.assert_array_equal(one.rf_x, again.rf_x)


def test_early_areas_see_the_other_side_and_v1_is_upside_down() -> None:
    anatomy = build_anatomy("01")
    v1 = anatomy.area_names == "V1"
    left = v1 & (anatomy.hemisphere == 0) & (anatomy.eccentricity > 1)
    assert (anatomy.rf_x[left] > -0.5).mean() > 0.95
    assert np.corrcoef(anatomy.rf_y[left], anatomy.positions[left, 2])[0, 1] < -0.8


def test_v1_follows_cortical_magnification() -> None:
    """Pairs of V1 voxels along the front-back axis are apart as the magnification says."""
    anatomy = build_anatomy("01")
    v1 = np.flatnonzero((anatomy.area_names == "V1") & (anatomy.hemisphere == 0))
    pole = np.array([[anatomy.positions[v1, 0].min(), anatomy.positions[:, 1].min(), 4.0]])
    along = distances(pole, anatomy.positions[v1])[0]
    mapped = MAGNIFICATION * np.log1p(anatomy.eccentricity[v1] / FOVEAL_SCALE)
    assert np.corrcoef(along, mapped)[0, 1] > 0.9


def test_receptive_field_sizes_are_those_of_the_areas() -> None:
    anatomy = build_anatomy("02")
    for area in AREAS[:5]:
        here = anatomy.area_names == area.name
        expected = area.sigma + area.sigma_slope * anatomy.eccentricity[here]
        assert np.median(anatomy.rf_sigma[here] / expected) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("label", ["", "a b", "sub/1", "é"])
def test_a_wrong_label_is_refused(label: str) -> None:
    with pytest.raises(UsageError, match="letters and digits"):
        VirtualSubject(label)


def test_an_unknown_preset_is_refused_with_the_choices() -> None:
    with pytest.raises(UsageError, match="lab-3t"):
        VirtualSubject("01", preset="3t")


def test_streams_have_the_moments_they_should() -> None:
    normal, uniform = Stream("moments").normal(40_000), Stream("moments").uniform(40_000)
    assert normal.mean() == pytest.approx(0, abs=0.02)
    assert normal.std() == pytest.approx(1, abs=0.02)
    assert 0 < uniform.min() < uniform.max() < 1
