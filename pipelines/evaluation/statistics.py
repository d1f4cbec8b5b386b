"""Differences between models, groups of subjects, and many comparisons at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np

from phosphene.errors import InputError, UsageError, check_option
from phosphene.pipelines.metrics.intervals import bootstrap_interval

__all__ = [
    "GroupResult",
    "SubjectRow",
    "adjust_p_values",
    "group_result",
    "grouped_interval",
    "picture_means",
    "sign_flip_test",
]

Array = np.ndarray[Any, Any]
TIE = 1e-12


def picture_means(scores: Array, pictures: Sequence[Any] | Array | None) -> tuple[Array, Array]:
    """Return one score per picture and the pictures' names; NaN scores are left out."""
    values = np.asarray(scores, dtype=float)
    labels = np.arange(len(values)) if pictures is None else np.asarray(pictures)
    if labels.shape != values.shape:
        raise UsageError(f"{len(labels)} picture labels for {len(values)} scores", "one per score")
    kept = ~np.isnan(values)
    if not kept.any():
        raise InputError("no scores to compare", "at least one number")
    names, codes = np.unique(labels[kept], return_inverse=True)
    return np.bincount(codes, weights=values[kept]) / np.bincount(codes), names


def sign_flip_test(
    ours: Array,
    theirs: Array | float = 0.0,
    *,
    pictures: Sequence[Any] | Array | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
) -> tuple[float, float]:
    """Compare two models on the same pictures, or one model with a constant such as chance.

    Where neither is better, a picture's difference is as likely to have the other sign. All
    2^n signs are tried where they are no more than ``n_permutations``.

    Parameters
    ----------
    ours : ndarray of shape (n,)
    theirs : ndarray of shape (n,) or float
    pictures : sequence of length n, optional
        Scores of one picture are averaged first: they do not flip apart.

    Returns
    -------
    difference : float
        Mean over pictures of ``ours - theirs``.
    p_value : float
        Two-sided.

    Examples
    --------
    >>> sign_flip_test([1.0, 2.0, 3.0, 4.0])
    (2.5, 0.125)
    """
    own = np.asarray(ours, dtype=float)
    means, _ = picture_means(own - np.asarray(theirs, dtype=float), pictures)
    observed, n = float(means.mean()), len(means)
    if 2**n <= n_permutations:
        signs = np.array(list(product((1.0, -1.0), repeat=n)))  # the first row is the observed
        null, extra = signs @ means / n, 0
    else:
        generator = np.random.default_rng(seed)
        draws = [
            generator.choice((1.0, -1.0), size=(min(512, n_permutations - start), n)) @ means / n
            for start in range(0, n_permutations, 512)
        ]
        null, extra = np.concatenate(draws), 1
    as_large = int((np.abs(null) >= abs(observed) - TIE).sum())
    return observed, (as_large + extra) / (len(null) + extra)


def grouped_interval(
    scores: Array,
    pictures: Sequence[Any] | Array,
    scenes: Sequence[Any] | Array,
    *,
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 4000,
) -> tuple[float, float]:
    """Return the bootstrap interval over pictures or clips that were cut from longer scenes.

    Clips of one scene look alike and are drawn together: as many scenes as there are, not clips.

    Parameters
    ----------
    scores : ndarray of shape (n,)
    pictures, scenes : sequence of length n
        A picture belongs to one scene.

    Raises
    ------
    InputError
        If a picture is of several scenes, or all are of one.
    """
    means, names = picture_means(scores, pictures)
    scene_of: dict[Any, Any] = {}
    labels, found = np.asarray(pictures).tolist(), np.asarray(scenes).tolist()
    for picture, scene in zip(labels, found, strict=True):
        if scene_of.setdefault(picture, scene) != scene:
            raise InputError(
                f"picture {picture!r} in the scenes {scene_of[picture]!r} and {scene!r}",
                expected="one scene per picture",
            )
    groups = np.array([str(scene_of[name]) for name in names.tolist()])
    if len(np.unique(groups)) < 2:
        raise InputError("all pictures are of one scene", "at least two scenes to draw from")
    return bootstrap_interval(
        means, pictures=groups, level=level, seed=seed, n_resamples=n_resamples
    )


