"""Audits of what a decoder made: whether training pictures would do as well, and collapse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.splits import CONCEPT_COLUMNS
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.audit_findings import Finding
from phosphene.pipelines.evaluation.audit_overlap import nearest_as_close, split_stimuli
from phosphene.pipelines.evaluation.collapse import check_collapse
from phosphene.pipelines.evaluation.near_copies import thumbnails
from phosphene.pipelines.reconstruction import Reconstruction

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["audit_predictions"]

Array = np.ndarray[Any, Any]
MUCH = 0.5  # share of items from which training pictures do as well as the reconstructions


def audit_predictions(
    dataset: CanonicalDataset,
    result: Reconstruction,
    *,
    table: pd.DataFrame | None = None,
    embeddings: dict[str, Array] | None = None,
) -> list[Finding]:
    """Compare the output of `reconstruct` with the dataset it was made of.

    Parameters
    ----------
    dataset : CanonicalDataset
        Has the pictures that were shown and trained on.
    result : Reconstruction
        Items are matched by their stimulus_id; the first sample of each is looked at.
    table : DataFrame, optional
        Trials with a category, for scores of unseen categories.
    embeddings : dict of stimulus_id to ndarray, optional
        True embeddings of the target that was decoded, for ``collapse``.

    Raises
    ------
    InputError
        If an item is of no picture of the dataset.
    """
    names = result.trials["stimulus_id"].astype(str).tolist()
    known = set(dataset.stimuli["stimulus_id"])
    missing = [name for name in names if name not in known]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(names)} reconstructed items are of no picture of the dataset, "
            f"{missing[0]!r} for example",
            expected="the output of `reconstruct` for recordings of this dataset",
            remedy="give the dataset that these recordings are in",
        )
    return [
        _nearest(dataset, result, names),
        _collapse(result, names, dataset.table if table is None else table, embeddings),
    ]


def _nearest(dataset: CanonicalDataset, result: Reconstruction, names: list[str]) -> Finding:
    title = "nearest training"
    shown = set(names)
    known = set(dataset.stimuli["stimulus_id"])
    training = [
        name for name in split_stimuli(dataset.table)[1] if name not in shown and name in known
    ]
    if not training:
        return Finding(title, "not checked", "the dataset holds no other training pictures")
    truth, made, trained = (
        thumbnails(pictures, label=label, total=len(pictures))
        for pictures, label in (
            (dataset.pictures(names), "shown pictures"),
            (result.images[:, 0], "reconstructions"),
            (dataset.pictures(training), "training pictures"),
        )
    )
    share, nearest = nearest_as_close(truth, made, trained)
    summary = (
        f"for {share:.2f} of {len(names)} items a training picture is as close to what was shown "
        "as the reconstruction (correlation of grey pictures)"
    )
    details = {"share": share, "nearest_correlation_median": float(np.median(nearest))}
    return Finding(title, "tripped" if share >= MUCH else "noted", summary, details)


def _collapse(
    result: Reconstruction,
    names: list[str],
    table: pd.DataFrame,
    embeddings: dict[str, Array] | None,
) -> Finding:
    predicted = result.embeddings.get("tokens", result.embeddings.get("pooled"))
    if embeddings is None or predicted is None:
        reason = "true embeddings are needed: give --target, the target that was decoded"
        return Finding("collapse", "not checked", reason)
    truth = np.stack([embeddings[name] for name in names])
    if truth.shape != predicted.shape or len(names) < 3:
        reason = f"predicted embeddings of shape {predicted.shape}, true ones of {truth.shape}"
        return Finding("collapse", "not checked", reason)
    column = next((name for name in CONCEPT_COLUMNS if name in table), None)
    if column is None:
        return check_collapse(predicted, truth).finding()
    labels = dict(zip(table["stimulus_id"].astype(str), table[column].astype(str), strict=True))
    trained = set(table.loc[table["split"] != "test", column].astype(str))
    return check_collapse(
        predicted,
        truth,
        categories=[labels[name] for name in names],
        training_categories=trained,
    ).finding()
