"""Simulated subjects that bring one session of pictures of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from phosphene.data.prepare import write_subject
from phosphene.data.scenes import render, sample_scenes
from phosphene.data.virtual import VirtualSubject
from phosphene.trials import complete_trials


def simulate_new(folder: str, subjects: Sequence[str], n_test: int) -> None:
    """Simulate one session of 706 new scenes per subject, and test scenes shown three times."""
    test = sample_scenes(0, n_test, split="test")
    shown_test = render(test, 64).images
    for number, label in enumerate(subjects):
        first, someone = 20_000 + 1000 * number, VirtualSubject(label)
        train = sample_scenes(first, first + 706)
        shown = np.concatenate([render(train, 64).images, shown_test])
        names = [f"n{first + row:06d}" for row in range(706)]
        tests = [f"t{row:06d}" for row in range(n_test)]
        parts = []
        for split, scenes, pictures, ids, sessions in (
            ("train", train, shown[:706], names, 1), ("test", test, shown[706:], tests, 3),
        ):  # fmt: skip
            simulation = someone.simulate(
                someone.respond(scenes, pictures), repetitions=sessions,
                seed=1 + len(parts), sessions=sessions,
            )  # fmt: skip
            recording = simulation.recording(ids, [split] * len(ids))
            trials = recording.trials.copy()
            trials["session"] = [f"{len(parts) + int(one):02d}" for one in trials["session"]]
            parts.append(dataclasses.replace(recording, trials=trials))
        table = pd.concat([part.trials for part in parts], ignore_index=True)
        data = np.concatenate([part.data for part in parts])
        whole = dataclasses.replace(parts[0], data=data, trials=complete_trials(table, len(table)))
        write_subject(folder, whole, ([*names, *tests], shown), dtype="float16")
