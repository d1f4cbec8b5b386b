"""Single-trial betas of one run: least squares, all trials at once or each against the rest.

``lsa`` (least squares, all) has one regressor per trial. ``lss`` (least squares, separate) fits a
model per trial: its own regressor, one for the other trials of its kind, and one for each other
kind, or one for all others where kinds name what was shown (Mumford et al. 2012, *NeuroImage* 59);
it varies less where responses overlap. Nilearn makes the regressors. Ordinary least squares are
linear in the series, so the betas of all trials and voxels are one product of a matrix
(n_trials, n_volumes) with the series.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.bold.events import RunEvents
from phosphene.errors import InputError, check_option
from phosphene.names import require

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MODELS", "beta_weights", "percent_change"]

Array = np.ndarray[Any, Any]
MODELS = ("lsa", "lss")
TRIAL = "trial_{:06d}"
COLLINEAR = 1e8  # condition number from which trials cannot be told apart


def beta_weights(
    events: RunEvents,
    frame_times: Array,
    *,
    model: str = "lss",
    hrf: str = "glover",
    confounds: pd.DataFrame | None = None,
    high_pass: float | None = 0.01,
    kept: Array | None = None,
) -> Array:
    """Return the weights (n_trials, n_volumes) whose product with a series is its betas.

    Parameters
    ----------
    events : RunEvents
    frame_times : ndarray of shape (n_volumes,)
        Seconds at which volumes were taken.
    model : {"lss", "lsa"}
    hrf : str
        Model of the haemodynamic response, as nilearn names them.
    confounds : DataFrame of n_volumes rows, optional
    high_pass : float, optional
        Cut-off of cosine drifts in hertz; None where confounds bring drifts.
    kept : ndarray of int, optional
        Volumes in use; weights of the others are zero.

    Raises
    ------
    InputError
        If the run is too short for the model or its trials cannot be told apart.
    """
    check_option("model", model, MODELS)
    first_level = require("nilearn.glm.first_level", "fmri")
    import pandas as pd

    trials = events.trials[["onset", "duration"]].assign(
        trial_type=[TRIAL.format(row) for row in range(len(events.trials))]
    )
    named = events.others.assign(trial_type="other_" + events.others["trial_type"].astype(str))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of events without duration: impulses
        design = first_level.make_first_level_design_matrix(
            frame_times,
            pd.concat([trials, named], ignore_index=True),
            hrf_model=hrf,
            drift_model=None if high_pass is None else "cosine",
            high_pass=high_pass or 0.01,
            add_regs=None if confounds is None else confounds.to_numpy(),
            add_reg_names=None if confounds is None else [f"confound_{n}" for n in confounds],
        )
    rows = np.arange(len(frame_times)) if kept is None else np.asarray(kept)
    mine = [name for name in design if str(name).startswith("trial_")]
    rest = design[[name for name in design if name not in mine]].to_numpy()[rows]
    regressors = design[sorted(mine)].to_numpy()[rows]
    if model == "lsa":
        found = _all_together(regressors, rest)
    else:
        kinds = events.trials["kind"].astype(str).to_numpy()
        # Kinds that name what was shown are (nearly) one per trial: the rest is one kind then.
        if not events.named or len(np.unique(kinds)) > len(kinds) / 2:
            kinds = np.full(len(kinds), "trial")
        found = _one_by_one(regressors, rest, kinds)
    out = np.zeros((len(trials), len(frame_times)))
    out[:, rows] = found
    return out


def _all_together(regressors: Array, rest: Array) -> Array:
    design = np.column_stack([regressors, rest])
    if design.shape[1] >= len(design):
        raise InputError(
            f"{design.shape[1]} regressors for a run of {len(design)} volumes",
            expected="fewer: trials, confounds and drifts together",
            remedy="use --model lss, or fewer confounds",
        )
    scale = np.linalg.norm(design, axis=0)
    scale[scale == 0] = 1.0
    left, values, right = np.linalg.svd(design / scale, full_matrices=False)
    if values[-1] * COLLINEAR < values[0]:
        raise InputError(
            "regressors of trials or confounds that are sums of others: they cannot be told apart",
            expected="trials at different times",
            remedy="use --model lss, or fewer confounds",
        )
    inverse = (right.T / values) @ left.T / scale[:, None]
    return np.asarray(inverse[: regressors.shape[1]])


def _one_by_one(regressors: Array, rest: Array, kinds: Array) -> Array:
    """Return the weights of every trial in a model of its own.

    What the other columns explain is taken out of the trial's regressor; the remainder over its
    squared length is the row of the pseudoinverse (Frisch and Waugh).
    """
    labels = np.unique(kinds.astype(str), return_inverse=True)[1]
    sums = np.stack(
        [regressors[:, labels == label].sum(axis=1) for label in range(labels.max() + 1)], axis=1
    )
    basis, values, _ = np.linalg.svd(rest, full_matrices=False)
    basis = basis[:, values > 1e-10 * values[0]] if rest.shape[1] else np.empty((len(rest), 0))
    clean = regressors - basis @ (basis.T @ regressors)
    sums = sums - basis @ (basis.T @ sums)
    if basis.shape[1] + sums.shape[1] + 1 >= len(rest):
        raise InputError(
            f"{basis.shape[1] + sums.shape[1] + 1} regressors for a run of {len(rest)} volumes",
            expected="fewer",
            remedy="use fewer confounds",
        )
    out = np.empty((regressors.shape[1], len(regressors)))
    for trial in range(regressors.shape[1]):
        others = sums.copy()
        others[:, labels[trial]] -= clean[:, trial]
        span, lengths, _ = np.linalg.svd(others, full_matrices=False)
        span = span[:, lengths > 1e-8 * max(lengths[0], 1e-12)]
        left = clean[:, trial] - span @ (span.T @ clean[:, trial])
        squared = float(left @ left)
        if squared < 1e-12 * max(float(clean[:, trial] @ clean[:, trial]), 1e-12):
            raise InputError(
                f"trial {trial + 1} of a run cannot be told from the others of its kind",
                expected="trials at different times, within the run",
                remedy="leave it out of the events",
            )
        out[trial] = left / squared
    return out


def percent_change(series: Array) -> tuple[Array, Array]:
    """Return a series in percent of each voxel's mean, and which voxels have one.

    Parameters
    ----------
    series : ndarray of shape (n_volumes, n_voxels), float32

    Returns
    -------
    series : ndarray
        As it was where voxels have no baseline at all (series that are centred already).
    alive : ndarray of bool, (n_voxels,)
        False for voxels that never vary, or are not finite.
    """
    alive = np.isfinite(series).all(axis=0)
    safe = np.where(alive, series, 0).astype(np.float32)
    spread, mean = safe.std(axis=0), safe.mean(axis=0)
    alive &= spread > 1e-6 * np.maximum(np.abs(mean), 1e-12)
    based = mean > 3 * spread
    if based[alive].mean() < 0.5 if alive.any() else False:
        return safe, alive
    alive &= mean > 0
    divisor = np.where(alive, mean, 1.0)
    return (100 * (safe / divisor - 1)).astype(np.float32), alive
