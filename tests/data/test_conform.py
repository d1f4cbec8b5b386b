"""Recordings are brought to a model's channels, rate, window, unit and reference, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.data.conform import SensorProtocol, conform, resample
from phosphene.data.sensor_preprocessing import SensorPreprocessor
from phosphene.errors import InputError
from phosphene.sensors import SensorInfo
from phosphene.trials import complete_trials
from phosphene.types import Recording

NAMES = ("Fp1", "O1", "Oz", "O2", "Cz")


def recording(
    names: tuple[str, ...] = NAMES, sfreq: float = 500.0, tmin: float = -0.2, n: int = 601,
    unit: str = "V", reference: str = "unknown", modality: Any = "eeg",
) -> Recording:  # fmt: skip
    """Five trials of sums of slow waves, a different one in every channel."""
    times = tmin + np.arange(n) / sfreq
    rng = np.random.default_rng(3)
    amplitude, phase = rng.normal(size=(2, 5, len(names), 3, 1))
    waves = np.sin(2 * np.pi * np.array([3.0, 7.0, 11.0])[:, None] * times + phase)
    data = (amplitude * waves).sum(axis=2).astype(np.float32)
    info = SensorInfo(names, sfreq, tmin, unit=unit, reference=reference)
    return Recording(data, modality, "01", complete_trials(None, 5), info=info)


def protocol(
    names: tuple[str, ...] = ("O1", "Oz", "O2"), sfreq: float = 250.0, tmin: float = 0.0,
    n: int = 200, unit: str = "V", reference: str = "unknown",
) -> SensorProtocol:  # fmt: skip
    return SensorProtocol("eeg", SensorInfo(names, sfreq, tmin, unit=unit, reference=reference), n)


def test_what_fits_comes_back_untouched_and_nothing_is_said() -> None:
    given = recording()
    same = SensorProtocol("eeg", given.info, given.data.shape[2])
    converted, said = conform(given, same)
    np.testing.assert_array_equal(converted.data, given.data)
    assert said == []


def test_channels_are_found_by_name_whatever_their_order_and_spelling() -> None:
    given = recording(("EEG FP1-REF", "EEG OZ-REF", "EEG O2-REF", "EEG O1-REF"))
    wanted = protocol(("O1", "Oz", "O2"), sfreq=500.0, tmin=-0.2, n=601)
    converted, said = conform(given, wanted)
    np.testing.assert_array_equal(converted.data, given.data[:, [3, 1, 2]])
    assert said == [
        "1 of 4 channels dropped",
        "channels put in the model's order",
        "3 channels under other names (EEG O1-REF is O1)",
    ]
    assert converted.info.ch_names == ("O1", "Oz", "O2")


def test_channels_in_order_under_other_names_reach_the_models_preprocessing() -> None:
    model = SensorPreprocessor(window=(0.0, 0.5)).fit(recording(sfreq=250.0, n=301))
    given = recording(("FP1", "EEG O1-REF", "OZ", "O2.", "cz"), sfreq=250.0, n=301)
    converted, said = conform(given, model.protocol)
    assert any("5 channels under other names" in words for words in said)
    prepared = model.transform(converted)
    straight = model.transform(conform(recording(sfreq=250.0, n=301), model.protocol)[0])
    np.testing.assert_array_equal(prepared.data, straight.data)


def test_resampling_a_slow_wave_is_sampling_it_elsewhere() -> None:
    given, wanted = recording(), protocol(n=200)
    converted, said = conform(given, wanted)
    truth = recording(sfreq=250.0, tmin=0.0, n=200)
    inner = slice(10, -10)
    error = np.abs(converted.data - truth.data[:, 1:4])[:, :, inner].max()
    assert error < 0.01 * np.abs(truth.data).max()
    assert any("500 to 250 Hz" in line for line in said)
    assert any("cropped to 0 to 0.796 s" in line for line in said)


def test_resampling_removes_what_the_new_rate_cannot_hold() -> None:
    times = np.arange(2000) / 1000
    fast = np.sin(2 * np.pi * 180 * times)[None, None].astype(np.float32)
    assert np.abs(resample(fast, 1000, 250)[..., 20:-20]).max() < 0.02


def test_a_constant_and_a_slope_survive_resampling_at_the_borders() -> None:
    slope = np.linspace(5, 9, 500, dtype=np.float32)[None, None]
    changed = resample(slope, 500, 200)
    np.testing.assert_allclose(changed[0, 0], 5 + 4 * np.arange(200) * 2.5 / 499, atol=1e-5)


def test_units_are_converted_and_said() -> None:
    given = recording(unit="uV", sfreq=250.0, tmin=0.0, n=200)
    converted, said = conform(given, protocol(("O1", "Oz", "O2")))
    np.testing.assert_allclose(converted.data, given.data[:, 1:4] * 1e-6, rtol=1e-6)
    assert "uV converted to V" in said


def test_an_average_reference_has_zero_mean_and_another_electrode_is_subtracted() -> None:
    given = recording(sfreq=250.0, tmin=0.0, n=200, reference="Fz")
    average, _ = conform(given, protocol(reference="average"))
    np.testing.assert_allclose(average.data.mean(axis=1), 0, atol=1e-6)
    against_cz, said = conform(given, protocol(reference="Cz"))
    np.testing.assert_allclose(
        against_cz.data, given.data[:, 1:4] - given.data[:, 4:], rtol=1e-5, atol=1e-6
    )
    assert "re-referenced to Cz" in said


@pytest.mark.parametrize(
    ("given", "wanted", "words"),
    [
        (recording(("Fp1", "O1")), protocol(), "no channel Oz, O2"),
        (recording(("O1", "Oz", "O2", "EEG o2")), protocol(), "the same electrode"),
        (recording(tmin=0.1), protocol(), "0.1 to 1.3 s"),
        (recording(n=301), protocol(), "cover 0 to 0.796 s"),
        (recording(sfreq=100.0, n=140), protocol(), "100 Hz"),
        (recording(unit="whitened"), protocol(), "values in whitened"),
        (recording(reference="Fz"), protocol(reference="Pz"), "referenced to Fz"),
        (recording(modality="meg", unit="T"), protocol(), "a recording of MEG"),
    ],
)
def test_what_cannot_be_converted_is_one_error(
    given: Recording, wanted: SensorProtocol, words: str
) -> None:
    with pytest.raises(InputError, match=words) as caught:
        conform(given, wanted)
    assert caught.value.expected
    assert caught.value.remedy


def test_an_array_without_names_is_taken_only_when_its_shape_is_the_models() -> None:
    bare = Recording(np.ones((4, 3, 200), np.float32), "eeg", "01", complete_trials(None, 4))
    converted, said = conform(bare, protocol())
    assert converted.info.ch_names == ("O1", "Oz", "O2")
    assert "on trust" in said[0]
    with pytest.raises(InputError, match="says nothing about its channels"):
        conform(bare, protocol(n=199))
