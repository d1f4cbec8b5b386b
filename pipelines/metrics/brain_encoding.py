"""A judge that looks at pictures with the brain: an encoding model from pictures to voxels.

Naselaris et al. 2011, *Encoding and decoding in fMRI*. A reconstruction is as good as the response
it would evoke is like the one that was measured. The judge must not know the answer: it learns
from training pictures alone, sees with another network than the one that was decoded into, and
judges by voxels that the decoder never had, or else it would find the decoder's own noise again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from phosphene.data.pictures import Pictures, picture_hash
from phosphene.encoders.brain.ridge_solver import RidgeSolution, solve_ridge
from phosphene.encoders.brain.ridge_spectrum import decompose
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.metrics.features import NETWORK, picture_features
from phosphene.schemas import TargetSpec

__all__ = ["EncodingModel", "fit_encoding_model", "split_voxels"]

Array = np.ndarray[Any, Any]
ALPHAS = tuple(10.0 ** (step / 2) for step in range(-4, 9))  # of the mean eigenvalue
LEAST = 0.1  # correlation on left-out training pictures below which a voxel has no say
LEAST_PICTURES = 10


@dataclass(frozen=True, eq=False)
class EncodingModel:
    """Ridge from the features of a picture to the response of each judging voxel.

    Attributes
    ----------
    encoder : StimulusEncoder
        The network it sees with.
    voxels : ndarray of shape (n_judging,)
        Columns of the recording that it predicts well enough to judge by.
    left_out : ndarray of shape (n_judging,)
        Correlation of each with its prediction for training pictures that were left out.
    pictures : frozenset of str
        Hashes of the pictures it learned from.
    feature_moments, response_moments : (ndarray, ndarray)
        Mean and standard deviation over training.
    solution : RidgeSolution
    """

    encoder: StimulusEncoder
    voxels: Array
    left_out: Array
    pictures: frozenset[str]
    feature_moments: tuple[Array, Array]
    response_moments: tuple[Array, Array]
    solution: RidgeSolution

    def predict(self, pictures: Pictures) -> Array:
        """Return predicted responses (n, n_judging), in standard deviations over training.

        Parameters
        ----------
        pictures : ndarray of shape (n, H, W, C)
            uint8.
        """
        mean, scale = self.feature_moments
        features = (picture_features(pictures, network=self.encoder) - mean) / scale
        return np.asarray(self.solution.predict(torch.from_numpy(features)).numpy())

    def standardise(self, responses: Array) -> Array:
        """Return measured responses (..., n_voxels) as (..., n_judging) on the same scale."""
        mean, scale = self.response_moments
        return np.asarray(
            (np.asarray(responses, dtype=np.float64)[..., self.voxels] - mean) / scale
        )

    def check_unseen(self, shown: Pictures) -> None:
        """Raise :class:`InputError` if any shown picture (n, H, W, C) was learned from."""
        seen = [row for row, one in enumerate(shown) if picture_hash(one) in self.pictures]
        if seen:
            raise InputError(
                f"{len(seen)} of {len(shown)} test pictures, such as number {seen[0]}, were among "
                "those the encoding model learned from",
                expected="test pictures that it never saw",
                remedy="fit it without them",
            )


def fit_encoding_model(
    pictures: Pictures,
    responses: Array,
    *,
    voxels: Array | None = None,
    network: str | StimulusEncoder = NETWORK,
    decoder_voxels: Array | None = None,
    decoder_target: TargetSpec | None = None,
    alphas: Sequence[float] = ALPHAS,
    least: float = LEAST,
) -> EncodingModel:
    """Fit an encoding model to training pictures.

    Parameters
    ----------
    pictures : ndarray of shape (n, H, W, C)
        uint8, one per row of responses; a picture may come several times.
    responses : ndarray of shape (n, n_voxels)
        Of all voxels, of training trials or their means.
    voxels : ndarray of shape (n_voxels,) bool or of positions, optional
        Which may judge: one half of :func:`split_voxels`. All by default.
    network : str or StimulusEncoder
        What it sees with.
    decoder_voxels : ndarray, optional
        What the decoder read: none of them may judge.
    decoder_target : TargetSpec, optional
        What the decoder predicts: the judge must see with another network.
    alphas : sequence of float
        Penalties, as multiples of the mean eigenvalue of the features; each voxel has its own,
        chosen by leaving training pictures out.
    least : float
        Voxels that are predicted less well than this, on left-out training pictures, do not judge.

    Raises
    ------
    UsageError
        If judge and decoder share voxels or network.
    InputError
        If shapes differ, there are too few pictures, or no voxel can be predicted.
    """
    encoder = STIMULUS_ENCODERS.get(network)() if isinstance(network, str) else network
    rows = np.asarray(responses)
    if rows.ndim != 2 or len(rows) != len(pictures):
        raise InputError(
            f"responses of shape {rows.shape} to {len(pictures)} pictures", "(n_pictures, n_voxels)"
        )
    columns = _positions(voxels, rows.shape[1])
    if decoder_voxels is not None:
        _check_apart(columns, _positions(decoder_voxels, rows.shape[1]))
    # By name and not by hash, which also tells apart one network standardised in two ways.
    if decoder_target is not None and encoder.spec.name == decoder_target.name:
        raise UsageError(
            f"the decoder predicts {decoder_target.name}, and the encoding model sees with it",
            expected="a network of another kind for judging",
        )
    hashes = [picture_hash(one) for one in pictures]
    if len(set(hashes)) < LEAST_PICTURES:
        raise InputError(f"{len(set(hashes))} training pictures", f"{LEAST_PICTURES} or more")
    X, feature_moments = _standardised(picture_features(pictures, network=encoder))
    Y, (mean, scale) = _standardised(np.asarray(rows[:, columns], dtype=np.float64))
    solution, fit = _solved(X, Y, alphas, hashes)
    kept = np.flatnonzero(fit >= least)
    if len(kept) < 2:
        raise InputError(
            f"{len(kept)} of {len(fit)} voxels are predicted with a correlation of {least} or more",
            expected="at least two that can judge",
            remedy="take more training pictures, another network or other voxels",
        )
    return EncodingModel(
        encoder=encoder,
        voxels=columns[kept],
        left_out=fit[kept],
        pictures=frozenset(hashes),
        feature_moments=feature_moments,
        response_moments=(mean[kept], scale[kept]),
        solution=_only(solution, kept),
    )


def split_voxels(
    n_voxels: int,
    *,
    areas: Sequence[Any] | Array | None = None,
    positions: Array | None = None,
    seed: int = 0,
) -> tuple[Array, Array]:
    """Divide voxels into two halves: one to decode from, one to judge by.

    Parameters
    ----------
    n_voxels : int
    areas : sequence of length n_voxels, optional
        Each area is divided on its own, so that both halves hold as much of it.
    positions : ndarray of shape (n_voxels, 3), optional
        Areas are cut at the median of the first coordinate, which leaves neighbours, whose noise is
        alike, on one side. Without, voxels are drawn.
    seed : int
        Of the draw.

    Returns
    -------
    (ndarray, ndarray) of shape (n_voxels,)
        Boolean, one the opposite of the other.
    """
    labels = np.zeros(n_voxels, dtype=int) if areas is None else np.asarray(areas)
    if len(labels) != n_voxels or (positions is not None and len(positions) != n_voxels):
        raise UsageError(
            f"areas or positions of another number than {n_voxels} voxels", "one per voxel"
        )
    if n_voxels < 2:
        raise UsageError(f"{n_voxels} voxel to divide", "at least two")
    draw = np.random.default_rng(seed).permutation(n_voxels)
    order = draw if positions is None else np.argsort(np.asarray(positions)[:, 0], kind="stable")
    first, odd = np.zeros(n_voxels, dtype=bool), 0
    for label in np.unique(labels):
        members = order[labels[order] == label]
        # Of areas with an odd number, the one voxel more goes to either half in turn.
        half = (len(members) + odd) // 2
        odd ^= len(members) % 2
        first[members[:half]] = True
    return first, ~first


def _check_apart(judging: Array, read: Array) -> None:
    shared = np.intersect1d(judging, read)
    if len(shared):
        raise UsageError(
            f"{len(shared)} voxels that the decoder reads would judge its reconstructions",
            expected="other voxels, whose noise the decoder has not seen",
            remedy="divide them with split_voxels: decode from one half, judge by the other",
        )


def _solved(
    X: Array, Y: Array, alphas: Sequence[float], pictures: Sequence[str]
) -> tuple[RidgeSolution, Array]:
    """Return the fit, and each voxel's correlation with what left-out pictures predict."""
    spectrum = decompose(torch.from_numpy(X), dtype=torch.float64)
    unit = float(spectrum.eigenvalues.mean()) if len(spectrum.eigenvalues) else 1.0
    solution = solve_ridge(
        spectrum,
        Y,
        [alpha * unit for alpha in alphas],
        groups=pictures,
        target_groups=np.arange(Y.shape[1]),
        keep_left_out=True,
    )
    assert solution.left_out is not None
    return solution, _column_correlation(solution.left_out.numpy(), Y)


