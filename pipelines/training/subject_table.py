"""Means over subjects with intervals, and what calibration adds: subjects are the random factor."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.virtual.draws import entropy_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["summarise"]

SCORES = ("top1", "top5", "two_way")
KEYS: list[Hashable] = ["scheme", "encoder", "calibration", "setting", "repetitions"]
DRAWS = 2000


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean scores over subjects, 95 % intervals, and differences to no calibration.

    Seeds are averaged within a subject first, so that more seeds do not make more subjects. The
    interval is that of a bootstrap over subjects; with one subject there is none.

    Parameters
    ----------
    table : DataFrame
        Of :func:`~phosphene.pipelines.training.electric_subjects.compare_subjects`.

    Returns
    -------
    DataFrame
        scheme, encoder, calibration, setting, repetitions, subjects, seeds; for top1, top5 and
        two_way the mean, ``_low`` and ``_high``, and ``_gain`` with ``_gain_low`` and
        ``_gain_high``: the paired difference to the same subjects without calibration.
    """
    import pandas as pd

    per_subject = table.groupby([*KEYS, "subject"], sort=False)[list(SCORES)].mean()
    rows = []
    for key, group in per_subject.groupby(level=KEYS, sort=False):
        row = dict(zip(KEYS, key, strict=True))
        values = group.droplevel(KEYS)
        plain = per_subject.xs(
            (row["scheme"], row["encoder"], "none", "none", row["repetitions"]), level=KEYS[:5]
        )
        row |= {"subjects": len(values), "seeds": table["seed"].nunique()}
        for score in SCORES:
            found = values[score].to_numpy()
            row[score] = float(found.mean())
            row[f"{score}_low"], row[f"{score}_high"] = _interval(found)
            gain = found - plain.loc[values.index, score].to_numpy()
            row[f"{score}_gain"] = float(gain.mean())
            row[f"{score}_gain_low"], row[f"{score}_gain_high"] = _interval(gain)
        rows.append(row)
    return pd.DataFrame(rows)


def _interval(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the 95 % interval of the mean over subjects by bootstrap."""
    if len(values) < 2:
        return float("nan"), float("nan")
    generator = np.random.default_rng(entropy_of("bootstrap over subjects"))
    drawn = values[generator.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
