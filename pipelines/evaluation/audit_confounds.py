"""What else than the picture could tell a decoder the answer: order, arousal, gaze.

Every audit compares an association with that of permuted labels; it trips only where the
association is both beyond chance and large enough to decode from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.splits import CONCEPT_COLUMNS
from phosphene.pipelines.evaluation.audit_findings import Finding, verdict_of
from phosphene.pipelines.evaluation.permutation import exchange_labels, p_value
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["audit_gaze", "audit_global_signal", "audit_order", "global_signal", "nuisance_columns"]

Array = np.ndarray[Any, Any]
SIGNIFICANT, LARGE = 0.001, 0.1  # p-value and excess over chance from which an audit trips
PERMUTATIONS = 1999
COLUMNS = 4096  # standardised at a time: bounds the memory
NUISANCES = ("gaze", "eye", "pupil", "blink", "saccade")


def _category(trials: pd.DataFrame) -> Array | None:
    column = next((name for name in CONCEPT_COLUMNS if name in trials), None)
    return None if column is None else trials[column].astype(str).to_numpy()


def _tripped(observed: float, chance: float, p: float) -> bool:
    return p <= SIGNIFICANT and observed - chance >= LARGE


def _test(statistic: Any, labels: Array, within: Array | None = None) -> tuple[float, float, float]:
    """Return observed, chance and p of a statistic of labels that are exchanged."""
    drawn = exchange_labels(len(labels), within=within, n_permutations=PERMUTATIONS)
    observed = float(statistic(labels))
    null = np.array([statistic(labels[row]) for row in drawn.rows])
    return observed, float(null.mean()), p_value(observed, null)


def _explained(values: Array, codes: Array) -> float:
    """Return the share of variance between groups, eta squared."""
    centred = values - values.mean()
    total = float(centred @ centred)
    if total <= 1e-12 * max(1.0, float(np.square(values).sum())):
        return 0.0
    sums, counts = np.bincount(codes, centred), np.bincount(codes)
    return float(np.square(sums[counts > 0]) @ (1 / counts[counts > 0])) / total


def audit_order(trials: pd.DataFrame, *, subject: str | None = None) -> Finding:
    """Return whether the category can be guessed from when a trial came.

    Categories in blocks, or runs of few categories, let slow drift decode them (Li et al. 2021,
    *IEEE TPAMI*, on EEG recorded in class blocks).

    Parameters
    ----------
    trials : DataFrame
        With ``category`` or ``concept``. Rows of a run stand in the order of time, unless a
        column ``onset`` gives it.
    """
    trials = _in_time(trials)
    category = _category(trials)
    if category is None:
        reason = f"no column {' or '.join(CONCEPT_COLUMNS)} in the trials"
        return Finding("order", "not checked", reason, subject=subject)
    codes = np.unique(category, return_inverse=True)[1]
    if codes.max() == 0 or len(codes) < 8:
        reason = f"{codes.max() + 1} categories in {len(codes)} trials"
        return Finding("order", "not checked", reason, subject=subject)
    session = np.unique(trials["session"].astype(str), return_inverse=True)[1]
    run = trials.groupby(["session", "run"]).ngroup().to_numpy()
    follows = session[1:] == session[:-1]
    details: dict[str, Any] = {}
    tripped = False
    if follows.any() and np.bincount(session).max() > 1:
        neighbours = _test(
            lambda labels: (labels[1:] == labels[:-1])[follows].mean(), codes, session
        )
        details["next_trial_same_category"] = _numbers(neighbours)
        tripped |= _tripped(*neighbours)
    if run.max() > 0 and np.bincount(run).max() > 1:
        sharing = _test(lambda labels: _same_in_group(labels, run), codes)
        details["same_category_within_a_run"] = _numbers(sharing)
        tripped |= _tripped(*sharing)
    if not details:
        return Finding("order", "not checked", "no two trials in one session", subject=subject)
    words = "; ".join(
        f"{name.replace('_', ' ')} {found['observed']:.2f}, by chance {found['chance']:.2f}"
        for name, found in details.items()
    )
    return Finding("order", verdict_of(tripped), words, details, subject)


def _in_time(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the rows session by session and run by run, in the order of onsets where known."""
    run = trials.groupby(["session", "run"], sort=False).ngroup().to_numpy()
    session = trials.groupby("session", sort=False).ngroup().to_numpy()
    onset = np.arange(len(trials), dtype=float)
    if "onset" in trials and trials["onset"].dtype.kind in "iuf":
        onset = trials["onset"].to_numpy(dtype=float)
    return trials.iloc[np.lexsort((onset, run, session))]


def _same_in_group(labels: Array, groups: Array) -> float:
    """Return the probability that two different trials of one group have the same label."""
    width = int(labels.max()) + 1
    counts = np.bincount(groups * width + labels, minlength=(groups.max() + 1) * width)
    counts = counts.reshape(-1, width).astype(float)
    sizes = counts.sum(axis=1)
    return float((counts * (counts - 1)).sum() / max((sizes * (sizes - 1)).sum(), 1))


