"""Train a prior on what a brain encoder predicts of pictures it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from phosphene.errors import UsageError
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train
from phosphene.priors.learned import LearnedPrior

__all__ = ["train_prior"]

DROP = 0.1


def train_prior(
    prior: LearnedPrior,
    predicted: Tensor | None,
    truth: Tensor,
    config: EngineConfig,
    *,
    folder: Path,
    validation: tuple[Tensor, Tensor] | None = None,
    drop: float = DROP,
    match_lengths: bool = False,
) -> TrainingResult:
    """Train ``prior`` in place on pairs of left-out prediction and target.

    Parameters
    ----------
    prior : LearnedPrior
        ``diffusion``, ``flow``, ``mindeye`` or ``mlp-unet``.
    predicted : Tensor of shape (n, n_tokens, d) or (n, d), optional
        Predictions have to be left-out ones: those of fitted pictures are too good. Without any,
        the prior learns from pictures alone, every condition dropped: a start for a training
        with few recordings.
    truth : Tensor of the same shape
    config : EngineConfig
    folder : Path
        For checkpoints.
    validation : pair of Tensor, optional
        Predictions and targets of other pictures; the weights with the smallest loss are kept.
    drop : float
        Share of conditions that is dropped, so that samples can be guided.
    match_lengths : bool
        Measure afterwards how much longer or shorter samples are than the training targets, and
        keep these factors with the weights.
    """
    shape = (-1, prior.n_tokens, prior.dim)
    if predicted is None and (validation is not None or match_lengths):
        raise UsageError(
            "validation or lengths of a prior that is trained on pictures alone",
            expected="left-out predictions",
            remedy="leave both away until there are recordings",
        )
    share = 1.0 if predicted is None else drop

    def validate(trained: nn.Module) -> float:
        if validation is None:
            return 0.0
        device = next(trained.parameters()).device
        noise = torch.Generator(device=device).manual_seed(0)
        found, wanted = (part.reshape(shape).to(device) for part in validation)
        loss: Tensor = prior_of(trained).training_loss(found, wanted, noise, 0.0)
        return float(loss)

    def objective(
        model: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator, done: float
    ) -> dict[str, Tensor]:
        loss = prior_of(model).training_loss(batch["predicted"], batch["truth"], generator, share)
        return {"loss": loss}

    values = truth.reshape(shape)
    given = torch.zeros_like(values) if predicted is None else predicted.reshape(shape)
    result = train(
        prior,
        {"predicted": given, "truth": values},
        objective,
        config,
        folder=folder,
        validate=None if validation is None else validate,
        label="prior",
    )
    prior.load_state_dict(result.state)
    if match_lengths and predicted is not None:
        prior.match_lengths(predicted, truth)
    return result


def prior_of(model: nn.Module) -> LearnedPrior:
    """Return the prior itself, where processes wrap it."""
    found = model.module if hasattr(model, "module") else model
    assert isinstance(found, LearnedPrior)
    return found
