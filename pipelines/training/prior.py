"""Train a diffusion prior on what a brain encoder predicts of pictures it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train
from phosphene.priors.diffusion import DiffusionPrior

__all__ = ["train_prior"]

DROP = 0.1


def train_prior(
    prior: DiffusionPrior,
    predicted: Tensor,
    truth: Tensor,
    config: EngineConfig,
    *,
    folder: Path,
    validation: tuple[Tensor, Tensor] | None = None,
) -> TrainingResult:
    """Train ``prior`` in place on pairs of left-out prediction and target.

    Parameters
    ----------
    prior : DiffusionPrior
    predicted, truth : Tensor of shape (n, n_tokens, d) or (n, d)
        Predictions have to be left-out ones: those of fitted pictures are too good.
    config : EngineConfig
    folder : Path
        For checkpoints.
    validation : pair of Tensor, optional
        Predictions and targets of other pictures; the weights with the smallest loss are kept.
    """
    shape = (-1, prior.n_tokens, prior.dim)

    def validate(trained: nn.Module) -> float:
        if validation is None:
            return 0.0
        noise = torch.Generator().manual_seed(0)
        found, wanted = (part.reshape(shape) for part in validation)
        loss: Tensor = prior_of(trained).training_loss(found, wanted, noise, 0.0)
        return float(loss)

    result = train(
        prior,
        {"predicted": predicted.reshape(shape), "truth": truth.reshape(shape)},
        _objective,
        config,
        folder=folder,
        validate=None if validation is None else validate,
        label="prior",
    )
    prior.load_state_dict(result.state)
    return result


def prior_of(model: nn.Module) -> DiffusionPrior:
    """Return the prior itself, where processes wrap it."""
    found = model.module if hasattr(model, "module") else model
    assert isinstance(found, DiffusionPrior)
    return found


def _objective(
    model: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator, done: float
) -> dict[str, Tensor]:
    prior = prior_of(model)
    return {"loss": prior.training_loss(batch["predicted"], batch["truth"], generator, DROP)}
