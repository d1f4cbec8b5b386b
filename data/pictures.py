"""Pictures in: folders, arrays and archives become uint8 arrays of one size."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, overload

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.storage import atomic_path, hash_bytes, load_array

if TYPE_CHECKING:
    import PIL.Image

__all__ = [
    "PICTURE_SUFFIXES",
    "PictureFiles",
    "Pictures",
    "as_pictures",
    "decode_picture",
    "fit_pictures",
    "picture_hash",
    "read_picture",
    "read_pictures",
    "write_picture",
]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
Pictures = np.ndarray[Any, np.dtype[np.uint8]]


def as_pictures(array: np.ndarray[Any, Any], *, source: str) -> Pictures:
    """Return pictures as uint8 of shape (n, H, W, C) with C of 1 or 3.

    Parameters
    ----------
    array : ndarray
        ``(n, H, W)``, ``(n, H, W, C)`` or ``(n, C, H, W)``; uint8, whole numbers of 0..255,
        booleans, or floats of 0..1 (rounded to the nearest of 256 levels).
    source : str
        Where it came from, for messages.

    Raises
    ------
    InputError
        On any other shape, range or type: a range is never guessed.
    """
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim == 4 and array.shape[-1] not in (1, 3) and array.shape[1] in (1, 3):
        array = np.moveaxis(array, 1, -1)
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or 0 in array.shape:
        raise InputError(
            f"{source} has the shape {array.shape}",
            expected="pictures as (n, H, W), (n, H, W, 1 or 3) or (n, 1 or 3, H, W)",
            remedy="reshape or split the array: one picture per row",
        )
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == bool:
        return array.astype(np.uint8) * np.uint8(255)
    low, high = (float(array.min()), float(array.max())) if array.dtype.kind in "iuf" else (0, 0)
    if array.dtype.kind in "iu" and low >= 0 and 1 < high <= 255:
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and low >= 0.0 and high <= 1.0:
        return np.rint(np.asarray(array, dtype=np.float64) * 255).astype(np.uint8)
    raise InputError(
        f"{source} holds {array.dtype} values from {low:g} to {high:g}",
        expected="uint8 (0 to 255) or floats from 0 to 1",
        remedy="rescale the pictures to one of these ranges",
    )


def read_picture(path: str | os.PathLike[str]) -> Pictures:
    """Read one picture file as uint8 (H, W, C), C of 1 (grey) or 3."""
    source = Path(path)
    if not source.is_file():
        raise InputError(
            f"there is no picture {source}",
            "a picture file",
            remedy="check the path, or prepare the dataset again",
        )
    return decode_picture(source, source=str(source))


def decode_picture(file: Path | BinaryIO, *, source: str) -> Pictures:
    """Read one picture, named ``source`` in messages, as uint8 (H, W, C), C of 1 (grey) or 3."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as image:
            _check_meaning(source, image)
            if image.mode.startswith("I;16"):
                pixels = (np.asarray(image) >> 8).astype(np.uint8)
            else:
                grey = image.mode in ("1", "L", "LA")
                pixels = np.asarray(image.convert("L" if grey else "RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(
            f"{source} is not a readable picture ({error})",
            "a PNG or JPEG",
            remedy="open it in a viewer and save it again as PNG, or copy it from its source",
        ) from error
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{source} is far too large ({error})",
            expected=f"at most {Image.MAX_IMAGE_PIXELS} pixels",
            remedy="shrink the picture first",
        ) from error
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _check_meaning(source: str, image: PIL.Image.Image) -> None:
    """Refuse a file that leaves open which grey levels or colours were shown."""
    if image.mode in ("I", "F"):
        raise InputError(
            f"{source} holds 32-bit values",
            expected="8 or 16 bits per channel, whose black and white are known",
            remedy="save it again with 8 bits",
        )
    if image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema()[0] != 255:
        raise InputError(
            f"{source} is transparent in places",
            expected="an opaque picture: nobody sees transparency, but the screen behind it",
            remedy="flatten it onto the background that was shown and save it again",
        )


def write_picture(path: str | os.PathLike[str], pixels: Pictures) -> None:
    """Write (H, W, C) or (H, W) uint8 as a picture file, atomically."""
    from PIL import Image

    flat = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    with atomic_path(path) as temporary:
        Image.fromarray(flat).save(temporary)


class PictureFiles(Sequence[Pictures]):
    """Pictures of many files, each read when it is asked for: memory does not grow with them."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Pictures: ...
    @overload
    def __getitem__(self, index: slice) -> PictureFiles: ...
    def __getitem__(self, index: int | slice) -> Pictures | PictureFiles:
        if isinstance(index, slice):
            return PictureFiles(self.files[index])
        return read_picture(self.files[index])


def read_pictures(
    source: str | os.PathLike[str],
) -> tuple[list[str] | None, Pictures | PictureFiles]:
    """Open a folder of picture files, or read an ``.npy``/``.npz`` array.

    Returns
    -------
    names : list of str or None
        File names without their ending, sorted (with their folders, where names alone would not
        tell them apart); ``None`` for an array.
    pictures : ndarray or PictureFiles
        One array (n, H, W, C) where ``source`` is an array.
    """
    path = Path(source)
    if not path.is_dir():
        return None, as_pictures(load_array(source), source=str(source))
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURE_SUFFIXES)
    if not files:
        raise InputError(
            f"the folder {path} holds no pictures",
            expected=f"files ending in {', '.join(PICTURE_SUFFIXES)}",
            remedy="check the folder; convert pictures of another kind to PNG",
        )
    names = [file.stem for file in files]
    if len(set(names)) < len(names):
        names = [file.relative_to(path).with_suffix("").as_posix() for file in files]
    twice = [one for one, two in pairwise(sorted(names)) if one == two]
    if twice:
        raise InputError(
            f"the folder {path} holds several pictures named {twice[0]!r}",
            expected="one file per name: the name is the picture's identifier",
            remedy="give every picture its own name",
        )
    return names, PictureFiles(files)


def fit_pictures(pictures: Iterable[Pictures], *, size: int, channels: int) -> Pictures:
    """Bring pictures to one size: the shorter side to ``size``, then the middle square.

    Parameters
    ----------
    pictures : iterable of ndarray (H, W, C)
        uint8, C of 1 or 3.
    size : int
        Side of the result in pixels.
    channels : {1, 3}
        Colour becomes grey by ITU-R 601 weights; grey is repeated.

    Returns
    -------
    ndarray of shape (n, size, size, channels)
        uint8. A picture that fits already is passed through unchanged; others are resized
        by Pillow's antialiased bilinear filter.
    """
    from PIL import Image

    if channels not in (1, 3):
        raise UsageError(f"`channels` is {channels}", expected="1 (grey) or 3 (colour)")
    fitted = []
    for pixels in pictures:
        if pixels.shape == (size, size, channels):
            fitted.append(pixels)
            continue
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        image = image.convert("L" if channels == 1 else "RGB")
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        cut = np.asarray(image.crop((left, top, left + size, top + size)))
        fitted.append(cut[..., None] if channels == 1 else cut)
    if not fitted:
        raise InputError("no pictures were given", expected="at least one")
    return np.stack(fitted)


def picture_hash(pixels: Pictures) -> str:
    """Return the identity of a picture's content: shape and pixels."""
    return hash_bytes(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes())[:16]
