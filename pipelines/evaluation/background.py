"""How predictions came about, as far as anybody knows, and the rivals that this gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.predictions import Item, Predictions
from phosphene.pipelines.evaluation.reading import PairReader
from phosphene.pipelines.evaluation.rivals import mean_of_training
from phosphene.pipelines.evaluation.shown import Shown
from phosphene.pipelines.evaluation.unseen import names_agree
from phosphene.schemas import MetricsFile, Protocol, RunFile

if TYPE_CHECKING:
    from phosphene.pipelines.evaluation.config import EvaluateConfig

Array = np.ndarray[Any, Any]
__all__ = ["Background", "audit_facts", "background_of"]


@dataclass
class Background:
    """What is known beside the pictures.

    Attributes
    ----------
    name : str
        What tables call the result.
    averaging : str
        What was done with repetitions.
    training : Protocol, optional
        Of the model.
    dataset : CanonicalDataset, optional
        Whose training pictures the rivals may use.
    mean : ndarray of shape (H, W, C), optional
        Mean training picture that the model kept; the dataset's where it kept none.
    rivals : dict of str to dict of str to Path
        Pictures in place of the predictions, by the name of an item's first file below the
        folder of predictions.
    fewer : dict of int to dict of str to Path
        The same for averages over fewer repetitions.
    reasons : dict of str to str
        Why a control is absent.
    keys : dict of str to dict of str to ndarray of shape (d,)
        Predicted and true embeddings as they are compared, and those of controls, by the name of
        an item's first file.
    seen : int, optional
        Items whose picture trained the model, where a saved output says so.
    """

    name: str
    averaging: str = "not known"
    model: str | None = None
    model_hash: str | None = None
    training: Protocol | None = None
    dataset: CanonicalDataset | None = None
    mean: Pictures | None = None
    rivals: dict[str, Mapping[str, Path]] = field(default_factory=dict)
    fewer: dict[int, Mapping[str, Path]] = field(default_factory=dict)
    keys: dict[str, dict[str, Array]] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    audit: dict[str, Any] | None = None
    seen: int | None = None
    noise_ceiling: dict[str, float] = field(default_factory=dict)

    def mean_picture(self, reader: PairReader) -> Pictures | None:
        """Return the mean training picture, uint8 (H, W, C), or ``None`` with the reason kept."""
        if self.mean is not None:
            return self.mean
        found = None if self.dataset is None else mean_of_training(self.dataset, reader)
        if found is None:
            self.reasons.setdefault(
                "mean_picture",
                "training pictures are not known: give a dataset that has a training split"
                if self.dataset is None
                else "the dataset has no training pictures of its own",
            )
        return found

    def count_seen(self, items: Sequence[Item], hashes: Mapping[str, str]) -> int | None:
        """Return how many items show a picture that trained the model; ``None`` if unknown."""
        if self.training is None:
            return self.seen
        known = set(self.training.train_picture_hashes)
        names = set(self.training.train_stimulus_ids)
        if self.dataset is not None and not names_agree(self.training, self.dataset):
            names = set()
        found = sum(hashes[item.picture] in known or item.picture in names for item in items)
        return max(found, self.seen or 0)


def audit_facts(dataset: CanonicalDataset, parts: Sequence[str]) -> dict[str, Any]:
    """Return what an audit says of a dataset, or why it cannot be made.

    Parameters
    ----------
    dataset : CanonicalDataset
    parts : sequence of str
        Models and generators in use, for what is known about their training sets.
    """
    from phosphene.pipelines.evaluation.audit import audit_dataset

    try:
        return audit_dataset(dataset, parts=parts).facts()
    except InputError as error:
        return {"not_checked": error.found}


def background_of(predictions: Predictions, shown: Shown, config: EvaluateConfig) -> Background:
    """Return what a folder of predictions, and the dataset beside it, say of themselves."""
    dataset = shown.dataset
    if dataset is None and config.dataset is not None:
        dataset = CanonicalDataset.open(config.dataset)
    found = Background(predictions.root.resolve().name, dataset=dataset)
    if predictions.own and (predictions.root / "run.json").is_file():
        run = RunFile.load(predictions.root / "run.json")
        found.model, found.model_hash, found.training = run.model, run.model_hash, run.protocol
        found.averaging = run.protocol.averaging_test
        metrics = predictions.root / "metrics.json"
        if metrics.is_file():
            found.seen = MetricsFile.load(metrics).n_seen_in_training
    if dataset is not None:
        found.audit = audit_facts(dataset, [] if found.model is None else [found.model])
    return found
