"""Bringing an EEG or MEG recording to the channels, rate and window that a model was trained on.

What can be converted without inventing data is converted and said; what cannot is one error.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.sensors import SensorInfo, standard_name, unit_factor
from phosphene.types import Modality, Recording

__all__ = ["SensorProtocol", "conform", "resample"]

Array = np.ndarray[Any, Any]

MOST_UPSAMPLING = 2.0
TOLERANCE = 1e-6  # relative, between rates that are the same


@dataclass(frozen=True, eq=False)
class SensorProtocol:
    """What a model expects of a recording.

    Parameters
    ----------
    modality : {"eeg", "meg"}
    info : SensorInfo
        Channels in the model's order, rate, start of the window, unit and reference.
    n_times : int
        Samples per trial.
    """

    modality: Modality
    info: SensorInfo
    n_times: int

    @property
    def tmax(self) -> float:
        """Time of the last sample in seconds."""
        return self.info.tmin + (self.n_times - 1) / self.info.sfreq

    @property
    def window(self) -> tuple[float, float]:
        """First and last time of a trial in seconds, as raw files are cut."""
        return self.info.tmin, self.tmax


def conform(recording: Recording, protocol: SensorProtocol) -> tuple[Recording, list[str]]:
    """Return the recording as the protocol wants it, and what was done to it, in words.

    Channels are dropped and put in order by name (case, decoration and names from before 1991
    do not matter), units converted, an average reference computed, the rate changed by a
    polyphase filter that removes what the new rate cannot hold, and the window cropped.

    Raises
    ------
    InputError
        If the modality differs, a channel is missing, the window does not cover the protocol's,
        values are whitened on one side only, the reference is another electrode that was not
        recorded, or the rate is below half of the model's.
    """
    if recording.modality != protocol.modality:
        raise InputError(
            f"a recording of {recording.modality.upper()}",
            expected=f"{protocol.modality.upper()}, as the model was trained on",
            remedy="choose a model of that modality",
        )
    if recording.info is None:
        return _unnamed(recording, protocol)
    said: list[str] = []
    _check_window(recording, protocol)
    converted = _pick(recording, protocol, said)
    converted = _unit(converted, protocol, said)
    converted = _refer(recording, converted, protocol, said)
    converted = _rate(converted, protocol, said)
    return _crop(converted, protocol, said), said


def _unnamed(recording: Recording, protocol: SensorProtocol) -> tuple[Recording, list[str]]:
    """Take an array without names when its shape is exactly the model's."""
    wanted = (protocol.info.n_chans, protocol.n_times)
    if recording.data.shape[1:] != wanted:
        raise InputError(
            f"an array of {recording.data.shape[1]} channels x {recording.data.shape[2]} samples "
            "that says nothing about its channels, rate and window",
            expected=f"{wanted[0]} x {wanted[1]}, or a description beside the array: "
            f"{protocol.info.describe(protocol.n_times)}",
            remedy="write FILE.json beside FILE.npy with ch_names, sfreq, tmin and unit",
        )
    said = ["channels, rate, window and unit taken on trust: the array does not name them"]
    return replace(recording, info=protocol.info), said


def _check_window(recording: Recording, protocol: SensorProtocol) -> None:
    info = _info(recording)
    times = info.times(recording.data.shape[2])
    slack = 0.5 / min(info.sfreq, protocol.info.sfreq) + 1e-9
    # The last sample of a slower recording ends a step before that of a faster one.
    step = max(0.0, 1 / info.sfreq - 1 / protocol.info.sfreq)
    if times[0] > protocol.info.tmin + slack or times[-1] + step < protocol.tmax - slack:
        raise InputError(
            f"trials from {times[0]:g} to {times[-1]:g} s",
            expected=f"trials that cover {protocol.info.tmin:g} to {protocol.tmax:g} s after "
            "the picture, the window of the model",
            remedy="cut longer epochs from the continuous recording",
        )


def _pick(recording: Recording, protocol: SensorProtocol, said: list[str]) -> Recording:
    info = _info(recording)
    places: dict[str, int] = {}
    for index, name in enumerate(info.ch_names):
        key = standard_name(name)
        if key in places:
            raise InputError(
                f"the channels {info.ch_names[places[key]]} and {name} are the same electrode",
                expected="every electrode once",
                remedy="drop or rename one of them",
            )
        places[key] = index
    wanted = [standard_name(name) for name in protocol.info.ch_names]
    absent = [n for n, key in zip(protocol.info.ch_names, wanted, strict=True) if key not in places]
    if absent:
        more = f" and {len(absent) - 8} more" if len(absent) > 8 else ""
        raise InputError(
            f"the recording has no channel {', '.join(absent[:8])}{more} (it has "
            f"{info.n_chans}: {', '.join(info.ch_names[:8])}{'...' if info.n_chans > 8 else ''})",
            expected=f"the {protocol.info.n_chans} channels of the model",
            remedy="rename channels, interpolate missing ones in MNE (mark them bad, then "
            "interpolate_bads), or use a model trained on these channels",
        )
    chosen = [places[key] for key in wanted]
    dropped = info.n_chans - len(chosen)
    if dropped:
        said.append(f"{dropped} of {info.n_chans} channels dropped")
    if chosen != sorted(chosen):
        said.append("channels put in the model's order")
    picked = info.select(chosen)
    renamed = [
        f"{old} is {new}"
        for old, new in zip(picked.ch_names, protocol.info.ch_names, strict=True)
        if old != new
    ]
    if renamed:
        said.append(f"{len(renamed)} channels under other names ({renamed[0]})")
        picked = replace(picked, ch_names=protocol.info.ch_names)
    if chosen == list(range(info.n_chans)):
        return replace(recording, info=picked) if renamed else recording
    return replace(recording, data=np.asarray(recording.data)[:, chosen], info=picked)


