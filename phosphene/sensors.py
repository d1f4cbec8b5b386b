"""Sensors of EEG and MEG recordings: names, rate, window, unit and reference."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from phosphene.errors import InputError, check_option

__all__ = ["UNITS", "SensorInfo", "standard_name", "unit_factor"]

Array = np.ndarray[Any, Any]

UNITS: dict[str, tuple[str, float]] = {
    "V": ("V", 1.0),
    "mV": ("V", 1e-3),
    "uV": ("V", 1e-6),
    "nV": ("V", 1e-9),
    "T": ("T", 1.0),
    "pT": ("T", 1e-12),
    "fT": ("T", 1e-15),
    "whitened": ("whitened", 1.0),
}
"""Each unit with its quantity and its size; ``whitened`` values are in standard deviations."""

OLD_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}  # before 1991


@dataclass(frozen=True, eq=False)
class SensorInfo:
    """Channels and time axis of an EEG or MEG recording.

    Parameters
    ----------
    ch_names : tuple of str
        All different.
    sfreq : float
        Samples per second (hertz).
    tmin : float
        Time of the first sample relative to the stimulus (seconds).
    positions : ndarray of shape (n_chans, 3), optional
        Sensor positions in metres, in head coordinates (x right, y front, z up).
    unit : str
        One of :data:`UNITS`.
    reference : str
        ``average``, the name of an electrode, or ``unknown``; of no meaning for MEG.

    Raises
    ------
    InputError
        If names repeat, the rate is not a positive number, or positions do not fit.
    """

    ch_names: tuple[str, ...]
    sfreq: float
    tmin: float = 0.0
    positions: Array | None = None
    unit: str = "V"
    reference: str = "unknown"

    def __post_init__(self) -> None:
        names = tuple(str(name) for name in self.ch_names)
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated or not names:
            twice = f"the channel names {', '.join(repeated)} occur twice"
            raise InputError(
                twice if repeated else "a recording without channels",
                expected="at least one channel, each name once",
                remedy="rename or drop the doubled channels",
            )
        if not (np.isfinite(self.sfreq) and self.sfreq > 0 and np.isfinite(self.tmin)):
            raise InputError(
                f"a sampling rate of {self.sfreq} Hz and a window from {self.tmin} s",
                expected="a positive rate in hertz and a start in seconds",
                remedy="correct the rate and the window of the recording",
            )
        check_option("unit", self.unit, UNITS)
        object.__setattr__(self, "ch_names", names)
        object.__setattr__(self, "sfreq", float(self.sfreq))
        object.__setattr__(self, "tmin", float(self.tmin))
        if self.positions is not None:
            positions = np.asarray(self.positions, dtype=np.float64)
            if positions.shape != (len(names), 3):
                raise InputError(
                    f"sensor positions of shape {positions.shape}",
                    expected=f"({len(names)}, 3), a row per channel",
                )
            object.__setattr__(self, "positions", positions)

    @property
    def n_chans(self) -> int:
        """Number of channels."""
        return len(self.ch_names)

    @property
    def quantity(self) -> str:
        """``V``, ``T`` or ``whitened``."""
        return UNITS[self.unit][0]

    @property
    def hash(self) -> str:
        """Identity of channels (names and order), rate, start, unit and reference."""
        text = repr((self.ch_names, self.sfreq, round(self.tmin, 6), self.unit, self.reference))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """Return what describes the sensors, ready for JSON."""
        return {
            "ch_names": list(self.ch_names),
            "sfreq": self.sfreq,
            "tmin": self.tmin,
            "unit": self.unit,
            "reference": self.reference,
            "positions": None if self.positions is None else self.positions.tolist(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> SensorInfo:
        """Return the sensors that :meth:`to_dict` described; other entries count for nothing."""
        places = content["positions"]
        return cls(
            tuple(content["ch_names"]), content["sfreq"], content["tmin"],
            None if places is None else np.asarray(places), content["unit"], content["reference"],
        )  # fmt: skip

    def times(self, n_times: int) -> Array:
        """Return the time of every sample in seconds."""
        return self.tmin + np.arange(n_times) / self.sfreq

    def select(self, channels: Sequence[int]) -> SensorInfo:
        """Return the info of some channels, in that order."""
        return SensorInfo(
            tuple(self.ch_names[index] for index in channels),
            self.sfreq,
            self.tmin,
            None if self.positions is None else self.positions[list(channels)],
            self.unit,
            self.reference,
        )

    def describe(self, n_times: int | None = None) -> str:
        """Return channels, rate and window in words, for messages."""
        few = ", ".join(self.ch_names[:4]) + (", ..." if self.n_chans > 4 else "")
        window = f"from {self.tmin:g} s"
        if n_times is not None:
            window += f" to {self.tmin + (n_times - 1) / self.sfreq:.4g} s ({n_times} samples)"
        return f"{self.n_chans} channels ({few}) at {self.sfreq:g} Hz {window} in {self.unit}"


def unit_factor(found: str, wanted: str) -> float | None:
    """Return what values are multiplied with to change their unit, None where nothing does.

    Examples
    --------
    >>> round(unit_factor("uV", "V") * 1e6, 9)
    1.0
    >>> unit_factor("V", "whitened") is None
    True
    """
    (quantity, size), (other, other_size) = UNITS[found], UNITS[wanted]
    return size / other_size if quantity == other else None


def standard_name(name: str) -> str:
    """Return the spelling by which channel names are compared: lower case, without decoration.

    ``EEG Fp1-REF``, ``FP1`` and ``Fp1.`` are one electrode; ``T3`` is today's ``T7``.

    Examples
    --------
    >>> standard_name("EEG FP1-Ref"), standard_name("T5"), standard_name("Fcz.")
    ('fp1', 'p7', 'fcz')
    """
    plain = re.sub(r"^(eeg|meg)[ _]+(?=\S)", "", name.strip(), flags=re.IGNORECASE)
    # What EDF writers append for the reference, and CTF for the number of the helmet.
    plain = re.sub(r"[-_ ](ref|le|ar|avg|a1a2|[am][12]|4\d\d\d)$", "", plain, flags=re.IGNORECASE)
    plain = plain.rstrip(".")
    return OLD_NAMES.get(plain.upper(), plain).lower()
