"""Fine detail of a rendered picture, lent by a training picture that is found by its features.

What a recording says of textures and outlines is spread over few directions: too few to draw
them, enough to find a picture that has them. Its fine detail is put on the coarse picture that a
generator rendered, as bands of a pyramid are joined (Burt and Adelson 1983, *ACM Transactions on
Graphics* 2) and as examples sharpen a blurred picture (Freeman, Jones and Pasztor 2002). Colours
and places stay those of the generator; edges finer than the blur are those of a training
picture, and were not decoded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from phosphene.batches import in_equal_blocks
from phosphene.component import Component, record_config
from phosphene.data.pictures import Pictures
from phosphene.errors import InputError, UsageError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BorrowedDetail"]

BLOCK, BATCH = 8, 1000
LEVELS = 127  # of a key in one byte


class BorrowedDetail(Component):
    """Training pictures by their features, and the scale below which they lend detail.

    Parameters
    ----------
    target : str
        Hash of the spec of the features.
    blur : float
        Standard deviation of the Gaussian, in pixels, that parts coarse from fine; 0 lends
        nothing.
    scenes : str
        Version of the renderer, where the pictures are its first training scenes and are drawn
        when needed; empty where their latents are kept.
    """

    kind = "detail"
    name = "borrowed"

    @record_config
    def __init__(self, target: str, blur: float = 0.0, scenes: str = "") -> None:
        if not 0 <= blur < np.inf:
            raise UsageError(f"`blur` is {blur}", expected="pixels, 0 or more")
        self.target, self.blur, self.scenes = target, blur, scenes
        _check_version(scenes)
        self._tensors: dict[str, Tensor] = {}

    def fit(
        self,
        features: Tensor,
        predicted: Tensor,
        *,
        components: int = 96,
        latents: Tensor | None = None,
    ) -> BorrowedDetail:
        """Learn where to search, and remember the pictures.

        Parameters
        ----------
        features : Tensor of shape (n, d)
            Of the pictures, standardised.
        predicted : Tensor of shape (m, d)
            Left-out predictions: their main directions are those in which is searched, and they
            tell how similar each picture usually is.
        components : int
            Number of these directions.
        latents : Tensor of shape (n, c, h, w), optional
            The pictures themselves, unless they are scenes.
        """
        import torch

        kept = features if latents is None else latents
        if (latents is None) != bool(self.scenes) or len(kept) != len(features):
            raise InputError(
                "detail without pictures, or with two kinds of them",
                expected="latents of each picture, or the renderer's scenes",
            )
        predictions = predicted.double()
        moment = predictions.T @ predictions
        axes = torch.linalg.eigh(moment).eigenvectors[:, -components:].flip(1).float()
        keys = torch.nn.functional.normalize(features.float(), dim=1) @ axes
        step = keys.abs().amax(0).clamp_min(1e-12) / LEVELS
        self._tensors = {"axes": axes, "step": step, "keys": (keys / step).round().to(torch.int8)}
        usual, spread = self._usual(predicted.float())
        self._tensors |= {"usual": usual, "spread": spread}
        if latents is not None:
            self._tensors["latents"] = latents.half()
        return self

    def with_blur(self, blur: float) -> BorrowedDetail:
        """Return the same with another scale."""
        found = BorrowedDetail(self.target, blur, self.scenes)
        found._tensors = self._tensors
        return found

    def __len__(self) -> int:
        return len(self._tensors["keys"])

    def find(self, decoded: Tensor) -> Tensor:
        """Return the picture (n,) that decoded features (n, d) point to most.

        That is the greatest cosine, measured for each picture against its usual one: some are
        close to every prediction (hubs, Radovanovic, Nanopoulos and Ivanovic 2010, *JMLR* 11).
        """
        usual, spread = self._tensors["usual"].float(), self._tensors["spread"].float()
        return in_equal_blocks(
            lambda rows: ((self._cosines(rows) - usual) / spread).argmax(1),
            decoded.float().cpu(),
            size=BLOCK,
        )

    def _cosines(self, decoded: Tensor) -> Tensor:
        """Return similarities (m, n) of m predictions, as far as keys of one byte tell."""
        from torch.nn.functional import normalize

        axes, step = self._tensors["axes"].float(), self._tensors["step"].float()
        keys = self._tensors["keys"].float() * step
        return normalize(decoded, dim=1) @ axes @ keys.T

    def _usual(self, predicted: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and deviation (n,) of each picture's similarity to predictions of others."""
        import torch

        total, squares = torch.zeros(2, len(self), dtype=torch.float64)
        for rows in predicted.split(BATCH):
            cosines = self._cosines(rows).double()
            total += cosines.sum(0)
            squares += cosines.square().sum(0)
        mean = total / len(predicted)
        deviation = (squares / len(predicted) - mean**2).clamp_min(1e-12).sqrt()
        return mean.float(), deviation.float()

    def lend(
        self, pictures: Pictures, decoded: Tensor, *, decode: Callable[[Tensor], Tensor]
    ) -> Pictures:
        """Return pictures with borrowed detail.

        Parameters
        ----------
        pictures : ndarray of shape (n, H, H, 3)
            uint8, as rendered.
        decoded : Tensor of shape (n, d)
            Features of the second network.
        decode : callable
            Latents (n, c, h, w) to pictures (n, 3, H, H) in 0..1.
        """
        from scipy.ndimage import gaussian_filter

        rows = self.find(decoded)
        lenders = self._pictures(rows, pictures.shape[1], decode)
        found = np.empty_like(pictures)
        for item, (coarse, fine) in enumerate(zip(pictures, lenders, strict=True)):
            difference = coarse.astype(np.float32) - fine
            smooth = gaussian_filter(difference, (self.blur, self.blur, 0), mode="nearest")
            found[item] = np.clip(np.rint(fine + smooth), 0, 255)
        return found

    def _pictures(self, rows: Tensor, size: int, decode: Callable[[Tensor], Tensor]) -> Pictures:
        if self.scenes:
            from phosphene.data.scenes import render, sample_scenes

            numbers, places = np.unique(rows.numpy(), return_inverse=True)
            scenes = [scene for row in numbers for scene in sample_scenes(int(row), int(row) + 1)]
            drawn: Pictures = render(scenes, size).images
            return np.asarray(drawn[places])
        latents = self._tensors["latents"][rows].float()
        found = in_equal_blocks(decode, latents, size=BLOCK).clamp(0, 1) * 255
        return np.asarray(found.round().permute(0, 2, 3, 1).cpu().numpy().astype(np.uint8))

    def tensors(self) -> dict[str, Tensor]:
        return dict(self._tensors)

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`tensors` returned; anything else is an error."""
        shapes = {name: tuple(value.shape) for name, value in tensors.items()}
        names = {"axes", "step", "keys", "usual", "spread"}
        names |= set() if self.scenes else {"latents"}
        fits = set(shapes) == names and len(shapes["keys"]) == len(shapes["axes"]) == 2
        fits = fits and (shapes["keys"][1],) == shapes["step"] == shapes["axes"][1:]
        fits = fits and shapes["usual"] == shapes["spread"] == shapes["keys"][:1]
        if not fits or (not self.scenes and len(tensors["latents"]) != shapes["keys"][0]):
            raise InputError(
                f"the weights of the detail hold {shapes}",
                expected=f"{', '.join(sorted(names))} that go together",
                remedy="restore model.safetensors from its source",
            )
        self._tensors = dict(tensors)


def _check_version(scenes: str) -> None:
    if not scenes:
        return
    from phosphene.data.scenes import SCENES_VERSION

    if scenes != SCENES_VERSION:
        raise InputError(
            f"detail from the scenes of version {scenes!r}",
            expected=f"{SCENES_VERSION!r}, which this release draws",
            remedy="use the release that wrote it",
        )
