"""Euclidean alignment: every subject's trials get the identity as their mean covariance.

He and Wu (2020). It needs no labels, only trials of the subject: a calibration block, which the
test has to be disjoint from, or the test trials themselves (then it is transductive).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.types import Recording

__all__ = ["EuclideanAlignment", "calibration_rows"]

Array = np.ndarray[Any, Any]
BLOCK = 256
SMALLEST = 1e-10  # of the largest eigenvalue
DEFAULT_TRIALS = 50


@dataclass(frozen=True, eq=False)
class EuclideanAlignment:
    """Multiplies channels by the inverse symmetric root of their mean covariance.

    Parameters
    ----------
    matrix : ndarray of shape (C, C)
    n_trials : int
        It was fitted on.
    """

    matrix: Array
    n_trials: int

    @classmethod
    def fit(cls, recording: Recording) -> EuclideanAlignment:
        """Learn from the trials of one subject; their labels and splits are not looked at.

        Raises
        ------
        InputError
            If the mean covariance is singular, as after an average reference of all channels.
        """
        data = recording.data
        total = np.zeros((data.shape[1], data.shape[1]))
        for start in range(0, len(data), BLOCK):
            block = np.asarray(data[start : start + BLOCK], dtype=np.float64)
            total += np.einsum("nct,ndt->cd", block, block, optimize=True)
        values, vectors = np.linalg.eigh(total / (len(data) * data.shape[2]))
        if values[0] <= SMALLEST * values[-1]:
            raise InputError(
                f"the channels of {len(data)} trials have a singular mean covariance",
                expected="independent channels",
                remedy="drop one channel after re-referencing to the average, or use more trials",
            )
        return cls((vectors / np.sqrt(values)) @ vectors.T, len(data))

    def apply(self, recording: Recording) -> Recording:
        """Return the aligned recording, float32; its unit is then ``whitened``."""
        data = np.empty(recording.data.shape, dtype=np.float32)
        for start in range(0, len(data), BLOCK):
            rows = slice(start, start + BLOCK)
            data[rows] = self.matrix @ np.asarray(recording.data[rows], dtype=np.float64)
        info = None if recording.info is None else replace(recording.info, unit="whitened")
        return replace(recording, data=data, info=info)


def calibration_rows(recording: Recording, n_trials: int = DEFAULT_TRIALS) -> Array:
    """Return which trials may calibrate: the first ones that show no picture of the test.

    Parameters
    ----------
    recording : Recording
        Of the new subject, its test trials marked in the column ``split``.
    n_trials : int

    Returns
    -------
    ndarray of shape (n_trials,)
        Row numbers, disjoint from test trials and from trials of test pictures.

    Raises
    ------
    InputError
        If there are not as many.
    """
    trials = recording.trials
    shown = set(trials.loc[trials["split"] == "test", "stimulus_id"])
    free = ~trials["stimulus_id"].isin(shown) & (trials["split"] != "test")
    rows = np.flatnonzero(free.to_numpy())[:n_trials]
    if len(rows) < n_trials or n_trials < 1:
        raise InputError(
            f"{len(rows)} trials of subject {recording.subject} show no picture of the test",
            expected=f"{max(n_trials, 1)} trials, disjoint from test trials and test pictures",
            remedy="record a calibration block, or ask for fewer trials",
        )
    return rows
