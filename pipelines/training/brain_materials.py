"""What trainings of networks gather from a dataset: items, voxels, targets, held-out pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import NonNegativeFloat

from phosphene.config import Config
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.data.shards.streaming import ShardSource
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.training.brain_objective import BrainObjective, LossConfig
from phosphene.pipelines.training.brain_validation import BrainValidation
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.materials import cached_targets, refuse_shared_pictures
from phosphene.pipelines.training.sessions import find_sessions
from phosphene.pipelines.training.trial_items import (
    VoxelStore,
    lazy_recording,
    make_items,
    trials_of,
)
from phosphene.pipelines.training.voxel_encoder import VoxelEncoderConfig
from phosphene.seeds import item_seed
from phosphene.types import Recording

__all__ = ["Materials", "NetworkTraining", "gather", "held_out_pictures", "names_of"]

HELD_OUT = 0.05  # share of training pictures, where a dataset has no validation split
GIGABYTE = 2**30


class NetworkTraining(Config):
    """Settings that training and adapting a network have in common.

    ``sessions`` limits the training to some sessions. ``repetitions``: every trial is an item
    (``single``), or every picture with the mean of its trials (``average``) or of a random number
    of them (``random``). Voxels are held in memory up to ``hold_gb``. ``regions`` names an atlas
    for encoders that have regions; ``{subject}`` in it stands for the label. ``voxel_encoder`` is
    for ``bit`` with universal profiles. With ``shards``, a folder or an address, trials are read
    from there, each shard once per epoch.
    """

    dataset: str
    output: str
    sessions: tuple[str, ...] = ()
    repetitions: Literal["single", "average", "random"] = "single"
    losses: LossConfig = LossConfig()
    training: EngineConfig = EngineConfig(
        epochs=30, batch_size=128, learning_rate=3e-4, weight_decay=0.01, warmup_steps=100,
        patience=6,
    )  # fmt: skip
    monitor: Literal["error", "identification"] = "error"
    hold_gb: NonNegativeFloat = 4.0
    shards: str | None = None
    half: bool = False
    regions: str | None = None
    voxel_encoder: VoxelEncoderConfig = VoxelEncoderConfig()
    seed: int = 0

    @property
    def engine(self) -> EngineConfig:
        """The engine's settings, with the seed of the whole."""
        return self.training.model_copy(update={"seed": self.seed})


@dataclass(eq=False)
class Materials:
    """Everything a training needs beside the network.

    Attributes
    ----------
    recordings : list of Recording
        Training trials of each subject, read lazily.
    objective : BrainObjective
        With the items, the voxels and the targets of the training pictures.
    validation : BrainValidation
    validation_names : list of str
        Stimulus of each validation item.
    """

    recordings: list[Recording]
    objective: BrainObjective
    validation: BrainValidation
    validation_names: list[str]


def held_out_pictures(
    dataset: CanonicalDataset, subjects: Sequence[str], sessions: Sequence[str], seed: int
) -> frozenset[str]:
    """Return the stimuli that none of the subjects is trained on.

    These are the pictures of the validation split, or, where there is none, a twentieth of the
    training pictures; in either case under every name that the same picture has.
    """
    table = _usable(dataset, subjects, sessions)
    marked = set(table.loc[table["split"] == "validation", "stimulus_id"])
    if not marked:
        names = sorted(set(table["stimulus_id"]))
        order = sorted(names, key=lambda name: item_seed(seed, "held out", name, 0))
        marked = set(order[: max(2, round(HELD_OUT * len(order)))])
    stimuli = dataset.stimuli
    hashes = dict(zip(stimuli["stimulus_id"], stimuli["hash"], strict=True))
    known = {hashes.get(name, name) for name in marked}
    return frozenset(n for n in set(table["stimulus_id"]) if hashes.get(n, n) in known)


