"""Pictures in: ranges are never guessed, sizes never distorted, what fits passes unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from phosphene.data.pictures import (
    as_pictures,
    fit_pictures,
    read_picture,
    read_pictures,
    write_picture,
)
from phosphene.errors import InputError, PhospheneError, UsageError

Array = np.ndarray[Any, Any]


@pytest.fixture
def colour() -> Array:
    return np.random.default_rng(7).integers(0, 256, size=(5, 6, 8, 3), dtype=np.uint8)


def test_every_layout_is_read_as_the_same_pictures(colour: Array) -> None:
    np.testing.assert_array_equal(as_pictures(colour, source="x"), colour)
    first = as_pictures(np.moveaxis(colour, -1, 1), source="x")
    np.testing.assert_array_equal(first, colour)
    grey = colour[..., :1]
    for array in (grey, grey[..., 0], np.moveaxis(grey, -1, 1)):
        np.testing.assert_array_equal(as_pictures(array, source="x"), grey)
    assert as_pictures(np.asfortranarray(colour), source="x").flags.c_contiguous


def test_every_range_is_read_as_the_same_pictures(colour: Array) -> None:
    for array in (
        colour.astype(np.int64),
        colour.astype(np.float64) / 255,
        (colour / 255).astype(np.float32),
    ):
        np.testing.assert_array_equal(as_pictures(array, source="x"), colour)
    halves = np.array([0.0, 0.25 / 255, 0.75 / 255, 1.0]).reshape(1, 2, 2)
    assert as_pictures(halves, source="x").ravel().tolist() == [0, 0, 1, 255]
    assert as_pictures(np.ones((1, 2, 2), bool), source="x").ravel().tolist() == [255] * 4


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 6, 8, 4), np.uint8),  # transparency
        np.zeros((6, 8), np.uint8),
        np.zeros((0, 6, 8), np.uint8),
        np.zeros((2, 0, 8), np.uint8),
        np.full((2, 4, 4), 256),
        np.full((2, 4, 4), -1),
        np.ones((2, 4, 4), np.int64),  # is 1 white, or nearly black?
        np.full((2, 4, 4), 1.01),
        np.full((2, 4, 4), 200.0),
        np.full((2, 4, 4), np.nan),
        np.zeros((2, 4, 4), np.complex64),
        np.full((2, 4, 4), "a"),
    ],
)
def test_a_range_is_never_guessed(array: Array) -> None:
    with pytest.raises(InputError, match=r"shown.npy[\s\S]*Expected[\s\S]*What to do"):
        as_pictures(array, source="shown.npy")


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif"])
def test_writing_and_reading_is_exact(colour: Array, tmp_path: Path, name: str) -> None:
    for picture in (colour[0], colour[0, :, :, :1]):
        write_picture(tmp_path / name, picture)
        np.testing.assert_array_equal(read_picture(tmp_path / name), picture)
    write_picture(tmp_path / name, colour[0, :, :, 0])
    assert read_picture(tmp_path / name).shape == (6, 8, 1)


def test_kinds_of_picture_files(colour: Array, tmp_path: Path) -> None:
    image = Image.fromarray(colour[0])
    palette = image.quantize(16)
    palette.save(tmp_path / "palette.png")
    expected = np.asarray(palette.convert("RGB"))
    np.testing.assert_array_equal(read_picture(tmp_path / "palette.png"), expected)
    Image.fromarray(np.eye(4, dtype=bool)).save(tmp_path / "bits.png")
    assert read_picture(tmp_path / "bits.png")[..., 0].tolist() == (np.eye(4) * 255).tolist()
    opaque = image.convert("RGBA")
    opaque.save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "opaque.png"), colour[0])


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    levels = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)  # 0 to 65,535
    Image.fromarray(levels).save(tmp_path / "deep.png")
    found = read_picture(tmp_path / "deep.png")
    assert found.shape == (16, 16, 1)
    assert np.abs(found[..., 0].astype(int) - np.arange(256).reshape(16, 16)).max() <= 1


def test_what_leaves_open_what_was_shown_is_refused(tmp_path: Path) -> None:
    pixels = np.full((4, 5, 4), 255, np.uint8)
    pixels[1, 2, 3] = 254  # even a little transparency
    for mode in ("RGBA", "LA"):
        Image.fromarray(pixels).convert(mode).save(tmp_path / "cut-out.png")
        with pytest.raises(InputError, match=r"transparent[\s\S]*background that was shown"):
            read_picture(tmp_path / "cut-out.png")
    palette = Image.fromarray(pixels[..., 0]).convert("P")
    palette.save(tmp_path / "palette.png", transparency=255)
    with pytest.raises(InputError, match="transparent"):
        read_picture(tmp_path / "palette.png")
    for dtype in (np.float32, np.int32):
        Image.fromarray(np.ones((4, 5), dtype)).save(tmp_path / "deep.tif")
        with pytest.raises(InputError, match="32-bit values"):
            read_picture(tmp_path / "deep.tif")


def test_unreadable_pictures_are_told(colour: Array, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no picture"):
        read_picture(tmp_path / "no.png")
    write_picture(tmp_path / "a.png", colour[0])
    data = (tmp_path / "a.png").read_bytes()
    for content in (b"", b"text", data[:50], data[:18] + b"\xff\xff" + data[20:]):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(InputError, match="not a readable picture"):
            read_picture(tmp_path / "a.png")


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kind=st.sampled_from(["png", "jpg", "bmp", "tif", "webp"]),
    edits=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
)
@pytest.mark.filterwarnings("ignore")  # Pillow's remarks on what it can still read
def test_damaged_pictures_raise_only_our_errors(
    tmp_path: Path, kind: str, edits: list[tuple[int, int]]
) -> None:
    path = tmp_path / f"a.{kind}"
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(path)
    content = bytearray(path.read_bytes())
    for place, value in edits:
        content[place % len(content)] = value
    path.write_bytes(content)
    try:
        pixels = read_picture(path)
    except PhospheneError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[-1] in (1, 3)


def test_folders_are_read_by_name(colour: Array, tmp_path: Path) -> None:
    for name, picture in zip(("b", "a", "c.1"), colour, strict=False):
        write_picture(tmp_path / "deep" / f"{name}.png", picture)
    (tmp_path / "notes.txt").write_text("x")
    names, pictures = read_pictures(tmp_path)
    assert names == ["a", "b", "c.1"]
    np.testing.assert_array_equal(np.stack(list(pictures)), colour[[1, 0, 2]])
    write_picture(tmp_path / "a.bmp", colour[3])
    names, _ = read_pictures(tmp_path)  # names alone would not tell them apart any more
    assert names == ["a", "deep/a", "deep/b", "deep/c.1"]
    write_picture(tmp_path / "a.png", colour[3])
    with pytest.raises(InputError, match="several pictures named 'a'"):
        read_pictures(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        read_pictures(tmp_path / "empty")


def test_arrays_are_read_by_order(colour: Array, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=colour, y=colour[:2])
    names, pictures = read_pictures(f"{tmp_path / 'a.npz'}:x")
    assert names is None
    np.testing.assert_array_equal(pictures, colour)


def test_what_fits_passes_unchanged(colour: Array) -> None:
    square = colour[:, :, :6]
    np.testing.assert_array_equal(fit_pictures(square, size=6, channels=3), square)
    np.testing.assert_array_equal(
        fit_pictures(square[..., :1], size=6, channels=1), square[..., :1]
    )
    repeated = fit_pictures(square[..., :1], size=6, channels=3)
    np.testing.assert_array_equal(repeated, np.repeat(square[..., :1], 3, axis=-1))


def test_grey_is_weighted_as_in_itu_601() -> None:
    for colour, weight in (((255, 0, 0), 0.299), ((0, 255, 0), 0.587), ((0, 0, 255), 0.114)):
        picture = np.broadcast_to(np.array(colour, np.uint8), (1, 4, 4, 3))
        found = fit_pictures(picture, size=4, channels=1)
        assert np.abs(found.astype(float) - 255 * weight).max() <= 1


@settings(max_examples=50, deadline=None)
@given(height=st.integers(1, 40), width=st.integers(1, 40), size=st.integers(1, 24))
def test_the_middle_square_is_kept(height: int, width: int, size: int) -> None:
    """A picture that is mirror-symmetric stays so: nothing is shifted or distorted."""
    y = np.abs(np.arange(height) - (height - 1) / 2)[:, None]
    x = np.abs(np.arange(width) - (width - 1) / 2)[None, :]
    picture = np.clip(6 * (y + x), 0, 255).astype(np.uint8)[None, ..., None]
    fitted = fit_pictures(picture, size=size, channels=1)
    assert fitted.shape == (1, size, size, 1)
    if (max(height, width) * size) % min(height, width) == 0:
        long = max(height, width) * size // min(height, width)
        if (long - size) % 2 == 0:  # the cut can be centred
            np.testing.assert_allclose(fitted, fitted[:, ::-1].astype(int), atol=1)
            np.testing.assert_allclose(fitted, fitted[:, :, ::-1].astype(int), atol=1)


def test_a_flat_picture_stays_flat() -> None:
    picture = np.full((1, 9, 31, 3), 77, np.uint8)
    assert (fit_pictures(picture, size=12, channels=3) == 77).all()


def test_wrong_use() -> None:
    with pytest.raises(UsageError, match="`channels` is 2"):
        fit_pictures(np.zeros((1, 4, 4, 1), np.uint8), size=4, channels=2)
    with pytest.raises(InputError, match="no pictures"):
        fit_pictures([], size=4, channels=1)


@settings(max_examples=80, deadline=None)
@given(
    array=hnp.arrays(
        dtype=st.sampled_from(["u1", "i2", "f2", "f4", "f8", "?", "c8", "u8", "U1"]),
        shape=hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
    )
)
def test_any_array_is_pictures_or_our_error(array: Array) -> None:
    try:
        found = as_pictures(array, source="x")
    except InputError:
        return
    assert found.dtype == np.uint8
    assert found.ndim == 4
    assert found.shape[-1] in (1, 3)
