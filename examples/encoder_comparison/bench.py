"""A dataset, how networks are trained on it, and how their test pictures are scored."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from encoder_comparison.scores import Scores

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.pipelines.metrics import (
    brain_to_image_retrieval,
    image_to_brain_retrieval,
    two_way_identification,
)
from phosphene.pipelines.training.brain_materials import Materials, NetworkTraining, gather
from phosphene.pipelines.training.brain_objective import LossConfig
from phosphene.pipelines.training.brain_validation import BrainValidation
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.materials import cached_targets
from phosphene.pipelines.training.trial_items import VoxelStore, lazy_recording, make_items

# Encoders whose tokens serve both errors and retrieval take less of the contrastive loss.
CONTRASTIVE = {"mindeye1": 0.05, "mindeye2": 0.05}


class Bench:
    """A dataset and how networks are trained on it.

    Validation pictures become test pictures, every second one or all of them.
    """

    def __init__(self, folder: str, target: StimulusEncoder, options: argparse.Namespace) -> None:
        dataset = CanonicalDataset.open(folder)
        table = dataset.table.copy()
        held = sorted(set(table.loc[table["split"] == "validation", "stimulus_id"]))
        table.loc[table["stimulus_id"].isin(held[::2]), "split"] = "test"
        self.dataset = dataclasses.replace(dataset, table=table)
        self.target, self.folder, self.part = target, folder, target.spec.output
        self.samples, self.keep = options.samples, getattr(options, "keep", None)

    def settings(
        self, name: str, sessions: Sequence[str], n_items: int, seed: int, **more: Any
    ) -> NetworkTraining:
        """Return the settings of a network: as many epochs as make about ``samples`` samples."""
        epochs = max(2, min(more.pop("most", 20), round(self.samples / max(1, n_items))))
        training = {
            "epochs": epochs, "batch_size": 128, "learning_rate": 1e-3, "weight_decay": 0.05,
            "warmup_steps": 50, "patience": 5,
        }  # fmt: skip
        return NetworkTraining(
            dataset=self.folder,
            output="",
            sessions=tuple(sessions),
            seed=seed,
            repetitions=more.pop("repetitions", "single"),
            losses=LossConfig(error=1.0, contrastive=CONTRASTIVE.get(name, 0.005)),
            training=EngineConfig.model_validate(training | more),
        )

    def materials(
        self, subjects: Sequence[str], preprocessor: Preprocessor, settings: NetworkTraining
    ) -> Materials:
        """Return training and validation; nothing of the test pictures is in either."""
        targets = {self.part: self.target}
        return gather(self.dataset, subjects, targets, preprocessor, settings)

    def test(
        self,
        what: str,
        encoder: Any,
        subjects: Sequence[str],
        preprocessor: Preprocessor,
        sessions: str,
        seed: int,
    ) -> list[Scores]:
        """Return the scores of every subject on test pictures, mean of their trials."""
        found = []
        for subject in subjects:
            shown = np.asarray(self.dataset.recording(subject).trials["split"] == "test")
            recording = lazy_recording(self.dataset, subject, shown)
            names = sorted(set(recording.trials["stimulus_id"]))
            truth = cached_targets(self.dataset, self.target, names)
            watched = BrainValidation(
                make_items([recording], {name: row for row, name in enumerate(names)}, "average"),
                VoxelStore([recording], preprocessor),
                {self.part: truth}, {self.part: 1.0}, LossConfig(),
            )  # fmt: skip
            encoder.eval()
            predicted, _ = watched.predict(encoder, 0)
            flat, wanted = predicted[self.part].flatten(1), truth.flatten(1)
            keys = predicted.get("retrieval", flat).flatten(1).numpy()
            error = (flat - wanted).square().mean() / (wanted - wanted.mean(0)).square().mean()
            pictures = wanted.numpy()
            found.append(
                Scores(
                    what, subject, sessions, seed, names, 1 - float(error),
                    two_way_identification(flat.numpy(), pictures).scores.tolist(),
                    brain_to_image_retrieval(keys, pictures).top_k(1).astype(float).tolist(),
                    image_to_brain_retrieval(keys, pictures).top_k(1).astype(float).tolist(),
                )
            )  # fmt: skip
            if self.keep:
                place = Path(self.keep) / f"{what}_{sessions}_{subject}.npz"
                place.parent.mkdir(parents=True, exist_ok=True)
                np.savez(place, values=predicted[self.part].numpy(), names=np.array(names))
        return found
