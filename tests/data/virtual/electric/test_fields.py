"""Fields of dipoles in a sphere, against MNE and against closed forms."""

from __future__ import annotations

import mne
import numpy as np
import pytest

from phosphene.data.virtual.electric.conductor import (
    CONDUCTIVITIES,
    HEAD_RADIUS,
    RADII,
    axial_gradiometers,
    electrodes,
)
from phosphene.data.virtual.electric.sensors import (
    OCCIPITAL_17,
    THINGS_63,
    electrode_directions,
    helmet_directions,
)
from phosphene.errors import InputError


def dipoles() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    positions = rng.normal(size=(6, 3))
    positions /= np.linalg.norm(positions, axis=1, keepdims=True)
    positions *= np.array([0.02, 0.04, 0.055, 0.065, 0.072, 0.078])[:, None]
    moments = rng.normal(size=(6, 3))
    return positions, moments / np.linalg.norm(moments, axis=1, keepdims=True)


def by_mne(info: mne.Info, positions: np.ndarray, moments: np.ndarray) -> np.ndarray:
    sphere = mne.make_sphere_model(
        (0, 0, 0), HEAD_RADIUS, relative_radii=RADII, sigmas=CONDUCTIVITIES, verbose="error"
    )
    n = len(positions)
    dipole = mne.Dipole(np.zeros(n), positions, np.ones(n), moments, np.ones(n))
    forward, _ = mne.make_forward_dipole(dipole, sphere, info, trans=None, verbose="error")
    return forward["sol"]["data"]


def test_potentials_are_those_of_mne() -> None:
    directions = electrode_directions(THINGS_63)
    info = mne.create_info(list(THINGS_63), 250.0, "eeg")
    for channel, place in zip(info["chs"], directions * HEAD_RADIUS, strict=True):
        channel["loc"][:3], channel["loc"][3:6] = place, 0
    positions, moments = dipoles()
    theirs, ours = by_mne(info, positions, moments), electrodes(positions, moments, directions)
    for a, b in zip((theirs - theirs.mean(0)).T, (ours - ours.mean(0)).T, strict=True):
        # MNE approximates the series by a few dipoles.
        assert np.corrcoef(a, b)[0, 1] > 0.9999
        assert np.linalg.norm(b) == pytest.approx(np.linalg.norm(a), rel=2e-3)


def test_fields_are_those_of_mne() -> None:
    directions = helmet_directions(80)
    info = mne.create_info([f"M{k}" for k in range(80)], 250.0, "mag")
    for channel, outwards in zip(info["chs"], directions, strict=True):
        across = np.cross(outwards, [1.0, 0.3, 0.2])
        across /= np.linalg.norm(across)
        axes = np.stack([across, np.cross(outwards, across), outwards])
        channel["loc"][:3], channel["loc"][3:12] = outwards * 0.115, axes.ravel()
        channel["coil_type"] = mne.io.constants.FIFF.FIFFV_COIL_CTF_GRAD
        channel["coord_frame"] = mne.io.constants.FIFF.FIFFV_COORD_DEVICE
    with info._unlock():
        info["dev_head_t"] = mne.transforms.Transform("meg", "head")
    positions, moments = dipoles()
    theirs = by_mne(info, positions, moments)
    ours = axial_gradiometers(positions, moments, directions * 0.115)
    for a, b in zip(theirs.T, ours.T, strict=True):
        assert abs(np.corrcoef(a, b)[0, 1]) > 0.999  # MNE integrates over the coil
        assert np.linalg.norm(b) == pytest.approx(np.linalg.norm(a), rel=0.03)


