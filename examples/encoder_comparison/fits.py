"""Fits that are compared: ridge, a network from nothing, and one that a new subject joins."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from encoder_comparison.bench import Bench
from encoder_comparison.scores import Cost, Scores
from torch import Tensor

from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.pipelines.training.adapt import add_subject, freeze_but
from phosphene.pipelines.training.materials import cached_targets
from phosphene.pipelines.training.network import make_encoder, train_encoder_on

OPTIONS: dict[str, dict[str, Any]] = {
    "mlp": {"width": 256, "depth": 1, "dropout": 0.5},
    "mindeye1": {"width": 256, "depth": 2, "projector_width": 256},
    "mindeye2": {"width": 256, "rank": 64, "dropout": 0.5},
    "bit": {"width": 64, "depth": 1, "heads": 4, "clusters": 48, "profile_size": 48},
    "roi_transformer": {"width": 64, "depth": 1, "heads": 4},
}


class LinearReference:
    """Ridge under the name of a network, so that the same lines score it."""

    def __init__(self, ridge: RidgeEncoder, part: str) -> None:
        self.ridge, self.main_part = ridge, part

    def eval(self) -> None:
        """Do nothing: ridge has no other mode."""

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = [self.ridge.respond(subject, voxels) for subject, voxels in batch.items()]
        return {self.main_part: torch.cat(rows)}


def run_ridge(
    bench: Bench, subjects: Sequence[str], sessions: Sequence[str], told: str
) -> list[Scores]:
    """Fit ridge on the mean of each picture's trials, each subject by itself."""
    preprocessor, settings = Preprocessor(), bench.settings("ridge", sessions, 1, 0)
    settings = settings.model_copy(update={"hold_gb": 0.0})  # each subject is read in turn
    materials = bench.materials(subjects, preprocessor, settings)
    ridge = RidgeEncoder()
    with Cost() as cost:
        for recording in materials.recordings:
            whole = recording.select(np.arange(len(recording)))
            averaged = preprocessor.transform(whole.average("stimulus_id"))
            names = averaged.trials["stimulus_id"].tolist()
            ridge.fit(averaged, cached_targets(bench.dataset, bench.target, names))
    size = sum(value.numel() for value in ridge.tensors().values())
    reference = LinearReference(ridge, bench.part)
    return cost.note(bench.test("ridge", reference, subjects, preprocessor, told, 0), size)


def run_network(
    bench: Bench,
    name: str,
    subjects: Sequence[str],
    sessions: Sequence[str],
    told: str,
    seed: int = 0,
    **more: Any,
) -> tuple[list[Scores], NetworkEncoder, Preprocessor]:
    """Train one network on all subjects together."""
    preprocessor = Preprocessor()
    with Cost() as cost:
        single = bench.settings(name, sessions, 1, seed, **dict(more))
        materials = bench.materials(subjects, preprocessor, single)
        n_items = len(materials.objective.items)
        settings = bench.settings(name, sessions, n_items, seed, **more)
        encoder = make_encoder(name, OPTIONS[name], materials, {bench.part: bench.target}, settings)
        with TemporaryDirectory() as folder:
            train_encoder_on(encoder, materials, settings, Path(folder))
    size = sum(one.numel() for one in encoder.parameters())
    scores = bench.test(name, encoder, subjects, preprocessor, told, seed)
    return cost.note(scores, size), encoder, preprocessor


def adapted(
    bench: Bench, encoder: NetworkEncoder, preprocessor: Preprocessor, new: str, seed: int
) -> list[Scores]:
    """Add a new subject with its first session to a copy of a trained network."""
    encoder = copy.deepcopy(encoder)
    name, more = encoder.name, {"batch_size": 64, "patience": 8, "warmup_steps": 20, "most": 50}
    more |= {"learning_rate": 5e-4}
    with Cost() as cost:
        settings = bench.settings(name, ["01"], 1, seed, **more)
        materials = bench.materials([new], preprocessor, settings)
        add_subject(encoder, new, materials, settings)
        freeze_but(encoder, new)
        with TemporaryDirectory() as folder:
            train_encoder_on(encoder, materials, settings, Path(folder))
    size = sum(one.numel() for one in encoder.own_parameters(new).values())
    found = bench.test(f"{name}, adapted", encoder, [new], preprocessor, "1", seed)
    return cost.note(found, size)
