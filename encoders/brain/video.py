"""Ridge decoder of clips: a window of volumes to everything a video generator can use.

One linear trunk per subject, shared by all heads: the directions of the window in which the fitted
values of all heads together vary most (reduced-rank ridge with an alpha per head, each head
scaled to the same total variance first). Closed form; the baseline of anything deeper. Optical flow
may be read by small networks instead, which look at few voxels and learn its own error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.batches import in_equal_blocks
from phosphene.component import Component, record_config
from phosphene.encoders.brain.flow_network import (
    RUNS,
    FlowNetwork,
    best_gain,
    end_point_error,
)
from phosphene.encoders.brain.ridge import ALPHAS
from phosphene.encoders.brain.ridge_solver import RidgeSolution, solve_ridge
from phosphene.encoders.brain.ridge_spectrum import decompose
from phosphene.encoders.brain.voxel_weights import voxel_weights
from phosphene.errors import InputError, UsageError
from phosphene.names import check_subject

__all__ = ["HEADS", "VideoRidge"]

Array = np.ndarray[Any, Any]
HEADS = ("tokens", "features", "lowlevel", "flow", "motion_energy", "cut")
"""Keyframe embedding; features of a second network; perception flow; optical flow; how much
changes; whether a new scene begins. A model may leave some out, tokens excepted."""
BLOCK = 32


@dataclass(eq=False)
class _Subject:
    """One subject's solution: p inputs, r directions, t outputs of all heads."""

    x_mean: Tensor
    trunk: Tensor
    y_mean: Tensor
    heads: Tensor
    cut_scale: Tensor
    flow: FlowNetwork | None = None


