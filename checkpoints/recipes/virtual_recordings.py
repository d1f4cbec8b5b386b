"""Training recordings of virtual fMRI subjects as one canonical dataset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures
from phosphene.data.prepare import write_subject
from phosphene.data.scenes import sample_scenes
from phosphene.data.virtual import SUBJECT_HASH, Simulation, VirtualSubject
from phosphene.storage import save_array
from phosphene.trials import complete_trials
from phosphene.types import Recording

__all__ = ["TRAINING_SEED", "VALIDATION_SEED", "virtual_recordings"]

TRAINING_SEED, VALIDATION_SEED = 1, 2
"""Of order and noise; recordings of any other seed are new sessions."""


def virtual_recordings(
    folder: Path,
    subjects: list[str],
    pictures: dict[str, Pictures],
    *,
    repetitions: int,
    preset: str = "nsd-7t",
) -> CanonicalDataset:
    """Simulate what is missing of a dataset of training and validation recordings.

    Parameters
    ----------
    folder : Path
        Of the dataset; subjects it holds already are kept.
    subjects : list of str
        Labels of virtual subjects.
    pictures : dict
        ``train`` and ``validation`` pictures (n, 64, 64, 3): the first scenes of these splits.
        Validation pictures are shown in sessions of their own.
    repetitions : int
        Showings of every picture.
    preset : str
        Of the scanner.
    """
    stimuli = folder.with_name(f"{folder.name}-stimuli.npy")
    if not stimuli.is_file():
        save_array(stimuli, np.concatenate([pictures["train"], pictures["validation"]]))
    for label in subjects:
        done = (folder / "dataset.json").is_file()
        if done and label in CanonicalDataset.open(folder).file.subjects:
            continue
        someone = VirtualSubject(label, preset=preset)
        write_subject(
            folder,
            _recording(someone, pictures, repetitions),
            stimuli,
            name=f"virtual-fmri {preset}",
            licence="Apache-2.0 (simulated, no human data)",
            source=f"virtual subject {label}, subjects {SUBJECT_HASH[:16]}",
            dtype="float16",
        )
    return CanonicalDataset.open(folder)


def _recording(
    someone: VirtualSubject, pictures: dict[str, Pictures], repetitions: int
) -> Recording:
    """Return training trials, then validation trials; stimulus ids number the pictures."""
    parts: list[Recording] = []
    for split, seed in (("train", TRAINING_SEED), ("validation", VALIDATION_SEED)):
        shown = pictures[split]
        signal = someone.respond(sample_scenes(0, len(shown), split=split), shown)
        first = len(pictures["train"]) if split == "validation" else 0
        simulation = someone.simulate(signal, repetitions=repetitions, seed=seed)
        parts.append(_named(simulation, first=first, split=split, after=parts))
    table = pd.concat([part.trials for part in parts], ignore_index=True)
    data = np.concatenate([part.data for part in parts])
    return replace(parts[0], data=data, trials=complete_trials(table, len(table)))


def _named(simulation: Simulation, *, first: int, split: str, after: list[Recording]) -> Recording:
    """Return a simulation's recording whose sessions and trials follow the earlier ones."""
    count = len(simulation.signal)
    names = [f"{first + index:06d}" for index in range(count)]
    recording = simulation.recording(names, [split] * count)
    sessions = sum(part.trials["session"].nunique() for part in after)
    trials = recording.trials.copy()
    trials["session"] = [f"{sessions + int(session):02d}" for session in trials["session"]]
    trials["trial"] = np.arange(len(trials)) + sum(len(part) for part in after)
    return replace(recording, trials=trials)
