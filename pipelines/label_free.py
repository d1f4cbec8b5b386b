"""Calibration of a new subject's embeddings without labels, each step a function.

Whitening of the subject's embeddings (Wang et al. 2026), cross-domain similarity local scaling
(Conneau et al. 2018) and recovery of an orthogonal map between brain and pictures by soft
assignment and Procrustes. What a step looks at decides what its result may be called: a step
fitted on a calibration block is inductive; one that looks at the test trials is transductive,
and :class:`Calibrated` carries that word with the scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from phosphene.errors import InputError, UsageError

__all__ = [
    "Calibrated",
    "SubjectWhitening",
    "adaptive_neighbours",
    "calibrate",
    "csls",
    "procrustes",
    "recover_map",
    "sinkhorn",
]

STEPS = ("csls", "procrustes", "whitening")


@dataclass(frozen=True, eq=False)
class SubjectWhitening:
    """Takes a subject's mean away and multiplies by the inverse root of its shrunk covariance.

    Parameters
    ----------
    mean : Tensor of shape (d,)
    matrix : Tensor of shape (d, d)
    n_trials : int
        It was fitted on.
    """

    mean: Tensor
    matrix: Tensor
    n_trials: int

    @classmethod
    def fit(cls, embeddings: Tensor, shrinkage: float = 0.5) -> SubjectWhitening:
        """Learn from unlabelled embeddings (n, d).

        Parameters
        ----------
        embeddings : Tensor of shape (n, d)
        shrinkage : float
            Above 0 and up to 1: towards a multiple of the identity; with fewer trials than
            dimensions it has to be large.
        """
        if not 0 < shrinkage <= 1:
            raise UsageError(f"`shrinkage` is {shrinkage}", "above 0 and up to 1")
        if embeddings.ndim != 2 or len(embeddings) < 2:
            raise InputError(
                f"embeddings of shape {tuple(embeddings.shape)}", "(n, d), two trials or more"
            )
        z = embeddings.double()
        mean = z.mean(dim=0)
        centred = z - mean
        covariance = centred.T @ centred / len(z)
        size = covariance.diagonal().mean()
        identity = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
        shrunk = (1 - shrinkage) * covariance + shrinkage * size * identity
        values, vectors = torch.linalg.eigh(shrunk)
        matrix = (vectors / values.clamp_min(1e-12 * values[-1]).sqrt()) @ vectors.T
        return cls(mean, matrix, len(z))

    def apply(self, embeddings: Tensor) -> Tensor:
        """Return whitened embeddings of unit length (n, d)."""
        white = (embeddings.double() - self.mean) @ self.matrix
        return torch.nn.functional.normalize(white, dim=1).to(embeddings)


def csls(scores: Tensor, neighbours: int | Tensor = 12, columns: Tensor | None = None) -> Tensor:
    """Return scores less the mean similarity of either side to its nearest neighbours.

    2 s - r(query) - r(picture): pictures that are near to everything lose their lead. The
    pictures' term is a mean over queries, so it looks at all queries at once.

    Parameters
    ----------
    scores : Tensor of shape (n, m)
        Cosines of queries and pictures.
    neighbours : int or Tensor of shape (n,)
        How many of them count for each query; for pictures the mean of these numbers.
    columns : Tensor of shape (k, m), optional
        Cosines of other queries (a calibration block) with the same pictures; the pictures' term
        then comes from them and a query's score does not depend on the other queries.
    """
    n, m = scores.shape
    counts = torch.as_tensor(neighbours, device=scores.device).expand(n).clamp(1, m)
    ordered = scores.sort(dim=1, descending=True).values.cumsum(dim=1)
    own = ordered.gather(1, (counts - 1)[:, None]) / counts[:, None]
    others = scores if columns is None else columns
    per_picture = int(counts.double().mean().round().clamp(1, len(others)))
    theirs = others.topk(per_picture, dim=0).values.mean(dim=0)
    scaled: Tensor = 2 * scores - own - theirs
    return scaled


def adaptive_neighbours(scores: Tensor, smallest: int = 1, largest: int = 25) -> Tensor:
    """Return for each query how many neighbours count: few where one picture stands out.

    The number of pictures that a softmax over the standardised scores spreads over (the
    exponential of its entropy), between two limits.

    Parameters
    ----------
    scores : Tensor of shape (n, m)
    smallest, largest : int
    """
    spread = scores.std(dim=1, keepdim=True).clamp_min(1e-12)
    weights = (3 * (scores - scores.mean(dim=1, keepdim=True)) / spread).softmax(dim=1)
    entropy = -(weights * weights.clamp_min(1e-30).log()).sum(dim=1)
    return entropy.exp().round().long().clamp(smallest, min(largest, scores.shape[1]))


def procrustes(source: Tensor, target: Tensor) -> Tensor:
    """Return the orthogonal map W (d, d) that brings ``source @ W`` nearest to ``target``.

    Parameters
    ----------
    source, target : Tensor of shape (n, d)
    """
    u, _, vh = torch.linalg.svd(source.T.double() @ target.double())
    rotation: Tensor = (u @ vh).to(source)
    return rotation


def sinkhorn(scores: Tensor, temperature: float = 0.1, iterations: int = 20) -> Tensor:
    """Return a soft one-to-one assignment (n, m): rows sum to 1, columns to n / m.

    Parameters
    ----------
    scores : Tensor of shape (n, m)
    temperature : float
    iterations : int
    """
    n, m = scores.shape
    logs = scores.double() / temperature
    for _ in range(iterations):
        logs = logs - logs.logsumexp(dim=0, keepdim=True) + torch.log(torch.tensor(n / m))
        logs = logs - logs.logsumexp(dim=1, keepdim=True)
    return logs.exp().to(scores)


def recover_map(
    queries: Tensor,
    pictures: Tensor,
    *,
    rounds: int = 10,
    temperature: float = 0.1,
    neighbours: int = 1,
) -> Tensor:
    """Return an orthogonal map of queries (d, d), found without knowing which picture is whose.

    Soft assignment of queries to pictures by their scaled scores, the orthogonal map that fits
    it, and again. It looks at all queries: transductive where these are the test's.

    Parameters
    ----------
    queries : Tensor of shape (n, d)
        Of unit length.
    pictures : Tensor of shape (m, d)
        Of unit length.
    rounds : int
    temperature : float
        Of the assignment.
    neighbours : int
        Of the scaling.
    """
    rotation = torch.eye(queries.shape[1], dtype=queries.dtype, device=queries.device)
    for _ in range(rounds):
        scores = csls((queries @ rotation) @ pictures.T, neighbours)
        rotation = procrustes(queries, sinkhorn(scores, temperature) @ pictures)
    return rotation


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Scores of test trials and pictures, and what was looked at to get them.

    Attributes
    ----------
    scores : Tensor of shape (n, m)
    steps : tuple of str
    setting : str
        ``none``, ``inductive (n trials)`` or ``transductive``.
    """

    scores: Tensor
    steps: tuple[str, ...]
    setting: str


