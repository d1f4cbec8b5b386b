"""Pictures that need no decoding, no brain or no error: what a score has to be read beside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.brain_controls import (
    control_embeddings,
    true_embedding,
    without_prior,
)
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.seeds import item_seed
from phosphene.types import BrainEmbedding, Recording

__all__ = [
    "Absent",
    "ControlPictures",
    "TrainingSet",
    "model_controls",
    "plain_controls",
]

Array = np.ndarray[Any, Any]
GREY = 128


@dataclass(frozen=True)
class Absent:
    """Why a control is not there."""

    reason: str


ControlPictures = dict[str, "Pictures | Absent"]


@dataclass(frozen=True, eq=False)
class TrainingSet:
    """What a model was trained on.

    Attributes
    ----------
    pictures : ndarray of shape (m, H, W, C)
        uint8.
    categories : sequence of length m, optional
    embeddings : ndarray of shape (m, ...), optional
        Target of each picture, for the nearest one.
    """

    pictures: Pictures
    categories: Sequence[Any] | Array | None = None
    embeddings: Array | None = None

    def __post_init__(self) -> None:
        for name, part in (("categories", self.categories), ("embeddings", self.embeddings)):
            if part is not None and len(part) != len(self.pictures):
                raise InputError(
                    f"{len(part)} {name} for {len(self.pictures)} training pictures", "one each"
                )

    def fitted(self, truth: Pictures) -> Pictures:
        """Return the pictures at the size of the shown ones."""
        size, channels = truth.shape[1], truth.shape[-1]
        return fit_pictures(self.pictures, size=size, channels=channels)


def plain_controls(
    truth: Pictures,
    *,
    training: TrainingSet | None = None,
    categories: Sequence[Any] | Array | None = None,
    predicted: Array | None = None,
) -> ControlPictures:
    """Return pictures that take no brain: grey, mean, mean of the class, nearest in training.

    Parameters
    ----------
    truth : ndarray of shape (n, H, W, C)
        uint8, square.
    training : TrainingSet, optional
    categories : sequence of length n, optional
        Of the shown pictures. The class mean is *told* the category: a decoder of categories
        alone could do no better.
    predicted : ndarray of shape (n, ...), optional
        Predicted embeddings, which choose the nearest training picture by their cosine.
    """
    found: ControlPictures = {"grey_picture": np.full_like(truth, GREY)}
    if training is None:
        absent = Absent("the training pictures are not known")
        return found | dict.fromkeys(
            ("mean_picture", "class_mean_picture", "nearest_training"), absent
        )
    pictures = training.fitted(truth)
    mean = np.rint(pictures.mean(axis=0, dtype=np.float64)).astype(np.uint8)
    found["mean_picture"] = np.broadcast_to(mean, truth.shape)
    found["class_mean_picture"] = _class_means(pictures, training.categories, categories)
    found["nearest_training"] = _nearest(pictures, training.embeddings, predicted)
    return found


def _class_means(
    pictures: Pictures,
    known: Sequence[Any] | Array | None,
    categories: Sequence[Any] | Array | None,
) -> Pictures | Absent:
    if known is None or categories is None:
        return Absent("the categories of training or shown pictures are not known")
    labels, wanted = np.asarray(known).astype(str), np.asarray(categories).astype(str)
    unseen = sorted(set(wanted.tolist()) - set(labels.tolist()))
    if unseen:
        return Absent(f"{len(unseen)} categories are not in training, {unseen[0]!r} for example")
    means = {
        label: np.rint(pictures[labels == label].mean(axis=0, dtype=np.float64)).astype(np.uint8)
        for label in np.unique(wanted)
    }
    return np.stack([means[label] for label in wanted])


def _nearest(
    pictures: Pictures, embeddings: Array | None, predicted: Array | None
) -> Pictures | Absent:
    if embeddings is None or predicted is None:
        return Absent("embeddings of training pictures, or predicted ones, are not known")
    known, mine = (
        np.asarray(x, dtype=np.float64).reshape(len(x), -1) for x in (embeddings, predicted)
    )
    if known.shape[1] != mine.shape[1]:
        raise InputError(
            f"predicted embeddings of {mine.shape[1]} numbers, training ones of {known.shape[1]}",
            expected="embeddings of one target",
        )
    known, mine = (
        np.divide(x, norm, out=np.zeros_like(x), where=norm > 1e-12)
        for x in (known, mine)
        for norm in [np.linalg.norm(x, axis=1, keepdims=True)]
    )
    nearest: Pictures = pictures[(mine @ known.T).argmax(axis=1)]
    return nearest


def model_controls(
    model: Reconstructor, items: Recording, truth: Pictures, *, seed: int = 0
) -> ControlPictures:
    """Return what a model makes of no brain, of other brains, and of perfect predictions.

    Parameters
    ----------
    model : Reconstructor
    items : Recording
        One row per shown picture, as it was decoded.
    truth : ndarray of shape (n, H, W, 3)
        uint8, in the order of the items.
    seed : int

    Returns
    -------
    dict
        ``noise_brain`` and ``shuffled_brain``: what the generator invents;
        ``truth_through_generator``: true embedding and true low-level latent, the prior left out;
        ``oracle_embedding``: true embedding, low-level latent from the brain.
    """
    names = [str(name) for name in items.trials["stimulus_id"]]
    if len(names) != len(truth):
        raise InputError(f"{len(truth)} pictures for {len(names)} items", "one per item")
    seeds = np.array(
        [[item_seed(seed, items.subject, f"control {row}", 0)] for row in range(len(names))]
    )
    perfect = true_embedding(model, truth)  # type: ignore[arg-type]  # any iterable of pictures
    plain = without_prior(model)
    stand_ins = control_embeddings(model, items, model.embed(items), perfect, names, seed=seed)
    return {
        name: Absent(one)
        if isinstance(one, str)
        else _rendered(model if one.prior else plain, one.embedding, seeds)
        for name, one in stand_ins.items()
    }


def _rendered(model: Reconstructor, embedding: BrainEmbedding, seeds: Array) -> Pictures:
    pictures: Pictures = np.concatenate([part for _, part in model.render(embedding, seeds)])[:, 0]
    return pictures