def _enough(labels: Array) -> bool:
    """Whether permutations of the labels can reach a small p-value at all."""
    n_kinds = int(labels.max()) + 1
    return n_kinds > 1 and len(labels) >= max(12, 2 * n_kinds)


def _numbers(found: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("observed", "chance", "p_value"), found, strict=True))


def global_signal(recording: Recording) -> Array:
    """Return the mean over voxels (or channels and times) of standardised trials, (n_trials,).

    Each value is standardised within its session, so that sessions do not differ.
    """
    data = recording.data.reshape(len(recording), -1)
    total = np.zeros(len(recording))
    for rows in recording.trials.groupby("session").indices.values():
        for start in range(0, data.shape[1], COLUMNS):
            block = np.asarray(data[rows, start : start + COLUMNS], dtype=np.float64)
            spread = block.std(axis=0)
            block = block - block.mean(axis=0)
            total[rows] += np.divide(
                block, spread, out=np.zeros_like(block), where=spread > 1e-12
            ).sum(axis=1)
    return total / data.shape[1]


def audit_global_signal(recording: Recording) -> Finding:
    """Return whether the whole brain responds by category, as arousal or attention make it.

    A decoder then needs no picture: the mean over all voxels tells the category. Stimuli whose
    categories differ in size or contrast do the same; either way it has to be known.
    """
    name, subject, trials = "global signal", recording.subject, recording.trials
    category = _category(trials)
    if category is None:
        reason = f"no column {' or '.join(CONCEPT_COLUMNS)} in the trials"
        return Finding(name, "not checked", reason, subject=subject)
    # The unit is the picture: trials of one picture share its category, whatever it is.
    _, first, codes = np.unique(
        trials["stimulus_id"].astype(str).to_numpy(), return_index=True, return_inverse=True
    )
    means = np.bincount(codes, global_signal(recording)) / np.bincount(codes)
    labels = np.unique(category[first], return_inverse=True)[1]
    if not _enough(labels):
        reason = f"{len(labels)} pictures in {labels.max() + 1} categories: too few to tell"
        return Finding(name, "not checked", reason, subject=subject)
    found = _test(lambda permuted: _explained(means, permuted), labels)
    summary = (
        f"the category explains {found[0]:.2f} of the variance of the whole brain's mean "
        f"response, by chance {found[1]:.2f} (p {found[2]:.4f})"
    )
    return Finding(name, verdict_of(_tripped(*found)), summary, _numbers(found), subject)


def nuisance_columns(trials: pd.DataFrame) -> dict[str, Array]:
    """Return the columns of a trials table that describe the eyes, as numbers (n,).

    Tables of text hold numbers as text. Gaps become the mean; a column of words is left out.
    """
    import pandas as pd

    found = {}
    for name in trials.columns:
        if not str(name).lower().startswith(NUISANCES):
            continue
        values = pd.to_numeric(trials[name], errors="coerce").to_numpy(dtype=float)
        known = np.isfinite(values)
        if known.mean() >= 0.5:
            found[str(name)] = np.where(known, values, values[known].mean())
    return found


def audit_gaze(trials: pd.DataFrame, *, subject: str | None = None) -> Finding:
    """Return whether gaze, pupil or blinks depend on the picture or on its category.

    Eyes that go where the picture draws them shift it on the retina, and move the eye muscles
    and eyelids that EEG records: decoders may read the eyes and not the brain.

    Parameters
    ----------
    trials : DataFrame
        Columns whose names begin with gaze, eye, pupil, blink or saccade are looked at.
    """
    columns = nuisance_columns(trials)
    if not columns:
        reason = "no column that begins with " + ", ".join(NUISANCES)
        return Finding("gaze", "not checked", reason, subject=subject)
    pictures = trials["stimulus_id"].astype(str).to_numpy()
    _, first, codes = np.unique(pictures, return_index=True, return_inverse=True)
    repeated = np.bincount(codes).max() > 1
    session = trials["session"].astype(str).to_numpy()
    category = _category(trials)
    details: dict[str, Any] = {}
    for column, values in columns.items():
        tests: dict[str, tuple[float, float, float]] = {}
        if repeated and len(first) > 1:
            tests["by picture"] = _test(
                lambda rows, v=values: _explained(v[rows], codes), np.arange(len(values)), session
            )
        labels = None if category is None else np.unique(category[first], return_inverse=True)[1]
        if labels is not None and _enough(labels):
            means = np.bincount(codes, values) / np.bincount(codes)
            tests["by category"] = _test(lambda own, m=means: _explained(m, own), labels)
        details |= {f"{column} {kind}": _numbers(found) for kind, found in tests.items()}
    if not details:
        reason = "every picture was shown once and its category is not known"
        return Finding("gaze", "not checked", reason, subject=subject)
    bad = [name for name, found in details.items() if _tripped(*found.values())]
    most = max(details, key=lambda name: details[name]["observed"] - details[name]["chance"])
    summary = (
        f"{most}: {details[most]['observed']:.2f} of the variance explained, by chance "
        f"{details[most]['chance']:.2f}"
    )
    return Finding("gaze", verdict_of(bool(bad)), summary, details, subject)
