"""Ridge decoder of clips: a window of volumes to everything a video generator can use.

One linear trunk per subject, shared by all heads: the directions of the window in which the fitted
values of all heads together vary most (reduced-rank ridge with an alpha per head, each head
scaled to the same total variance first). Closed form; the baseline of anything deeper. What a
decoder of pictures says of the same voxels may be its starting point. Optical flow may be read by
small networks instead, which look at few voxels and learn its own error; cuts are told by how much
the two halves of a window agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.batches import in_equal_blocks
from phosphene.component import Component, record_config
from phosphene.encoders.brain.clip_solution import ClipSolution
from phosphene.encoders.brain.flow_network import (
    RUNS,
    FlowNetwork,
    best_gain,
    between_showings,
    end_point_error,
    for_all_showings,
    voxels_of_motion,
)
from phosphene.encoders.brain.ridge import ALPHAS
from phosphene.encoders.brain.ridge_solver import solve_ridge
from phosphene.encoders.brain.ridge_spectrum import decompose
from phosphene.encoders.brain.scene_cuts import agreement, cut_probability, fit_cut_weights
from phosphene.encoders.brain.shared_trunk import HeadFit, share_trunk
from phosphene.encoders.brain.volume_map import VolumeMap
from phosphene.encoders.brain.voxel_weights import voxel_weights
from phosphene.errors import InputError, UsageError
from phosphene.names import check_subject

__all__ = ["HEADS", "VideoRidge"]

Array = np.ndarray[Any, Any]
HEADS = ("tokens", "features", "caption", "lowlevel", "flow", "motion_energy", "cut")
"""Keyframe embedding; features of a second network; embedding of a caption; perception flow;
optical flow; how much changes; whether a new scene begins. A model may leave some out, tokens
excepted."""
PICTURE_HEADS = ("tokens", "features", "lowlevel")
"""What a clip looks like; its two halves are compared by these."""
BLOCK = 32


class VideoRidge(Component):
    """Windows (n, n_volumes, n_voxels) to the heads, by one matrix per subject.

    After a fit :attr:`left_out_` has each linear head's predictions of the clips it was fitted on,
    which are :attr:`fitted_on_` of those given, by fits without their movie; they are not saved.

    Parameters
    ----------
    heads : mapping of str to sequence of int
        Shape of each head for one clip: ``{"tokens": [16, 160], "flow": [4, 2, 8, 8], ...}``.
    n_volumes : int
        Of a window; cuts need two.
    rank : int
        Directions that all heads share.
    alphas : sequence of float
        Candidates, as multiples of the mean eigenvalue of the windows' Gram matrix.
    weigh : bool
        Whether each head has its own penalty per voxel, by how much that voxel tells of the head
        (:func:`voxel_weights`): motion is told by few voxels, which all others would drown.
    flow_voxels : int
        Voxels that small networks read optical flow from, those that tell most of it; 0 leaves
        flow to the ridge, which is fitted as the baseline in any case.
    flow_units, flow_epochs : int
        Width of these networks, and rounds of their training.
    most_clips : int
        That the ridge is fitted on, spread evenly where there are more: its cost grows with the
        cube of their number, and neighbouring clips show nearly the same. Networks see all.

    References
    ----------
    Hoerl and Kennard, 1970, *Technometrics* 12; Mukherjee and Zhu, 2011, *Statistical Analysis
    and Data Mining* 4 (reduced rank).
    """

    kind = "encoder"
    name = "video-ridge"

    @record_config
    def __init__(
        self,
        heads: Mapping[str, Sequence[int]],
        n_volumes: int,
        rank: int = 96,
        alphas: Sequence[float] = ALPHAS,
        weigh: bool = True,
        flow_voxels: int = 0,
        flow_units: int = 64,
        flow_epochs: int = 40,
        most_clips: int = 4500,
    ) -> None:
        unknown = sorted(set(heads) - set(HEADS))
        if unknown or "tokens" not in heads or n_volumes < 1 or rank < 1:
            raise UsageError(
                f"heads {', '.join(heads)} of windows of {n_volumes} volumes, rank {rank}",
                expected=f"tokens and others among {', '.join(HEADS)}; 1 or more of both",
            )
        if "cut" in heads and n_volumes < 2:
            raise UsageError(
                "cuts by windows of one volume",
                expected="two volumes or more: their halves are compared",
                remedy="take a longer window, or leave the head cut out",
            )
        self.heads = {name: tuple(int(k) for k in heads[name]) for name in HEADS if name in heads}
        self.n_volumes, self.rank, self.alphas, self.weigh = n_volumes, rank, list(alphas), weigh
        self.flow_voxels = flow_voxels if "flow" in heads else 0
        self.flow_units, self.flow_epochs = flow_units, flow_epochs
        self.most_clips = most_clips
        self.subjects_: dict[str, ClipSolution] = {}
        self.left_out_: dict[str, Tensor] = {}
        self.fitted_on_: Array = np.arange(0)

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects it was fitted for."""
        return sorted(self.subjects_)

    @property
    def _linear_heads(self) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in self.heads.items() if name != "cut"}

    @property
    def _sizes(self) -> list[int]:
        return [int(np.prod(shape)) for shape in self._linear_heads.values()]

    def fit(
        self,
        subject: str,
        windows: Array,
        targets: Mapping[str, Tensor],
        groups: Sequence[Any],
        *,
        towards: Mapping[str, VolumeMap] | None = None,
        flow_among: Array | None = None,
    ) -> dict[str, float]:
        """Fit one subject, beside or instead of what is known of it.

        Parameters
        ----------
        subject : str
        windows : ndarray of shape (n, n_volumes, n_voxels)
            Standardised.
        targets : mapping of str to Tensor of shape (n, *shape)
            One per head; ``cut`` is 0 or 1.
        groups : sequence of length n
            Movie of each clip: alphas are chosen by leaving whole movies out.
        towards : mapping of str to VolumeMap, optional
            What a decoder of pictures makes of one volume, per head: the ridge learns what it
            leaves over, and shrinks towards it instead of towards none.
        flow_among : ndarray of int, optional
            Voxels among which those that flow is read from are chosen; all by default.

        Returns
        -------
        dict of str to float
            Per head the share of variance explained in movies left out, and its alpha relative
            to the mean eigenvalue. Weights of voxels and of volumes have seen these movies: the
            figures are slightly too high and serve to choose, not to report.
        """
        label = check_subject(subject)
        rows = torch.from_numpy(np.ascontiguousarray(windows)).float()
        Y, scales = self._scaled(targets, len(rows))
        chosen = self.fitted_on_ = np.arange(0, len(rows), -(-len(rows) // self.most_clips))
        summary, fits = {}, []
        for (head, y), scale in zip(Y.items(), scales, strict=True):
            told = (towards or {}).get(head)
            if told is not None:
                told = VolumeMap(told.weights.to(rows), told.basis.to(rows) / scale)
            y = y[chosen]
            fit, alpha = self._fit_head(rows[chosen], y, [groups[int(row)] for row in chosen], told)
            fits.append(fit)
            centred = y - y.mean(0)
            wrong = (fit.left_out - centred).square().sum() / centred.square().sum().clamp(min=1e-9)
            summary[f"{head}_left_out_r2"] = 1 - float(wrong)
            summary[f"{head}_alpha"] = alpha
        factor = torch.from_numpy(np.repeat(scales, self._sizes)).float()
        mean = torch.cat([y[chosen].mean(0) for y in Y.values()])
        x_mean = rows[chosen].mean(0).flatten()
        linear, left_out = share_trunk(x_mean, fits, mean, factor, self.rank)
        self.left_out_ = self._by_head(left_out)
        own = ClipSolution(linear, torch.zeros(len(RUNS), len(self._compared) + 1))
        self.subjects_[label] = own
        if "cut" in self.heads:
            shown = targets["cut"].float().flatten(1).amax(1)
            own.cut[:] = fit_cut_weights(self._agreements(own, rows.flatten(1)), shown)
        if self.flow_voxels:
            flow = targets["flow"].float()
            voxels = voxels_of_motion(rows, flow, groups, among=flow_among)[: self.flow_voxels]
            own.flow = self._flow_network(len(voxels))
            own.flow.fit(rows, flow, voxels.sort().values, epochs=self.flow_epochs)
        return summary

    def _fit_head(
        self, windows: Tensor, y: Tensor, groups: Sequence[Any], told: VolumeMap | None
    ) -> tuple[HeadFit, float]:
        """Return how one head was fitted, and its alpha relative to the mean eigenvalue."""
        X, base, volume_weights = windows.flatten(1), None, None
        if told is not None:
            scores = told.scores(windows - windows.mean(0))
            volume_weights = told.weigh(scores, y - y.mean(0))
            base = told.values(scores, volume_weights)
            y = y - base
        weight = voxel_weights(X, y, groups, self.n_volumes) if self.weigh else None
        spectrum = decompose(X if weight is None else X * weight)
        unit = float(spectrum.eigenvalues.mean())
        solution = solve_ridge(
            spectrum,
            y,
            [alpha * unit for alpha in self.alphas],
            groups=groups,
            form="dual",
            keep_left_out=True,
        )
        found = HeadFit(solution, weight, base, told, volume_weights)
        return found, float(solution.alphas[0]) / unit

    def _flow_network(self, n_voxels: int) -> FlowNetwork:
        grid = self.heads["flow"][-1]
        return FlowNetwork(n_voxels, self.n_volumes, grid, hidden=self.flow_units)

    def calibrate(
        self, subject: str, windows: Mapping[int, Array], shown: Mapping[str, Tensor]
    ) -> dict[str, float]:
        """Choose by clips that were not fitted on what depends on the number of showings.

        That is how long flow of networks should be, and how probable a cut is.

        Parameters
        ----------
        subject : str
        windows : mapping of int to ndarray of shape (n, n_volumes, n_voxels)
            The same clips, means of 1, 2, ... showings (:data:`RUNS`, as far as there are so many).
        shown : mapping of str to Tensor
            ``flow`` (n, T, 2, g, g), ``cut`` (n, T).

        Returns
        -------
        dict of str to float
            End-point errors (picture widths per second) of the most showings: of networks, of the
            ridge at its own best length, and of no motion; and the factors.
        """
        own = self.subjects_[check_subject(subject)]
        known = [runs for runs in RUNS if runs in windows]
        if "cut" in self.heads:
            cut = shown["cut"].float().flatten(1).amax(1)
            told = {
                runs: self._agreements(own, torch.from_numpy(windows[runs]).float().flatten(1))
                for runs in known
            }
            weights = {runs: fit_cut_weights(part, cut) for runs, part in told.items()}
            own.cut.copy_(for_all_showings(weights))
        if own.flow is None:
            return {}
        own.flow.gains.fill_(1.0)
        found = {runs: self.encode(subject, windows[runs], averaged=runs)["flow"] for runs in known}
        gains = {runs: best_gain(part, shown["flow"]) for runs, part in found.items()}
        own.flow.gains.copy_(for_all_showings({k: torch.tensor(v) for k, v in gains.items()}))
        linear = self._linear(own, windows[known[-1]])["flow"]
        errors = {
            "": gains[known[-1]] * found[known[-1]],
            "_linear": best_gain(linear, shown["flow"]) * linear,
            "_none": torch.zeros_like(linear),
        }
        return {
            f"validation_flow_error{name}": end_point_error(part, shown["flow"])
            for name, part in errors.items()
        } | {f"flow_gain_{runs}": gain for runs, gain in gains.items()}

    def _scaled(
        self, targets: Mapping[str, Tensor], n: int
    ) -> tuple[dict[str, Tensor], list[float]]:
        """Return the targets of the linear heads, each of total variance 1, and their scales."""
        for head, shape in self.heads.items():
            if head not in targets or tuple(targets[head].shape) != (n, *shape):
                found = "none" if head not in targets else str(tuple(targets[head].shape))
                raise InputError(
                    f"targets of the head {head} of shape {found} for {n} windows",
                    expected=f"{(n, *shape)}",
                )
        flat = {head: targets[head].float().flatten(1) for head in self._linear_heads}
        scales = [
            max(float(part.var(dim=0, unbiased=False).sum().sqrt()), 1e-9) for part in flat.values()
        ]
        return {
            head: part / scale for (head, part), scale in zip(flat.items(), scales, strict=True)
        }, scales

    def encode(self, subject: str, windows: Array, *, averaged: int = 1) -> dict[str, Tensor]:
        """Return every head of each clip (n, *shape); a batch gives what its rows give alone.

        ``cut`` are probabilities. They and the length of flow suit windows that are means of
        ``averaged`` showings.

        Raises
        ------
        InputError
            If the subject is unknown, or windows have another size.
        """
        label = check_subject(subject)
        if label not in self.subjects_:
            raise InputError(
                f"the model does not know subject {label!r}",
                expected=f"one of {', '.join(self.subjects)}",
                remedy=f"train one: phosphene train video --subject {label} --dataset DATASET "
                "--output MODEL",
            )
        own = self.subjects_[label]
        inputs = len(own.linear.x_mean)
        if windows.ndim != 3 or windows.shape[1] * windows.shape[2] != inputs:
            raise InputError(
                f"windows of shape {tuple(windows.shape[1:])} for subject {label}",
                expected=f"{self.n_volumes} volumes of {inputs // self.n_volumes} voxels",
                remedy="cut them as the model was trained",
            )
        decoded = self._linear(own, windows)
        rows = torch.from_numpy(np.ascontiguousarray(windows)).float()
        network = own.flow
        if network is not None:
            flow = in_equal_blocks(lambda part: network(part, averaged), rows, size=BLOCK)
            decoded["flow"] = flow[:, None].expand(-1, *self.heads["flow"]).contiguous()
        if "cut" in self.heads:
            told = in_equal_blocks(
                lambda part: self._agreements(own, part), rows.flatten(1), size=BLOCK
            )
            weights = between_showings(own.cut, averaged)
            decoded["cut"] = cut_probability(told, weights, self.heads["cut"][0])
        return decoded

    def _linear(self, own: ClipSolution, windows: Array) -> dict[str, Tensor]:
        """Return every linear head as the ridge says it."""
        X = torch.from_numpy(np.ascontiguousarray(windows)).float()
        return self._by_head(in_equal_blocks(own.linear, X.flatten(1), size=BLOCK))

    def _by_head(self, outputs: Tensor) -> dict[str, Tensor]:
        parts = zip(self._linear_heads.items(), outputs.split(self._sizes, dim=1), strict=True)
        return {head: part.unflatten(1, shape) for (head, shape), part in parts}

    @property
    def _compared(self) -> list[str]:
        return [head for head in PICTURE_HEADS if head in self.heads]

    def _agreements(self, own: ClipSolution, X: Tensor) -> Tensor:
        """Return how far two halves of windows agree about each head of pictures (n, k)."""
        per_volume = X.shape[1] // self.n_volumes
        half = self.n_volumes // 2 * per_volume
        first, second = own.linear.part(X, slice(0, half)), own.linear.part(X, slice(-half, None))
        bases = dict(
            zip(self._linear_heads, own.linear.heads.split(self._sizes, dim=1), strict=True)
        )
        return torch.stack(
            [agreement(first, second, bases[head]) for head in self._compared], dim=1
        )

    def tensors(self) -> dict[str, Tensor]:
        return {
            f"{label}.{name}": part
            for label, own in self.subjects_.items()
            for name, part in own.tensors().items()
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        for label in sorted({name.partition(".")[0] for name in tensors}):
            start = f"{label}."
            own = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            network = None
            if self.flow_voxels:
                network = self._flow_network(len(own.get("flow.voxels", ())))
            self.subjects_[label] = ClipSolution.from_tensors(
                own,
                outputs=sum(self._sizes),
                agreements=len(self._compared),
                flow=network,
                owner=f"{self.name} of subject {label}",
            )
