"""Pictures of items, read when they are needed and brought to one size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from phosphene.data.pictures import Pictures, fit_pictures, read_picture
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.predictions import Item

__all__ = ["PairReader", "picture_sizes"]

SAME_SHAPE = 0.01  # relative difference of height to width that rounding explains


def picture_sizes(files: Sequence[Path], *, what: str) -> list[tuple[int, int]]:
    """Return (height, width) of each file from its header alone.

    Raises
    ------
    InputError
        One message for all files that are no pictures.
    """
    from PIL import Image

    sizes, broken = [], []
    for path in files:
        try:
            with Image.open(path) as image:
                sizes.append((image.height, image.width))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            broken.append(path)
    if broken:
        raise InputError(
            f"{len(broken)} of {len(files)} {what} are not readable pictures, {broken[0]} for "
            "example",
            expected="PNG or JPEG files",
            remedy="write these again, or copy them from their source",
        )
    return sizes


class PairReader:
    """Reads items and what was shown, a few at a time.

    Predictions have to be of one size, and go into metrics as they are: every metric says itself
    how it resizes. Truths of several sizes are brought to the smallest of them; where
    predictions are square and a truth is not, its middle square is compared.

    Parameters
    ----------
    items : sequence of Item
    truth : mapping of str to Path
        Shown pictures by identifier.
    size : int, optional
        Side to which both are brought first.

    Raises
    ------
    InputError
        If a file is no picture, predictions differ in size, or have another shape than what
        was shown.
    """

    def __init__(
        self, items: Sequence[Item], truth: Mapping[str, Path], *, size: int | None = None
    ) -> None:
        self.items = list(items)
        self.truth = dict(truth)
        files = [path for item in self.items for path in item.files]
        found = Counter(picture_sizes(files, what="predictions"))
        if len(found) > 1:
            counts = ", ".join(f"{n} of {h} x {w}" for (h, w), n in found.most_common(3))
            raise InputError(
                f"the predictions differ in size: {counts} pixels (height x width)",
                expected="one size for all predictions",
                remedy="bring them to one size the way they are to be judged, and evaluate again",
            )
        ((self.predicted_size, _),) = found.items()
        names = sorted({item.picture for item in self.items})
        shown = picture_sizes([self.truth[name] for name in names], what="shown pictures")
        self._check_shapes(dict(zip(names, shown, strict=True)))
        self._common = size
        self.size = self._common_size(shown, size)

    def _check_shapes(self, shown: Mapping[str, tuple[int, int]]) -> None:
        height, width = self.predicted_size
        if height == width:  # a middle square can be cut of anything
            return
        for name, (rows, columns) in shown.items():
            if abs(rows * width / (columns * height) - 1) > SAME_SHAPE:
                raise InputError(
                    f"predictions of {height} x {width} pixels beside {name!r} of "
                    f"{rows} x {columns} (height x width)",
                    expected="square predictions, or ones of the same proportions as the truth",
                    remedy="cut or resize the predictions to the proportions of what was shown",
                )

    def _common_size(self, shown: Sequence[tuple[int, int]], size: int | None) -> tuple[int, int]:
        height, width = self.predicted_size
        if size is not None:
            if height != width:
                raise InputError(
                    f"a size of {size} for predictions of {height} x {width} pixels",
                    expected="square predictions",
                    remedy="leave --size away",
                )
            return size, size
        if height == width:
            smallest = min(min(pair) for pair in shown)
            return smallest, smallest
        return min(shown)

    @property
    def size_rule(self) -> str:
        """At which size pictures are compared, for the protocol."""
        words = f"{self.size[0]} x {self.size[1]} pixels"
        if self._common is not None:
            return f"predictions and truths brought to {words}, then each metric's own resizing"
        return f"truths of {words}, then each metric's own resizing"

    @property
    def n_samples(self) -> int:
        """Samples of each item."""
        return len(self.items[0].files)

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, row: int, number: int) -> Pictures:
        """Return one sample of one item, uint8 (H, W, 3), at its own size unless one was set."""
        pixels = read_picture(self.items[row].files[number])
        if self._common is not None:
            return self.fit(pixels)
        return np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels

    def shown(self, picture: str) -> Pictures:
        """Return what was shown at the size of all truths, uint8 (H, W, 3)."""
        return self.fit(self.shown_as_stored(picture))

    def shown_as_stored(self, picture: str) -> Pictures:
        """Return what was shown at its own size, uint8 (h, w, 1 or 3)."""
        return read_picture(self.truth[picture])

    def fit(self, pixels: Pictures) -> Pictures:
        """Bring a picture to the size of the truths, uint8 (H, W, 3); grey is repeated."""
        if pixels.shape[-1] == 3 and np.ptp(pixels, axis=-1).max() == 0:
            pixels = pixels[..., :1]  # grey stays exactly grey when it is resized
        channels = pixels.shape[-1]
        height, width = self.size
        if height == width:
            fitted = fit_pictures([pixels], size=height, channels=channels)[0]
        else:
            fitted = _stretched(pixels, height, width)
        return np.repeat(fitted, 3, axis=-1) if channels == 1 else fitted


def _stretched(pixels: Pictures, height: int, width: int) -> Pictures:
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    return resized[..., None] if resized.ndim == 2 else resized
