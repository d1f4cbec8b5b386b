"""Losses of brain encoders, and the schedules of their temperatures.

Radford et al. 2021 (InfoNCE between two kinds of embedding), Scotti et al. 2023 (SoftCLIP and
BiMixCo), Kim et al. 2020 (MixCo). Every label is a distribution: whatever is mixed, repeated or
mapped to itself, its row sums to one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.errors import InputError

__all__ = ["bi_mix_co", "info_nce", "same_picture", "soft_clip", "temperature_at"]

SOFT_TEMPERATURES = (0.004, 0.0075)


def same_picture(pictures: Tensor) -> Tensor:
    """Return labels (n, n) that share each row out among all items of its picture.

    Parameters
    ----------
    pictures : Tensor of shape (n,)
        Number of each item's picture; a picture that is there twice is right twice.

    Examples
    --------
    >>> same_picture(torch.tensor([4, 7, 4])).tolist()
    [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]
    """
    same = (pictures[:, None] == pictures).float()
    return same / same.sum(1, keepdim=True)


def info_nce(
    predicted: Tensor, truth: Tensor, temperature: float, labels: Tensor | None = None
) -> Tensor:
    """Return the cross-entropy of finding partners by cosine, in both directions.

    Parameters
    ----------
    predicted, truth : Tensor of shape (n, ...)
    temperature : float
    labels : Tensor of shape (n, n), optional
        How far the picture of column j is right for the prediction of row i; rows sum to one.
        The other direction takes the same weights, with sums of one over each column. By default
        each has its own.
    """
    similarity = _cosines(predicted, truth) / temperature
    if labels is None:
        labels = torch.eye(len(similarity), device=similarity.device)
    labels = labels.to(similarity)
    _check_labels(labels, len(similarity))
    backward = labels.T
    # A picture that nothing was mixed with has the sum zero where its own row went elsewhere.
    totals = backward.sum(1, keepdim=True)
    there = totals[:, 0] > 0
    backward = backward[there] / totals[there]
    brain_to_picture = F.cross_entropy(similarity, labels)
    picture_to_brain = F.cross_entropy(similarity.T[there], backward)
    return (brain_to_picture + picture_to_brain) / 2


def soft_clip(predicted: Tensor, truth: Tensor, temperature: float) -> Tensor:
    """Return the cross-entropy with the pictures' own similarities as labels, both directions.

    Parameters
    ----------
    predicted, truth : Tensor of shape (n, ...)
    temperature : float
        Of the predictions and of the labels. Repeated pictures are alike, so that they share
        their label without further ado.
    """
    labels = (_cosines(truth, truth) / temperature).softmax(dim=1)
    similarity = _cosines(predicted, truth) / temperature
    return (F.cross_entropy(similarity, labels) + F.cross_entropy(similarity.T, labels)) / 2


def bi_mix_co(
    predicted: Tensor,
    truth: Tensor,
    temperature: float,
    mixing: Tensor,
    pictures: Tensor | None = None,
) -> Tensor:
    """Return InfoNCE for predictions from mixed voxels.

    Parameters
    ----------
    predicted : Tensor of shape (n, ...)
        From voxels that were mixed.
    truth : Tensor of shape (n, ...)
        Of pictures, not mixed.
    temperature : float
    mixing : Tensor of shape (n, n)
        Shares of the items that went into each: ``Mixing.shares``.
    pictures : Tensor of shape (n,), optional
        Number of each item's picture, where some may be there several times.
    """
    labels = mixing if pictures is None else mixing @ same_picture(pictures).to(mixing)
    return info_nce(predicted, truth, temperature, labels)


def temperature_at(
    share: float, start: float = SOFT_TEMPERATURES[0], end: float = SOFT_TEMPERATURES[1]
) -> float:
    """Return the temperature after a share of the training, by half a cosine.

    Examples
    --------
    >>> temperature_at(0.0), temperature_at(1.0)
    (0.004, 0.0075)
    """
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


def _cosines(first: Tensor, second: Tensor) -> Tensor:
    if first.shape != second.shape or len(first) == 0:
        raise InputError(
            f"embeddings of shapes {tuple(first.shape)} and {tuple(second.shape)}",
            expected="the same shape, and at least one item",
        )
    return F.normalize(first.flatten(1), dim=1) @ F.normalize(second.flatten(1), dim=1).T


def _check_labels(labels: Tensor, n: int) -> None:
    if labels.shape != (n, n) or not torch.allclose(
        labels.sum(1), torch.ones(n).to(labels), atol=1e-4
    ):
        raise InputError(
            f"labels of shape {tuple(labels.shape)} whose rows do not all sum to one",
            expected=f"({n}, {n}), each row a distribution",
        )
