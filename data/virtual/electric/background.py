"""Noise of the head and of the sensors: 1/f background, alpha rhythm, blinks.

Background and rhythm are Gaussian with a covariance over sensors times an autocorrelation in
time, so the ideal observer has their covariance in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Background", "alpha_spectrum", "autocovariance", "background_spectrum"]

Array = np.ndarray[Any, Any]

EXPONENT = 1.5  # of the power spectrum
CORNER = 0.5  # hertz, below which the spectrum is level: the amplifier's high-pass
LOWPASS = 100.0  # hertz, of the amplifier
ALPHA, ALPHA_WIDTH = 10.0, 1.0  # hertz
BLINKS_PER_MINUTE, BLINK_SECONDS = 15.0, 0.3


def background_spectrum(frequencies: Array) -> Array:
    """Return the shape of the background's power spectrum, 1 at 10 Hz."""

    def shape(f: Array) -> Array:
        power: Array = (f**2 + CORNER**2) ** (-EXPONENT / 2) / (1 + (f / LOWPASS) ** 8)
        return power

    return shape(frequencies) / shape(np.array(10.0))


def alpha_spectrum(frequencies: Array) -> Array:
    """Return the shape of the rhythm's power spectrum, 1 at its peak."""
    shape: Array = np.exp(-0.5 * ((frequencies - ALPHA) / ALPHA_WIDTH) ** 2)
    return shape


def autocovariance(spectrum: Any, sfreq: float, n_times: int) -> Array:
    """Return the covariance over time (n_times, n_times) of a process of unit variance.

    Parameters
    ----------
    spectrum : callable
        Power over frequency in hertz.
    sfreq : float
    n_times : int
    """
    from scipy.linalg import toeplitz

    size = 2**15
    power = spectrum(np.fft.rfftfreq(size, 1 / sfreq))
    lags = np.fft.irfft(power, size)[:n_times]
    covariance: Array = toeplitz(lags / lags[0])
    return covariance


@dataclass(frozen=True, eq=False)
class Background:
    """Noise of one subject at one place of the sensors.

    Attributes
    ----------
    spatial : (C, C)
        Covariance of the 1/f background, its private part included.
    alpha : (C, C)
        Covariance of the rhythm.
    blink : (C,)
        What a blink adds at its height.
    sfreq : float
    """

    spatial: Array
    alpha: Array
    blink: Array
    sfreq: float

    def sample(self, n_samples: int, generator: np.random.Generator) -> Array:
        """Return noise (C, n_samples), float32."""
        noise = _coloured(self.spatial, background_spectrum, n_samples, self.sfreq, generator)
        noise += _coloured(self.alpha, alpha_spectrum, n_samples, self.sfreq, generator)
        shape = np.zeros(n_samples)
        width = round(BLINK_SECONDS * self.sfreq)
        bump = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
        expected = BLINKS_PER_MINUTE * n_samples / self.sfreq / 60
        for start in generator.integers(0, n_samples, generator.poisson(expected)):
            part = shape[start : start + width]
            part += bump[: len(part)] * (0.7 + 0.6 * generator.random())
        noise += (self.blink[:, None] * shape).astype(np.float32)
        return noise


def _coloured(
    covariance: Array, spectrum: Any, n_samples: int, sfreq: float, generator: np.random.Generator
) -> Array:
    """Return Gaussian noise (C, n_samples) of that covariance over sensors and that spectrum."""
    from scipy import fft

    values, vectors = np.linalg.eigh(covariance)
    used = values > 1e-9 * values[-1]
    mixing = (vectors[:, used] * np.sqrt(values[used])).astype(np.float32)
    size = fft.next_fast_len(n_samples, real=True)
    power = spectrum(np.fft.rfftfreq(size, 1 / sfreq))
    # The variance of the process is the mean of its two-sided spectrum.
    both = power[0] + 2 * power[1 : (size + 1) // 2].sum() + (power[-1] if size % 2 == 0 else 0)
    gain = np.sqrt(power * size / both).astype(np.float32)
    white = generator.standard_normal((mixing.shape[1], size), dtype=np.float32)
    shaped = fft.irfft(fft.rfft(white, axis=1) * gain, size, axis=1)[:, :n_samples]
    noise: Array = mixing @ shaped.astype(np.float32)
    return noise
