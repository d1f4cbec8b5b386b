"""The best anyone could do: decoding with the true forward model and the true noise.

Maximum likelihood identifies which of the presented pictures was seen; the posterior mean over
a bank of rendered scenes estimates pixels or embeddings. Session gain, offset and drift count
as known. A decoder's score is given as a fraction of the way from chance to these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.virtual.areas import VERSION
from phosphene.data.virtual.draws import entropy_of
from phosphene.errors import InputError, UsageError

if TYPE_CHECKING:
    from phosphene.data.virtual.subject import VirtualSubject

__all__ = [
    "REPETITIONS",
    "IdealIdentification",
    "Observer",
    "PosteriorMean",
    "fraction_of_ideal",
    "ideal_identification",
    "identification_from_gram",
    "posterior_mean",
]

Array = np.ndarray[Any, Any]

REPETITIONS = (1, 3, 10, 80)


@dataclass(frozen=True)
class IdealIdentification:
    """Identification of n presented pictures by maximum likelihood.

    Attributes
    ----------
    repetitions : int
        Trials averaged for each picture.
    n_pictures : int
    top1, top1_error : float
        Mean over draws of the noise and its Monte-Carlo standard error.
    two_way, two_way_error : float
        Against one other picture, mean over all pairs. Chance is one half.
    chance : float
        Of ``top1``.
    separation : float
        Mean over pictures of the distance to the nearest other one, in SD of the noise between
        them (d'). Tells more than accuracies that have reached 1.
    """

    repetitions: int
    n_pictures: int
    top1: float
    top1_error: float
    two_way: float
    two_way_error: float
    chance: float
    separation: float

    def to_dict(self) -> dict[str, float]:
        """Return the numbers by name."""
        return asdict(self)


class Observer:
    """Knows the signal of every candidate and the noise covariance of single trials.

    Parameters
    ----------
    covariance : (V, V)
        From :meth:`.NoiseModel.covariance`.

    Attributes
    ----------
    factor : (V, V)
        Lower Cholesky factor of the covariance; it turns white noise into noise.

    Raises
    ------
    InputError
        If the covariance is not positive definite.
    """

    def __init__(self, covariance: Array) -> None:
        try:
            self.factor = np.linalg.cholesky(np.asarray(covariance, dtype=np.float64))
        except np.linalg.LinAlgError as error:
            raise InputError(
                "a noise covariance that is not positive definite",
                expected="the covariance of a subject's noise model",
            ) from error

    def whiten(self, signal: Array) -> Array:
        """Return signals (n, V) in coordinates where single-trial noise is white."""
        from scipy.linalg import solve_triangular

        white: Array = solve_triangular(
            self.factor, np.asarray(signal, dtype=np.float64).T, lower=True, check_finite=False
        ).T
        return white

    def log_likelihood(self, observed: Array, candidates: Array, repetitions: int) -> Array:
        """Return log-likelihoods (n, m) up to a constant per row.

        Parameters
        ----------
        observed : (n, V)
            Means over ``repetitions`` trials, without session effects and mean response.
        candidates : (m, V)
            Expected means, from :meth:`VirtualSubject.averaged_signal`.
        repetitions : int
        """
        y, s = self.whiten(observed), self.whiten(candidates)
        likelihood: Array = repetitions * (y @ s.T - 0.5 * (s**2).sum(axis=1))
        return likelihood


def ideal_identification(
    subject: VirtualSubject,
    signal: Array,
    *,
    repetitions: tuple[int, ...] = REPETITIONS,
    estimator: str = "lsa",
    draws: int = 20,
    seed: int = 0,
) -> list[IdealIdentification]:
    """Return how well the presented pictures can be told apart.

    The decision depends on the noise only through its projections on the whitened candidates,
    so noise is drawn in n dimensions and not in V: exact, and cheap for any repetitions.

    Parameters
    ----------
    subject : VirtualSubject
    signal : (n, V)
        True signal of the presented pictures.
    repetitions : tuple of int
    estimator : {"lsa"}
        LSS mixes trials, so that its likelihood depends on the whole sequence.
    draws : int
        Of the noise; they give the Monte-Carlo error.
    seed : int
    """
    if estimator != "lsa":
        raise UsageError(f"the ideal observer of {estimator!r} betas", expected="'lsa' betas")
    observer = Observer(subject.noise.covariance())
    grams = []
    for count in repetitions:
        white = observer.whiten(subject.averaged_signal(signal, count))
        grams.append(white @ white.T)
    return identification_from_gram(grams, repetitions, draws=draws, seed=seed)


def identification_from_gram(
    grams: Sequence[Array], repetitions: Sequence[int], *, draws: int = 20, seed: int = 0
) -> list[IdealIdentification]:
    """Return how well pictures can be told apart, from their whitened inner products.

    Parameters
    ----------
    grams : sequence of (n, n)
        One for each number of repetitions, in coordinates where single-trial noise is white.
    repetitions : sequence of int
    draws, seed : int
        Of the noise.
    """
    generator = np.random.default_rng(entropy_of("ideal observer", VERSION, seed))
    scores = []
    for count, gram in zip(repetitions, grams, strict=True):
        values, vectors = np.linalg.eigh(gram)
        root = vectors * np.sqrt(np.maximum(values, 0))
        results = np.array([_identify(gram, root, count, generator) for _ in range(draws)])
        mean = results.mean(axis=0)
        error = results.std(axis=0, ddof=1) / np.sqrt(draws) if draws > 1 else np.full(2, np.nan)
        scores.append(
            IdealIdentification(
                count,
                len(gram),
                float(mean[0]),
                float(error[0]),
                float(mean[1]),
                float(error[1]),
                1 / len(gram),
                _separation(gram, count),
            )
        )
    return scores


def _identify(
    gram: Array, root: Array, repetitions: int, generator: np.random.Generator
) -> tuple[float, float]:
    """Return top-1 and two-way accuracy of one draw; ties count one half, or their share."""
    n = len(gram)
    noise = generator.standard_normal((n, n)) @ root.T / np.sqrt(repetitions)
    likelihood = gram + noise - 0.5 * np.diag(gram)
    own = np.diag(likelihood)[:, None]
    better, equal = (likelihood > own).sum(axis=1), (likelihood == own).sum(axis=1)
    top1 = np.where(better == 0, 1 / equal, 0.0).mean()
    two_way = 1 - (better + (equal - 1) / 2).mean() / max(n - 1, 1)
    return float(top1), float(two_way)


def _separation(gram: Array, repetitions: int) -> float:
    norms = np.diag(gram)
    squared = norms[:, None] + norms - 2 * gram
    np.fill_diagonal(squared, np.inf)
    return float(np.sqrt(repetitions * np.maximum(squared.min(axis=1), 0)).mean())


@dataclass(frozen=True, eq=False)
class PosteriorMean:
    """Mean of values over the posterior of a bank of scenes.

    Attributes
    ----------
    mean : (n, ...)
    error : (n,)
        Monte-Carlo error from the finite bank: root mean square difference between the two
        halves of the bank, halved.
    effective_scenes : (n,)
        1 / sum of squared weights: near 1 says that the bank is too sparse for this noise, and
        the mean is hardly more than its nearest scene.
    """

    mean: Array
    error: Array
    effective_scenes: Array


def posterior_mean(
    observer: Observer,
    observed: Array,
    bank_signal: Array,
    values: Array,
    repetitions: int,
    *,
    gain: Array | float = 1.0,
    block: int = 2048,
) -> PosteriorMean:
    """Return the posterior mean of pixels, embeddings or factors.

    Parameters
    ----------
    observer : Observer
    observed : (n, V)
        Means over ``repetitions`` trials, without session effects and mean response.
    bank_signal : (m, V)
        Signal of the bank's scenes; float16 and memory-mapped will do.
    values : (m, ...)
        What is known about each scene of the bank.
    repetitions : int
    gain : (V,), optional
        Turns the bank's signal into expected means: weakening by repetition.
    block : int
        Scenes of the bank at a time.
    """
    if len(bank_signal) != len(values) or len(values) < 2:
        raise InputError(
            f"{len(bank_signal)} signals and {len(values)} values", "two or more of each, alike"
        )
    white, likelihood = observer.whiten(observed), np.empty((len(observed), len(values)))
    for rows in _blocks(len(values), block):
        candidates = observer.whiten(np.asarray(bank_signal[rows], dtype=np.float64) * gain)
        fit = white @ candidates.T - 0.5 * (candidates**2).sum(axis=1)
        likelihood[:, rows] = repetitions * fit
    weights = np.exp(likelihood - likelihood.max(axis=1, keepdims=True))
    halves = []
    for start in (0, 1):
        half = np.zeros_like(weights)
        half[:, start::2] = np.exp(
            likelihood[:, start::2] - likelihood[:, start::2].max(axis=1, keepdims=True)
        )
        halves.append(half / half.sum(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    means = [np.zeros((len(observed), int(np.prod(values.shape[1:])))) for _ in range(3)]
    for rows in _blocks(len(values), block):
        flat = np.asarray(values[rows], dtype=np.float64).reshape(rows.stop - rows.start, -1)
        for mean, weight in zip(means, (weights, *halves), strict=True):
            mean += weight[:, rows] @ flat
    error = np.sqrt(((means[1] - means[2]) ** 2).mean(axis=1)) / 2
    shape = (len(observed), *values.shape[1:])
    return PosteriorMean(means[0].reshape(shape), error, 1 / (weights**2).sum(axis=1))


def _blocks(count: int, size: int) -> Iterator[slice]:
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))


def fraction_of_ideal(score: float, chance: float, ideal: float) -> float:
    """Return how far a score is on the way from chance to the ideal observer.

    Examples
    --------
    >>> fraction_of_ideal(0.5, 0.0, 0.8)
    0.625
    """
    return (score - chance) / (ideal - chance)
