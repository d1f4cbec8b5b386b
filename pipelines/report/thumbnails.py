"""Pictures as data addresses, all in one encoding that keeps the page small."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from phosphene.data.pictures import Pictures

__all__ = ["BUDGET", "Thumbnails", "encode_pictures", "png_address"]

MAX_SIDE = 256
BUDGET = 1_800_000  # bytes of picture files on one page, before a third more for base64
# Lossless where it fits; then smaller and smaller.
STEPS = (("png", 256, 0), ("webp", 256, 84), ("webp", 192, 80), ("webp", 128, 78), ("webp", 96, 72))


@dataclass(frozen=True)
class Thumbnails:
    """Encoded pictures.

    Attributes
    ----------
    addresses : list of str
        ``data:image/...;base64,...`` in the order given.
    note : str
        What was done to them; empty where every pixel is as it was.
    """

    addresses: list[str]
    note: str


def encode_pictures(pictures: Sequence[Pictures], *, budget: int = BUDGET) -> Thumbnails:
    """Encode pictures (H, W, 1 or 3) in the first of several ways that fits ``budget`` bytes.

    Small sets stay lossless; large ones become WebP of 256 pixels or less. The last way is taken
    whatever its size.
    """
    largest = max((max(one.shape[:2]) for one in pictures), default=0)
    for kind, side, quality in STEPS:
        files: list[bytes] = []
        total = 0
        for pixels in pictures:
            files.append(_file(pixels, kind, side, quality))
            total += len(files[-1])
            if total > budget and (kind, side, quality) != STEPS[-1]:
                break
        else:
            break
    resized = f"shrunk to at most {side} pixels" if largest > side else ""
    lossy = "compressed with small losses" if kind != "png" else ""
    return Thumbnails(
        [_address(data, kind) for data in files], " and ".join(filter(None, (resized, lossy)))
    )


def png_address(data: bytes) -> str:
    """Return the content of a PNG file as a data address."""
    return _address(data, "png")


def _file(pixels: Pictures, kind: str, side: int, quality: int) -> bytes:
    from PIL import Image

    flat = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    image = Image.fromarray(np.ascontiguousarray(flat))
    if max(image.size) > side:
        scale = side / max(image.size)
        width, height = (max(1, round(length * scale)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if kind == "png":
        image.save(buffer, format="PNG")
    else:
        image.convert("RGB").save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()


def _address(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(data).decode("ascii")
