"""Which test stimuli also stand in the training set, exactly or nearly, and what else is shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.splits import CONCEPT_COLUMNS
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.audit_findings import Finding, overlap_line, verdict_of
from phosphene.pipelines.evaluation.near_copies import NearCopies, Nearest, thumbnails
from phosphene.progress import progress
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Overlap",
    "SharedStimulus",
    "audit_categories",
    "audit_overlap",
    "nearest_as_close",
    "overlap_of",
    "split_stimuli",
]

Array = np.ndarray[Any, Any]
EXAMPLES = 20  # written out in full


@dataclass(frozen=True)
class SharedStimulus:
    """A test stimulus and the training stimulus that it is.

    Attributes
    ----------
    test, training : str
        Identifiers.
    how : {"same identifier", "same pixels", "near copy"}
    correlation : float or None
        Of details after registration; 1 for equal pixels.
    coarse_correlation, hash_distance
        As in :class:`Nearest`.
    """

    test: str
    training: str
    how: Literal["same identifier", "same pixels", "near copy"]
    correlation: float | None = None
    coarse_correlation: float | None = None
    hash_distance: int | None = None


@dataclass(frozen=True)
class Overlap:
    """What test and training share.

    Attributes
    ----------
    n_test, n_training : int
        Different stimuli; training includes validation, by which things are chosen.
    shared : tuple of SharedStimulus
        At most one per test stimulus.
    threshold : float or None
        Correlation of details from which a picture counts as a copy; ``None`` without pictures.
    cosine : dict
        With a target: how near test stimuli are to training in its space, beside how near
        training stimuli are to one another.
    """

    n_test: int
    n_training: int
    shared: tuple[SharedStimulus, ...]
    threshold: float | None
    cosine: dict[str, float]

    @property
    def line(self) -> str:
        """The last line of an audit."""
        return overlap_line(len(self.shared), self.n_test)

    def finding(self) -> Finding:
        """Return the finding of the audit ``overlap``."""
        if not self.n_test or not self.n_training:
            return Finding(
                "overlap",
                "not checked",
                f"{self.n_test} test and {self.n_training} training stimuli are known by name",
            )
        kinds = {"same identifier": 0, "same pixels": 0, "near copy": 0}
        for one in self.shared:
            kinds[one.how] += 1
        counts = ", ".join(f"{count} by {kind}" for kind, count in kinds.items() if count)
        summary = f"{len(self.shared)} of {self.n_test} test stimuli are among {self.n_training} "
        summary += f"training stimuli ({counts})" if self.shared else "training stimuli"
        if self.threshold is None:
            summary += "; there are no pictures, so that only identifiers were compared"
        details: dict[str, Any] = {"n_test": self.n_test, "n_training": self.n_training, **kinds}
        details["threshold"] = self.threshold
        details["examples"] = [asdict(one) for one in self.shared[:EXAMPLES]]
        if self.cosine:
            details["cosine"] = self.cosine
        return Finding("overlap", verdict_of(bool(self.shared)), summary, details)


def split_stimuli(table: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the identifiers of test stimuli, and of those that trained or validated."""
    names = table["stimulus_id"].astype(str)
    test = table["split"] == "test"
    return (
        sorted(set(names[test]) - {UNKNOWN}),
        sorted(set(names[~test]) - {UNKNOWN}),
    )


def overlap_of(dataset: CanonicalDataset, *, embeddings: dict[str, Array] | None = None) -> Overlap:
    """Compare every test stimulus of a dataset with every training stimulus.

    Parameters
    ----------
    dataset : CanonicalDataset
        All subjects together: a picture that trained one and tests another is shared.
    embeddings : dict of stimulus_id to ndarray, optional
        Target embedding of every stimulus: adds its nearest training picture to the candidates
        for copies, and the cosines to the details.
    """
    test, training = split_stimuli(dataset.table)
    hashes = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
    by_content = {hashes[name]: name for name in reversed(training) if name in hashes}
    shared: dict[str, SharedStimulus] = {}
    trained = set(training)
    for name in test:
        if name in trained:
            shared[name] = SharedStimulus(name, name, "same identifier", 1.0, 1.0, 0)
        elif (twin := by_content.get(hashes.get(name, ""))) is not None:
            shared[name] = SharedStimulus(name, twin, "same pixels", 1.0, 1.0, 0)
    asked = [name for name in test if name in hashes and name not in shared]
    known = [name for name in training if name in hashes]
    threshold = None
    cosine: dict[str, float] = {}
    if known and any(name in hashes for name in test):
        nearest_rows: dict[str, int] = {}
        if embeddings is not None:
            pictured = [name for name in test if name in hashes]
            nearest_rows, cosine = _by_embedding(embeddings, pictured, known)
        threshold, copies = _near(dataset, asked, known, nearest_rows)
        shared.update(copies)
    ordered = tuple(shared[name] for name in test if name in shared)
    return Overlap(len(test), len(training), ordered, threshold, cosine)


