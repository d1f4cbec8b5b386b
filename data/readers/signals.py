"""Checks on EEG and MEG signals that counting NaN and zeros does not cover: flat channels."""

from __future__ import annotations

from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.types import Recording

__all__ = ["check_signals"]

Array = np.ndarray[Any, Any]
BLOCK_TRIALS = 256


def check_signals(recording: Recording, source: str) -> Recording:
    """Refuse channels that never change and values that are not finite, naming the channels.

    Parameters
    ----------
    recording : Recording
        ``data`` is (n_trials, n_chans, n_times).
    source : str
        Name of the file, for the message.

    Returns
    -------
    Recording
        The same object.

    Raises
    ------
    InputError
        If a channel is the same number throughout a trial in every trial, or holds NaN or
        infinity.
    """
    data, info = recording.data, recording.info
    n_chans = data.shape[1]
    names = info.ch_names if info is not None else tuple(map(str, range(n_chans)))
    bad, moving = np.zeros(n_chans, int), np.zeros(n_chans, bool)
    for start in range(0, len(data), BLOCK_TRIALS):
        block = np.asarray(data[start : start + BLOCK_TRIALS])
        bad += (~np.isfinite(block)).any(axis=2).sum(axis=0)
        moving |= (block != block[:, :, :1]).any(axis=(0, 2))
    if bad.any():
        where = [f"{names[index]} in {bad[index]}" for index in np.flatnonzero(bad)]
        raise InputError(
            f"{source} holds NaN or infinity in the channels {_few(where)} of {len(data)} trials",
            expected="a finite number everywhere",
            remedy="drop those trials, or interpolate the channels in MNE "
            "(epochs.interpolate_bads())",
        )
    if data.shape[2] > 1 and not moving.all():
        raise InputError(
            f"{source} is flat in the channels "
            f"{_few([names[index] for index in np.flatnonzero(~moving)])}: they never change",
            expected="a signal in every channel",
            remedy="drop those channels, or interpolate them in MNE (epochs.interpolate_bads())",
        )
    return recording


def _few(words: list[str], most: int = 6) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
