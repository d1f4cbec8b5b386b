"""A target of pictures as an eye sees them: sharp where it looks, blurred further out.

Wu et al. 2025 (Uncertainty-aware Blur Prior): of brief pictures, EEG tells the middle and the
coarse; targets of pictures blurred with eccentricity are easier to predict. The blur is a part of
the target's identity, so that no cache confuses two of them. Retrieval compares with what the
target makes of pictures: a gallery is blurred as the training pictures were, and a result names
the target.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from phosphene.component import CONFIG_NAME, WEIGHTS_NAME, check_tensors, record_config
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.nested import load_inner, save_inner
from phosphene.errors import InputError, UsageError
from phosphene.schemas import ComponentFile, TargetSpec
from phosphene.storage import load_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["FoveatedTarget", "foveate"]

Array = np.ndarray[Any, Any]
LEVELS = 6  # blurred copies that every place is interpolated from
INNER = "inner"


def foveate(picture: Pictures, blur: float, growth: float = 3.0) -> Pictures:
    """Return a picture blurred by a Gaussian that grows with the distance from the middle.

    The standard deviation at eccentricity r (1 in the corners) is ``blur`` times the shorter side
    times ``(exp(growth r) - 1) / (exp(growth) - 1)``, or times r where ``growth`` is 0.

    Parameters
    ----------
    picture : ndarray of shape (H, W, C)
        uint8.
    blur : float
        Standard deviation in the corners, in shorter sides of the picture. A kernel of 51 pixels
        on 224, as published, is .036.
    growth : float
        How late the blur sets in.

    Returns
    -------
    ndarray of shape (H, W, C), uint8
    """
    from scipy.ndimage import gaussian_filter

    if blur == 0:
        return picture
    height, width = picture.shape[:2]
    y, x = (np.linspace(-1, 1, count) if count > 1 else np.zeros(1) for count in (height, width))
    eccentricity = np.hypot(y[:, None], x[None, :]) / np.sqrt(2)
    share = np.expm1(growth * eccentricity) / np.expm1(growth) if growth else eccentricity
    place = share * (LEVELS - 1)
    lower = np.clip(np.floor(place).astype(int), 0, LEVELS - 2)
    weight = (place - lower)[:, :, None]
    deviations = blur * min(height, width) * np.arange(LEVELS) / (LEVELS - 1)
    values = picture.astype(np.float32)
    out = np.zeros_like(values)
    for level, deviation in enumerate(deviations):
        copy = gaussian_filter(values, (deviation, deviation, 0), mode="nearest")
        # Every place takes from its two nearest levels what lies between them.
        out += copy * ((lower == level)[:, :, None] * (1 - weight))
        out += copy * ((lower + 1 == level)[:, :, None] * weight)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


class FoveatedTarget(StimulusEncoder):
    """Another target, of pictures that were blurred with eccentricity.

    Parameters
    ----------
    inner : StimulusEncoder
        Saved in the folder ``inner``.
    blur, growth : float
        As for :func:`foveate`.
    """

    name = "foveated"

    def __init__(self, inner: StimulusEncoder, blur: float = 0.036, growth: float = 3.0) -> None:
        self._settle(blur, growth)
        self.inner = inner

    @record_config
    def _settle(self, blur: float, growth: float) -> None:
        if not (np.isfinite([blur, growth]).all() and blur >= 0 and growth >= 0):
            raise UsageError(
                f"a blur of {blur} that grows by {growth}", expected="numbers from 0 up"
            )
        self.blur, self.growth = float(blur), float(growth)

    @property
    def can_decode(self) -> bool:  # type: ignore[override]
        """Whether the target inside can: it gives the blurred picture back."""
        return self.inner.can_decode

    @property
    def training_picture_hashes(self) -> frozenset[str]:  # type: ignore[override]
        """Pictures that the target inside learned from."""
        return self.inner.training_picture_hashes

    @property
    def spec(self) -> TargetSpec:
        spec = self.inner.spec
        blurred = {"foveal_blur": self.blur, "foveal_growth": self.growth}
        return spec.model_copy(
            update={
                "name": f"foveated {spec.name}",
                "preprocessing": dict(spec.preprocessing) | blurred,
            }
        )

    def encode(self, pictures: Iterable[Pictures]) -> torch.Tensor:
        def blurred() -> Iterator[Pictures]:
            for picture in pictures:
                yield foveate(picture, self.blur, self.growth)

        return self.inner.encode(blurred())

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        return self.inner.decode(embedding)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        check_tensors({}, tensors, owner="target foveated")

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the target, and the one inside into ``inner/``."""
        super().save_pretrained(folder)
        save_inner(self.inner, Path(folder) / INNER)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        """Build the target that :meth:`save_pretrained` wrote."""
        source = Path(folder)
        stored = ComponentFile.load(source / CONFIG_NAME)
        if stored.name != cls.name or set(stored.config) != {"blur", "growth"}:
            raise InputError(
                f"{source} holds the target {stored.name!r} with {', '.join(stored.config)}",
                expected=f"the target {cls.name!r} with blur and growth",
                remedy="name the folder of the right part",
            )
        found = cls(load_inner(source / INNER), **stored.config)
        found.load_tensors(load_tensors(source / WEIGHTS_NAME))
        return found