class VideoRidge(Component):
    """Windows (n, n_volumes, n_voxels) to the heads, by one matrix per subject.

    After a fit :attr:`left_out_` has each head's predictions of the clips it was fitted on, by
    fits without their movie; they are not saved.

    Parameters
    ----------
    heads : mapping of str to sequence of int
        Shape of each head for one clip: ``{"tokens": [16, 160], "flow": [4, 2, 8, 8], ...}``.
    n_volumes : int
        Of a window.
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
    flow_epochs : int
        Rounds of their training.

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
        flow_epochs: int = 40,
    ) -> None:
        unknown = sorted(set(heads) - set(HEADS))
        if unknown or "tokens" not in heads or n_volumes < 1 or rank < 1:
            raise UsageError(
                f"heads {', '.join(heads)} of windows of {n_volumes} volumes, rank {rank}",
                expected=f"tokens and others among {', '.join(HEADS)}; 1 or more of both",
            )
        self.heads = {name: tuple(int(k) for k in heads[name]) for name in HEADS if name in heads}
        self.n_volumes, self.rank, self.alphas, self.weigh = n_volumes, rank, list(alphas), weigh
        self.flow_voxels, self.flow_epochs = flow_voxels if "flow" in heads else 0, flow_epochs
        self.subjects_: dict[str, _Subject] = {}
        self.left_out_: dict[str, Tensor] = {}

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects it was fitted for."""
        return sorted(self.subjects_)

    @property
    def _sizes(self) -> list[int]:
        return [int(np.prod(shape)) for shape in self.heads.values()]

    def fit(
        self,
        subject: str,
        windows: Array,
        targets: Mapping[str, Tensor],
        groups: Sequence[Any],
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
        flow_among : ndarray of int, optional
            Voxels among which those that flow is read from are chosen; all by default.

        Returns
        -------
        dict of str to float
            Per head the share of variance explained in movies left out, and its alpha relative
            to the mean eigenvalue. Weights of voxels have seen these movies: the figures are
            slightly too high and serve to choose, not to report.
        """
        label = check_subject(subject)
        X = torch.from_numpy(np.ascontiguousarray(windows)).float().flatten(1)
        Y, scales = self._scaled(targets, len(X))
        summary, parts = {}, []
        for head, y in zip(self.heads, Y.split(self._sizes, dim=1), strict=True):
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
            parts.append((solution, weight))
            assert solution.errors is not None
            summary[f"{head}_left_out_r2"] = 1 - float(solution.errors.min())
            summary[f"{head}_alpha"] = float(solution.alphas[0]) / unit
        factor = torch.from_numpy(np.repeat(scales, self._sizes)).float()
        self.subjects_[label], left_out = self._joined(X.mean(0), parts, factor)
        if "cut" in self.heads:
            score = (left_out["cut"] - targets["cut"].float().mean(0)).flatten().double().numpy()
            shown = targets["cut"].flatten().double().numpy()
            self.subjects_[label].cut_scale[:] = torch.tensor(_logistic(score, shown))
        self.left_out_ = left_out
        if self.flow_voxels:
            self.subjects_[label].flow = self._read_flow(
                X, targets["flow"].float(), groups, flow_among
            )
        return summary

    def _read_flow(
        self, X: Tensor, flow: Tensor, groups: Sequence[Any], among: Array | None
    ) -> FlowNetwork:
        """Return networks that were taught the flow of clips, from the voxels that tell of it.

        Which these are is asked of directions: by its size, flow is mostly that of few clips.
        """
        mean = flow.mean(1)
        directions = mean / mean.norm(dim=1, keepdim=True).clamp(min=1e-6)
        told = voxel_weights(X, directions.flatten(1), groups, self.n_volumes)
        windows = X.unflatten(1, (self.n_volumes, -1))
        place = torch.arange(windows.shape[2]) if among is None else torch.from_numpy(among)
        order = told[place].argsort(descending=True, stable=True)
        chosen = place[order[: self.flow_voxels]]
        network = self._flow_network(len(chosen))
        network.fit(windows, flow, chosen.sort().values, epochs=self.flow_epochs)
        return network

    def _flow_network(self, n_voxels: int) -> FlowNetwork:
        return FlowNetwork(n_voxels, self.n_volumes, self.heads["flow"][-1])

    def fit_flow_gains(
        self, subject: str, windows: Mapping[int, Array], shown: Tensor
    ) -> dict[str, float]:
        """Choose, by clips that were not fitted on, how long flow of so many showings should be.

        Parameters
        ----------
        subject : str
        windows : mapping of int to ndarray of shape (n, n_volumes, n_voxels)
            The same clips, means of 1, 2, ... showings (:data:`RUNS`, as far as there are so many).
        shown : Tensor of shape (n, T, 2, g, g)

        Returns
        -------
        dict of str to float
            End-point errors (picture widths per second) of the most showings: of networks, of the
            ridge at its own best length, and of no motion; and the factors.
        """
        own = self.subjects_[check_subject(subject)]
        if own.flow is None:
            return {}
        own.flow.gains.fill_(1.0)
        known = [runs for runs in RUNS if runs in windows]
        found = {runs: self.encode(subject, windows[runs], averaged=runs)["flow"] for runs in known}
        gains = {runs: best_gain(flow, shown) for runs, flow in found.items()}
        own.flow.gains.copy_(
            torch.tensor([gains[min(known, key=lambda n: abs(1 / n - 1 / runs))] for runs in RUNS])
        )
        most = known[-1]
        linear = self._linear(own, windows[most])["flow"]
        errors = {
            "": gains[most] * found[most],
            "_linear": best_gain(linear, shown) * linear,
            "_none": torch.zeros_like(shown),
        }
        return {
            f"validation_flow_error{name}": end_point_error(flow, shown)
            for name, flow in errors.items()
        } | {f"flow_gain_{runs}": gain for runs, gain in gains.items()}

    def _joined(
        self, x_mean: Tensor, parts: Sequence[tuple[RidgeSolution, Tensor | None]], factor: Tensor
    ) -> tuple[_Subject, dict[str, Tensor]]:
        """Return one trunk for all heads, and the left-out predictions it would make."""
        fitted = []
        for solution, _ in parts:
            assert solution.inputs is not None
            # n clips, t targets, n much smaller than t: directions come from the clips' side.
            fitted.append((solution.inputs @ solution.inputs.T) @ solution.weights)
        basis = _directions(torch.cat(fitted, dim=1), self.rank)
        trunk: Tensor = torch.zeros(len(x_mean), len(basis))
        columns = basis.split(self._sizes, dim=1)
        left = []
        for (solution, weight), own in zip(parts, columns, strict=True):
            assert solution.inputs is not None
            assert solution.left_out is not None
            share = solution.inputs.T @ (solution.weights @ own.T)
            trunk += share if weight is None else share * weight[:, None]
            left.append(solution.left_out - solution.y_mean)
        y_mean = torch.cat([solution.y_mean for solution, _ in parts]) * factor
        kept = (torch.cat(left, dim=1) @ basis.T @ basis) * factor + y_mean
        found = dict(zip(self.heads, kept.split(self._sizes, dim=1), strict=True))
        left_out = {head: found[head].unflatten(1, shape) for head, shape in self.heads.items()}
        return _Subject(x_mean, trunk, y_mean, basis * factor, torch.zeros(2)), left_out

    def _scaled(self, targets: Mapping[str, Tensor], n: int) -> tuple[Tensor, Array]:
        """Return all targets side by side, each head of total variance 1, and their scales."""
        parts, scales = [], []
        for head, shape in self.heads.items():
            if head not in targets or tuple(targets[head].shape) != (n, *shape):
                found = "none" if head not in targets else str(tuple(targets[head].shape))
                raise InputError(
                    f"targets of the head {head} of shape {found} for {n} windows",
                    expected=f"{(n, *shape)}",
                )
            flat = targets[head].float().flatten(1)
            scale = max(float(flat.var(dim=0, unbiased=False).sum().sqrt()), 1e-9)
            parts.append(flat / scale)
            scales.append(scale)
        return torch.cat(parts, dim=1), np.array(scales)

    def encode(self, subject: str, windows: Array, *, averaged: int = 1) -> dict[str, Tensor]:
        """Return every head of each clip (n, *shape); a batch gives what its rows give alone.

        ``cut`` are probabilities. Flow is as long as suits windows that are means of ``averaged``
        showings.

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
        if windows.ndim != 3 or windows.shape[1] * windows.shape[2] != len(own.x_mean):
            raise InputError(
                f"windows of shape {tuple(windows.shape[1:])} for subject {label}",
                expected=f"{self.n_volumes} volumes of {len(own.x_mean) // self.n_volumes} voxels",
                remedy="cut them as the model was trained",
            )
        decoded = self._linear(own, windows)
        network = own.flow
        if network is not None:
            rows = torch.from_numpy(np.ascontiguousarray(windows)).float()
            flow = in_equal_blocks(lambda part: network(part, averaged), rows, size=BLOCK)
            decoded["flow"] = flow[:, None].expand(-1, *self.heads["flow"]).contiguous()
        return decoded

    def _linear(self, own: _Subject, windows: Array) -> dict[str, Tensor]:
        """Return every head as the ridge says it."""
        X = torch.from_numpy(np.ascontiguousarray(windows)).float()
        found = in_equal_blocks(
            lambda rows: torch.addmm(own.y_mean, (rows - own.x_mean) @ own.trunk, own.heads),
            X.flatten(1),
            size=BLOCK,
        )
        parts = dict(zip(self.heads, found.split(self._sizes, dim=1), strict=True))
        decoded = {head: parts[head].unflatten(1, shape) for head, shape in self.heads.items()}
        if "cut" in decoded:
            slope, offset = own.cut_scale
            centred = decoded["cut"] - own.y_mean[-self._sizes[-1] :].view(self.heads["cut"])
            # In float64: single precision rounds differently at the end of a vector register.
            decoded["cut"] = torch.sigmoid((slope * centred + offset).double()).float()
        return decoded

    def tensors(self) -> dict[str, Tensor]:
        found = {
            f"{label}.{name}": getattr(own, name)
            for label, own in self.subjects_.items()
            for name in ("x_mean", "trunk", "y_mean", "heads", "cut_scale")
        }
        for label, own in self.subjects_.items():
            if own.flow is not None:
                stored = own.flow.state_dict()
                found |= {f"{label}.flow.{name}": part for name, part in stored.items()}
        return found

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        labels = sorted({name.partition(".")[0] for name in tensors})
        for label in labels:
            try:
                x_mean, trunk, y_mean, heads, cut_scale = (
                    tensors[f"{label}.{name}"].float()
                    for name in ("x_mean", "trunk", "y_mean", "heads", "cut_scale")
                )
                own = _Subject(x_mean, trunk, y_mean, heads, cut_scale)
            except KeyError as error:
                raise InputError(
                    f"the weights of {self.name} have no {error.args[0]}",
                    expected="x_mean, trunk, y_mean, heads and cut_scale of each subject",
                    remedy="copy the model again from its source",
                ) from error
            p, r = own.trunk.shape
            expected = (p, (r, sum(self._sizes)), (sum(self._sizes),))
            if (len(own.x_mean), tuple(own.heads.shape), tuple(own.y_mean.shape)) != expected:
                raise InputError(
                    f"the weights of subject {label} do not fit the heads of {self.name}",
                    expected="the tensors that its configuration describes",
                    remedy="config.json and model.safetensors must come from the same model",
                )
            if self.flow_voxels:
                own.flow = self._loaded_flow(label, tensors)
            self.subjects_[label] = own

    def _loaded_flow(self, label: str, tensors: Mapping[str, Tensor]) -> FlowNetwork:
        start = f"{label}.flow."
        stored = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        network = self._flow_network(len(stored.get("voxels", ())))
        try:
            network.load_state_dict(stored)
        except RuntimeError as error:
            raise InputError(
                f"the weights of the flow of subject {label} do not fit {self.name}",
                expected="the tensors that its configuration describes",
                remedy="config.json and model.safetensors must come from the same model",
            ) from error
        network.requires_grad_(False)
        return network


def _directions(fitted: Tensor, rank: int) -> Tensor:
    """Return the orthonormal directions (r, t) in which fitted values (n, t) vary most."""
    values, vectors = torch.linalg.eigh((fitted @ fitted.T).double())
    keep = values > values[-1].clamp(min=1e-30) * 1e-10
    values, vectors = values[keep].flip(0)[:rank], vectors[:, keep].flip(1)[:, :rank]
    basis = (vectors / values.sqrt()).T.to(fitted) @ fitted
    # A vector and its negative serve equally: fix the sign, so that results do not hang on it.
    largest = basis.abs().argmax(dim=1, keepdim=True)
    signed: Tensor = (basis * basis.gather(1, largest).sign()).contiguous()
    return signed


def _logistic(score: Array, shown: Array) -> tuple[float, float]:
    """Return slope and offset of logistic regression on one score, by Newton's steps (Platt)."""
    if not 0 < shown.mean() < 1 or score.std() == 0:
        return 0.0, float(np.log(max(shown.mean(), 1e-6) / max(1 - shown.mean(), 1e-6)))
    unit = score.std()
    X = np.stack([score / unit, np.ones_like(score)], axis=1)
    w = np.array([0.0, np.log(shown.mean() / (1 - shown.mean()))])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(X @ w, -30, 30)))
        hessian = (X * (p * (1 - p))[:, None]).T @ X + 1e-6 * np.eye(2)
        step = np.linalg.solve(hessian, X.T @ (shown - p))
        w = w + step
        if np.abs(step).max() < 1e-8:
            break
    return float(w[0] / unit), float(w[1])
