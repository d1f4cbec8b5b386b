"""Fitted preprocessing of EEG and MEG: which sensors and samples, and what their noise is like.

The signal of one picture is far smaller than the background, so the covariance of training trials
about their mean is, to a good approximation, that of noise. It is taken as one covariance over
sensors times one over time; multiplying by the inverse root of each makes all directions equally
noisy. Over sensors that is multivariate noise normalisation (Guggenmos et al. 2018) and, fitted on
trials without labels, Euclidean alignment (He and Wu 2020). Over time it takes away what a 1/f
background does to every linear decoder: a penalty would spare slow drifts and punish fast signals.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from phosphene.data.conform import SensorProtocol
from phosphene.data.preprocessing import Preprocessor, refuse_test_trials
from phosphene.errors import InputError, UsageError
from phosphene.schemas import SensorGeometry, SensorPreprocessorFile
from phosphene.sensors import SensorInfo
from phosphene.storage import load_tensors, read_json, save_tensors
from phosphene.trials import UNKNOWN
from phosphene.types import Modality, Recording, VoxelSpace

__all__ = ["Noise", "SensorPreprocessor", "load_preprocessor"]

Array = np.ndarray[Any, Any]
BLOCK = 256
MOST_TRIALS = 4000  # that covariances are taken from
SHRINKAGE = 0.01  # towards a multiple of the identity
PARTS = ("mean", "space", "time")
POOLED = "pooled"  # what stands for all subjects in the file
CLIP = 20.0  # standard deviations; what is beyond is an artefact


@dataclass(frozen=True, eq=False)
class Noise:
    """What is known of one subject's recordings.

    Parameters
    ----------
    mean : ndarray of shape (C, T)
        Response to all pictures.
    space : ndarray of shape (C, C)
        Covariance over sensors, in the unit of the recording, squared.
    time : ndarray of shape (T,)
        Autocovariance over time of whitened sensors.
    n_trials : int
        They were found on.
    """

    mean: Array
    space: Array
    time: Array
    n_trials: int


@dataclass(eq=False)
class SensorPreprocessor:
    """Crops trials, whitens sensors and time, and averages neighbouring samples.

    Parameters
    ----------
    modality : {"eeg", "meg"}
    window : (float, float)
        Seconds after the picture that are kept, as far as trials have them.
    bin : int
        Samples that are averaged to one.
    whiten_time : bool
        Whether noise is made white over time too.
    """

    modality: str = "eeg"
    window: tuple[float, float] = (0.0, 1.0)
    bin: int = 1
    whiten_time: bool = True
    _protocol: SensorProtocol | None = None
    _subjects: dict[str, Noise] = field(default_factory=dict)
    _pooled: Noise | None = None
    _training_ids: set[str] = field(default_factory=set)

    weighted = False

    @property
    def training_ids(self) -> frozenset[str]:
        """Stimuli it was fitted on here; a saved model keeps them in its protocol alone."""
        return frozenset(self._training_ids)

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects it was fitted on."""
        return sorted(self._subjects)

    @property
    def protocol(self) -> SensorProtocol:
        """Channels, rate, window, unit and reference that recordings are brought to."""
        if self._protocol is None:
            raise UsageError("a preprocessor of EEG or MEG that was not fitted yet")
        return self._protocol

    @property
    def described(self) -> str:
        """What it does, in words."""
        what = "sensors and time" if self.whiten_time else "sensors"
        binned = f", means of {self.bin} samples" if self.bin > 1 else ""
        return f"noise of {what} whitened per subject{binned}"

    def space(self, subject: str) -> VoxelSpace:
        """Refuse: sensors are no voxels."""
        raise InputError(
            f"the model decodes {self.modality.upper()} and has no voxels",
            expected="a recording with sensors",
            remedy="choose a model of fMRI",
        )

    def knows(self, subject: str) -> bool:
        """Whether recordings of a subject were there in training."""
        return subject in self._subjects

    def fit(self, recording: Recording) -> SensorPreprocessor:
        """Learn one subject's mean response and noise; the first one fixes the sensors."""
        refuse_test_trials(recording, purpose="whitening")
        if recording.subject == POOLED:
            raise UsageError(
                f"a subject with the label {POOLED!r}",
                expected="another label: this one stands for the mean of all subjects",
            )
        if len(recording) < 2:
            raise InputError(
                f"{len(recording)} training trial",
                expected="at least two",
                remedy="mark more trials as train in the trials table",
            )
        if self._protocol is None:
            self._protocol = _protocol_of(recording, self.window, self.bin)
            self.modality = recording.modality
        self._subjects[recording.subject] = self._measure(self._cropped(recording))
        self._training_ids |= set(recording.trials["stimulus_id"]) - {UNKNOWN}
        self._pooled = _mean_of(list(self._subjects.values()))
        return self

    def adapted(self, block: Recording) -> SensorPreprocessor:
        """Return one that whitens the sensors of a subject by unlabelled trials of its own.

        The response to all pictures and the noise over time stay those of the training subjects:
        a few dozen trials say little of either.

        Parameters
        ----------
        block : Recording
            As the protocol wants it. Neither stimuli nor splits are looked at.
        """
        known = self._noise_of(block.subject)
        data = _centred(self._cropped(block), known.mean)
        own = replace(known, space=_space(data), n_trials=len(block))
        made = replace(self, _subjects={**self._subjects, block.subject: own})
        made._training_ids = set(self._training_ids)
        return made

    def transform(self, recording: Recording, dtype: str = "float32") -> Recording:
        """Return whitened trials (n, C, T // bin) in standard deviations of noise.

        A subject that training did not have is whitened by the mean noise of those it had.
        """
        noise, protocol = self._noise_of(recording.subject), self.protocol
        data = self._cropped(recording)
        space, time = _root(noise.space), self._over_time(noise)
        out = np.empty((*data.shape[:2], time.shape[1]), dtype=dtype)
        for start in range(0, len(data), BLOCK):
            rows = slice(start, start + BLOCK)
            block = np.asarray(data[rows], dtype=np.float32) - noise.mean.astype(np.float32)
            white = space.astype(np.float32) @ block @ time.astype(np.float32)
            out[rows] = np.clip(white, -CLIP, CLIP)
        info = replace(
            protocol.info,
            sfreq=protocol.info.sfreq / self.bin,
            tmin=protocol.info.tmin + (self.bin - 1) / 2 / protocol.info.sfreq,
            unit="whitened",
        )
        return replace(recording, data=out, info=info)

    def _measure(self, data: Array) -> Noise:
        rows = np.linspace(0, len(data) - 1, min(len(data), MOST_TRIALS)).astype(int)
        mean = np.zeros(data.shape[1:])
        for start in range(0, len(data), BLOCK):
            mean += np.asarray(data[start : start + BLOCK], dtype=np.float64).sum(axis=0)
        mean /= len(data)
        some = _centred(data[rows], mean)
        space = _space(some)
        time = np.eye(data.shape[2])[0]
        if self.whiten_time:
            white = _root(space).astype(np.float32) @ some
            flat = white.reshape(-1, white.shape[2])
            products = (flat.T @ flat).astype(np.float64) / len(flat)
            time = np.array([np.diagonal(products, lag).mean() for lag in range(len(time))])
        return Noise(mean, space, time, len(data))

    def _over_time(self, noise: Noise) -> Array:
        """Return the matrix (T, T // bin) from samples to whitened means of samples."""
        lags = np.arange(len(noise.time))
        white = _root(noise.time[np.abs(lags[:, None] - lags)])
        count = white.shape[1] // self.bin
        # Means of white samples have a smaller deviation, which is made 1 again.
        means = white[:, : count * self.bin].reshape(len(white), count, self.bin).sum(axis=2)
        return cast(Array, means / np.sqrt(self.bin))

    def _noise_of(self, subject: str) -> Noise:
        found = self._subjects.get(subject, self._pooled)
        if found is None:
            raise UsageError("a preprocessor of EEG or MEG that was not fitted yet")
        return found

    def _cropped(self, recording: Recording) -> Array:
        """Return the samples of the protocol, once everything else is as it says."""
        wanted, found = self.protocol, recording.info
        here = (
            f"{recording.data.shape[1]} channels that are not described"
            if found is None
            else found.describe(recording.data.shape[2])
        )
        first = 0 if found is None else round((wanted.info.tmin - found.tmin) * found.sfreq)
        fits = (
            found is not None
            and recording.modality == wanted.modality
            and found.ch_names == wanted.info.ch_names
            and abs(found.sfreq - wanted.info.sfreq) < 1e-6 * wanted.info.sfreq
            and found.unit == wanted.info.unit
            and 0 <= first <= recording.data.shape[2] - wanted.n_times
        )
        if not fits:
            raise InputError(
                f"the recording of subject {recording.subject} has {here}",
                expected=wanted.info.describe(wanted.n_times),
                remedy="bring it to the model's sensors, rate, window and unit: "
                "phosphene.data.conform",
            )
        return recording.data[:, :, first : first + wanted.n_times]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``preprocessor.json`` and ``preprocessor.safetensors``."""
        import torch

        protocol, tensors = self.protocol, {}
        for label, noise in {**self._subjects, POOLED: self._noise_of("")}.items():
            for part in PARTS:
                values = np.ascontiguousarray(getattr(noise, part), dtype=np.float32)
                tensors[f"{label}.{part}"] = torch.from_numpy(values)
        SensorPreprocessorFile(
            modality="meg" if protocol.modality == "meg" else "eeg",
            sensors=SensorGeometry(**protocol.info.to_dict()),
            n_times=protocol.n_times,
            bin=self.bin,
            whiten_time=self.whiten_time,
            n_trials_fitted={label: noise.n_trials for label, noise in self._subjects.items()},
        ).save(Path(folder) / "preprocessor.json")
        save_tensors(Path(folder) / "preprocessor.safetensors", tensors)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> SensorPreprocessor:
        """Read what :meth:`save` wrote."""
        file = SensorPreprocessorFile.load(Path(folder) / "preprocessor.json")
        stored = load_tensors(Path(folder) / "preprocessor.safetensors")
        info = SensorInfo.from_dict(file.sensors.model_dump())
        protocol = SensorProtocol(cast(Modality, file.modality), info, file.n_times)
        shapes = {
            "mean": (info.n_chans, file.n_times),
            "space": (info.n_chans, info.n_chans),
            "time": (file.n_times,),
        }
        made = cls(file.modality, protocol.window, file.bin, file.whiten_time, protocol)
        counts = {**file.n_trials_fitted, POOLED: sum(file.n_trials_fitted.values())}
        for label, count in counts.items():
            parts: dict[str, Any] = {}
            for name, shape in shapes.items():
                key = f"{label}.{name}"
                if key not in stored or tuple(stored[key].shape) != shape:
                    raise InputError(
                        f"{folder}/preprocessor.safetensors has no {key} of shape {shape}",
                        expected="mean and covariances of every subject",
                        remedy="copy the model again from its source",
                    )
                parts[name] = stored[key].numpy().astype(np.float64)
            noise = Noise(**parts, n_trials=count)
            if label == POOLED:
                made._pooled = noise
            else:
                made._subjects[label] = noise
        return made


def _protocol_of(recording: Recording, window: tuple[float, float], samples: int) -> SensorProtocol:
    """Return sensors and window that a first recording fixes for all."""
    info = recording.info
    if recording.modality not in ("eeg", "meg") or info is None:
        raise InputError(
            f"a recording of {recording.modality} without a description of its sensors",
            expected="EEG or MEG whose channels, rate and window are known",
            remedy="prepare it from a file that names them, or with FILE.json beside FILE.npy",
        )
    times = info.times(recording.data.shape[2])
    half = 0.5 / info.sfreq
    kept = np.flatnonzero((times >= window[0] - half) & (times < window[1] - half))
    count = len(kept) // samples * samples if samples > 0 else 0
    if count < max(samples, 1):
        raise InputError(
            f"trials from {times[0]:g} to {times[-1]:g} s",
            expected=f"at least {samples} samples between {window[0]:g} and {window[1]:g} s after "
            "the picture",
            remedy="choose another window: --set window=[0,0.5]",
        )
    start = replace(info, tmin=float(times[kept[0]]))
    return SensorProtocol(recording.modality, start, count)


def _centred(data: Array, mean: Array) -> Array:
    return cast(Array, np.asarray(data, dtype=np.float32) - mean.astype(np.float32))


def _space(centred: Array) -> Array:
    """Return the covariance over sensors of trials (n, C, T), float64."""
    total = np.zeros((centred.shape[1], centred.shape[1]))
    for start in range(0, len(centred), BLOCK):
        block = centred[start : start + BLOCK]
        flat = np.swapaxes(block, 0, 1).reshape(block.shape[1], -1)
        total += flat @ flat.T
    if not np.isfinite(total).all() or np.trace(total) <= 0:
        raise InputError(
            "trials without any variance, or with values that are not numbers",
            expected="a recording with signal on its channels",
            remedy="drop flat or broken channels",
        )
    covariance: Array = total / (len(centred) * centred.shape[2])
    return covariance


def _root(covariance: Array) -> Array:
    """Return the inverse symmetric root of a covariance, shrunk a little."""
    size = len(covariance)
    shrunk = (1 - SHRINKAGE) * covariance
    shrunk = shrunk + SHRINKAGE * np.trace(covariance) / size * np.eye(size)
    values, vectors = np.linalg.eigh(shrunk)
    root: Array = (vectors / np.sqrt(np.maximum(values, 1e-9 * values[-1]))) @ vectors.T
    return root


def _mean_of(found: list[Noise]) -> Noise:
    """Return the noise of a subject of which nothing is known."""
    return Noise(
        np.mean([noise.mean for noise in found], axis=0),
        np.mean([noise.space for noise in found], axis=0),
        np.mean([noise.time for noise in found], axis=0),
        sum(noise.n_trials for noise in found),
    )


def load_preprocessor(folder: str | os.PathLike[str]) -> Preprocessor | SensorPreprocessor:
    """Read the fitted preprocessing of a model folder, of voxels or of sensors."""
    content = read_json(Path(folder) / "preprocessor.json")
    named = content.get("schema") if isinstance(content, dict) else None
    if named == SensorPreprocessorFile.schema_name:
        return SensorPreprocessor.load(folder)
    return Preprocessor.load(folder)