def _near(
    dataset: CanonicalDataset, asked: list[str], known: list[str], extra: dict[str, int]
) -> tuple[float, dict[str, SharedStimulus]]:
    """Return the threshold, and the copies among the stimuli that are asked for."""
    pictures = dataset.pictures(known)
    finder = NearCopies(thumbnails(pictures, label="training stimuli", total=len(pictures)))
    found: dict[str, SharedStimulus] = {}
    pairs = zip(asked, dataset.pictures(asked), strict=True)
    for name, pixels in progress(pairs, label="comparing test stimuli", total=len(asked)):
        rows = [extra[name]] if name in extra else []
        best: Nearest = finder.nearest(thumbnails([pixels])[0], rows)
        if finder.is_copy(best):
            found[name] = SharedStimulus(
                name,
                known[best.row],
                "near copy",
                round(best.correlation, 4),
                round(best.coarse_correlation, 4),
                best.hash_distance,
            )
    return round(finder.threshold, 4), found


def _by_embedding(
    embeddings: dict[str, Array], test: Sequence[str], training: Sequence[str]
) -> tuple[dict[str, int], dict[str, float]]:
    """Return the nearest training row of each test stimulus, and how near that is."""
    missing = [name for name in (*test, *training) if name not in embeddings]
    if missing:
        raise InputError(
            f"{len(missing)} stimuli have no embedding, {missing[0]!r} for example",
            expected="one per stimulus of the dataset",
        )
    known = _unit(np.stack([embeddings[name] for name in training]))
    mine = _unit(np.stack([embeddings[name] for name in test]))
    similarity = mine @ known.T
    nearest = similarity.max(axis=1)
    rows = np.random.default_rng(0).permutation(len(known))[:500]
    among = known[rows] @ known.T
    among[np.arange(len(rows)), rows] = -np.inf
    usual = among.max(axis=1) if len(known) > 1 else np.array([np.nan])
    places = dict(zip(test, similarity.argmax(axis=1).tolist(), strict=True))
    return places, {
        "test_to_training_median": float(np.median(nearest)),
        "test_to_training_highest": float(nearest.max()),
        "training_to_training_median": float(np.median(usual)),
        "share_nearer_than_95_percent_of_training": float(
            (nearest > np.quantile(usual, 0.95)).mean()
        ),
    }


def _unit(rows: Array) -> Array:
    flat = np.asarray(rows, dtype=np.float64).reshape(len(rows), -1)
    norm = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(np.divide(flat, norm, out=np.zeros_like(flat), where=norm > 1e-12))


def audit_overlap(
    dataset: CanonicalDataset, *, embeddings: dict[str, Array] | None = None
) -> tuple[Overlap, Finding]:
    """Return what is shared, and the finding ``overlap``."""
    overlap = overlap_of(dataset, embeddings=embeddings)
    return overlap, overlap.finding()


def audit_categories(table: pd.DataFrame) -> Finding:
    """Return whether categories of the test also occur in training, where a column names them.

    Shared categories are no mistake, but a decoder may then score by telling categories apart:
    identification within categories, and scores of unseen ones, have to stand beside.
    """
    column = next((name for name in CONCEPT_COLUMNS if name in table), None)
    if column is None:
        return Finding(
            "categories", "not checked", f"no column {' or '.join(CONCEPT_COLUMNS)} in the trials"
        )
    labels = table[column].astype(str)
    test = table["split"] == "test"
    tested, trained = set(labels[test]), set(labels[~test])
    both = sorted(tested & trained)
    unseen = sorted(tested - trained)
    return Finding(
        "categories",
        "noted",
        f"{len(both)} of {len(tested)} test categories also occur in training, "
        f"{len(unseen)} are unseen",
        {"column": column, "shared": both[:EXAMPLES], "unseen": unseen[:EXAMPLES]},
    )


def nearest_as_close(truth: Array, reconstructed: Array, training: Array) -> tuple[float, Array]:
    """Return the share of test items to which a training item is as close as the reconstruction.

    Where it is high, showing training pictures would have done as well as reconstructing.

    Parameters
    ----------
    truth, reconstructed : ndarray of shape (n, ...)
        Pictures or features of what was shown and of what came out.
    training : ndarray of shape (m, ...)
        Of the training stimuli.

    Returns
    -------
    share : float
    nearest : ndarray of shape (n,)
        Pearson's r of each truth with its nearest training item.
    """
    from phosphene.pipelines.evaluation.pairing import correlation_matrix

    if truth.shape != reconstructed.shape or not len(training):
        raise InputError(
            f"truths of shape {truth.shape}, reconstructions of {reconstructed.shape} and "
            f"{len(training)} training items",
            expected="as many reconstructions as truths, and at least one training item",
        )
    nearest = correlation_matrix(training, truth).max(axis=1)
    both = np.stack([truth, reconstructed], axis=1)
    own = np.array([correlation_matrix(pair[1:], pair[:1])[0, 0] for pair in both])
    return float((nearest >= own - 1e-12).mean()), nearest
