"""Confounds that fMRIPrep measured, through nilearn."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.bold.runs import BoldRun
from phosphene.data.readers.damage import reading
from phosphene.errors import InputError, UsageError
from phosphene.names import require

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_confounds"]

Array = np.ndarray[Any, Any]
# What is taken by itself, and the column that says whether fMRIPrep wrote it.
AUTOMATIC = {"motion": "trans_x", "wm_csf": "white_matter", "high_pass": "cosine00"}
KNOWN = (
    "compcor", "global_signal", "high_pass", "ica_aroma", "motion", "non_steady_state", "scrub",
    "wm_csf",
)  # fmt: skip


def read_confounds(
    run: BoldRun, strategy: str = "auto"
) -> tuple[pd.DataFrame | None, Array | None, bool]:
    """Return confounds of a run, the volumes to use, and whether drifts are among them.

    Parameters
    ----------
    run : BoldRun
    strategy : str
        ``auto`` (motion, white matter and fluid, drifts, as far as they are there), ``none``, or
        nilearn's names separated by commas.

    Raises
    ------
    UsageError
        If a name is unknown.
    InputError
        If a confound that is asked for is not there.
    """
    if strategy == "none" or (strategy == "auto" and run.confounds is None):
        return None, None, False
    if run.confounds is None:
        raise InputError(
            f"there are no confounds for {run.bold}",
            expected="a file of the same run ending in _desc-confounds_timeseries.tsv",
            remedy="use --confounds none, or name the folder that fMRIPrep wrote",
        )
    names = _names(strategy, run.confounds)
    if not names:
        return None, None, False
    load = require("nilearn.interfaces.fmriprep", "fmri").load_confounds
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found, kept = load(str(run.bold), strategy=names, motion="basic", wm_csf="basic")
    except Exception as error:  # missing columns and files raise several of nilearn's own kinds
        raise InputError(
            f"confounds {', '.join(names)} of {run.bold} could not be read "
            f"({' '.join(str(error).split())[:200]})",
            expected="the columns that fMRIPrep writes",
            remedy="name those that are there with --confounds, or use --confounds none",
        ) from error
    return found, kept, "high_pass" in names


def _names(strategy: str, path: Path) -> list[str]:
    import pandas as pd

    if strategy == "auto":
        with reading(path, "confounds of fMRIPrep (.tsv)"):
            columns = set(pd.read_csv(path, sep="\t", nrows=0).columns)
        return [name for name, column in AUTOMATIC.items() if column in columns]
    names = [name for name in strategy.replace(" ", ",").split(",") if name]
    unknown = sorted(set(names) - set(KNOWN))
    if unknown:
        raise UsageError(
            f"`--confounds` names {', '.join(unknown)}",
            expected=f"auto, none, or some of {', '.join(KNOWN)}",
        )
    return names
