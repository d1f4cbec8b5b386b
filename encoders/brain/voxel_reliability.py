"""How much of each voxel's variance the pictures explain, measured on training trials alone.

A ridge on z-scored voxels expects every voxel to be equally useful. Most are not: many carry
noise only. Scaling each voxel by the square root of the share of its variance that a linear
encoding model explains on left-out pictures tells the ridge how large a coefficient to expect,
as the prior of a Bayesian linear model would. ``docs/digits69.md`` has what it brings.

The weights have seen the trials that they are judged on, so left-out errors of the whole cannot
tell whether they help. Cross-validation inside the training trials can: weights and encoder are
fitted without a share of the pictures, and compared on these.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from torch import Tensor

from phosphene.encoders.brain.ridge import RidgeEncoder, group_labels
from phosphene.encoders.brain.ridge_solver import leave_out_errors
from phosphene.encoders.brain.ridge_spectrum import decompose
from phosphene.seeds import item_seed
from phosphene.types import Recording

__all__ = ["WeighingTrial", "explained_variance", "try_weighing"]

Groups = Literal["stimulus", "session", "run"]

# Multiples of the mean eigenvalue of the targets' Gram matrix.
ALPHAS = tuple(10.0 ** (step / 2) for step in range(-6, 7))
FLOOR = 1e-3
N_FOLDS = 5
MANY_TRIALS = 4000  # above this one fold is as telling as five, and five times cheaper


def explained_variance(
    recording: Recording,
    targets: Tensor,
    *,
    groups: Groups = "stimulus",
) -> np.ndarray[Any, Any]:
    """Return the share of each voxel's variance that the targets predict.

    Parameters
    ----------
    recording : Recording
        Training trials, z-scored.
    targets : Tensor of shape (n_trials, ...)
        What was shown, as embeddings; the trailing axes are flattened.
    groups : {"stimulus", "session", "run"}
        What is left out whole.

    Returns
    -------
    ndarray of shape (n_voxels,), float32
        Between .001 (nothing) and 1; all 1 where no voxel is predicted better than by its mean.
    """
    rows = recording.data.reshape(len(recording), -1)
    flat = targets.reshape(len(targets), -1).float()
    scale = flat.std(dim=0, unbiased=False)
    spectrum = decompose((flat - flat.mean(dim=0)) / scale.clamp_min(1e-6))
    unit = float(spectrum.eigenvalues.mean()) if len(spectrum.eigenvalues) else 1.0
    errors = leave_out_errors(
        spectrum,
        rows,
        [alpha * unit for alpha in ALPHAS],
        group_labels(recording, groups),
        target_groups=np.arange(rows.shape[1]),
    )
    explained = 1.0 - np.nan_to_num(errors, nan=1.0).min(axis=0)
    if not (explained > FLOOR).any():
        return np.ones(rows.shape[1], dtype=np.float32)
    weights: np.ndarray[Any, Any] = np.clip(explained, FLOOR, 1.0).astype(np.float32)
    return weights


@dataclasses.dataclass(frozen=True)
class WeighingTrial:
    """Shares of the targets' variance predicted on left-out training pictures.

    Attributes
    ----------
    weighed, plain : float
        With weights and without; 1 is perfect, 0 the mean of the training targets.
    """

    weighed: float
    plain: float

    @property
    def helps(self) -> bool:
        """Whether weights predict left-out pictures better, and better than the mean does."""
        return self.weighed > max(self.plain, 0.0)


def try_weighing(
    recording: Recording,
    targets: Tensor,
    make_encoder: Callable[[], RidgeEncoder],
    *,
    groups: Groups = "stimulus",
    seed: int = 0,
) -> WeighingTrial | None:
    """Compare weighed and plain voxels by cross-validation inside the training trials.

    Parameters
    ----------
    recording : Recording
        Training trials, z-scored.
    targets : Tensor of shape (n_trials, ...)
    make_encoder : callable
        Returns a new encoder of the kind that is to be trained.
    groups : {"stimulus", "session", "run"}
        What is left out whole; with fewer than four groups there is no answer.
    seed : int
        Of the division into folds.
    """
    labels = group_labels(recording, groups)
    names = np.unique(labels)
    if len(names) < 4:
        return None
    generator = np.random.default_rng(item_seed(seed, recording.subject, "voxel weights", 0))
    folds = np.array_split(generator.permutation(names), min(N_FOLDS, len(names) // 2))
    weighed = plain = spread = 0.0
    for fold in folds if len(recording) <= MANY_TRIALS else folds[:1]:
        test = np.isin(labels, fold)
        train = recording.select(~test)
        weights = explained_variance(train, targets[~test], groups=groups)
        scale = np.sqrt(weights / weights.mean())
        spread += float((targets[test] - targets[~test].mean(dim=0)).square().sum())
        for scaled in (True, False):
            factor = scale if scaled else np.float32(1)
            encoder = make_encoder()
            encoder.fit(_scaled(train, factor), targets[~test], groups=groups)
            predicted = encoder.encode(_scaled(recording.select(test), factor)).main
            error = float((predicted - targets[test]).square().sum())
            weighed, plain = (weighed + error, plain) if scaled else (weighed, plain + error)
    spread = max(spread, 1e-12)
    return WeighingTrial(weighed=1 - weighed / spread, plain=1 - plain / spread)


def _scaled(recording: Recording, factor: Any) -> Recording:
    return dataclasses.replace(recording, data=recording.data * factor)
