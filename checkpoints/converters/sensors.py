"""What converters of EEG and MEG share: sensors of data sets, layers, parts of a model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from phosphene.checkpoints.converters.family import Request, published_protocol
from phosphene.checkpoints.converters.key_map import Key
from phosphene.data.conform import SensorProtocol
from phosphene.data.sensor_preprocessing import Noise, SensorPreprocessor
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import UsageError, check_option
from phosphene.pipelines.generators.on_demand import OnDemand
from phosphene.pipelines.model_folder import ModelParts
from phosphene.priors.base import Prior
from phosphene.sensors import SensorInfo

__all__ = [
    "FIRST_SCALE",
    "SIGNAL",
    "VIT_H",
    "frames_to_times",
    "model_of_sensors",
    "projector_keys",
    "signal_of",
    "things_protocol",
    "tsconv_keys",
]

THINGS_63 = [
    "Fp1",
    "Fp2",
    "AF7",
    "AF3",
    "AFz",
    "AF4",
    "AF8",
    "F7",
    "F5",
    "F3",
    "F1",
    "F2",
    "F4",
    "F6",
    "F8",
    "FT9",
    "FT7",
    "FC5",
    "FC3",
    "FC1",
    "FCz",
    "FC2",
    "FC4",
    "FC6",
    "FT8",
    "FT10",
    "T7",
    "C5",
    "C3",
    "C1",
    "Cz",
    "C2",
    "C4",
    "C6",
    "T8",
    "TP9",
    "TP7",
    "CP5",
    "CP3",
    "CP1",
    "CPz",
    "CP2",
    "CP4",
    "CP6",
    "TP8",
    "TP10",
    "P7",
    "P5",
    "P3",
    "P1",
    "Pz",
    "P2",
    "P4",
    "P6",
    "P8",
    "PO7",
    "PO3",
    "POz",
    "PO4",
    "PO8",
    "O1",
    "Oz",
    "O2",
]
THINGS_17 = THINGS_63[-17:]  # parietal and occipital
ALLJOINED_32 = [
    "Cz",
    "FCz",
    "AFz",
    "Fp1",
    "F5",
    "F1",
    "CP5",
    "CP3",
    "CP1",
    "P1",
    "P3",
    "P5",
    "P7",
    "PO7",
    "PO3",
    "O1",
    "Pz",
    "POz",
    "Oz",
    "O2",
    "PO4",
    "PO8",
    "P8",
    "P6",
    "P4",
    "P2",
    "CP2",
    "CP4",
    "CP6",
    "F2",
    "F6",
    "Fp2",
]
CHANNELS = {63: THINGS_63, 17: THINGS_17, 32: ALLJOINED_32}
MEG_SENSORS = (271, 272)
WINDOW = 1.0  # seconds
KNOWN_TIMES = {250: 250.0, 201: 200.0}  # samples of a window, and the rate in hertz
FIRST_SCALE = math.log(1 / 0.07)
# What `--set` can change where tensors do not tell.
SIGNAL: dict[str, Any] = {"sfreq": None, "ch_names": None, "modality": None}


def tsconv_keys(prefix: str, own: str) -> list[Key]:
    """Return keys of TSConv: ``f`` filters of ``k`` samples over ``c`` channels."""
    keys = [
        Key(f"{prefix}tsconv.0.weight", f"{own}temporal.weight", ("f", 1, 1, "k")),
        Key(f"{prefix}tsconv.0.bias", f"{own}temporal.bias", ("f",)),
        *batch_norm_keys(f"{prefix}tsconv.2.", f"{own}first_norm."),
        Key(f"{prefix}tsconv.4.weight", f"{own}spatial.weight", ("f", "f", "c", 1)),
        Key(f"{prefix}tsconv.4.bias", f"{own}spatial.bias", ("f",)),
        *batch_norm_keys(f"{prefix}tsconv.5.", f"{own}second_norm."),
        Key(f"{prefix}projection.0.weight", f"{own}mix.weight", ("f", "f", 1, 1)),
        Key(f"{prefix}projection.0.bias", f"{own}mix.bias", ("f",)),
    ]
    return keys


def batch_norm_keys(prefix: str, own: str) -> list[Key]:
    """Return keys of one batch norm over ``f`` maps."""
    names = ("weight", "bias", "running_mean", "running_var")
    keys = [Key(prefix + name, own + name, ("f",)) for name in names]
    return [*keys, Key(f"{prefix}num_batches_tracked", f"{own}num_batches_tracked", ())]


def projector_keys(
    prefix: str, own: str, inner: str, *, width: str = "w", middle: str = "inner.1"
) -> list[Key]:
    """Return keys of the residual head to ``z`` numbers.

    Parameters
    ----------
    prefix, own : str
    inner : str
        Published name of the layer inside the residual block, such as ``fn.1``.
    width : str
        Letters of what goes in.
    middle : str
        Its name here.
    """
    return [
        Key(f"{prefix}0.weight", f"{own}0.weight", ("z", width)),
        Key(f"{prefix}0.bias", f"{own}0.bias", ("z",)),
        Key(f"{prefix}1.{inner}.weight", f"{own}1.{middle}.weight", ("z", "z")),
        Key(f"{prefix}1.{inner}.bias", f"{own}1.{middle}.bias", ("z",)),
        Key(f"{prefix}2.weight", f"{own}2.weight", ("z",)),
        Key(f"{prefix}2.bias", f"{own}2.bias", ("z",)),
    ]


def frames_to_times(frames: int, kernel: int, pool: int, stride: int) -> int:
    """Return the samples of a window from the frames that a pooled convolution gives.

    Several lengths give the same frames; those of the known data sets come first.
    """
    for times in KNOWN_TIMES:
        if (times - kernel + 1 - pool) // stride + 1 == frames:
            return times
    return (frames - 1) * stride + pool + kernel - 1


def signal_of(n_chans: int, n_times: int, request: Request) -> dict[str, Any]:
    """Return the words of a signal: channels of a known data set, its rate, or what is set.

    Raises
    ------
    UsageError
        If names are given that are not as many as the channels.
    """
    names = request.settings.get("ch_names")
    if isinstance(names, str):
        names = [one.strip() for one in names.split(",")]
    if names is not None and len(names) != n_chans:
        raise UsageError(
            f"{len(names)} channel names for weights of {n_chans} channels",
            expected=f"{n_chans} names, in the order of the training",
            remedy="--set ch_names=A,B,...",
        )
    if names is None:
        names = CHANNELS.get(n_chans) or [f"channel{one + 1:03d}" for one in range(n_chans)]
    rate = request.settings.get("sfreq") or KNOWN_TIMES.get(n_times, n_times / WINDOW)
    return {
        "n_chans": n_chans, "n_times": n_times, "sfreq": float(rate), "ch_names": list(names),
    }  # fmt: skip


def model_of_sensors(
    encoder: Any,
    target: PublishedTarget,
    request: Request,
    *,
    generator: str,
    subjects: Sequence[str],
    protocol: Any,
    prior: Prior | None = None,
) -> ModelParts:
    """Return the parts of a model of EEG or MEG that takes trials as they are."""
    words = encoder.signal
    named = request.settings.get("modality") or ("meg" if words.n_chans in MEG_SENSORS else "eeg")
    meg = check_option("--set modality", str(named), ("eeg", "meg")) == "meg"
    modality: Literal["eeg", "meg"] = "meg" if meg else "eeg"
    info = SensorInfo(tuple(words.ch_names), float(words.sfreq), 0.0, unit="whitened")
    sensors = SensorProtocol(modality, info, words.n_times)
    # Weights come without statistics of their recordings: nothing is taken away or scaled.
    nothing = Noise(
        np.zeros((words.n_chans, words.n_times)),
        np.eye(words.n_chans),
        np.eye(words.n_times)[0],
        0,
    )
    preprocessor = SensorPreprocessor(modality, sensors.window, 1, False, sensors)
    preprocessor._subjects = dict.fromkeys(subjects, nothing)
    preprocessor._pooled = nothing
    return ModelParts(
        encoder=encoder,
        target=target,
        preprocessor=preprocessor,
        protocol=protocol,
        generator=OnDemand(generator, target),
        baselines={},
        prior=prior,
    )


def things_protocol(subjects: Sequence[str], *, averaging: str, selection: str) -> Any:
    """Return what is known of a training on THINGS-EEG2 or THINGS-MEG."""
    return published_protocol(
        dataset="THINGS-EEG2 (Gifford 2022), or THINGS-MEG for 271 sensors",
        subjects=subjects,
        mask="channels in the order of the model",
        normalisation="multivariate noise normalisation per session, 0 to 1 s",
        fitted_on="covariances of training trials",
        averaging=(averaging, "all repetitions averaged (80, or 12 of MEG)"),
        selection=selection,
    )


def VIT_H(size: int) -> PublishedTarget:  # noqa: N802 - a network's name
    """Return the target of ATM and its relatives: pooled ViT-H/14 at its own length."""
    return PublishedTarget(
        "ViT-H-14", "laion2b_s32b_b79k", "pooled", [size], width=1280, layers=32,
        note="at its own length; the published features were made with the training transform",
    )  # fmt: skip


def scale_tensor(value: float = FIRST_SCALE) -> Tensor:
    """Return a temperature that a file does not have."""
    return torch.tensor(value)
