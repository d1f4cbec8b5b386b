"""Whether the brain answers the same picture alike: without it there is nothing to decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.data.reliability import noise_ceiling, signal_to_noise_of
from phosphene.pipelines.evaluation.audit_findings import Finding
from phosphene.pipelines.evaluation.permutation import p_value
from phosphene.trials import UNKNOWN
from phosphene.types import Recording

__all__ = ["PatternReliability", "audit_reliability", "pattern_reliability"]

Array = np.ndarray[Any, Any]
PERMUTATIONS, MOST_TRIALS = 999, 1500
ENOUGH = 0.05  # p-value from which patterns of one picture count as alike


@dataclass(frozen=True)
class PatternReliability:
    """Likeness of patterns of one picture beside that of different pictures.

    Attributes
    ----------
    same, different : float
        Mean correlation over voxels of two trials.
    p_value : float
        Of pictures exchanged within sessions.
    n_pictures : int
        Repeated ones that were looked at.
    ceiling_median, ceiling_best : float
        Single-trial noise ceiling of the median voxel, and of the voxel at the 95th percentile.
    """

    same: float
    different: float
    p_value: float
    n_pictures: int
    ceiling_median: float
    ceiling_best: float


def pattern_reliability(recording: Recording) -> PatternReliability | None:
    """Return how alike trials of one picture are; None where none was repeated.

    Trials are z-scored by session over all of them, as no decoder is fitted here.
    """
    trials = recording.trials
    names = trials["stimulus_id"].astype(str).to_numpy()
    codes = np.unique(names, return_inverse=True)[1]
    counts = np.bincount(codes)
    repeated = np.flatnonzero((counts > 1) & (counts <= len(names) // 2))
    repeated = repeated[[names[codes == code][0] != UNKNOWN for code in repeated]]
    if len(repeated) < 2:
        return None
    order = np.random.default_rng(0).permutation(repeated)
    chosen = order[np.cumsum(counts[order]) <= max(MOST_TRIALS, counts[order[:2]].sum())]
    rows = np.flatnonzero(np.isin(codes, chosen))
    session = trials["session"].astype(str).to_numpy()[rows]
    data = np.asarray(recording.data[rows], dtype=np.float32).reshape(len(rows), -1)
    for label in np.unique(session):
        mine = session == label
        spread = data[mine].std(axis=0)
        centred = data[mine] - data[mine].mean(axis=0)
        data[mine] = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-12)
    pictures = codes[rows]
    ratio = signal_to_noise_of(data, pictures)
    ceilings = noise_ceiling(ratio, 1)
    data -= data.mean(axis=1, keepdims=True)
    data /= np.maximum(np.linalg.norm(data, axis=1, keepdims=True), 1e-12)
    likeness = data @ data.T
    np.fill_diagonal(likeness, 0)

    def same(labels: Array) -> float:
        width = int(labels.max()) + 1
        one_hot = np.zeros((len(labels), width), dtype=np.float32)
        one_hot[np.arange(len(labels)), labels] = 1
        n = one_hot.sum(axis=0)
        return float(((likeness @ one_hot) * one_hot).sum() / max((n * (n - 1)).sum(), 1))

    pictures = np.unique(pictures, return_inverse=True)[1]
    rng = np.random.default_rng(0)
    home = np.argsort(session, kind="stable")
    null = np.empty(PERMUTATIONS if len(rows) <= 500 else 199)
    for draw in range(len(null)):
        mixed = np.empty_like(pictures)
        mixed[home] = pictures[np.lexsort((rng.random(len(rows)), session))]
        null[draw] = same(mixed)
    observed = same(pictures)
    return PatternReliability(
        same=observed,
        different=float(null.mean()),
        p_value=p_value(observed, null),
        n_pictures=len(chosen),
        ceiling_median=float(np.median(ceilings)),
        ceiling_best=float(np.quantile(ceilings, 0.95)),
    )


def audit_reliability(recording: Recording) -> Finding:
    """Return whether repetitions of a picture evoke patterns more alike than chance.

    Of training pictures where these were repeated; else of all, which no decoder learns from.
    """
    name, subject = "reliability", recording.subject
    training = recording.select((recording.trials["split"] != "test").to_numpy())
    found = pattern_reliability(training) if len(training) else None
    whose = "training pictures"
    if found is None:
        found, whose = pattern_reliability(recording), "pictures"
    if found is None:
        reason = "no picture was shown twice: how reliable responses are cannot be known"
        return Finding(name, "not checked", reason, subject=subject)
    details = {key: getattr(found, key) for key in found.__dataclass_fields__}
    numbers = (
        f"trials of one of {found.n_pictures} {whose} correlate by {found.same:.3f}, of different "
        f"ones by {found.different:.3f} (p {found.p_value:.3f}); single-trial noise ceiling "
        f"{found.ceiling_median:.3f} in the median voxel, {found.ceiling_best:.3f} at the 95th "
        "percentile"
    )
    if found.p_value > ENOUGH:
        return Finding(
            name,
            "tripped",
            f"too low: pictures made from this recording would be invented. {numbers}",
            details,
            subject,
        )
    return Finding(name, "passed", numbers, details, subject)
