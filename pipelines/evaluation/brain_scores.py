"""Reconstructions before a judge that looks with the brain, beside truth, grey, wrong pairing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.data.pictures import Pictures
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.permutation import (
    PermutationResult,
    exchange_labels,
    permuted_statistic,
)
from phosphene.pipelines.metrics.brain import pattern_ceiling, pattern_correlation
from phosphene.pipelines.metrics.brain_encoding import EncodingModel
from phosphene.pipelines.metrics.identification import IdentificationResult, two_way_identification
from phosphene.pipelines.metrics.intervals import bootstrap_interval

__all__ = ["BrainScores", "score_responses"]

Array = np.ndarray[Any, Any]
GREY = 128


@dataclass(frozen=True, eq=False)
class BrainScores:
    """What the judge found.

    Attributes
    ----------
    scores : ndarray of shape (n,)
        Correlation across voxels of the response to each reconstruction with the measured one.
    value : float
    interval : (float, float)
        95 % bootstrap over pictures.
    identification : IdentificationResult
        Two-way, among the measured responses.
    controls : dict of str to float
        ``truth``: the shown picture itself, the best this judge can tell; ``grey_picture``; and
        those that were handed over.
    share_of_truth : float
        ``value`` as a share of what the shown picture scores; NaN where that is not above zero.
    ceiling : float
        Correlation that perfect predictions would have; NaN without repetitions.
    permuted : PermutationResult
        Of the pairing of reconstructions and responses.
    """

    scores: Array
    value: float
    interval: tuple[float, float]
    identification: IdentificationResult
    controls: dict[str, float]
    share_of_truth: float
    ceiling: float
    permuted: PermutationResult


def score_responses(
    model: EncodingModel,
    reconstructed: Pictures,
    shown: Pictures,
    responses: Array,
    *,
    runs: Sequence[Any] | Array | None = None,
    rivals: Mapping[str, Pictures] | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> BrainScores:
    """Judge reconstructions by the responses they would evoke.

    Parameters
    ----------
    model : EncodingModel
        That saw none of the shown pictures.
    reconstructed, shown : ndarray of shape (n, H, W, C)
        uint8; each picture once.
    responses : ndarray of shape (n, n_voxels) or (n, n_repetitions, n_voxels)
        Measured, of all voxels of the recording; the judging ones are taken out.
    runs : sequence of length n, optional
        Responses are exchanged within runs only.
    rivals : mapping of str to ndarray of shape (n, H, W, C), optional
    n_permutations, seed : int

    Raises
    ------
    InputError
        If a shown picture was learned from or comes twice, or shapes differ.
    """
    _check_items(reconstructed, shown, responses)
    model.check_unseen(shown)
    repeated = model.standardise(responses)
    repeated = repeated[:, None] if repeated.ndim == 2 else repeated
    measured = repeated.mean(axis=1)
    others = {"truth": shown, "grey_picture": np.full_like(shown, GREY), **(rivals or {})}
    predicted = model.predict(reconstructed)
    scores = pattern_correlation(predicted, measured)
    controls = {
        name: float(pattern_correlation(model.predict(pictures), measured).mean())
        for name, pictures in others.items()
    }
    permuted = permuted_statistic(
        lambda order: float(pattern_correlation(predicted, measured[order]).mean()),
        exchange_labels(len(shown), within=runs, n_permutations=n_permutations, seed=seed),
    )
    best = controls["truth"]
    return BrainScores(
        scores=scores,
        value=float(scores.mean()),
        interval=bootstrap_interval(scores, seed=seed),
        identification=two_way_identification(predicted, measured),
        controls=controls,
        share_of_truth=float(scores.mean()) / best if best > 0 else float("nan"),
        ceiling=pattern_ceiling(repeated),
        permuted=permuted,
    )


def _check_items(reconstructed: Pictures, shown: Pictures, responses: Array) -> None:
    if reconstructed.shape != shown.shape or len(shown) != len(responses) or len(shown) < 2:
        raise InputError(
            f"reconstructions of shape {reconstructed.shape} beside pictures of {shown.shape} and "
            f"{len(responses)} responses",
            expected="as many of each, at least two, pictures of one size",
        )
    if len(np.unique(shown.reshape(len(shown), -1), axis=0)) < len(shown):
        raise InputError(
            "a shown picture that comes twice",
            expected="each picture once, with its repetitions in one row of responses",
        )