def _unit(recording: Recording, protocol: SensorProtocol, said: list[str]) -> Recording:
    info = _info(recording)
    factor = unit_factor(info.unit, protocol.info.unit)
    if factor is None:
        raise InputError(
            f"values in {info.unit}",
            expected=f"values in {protocol.info.unit}, as the model was trained on",
            remedy="give the recording in volts or tesla; whitening is fitted on training trials "
            "of the same sessions",
        )
    if info.unit == protocol.info.unit:
        return recording
    said.append(f"{info.unit} converted to {protocol.info.unit}")
    data = np.asarray(recording.data, dtype=np.float32) * np.float32(factor)
    return replace(recording, data=data, info=replace(info, unit=protocol.info.unit))


def _refer(
    whole: Recording, recording: Recording, protocol: SensorProtocol, said: list[str]
) -> Recording:
    """Change the reference where that can be done from what was recorded."""
    info, wanted = _info(recording), protocol.info.reference
    same = standard_name(info.reference) == standard_name(wanted)
    if protocol.modality == "meg" or wanted == "unknown" or same or info.quantity == "whitened":
        return recording
    data = np.asarray(recording.data, dtype=np.float32)
    if wanted == "average":
        data = data - data.mean(axis=1, keepdims=True)
        said.append("re-referenced to the average of the model's channels")
        return replace(recording, data=data, info=replace(info, reference="average"))
    names = [standard_name(name) for name in _info(whole).ch_names]
    if standard_name(wanted) in names:
        electrode = np.asarray(whole.data)[:, [names.index(standard_name(wanted))]]
        factor = unit_factor(_info(whole).unit, info.unit) or 1.0
        data = data - np.float32(factor) * electrode.astype(np.float32)
        said.append(f"re-referenced to {wanted}")
        return replace(recording, data=data, info=replace(info, reference=wanted))
    if info.reference == "unknown":
        said.append(f"taken to be referenced to {wanted}, which the recording does not say")
        return recording
    raise InputError(
        f"a recording referenced to {info.reference}",
        expected=f"the reference {wanted}, as the model was trained on",
        remedy=f"add the electrode {wanted} to the recording, or re-reference it in MNE",
    )


def _rate(recording: Recording, protocol: SensorProtocol, said: list[str]) -> Recording:
    info, rate = _info(recording), protocol.info.sfreq
    if abs(info.sfreq - rate) <= TOLERANCE * rate:
        return recording
    if info.sfreq * MOST_UPSAMPLING < rate:
        raise InputError(
            f"a sampling rate of {info.sfreq:g} Hz",
            expected=f"{rate:g} Hz, or at least {rate / MOST_UPSAMPLING:g} Hz to convert from",
            remedy="use a recording at a higher rate, or a model trained at this one",
        )
    said.append(
        f"resampled from {info.sfreq:g} to {rate:g} Hz"
        + (f" (nothing above {info.sfreq / 2:g} Hz is there)" if info.sfreq < rate else "")
    )
    data = resample(np.asarray(recording.data), info.sfreq, rate)
    return replace(recording, data=data, info=replace(info, sfreq=rate))


def resample(data: Array, sfreq: float, new_sfreq: float) -> Array:
    """Change the rate of trials by a polyphase filter with zero phase.

    Parameters
    ----------
    data : ndarray of shape (n_trials, n_chans, n_times)
    sfreq, new_sfreq : float
        Hertz. Sample 0 keeps its time.

    Returns
    -------
    ndarray of shape (n_trials, n_chans, ceil(n_times * new_sfreq / sfreq)), float32
    """
    from scipy.signal import resample_poly

    ratio = Fraction(new_sfreq / sfreq).limit_denominator(2000)
    n_times = int(np.ceil(data.shape[2] * ratio))
    out = np.empty((*data.shape[:2], n_times), dtype=np.float32)
    for start in range(0, len(data), 256):
        rows = slice(start, start + 256)
        block = np.asarray(data[rows], dtype=np.float64)
        # Beyond its ends a trial goes on at its border values; zeros would ring.
        first, last = block[..., :1], block[..., -1:]
        line = first + (last - first) * np.linspace(0, 1, block.shape[2])
        ends = first + (last - first) * np.minimum(
            np.arange(n_times) / float(ratio) / max(block.shape[2] - 1, 1), 1
        )
        out[rows] = ends + resample_poly(block - line, ratio.numerator, ratio.denominator, axis=2)
    return out


def _crop(recording: Recording, protocol: SensorProtocol, said: list[str]) -> Recording:
    info = _info(recording)
    shift = (protocol.info.tmin - info.tmin) * info.sfreq
    start = max(0, round(shift))
    data = recording.data[:, :, start : start + protocol.n_times]
    if data.shape[2] < protocol.n_times:  # rounding at the end: at most one sample
        short = protocol.n_times - data.shape[2]
        data = np.concatenate([data, np.repeat(data[:, :, -1:], short, axis=2)], axis=2)
    n_times = recording.data.shape[2]
    if start or n_times > protocol.n_times:
        said.append(f"cropped to {protocol.info.tmin:g} to {protocol.tmax:g} s")
    if abs(shift - start) > 1e-3:
        said.append(f"window starts {1000 * (start - shift) / info.sfreq:.2g} ms off the grid")
    return replace(recording, data=data, info=replace(info, tmin=protocol.info.tmin))


def _info(recording: Recording) -> SensorInfo:
    if recording.info is None:  # checked at the entrance
        raise InputError("a recording without channel names", expected="named channels")
    return recording.info
