"""``phosphene plan``: what more trials, sessions and repetitions would bring, from a pilot.

A ridge learns from shares of the pilot's training pictures and is judged on left-out pictures by
two-way identification, with one or more test trials of a picture averaged. Errors of a linear
decoder shrink with the number n of training trials as 1/n, and noise of the test with the number
r of averaged trials as 1/r, so that with z the normal quantile of the accuracy

    1 / z² = a + b / n + c / r,    a, b, c >= 0,

is fitted to all measured points and read off beyond them. Intervals come from drawing the left-out
pictures anew, as those shown and as those they are told from, points and fit together. Test trials
of the dataset are never touched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.errors import InputError, UsageError
from phosphene.progress import progress
from phosphene.seeds import item_seed
from phosphene.trials import UNKNOWN
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Curve", "LearningPoint", "Plan", "fit_curve", "make_plan", "measure_points"]

Array = np.ndarray[Any, Any]
N_FOLDS, SHARES = 4, (0.25, 0.5, 1.0)
MOST_TRIALS, MOST_VOXELS, MOST_REPETITIONS = 1600, 6000, 3
LEAST_PICTURES = 24
DRAWS, N_BOOTSTRAP, LEVEL = 3, 500, 0.95
MULTIPLES, REPETITIONS = (1, 2, 4, 8), (1, 3, 10)
WEAKEST = 0.05  # of z: below it an accuracy says nothing


@dataclass(frozen=True, eq=False)
class LearningPoint:
    """Two-way identification of left-out pictures at one size of training.

    Attributes
    ----------
    n_trials : float
        Training trials, mean over folds.
    repetitions : int
        Test trials averaged per picture.
    folds : list of ndarray
        Pictures of every fold.
    wins : list of ndarray of shape (n_fold, n_fold)
        Whether the prediction for one picture is more like it than like another (ties one half,
        mean over draws of trials); NaN on the diagonal and with too few trials.
    """

    n_trials: float
    repetitions: int
    folds: list[Array]
    wins: list[Array]

    @property
    def accuracy(self) -> float:
        """Mean over pairs of pictures."""
        return self.weighted(np.ones(1 + max(int(fold.max()) for fold in self.folds)))

    def weighted(self, weights: Array) -> float:
        """Return the accuracy with pictures counted ``weights`` times, as shown and as rivals."""
        total = norm = 0.0
        for fold, wins in zip(self.folds, self.wins, strict=True):
            pair = np.where(np.isnan(wins), 0.0, np.outer(weights[fold], weights[fold]))
            total += float((pair * np.nan_to_num(wins)).sum())
            norm += float(pair.sum())
        return total / norm if norm else float("nan")


@dataclass(frozen=True)
class Curve:
    """The fitted law ``1 / z² = a + b / n + c / r``."""

    a: float
    b: float
    c: float

    def accuracy(self, n_trials: float, repetitions: int) -> float:
        """Return the expected two-way accuracy."""
        from scipy.stats import norm

        inverse = self.a + self.b / n_trials + self.c / repetitions
        return float(norm.cdf(1 / np.sqrt(max(inverse, 1e-6))))


@dataclass(frozen=True, eq=False)
class Plan:
    """What a pilot lets expect.

    Attributes
    ----------
    points : list of LearningPoint
    table : DataFrame
        A row per size and repetition: ``n_trials sessions test_repetitions accuracy low high``;
        the smallest size is the pilot itself.
    trials_per_session : float
    new_or_again : (float, float) or None
        Accuracy of as many trials of different pictures, and of half of them twice.
    curve : Curve
    """

    points: list[LearningPoint]
    table: pd.DataFrame
    trials_per_session: float
    new_or_again: tuple[float, float] | None
    curve: Curve


def make_plan(
    dataset: CanonicalDataset, subject: str, target: str = "pixels:16x3", *, seed: int = 0
) -> Plan:
    """Measure a pilot's learning curve and extrapolate it.

    Parameters
    ----------
    dataset : CanonicalDataset
        Of fMRI, with pictures.
    subject : str
    target : str
        What is decoded, see :func:`load_target`.
    seed : int
        Of folds and draws.

    Raises
    ------
    InputError
        If there are too few training pictures, or the pilot does not decode above chance: then
        nothing can be extrapolated.
    """
    from phosphene.pipelines.training.materials import cached_targets, load_target

    recording = dataset.recording(subject, splits=["train", "validation"])
    names = recording.trials["stimulus_id"]
    if (names == UNKNOWN).any() or names.nunique() < LEAST_PICTURES:
        raise InputError(
            f"a pilot of {names.nunique()} training pictures",
            expected=f"at least {LEAST_PICTURES} that are known by name",
            remedy="record more before planning",
        )
    n_trials, n_sessions = len(recording), recording.trials["session"].nunique()
    recording = _thinned(recording, seed)
    values = cached_targets(dataset, load_target(target), recording.trials["stimulus_id"].tolist())
    flat = np.asarray(values.reshape(len(values), -1).float())
    points, compared = measure_points(recording, flat, seed=seed)
    per_session = n_trials / n_sessions
    curve, table = _extrapolate(points, n_trials, per_session, seed)
    return Plan(points, table, per_session, compared, curve)


def _thinned(recording: Recording, seed: int) -> Recording:
    """Return at most 1,600 trials (whole pictures) of at most 6,000 voxels, evenly spaced."""
    from phosphene.types import VoxelSpace

    names = recording.trials["stimulus_id"].to_numpy()
    rows = np.arange(len(recording))
    if len(rows) > MOST_TRIALS:
        rng = np.random.default_rng(item_seed(seed, recording.subject, "plan pictures", 0))
        order = rng.permutation(np.unique(names))
        counts = {name: int((names == name).sum()) for name in order}
        kept = order[np.cumsum([counts[name] for name in order]) <= MOST_TRIALS]
        rows = np.flatnonzero(np.isin(names, kept))
    recording = recording.select(rows)
    space = recording.space
    if space is None:
        raise UsageError("a pilot without voxels", expected="a dataset of fMRI")
    if space.n_voxels <= MOST_VOXELS:
        return recording
    columns = np.unique(np.linspace(0, space.n_voxels - 1, MOST_VOXELS).astype(int))
    return replace(
        recording,
        data=np.asarray(recording.data[:, columns]),
        space=VoxelSpace(space.grid_shape, space.indices[columns], space.affine),
    )


def measure_points(
    recording: Recording, targets: Array, *, seed: int = 0
) -> tuple[list[LearningPoint], tuple[float, float] | None]:
    """Return the learning curve, and what new pictures bring against repetitions.

    Parameters
    ----------
    recording : Recording
        Training trials.
    targets : ndarray of shape (n_trials, d)
    seed : int
    """
    pictures, codes = np.unique(
        recording.trials["stimulus_id"].astype(str).to_numpy(), return_inverse=True
    )
    rng = np.random.default_rng(item_seed(seed, recording.subject, "plan folds", 0))
    folds = np.array_split(rng.permutation(len(pictures)), N_FOLDS)
    counts = np.bincount(codes)
    repetitions = range(1, min(MOST_REPETITIONS, int(np.median(counts))) + 1)
    wins: dict[tuple[float, int], list[Array]] = {
        (share, r): [] for share in SHARES for r in repetitions
    }
    sizes: dict[float, list[int]] = {share: [] for share in SHARES}
    variants: dict[str, list[Array]] = {"new": [], "again": []}
    jobs = [(fold, share) for fold in folds for share in SHARES]
    for fold, share in progress(jobs, label="learning curve", total=len(jobs)):
        inside = np.setdiff1d(np.arange(len(pictures)), fold)
        chosen = rng.permutation(inside)[: max(4, round(share * len(inside)))]
        train = np.flatnonzero(np.isin(codes, chosen))
        sizes[share].append(len(train))
        test = np.flatnonzero(np.isin(codes, fold))
        predicted = _predict(recording, targets, train, test)
        for r in repetitions:
            found = _wins(predicted, codes[test], targets, codes, fold, r, rng, train)
            wins[share, r].append(found)
    if counts.min() >= 2:
        for fold in folds:
            inside = np.setdiff1d(np.arange(len(pictures)), fold)
            test = np.flatnonzero(np.isin(codes, fold))
            for name, rows in _equal_sizes(codes, inside, rng).items():
                predicted = _predict(recording, targets, rows, test)
                found = _wins(predicted, codes[test], targets, codes, fold, 1, rng, rows)
                variants[name].append(found)
    points = [
        LearningPoint(float(np.mean(sizes[share])), r, folds, wins[share, r])
        for share in SHARES
        for r in repetitions
    ]
    if counts.min() < 2:
        return points, None
    new, again = (LearningPoint(0, 1, folds, variants[n]).accuracy for n in ("new", "again"))
    return points, (new, again)


def _equal_sizes(codes: Array, inside: Array, rng: np.random.Generator) -> dict[str, Array]:
    """Return as many rows of every picture once, and of half of the pictures twice."""
    first, second = {}, {}
    for row in rng.permutation(len(codes)):
        code = int(codes[row])
        if code not in first:
            first[code] = int(row)
        elif code not in second:
            second[code] = int(row)
    half = rng.permutation(inside)[: len(inside) // 2]
    return {
        "new": np.array([first[int(code)] for code in inside]),
        "again": np.array([place[int(code)] for code in half for place in (first, second)]),
    }


def _predict(recording: Recording, targets: Array, train: Array, test: Array) -> Array:
    """Return the predicted targets (n_test, d) of a ridge fitted on the training rows."""
    from phosphene.encoders.brain import BRAIN_ENCODERS

    learned = recording.select(train)
    learned = replace(learned, trials=learned.trials.assign(split="train"))
    preprocessor = Preprocessor(modality="fmri").fit(learned)
    encoder = BRAIN_ENCODERS.get("ridge")()
    encoder.fit(preprocessor.transform(learned), targets[train], groups="stimulus")
    embedding = encoder.encode(preprocessor.transform(recording.select(test)))
    return np.asarray(embedding.main.reshape(len(test), -1), dtype=np.float64)


def _wins(
    predicted: Array,
    shown: Array,
    targets: Array,
    codes: Array,
    fold: Array,
    repetitions: int,
    rng: np.random.Generator,
    train: Array,
) -> Array:
    """Return which pictures of a fold win against which, ``repetitions`` trials averaged."""
    centre = targets[train].mean(axis=0)
    first = {int(code): row for row, code in reversed(list(enumerate(codes.tolist())))}
    truth = _unit(np.stack([targets[first[int(code)]] for code in fold]) - centre)
    out = np.zeros((DRAWS, len(fold), len(fold)))
    for draw in range(DRAWS):
        means = np.full((len(fold), predicted.shape[1]), np.nan)
        for place, code in enumerate(fold):
            rows = np.flatnonzero(shown == code)
            if len(rows) >= repetitions:
                means[place] = predicted[rng.permutation(rows)[:repetitions]].mean(axis=0)
        likeness = _unit(means - centre) @ truth.T
        own = np.diag(likeness)[:, None]
        better = (own > likeness) + 0.5 * (own == likeness)
        np.fill_diagonal(better, np.nan)
        better[np.isnan(own[:, 0])] = np.nan
        out[draw] = better
    return np.asarray(out.mean(axis=0))


def _unit(rows: Array) -> Array:
    centred = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.where(norm > 0, norm, 1.0))


def fit_curve(n_trials: Array, repetitions: Array, accuracy: Array) -> Curve:
    """Fit the law by non-negative least squares, each point by how well its z is known.

    An error of z makes one of 2 / z³ in 1 / z².
    """
    from scipy.optimize import nnls
    from scipy.stats import norm

    z = np.maximum(norm.ppf(np.clip(accuracy, 1e-4, 1 - 1e-4)), WEAKEST)
    design = np.stack([np.ones_like(z), 1 / n_trials, 1 / repetitions], axis=1)
    scale = np.array([1.0, n_trials.max(), 1.0])
    weight = z**3
    found, _ = nnls(design * scale * weight[:, None], weight / z**2)
    return Curve(*(float(value) for value in found * scale))


def _extrapolate(
    points: list[LearningPoint], pilot: int, per_session: float, seed: int
) -> tuple[Curve, pd.DataFrame]:
    import pandas as pd

    n = np.array([point.n_trials for point in points])
    r = np.array([point.repetitions for point in points], dtype=float)
    rng = np.random.default_rng(seed)
    n_pictures = 1 + max(int(fold.max()) for fold in points[0].folds)
    draws = rng.multinomial(n_pictures, np.full(n_pictures, 1 / n_pictures), N_BOOTSTRAP)
    means = np.array([[point.weighted(weights) for point in points] for weights in draws])
    largest = int(np.argmax(n - 1e-3 * r))
    tail = (1 - LEVEL) / 2
    low = float(np.quantile(means[:, largest], tail))
    if low <= 0.5:
        raise InputError(
            f"left-out pictures of the pilot are identified with {points[largest].accuracy:.3f} "
            f"(at least {low:.3f} in 95 % of draws), chance is .5",
            expected="a pilot that decodes above chance",
            remedy="look at `phosphene prepare check`, choose another region, or record more: "
            "nothing can be extrapolated from chance",
        )
    curve = fit_curve(n, r, np.array([point.accuracy for point in points]))
    drawn = [fit_curve(n, r, accuracies) for accuracies in means]
    rows = []
    for multiple in MULTIPLES:
        for repetitions in REPETITIONS:
            size = pilot * multiple
            values = [one.accuracy(size, repetitions) for one in drawn]
            rows.append(
                {
                    "n_trials": size,
                    "sessions": round(size / per_session, 1),
                    "test_repetitions": repetitions,
                    "accuracy": curve.accuracy(size, repetitions),
                    "low": float(np.quantile(values, tail)),
                    "high": float(np.quantile(values, 1 - tail)),
                }
            )
    return curve, pd.DataFrame(rows)