def calibrate(
    test: Tensor,
    pictures: Tensor,
    *,
    steps: tuple[str, ...] = (),
    block: Tensor | None = None,
    shrinkage: float = 0.5,
    neighbours: int | str = 12,
) -> Calibrated:
    """Return cosines of test embeddings and pictures after some steps of calibration.

    Parameters
    ----------
    test : Tensor of shape (n, d)
    pictures : Tensor of shape (m, d)
    steps : tuple of {"whitening", "procrustes", "csls"}
        Done in this order, whatever the order given.
    block : Tensor of shape (k, d), optional
        Embeddings of unlabelled trials, disjoint from the test's trials and pictures. Everything
        is then fitted on it and frozen. Without it, steps are fitted on the test itself.
    shrinkage : float
        Of the whitening.
    neighbours : int or "adaptive"
        Of the scaling.

    Raises
    ------
    UsageError
        If a step is unknown, or the orthogonal map is to be recovered from a block, whose
        pictures are not among those that are searched.
    """
    unknown = sorted(set(steps) - set(STEPS))
    if unknown:
        raise UsageError(f"the step {unknown[0]!r}", expected=f"among {', '.join(STEPS)}")
    if "procrustes" in steps and block is not None:
        raise UsageError(
            "recovery of a map from a calibration block",
            expected="the test's own trials: a block shows other pictures than those searched",
            remedy="leave procrustes out, or calibrate on the test, which is transductive",
        )
    z = torch.nn.functional.normalize(test, dim=1)
    v = torch.nn.functional.normalize(pictures, dim=1)
    others = None if block is None else torch.nn.functional.normalize(block, dim=1)
    if "whitening" in steps:
        fitted = SubjectWhitening.fit(z if others is None else others, shrinkage)
        z = fitted.apply(z)
        others = None if others is None else fitted.apply(others)
    if "procrustes" in steps:
        z = z @ recover_map(z, v)
    scores = z @ v.T
    if "csls" in steps:
        count = adaptive_neighbours(scores) if neighbours == "adaptive" else int(neighbours)
        scores = csls(scores, count, None if others is None else others @ v.T)
    setting = "none"
    if steps:
        setting = "transductive" if block is None else f"inductive ({len(block)} trials)"
    return Calibrated(scores, tuple(step for step in sorted(STEPS) if step in steps), setting)
