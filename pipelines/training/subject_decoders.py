"""What a training across subjects leaves: trials and pictures in one space, to be compared there.

A network by its head for retrieval, or a ridge of all subjects together, as the simple baseline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from phosphene.data.sensor_preprocessing import SensorPreprocessor
from phosphene.encoders.brain.electric.base import count_parameters
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.pipelines.training.electric_network import ElectricNetwork, train_heads
from phosphene.priors.retrieval import RetrievalProjector
from phosphene.types import Recording

__all__ = ["SubjectDecoder", "fit_network", "fit_ridge"]

POOLED = "pooled"  # label of a ridge of several subjects


@dataclass(frozen=True, eq=False)
class SubjectDecoder:
    """How trials and pictures get into one space, and the size of what was learned.

    Attributes
    ----------
    preprocessor : SensorPreprocessor
    encode : callable
        Returns embeddings (n, d) of a prepared recording.
    keys : callable
        Returns what they are compared with, (n, d), of flat targets (n, D).
    parameters : int
    """

    preprocessor: SensorPreprocessor
    encode: Callable[[Recording], Tensor]
    keys: Callable[[Tensor], Tensor]
    parameters: int


def fit_network(
    recordings: dict[str, Recording],
    values: Tensor,
    names: list[str],
    network: ElectricNetwork,
    *,
    seed: int,
    folder: Path,
) -> SubjectDecoder:
    """Train one network on the recordings of all subjects.

    Parameters
    ----------
    recordings : dict of str to Recording
        By subject.
    values : Tensor of shape (n, ...)
        Targets of the pictures that ``names`` names.
    names : list of str
    network : ElectricNetwork
    seed : int
    folder : Path
        Holds checkpoints.
    """
    part = "pooled" if values.ndim == 2 else "tokens"
    trained = train_heads(recordings, {part: values}, names, network, seed=seed, folder=folder)
    heads = trained.heads
    mean, weights = heads.search_matrix()

    def encode(recording: Recording) -> Tensor:
        found = heads.encode(recording).retrieval
        assert found is not None
        return found

    return SubjectDecoder(
        trained.preprocessor, encode, lambda shown: (shown - mean) @ weights,
        count_parameters(heads.backbone),
    )  # fmt: skip


def fit_ridge(
    recordings: dict[str, Recording],
    values: Tensor,
    names: list[str],
    network: ElectricNetwork,
    *,
    components: int,
) -> SubjectDecoder:
    """Fit one ridge on the pictures of all subjects, each averaged and whitened by itself.

    Parameters
    ----------
    recordings, values, names, network
        As for :func:`fit_network`; of the network's settings, those of preprocessing.
    components : int
        Of the space that is searched, at most.
    """
    import pandas as pd

    preprocessor = network.preprocessor()
    prepared = []
    for recording in recordings.values():
        preprocessor.fit(recording.select((recording.trials["split"] == "train").to_numpy()))
        prepared.append(preprocessor.transform(recording.average("stimulus_id")))
    together = replace(
        prepared[0],
        subject=POOLED,
        data=np.concatenate([one.data for one in prepared]),
        trials=pd.concat([one.trials for one in prepared], ignore_index=True),
    )
    numbers = {name: row for row, name in enumerate(names)}
    truth = values[[numbers[name] for name in together.trials["stimulus_id"]]]
    encoder = RidgeEncoder()
    encoder.fit(together, truth, keep_left_out=True)
    predicted = encoder.left_out(POOLED).main
    size = truth[0].numel()
    count = min(components, size, len(truth) // 2)
    projector = RetrievalProjector(size, count).fit(predicted, truth)

    def encode(recording: Recording) -> Tensor:
        return projector.project(encoder.encode(replace(recording, subject=POOLED)).main)

    learned = int(np.prod(together.data.shape[1:]) + 1) * size
    return SubjectDecoder(preprocessor, encode, projector.project, learned)
