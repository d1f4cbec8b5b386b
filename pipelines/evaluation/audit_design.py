"""Whether a design can be decoded honestly: repetitions, order, timing, and what is left to test.

A decoder that knows the run or the place in a run, and nothing of the brain, must not be able to
tell what was shown; and trials of one picture in one run share its drifts, so that their average
or their likeness says little about the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.splits import CONCEPT_COLUMNS
from phosphene.pipelines.evaluation.audit_findings import Finding, verdict_of
from phosphene.pipelines.evaluation.permutation import p_value
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "audit_pictures",
    "audit_repetitions",
    "audit_sequence",
    "audit_test_trials",
    "audit_timing",
]

Array = np.ndarray[Any, Any]
SIGNIFICANT, LARGE = 0.001, 0.1  # as the other audits: beyond chance, and large enough to use
PERMUTATIONS, MOST_TRIALS = 999, 3000
FEW_PICTURES, FEW_TESTS = 40, 10
OVERLAP_SECONDS, TOGETHER_SECONDS = 8.0, 1.0  # of onsets: responses overlap; cannot be told apart


def _runs(trials: pd.DataFrame) -> Array:
    return np.asarray(trials.groupby(["session", "run"], sort=False).ngroup().to_numpy())


def _known_runs(trials: pd.DataFrame) -> bool:
    return bool((trials["run"].astype(str) != UNKNOWN).all())


def _permuted(pictures: Array, runs: Array, statistic: Any) -> tuple[float, float, float]:
    """Return observed, chance and p of a statistic of pictures that are exchanged within runs."""
    rng = np.random.default_rng(0)
    order = np.argsort(runs, kind="stable")
    observed = float(statistic(pictures))
    null = np.empty(PERMUTATIONS)
    for draw in range(PERMUTATIONS):
        mixed = np.empty_like(pictures)
        mixed[order] = pictures[np.lexsort((rng.random(len(runs)), runs))]
        null[draw] = statistic(mixed)
    return observed, float(null.mean()), p_value(observed, null)


def audit_repetitions(trials: pd.DataFrame, *, subject: str | None = None) -> Finding:
    """Return whether repetitions of a picture stand together in a run.

    They share the run's drift and motion: averages keep both, and a reliability computed from
    them is too high.
    """
    name = "repetitions in a run"
    pictures = np.unique(trials["stimulus_id"].astype(str), return_inverse=True)[1]
    counts = np.bincount(pictures)
    rows = np.flatnonzero(counts[pictures] > 1)
    if not len(rows):
        return Finding(name, "not checked", "no picture was repeated", subject=subject)
    if not _known_runs(trials):
        return Finding(name, "not checked", "runs are not known", subject=subject)
    runs, pictures = _runs(trials)[rows], pictures[rows]
    if len(np.unique(runs)) < 2:
        summary = "all repetitions are in a single run: nothing tells the picture from its run"
        return Finding(name, "tripped", summary, subject=subject)
    table = np.unique(np.stack([pictures, runs]), axis=1, return_counts=True)
    same = float((table[1] * (table[1] - 1)).sum())
    own = np.bincount(pictures)
    pairs = float((own * (own - 1)).sum())
    sizes = np.bincount(np.unique(runs, return_inverse=True)[1])
    chance = float((sizes * (sizes - 1)).sum()) / float(len(rows) * (len(rows) - 1))
    span = np.bincount(np.unique(table[0][0], return_inverse=True)[1])
    alone = int((span == 1).sum())
    share = same / pairs
    tripped = share - chance >= LARGE and alone / len(span) >= LARGE
    summary = (
        f"{share:.2f} of pairs of repetitions share a run, by chance {chance:.2f}; {alone} of "
        f"{len(span)} repeated pictures were shown in one run only"
    )
    details = {"share": share, "chance": chance, "pictures_in_one_run": alone}
    return Finding(name, verdict_of(tripped), summary, details, subject)


def audit_sequence(trials: pd.DataFrame, *, subject: str | None = None) -> Finding:
    """Return whether the place in a run, or the picture before, tells which picture is shown."""
    name = "sequence"
    pictures = np.unique(trials["stimulus_id"].astype(str), return_inverse=True)[1]
    if not _known_runs(trials):
        return Finding(name, "not checked", "runs are not known", subject=subject)
    runs = _runs(trials)
    onset = np.arange(len(trials), dtype=float)
    if "onset" in trials and trials["onset"].dtype.kind in "if":
        onset = trials["onset"].to_numpy(dtype=float)
    order = np.lexsort((onset, runs))
    pictures, runs = pictures[order], runs[order]
    last = min(MOST_TRIALS, len(runs))
    whole = runs < runs[last] if last < len(runs) and runs[last] > 0 else np.ones(len(runs), bool)
    pictures, runs = pictures[whole], runs[whole]
    counts = np.bincount(pictures)
    spread = np.bincount(np.unique(np.stack([pictures, runs]), axis=1)[0])
    if not (spread > 1).any() or len(np.unique(runs)) < 2:
        reason = "no picture was shown in two runs"
        return Finding(name, "not checked", reason, subject=subject)
    starts = np.r_[0, np.flatnonzero(np.diff(runs)) + 1]
    sizes = np.diff(np.r_[starts, len(runs)])
    place = np.concatenate([np.arange(n) / max(n - 1, 1) for n in sizes])
    repeated = counts[pictures] > 1

    def by_place(shown: Array) -> float:
        values, codes = place[repeated], np.unique(shown[repeated], return_inverse=True)[1]
        centred = values - values.mean()
        total = float(centred @ centred)
        sums, n = np.bincount(codes, centred), np.bincount(codes)
        return float(np.square(sums) @ (1 / n)) / total if total > 0 else 0.0

    follows = runs[1:] == runs[:-1]

    def by_neighbour(shown: Array) -> float:
        pairs = (shown[:-1] * (int(shown.max()) + 1) + shown[1:])[follows]
        _, codes, n = np.unique(pairs, return_inverse=True, return_counts=True)
        return float((n[codes] > 1).mean()) if len(pairs) else 0.0

    details: dict[str, Any] = {}
    tripped = False
    tests = {"place in the run": by_place, "picture before": by_neighbour}
    for kind, statistic in tests.items():
        observed, chance, p = _permuted(pictures, runs, statistic)
        details[kind] = {"observed": observed, "chance": chance, "p_value": p}
        tripped |= p <= SIGNIFICANT and observed - chance >= LARGE
    first, second = details["place in the run"], details["picture before"]
    summary = (
        f"the picture explains {first['observed']:.2f} of where in a run it stands, by chance "
        f"{first['chance']:.2f}; {second['observed']:.2f} of steps from picture to picture recur, "
        f"by chance {second['chance']:.2f}"
    )
    return Finding(name, verdict_of(tripped), summary, details, subject)


def audit_timing(trials: pd.DataFrame, *, subject: str | None = None) -> Finding:
    """Return how far apart in time trials are, where onsets are known."""
    name = "timing"
    if "onset" not in trials or trials["onset"].dtype.kind not in "if":
        return Finding(name, "not checked", "no column onset in seconds", subject=subject)
    if not _known_runs(trials):
        return Finding(name, "not checked", "runs are not known", subject=subject)
    gaps = np.concatenate(
        [
            np.diff(np.sort(mine["onset"].to_numpy(dtype=float)))
            for _, mine in trials.groupby(["session", "run"], sort=False)
        ]
    )
    gaps = gaps[np.isfinite(gaps)]
    if not len(gaps):
        return Finding(name, "not checked", "one trial in every run", subject=subject)
    median, shortest = float(np.median(gaps)), float(gaps.min())
    together = int((gaps < TOGETHER_SECONDS).sum())
    summary = f"{median:.1f} s from trial to trial (shortest {shortest:.1f} s)"
    if together:
        summary += f"; {together} trials begin within {TOGETHER_SECONDS:g} s of another"
    elif median < OVERLAP_SECONDS:
        summary += ": responses overlap, and betas of neighbours share errors"
    details = {"median": median, "shortest": shortest, "together": together}
    overlapping = median < OVERLAP_SECONDS
    verdict = "tripped" if together else "noted" if overlapping else "passed"
    return Finding(name, verdict, summary, details, subject)  # type: ignore[arg-type]


def audit_pictures(trials: pd.DataFrame, *, subject: str | None = None) -> Finding:
    """Return whether stimuli are pictures, or conditions that say nothing about single pictures."""
    name = "pictures"
    ids = trials["stimulus_id"].astype(str)
    if (ids == UNKNOWN).any():
        n_unknown = int((ids == UNKNOWN).sum())
        summary = f"what was shown is not known in {n_unknown} of {len(ids)} trials"
        return Finding(name, "tripped", summary, {"unknown": n_unknown}, subject)
    training = ids[trials["split"] != "test"]
    n_pictures = training.nunique()
    column = next((kind for kind in CONCEPT_COLUMNS if kind in trials), None)
    conditions = column is not None and trials[column].astype(str).nunique() == ids.nunique() < 50
    details = {"n_training_pictures": int(n_pictures), "conditions": bool(conditions)}
    if conditions:
        summary = (
            f"stimuli are {ids.nunique()} conditions, each of one category: they can be "
            "classified, and nothing can be said about single pictures"
        )
        return Finding(name, "tripped", summary, details, subject)
    summary = f"{n_pictures} different training pictures"
    if n_pictures < FEW_PICTURES:
        summary += ": too few to learn pictures from; classify them instead"
    verdict = "noted" if n_pictures < FEW_PICTURES else "passed"
    return Finding(name, verdict, summary, details, subject)  # type: ignore[arg-type]


def audit_test_trials(trials: pd.DataFrame, *, subject: str | None = None) -> Finding:
    """Return whether there is something to test on, and whether it has sessions of its own."""
    name = "test set"
    test = trials[trials["split"] == "test"]
    n_pictures = int(test["stimulus_id"].nunique())
    details: dict[str, Any] = {"n_trials": len(test), "n_pictures": n_pictures}
    if len(test) in (0, len(trials)):
        summary = "no test trials" if not n_pictures else "every trial is of the test"
        return Finding(name, "tripped", f"{summary}: nothing can be judged", details, subject)
    summary = f"{n_pictures} test pictures in {len(test)} trials"
    verdict = "passed"
    if n_pictures < FEW_TESTS:
        summary, verdict = f"{summary}: too few for narrow intervals", "noted"
    known = trials["session"].astype(str) != UNKNOWN
    own = set(test["session"]) - set(trials.loc[trials["split"] != "test", "session"])
    if known.all() and own:
        summary += f"; {len(own)} sessions hold test trials alone, and cannot be standardised"
        summary += " with training trials"
        verdict = "noted"
    details["sessions_of_test_alone"] = len(own)
    return Finding(name, verdict, summary, details, subject)  # type: ignore[arg-type]
