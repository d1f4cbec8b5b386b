"""Tell faces from houses in four channels of consumer-grade EEG: a two-class problem.

    python examples/n170.py --data FOLDER --train 01 --test 02

FOLDER holds ``sub-01/eeg/..._epo.fif``: MNE epochs whose events are two kinds of picture. The
marker says the kind and not which picture was shown, so nothing is reconstructed here. Several
subjects may be named on either side. Where one is on both, it is cut into contiguous folds, and
each is decoded from the others (and from the other subjects of ``--train``): epochs that are
neighbours in time share drifts and electrode contact and must not be dealt into both sides; one
trial on either side of a fold is left out.

Two classifiers look at the first .6 s after the picture, and their log-odds are added:

- the mean of 20 ms bins (Blankertz et al. 2011), signals limited to five robust standard
  deviations, linear discriminant with analytic shrinkage;
- covariances of a trial with the mean responses of training (Barachant and Congedo 2014), in the
  tangent space at their Riemannian mean, the same discriminant.

Everything that is fitted (limits, mean responses, tangent space, shrinkage, weights) is fitted on
training trials, and nothing is chosen by a score. The rival is logistic regression on raw samples.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pyriemann.estimation import ERPCovariances
from pyriemann.tangentspace import TangentSpace
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from phosphene.data.readers import read_recording
from phosphene.data.splits import BlockFolds
from phosphene.errors import InputError, PhospheneError

Array = np.ndarray[Any, Any]
BIN_SECONDS = 0.02
RESPONSE = (0.0, 0.6)  # seconds after the picture
PENALTY = 1e-3
LIMIT = 5.0  # robust standard deviations; blinks on a forehead strip reach thirty
GROUP = 5  # trials of one class whose scores are averaged
MICRO = 1e6


@dataclass(frozen=True)
class Epochs:
    """Trials of one subject.

    Attributes
    ----------
    data : ndarray of shape (n_trials, n_chans, n_times)
        Microvolts.
    label : ndarray of shape (n_trials,)
        0 or 1, in the alphabetical order of the two events.
    channels : tuple of str
    sfreq, tmin : float
    """

    data: Array
    label: Array
    channels: tuple[str, ...]
    sfreq: float
    tmin: float


def load(folder: Path, subject: str) -> Epochs:
    """Read the epochs of a subject, all files in order."""
    files = sorted(folder.glob(f"sub-{subject}/**/*_epo.fif"))
    if not files:
        raise InputError(
            f"{folder} has no epochs of subject {subject}",
            expected=f"{folder}/sub-{subject}/eeg/sub-{subject}_..._epo.fif",
            remedy="check --data and the label",
        )
    parts = [read_recording(file, subject=subject, modality="eeg") for file in files]
    kinds = sorted({kind for part in parts for kind in part.trials["event"]})
    if len(kinds) != 2:
        raise InputError(f"the events of subject {subject} are {', '.join(kinds)}", "two kinds")
    info = parts[0].info
    if info is None:
        raise InputError(f"{files[0]} does not name its channels", "named channels")
    label = [kinds.index(kind) for part in parts for kind in part.trials["event"]]
    data = np.concatenate([part.data for part in parts]).astype(np.float64) * MICRO
    return Epochs(data, np.array(label), info.ch_names, info.sfreq, info.tmin)


class Window(TransformerMixin, BaseEstimator):
    """Cut out some samples and take the mean of each channel away."""

    def __init__(self, samples: tuple[int, int]) -> None:
        self.samples = samples

    def fit(self, X: Array, y: Array | None = None) -> Window:
        """Nothing is learned."""
        self.fitted_ = True
        return self

    def transform(self, X: Array) -> Array:
        """Return (n_trials, n_chans, stop - start)."""
        part = X[:, :, slice(*self.samples)]
        centred: Array = part - part.mean(axis=2, keepdims=True)
        return centred


class Limit(TransformerMixin, BaseEstimator):
    """Limit every channel to so many robust standard deviations of its training trials."""

    def __init__(self, width: float = LIMIT) -> None:
        self.width = width

    def fit(self, X: Array, y: Array | None = None) -> Limit:
        """Learn the limits from (n_trials, n_chans, n_times)."""
        self.limit_ = self.width * 1.4826 * np.median(np.abs(X), axis=(0, 2), keepdims=True)
        return self

    def transform(self, X: Array) -> Array:
        """Return the limited signals."""
        limited: Array = np.clip(X, -self.limit_, self.limit_)
        return limited


class Bins(TransformerMixin, BaseEstimator):
    """Means of windows of so many samples, channels one after the other."""

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def fit(self, X: Array, y: Array | None = None) -> Bins:
        """Nothing is learned."""
        self.fitted_ = True
        return self

    def transform(self, X: Array) -> Array:
        """Return (n_trials, n_chans * n_bins); an incomplete last window is left out."""
        n, n_chans, n_times = X.shape
        n_bins = n_times // self.samples
        whole = X[:, :, : n_bins * self.samples].reshape(n, n_chans, n_bins, self.samples)
        means: Array = whole.mean(axis=3).reshape(n, -1)
        return means


class Flat(TransformerMixin, BaseEstimator):
    """Raw samples of all channels in a row."""

    def fit(self, X: Array, y: Array | None = None) -> Flat:
        """Nothing is learned."""
        self.fitted_ = True
        return self

    def transform(self, X: Array) -> Array:
        """Return (n_trials, n_chans * n_times)."""
        return X.reshape(len(X), -1)


def discriminant() -> Pipeline:
    """Return standardisation and a linear discriminant with Ledoit-Wolf shrinkage."""
    return make_pipeline(
        StandardScaler(), LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    )


def decoders(epochs: Epochs) -> list[Pipeline]:
    """Return the classifiers whose log-odds are added."""
    start = max(0, round((RESPONSE[0] - epochs.tmin) * epochs.sfreq))
    stop = round((RESPONSE[1] - epochs.tmin) * epochs.sfreq)
    window, width = Window((start, stop)), max(1, round(BIN_SECONDS * epochs.sfreq))
    return [
        make_pipeline(Limit(), window, Bins(width), discriminant()),
        make_pipeline(window, ERPCovariances(estimator="oas"), TangentSpace(), discriminant()),
    ]


def rival() -> Pipeline:
    """Return logistic regression on raw samples, artefacts limited as ours are."""
    model = LogisticRegression(C=PENALTY, max_iter=500)
    return make_pipeline(Limit(), Flat(), StandardScaler(), model)


def score(models: list[Pipeline], train: tuple[Array, Array], test: Array) -> Array:
    """Fit every model on the training trials and return the sum of log-odds of the test trials."""
    total: Array = np.sum([model.fit(*train).decision_function(test) for model in models], axis=0)
    return total


def average_of_groups(scores: Array, label: Array, size: int) -> tuple[Array, Array]:
    """Average scores of so many successive trials of one class; a remainder is left out."""
    means, labels = [], []
    for kind in (0, 1):
        own = scores[label == kind]
        groups = own[: len(own) // size * size].reshape(-1, size).mean(axis=1)
        means.append(groups)
        labels.append(np.full(len(groups), kind))
    return np.concatenate(means), np.concatenate(labels)


def pooled(blocks: list[tuple[Array, Array]], size: int = 1) -> float:
    """Return the AUC over the trials of all folds, or over groups of trials within folds."""
    parts = [average_of_groups(scores, label, size) for scores, label in blocks]
    label = np.concatenate([part[1] for part in parts])
    if len(np.unique(label)) < 2:
        return float("nan")
    return float(roc_auc_score(label, np.concatenate([part[0] for part in parts])))


def decode(
    subjects: dict[str, Epochs], train: list[str], test: str, n_folds: int
) -> tuple[list[tuple[Array, Array]], list[tuple[Array, Array]]]:
    """Return scores and labels of a subject's folds (one where it is new), ours and the rival's."""
    target = subjects[test]
    everything = np.arange(len(target.label))
    others = [subjects[name] for name in train if name != test]
    splits = [(everything[:0], everything)]
    if test in train:
        splits = list(BlockFolds(n_folds, gap=1).split(everything))
    ours, theirs = [], []
    for inside, held_out in splits:
        data = np.concatenate([target.data[inside], *(one.data for one in others)])
        label = np.concatenate([target.label[inside], *(one.label for one in others)])
        shown, truth = target.data[held_out], target.label[held_out]
        ours.append((score(decoders(target), (data, label), shown), truth))
        theirs.append((score([rival()], (data, label), shown), truth))
    return ours, theirs


def check_alike(subjects: dict[str, Epochs]) -> None:
    """Refuse subjects with other channels, another rate or another window."""
    first, *rest = subjects
    for name in rest:
        one, other = subjects[first], subjects[name]
        if (one.channels, one.sfreq) != (other.channels, other.sfreq) or (
            one.data.shape[1:] != other.data.shape[1:]
        ):
            raise InputError(
                f"subject {name} has {', '.join(other.channels)} at {other.sfreq:g} Hz and "
                f"{other.data.shape[2]} samples",
                expected=f"{', '.join(one.channels)} at {one.sfreq:g} Hz and "
                f"{one.data.shape[2]} samples, as subject {first}",
                remedy="bring all recordings to one set of channels, rate and window",
            )


def main() -> None:
    """Decode and print a line per test subject, then the means."""
    parser = argparse.ArgumentParser(description="Faces or houses from EEG, two classes.")
    parser.add_argument("--data", type=Path, required=True, help="folder with sub-01, sub-02, ...")
    parser.add_argument("--train", nargs="+", required=True, help="labels of subjects")
    parser.add_argument("--test", nargs="+", required=True, help="labels of subjects")
    parser.add_argument("--folds", type=int, default=10, help="contiguous folds within a subject")
    options = parser.parse_args()
    train, test = (
        [label.removeprefix("sub-") for given in named for label in given.split(",") if label]
        for named in (options.train, options.test)
    )
    try:
        subjects = {name: load(options.data, name) for name in dict.fromkeys(train + test)}
        check_alike(subjects)
        rows = []
        for name in dict.fromkeys(test):
            ours, theirs = decode(subjects, list(dict.fromkeys(train)), name, options.folds)
            within = "contiguous folds" if name in train else "a new subject"
            rows.append((pooled(ours), pooled(theirs)))
            print(
                f"sub-{name} ({within}, {len(subjects[name].label)} trials, faces or houses): "
                f"auc {rows[-1][0]:.3f}, means of {GROUP} trials {pooled(ours, GROUP):.3f}; "
                f"raw-sample logistic {rows[-1][1]:.3f}, {pooled(theirs, GROUP):.3f}"
            )
    except PhospheneError as error:
        parser.exit(error.exit_code, f"{error}\n")
    means = np.mean(rows, axis=0)
    print(f"auc {means[0]:.3f} baseline {means[1]:.3f}")


if __name__ == "__main__":
    main()
