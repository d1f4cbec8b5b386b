"""An experiment: which picture when, sessions and runs, and the betas that come out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.virtual.areas import VERSION
from phosphene.data.virtual.confounds import arousal_levels, check_confounds, drift_ramp
from phosphene.data.virtual.draws import entropy_of
from phosphene.data.virtual.haemodynamics import (
    PICTURE_SECONDS,
    TRIALS_PER_RUN,
    RunModel,
    run_model,
)
from phosphene.errors import InputError, UsageError
from phosphene.progress import progress
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.data.virtual.subject import VirtualSubject

__all__ = ["Simulation", "check_sessions", "name_trials", "plan_trials", "simulate"]

Array = np.ndarray[Any, Any]

COLUMNS = ("session", "run", "trial", "repetition", "onset", "duration")

TRIALS_PER_SESSION = 720
SESSION_GAIN, SESSION_OFFSET, SESSION_DRIFT = 0.1, 0.3, 0.2


@dataclass(frozen=True, eq=False)
class Simulation:
    """Betas of an experiment and what they are made of.

    Attributes
    ----------
    betas : (n_trials, V) float32
        Percent signal change.
    trials : DataFrame
        session, run, trial, stimulus (row of ``signal``), repetition, onset, duration, and the
        truth: gain of the session, arousal.
    signal : (n, V)
        True signal of each picture.
    subject : VirtualSubject
    """

    betas: Array
    trials: pd.DataFrame
    signal: Array
    subject: VirtualSubject

    def recording(
        self, stimulus_ids: Sequence[str] | None = None, splits: Sequence[str] | None = None
    ) -> Recording:
        """Return the betas as a recording.

        Parameters
        ----------
        stimulus_ids, splits : sequence of n str, optional
            Name and split of every picture; ``scene-000000`` and ``train`` by default.
        """
        trials = name_trials(self.trials, len(self.signal), stimulus_ids, splits)
        return Recording(self.betas, "fmri", self.subject.label, trials, self.subject.space)

    def averaged(self) -> Array:
        """Return mean betas per picture (n, V), sessions standardised by their own moments.

        Raises
        ------
        InputError
            If a session has a single trial, which has no spread.
        """
        betas = np.empty_like(self.betas)
        for session, rows in self.trials.groupby("session").indices.items():
            if len(rows) < 2:
                raise InputError(
                    f"session {session} with a single trial",
                    expected="two or more, to standardise them",
                    remedy="simulate fewer sessions",
                )
            part = self.betas[rows]
            betas[rows] = (part - part.mean(axis=0)) / part.std(axis=0)
        mean = np.zeros((len(self.signal), betas.shape[1]), dtype=np.float64)
        stimulus = self.trials["stimulus"].to_numpy()
        np.add.at(mean, stimulus, betas)
        return (mean / np.bincount(stimulus, minlength=len(mean))[:, None]).astype(np.float32)


def name_trials(
    trials: pd.DataFrame,
    n_pictures: int,
    stimulus_ids: Sequence[str] | None,
    splits: Sequence[str] | None,
) -> pd.DataFrame:
    """Return the trials table of a recording, for trials whose pictures are numbered.

    Parameters
    ----------
    trials : DataFrame
        With the number of each trial's picture in the column ``stimulus``.
    n_pictures : int
    stimulus_ids, splits : sequence of n_pictures str, optional
        Name and split of every picture; ``scene-000000`` and ``train`` by default.
    """
    from phosphene.trials import complete_trials

    rows = trials["stimulus"].to_numpy()
    names = stimulus_ids or [f"scene-{index:06d}" for index in range(n_pictures)]
    table = trials[[name for name in COLUMNS if name in trials]].copy()
    table["stimulus_id"] = np.array(names, dtype=object)[rows]
    if splits is not None:
        table["split"] = np.array(splits, dtype=object)[rows]
    return complete_trials(table, len(table))


def check_sessions(
    n_stimuli: int, repetitions: int, sessions: int | None, *, most_trials: int, spread: int
) -> int:
    """Return the number of sessions of an experiment.

    Parameters
    ----------
    n_stimuli, repetitions : int
    sessions : int or None
        By default as many as ``most_trials`` in each allow, and up to ``spread`` so that
        repetitions lie apart.
    """
    if n_stimuli < 1 or repetitions < 1:
        raise UsageError(
            f"{n_stimuli} pictures and {repetitions} repetitions", expected="at least one of each"
        )
    n_trials = n_stimuli * repetitions
    if sessions is None:
        return max(-(-n_trials // most_trials), min(repetitions, spread))
    if not 1 <= sessions <= n_trials:
        raise UsageError(
            f"{sessions} sessions for {n_trials} trials", expected=f"from 1 to {n_trials} sessions"
        )
    return sessions


def plan_trials(
    n_stimuli: int,
    repetitions: int,
    *,
    seed: int,
    sessions: int | None = None,
    blocks: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Return the order of trials.

    Every repetition shows all pictures in a new order; sessions take equal parts of the
    sequence, so that repetitions lie in different sessions.

    Parameters
    ----------
    n_stimuli, repetitions : int
    seed : int
    sessions : int, optional
        By default as many as trials need, and up to three to spread repetitions over.
    blocks : sequence of n_stimuli str, optional
        Categories that are shown one after the other within a session.

    Returns
    -------
    DataFrame
        session, run, trial, stimulus, repetition; trials are numbered through.
    """
    import pandas as pd

    n_trials = n_stimuli * repetitions
    sessions = check_sessions(
        n_stimuli, repetitions, sessions, most_trials=TRIALS_PER_SESSION, spread=3
    )
    generator = np.random.default_rng(entropy_of("virtual-fmri order", VERSION, seed))
    stimulus = np.concatenate([generator.permutation(n_stimuli) for _ in range(repetitions)])
    repetition = np.repeat(np.arange(1, repetitions + 1), n_stimuli)
    tables = []
    for number, rows in enumerate(np.array_split(np.arange(n_trials), sessions), start=1):
        if blocks is not None:
            kinds = np.array(blocks)[stimulus[rows]]
            rows = rows[np.argsort(kinds, kind="stable")]
        runs = np.array_split(np.arange(len(rows)), -(-len(rows) // TRIALS_PER_RUN))
        run = np.concatenate([np.full(len(part), k) for k, part in enumerate(runs, start=1)])
        tables.append(
            pd.DataFrame(
                {
                    "session": f"{number:02d}",
                    "run": [f"{k:02d}" for k in run],
                    "stimulus": stimulus[rows],
                    "repetition": repetition[rows],
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    # Blocks reorder within a session, where a later showing could come first.
    table["repetition"] = table.groupby("stimulus").cumcount() + 1
    table.insert(2, "trial", np.arange(n_trials))
    return table


def simulate(
    subject: VirtualSubject,
    signal: Array,
    *,
    repetitions: int,
    seed: int = 0,
    sessions: int | None = None,
    estimator: str = "lsa",
    confounds: Sequence[str] = (),
    categories: Sequence[str] | None = None,
    out: Array | None = None,
) -> Simulation:
    """Return single-trial betas, session by session, each with its own stream of noise.

    Parameters
    ----------
    subject : VirtualSubject
    signal : (n, V)
        From :meth:`VirtualSubject.respond`.
    repetitions, seed, sessions, estimator, confounds, categories, out
        As in :meth:`VirtualSubject.simulate`.

    Raises
    ------
    InputError
        If ``signal`` or ``out`` have another shape.
    UsageError
        If a name is unknown or a confound lacks its categories.
    """
    if signal.ndim != 2 or signal.shape[1] != subject.n_voxels or len(signal) == 0:
        raise InputError(
            f"signal of shape {signal.shape}",
            expected=f"(n, {subject.n_voxels}), one row per picture",
        )
    check_confounds(confounds, categories, len(signal))
    blocks = categories if "block-drift" in confounds else None
    trials = plan_trials(len(signal), repetitions, seed=seed, sessions=sessions, blocks=blocks)
    if out is not None and out.shape != (len(trials), subject.n_voxels):
        raise InputError(
            f"`out` of shape {out.shape}", expected=f"({len(trials)}, {subject.n_voxels})"
        )
    betas = np.empty((len(trials), subject.n_voxels), np.float32) if out is None else out
    timing = np.zeros(len(trials))
    gains = np.ones(len(trials))
    arousal = np.zeros(len(trials))
    if "arousal" in confounds and categories is not None:
        arousal = arousal_levels(categories)[trials["stimulus"].to_numpy()]
    for session, rows in progress(
        list(trials.groupby("session").indices.items()), label="sessions"
    ):
        key = (
            "virtual-fmri noise",
            VERSION,
            subject.label,
            subject.preset.name,
            seed,
            str(session),
        )
        generator = np.random.default_rng(entropy_of(*key))
        part = trials.iloc[rows]
        betas[rows], timing[rows], gains[rows] = _session(
            subject, signal, part, estimator, generator, arousal[rows], "block-drift" in confounds
        )
    trials["onset"], trials["duration"] = timing, PICTURE_SECONDS
    trials["gain"], trials["arousal"] = gains, arousal
    return Simulation(betas, trials, signal, subject)


def _session(
    subject: VirtualSubject,
    signal: Array,
    trials: pd.DataFrame,
    estimator: str,
    generator: np.random.Generator,
    arousal: Array,
    drifting: bool,
) -> tuple[Array, Array, float]:
    """Return betas (n, V), onsets (n,) within the runs, and the gain of one session."""
    n = len(trials)
    noise = subject.noise
    spread = np.hypot(noise.sd, subject.amplitude)
    gain = 1 + SESSION_GAIN * float(generator.standard_normal())
    offset = SESSION_OFFSET * spread * generator.standard_normal(subject.n_voxels)
    slope = SESSION_DRIFT * spread * generator.standard_normal(subject.n_voxels)
    repeated = trials["repetition"].to_numpy() > 1
    response = subject.mean_response + signal[trials["stimulus"].to_numpy()]
    response = (response * np.where(repeated[:, None], 1 - subject.suppression, 1)).astype("f4")
    betas, onsets = np.empty_like(response), np.empty(n)
    for rows in trials.reset_index(drop=True).groupby("run").indices.values():
        model = run_model(noise.tr, len(rows), estimator)
        onsets[rows] = model.onsets
        amplitude = response[rows] + noise.sample_state(len(rows), generator)
        if estimator == "lss":
            amplitude = _mixed(amplitude, noise.hrf, model)
        betas[rows] = amplitude + noise.sample_errors(model, generator)
    time = np.linspace(-0.5, 0.5, n)[:, None] if n > 1 else np.zeros((1, 1))
    if drifting:
        slope = slope + drift_ramp(spread)
    betas += arousal[:, None] * spread
    return (gain * betas + offset + slope * time).astype(np.float32), onsets, gain


def _mixed(amplitude: Array, hrf: Array, model: RunModel) -> Array:
    """Return what an estimator with crosstalk makes of the true amplitudes of a run."""
    mixed = np.empty_like(amplitude)
    for number in np.unique(hrf):
        voxels = np.flatnonzero(hrf == number)
        mixed[:, voxels] = model.mixing(number).astype(np.float32) @ amplitude[:, voxels]
    return mixed