@dataclass(frozen=True)
class SubjectRow:
    """One subject's mean over pictures, with its interval over pictures."""

    subject: str
    value: float
    interval: tuple[float, float] | None
    n_pictures: int


@dataclass(frozen=True)
class GroupResult:
    """Subjects as the random factor.

    Attributes
    ----------
    rows : tuple of SubjectRow
    value : float
        Mean over subjects.
    interval : (float, float) or None
        Student's t over subjects: what another person may score. ``None`` for one subject.
    p_value : float or None
        Two-sided t test of the subjects' means against chance; ``None`` without chance or for
        one subject.
    note : str
    """

    rows: tuple[SubjectRow, ...]
    value: float
    interval: tuple[float, float] | None
    p_value: float | None
    note: str = ""


def group_result(
    scores: Mapping[str, Array],
    *,
    pictures: Mapping[str, Sequence[Any] | Array] | None = None,
    chance: float | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> GroupResult:
    """Return the table per subject, and mean and interval over subjects.

    Parameters
    ----------
    scores : mapping of subject label to ndarray of shape (n,)
    pictures : mapping of subject label to sequence of length n, optional
    chance : float, optional
        Tests the group's mean.

    Examples
    --------
    >>> found = group_result({"01": [0.6, 0.8], "02": [0.9, 0.7]}, chance=0.5)
    >>> round(found.value, 3), [row.value for row in found.rows]
    (0.75, [0.7, 0.8])
    """
    from scipy import stats

    if not scores:
        raise InputError("scores of no subject", "at least one subject")
    rows, values = [], []
    for subject, mine in scores.items():
        means, _ = picture_means(mine, None if pictures is None else pictures[subject])
        several = len(means) > 1
        interval = bootstrap_interval(means, level=level, seed=seed) if several else None
        value = round(float(means.mean()), 15)
        rows.append(SubjectRow(str(subject), value, interval, len(means)))
        values.append(value)
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        note = "one subject: nothing is said about others"
        return GroupResult(tuple(rows), mean, None, None, note)
    error = max(float(np.std(values, ddof=1)) / n**0.5, np.finfo(float).tiny)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * error
    p = None
    if chance is not None:
        distance = abs(mean - chance)
        p = 1.0 if distance == 0 else float(2 * stats.t.sf(np.divide(distance, error), n - 1))
    return GroupResult(tuple(rows), mean, (mean - half, mean + half), p)


def adjust_p_values(
    p_values: Sequence[float] | Array, method: Literal["holm", "benjamini-hochberg"] = "holm"
) -> Array:
    """Return p-values corrected for having made all of these comparisons.

    Parameters
    ----------
    p_values : sequence of float
    method : {"holm", "benjamini-hochberg"}
        ``holm`` bounds the chance of any false claim (Holm 1979, *Scand. J. Stat.* 6),
        ``benjamini-hochberg`` the expected share of false claims (1995, *J. R. Stat. Soc. B* 57).

    Examples
    --------
    >>> adjust_p_values([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    check_option("method", method, ("holm", "benjamini-hochberg"))
    values = np.asarray(p_values, dtype=float)
    if values.ndim != 1 or not len(values) or not ((values >= 0) & (values <= 1)).all():
        raise InputError(f"p-values {values!r}", "a list of numbers from 0 to 1")
    if method == "benjamini-hochberg":
        from scipy.stats import false_discovery_control

        return np.asarray(false_discovery_control(values, method="bh"))
    order = np.argsort(values, kind="stable")
    stepped = np.maximum.accumulate(values[order] * (len(values) - np.arange(len(values))))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
