"""Train the network that finds which training picture lends its detail."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from phosphene.pipelines.training.engine import EngineConfig, train
from phosphene.priors.detail import BorrowedDetail
from phosphene.types import BrainEmbedding

__all__ = ["train_detail"]


def train_detail(
    detail: BorrowedDetail,
    decoded: BrainEmbedding,
    truth: Tensor,
    pictures: Tensor,
    config: EngineConfig | None,
    *,
    folder: Path,
    mean: Tensor,
    scale: Tensor,
    latents: Tensor | None = None,
) -> None:
    """Train in place on left-out predictions, then remember the pictures that may lend.

    Detail without a network only learns the main directions of what is decoded.

    Parameters
    ----------
    detail : BorrowedDetail
    decoded : BrainEmbedding
        m left-out predictions: those of fitted pictures would be too good.
    truth : Tensor of shape (m, d)
        Features of the pictures that were shown.
    pictures : Tensor of shape (n, d)
        Features of those that may lend.
    config : EngineConfig, optional
        Of the network.
    folder : Path
        For checkpoints.
    mean, scale : Tensor of shape (d,)
        With which features are standardised.
    latents : Tensor of shape (n, c, h, w), optional
        Of the pictures that may lend, unless they are scenes.
    """
    detail.measure(decoded)
    reduced = detail.reduce(decoded)
    if config is not None:
        _train(detail, reduced, truth, config, folder)
    detail.eval()
    detail.half().float()  # what is shipped
    detail.remember(pictures, reduced, mean=mean, scale=scale, latents=latents)


def _train(
    detail: BorrowedDetail, reduced: Tensor, truth: Tensor, config: EngineConfig, folder: Path
) -> None:
    def objective(
        model: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator, done: float
    ) -> dict[str, Tensor]:
        return {"loss": (model(batch["reduced"]) - batch["truth"]).square().mean()}

    # Dropout draws from the global stream; everything else has one of its own.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        result = train(
            detail.network,
            {"reduced": reduced, "truth": truth.float() @ detail.get_buffer("axes")},
            objective,
            config,
            folder=folder,
            label="detail",
        )
    detail.network.load_state_dict(result.state)