def test_one_shell_is_the_closed_form_of_a_homogeneous_sphere() -> None:
    """A dipole at the centre: V = 3 q cos(angle) / (4 pi sigma R^2)."""
    directions = electrode_directions(("Cz", "Oz", "T7"))
    near_centre = np.array([[0.0, 0.0, 1e-6]])
    found = electrodes(
        near_centre, np.array([[0.0, 0.0, 2.0]]), directions, radii=(1.0,), conductivities=(0.3,)
    )
    expected = 3 * 2.0 * directions[:, 2] / (4 * np.pi * 0.3 * HEAD_RADIUS**2)
    np.testing.assert_allclose(found[:, 0], expected, rtol=1e-4, atol=0.01)


def test_equal_shells_are_one_shell() -> None:
    positions, moments = dipoles()
    directions = electrode_directions(OCCIPITAL_17)
    three = electrodes(positions, moments, directions, conductivities=(0.3, 0.3, 0.3))
    one = electrodes(positions, moments, directions, radii=(1.0,), conductivities=(0.3,))
    np.testing.assert_allclose(three, one, rtol=1e-9)


def test_the_skull_blurs() -> None:
    positions, moments = np.array([[0.0, -0.07, 0.0]]), np.array([[0.0, -1.0, 0.0]])
    directions = electrode_directions(THINGS_63)
    bare = electrodes(positions, moments, directions, conductivities=(0.33, 0.33, 0.33))[:, 0]
    behind = electrodes(positions, moments, directions)[:, 0]
    oz, po7 = THINGS_63.index("Oz"), THINGS_63.index("PO7")
    assert behind[oz] < 0.5 * bare[oz]
    assert behind[po7] / behind[oz] > 1.3 * bare[po7] / bare[oz]


def test_magnetometers_do_not_see_radial_dipoles() -> None:
    positions, _ = dipoles()
    outwards = positions / np.linalg.norm(positions, axis=1, keepdims=True)
    tangential = np.cross(outwards, [0.3, 0.2, 1.0])
    sensors = helmet_directions(50) * 0.115
    silent = np.abs(axial_gradiometers(positions, outwards, sensors)).max()
    assert silent < 1e-9 * np.abs(axial_gradiometers(positions, tangential, sensors)).max()


def test_electrodes_stand_where_their_names_say() -> None:
    place = dict(zip(THINGS_63, electrode_directions(THINGS_63), strict=True))
    np.testing.assert_allclose(np.linalg.norm(list(place.values()), axis=1), 1)
    assert place["Oz"][1] < -0.99
    assert place["Cz"][2] > 0.99
    for left, right in (("O1", "O2"), ("P7", "P8"), ("C3", "C4"), ("TP9", "TP10"), ("F5", "F6")):
        np.testing.assert_allclose(place[left] * [-1, 1, 1], place[right], atol=1e-12)
        assert place[left][0] < 0
    assert place["P7"][2] < place["P5"][2] < place["P3"][2] < place["P1"][2] < place["Pz"][2]
    assert THINGS_63[-17:] == OCCIPITAL_17
    assert "Fz" not in THINGS_63
    with pytest.raises(InputError, match="QQ1"):
        electrode_directions(("Oz", "QQ1"))


def test_electrodes_are_near_the_standard_montage_of_mne() -> None:
    standard = mne.channels.make_standard_montage("standard_1005").get_positions()["ch_pos"]
    measured = np.array([standard[name] for name in THINGS_63])
    measured -= (measured.max(axis=0) + measured.min(axis=0)) / 2
    measured /= np.linalg.norm(measured, axis=1, keepdims=True)
    angles = np.degrees(np.arccos((measured * electrode_directions(THINGS_63)).sum(axis=1)))
    assert np.median(angles) < 20  # a head is no sphere, and its centre is a matter of taste


def test_a_helmet_has_as_many_sensors_as_asked_for_and_no_face() -> None:
    for count in (102, 271):
        directions = helmet_directions(count)
        assert directions.shape == (count, 3)
        apart = np.arccos(np.clip(directions @ directions.T - 2 * np.eye(count), -1, 1))
        assert np.degrees(apart.min()) > 5
        assert not ((directions[:, 1] > 0.35) & (directions[:, 2] < 0.1)).any()
