"""Means over subjects with intervals, and what calibration adds.

Intervals over subjects say what to expect of another subject; those over pictures, with these
subjects, what to expect of other pictures, and are all there is for one or two subjects.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.virtual.draws import entropy_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BY_PICTURE", "SCORES", "summarise", "with_intervals"]

SCORES = ("top1", "top5", "two_way")
BY_PICTURE = "by_picture"  # the column that tells scores of every picture, and is not written
COSTS = ("parameters", "seconds", "processor_seconds")
KEYS: list[Hashable] = ["scheme", "encoder", "calibration", "setting", "repetitions"]
DRAWS = 2000

Array = np.ndarray[Any, Any]


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean scores over subjects, 95 % intervals, and differences to no calibration.

    Seeds are averaged within a subject first, so that more seeds do not make more subjects. The
    intervals are those of a bootstrap over subjects (with one subject there is none) and, where
    scores of single pictures are known, of one over pictures with the subjects fixed.

    Parameters
    ----------
    table : DataFrame
        Of :func:`~phosphene.pipelines.training.electric_subjects.compare_subjects`; a column
        ``by_picture`` holds {stimulus_id: (top1, top5, two_way)} of each row.

    Returns
    -------
    DataFrame
        scheme, encoder, calibration, setting, repetitions, subjects, seeds; for top1, top5 and
        two_way the mean, ``_low`` and ``_high``, and ``_gain`` with ``_gain_low`` and
        ``_gain_high``: the paired difference to the same subjects without calibration; the same
        with ``_pictures_low`` and so on for intervals over pictures; means of what training took.
    """
    import pandas as pd

    costs = [name for name in COSTS if name in table]
    grouped = table.groupby([*KEYS, "subject"], sort=False)
    per_subject = grouped[[*SCORES, *costs]].mean()
    pictures = _by_picture(table) if BY_PICTURE in table else {}
    rows = []
    for key, group in per_subject.groupby(level=KEYS, sort=False):
        row = dict(zip(KEYS, key, strict=True))
        values = group.droplevel(KEYS)
        uncalibrated = (row["scheme"], row["encoder"], "none", "none", row["repetitions"])
        plain = per_subject.xs(uncalibrated, level=KEYS[:5])
        row |= {"subjects": len(values), "seeds": table["seed"].nunique()}
        for number, score in enumerate(SCORES):
            found = values[score].to_numpy()
            gain = found - plain.loc[values.index, score].to_numpy()
            row[score], row[f"{score}_gain"] = float(found.mean()), float(gain.mean())
            row[f"{score}_low"], row[f"{score}_high"] = _interval(found)
            row[f"{score}_gain_low"], row[f"{score}_gain_high"] = _interval(gain)
            if pictures:
                mine, other = pictures[key][number], pictures[uncalibrated][number]
                for name, shown in ((score, mine), (f"{score}_gain", mine - other)):
                    limits = _over_pictures(shown)
                    row[f"{name}_pictures_low"], row[f"{name}_pictures_high"] = limits
        rows.append(row | {name: float(values[name].mean()) for name in costs})
    return pd.DataFrame(rows)


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table per subject with 95 % intervals over pictures in place of their scores."""
    if BY_PICTURE not in table:
        return table
    found = table.drop(columns=BY_PICTURE)
    scores = [np.array(list(one.values())).T for one in table[BY_PICTURE]]
    for number, score in enumerate(SCORES):
        limits = np.array([_over_pictures(one[number][None]) for one in scores])
        place = list(found.columns).index(score) + 1
        found.insert(place, f"{score}_low", limits[:, 0])
        found.insert(place + 1, f"{score}_high", limits[:, 1])
    return found


def _by_picture(table: pd.DataFrame) -> dict[Any, Array]:
    """Return scores (3, subjects, pictures) of every row of the summary, nan where not shown.

    Means over seeds. The order of subjects is that of the table.
    """
    names = sorted({name for one in table[BY_PICTURE] for name in one})
    subjects = list(dict.fromkeys(table["subject"]))
    places = {name: place for place, name in enumerate(names)}
    found = {}
    for key, group in table.groupby(KEYS, sort=False):
        total = np.zeros((len(SCORES), len(subjects), len(names)))
        count = np.zeros((len(subjects), len(names)))
        for subject, shown in zip(group["subject"], group[BY_PICTURE], strict=True):
            rows, columns = subjects.index(subject), [places[name] for name in shown]
            total[:, rows, columns] += np.array(list(shown.values())).T
            count[rows, columns] += 1
        found[key] = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return found


def _interval(values: Array) -> tuple[float, float]:
    """Return the 95 % interval of the mean over subjects by bootstrap."""
    if len(values) < 2:
        return float("nan"), float("nan")
    generator = np.random.default_rng(entropy_of("bootstrap over subjects"))
    drawn = values[generator.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)


def _over_pictures(values: Array) -> tuple[float, float]:
    """Return the 95 % interval of the mean of (subjects, pictures) by bootstrap over pictures.

    All that was shown of a picture is drawn together.
    """
    there = np.isfinite(values)
    values, there = values[there.any(axis=1)], there[there.any(axis=1)]
    n_pictures = values.shape[1]
    if n_pictures < 2:
        return float("nan"), float("nan")
    times = _times_drawn(n_pictures)
    sums, counts = times @ np.where(there, values, 0.0).T, times @ there.T.astype(float)
    drawn = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    low, high = np.nanquantile(np.nanmean(drawn, axis=1), (0.025, 0.975))
    return float(low), float(high)


@lru_cache(maxsize=4)
def _times_drawn(n_pictures: int) -> Array:
    """Return how often each picture is in each of the samples (draws, pictures)."""
    generator = np.random.default_rng(entropy_of("bootstrap over pictures"))
    return generator.multinomial(n_pictures, np.full(n_pictures, 1 / n_pictures), DRAWS)
