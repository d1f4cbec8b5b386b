"""Which trials of NSD train and which test: sessions, the shared pictures, validation pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.nsd.facts import (
    HELD_BACK,
    N_SHARED,
    PROTOCOLS,
    REPETITIONS,
    SESSIONS,
    TEST_PICTURES,
)
from phosphene.data.nsd.subject_part import SubjectPart
from phosphene.data.virtual.draws import entropy_of
from phosphene.errors import InputError, UsageError, check_option

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chosen", "assign_splits", "check_test_set", "choose_sessions"]

Array = np.ndarray[Any, Any]
COMPLETE = ("1", "2", "5", "7")  # subjects who saw every picture three times


@dataclass(frozen=True, eq=False)
class Chosen:
    """What becomes of every row of a part.

    Attributes
    ----------
    split : ndarray of str, (n_rows,)
        ``train``, ``validation``, ``test``, or empty where the row belongs to none.
    kept : ndarray of bool, (n_rows,)
        Whether it is written; rows of other sessions may still fit the standardisation.
    notes : tuple of str
        What a user has to know.
    """

    split: Array
    kept: Array
    notes: tuple[str, ...]


def choose_sessions(
    wanted: list[int] | None, subject: str, present: list[int], form: str
) -> tuple[list[int], list[str]]:
    """Return the sessions to use of those a form has, and what has to be said about the others.

    Raises
    ------
    UsageError
        If none of those asked for is there.
    InputError
        If a session that was released is missing.
    """
    if wanted is None:
        return present, []
    released = SESSIONS.get(subject.lstrip("0"), max(present))
    notes = []
    beyond = [session for session in wanted if session > released]
    if beyond:
        notes.append(f"subject {subject} has {released} sessions, there is no {beyond[0]}")
    absent = [s for s in wanted if s <= released and s not in present]
    if absent and form == "mindeye1":  # made before the last sessions were released
        notes.append(f"the tars hold sessions up to {max(present)}")
    elif absent:
        raise InputError(
            f"the files of subject {subject} hold no trials of session {absent[0]} "
            f"({len(absent)} of {len(wanted)} sessions are missing)",
            expected=f"all sessions asked for; there are {present[0]} to {present[-1]}",
            remedy="complete the download, or correct --sessions",
        )
    chosen = [session for session in wanted if session in present]
    if not chosen:
        raise UsageError(
            f"no session asked for is there for subject {subject}",
            expected=f"among {present[0]} to {present[-1]}",
            remedy="correct --sessions",
        )
    return chosen, notes


def assign_splits(
    part: SubjectPart,
    subject: str,
    *,
    protocol: str,
    form: str,
    sessions: list[int] | None,
    test_sessions: list[int] | None,
    validation: int,
    seed: int,
) -> Chosen:
    """Return the split of every row.

    A shared picture never trains. With the protocol 982 it tests where it was shown before the
    last three sessions, and only in these trials.

    Raises
    ------
    InputError
        If a picture was shown more often than the experiment allows, or nothing is left to test
        or train on.
    """
    check_option("protocol", protocol, PROTOCOLS)
    trials = part.trials
    _check_repetitions(part, subject)
    shared = trials["shared"].to_numpy(dtype=bool)
    split = np.where(shared, "test", "train").astype(object)
    notes: list[str] = []
    inside = np.ones(len(trials), dtype=bool)
    by_session = not part.averaged and bool((trials["session"] > 0).all())
    if by_session:
        present = sorted(set(trials["session"].tolist()))
        training, said = choose_sessions(sessions, subject, present, form)
        testing = training
        if test_sessions is not None:
            testing, more = choose_sessions(test_sessions, subject, present, form)
            said += more
        notes += said
        number = trials["session"].to_numpy()
        if protocol == "982":
            last = SESSIONS.get(subject.lstrip("0"), int(number.max())) - HELD_BACK
            split[shared & (number > last)] = ""
        inside = np.isin(number, training) & (split == "train")
        inside |= np.isin(number, testing) & (split == "test")
    elif sessions is not None or test_sessions is not None:
        notes.append(
            f"the form {form} does not say which trials are of which session: --sessions cannot "
            "choose among them"
        )
    held_out = _validation(trials, split, inside, validation, seed)
    split[held_out] = "validation"
    for name in ("train", "test"):
        if not (inside & (split == name)).any():
            raise InputError(
                f"subject {subject} has no {name} trial in the sessions asked for",
                expected="training trials, and trials of shared pictures to test on",
                remedy="ask for more with --sessions or --test-sessions",
            )
    left_out = int((split == "").sum())
    if left_out:
        notes.append(
            f"{left_out} trials of shared pictures after session {last} are in neither split"
        )
    return Chosen(split, inside, tuple(notes))


def _check_repetitions(part: SubjectPart, subject: str) -> None:
    known = part.trials[part.trials["nsd_id"] >= 0]
    counts = known.groupby("nsd_id").size()
    most, allowed = int(counts.max()) if len(counts) else 0, 1 if part.averaged else REPETITIONS
    if most > allowed:
        raise InputError(
            f"subject {subject} has picture {counts.idxmax()} in {most} "
            + ("rows of means" if part.averaged else "trials"),
            expected=f"at most {allowed}",
            remedy="copy the files again from their source",
        )


def _validation(trials: pd.DataFrame, split: Array, inside: Array, count: int, seed: int) -> Array:
    """Return which rows show the training pictures drawn for validation, the same in every form."""
    if count == 0:
        return np.zeros(len(trials), dtype=bool)
    numbers = trials["nsd_id"].to_numpy()
    known = sorted(set(numbers[inside & (split == "train")].tolist()))
    if not 0 < count < len(known) or known[0] < 0:
        raise UsageError(
            f"{count} validation pictures of {len(known)} training pictures",
            expected="fewer than there are, and a form that names its pictures",
        )
    drawn = sorted(known, key=lambda name: entropy_of("nsd validation", seed, str(name)))[:count]
    return np.asarray(np.isin(numbers, drawn) & (split == "train"))


def check_test_set(part: SubjectPart, chosen: Chosen, subject: str, protocol: str) -> None:
    """Compare the test pictures of a complete subject with the number that the protocol has.

    Made where all sessions of the protocol are in use and the files are as large as NSD's.

    Raises
    ------
    InputError
        If there are fewer or more pictures, or trials of a picture.
    """
    trials = part.trials
    test = trials[chosen.kept & (chosen.split == "test")]
    n_pictures = len(test) if part.averaged else test["nsd_id"].nunique()
    number = subject.lstrip("0")
    official = trials["shared"].sum() >= TEST_PICTURES["982"] and len(trials) > 8 * N_SHARED
    last = SESSIONS.get(number, 0) - (HELD_BACK if protocol == "982" else 0)
    if number not in COMPLETE or not official:
        return
    if not part.averaged and set(range(1, last + 1)) - set(test["session"].tolist()):
        return
    wanted = TEST_PICTURES[protocol]
    if n_pictures != wanted:
        other = next((name for name, n in TEST_PICTURES.items() if n == n_pictures), None)
        raise InputError(
            f"subject {subject} has {n_pictures} test pictures",
            expected=f"{wanted}, those of the protocol {protocol}",
            remedy=f"use --protocol {other}" if other else "copy the files again",
        )
    if protocol == "1000" and not part.averaged and len(test) != wanted * REPETITIONS:
        raise InputError(
            f"subject {subject} has {len(test)} trials of {wanted} test pictures",
            expected=f"{REPETITIONS} of each",
            remedy="copy the files again",
        )
