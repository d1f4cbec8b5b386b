"""Canonical correlation between recordings and targets: both heads of an encoder in closed form.

Of all directions of a target, the few are kept that a recording tells; the penalty and their number
are chosen by held-out pictures. Hotelling (1936), with a ridge on the recording's side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from phosphene.encoders.brain.electric.heads import ElectricHeads
from phosphene.errors import InputError
from phosphene.pipelines.training.electric import mean_reciprocal_rank
from phosphene.types import Recording

__all__ = ["PENALTIES", "WIDTHS", "CanonicalMaps", "choose_canonical", "fit_canonical"]

PENALTIES = (0.3, 1.0, 3.0, 10.0)  # of the mean eigenvalue of the recording's covariance
WIDTHS = (4, 8, 16, 32, 64)
TARGET_PENALTY = 0.02  # of the targets' unit variance


@dataclass(frozen=True, eq=False)
class CanonicalMaps:
    """What is learned, of the width that was chosen.

    Attributes
    ----------
    mean : Tensor of shape (d,)
        Of the recording's rows.
    brain : Tensor of shape (d, width)
        Row to predicted canonical variables of the target, times their correlation.
    picture : Tensor of shape (k, width)
        Coefficients of the target to canonical variables, times their correlation.
    slopes : Tensor of shape (width,)
        Covariance of prediction and truth among held-out pictures, as a share (0 to 1) of that
        among training pictures: what of a direction is more than fitted noise.
    reciprocal_rank : float
        Among held-out pictures.
    """

    mean: Tensor
    brain: Tensor
    picture: Tensor
    slopes: Tensor
    reciprocal_rank: float


def choose_canonical(
    train: tuple[Tensor, Tensor],
    held_out: tuple[Tensor, Tensor] | None,
    *,
    penalties: tuple[float, ...] = PENALTIES,
    widths: tuple[int, ...] = WIDTHS,
) -> CanonicalMaps:
    """Fit every penalty at once, and keep the one and the width that held-out pictures favour.

    Parameters
    ----------
    train, held_out : (Tensor of shape (n, d), Tensor of shape (n, k))
        Rows of recordings and coefficients of their pictures' targets. Without held-out pictures
        the first penalty and the largest width are taken.
    penalties : tuple of float
    widths : tuple of int
    """
    x, y = (part.double() for part in train)
    mean = x.mean(dim=0)
    x, y = x - mean, y - y.mean(dim=0)
    n, k = y.shape
    # Rows may be fewer than columns or the other way round: one decomposition serves both.
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    shared = u.T @ y
    inner = y.T @ y / n + TARGET_PENALTY * torch.eye(k, dtype=y.dtype)
    white = torch.linalg.inv(torch.linalg.cholesky(inner)).T
    best: CanonicalMaps | None = None
    for penalty in penalties:
        size = s.square() + penalty * s.square().mean()
        matrix = (s / size.sqrt())[:, None] * shared @ white / n**0.5
        left, values, right = torch.linalg.svd(matrix, full_matrices=False)
        # A direction counts by its correlation on either side: a cosine would otherwise listen
        # to many that say little.
        brain = vh.T @ ((1 / size.sqrt())[:, None] * left) * values.square() * n**0.5
        picture = white @ right.T * values
        for width in sorted({min(width, len(values)) for width in widths}, reverse=True):
            maps = (brain[:, :width], picture[:, :width])
            inside = ((x @ maps[0]) * (y @ maps[1])).mean(dim=0)
            found = _judged(mean, *maps, inside, held_out)
            if best is None or found.reciprocal_rank > best.reciprocal_rank:
                best = found
            if held_out is None:
                return best
    assert best is not None
    return best


def _judged(
    mean: Tensor,
    brain: Tensor,
    picture: Tensor,
    inside: Tensor,
    held_out: tuple[Tensor, Tensor] | None,
) -> CanonicalMaps:
    """Return the maps with what held-out pictures say of them."""
    slopes, rank = torch.ones(brain.shape[1], dtype=brain.dtype), 0.0
    if held_out is not None:
        z = (held_out[0].double() - mean) @ brain
        y = held_out[1].double() @ picture
        centred = y - y.mean(dim=0)
        slopes = ((z * centred).mean(dim=0) / inside.clamp_min(1e-12)).clamp(0, 1)
        rank = mean_reciprocal_rank(z, y, torch.arange(len(z)))
    return CanonicalMaps(mean, brain, picture, slopes, rank)


def averaged_rows(
    recordings: Mapping[str, Recording], names: list[str], split: str
) -> tuple[Tensor, Tensor]:
    """Return means over repetitions in a row (n, C * T), and the number of each picture (n,)."""
    numbers = {name: row for row, name in enumerate(names)}
    rows, pictures = [], []
    for recording in recordings.values():
        chosen = (recording.trials["split"] == split).to_numpy()
        if not chosen.any():
            continue
        mean = recording.select(chosen).average("stimulus_id")
        rows.append(torch.from_numpy(np.asarray(mean.data, dtype=np.float32)).flatten(1))
        pictures += [numbers[name] for name in mean.trials["stimulus_id"]]
    if not rows:
        return torch.zeros(0, 0), torch.zeros(0, dtype=torch.long)
    return torch.cat(rows), torch.tensor(pictures)


def fit_canonical(
    heads: ElectricHeads, maps: CanonicalMaps, x: Tensor, coefficients: Tensor
) -> None:
    """Put the maps into an encoder's two heads, in place.

    Parameters
    ----------
    heads : ElectricHeads
        With the encoder ``canonical`` of as many outputs.
    maps : CanonicalMaps
        Of the main target's coefficients, or of those of several targets: what these tell of
        a picture is then looked for by as much of it as the main target tells.
    x : Tensor of shape (n, d)
        Training rows.
    coefficients : Tensor of shape (n, n_targets)
        Of their pictures.
    """
    linear = heads.backbone.linear
    if not isinstance(linear, torch.nn.Linear) or linear.weight.shape != maps.brain.T.shape:
        raise InputError(
            f"maps of shape {tuple(maps.brain.shape)} for the encoder {heads.backbone.name}",
            expected="canonical, of the same shape",
        )
    z = (x.double() - maps.mean) @ maps.brain
    centred = coefficients.double() - coefficients.double().mean(dim=0)
    # Training rows are told better than new ones will be: slopes shorten what is predicted.
    generate = torch.linalg.lstsq(z, centred).solution * maps.slopes[:, None]
    picture, main = maps.picture, heads.project.in_features
    if len(picture) > main:
        sought = centred[:, : len(picture)] @ picture
        picture = torch.linalg.lstsq(centred[:, :main], sought).solution
    with torch.no_grad():
        linear.weight.copy_(maps.brain.T)
        linear.bias.copy_(-(maps.mean @ maps.brain))
        heads.project.weight.copy_(picture.T)
        heads.generate.weight.copy_(generate.T)
        heads.generate.bias.copy_(coefficients.mean(dim=0))
