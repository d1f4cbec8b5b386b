"""Brain encoders side by side on virtual subjects: ridge, networks shared by subjects, adaptation.

Every encoder is trained on the first 1, 5 or all sessions of all subjects. Half of the dataset's
validation pictures are kept for the figures below, and nothing is chosen on them; epochs are chosen
on the other half, or, where the sessions have none of it, on a twentieth of their pictures. With
``--adapt 04``, networks are trained on the other subjects, then subject 04 is added with one
session, beside a network and ridge that have that session alone.

    python examples/virtual_encoders.py --dataset D --target local-dir:MODEL/target --output T.md
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.pipelines.training.adapt import add_subject, freeze_but
from phosphene.pipelines.training.brain_materials import Materials, NetworkTraining, gather
from phosphene.pipelines.training.brain_objective import LossConfig
from phosphene.pipelines.training.brain_validation import BrainValidation
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.materials import cached_targets, load_target
from phosphene.pipelines.training.network import make_encoder, train_encoder_on
from phosphene.pipelines.training.trial_items import VoxelStore, lazy_recording, make_items

COLUMNS = ("r2", "identification", "brain to image", "image to brain")
OPTIONS: dict[str, dict[str, Any]] = {
    "mlp": {"width": 512, "depth": 1, "dropout": 0.5},
    "mindeye1": {"width": 512, "depth": 2, "projector_width": 512},
    "mindeye2": {"width": 512, "rank": 64, "dropout": 0.5},
    "bit": {"width": 128, "depth": 2, "heads": 4, "clusters": 64, "profile_size": 48},
}


class Bench:
    """The dataset, with a part of its validation pictures turned into test pictures."""

    def __init__(self, folder: str, target: StimulusEncoder, epochs: int, seed: int) -> None:
        dataset = CanonicalDataset.open(folder)
        table = dataset.table.copy()
        held = sorted(set(table.loc[table["split"] == "validation", "stimulus_id"]))
        table.loc[table["stimulus_id"].isin(held[::2]), "split"] = "test"
        self.dataset = dataclasses.replace(dataset, table=table)
        self.target, self.epochs, self.seed, self.folder = target, epochs, seed, folder
        self.part = target.spec.output

    def settings(self, sessions: Sequence[str]) -> NetworkTraining:
        """Return the settings of every network; those of ridge are its own."""
        return NetworkTraining(
            dataset=self.folder, output="", sessions=tuple(sessions), seed=self.seed,
            losses=LossConfig(error=1.0, contrastive=0.05),
            training=EngineConfig(
                epochs=self.epochs, batch_size=128, learning_rate=1e-3, weight_decay=0.05,
                warmup_steps=50, patience=5,
            ),
        )  # fmt: skip

    def materials(
        self, subjects: Sequence[str], sessions: Sequence[str], preprocessor: Preprocessor
    ) -> Materials:
        """Return training and validation; see `held_out_pictures` for what is held out."""
        targets = {self.part: self.target}
        return gather(self.dataset, subjects, targets, preprocessor, self.settings(sessions))

    def _is_test(self, subject: str) -> np.ndarray[Any, Any]:
        return np.asarray(self.dataset.recording(subject).trials["split"] == "test")

    def test(
        self, encoder: Any, subjects: Sequence[str], preprocessor: Preprocessor, variance: float
    ) -> list[float]:
        """Return the columns of the table, on test pictures, mean of their trials."""
        recordings = [
            lazy_recording(self.dataset, label, self._is_test(label)) for label in subjects
        ]  # fmt: skip
        names = sorted({name for one in recordings for name in one.trials["stimulus_id"]})
        figures = BrainValidation(
            make_items(recordings, {name: row for row, name in enumerate(names)}, "average"),
            VoxelStore(recordings, preprocessor),
            {self.part: cached_targets(self.dataset, self.target, names)},
            {self.part: variance},
            LossConfig(),
        ).figures(encoder)
        return [figures[f"validation {name}"] for name in COLUMNS]


class LinearReference:
    """Ridge under the name of a network, so that the same lines score it."""

    def __init__(self, ridge: RidgeEncoder, part: str) -> None:
        self.ridge, self.main_part = ridge, part

    def eval(self) -> None:
        """Do nothing: ridge has no other mode."""

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = [self.ridge.respond(subject, voxels) for subject, voxels in batch.items()]
        return {self.main_part: torch.cat(rows)}


def run_ridge(bench: Bench, subjects: Sequence[str], sessions: Sequence[str]) -> list[Any]:
    """Fit ridge on the mean of each picture's trials, each subject by itself."""
    preprocessor = Preprocessor()
    materials = bench.materials(subjects, sessions, preprocessor)
    start = time.process_time()
    ridge = RidgeEncoder()
    for recording in materials.recordings:
        whole = recording.select(np.arange(len(recording)))
        averaged = preprocessor.transform(whole.average("stimulus_id"))
        names = averaged.trials["stimulus_id"].tolist()
        ridge.fit(averaged, cached_targets(bench.dataset, bench.target, names))
    seconds = time.process_time() - start
    size = sum(value.numel() for value in ridge.tensors().values())
    variance = materials.objective.variance[bench.part]
    scores = bench.test(LinearReference(ridge, bench.part), subjects, preprocessor, variance)
    return [*scores, size, seconds]


