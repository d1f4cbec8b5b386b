"""Train the network that turns features of several levels back into pictures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.encoders.stimulus.levels import LevelsTarget
from phosphene.errors import InputError
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train

__all__ = ["SHRINKAGE", "train_inverter"]

SHRINKAGE = 0.7
"""Most that features are shrunken by in training, since decoded ones are.

Noise of the variance that is lost is added: shrunken by s, features keep s of their variance, and
what a linear decoder does not know is the rest.
"""


def train_inverter(
    target: LevelsTarget,
    pictures: Pictures,
    config: EngineConfig,
    *,
    folder: Path,
    held_out: int = 64,
    decoded: Tensor | None = None,
) -> TrainingResult:
    """Train ``target.inverter`` in place.

    The loss is the absolute error of pixels, of the picture as it is and of its half and quarter.

    Parameters
    ----------
    target : LevelsTarget
        Standardised over training pictures before.
    pictures : ndarray of shape (n, H, W, 3), uint8
    config : EngineConfig
    folder : Path
        For checkpoints.
    held_out : int
        Last pictures, which are only watched: their mean squared error is in the history.
    decoded : Tensor of shape (n, d), optional
        Predictions of the pictures' features by fits that had left them out. Without them, true
        features are shrunken and blurred at random.
    """
    if len(pictures) <= held_out or (decoded is not None and len(decoded) != len(pictures)):
        rows = "none" if decoded is None else len(decoded)
        raise InputError(
            f"{len(pictures)} pictures to learn from and {rows} predictions",
            expected=f"more than {held_out} pictures, and as many predictions, if any",
        )
    size = target.inverter(torch.zeros(1, target.width, device=target.target_mean.device)).shape[-1]
    shown = fit_pictures(pictures, size=size, channels=3)
    images = torch.from_numpy(np.ascontiguousarray(shown.transpose(0, 3, 1, 2)))
    features = target.encode(pictures) if decoded is None else decoded
    n = len(images) - held_out
    exact = decoded is not None

    def objective(
        model: nn.Module, batch: Mapping[str, Tensor], noise: torch.Generator, done: float
    ) -> dict[str, Tensor]:
        rows = batch["feature"].float()
        found = model(rows if exact else _as_decoded(rows, noise))
        return {"loss": _distance(found, batch["image"].float() / 255)}

    def validate(trained: nn.Module) -> float:
        rows = features[n:].to(next(trained.parameters()).device)
        return float(F.mse_loss(trained(rows).cpu(), images[n:].float() / 255))

    result = train(
        target.inverter,
        {"feature": features[:n].half(), "image": images[:n]},
        objective,
        config,
        folder=folder,
        validate=validate if held_out else None,
        label="inverter",
    )
    target.inverter.load_state_dict(result.state)
    target.eval()
    return result


def _as_decoded(features: Tensor, noise: torch.Generator) -> Tensor:
    """Return features (n, d) as a linear decoder might give them, each row in its own degree."""
    draw = torch.rand(len(features), 1, generator=noise, device=features.device)
    kept = 1 - SHRINKAGE * draw
    blur = torch.randn(features.shape, generator=noise, device=features.device)
    return kept * features + (kept * (1 - kept)).sqrt() * blur


def _distance(found: Tensor, truth: Tensor) -> Tensor:
    total = F.l1_loss(found, truth)
    for factor in (2, 4):
        total = total + F.l1_loss(F.avg_pool2d(found, factor), F.avg_pool2d(truth, factor))
    return total
