"""A picture whose fine detail comes from several others, each in a region of its own.

What a network finds in a picture is, in its last layer, a mean over places. One look at each
candidate therefore tells what its detail would bring to each region, and only the most promising
exchanges are looked at. Regions are joined softly, as quilts of textures are (Efros and Freeman
2001, *SIGGRAPH*).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, normalize

from phosphene.data.pictures import Pictures

__all__ = ["Likeness", "quilt"]

STRETCH = 3.0  # of decoded features; 2 and 5 chose nearly as well on validation pictures
ROUNDS, EXCHANGES = 3, 8  # looked at together
SOFTNESS = 0.1  # of a region's side: standard deviation of its edge
BATCH = 1000


class Likeness(nn.Module):
    """How much more a picture looks like what was decoded than pictures in general do.

    That is the correlation of its features with those that were decoded, measured against its
    usual correlation with pictures: some are like every other. Features are compared as the
    network gives them, not standardised. Decoded ones are shrunken towards their mean, to which
    a picture that shows nothing in particular is nearest; so they are stretched.

    Parameters
    ----------
    features : int
    directions : int
        Along which the spread of pictures is known.
    """

    def __init__(self, features: int, directions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.register_buffer("usual", torch.zeros(features))
        self.register_buffer("spread", torch.zeros(features, directions))

    @torch.no_grad()
    def measure(self, features: Tensor, mean: Tensor, scale: Tensor) -> None:
        """Learn what pictures are like from their standardised features (n, d).

        ``mean`` and ``scale`` (d) are what they were standardised with.
        """
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("scale").copy_(scale)
        d = features.shape[1]
        total, products = torch.zeros(d).double(), torch.zeros(d, d).double()
        for rows in features.split(BATCH):
            shapes = self._shape(rows.float()).double()
            total += shapes.sum(0)
            products += shapes.T @ shapes
        usual = total / len(features)
        values, axes = torch.linalg.eigh(products / len(features) - torch.outer(usual, usual))
        kept = self.get_buffer("spread").shape[1]
        self.get_buffer("usual").copy_(usual)
        self.get_buffer("spread").copy_(axes[:, -kept:] * values[-kept:].clamp_min(0).sqrt())

    def forward(self, seen: Tensor, decoded: Tensor) -> Tensor:
        """Return how alike features (..., d) and decoded ones (d) are, both standardised."""
        shapes = self._shape(seen)
        asked = self._shape(STRETCH * decoded) - self.get_buffer("usual")
        usual = (shapes @ self.get_buffer("spread")).norm(dim=-1)
        found: Tensor = (shapes @ asked) / usual.clamp_min(1e-6)
        return found

    def _shape(self, features: Tensor) -> Tensor:
        natural = features * self.get_buffer("scale") + self.get_buffer("mean")
        return normalize(natural - natural.mean(-1, keepdim=True), dim=-1)


@torch.no_grad()
def quilt(
    coarse: np.ndarray,
    details: np.ndarray,
    *,
    regions: int,
    describe: Callable[[Pictures], Tensor],
    alike: Callable[[Tensor], Tensor],
) -> Pictures:
    """Return the picture (H, H, 3) of coarse and details that looks most like what is asked for.

    It begins with one candidate everywhere; then regions take the detail of other candidates,
    one at a time, as long as that helps.

    Parameters
    ----------
    coarse : ndarray of shape (H, H, 3)
    details : ndarray of shape (k, H, H, 3)
        Of the candidates, added to what is coarse.
    regions : int
        Along each side of the picture.
    describe : callable
        Pictures to their features at each place (n, h, w, d).
    alike : callable
        Features (..., d) of whole pictures to how well they fit.
    """
    masks = _masks(regions, len(coarse))

    def draw(choices: list[tuple[int, ...]]) -> Pictures:
        drawn = [coarse + (masks[..., None] * details[list(choice)]).sum(0) for choice in choices]
        return np.asarray(np.clip(np.rint(np.stack(drawn)), 0, 255).astype(np.uint8))

    choices = [(candidate,) * len(masks) for candidate in range(len(details))]
    views = describe(draw(choices)).cpu()
    grid = (views.shape[1], views.shape[2])
    shares = adaptive_avg_pool2d(torch.from_numpy(masks), grid).flatten(1) / (grid[0] * grid[1])
    brought = torch.einsum("rp,cpd->rcd", shares, views.flatten(1, 2))
    fits = alike(views.mean((1, 2)))
    best = int(fits.argmax())
    choice, fit, view, tried = choices[best], float(fits[best]), views[best], set(choices)
    for _ in range(ROUNDS):
        present = torch.einsum("rp,pd->rd", shares, view.flatten(0, 1))
        hoped = alike(view.mean((0, 1)) - present[:, None] + brought)
        choices = _untried(choice, hoped, tried)
        if not choices:
            break
        tried.update(choices)
        views = describe(draw(choices)).cpu()
        fits = alike(views.mean((1, 2)))
        best = int(fits.argmax())
        if fits[best] > fit:
            choice, fit, view = choices[best], float(fits[best]), views[best]
    return np.asarray(draw([choice])[0])


def _untried(
    choice: tuple[int, ...], hoped: Tensor, tried: set[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """Return the most promising choices that differ in one region, from hopes (regions, k)."""
    found = []
    for place in hoped.flatten().argsort(descending=True, stable=True).tolist():
        region, candidate = divmod(place, hoped.shape[1])
        exchanged = (*choice[:region], candidate, *choice[region + 1 :])
        if exchanged not in tried:
            found.append(exchanged)
        if len(found) == EXCHANGES:
            break
    return found


def _masks(regions: int, size: int) -> np.ndarray:
    """Return the weight of each region at each pixel (regions * regions, size, size), sum 1."""
    from scipy.ndimage import gaussian_filter

    rows = np.arange(size) * regions // size
    inside = rows[:, None] * regions + rows == np.arange(regions**2)[:, None, None]
    edge = SOFTNESS * size / regions
    found: np.ndarray = gaussian_filter(inside.astype(np.float32), (0, edge, edge), mode="nearest")
    return np.asarray(found / found.sum(0))
