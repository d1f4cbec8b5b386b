"""Filters: which frequencies go through, and that the causal one knows no future."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt

from phosphene.data.filtering import BandPass, CausalFilter, filter_signal
from phosphene.errors import UsageError

RATE = 200.0


def wave(frequency: float, seconds: float = 20.0) -> np.ndarray:
    return np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)


@pytest.mark.parametrize("causal", [False, True])
def test_the_band_goes_through_and_the_rest_does_not(causal: bool) -> None:
    band = BandPass(1.0, 40.0, causal)
    inside, below, above = filter_signal(np.stack([wave(10), wave(0.1), wave(80)]), RATE, band)
    middle = slice(1000, 3000)
    assert np.std(inside[middle]) == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert np.std(below[middle]) < 0.01
    assert np.std(above[middle]) < 0.01


def test_zero_phase_is_scipys_filter_both_ways() -> None:
    signal = np.random.default_rng(0).normal(size=(2, 900))
    expected = sosfiltfilt(
        butter(4, [1, 40], "bandpass", fs=RATE, output="sos"), signal, padlen=600
    )
    found = filter_signal(signal, RATE, BandPass(1.0, 40.0))
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 7, 250, 4000])
def test_chunks_give_what_the_whole_gives_to_the_last_bit(chunk: int) -> None:
    signal = np.random.default_rng(1).normal(size=(3, 600)) + 5
    band = BandPass(0.5, 30.0, causal=True)
    online = CausalFilter(band, RATE, 3)
    parts = [online.apply(signal[:, at : at + chunk]) for at in range(0, 600, chunk)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), filter_signal(signal, RATE, band))


def test_the_causal_filter_knows_no_future_and_the_other_does() -> None:
    signal = np.random.default_rng(2).normal(size=(1, 600))
    changed = signal.copy()
    changed[:, 400:] += 3
    for causal in (True, False):
        band = BandPass(0.5, 30.0, causal)
        same = np.array_equal(
            filter_signal(signal, RATE, band)[:, :400], filter_signal(changed, RATE, band)[:, :400]
        )
        assert same is causal


def test_a_constant_does_not_ring_at_the_start() -> None:
    constant = np.full((1, 300), 7.0)
    np.testing.assert_allclose(
        filter_signal(constant, RATE, BandPass(None, 40.0, True)), 7.0, rtol=1e-5
    )
    np.testing.assert_allclose(
        filter_signal(constant, RATE, BandPass(1.0, None, True)), 0.0, atol=1e-5
    )


def test_wrong_edges_and_chunks_are_refused() -> None:
    for low, high in ((40.0, 1.0), (0.0, 40.0), (1.0, 100.0), (5.0, 5.0)):
        with pytest.raises(UsageError, match="edges"):
            filter_signal(np.ones((1, 50)), RATE, BandPass(low, high))
    with pytest.raises(UsageError, match="a causal one"):
        CausalFilter(BandPass(1.0, 40.0), RATE, 1)
    with pytest.raises(UsageError, match="a chunk"):
        CausalFilter(BandPass(1.0, 40.0, True), RATE, 2).apply(np.ones((3, 5)))
    assert BandPass().describe() == "no filter"