def _usable(dataset: CanonicalDataset, subjects: Sequence[str], sessions: Sequence[str]) -> Any:
    table = dataset.table
    usable = table["subject"].isin(list(subjects)) & (table["split"] != "test")
    if sessions:
        usable &= table["session"].isin(list(sessions))
    if not usable.any():
        raise InputError(
            f"{dataset.root} has no trials of {', '.join(subjects)}"
            + (f" in the sessions {', '.join(sessions)}" if sessions else ""),
            expected="training trials",
            remedy="choose other subjects or sessions",
        )
    return table[usable]


def gather(
    dataset: CanonicalDataset,
    subjects: Sequence[str],
    targets: dict[str, StimulusEncoder],
    preprocessor: Preprocessor,
    config: NetworkTraining,
) -> Materials:
    """Collect the training; the preprocessor learns the new subjects.

    Parameters
    ----------
    dataset : CanonicalDataset
    subjects : sequence of str
    targets : dict of str to StimulusEncoder
        By the part that they are the target of; each is computed once per dataset.
    preprocessor : Preprocessor
    config : NetworkTraining
    """
    sessions = find_sessions(dataset, subjects, config.sessions)
    shards = None if config.shards is None else ShardSource(config.shards)
    if shards is not None and config.repetitions != "single":
        raise UsageError(
            f"`repetitions` is {config.repetitions!r} for trials from shards",
            expected="single: repetitions lie in different shards",
            remedy="leave `repetitions` out, or train from the dataset itself",
        )
    held_out = held_out_pictures(dataset, subjects, sessions, config.seed)
    recordings: list[Recording] = []
    watched: list[Recording] = []
    for subject in subjects:
        for out, found in ((False, recordings), (True, watched)):
            one = _recording(dataset, subject, held_out, out, sessions, shards)
            if one is not None:
                found.append(one)
    for recording in recordings:
        refuse_shared_pictures(dataset, recording)
        preprocessor.fit(recording)
    learned, seen = names_of(recordings), names_of(watched)
    values, truth = (
        {part: cached_targets(dataset, target, names) for part, target in targets.items()}
        for names in (learned, seen)
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    budget = int(config.hold_gb * GIGABYTE)
    store = VoxelStore(recordings, preprocessor, device=device, budget=budget)
    places = {name: row for row, name in enumerate(learned)}
    items = make_items(recordings, places, config.repetitions)
    objective = BrainObjective(items, store, values, config.losses, config.repetitions)
    validation_items = make_items(watched, {n: row for row, n in enumerate(seen)}, "average")
    validation = BrainValidation(
        validation_items,
        VoxelStore(watched, preprocessor, device=device, budget=budget),
        truth,
        objective.variance,
        config.losses,
        config.monitor,
    )
    names = [seen[row] for row in validation_items.target.tolist()]
    return Materials(recordings, objective, validation, names)


def _recording(
    dataset: CanonicalDataset,
    subject: str,
    held_out: frozenset[str],
    out: bool,
    sessions: Sequence[str],
    shards: ShardSource | None,
) -> Recording | None:
    """Return a subject's trials of held-out pictures, or of the others; none where it has none."""
    trials = trials_of(dataset, subject)
    wanted = (trials["split"] != "test") & (trials["stimulus_id"].isin(list(held_out)) == out)
    if sessions:
        wanted &= trials["session"].isin(list(sessions))
    if not wanted.any():
        if out:
            return None  # others may have seen the validation pictures
        raise InputError(
            f"subject {subject} of {dataset.root} has no training trials left",
            expected="pictures that are not held out",
            remedy="mark fewer trials as validation, or choose more sessions",
        )
    return lazy_recording(dataset, subject, wanted.to_numpy(), shards)


def names_of(recordings: Sequence[Recording]) -> list[str]:
    """Return the stimuli of recordings, each once and in order: the rows of the targets."""
    return sorted({name for one in recordings for name in one.trials["stimulus_id"]})
