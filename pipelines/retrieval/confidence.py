"""How sure a retrieval is: the probability that the seen picture is among the first k.

If errors of prediction are alike in all directions of the search space, the probability of each
candidate is the softmax of its scores, with one sharpness. The mass of the first k therefore
falls with the size of the pool by itself: rivals that were not fetched count through a sample of
the index. A logistic curve on the logarithm of the odds corrects what the softmax gets wrong
(Platt 1999). Sharpness and curve are fitted on pictures that are neither training nor test, and
the calibration error (Guo et al. 2017, *On calibration of modern neural networks*) is measured on
pictures that were left out of the fit, for each size of the pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.schemas import CalibrationPoint, ConfidenceFile

__all__ = ["calibration_error", "confidence", "fit_confidence", "log_odds"]

Array = np.ndarray[Any, Any]
FETCHED = 50  # candidates whose scores count one by one
FOLDS, BINS = 5, 10
EDGE = 1e-6  # of probabilities, so that their log odds are finite


def log_odds(scores: Array, rivals: Array, sharpness: float, *, size: int, k: int) -> Array:
    """Return the log odds (n,) of the softmax mass of the first k.

    Parameters
    ----------
    scores : ndarray of shape (n, m)
        Of the best candidates, best first; m of at least k.
    rivals : ndarray of shape (n, b)
        Scores of a random sample of the index: those below the m-th stand for all that were not
        fetched.
    sharpness : float
        Factor of scores in the exponent.
    size : int
        Pictures in the pool.
    k : int
    """
    if not 1 <= k <= scores.shape[1]:
        raise UsageError(f"`k` is {k}", expected=f"1 to {scores.shape[1]}, the scores there are")
    top = scores[:, :1].astype(np.float64)
    mass = np.exp(sharpness * (scores - top))
    unseen = max(size - scores.shape[1], 0)
    below = rivals <= scores[:, -1:]
    weight = np.exp(sharpness * (np.minimum(rivals, scores[:, -1:]) - top)) * below
    rest = unseen * weight.sum(axis=1) / np.maximum(below.sum(axis=1), 1)
    first = mass[:, :k].sum(axis=1)
    share = first / (mass.sum(axis=1) + rest)
    share = np.clip(share, EDGE, 1 - EDGE)
    return np.asarray(np.log(share / (1 - share)))


def confidence(fitted: ConfidenceFile, scores: Array, rivals: Array, *, size: int, k: int) -> Array:
    """Return the probability (n,) that the seen picture is among the first k, if it is indexed.

    Parameters
    ----------
    fitted : ConfidenceFile
        From :func:`fit_confidence`, of the same space.
    scores, rivals, size, k
        As for :func:`log_odds`; use ``index.search(keys, 50)``.
    """
    odds = log_odds(scores, rivals, fitted.sharpness, size=size, k=k)
    return _curve(fitted.intercept, fitted.slope, odds)


def fit_confidence(
    queries: Array,
    truth: Array,
    pool: Array,
    *,
    pictures: Sequence[str],
    refused: Iterable[str],
    sizes: Sequence[int],
    ks: Sequence[int] = (1, 5, 10),
    space: str = "",
    seed: int = 0,
) -> ConfidenceFile:
    """Fit the confidence on calibration pictures and measure its error on left-out ones.

    Parameters
    ----------
    queries, truth : ndarray of shape (n, d)
        Search keys of predictions and of the pictures that were seen.
    pool : ndarray of shape (m, d)
        Search keys of other pictures, from which rivals are drawn.
    pictures : sequence of str
        Identifiers of the n seen pictures.
    refused : iterable of str
        Identifiers of all training and test pictures: none may be among ``pictures``.
    sizes : sequence of int
        Pool sizes, the seen picture included; at most m + 1.
    ks : sequence of int
    space : str
        Hash of the search space, which is stored.
    seed : int

    Raises
    ------
    InputError
        If a calibration picture is one of training or test, or there are too few.
    """
    _check(queries, truth, pool, pictures, set(refused), sizes)
    trials = [
        _pools(queries, truth, pool, size, np.random.default_rng([seed, size])) for size in sizes
    ]
    folds = np.random.default_rng(seed).permutation(len(queries)) % FOLDS
    predicted: dict[tuple[int, int], Array] = {}
    hits: dict[tuple[int, int], Array] = {}
    for fold in range(FOLDS):
        inside, outside = folds != fold, folds == fold
        fitted = _fit([_select(one, inside) for one in trials], sizes, ks)
        for size, trial in zip(sizes, trials, strict=True):
            part = _select(trial, outside)
            for k in (k for k in ks if k < size):
                odds = log_odds(part["scores"], part["rivals"], fitted[0], size=size, k=k)
                key = (size, k)
                predicted.setdefault(key, np.zeros(len(queries)))[outside] = _curve(
                    fitted[1], fitted[2], odds
                )
                hits.setdefault(key, np.zeros(len(queries)))[outside] = part["rank"] <= k
    points = [
        CalibrationPoint(
            pool=size,
            k=k,
            hit_rate=float(hits[size, k].mean()),
            mean_confidence=float(predicted[size, k].mean()),
            calibration_error=calibration_error(predicted[size, k], hits[size, k]),
        )
        for size, k in predicted
    ]
    sharpness, intercept, slope = _fit(trials, sizes, ks)
    return ConfidenceFile(
        space=space,
        sharpness=sharpness,
        intercept=intercept,
        slope=slope,
        n_pictures=len(queries),
        points=points,
    )


def calibration_error(predicted: Array, hits: Array, *, bins: int = BINS) -> float:
    """Return the mean gap of confidence and hit rate over bins of equally many items."""
    order = np.argsort(predicted, kind="stable")
    gaps = [
        len(part) * abs(float(predicted[part].mean() - hits[part].mean()))
        for part in np.array_split(order, min(bins, len(order)))
    ]
    return sum(gaps) / len(order)


def _pools(
    queries: Array, truth: Array, pool: Array, size: int, rng: np.random.Generator
) -> dict[str, Array]:
    """Draw a pool per query; return best scores, a sample of rivals, rank and own score."""
    unit = [_unit(array) for array in (queries, truth, pool)]
    own = (unit[0] * unit[1]).sum(axis=1)
    scores, samples, ranks, all_scores = [], [], [], []
    for row, query in enumerate(unit[0]):
        rivals = unit[2][rng.choice(len(pool), size - 1, replace=False)] @ query
        ranks.append(1 + (rivals > own[row]).sum() + (rivals == own[row]).sum() / 2)
        everything = np.sort(np.append(rivals, own[row]))[::-1]
        scores.append(everything[: min(FETCHED, size)])
        samples.append(rivals[:1000] if len(rivals) else np.array([-1.0]))
        all_scores.append(everything)
    return {
        "scores": np.array(scores), "rivals": np.array(samples), "rank": np.array(ranks),
        "own": own, "all": np.array(all_scores),
    }  # fmt: skip


def _select(trial: dict[str, Array], rows: Array) -> dict[str, Array]:
    return {name: values[rows] for name, values in trial.items()}


def _fit(
    trials: list[dict[str, Array]], sizes: Sequence[int], ks: Sequence[int]
) -> tuple[float, float, float]:
    """Return sharpness by maximum likelihood, then intercept and slope of the logistic curve."""
    from scipy.optimize import minimize, minimize_scalar
    from scipy.special import logsumexp

    def surprise(log_sharpness: float) -> float:
        factor = float(np.exp(log_sharpness))
        return sum(
            float((logsumexp(factor * one["all"], axis=1) - factor * one["own"]).mean())
            for one in trials
        )

    sharpness = float(np.exp(minimize_scalar(surprise, bounds=(-3, 8), method="bounded").x))
    odds, hits = [], []
    for size, trial in zip(sizes, trials, strict=True):
        for k in (k for k in ks if k < size):
            odds.append(log_odds(trial["scores"], trial["rivals"], sharpness, size=size, k=k))
            hits.append(trial["rank"] <= k)
    x, y = np.concatenate(odds), np.concatenate(hits).astype(np.float64)

    def loss(line: Array) -> float:
        # A slight pull towards the softmax itself keeps the curve finite where all are hits.
        value = line[0] + line[1] * x
        pull = 1e-3 * (line[0] ** 2 + (line[1] - 1) ** 2)
        return float((np.logaddexp(0, value) - y * value).mean() + pull)

    intercept, slope = minimize(loss, np.array([0.0, 1.0])).x
    return sharpness, float(intercept), float(slope)


def _curve(intercept: float, slope: float, odds: Array) -> Array:
    from scipy.special import expit

    return np.asarray(expit(intercept + slope * odds))


def _check(
    queries: Array,
    truth: Array,
    pool: Array,
    pictures: Sequence[str],
    refused: set[str],
    sizes: Sequence[int],
) -> None:
    if queries.shape != truth.shape or len(pictures) != len(queries):
        raise InputError(
            f"{len(pictures)} pictures, predictions {queries.shape} and truths {truth.shape}",
            expected="one of each per picture",
            remedy="give all three in the same order",
        )
    shared = sorted(set(pictures) & refused)
    if shared or len(set(pictures)) < len(pictures):
        found = f"{shared[0]!r} is one of training or test" if shared else "a picture stands twice"
        raise InputError(
            f"pictures to calibrate on of which {found}",
            expected="pictures that are neither training nor test, each once",
            remedy="set other pictures aside",
        )
    if len(queries) < 10 * FOLDS or not sizes or min(sizes) < 2 or max(sizes) > len(pool) + 1:
        raise InputError(
            f"{len(queries)} pictures, {len(pool)} rivals and pools of {list(sizes)}",
            expected=f"{10 * FOLDS} pictures at least, and pools of 2 to {len(pool) + 1}",
            remedy="record more pictures that were set aside, and have others beside them",
        )


def _unit(values: Array) -> Array:
    rows = np.asarray(values, dtype=np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
