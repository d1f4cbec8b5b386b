"""Tell eight categories apart in blocks of half a slice of fMRI (Haxby et al. 2001).

    python examples/haxby.py --data FOLDER

FOLDER is a dataset in BIDS form: ``sub-01/func/*_bold.nii.gz`` with ``_events.tsv`` whose
``trial_type`` names the category of a block, and a brain mask among its derivatives. Each block
becomes one pattern: the mean of its volumes, shifted by the delay of the response, after linear
and quadratic trends were taken out of the run. A run is left out in turn; voxels are chosen by an
F test and the discriminant is fitted in the other runs alone. The interval is binomial (Clopper
and Pearson) over blocks, chance is one in eight.

Blocks of one category show many pictures each: nothing follows about decoding single pictures.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.feature_selection import SelectKBest, f_classif
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import LeaveOneGroupOut
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from phosphene.data.bold.events import read_run_events
from phosphene.data.bold.masks import run_space
from phosphene.data.bold.runs import find_runs
from phosphene.data.readers.nifti import open_volumes
from phosphene.errors import PhospheneError

Array = np.ndarray[Any, Any]
DELAY = 5.0  # seconds from a block's begin to that of its response
VOXELS = 150


def block_means(folder: Path, subject: str, task: str) -> tuple[Array, Array, Array]:
    """Return a pattern per block (n, n_voxels), its category and its run."""
    runs = find_runs(folder, subject, task)
    space, _ = run_space(folder, subject, runs, None)
    patterns, labels, groups = [], [], []
    for run in runs:
        series = detrended(open_volumes(run.bold).read(space.indices))
        events = read_run_events(run, len(series)).trials
        times = np.arange(len(series)) * run.tr
        for onset, duration, kind in events[["onset", "duration", "kind"]].itertuples(index=False):
            inside = (times >= onset + DELAY) & (times < onset + duration + DELAY)
            patterns.append(series[inside].mean(axis=0))
            labels.append(kind)
            groups.append(f"{run.session} {run.run}")
    return np.stack(patterns), np.array(labels), np.array(groups)


def detrended(series: Array) -> Array:
    """Take linear and quadratic trends out of a run, and z-score each voxel of it."""
    time = np.linspace(-1, 1, len(series))
    trends = np.stack([np.ones_like(time), time, time**2], axis=1)
    left = series - trends @ np.linalg.lstsq(trends, series, rcond=None)[0]
    spread = left.std(axis=0)
    return np.divide(left, spread, out=np.zeros_like(left), where=spread > 0)


def decoders() -> Iterator[tuple[str, Any]]:
    """Yield what is compared; whatever is chosen is chosen inside a fold."""
    shrunk = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    yield "ridge, all voxels", make_pipeline(StandardScaler(), RidgeClassifier(alpha=1e3))
    yield "discriminant, all voxels", make_pipeline(StandardScaler(), shrunk)
    yield (
        f"discriminant, {VOXELS} voxels chosen inside the fold",
        make_pipeline(StandardScaler(), SelectKBest(f_classif, k=VOXELS), clone(shrunk)),
    )


def main() -> None:
    """Decode, and print accuracies with intervals beside chance."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="dataset in BIDS form")
    parser.add_argument("--subject", default="01")
    parser.add_argument("--task", default="objectviewing")
    options = parser.parse_args()
    try:
        X, y, runs = block_means(options.data, options.subject, options.task)
    except PhospheneError as error:
        parser.exit(error.exit_code, f"{error}\n")
    n_kinds = len(set(y))
    print(f"{len(y)} block means of {X.shape[1]} voxels, {n_kinds} categories, "
          f"{len(set(runs))} runs, each left out in turn; chance {1 / n_kinds:.3f}")  # fmt: skip
    line = ""
    for name, decoder in decoders():
        if "chosen" in name and X.shape[1] <= VOXELS:
            continue
        right = 0
        for train, test in LeaveOneGroupOut().split(X, y, runs):
            predicted = clone(decoder).fit(X[train], y[train]).predict(X[test])
            right += int((predicted == y[test]).sum())
        low, high = binomtest(right, len(y)).proportion_ci(0.95)
        p = binomtest(right, len(y), 1 / n_kinds, alternative="greater").pvalue
        line = f"accuracy {right / len(y):.2f} [{low:.2f}, {high:.2f}]"
        print(f"{name}: {line}, p {p:.1g}")
    print("Blocks of a category say nothing about decoding single pictures.")
    print(line)


if __name__ == "__main__":
    main()
