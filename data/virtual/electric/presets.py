"""Sensors and protocols of virtual EEG and MEG, set before any decoder saw them."""

from __future__ import annotations

from dataclasses import dataclass

from phosphene.errors import check_option
from phosphene.types import Modality

__all__ = [
    "ELECTRIC_PRESETS",
    "ELECTRIC_VERSION",
    "STATE_SD",
    "ElectricPreset",
    "get_electric_preset",
]

ELECTRIC_VERSION = "1"
"""Changes whenever a virtual EEG or MEG subject of any label would respond otherwise."""

STATE_SD = 0.5
"""Attention and state from trial to trial, relative to the SD of differences between pictures."""


@dataclass(frozen=True)
class ElectricPreset:
    """Sensors, presentation and sizes of signal and noise.

    Attributes
    ----------
    name : str
    modality : {"eeg", "meg"}
    n_sensors : int
        17 (occipito-parietal) or 63 electrodes, 271 axial gradiometers.
    sfreq : float
        Hertz.
    tmin, n_times
        Window of a trial: start in seconds and samples.
    on, soa, soa_jitter : float
        Seconds a picture is shown, from one to the next, and its half-width (uniform).
    evoked : float
        Largest mean response over sensors and time, in volts or tesla.
    difference : float
        Largest SD of responses between pictures over sensors and time, in volts or tesla.
    background : float
        EEG: root mean square over channels of the 1/f background, in volts. MEG: its mean
        amplitude density at 10 Hz, in tesla per root hertz.
    private : float
        EEG: share of the background's variance that is each electrode's own. MEG: amplitude
        density at 10 Hz of each sensor's own noise, in tesla per root hertz.
    alpha : float
        Largest root mean square over channels of the alpha rhythm, in volts or tesla.
    shift : float
        Millimetres the cap or head moves between sessions.
    repetitions : int
        Showings of every picture unless told otherwise.
    """

    name: str
    modality: Modality
    n_sensors: int
    sfreq: float
    tmin: float
    n_times: int
    on: float
    soa: float
    soa_jitter: float
    evoked: float
    difference: float
    background: float
    private: float
    alpha: float
    shift: float
    repetitions: int


def _eeg(name: str, n_sensors: int) -> ElectricPreset:
    return ElectricPreset(
        name, "eeg", n_sensors, 250.0, -0.2, 300, 0.1, 0.2, 0.0,
        6e-6, 2e-6, 8e-6, 0.02, 6e-6, 5.0, 4,
    )  # fmt: skip


ELECTRIC_PRESETS = {
    preset.name: preset
    for preset in (
        _eeg("eeg-63", 63),
        _eeg("eeg-17", 17),
        ElectricPreset(
            "meg-271", "meg", 271, 250.0, -0.2, 300, 0.5, 1.5, 0.2,
            120e-15, 20e-15, 30e-15, 4e-15, 150e-15, 4.0, 2,
        ),
    )
}  # fmt: skip


def get_electric_preset(name: str) -> ElectricPreset:
    """Return the preset of that name; an unknown one is an error that lists them all."""
    return ELECTRIC_PRESETS[check_option("preset", name, ELECTRIC_PRESETS)]