def _positions(voxels: Array | None, n_voxels: int) -> Array:
    if voxels is None:
        return np.arange(n_voxels)
    chosen = np.asarray(voxels)
    if chosen.dtype == bool and chosen.shape == (n_voxels,):
        return np.flatnonzero(chosen)
    if chosen.dtype.kind not in "iu" or chosen.ndim != 1:
        raise UsageError(
            f"voxels given as {chosen.dtype} of shape {chosen.shape}",
            expected=f"{n_voxels} booleans, or positions",
        )
    if len(chosen) and (chosen.min() < 0 or chosen.max() >= n_voxels):
        raise UsageError(
            f"voxels from {chosen.min()} to {chosen.max()}", f"positions below {n_voxels}"
        )
    return np.unique(chosen)


def _standardised(values: Array) -> tuple[Array, tuple[Array, Array]]:
    """Return columns of mean 0 and variance 1, and these moments; flat ones are only centred."""
    mean, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 1e-12, scale, 1.0)
    return (values - mean) / scale, (mean, scale)


def _column_correlation(a: Array, b: Array) -> Array:
    """Return Pearson's r (t,) of columns (n, t); 0 where either is flat."""
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    norm = np.linalg.norm(a, axis=0) * np.linalg.norm(b, axis=0)
    return np.asarray(np.divide((a * b).sum(axis=0), norm, out=np.zeros(len(norm)), where=norm > 0))


def _only(solution: RidgeSolution, targets: Array) -> RidgeSolution:
    """Return the solution of some of its targets."""
    rows = torch.from_numpy(targets)
    return RidgeSolution(
        weights=solution.weights[:, rows],
        inputs=solution.inputs,
        x_mean=solution.x_mean,
        y_mean=solution.y_mean[rows],
        alphas=solution.alphas[targets],
    )