def run_network(
    bench: Bench, name: str, subjects: Sequence[str], sessions: Sequence[str]
) -> tuple[list[Any], NetworkEncoder, Preprocessor]:
    """Train one network on all subjects together."""
    preprocessor = Preprocessor()
    materials = bench.materials(subjects, sessions, preprocessor)
    start = time.process_time()
    targets = {bench.part: bench.target}
    encoder = make_encoder(name, OPTIONS[name], materials, targets, bench.settings(sessions))
    with TemporaryDirectory() as folder:
        train_encoder_on(encoder, materials, bench.settings(sessions), Path(folder))
    seconds = time.process_time() - start
    variance = materials.objective.variance[bench.part]
    scores = bench.test(encoder, subjects, preprocessor, variance)
    size = sum(one.numel() for one in encoder.parameters())
    return [*scores, size, seconds], encoder, preprocessor


def run_adaptation(
    bench: Bench, name: str, others: Sequence[str], new: str, sessions: Sequence[str]
) -> list[Any]:
    """Train on the others, add the new subject with some sessions, test on the new one."""
    _, encoder, preprocessor = run_network(bench, name, others, ())
    materials = bench.materials([new], sessions, preprocessor)
    start = time.process_time()
    add_subject(encoder, new, materials, bench.settings(sessions))
    freeze_but(encoder, new)
    with TemporaryDirectory() as folder:
        train_encoder_on(encoder, materials, bench.settings(sessions), Path(folder))
    seconds = time.process_time() - start
    variance = materials.objective.variance[bench.part]
    size = sum(one.numel() for one in encoder.own_parameters(new).values())
    return [*bench.test(encoder, [new], preprocessor, variance), size, seconds]


def row(what: str, sessions: str, found: Sequence[Any]) -> str:
    """Return one line of the table."""
    *scores, size, seconds = found
    cells = [what, sessions, *(f"{one:.3f}" for one in scores), f"{size:,}", f"{seconds:.0f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Fill the table line by line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--target", required=True)
    parser.add_argument("--subjects", nargs="+")
    parser.add_argument("--encoders", nargs="+", default=["ridge", "mlp", "mindeye2", "bit"])
    parser.add_argument("--sessions", nargs="+", default=["1", "5", "all"])
    parser.add_argument("--adapt", help="a subject that is added with the first session")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    bench = Bench(options.dataset, load_target(options.target), options.epochs, options.seed)
    subjects = options.subjects or sorted(bench.dataset.file.subjects)
    training = bench.dataset.table[bench.dataset.table["split"] == "train"]
    known = sorted(set(training["session"]))
    heads = ("encoder", "sessions", *COLUMNS, "parameters", "seconds")
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]

    def note(line: str) -> None:
        lines.append(line)
        print(line, flush=True)
        Path(options.output).write_text("\n".join(lines) + "\n", encoding="utf-8")

    for count in options.sessions:
        chosen = [] if count == "all" else known[: int(count)]
        for name in options.encoders:
            check = BRAIN_ENCODERS.get(name)  # a misspelt name is refused before hours of work
            found = (
                run_ridge(bench, subjects, chosen)
                if check is RidgeEncoder
                else run_network(bench, name, subjects, chosen)[0]
            )
            note(row(name, count, found))
    if options.adapt:
        others, first = [s for s in subjects if s != options.adapt], known[:1]
        note(row(f"ridge, sub-{options.adapt}", "1", run_ridge(bench, [options.adapt], first)))
        for name in (one for one in options.encoders if one != "ridge"):
            alone = run_network(bench, name, [options.adapt], first)[0]
            note(row(f"{name}, sub-{options.adapt} from nothing", "1", alone))
            adapted = run_adaptation(bench, name, others, options.adapt, first)
            note(row(f"{name}, sub-{options.adapt} adapted", "1", adapted))


if __name__ == "__main__":
    main()
