"""Train one network with two heads on the EEG or MEG of one or more subjects."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from phosphene.config import Config
from phosphene.data.sensor_preprocessing import SensorPreprocessor
from phosphene.encoders.brain.electric import ELECTRIC_ENCODERS
from phosphene.encoders.brain.electric.heads import ElectricHeads
from phosphene.errors import UsageError
from phosphene.pipelines.training.canonical import (
    averaged_rows,
    choose_canonical,
    fit_canonical,
)
from phosphene.pipelines.training.electric import ElectricTraining, train_electric
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult
from phosphene.seeds import item_seed
from phosphene.types import Recording

__all__ = ["BINNED", "ElectricNetwork", "TrainedNetwork", "marked", "train_heads"]

BINNED = {
    "canonical": 5,
    "flat_mlp": 5,
    "ridge": 5,
}  # samples to one, where a method has no filters of its own


class ElectricNetwork(Config):
    """Which network, on which samples, to which numbers.

    ``window`` is in seconds after the picture; ``bin`` samples are averaged to one (by default 5
    for ``canonical``, ``flat_mlp`` and ``ridge``, else 1). ``width`` is that of the space
    pictures are looked for in; ``canonical`` finds it by itself. Targets are kept as
    ``components`` and ``latent_components`` principal components.
    """

    encoder: str = "flat_mlp"
    options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults
    window: tuple[float, float] = (0.0, 1.0)
    bin: PositiveInt | None = None
    whiten_time: bool = True
    width: PositiveInt = 64
    components: PositiveInt = 256
    latent_components: PositiveInt = 64
    training: ElectricTraining = ElectricTraining(
        engine=EngineConfig(
            batch_size=512, learning_rate=2e-3, weight_decay=0.3, epochs=15, warmup_steps=20,
            checkpoint_every=1000, patience=6,
        ),
        regression=0.3,
    )  # fmt: skip

    def preprocessor(self) -> SensorPreprocessor:
        """Return the preprocessing, not fitted yet."""
        samples = self.bin or BINNED.get(self.encoder, 1)
        return SensorPreprocessor(window=self.window, bin=samples, whiten_time=self.whiten_time)


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A network, its preprocessing, and how its training went."""

    heads: ElectricHeads
    preprocessor: SensorPreprocessor
    result: TrainingResult


def marked(recording: Recording, held_out: frozenset[str]) -> Recording:
    """Return training and validation trials, with the split that ``held_out`` says."""
    from dataclasses import replace

    trials = recording.trials
    used = trials["split"] != "test"
    chosen = recording if used.all() else recording.select(used.to_numpy())
    inside = chosen.trials["stimulus_id"].isin(held_out)
    split = np.where(inside, "validation", "train")
    return replace(chosen, trials=chosen.trials.assign(split=split))


def train_heads(
    recordings: Mapping[str, Recording],
    values: Mapping[str, Tensor],
    names: list[str],
    config: ElectricNetwork,
    *,
    seed: int,
    folder: Path,
) -> TrainedNetwork:
    """Fit preprocessing and targets on training trials, then the network.

    Parameters
    ----------
    recordings : mapping of str to Recording
        By subject label; train and validation trials, see :func:`marked`.
    values : mapping of str to Tensor of shape (n_pictures, ...)
        Targets: ``tokens`` or ``pooled``, ``features`` of a second network, and ``lowlevel``
        where there are latents.
    names : list of n_pictures str
        The ``stimulus_id`` of each.
    config : ElectricNetwork
    seed : int
    folder : Path
        For checkpoints.
    """
    preprocessor = config.preprocessor()
    for recording in recordings.values():
        train = recording.trials["split"].to_numpy() == "train"
        preprocessor.fit(recording.select(train))
    prepared = {
        label: preprocessor.transform(recording, "float16")
        for label, recording in recordings.items()
    }
    trained = {
        name
        for recording in recordings.values()
        for name in recording.trials.loc[recording.trials["split"] == "train", "stimulus_id"]
    }
    rows = torch.tensor([row for row, name in enumerate(names) if name in trained])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(item_seed(seed, "weights", "electric", 0))
        heads = _make(config, next(iter(prepared.values())), list(recordings), values)
    heads.fit_targets({part: value[rows] for part, value in values.items()})
    if config.encoder == "canonical":
        return _canonical(config, prepared, preprocessor, heads, values, names)
    engine = config.training.engine.model_copy(update={"seed": seed})
    training = config.training.model_copy(update={"engine": engine})
    result = train_electric(
        heads, prepared, heads.coefficients(values), names, training, folder=folder
    )
    heads.eval()
    return TrainedNetwork(heads, preprocessor, result)


def _canonical(
    config: ElectricNetwork,
    prepared: Mapping[str, Recording],
    preprocessor: SensorPreprocessor,
    targets: ElectricHeads,
    values: Mapping[str, Tensor],
    names: list[str],
) -> TrainedNetwork:
    """Fit the canonical encoder; its width is chosen, so that the heads are made anew."""
    coefficients = targets.coefficients(values)
    # Main target and features as one; latents vary in ways that hardly reach electrodes.
    fused = sum(count for part, count in targets.components.items() if part != "lowlevel")
    x, pictures = averaged_rows(prepared, names, "train")
    other, shown = averaged_rows(prepared, names, "validation")
    maps = choose_canonical(
        (x, coefficients[pictures, :fused]),
        (other, coefficients[shown, :fused]) if len(shown) > 1 else None,
    )
    chosen = config.model_copy(update={"width": maps.brain.shape[1]})
    heads = _make(chosen, next(iter(prepared.values())), list(prepared), values)
    for name in heads.targets:
        for part in ("mean", "axes"):
            heads.get_buffer(f"{name}_{part}").copy_(targets.get_buffer(f"{name}_{part}"))
    fit_canonical(heads, maps, x, coefficients[pictures])
    heads.eval()
    return TrainedNetwork(heads, preprocessor, TrainingResult(state=heads.state_dict()))


def _make(
    config: ElectricNetwork, example: Recording, subjects: list[str], values: Mapping[str, Tensor]
) -> ElectricHeads:
    kind = ELECTRIC_ENCODERS.get(config.encoder)
    arguments = inspect.signature(kind).parameters
    info = example.info
    assert info is not None
    words: dict[str, Any] = {
        "n_outputs": config.width,
        "n_chans": example.data.shape[1],
        "n_times": example.data.shape[2],
        "sfreq": info.sfreq,
        "ch_names": list(info.ch_names),
        "positions": None if info.positions is None else info.positions.tolist(),
        "subjects": subjects,
    }
    options = {name: value for name, value in words.items() if name in arguments}
    unknown = sorted(set(config.options) - set(arguments))
    if unknown:
        raise UsageError(
            f"`options` of the encoder {config.encoder} name {', '.join(unknown)}",
            expected=f"arguments among {', '.join(arguments)}",
            remedy="correct --set options.NAME=VALUE",
        )
    shapes = {name: list(value.shape[1:]) for name, value in values.items()}
    counts = {
        name: config.latent_components if name == "lowlevel" else config.components
        for name in shapes
    }
    return ElectricHeads(config.encoder, options | config.options, shapes, counts)
