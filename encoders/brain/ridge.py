"""Ridge brain encoder: a linear map from recording to embedding, fitted in closed form."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from phosphene.batches import in_equal_blocks
from phosphene.component import Component, record_config
from phosphene.encoders.brain.ridge_rank import reduce_rank
from phosphene.encoders.brain.ridge_solver import Form, RidgeSolution, solve_ridge
from phosphene.encoders.brain.ridge_spectrum import as_tensor, blocks, decompose
from phosphene.errors import InputError, UsageError, check_option
from phosphene.types import BrainEmbedding, Recording

__all__ = ["RidgeEncoder", "group_labels"]

logger = logging.getLogger(__name__)

# Multiples of the mean eigenvalue of the inputs' Gram matrix, two per decade.
ALPHAS = tuple(float(f"{10 ** (step / 2):.3g}") for step in range(-6, 9))
PARTS = {1: "pooled", 2: "tokens", 3: "lowlevel"}  # by the number of axes of one target
OPTIONAL = ("inputs", "basis")  # tensors of dual form and of reduced rank
BATCH, BLOCK = 1024, 64  # rows read, and multiplied, at a time


class RidgeEncoder(Component):
    """Linear map from voxels, or channels by times, to a target embedding.

    One solution per subject, each with its own number of inputs, all with targets of one shape.
    Alpha is chosen by leaving pictures (or sessions, or runs) out of the training trials.

    Parameters
    ----------
    alphas : sequence of float
        Candidates.
    relative : bool
        Whether they are multiples of the mean eigenvalue of the inputs' Gram matrix, so that one
        grid serves any number of voxels and any unit. Otherwise they are as in scikit-learn.
    alpha_per : {"all", "token", "target"}
        Which targets share an alpha.
    form : {"auto", "dual", "primal"}
        How weights are kept; ``auto`` takes what is smaller.
    precision : {"float32", "float64"}
    rank : int, optional
        Directions of target space that are kept (reduced-rank ridge): fewer numbers to store.

    References
    ----------
    Hoerl and Kennard, 1970, *Technometrics* 12 (ridge regression).
    """

    kind = "encoder"
    name = "ridge"

    @record_config
    def __init__(
        self,
        alphas: Sequence[float] = ALPHAS,
        relative: bool = True,
        alpha_per: Literal["all", "token", "target"] = "all",
        form: Form = "auto",
        precision: Literal["float32", "float64"] = "float32",
        rank: int | None = None,
    ) -> None:
        self.alphas, self.relative = [float(alpha) for alpha in alphas], relative
        self.alpha_per = check_option("alpha_per", alpha_per, ("all", "token", "target"))
        check_option("form", form, ("auto", "dual", "primal"))
        self.form: Form = form
        names = {"float32": torch.float32, "float64": torch.float64}
        self.dtype = names[check_option("precision", precision, names)]
        if rank is not None and rank < 1:
            raise UsageError(f"`rank` is {rank}", expected="at least 1, or none for all")
        self.rank = rank
        self.solutions_: dict[str, RidgeSolution] = {}
        self.target_shape_: tuple[int, ...] = ()

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects it was fitted for."""
        return sorted(self.solutions_)

    def fit(
        self,
        recording: Recording,
        targets: Tensor | np.ndarray[Any, Any],
        *,
        groups: str | Sequence[Any] = "stimulus",
        keep_left_out: bool = False,
        device: str | torch.device = "cpu",
    ) -> dict[str, float]:
        """Fit the recording's subject, beside or instead of what is known of it.

        Parameters
        ----------
        recording : Recording
            Training trials, normalised.
        targets : Tensor or ndarray of shape (n_trials, d), (n_trials, n_tokens, d) or more axes
            Target of each trial's stimulus; may be memory-mapped.
        groups : {"stimulus", "session", "run"} or sequence of length n_trials
            What is left out whole when alpha is chosen.
        keep_left_out : bool
            Keep what :meth:`left_out` returns (it is not saved).
        device : str or torch.device
            Where to compute; the solution stays there.

        Returns
        -------
        dict of str to float
            ``alpha`` (median over targets), ``alphas_at_edge`` (share of targets that chose the
            smallest or largest candidate), ``left_out_r2`` (of all targets together) and
            ``groups_left_out``.

        Raises
        ------
        UsageError
            If the groups split the trials of a picture, other than by session or run.
        InputError
            If shapes do not fit, or a value is not finite.
        """
        shape = tuple(targets.shape[1:])
        if len(shape) not in PARTS or len(targets) != len(recording):
            raise InputError(
                f"targets of shape {tuple(targets.shape)} for {len(recording)} trials",
                expected="(n_trials, d), (n_trials, n_tokens, d) or (n_trials, c, h, w)",
            )
        others = [subject for subject in self.subjects if subject != recording.subject]
        if others and shape != self.target_shape_:
            raise InputError(
                f"targets of shape {shape} for sub-{recording.subject}",
                expected=f"{self.target_shape_}, as for sub-{', sub-'.join(others)}",
                remedy="fit the same target for every subject, or use a second encoder",
            )
        labels = group_labels(recording, groups)
        spectrum = decompose(_rows(recording), dtype=self.dtype, device=device)
        unit = float(spectrum.eigenvalues.mean()) if len(spectrum.eigenvalues) else 1.0
        solution = solve_ridge(
            spectrum,
            targets.reshape(len(targets), -1),
            [alpha * unit if self.relative else alpha for alpha in self.alphas],
            groups=labels,
            target_groups=self._target_groups(shape),
            form=self.form,
            keep_left_out=keep_left_out,
        )
        if self.rank is not None:
            solution = reduce_rank(solution, spectrum.inputs, self.rank)
        self.solutions_[recording.subject], self.target_shape_ = solution, shape
        return self._summary(solution, len(np.unique(labels)), unit if self.relative else 1.0)

    def _target_groups(self, shape: tuple[int, ...]) -> np.ndarray[Any, Any] | None:
        size = int(np.prod(shape))
        if self.alpha_per == "target":
            return np.arange(size)
        if self.alpha_per == "token" and len(shape) > 1:
            return np.repeat(np.arange(shape[0]), size // shape[0])
        return None

    def _summary(self, solution: RidgeSolution, n_groups: int, unit: float) -> dict[str, float]:
        errors = np.asarray(solution.errors).min(axis=0)
        errors = errors[np.isfinite(errors)]
        edges = np.array([min(self.alphas), max(self.alphas)]) * unit
        at_edge = np.isclose(solution.alphas[:, None], edges, rtol=1e-6).any(axis=1).mean()
        return {
            "alpha": float(np.median(solution.alphas)),
            "alphas_at_edge": float(at_edge) if len(self.alphas) > 1 and errors.size else 0.0,
            "left_out_r2": float(1 - errors.mean()) if errors.size else 0.0,
            "groups_left_out": float(n_groups),
        }

    def encode(self, recording: Recording) -> BrainEmbedding:
        """Predict the embedding of each trial.

        Raises
        ------
        UsageError
            If the subject is unknown.
        InputError
            If the recording has another number of voxels (or channels by times).
        """
        solution, rows = self._solution(recording.subject), _rows(recording)
        if rows.shape[1] != len(solution.x_mean):
            raise InputError(
                f"{rows.shape[1]} values per trial in the recording of sub-{recording.subject}",
                expected=f"{len(solution.x_mean)}, as in its training",
                remedy="apply the preprocessing the encoder was trained with",
            )
        if len(rows) == 0:
            return self._embedding(solution.y_mean.new_empty(0, len(solution.y_mean)))
        predicted = torch.cat(
            [
                in_equal_blocks(solution.predict, as_tensor(rows[part]), size=BLOCK)
                for part in blocks(len(rows), BATCH)
            ]
        )
        return self._embedding(predicted)

    def respond(self, subject: str, voxels: Tensor) -> Tensor:
        """Return the predicted targets of rows (n, n_voxels), differentiable in the rows."""
        predicted = self._solution(subject).predict(voxels)
        return predicted.reshape(-1, *self.target_shape_)

    def left_out(self, subject: str) -> BrainEmbedding:
        """Return the prediction of each training trial by the fit without its group.

        These have honest errors: their covariance is that of predictions of new pictures.
        """
        kept = self._solution(subject).left_out
        if kept is None:
            raise UsageError(
                f"the left-out predictions of sub-{subject} were not kept",
                remedy="fit again with keep_left_out=True",
            )
        return self._embedding(kept)

    def _embedding(self, values: Tensor) -> BrainEmbedding:
        part = PARTS[len(self.target_shape_)]
        return BrainEmbedding(**{part: values.unflatten(1, self.target_shape_)})

    def _solution(self, subject: str) -> RidgeSolution:
        if subject not in self.solutions_:
            known = ", ".join(f"sub-{label}" for label in self.subjects) or "none yet"
            raise UsageError(
                f"the encoder has not been fitted for sub-{subject}",
                expected=f"a subject it knows ({known})",
                remedy=f"add one with `phosphene train encoder --subject {subject}`, "
                "or fit(recording, targets) in Python",
            )
        return self.solutions_[subject]

    def to(self, device: str | torch.device) -> RidgeEncoder:
        """Move every solution to a device."""
        for subject, solution in self.solutions_.items():
            moved: dict[str, Any] = {
                field.name: value.to(device)
                for field in dataclasses.fields(solution)
                if isinstance(value := getattr(solution, field.name), Tensor)
            }
            self.solutions_[subject] = dataclasses.replace(solution, **moved)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return everything that was learned, as ``SUBJECT.NAME``."""
        found = {}
        for subject, solution in self.solutions_.items():
            found[f"{subject}.weights"] = solution.weights
            found[f"{subject}.x_mean"] = solution.x_mean
            found[f"{subject}.y_mean"] = solution.y_mean.unflatten(0, self.target_shape_)
            found[f"{subject}.alphas"] = torch.from_numpy(solution.alphas)
            found[f"{subject}.errors"] = torch.from_numpy(np.asarray(solution.errors))
            for name in OPTIONAL:
                if (value := getattr(solution, name)) is not None:
                    found[f"{subject}.{name}"] = value
        return found

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what :meth:`tensors` returned; anything else is an error."""
        names: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            subject, _, name = key.partition(".")
            names.setdefault(subject, {})[name] = value
        shapes = {tuple(parts["y_mean"].shape) for parts in names.values() if "y_mean" in parts}
        solutions = {
            subject: self._load_solution(subject, parts) for subject, parts in names.items()
        }
        if len(shapes) > 1:
            raise _misfit(f"targets of the shapes {', '.join(map(str, sorted(shapes)))}")
        self.solutions_, self.target_shape_ = solutions, next(iter(shapes), ())

    def _load_solution(self, subject: str, parts: dict[str, Tensor]) -> RidgeSolution:
        needed = {"weights", "x_mean", "y_mean", "alphas", "errors"}
        if not subject.isalnum() or set(parts) - set(OPTIONAL) != needed:
            raise _misfit(f"tensors {', '.join(sorted(parts))} under {subject!r}")
        inputs, weights, basis = parts.get("inputs"), parts["weights"], parts.get("basis")
        n_inputs, n_targets = len(parts["x_mean"]), parts["y_mean"].numel()
        rows = n_inputs if inputs is None else len(inputs)
        columns = n_targets if basis is None else len(basis)
        fits = weights.shape == (rows, columns) and parts["alphas"].shape == (n_targets,)
        fits = fits and (basis is None or basis.shape == (columns, n_targets))
        if not fits or (inputs is not None and inputs.shape != (rows, n_inputs)):
            raise _misfit(f"shapes of sub-{subject} that do not go together")
        return RidgeSolution(
            weights=weights.to(self.dtype),
            inputs=None if inputs is None else inputs.to(self.dtype),
            x_mean=parts["x_mean"].to(self.dtype),
            y_mean=parts["y_mean"].flatten().to(self.dtype),
            alphas=parts["alphas"].numpy(),
            errors=parts["errors"].numpy(),
            basis=None if basis is None else basis.to(self.dtype),
        )


def _misfit(found: str) -> InputError:
    return InputError(
        f"the weights of the encoder ridge hold {found}",
        expected="weights, x_mean, y_mean, alphas, errors, in dual form inputs, and with a rank "
        "basis per subject",
        remedy="restore model.safetensors from its source",
    )


def _rows(recording: Recording) -> np.ndarray[Any, Any]:
    """Return one row of numbers per trial: voxels, or channels by times."""
    return recording.data.reshape(len(recording), -1)


def group_labels(recording: Recording, groups: str | Sequence[Any]) -> np.ndarray[Any, Any]:
    """Return the label of each trial's group, after checking that no picture is split."""
    trials = recording.trials
    pictures = trials["stimulus_id"].to_numpy()
    if isinstance(groups, str):
        check_option("groups", groups, ("stimulus", "session", "run"))
        columns = {"stimulus": ["stimulus_id"], "session": ["session"], "run": ["session", "run"]}
        labels: np.ndarray[Any, Any] = trials.groupby(columns[groups]).ngroup().to_numpy()
    else:
        labels = np.asarray(groups)
        if labels.shape != (len(trials),):
            raise UsageError(f"group labels of shape {labels.shape} for {len(trials)} trials")
    pairs = {(picture, label) for picture, label in zip(pictures, labels, strict=True)}
    split = len(pairs) - len(set(pictures))
    if split and not isinstance(groups, str):
        raise UsageError(
            "the groups to leave out split the trials of a picture that was shown repeatedly, so "
            "that alpha would be judged on pictures the fit has seen",
            expected="all trials of a picture in one group",
            remedy='leave out whole pictures (groups="stimulus"), sessions or runs',
        )
    if split:
        logger.warning(
            "pictures occur in several %ss: the left-out error is that of known pictures", groups
        )
    return labels
