"""The experiment of NSD: ``nsd_expdesign.mat``, the stimulus table, and responses of a subject."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.nsd.facts import (
    N_SHARED,
    N_TRIALS,
    REPETITIONS,
    TRIALS_PER_SESSION,
)
from phosphene.data.readers.damage import existing_file, reading
from phosphene.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Design", "find_design", "read_design", "read_responses", "read_stimulus_table"]

Array = np.ndarray[Any, Any]
NAME = "nsd_expdesign.mat"
N_PICTURES = 10000  # of each subject
KIND = "the experiment design of NSD (a MATLAB file)"
KEYS = ("masterordering", "subjectim", "sharedix")
TABLE = "nsd_stim_info_merged.csv"
LONG_RUN, SHORT_RUN = 63, 62  # trials of odd and of even runs, twelve in a session


@dataclass(frozen=True, eq=False)
class Design:
    """Which picture was shown when.

    Attributes
    ----------
    ordering : ndarray of shape (n_trials,)
        For every trial slot the place among a subject's pictures, counted from 0.
    pictures : ndarray of shape (n_subjects, n_pictures)
        Rows of the stimulus brick, counted from 0.
    shared : frozenset of int
        Rows that every subject was to see.
    path : Path
    """

    ordering: Array
    pictures: Array
    shared: frozenset[int]
    path: Path

    def shown(self, subject: str) -> Array:
        """Return the row of the stimulus brick of every trial slot, (n_trials,)."""
        row = int(subject) - 1
        if row >= len(self.pictures):
            raise InputError(
                f"{self.path} has {len(self.pictures)} subjects and no subject {subject}",
                expected="a row of subjectim per subject",
                remedy="correct --subjects",
            )
        return np.asarray(self.pictures[row][self.ordering])

    def trials_per_session(self, counts: dict[int, int]) -> int:
        """Return the length of a session, given how many trials the files of sessions hold.

        Raises
        ------
        InputError
            If a session is shorter or longer than the others, or the design ends before it.
        """
        sizes = sorted(set(counts.values()))
        expected = TRIALS_PER_SESSION if len(self.ordering) == N_TRIALS else sizes[0]
        wrong = sorted(session for session, count in counts.items() if count != expected)
        if wrong:
            raise InputError(
                f"session {wrong[0]} holds {counts[wrong[0]]} trials",
                expected=f"{expected}, as every session",
                remedy="copy the file of that session again",
            )
        if max(counts) * expected > len(self.ordering):
            raise InputError(
                f"{self.path} has {len(self.ordering)} trials",
                expected=f"at least {max(counts) * expected}, those of {max(counts)} sessions",
                remedy="use the design and the betas of one release",
            )
        return expected


def find_design(source: Path) -> Path | None:
    """Return the design file somewhere under a folder, in its official place first."""
    official = source / "nsddata" / "experiments" / "nsd" / NAME
    if official.is_file():
        return official
    return next(iter(sorted(source.rglob(NAME))), None)


def read_design(path: Path) -> Design:
    """Read and check the design.

    Raises
    ------
    InputError
        If the file is damaged or its tables contradict one another.
    """
    content = _load(existing_file(path, KIND))
    absent = [key for key in KEYS if key not in content]
    if absent:
        raise InputError(
            f"{path} has no {', '.join(absent)}",
            expected=f"the variables {', '.join(KEYS)}",
            remedy="copy nsd_expdesign.mat again from nsddata/experiments/nsd",
        )
    ordering, pictures, shared = (np.asarray(content[key], dtype=np.int64) for key in KEYS)
    ordering, pictures, shared = ordering.ravel(), np.atleast_2d(pictures), shared.ravel()
    if ordering.min(initial=1) < 1 or pictures.min(initial=1) < 1 or shared.min(initial=1) < 1:
        raise InputError(f"{path} has numbers below 1", "numbers that count from 1, as in MATLAB")
    if not len(ordering) or ordering.max() > pictures.shape[1]:
        raise InputError(
            f"{path} orders pictures up to {ordering.max(initial=0)}",
            expected=f"1 to {pictures.shape[1]}, the columns of subjectim",
            remedy="copy the file again",
        )
    most = int(np.bincount(ordering).max())
    if most > REPETITIONS:
        raise InputError(
            f"{path} shows a picture {most} times", f"at most {REPETITIONS} times", "copy it again"
        )
    known = frozenset((shared - 1).tolist())
    if len(ordering) == N_TRIALS and pictures.shape[1] == N_PICTURES:
        first = [set(row.tolist()) for row in pictures[:, :N_SHARED] - 1]
        if len(known) != N_SHARED or any(row != known for row in first):
            raise InputError(
                f"{path} has {len(known)} shared pictures in sharedix, and other ones among the "
                f"first {N_SHARED} of a subject",
                expected=f"the same {N_SHARED} pictures first for every subject",
                remedy="copy the file again",
            )
    return Design(ordering - 1, pictures - 1, known, path)


def _load(path: Path) -> dict[str, Any]:
    """Read a MATLAB file of either kind: version 5, or 7.3 which is HDF5 with axes reversed."""
    with path.open("rb") as handle:
        is_hdf5 = b"MATLAB 7.3" in handle.read(128)
    with reading(path, KIND):
        if is_hdf5:
            from phosphene.names import require

            with require("h5py", "nsd").File(path, "r") as file:
                return {key: file[key][()].T for key in KEYS if key in file}
        from scipy.io import loadmat

        return dict(loadmat(path, variable_names=list(KEYS)))


def read_stimulus_table(design: Design) -> pd.DataFrame | None:
    """Return the table of stimuli beside the design, where there is one, indexed by nsdId.

    Raises
    ------
    InputError
        If it names other shared pictures than the design.
    """
    import pandas as pd

    path = design.path.with_name(TABLE)
    if not path.is_file():
        return None
    with reading(path, "the stimulus table of NSD (.csv)"):
        table = pd.read_csv(path, index_col="nsdId")
        marked = table["shared1000"].astype(str).str.lower().isin(("true", "1"))
        flagged = frozenset(int(name) for name in table.index[marked])
    if flagged != design.shared:
        raise InputError(
            f"{path} marks {len(flagged)} pictures as shared1000, "
            f"{len(flagged ^ design.shared)} of them otherwise than the design",
            expected=f"the {len(design.shared)} of sharedix, counted from 0",
            remedy="use the table and the design of one release",
        )
    return table


def read_responses(source: Path, subject: str, shown: Array, per_session: int) -> Array:
    """Return the run of every trial slot as text, from the responses or the lengths of runs.

    Parameters
    ----------
    source : Path
        Root of NSD.
    subject : str
    shown : ndarray of shape (n_trials,)
        Rows of the stimulus brick, from 0.
    per_session : int

    Raises
    ------
    InputError
        If the responses name other pictures than the design.
    """
    runs = np.full(len(shown), "n/a", dtype=object)
    if per_session == TRIALS_PER_SESSION:
        lengths = [LONG_RUN if run % 2 == 0 else SHORT_RUN for run in range(12)]
        inside = np.repeat([f"{run + 1:02d}" for run in range(12)], lengths).astype(object)
        runs = np.resize(inside, len(shown))
    path = source / "nsddata" / "ppdata" / f"subj{int(subject):02d}" / "behav" / "responses.tsv"
    if not path.is_file():
        return runs
    import pandas as pd

    with reading(path, "the responses of a subject (.tsv)"):
        table = pd.read_csv(path, sep="\t")
        counted = table.groupby("SESSION").cumcount().to_numpy()
        slot = (table["SESSION"].to_numpy() - 1) * per_session + counted
        known = slot < len(shown)
        named, told = table["73KID"].to_numpy()[known] - 1, table["RUN"].to_numpy()[known]
        slot = slot[known]
    wrong = int((named != shown[slot]).sum())
    if wrong:
        raise InputError(
            f"{path} names another picture than the design in {wrong} of {len(slot)} trials",
            expected="73KID counted from 1, a row per trial in the order of the experiment",
            remedy="use the responses and the design of one release",
        )
    runs[slot] = [f"{int(run):02d}" for run in told]
    return runs
