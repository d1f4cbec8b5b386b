"""Band-pass filters of continuous EEG and MEG: with zero phase, or causal for use online.

A filter with zero phase looks into the future, which an online run cannot. The causal one is the
same Butterworth filter forward only: chunk by chunk it gives, to the last bit, what it gives on
the whole recording, so that a model trained behind it sees online what it saw in training. What
is past is known from its first sample on, as if the signal had been constant before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import UsageError

__all__ = ["NO_FILTER", "BandPass", "CausalFilter", "filter_signal"]

Array = np.ndarray[Any, Any]
ORDER = 4


@dataclass(frozen=True)
class BandPass:
    """Which frequencies go through.

    Parameters
    ----------
    low, high : float, optional
        Edges (half power of one pass) in hertz; None lets everything through on that side.
    causal : bool
        Forward only. The signal is then late by some milliseconds, which is part of the model.
    """

    low: float | None = None
    high: float | None = None
    causal: bool = False

    def sections(self, sfreq: float) -> Array | None:
        """Return second-order sections at a rate, None where everything goes through.

        Raises
        ------
        UsageError
            If an edge is not between 0 and half the rate, or they are in the wrong order.
        """
        from scipy.signal import butter

        edges = [edge for edge in (self.low, self.high) if edge is not None]
        if not edges:
            return None
        if edges != sorted(set(edges)) or edges[0] <= 0 or edges[-1] >= sfreq / 2:
            raise UsageError(
                f"a filter from {self.low} to {self.high} Hz at {sfreq:g} Hz",
                expected=f"edges that rise, above 0 and below {sfreq / 2:g} Hz",
                remedy="give other edges, or leave one out",
            )
        kind = "bandpass" if len(edges) == 2 else "lowpass" if self.low is None else "highpass"
        found: Array = butter(
            ORDER, edges if len(edges) == 2 else edges[0], kind, fs=sfreq, output="sos"
        )
        return found

    def describe(self) -> str:
        """Return the filter in words."""
        if self.low is None and self.high is None:
            return "no filter"
        band = f"{self.low or 0:g} to " + ("the end" if self.high is None else f"{self.high:g} Hz")
        return f"{band}, {'causal' if self.causal else 'zero phase'}"


NO_FILTER = BandPass()


def filter_signal(signal: Array, sfreq: float, band: BandPass) -> Array:
    """Return a continuous signal filtered along its last axis.

    Parameters
    ----------
    signal : ndarray of shape (n_chans, n_samples)
    sfreq : float
        Hertz.
    band : BandPass

    Returns
    -------
    ndarray of shape (n_chans, n_samples), float32
    """
    from scipy.signal import sosfiltfilt

    sections = band.sections(sfreq)
    if sections is None:
        return np.asarray(signal, dtype=np.float32)
    if band.causal:
        return CausalFilter(band, sfreq, len(signal)).apply(signal)
    # Mirrored for a time constant of the lowest edge, so that slow edges do not ring in.
    lowest = band.low if band.low is not None else band.high
    padding = min(signal.shape[1] - 1, int(3 * sfreq / float(lowest or 1)))
    out = np.empty(signal.shape, dtype=np.float32)
    for channel, values in enumerate(signal):  # one at a time: bounds the memory
        out[channel] = sosfiltfilt(sections, np.asarray(values, np.float64), padlen=padding)
    return out


class CausalFilter:
    """A causal filter that goes on where the last chunk ended.

    Parameters
    ----------
    band : BandPass
        With ``causal``.
    sfreq : float
        Hertz.
    n_chans : int

    Examples
    --------
    >>> import numpy as np
    >>> band = BandPass(1.0, 40.0, causal=True)
    >>> signal = np.random.default_rng(0).normal(size=(2, 500))
    >>> whole = CausalFilter(band, 250.0, 2).apply(signal)
    >>> online = CausalFilter(band, 250.0, 2)
    >>> chunks = [online.apply(signal[:, at : at + 37]) for at in range(0, 500, 37)]
    >>> bool(np.array_equal(np.concatenate(chunks, axis=1), whole))
    True
    """

    def __init__(self, band: BandPass, sfreq: float, n_chans: int) -> None:
        if not band.causal:
            raise UsageError(
                f"a filter with {band.describe()} for signals as they come",
                expected="a causal one",
                remedy="train behind BandPass(..., causal=True) and use the same online",
            )
        self.n_chans, self.sections = n_chans, band.sections(sfreq)
        self.state: Array | None = None

    def apply(self, chunk: Array) -> Array:
        """Return the next samples (n_chans, n_samples), filtered, float32."""
        from scipy.signal import sosfilt, sosfilt_zi

        if chunk.ndim != 2 or len(chunk) != self.n_chans:
            raise UsageError(
                f"a chunk of shape {chunk.shape}", expected=f"({self.n_chans}, samples)"
            )
        if self.sections is None or chunk.shape[1] == 0:
            return np.asarray(chunk, dtype=np.float32)
        values = np.asarray(chunk, dtype=np.float64)
        if self.state is None:
            self.state = sosfilt_zi(self.sections)[:, None, :] * values[None, :, :1]
        out, self.state = sosfilt(self.sections, values, axis=1, zi=self.state)
        return np.asarray(out, dtype=np.float32)
