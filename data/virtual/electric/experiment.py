"""A stream of pictures, the continuous signal under it, and the epochs cut from that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.virtual.draws import entropy_of
from phosphene.data.virtual.electric.conductor import HEAD_RADIUS
from phosphene.data.virtual.electric.presets import ELECTRIC_VERSION, STATE_SD
from phosphene.data.virtual.experiment import check_sessions, name_trials
from phosphene.errors import InputError
from phosphene.progress import progress
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.data.virtual.electric.head import VirtualHead

__all__ = ["ElectricSimulation", "plan_stream", "simulate_electric"]

Array = np.ndarray[Any, Any]

TRIALS_PER_RUN = 200
MOST_TRIALS_PER_SESSION = 5000
SESSION_GAIN = 0.1
LEAD_SECONDS, TAIL_SECONDS = 1.0, 1.5


@dataclass(frozen=True, eq=False)
class ElectricSimulation:
    """Epochs of an experiment and what they are made of.

    Attributes
    ----------
    epochs : (n_trials, C, n_times) float32
        Volts or tesla.
    trials : DataFrame
        session, run, trial, stimulus (row of ``signal``), repetition, onset, and the truth: gain
        of the session, shift of cap or head.
    signal : (n, C, n_times)
        True signal of each picture with sensors in place, without the mean response.
    head : VirtualHead
    """

    epochs: Array
    trials: pd.DataFrame
    signal: Array
    head: VirtualHead

    def recording(
        self, stimulus_ids: Sequence[str] | None = None, splits: Sequence[str] | None = None
    ) -> Recording:
        """Return the epochs as a recording.

        Parameters
        ----------
        stimulus_ids, splits : sequence of n str, optional
            Name and split of every picture; ``scene-000000`` and ``train`` by default.
        """
        trials = name_trials(self.trials, len(self.signal), stimulus_ids, splits)
        modality = self.head.preset.modality
        return Recording(self.epochs, modality, self.head.label, trials, info=self.head.info)


def plan_stream(
    n_stimuli: int, repetitions: int, *, seed: int, sessions: int | None = None
) -> pd.DataFrame:
    """Return the order of trials: every repetition shows all pictures in a new order.

    Returns
    -------
    DataFrame
        session, run, trial, stimulus, repetition; trials are numbered through.
    """
    import pandas as pd

    n_trials = n_stimuli * repetitions
    sessions = check_sessions(
        n_stimuli, repetitions, sessions, most_trials=MOST_TRIALS_PER_SESSION, spread=4
    )
    generator = np.random.default_rng(entropy_of("virtual-electric order", ELECTRIC_VERSION, seed))
    stimulus = np.concatenate([generator.permutation(n_stimuli) for _ in range(repetitions)])
    tables = []
    for number, rows in enumerate(np.array_split(np.arange(n_trials), sessions), start=1):
        runs = np.arange(len(rows)) // TRIALS_PER_RUN + 1
        tables.append(
            pd.DataFrame(
                {
                    "session": f"{number:02d}",
                    "run": [f"{run:02d}" for run in runs],
                    "trial": rows,
                    "stimulus": stimulus[rows],
                    "repetition": rows // n_stimuli + 1,
                }
            )
        )
    return pd.concat(tables, ignore_index=True)


def simulate_electric(
    head: VirtualHead,
    drives: Array,
    *,
    repetitions: int,
    seed: int = 0,
    sessions: int | None = None,
) -> ElectricSimulation:
    """Return epochs cut from continuous runs, so that neighbouring pictures overlap as they do.

    Parameters
    ----------
    head : VirtualHead
    drives : (n, 2, V)
        From :meth:`VirtualHead.drives`.
    repetitions, seed, sessions
        As in :meth:`VirtualHead.simulate`.

    Raises
    ------
    InputError
        If ``drives`` has another shape.
    UsageError
        If there are fewer trials than sessions.
    """
    if drives.ndim != 3 or drives.shape[1:] != (2, head.cortex.n_voxels) or not len(drives):
        raise InputError(
            f"drives of shape {drives.shape}", expected=f"(n, 2, {head.cortex.n_voxels})"
        )
    trials = plan_stream(len(drives), repetitions, seed=seed, sessions=sessions)
    preset = head.preset
    epochs = np.empty((len(trials), preset.n_sensors, preset.n_times), dtype=np.float32)
    onsets, gains, shifts = np.empty(len(trials)), np.empty(len(trials)), np.empty(len(trials))
    for session, rows in progress(
        list(trials.groupby("session").indices.items()), label="sessions"
    ):
        key = ("virtual-electric noise", ELECTRIC_VERSION, head.label, preset.name, seed)
        generator = np.random.default_rng(entropy_of(*key, str(session)))
        part = trials.iloc[rows]
        epochs[rows], onsets[rows], gains[rows], shifts[rows] = _session(
            head, drives, part, generator
        )
    trials["onset"], trials["gain"], trials["shift_mm"] = onsets, gains, shifts
    return ElectricSimulation(epochs, trials, head.respond(drives), head)


def _session(
    head: VirtualHead, drives: Array, trials: pd.DataFrame, generator: np.random.Generator
) -> tuple[Array, Array, float, float]:
    """Return epochs, onsets within the runs, gain and shift (mm) of one session."""
    preset = head.preset
    gain = 1 + SESSION_GAIN * float(generator.standard_normal())
    shift, size = _shift(head, generator)
    mean, changes = head.coefficients(drives, shift)
    _, states = head.coefficients(head.reference_drives, shift)
    background = head.background(shift)
    epochs = np.empty((len(trials), preset.n_sensors, preset.n_times), dtype=np.float32)
    onsets = np.empty(len(trials))
    for rows in trials.reset_index(drop=True).groupby("run").indices.values():
        stimulus = trials["stimulus"].to_numpy()[rows]
        weights = generator.standard_normal((len(rows), len(states)), dtype=np.float32)
        state = (STATE_SD / np.sqrt(len(states)) * weights) @ states.reshape(len(states), -1)
        response = mean + changes[stimulus] + state.reshape(len(rows), *mean.shape)
        starts = _starts(len(rows), head, generator)
        epochs[rows] = _run(head, gain * response, starts, background, generator)
        onsets[rows] = starts / preset.sfreq
    return epochs, onsets, gain, 1000 * size


def _shift(head: VirtualHead, generator: np.random.Generator) -> tuple[Array, float]:
    """Return how cap or head has moved, and its size in metres."""
    direction = generator.standard_normal(3)
    direction /= np.linalg.norm(direction)
    size = head.preset.shift / 1000 * abs(float(generator.standard_normal()))
    # A cap slides over the scalp, a head moves in the helmet.
    is_meg = head.preset.modality == "meg"
    return direction * (size if is_meg else size / HEAD_RADIUS), size


def _starts(count: int, head: VirtualHead, generator: np.random.Generator) -> Array:
    """Return the samples at which pictures come on."""
    preset = head.preset
    between = preset.soa + preset.soa_jitter * (2 * generator.random(count) - 1)
    seconds = LEAD_SECONDS + np.concatenate([[0.0], np.cumsum(between[:-1])])
    starts: Array = np.rint(seconds * preset.sfreq).astype(np.int64)
    return starts


def _run(
    head: VirtualHead,
    coefficients: Array,
    starts: Array,
    background: Any,
    generator: np.random.Generator,
) -> Array:
    """Return the epochs of one run (n, C, n_times)."""
    preset = head.preset
    n_samples = int(starts[-1]) + round(TAIL_SECONDS * preset.sfreq)
    signal = background.sample(n_samples, generator)
    courses = head.courses.astype(np.float32)
    length = courses.shape[1]
    for start, one in zip(starts, coefficients, strict=True):
        signal[:, start : start + length] += (one.T.astype(np.float32) @ courses)[
            :, : n_samples - start
        ]
    first = starts + round(preset.tmin * preset.sfreq)
    epochs: Array = np.stack([signal[:, at : at + preset.n_times] for at in first])
    return epochs
