"""Train a small CLIP model on pictures and their captions.

Beside the contrastive loss (Radford et al. 2021) a linear head reads a thumbnail of each grid
cell from that cell's token, so that tokens keep what captions never name: ground, sky, light and
where things are. The head is dropped afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.open_clip import OpenClipTarget
from phosphene.errors import InputError
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train

__all__ = ["THUMBNAIL_WEIGHT", "train_contrastive"]

THUMBNAIL_WEIGHT = 4.0
THUMBNAIL = 4  # pixels per side of what one grid cell's token tells
FLIP = 0.5
STANDARDISED = 8192  # pictures that moments are measured on


def train_contrastive(
    target: OpenClipTarget,
    pictures: Pictures,
    captions: Sequence[Sequence[str]],
    config: EngineConfig,
    *,
    folder: Path,
    held_out: int = 512,
) -> TrainingResult:
    """Train ``target`` in place; the last pictures are held out and only watched.

    Parameters
    ----------
    target : OpenClipTarget
    pictures : ndarray of shape (n, H, W, 3)
        uint8, of the target's own size.
    captions : sequence of n sequences of str
        As many for every picture; one is drawn at each step. Pictures are mirrored half of the
        time, so captions must not name left and right.
    config : EngineConfig
    folder : Path
        For checkpoints.
    held_out : int
        Pictures at the end whose contrastive loss is written to the history.
    """
    if pictures.shape[1:] != (target.size, target.size, 3) or len(pictures) <= held_out:
        raise InputError(
            f"pictures of shape {pictures.shape}",
            expected=f"more than {held_out} of {target.size} x {target.size} x 3",
        )
    counts = {len(some) for some in captions}
    if len(captions) != len(pictures) or len(counts) != 1 or 0 in counts:
        raise InputError(
            f"captions of {len(captions)} pictures, {min(counts, default=0)} to "
            f"{max(counts, default=0)} each",
            expected=f"equally many captions of each of {len(pictures)} pictures",
        )
    texts = torch.stack([target.tokenize(list(some)) for some in captions]).to(torch.int32)
    images = torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
    model = _Embedder(target)
    n = len(images) - held_out
    data = {"image": images[:n], "text": texts[:n]}

    def validate(trained: nn.Module) -> float:
        device = target.target_mean.device
        terms = _terms(trained, images[n:].to(device), texts[n:, 0].to(device))
        return float(terms["contrastive"])

    result = train(
        model,
        data,
        _objective,
        config,
        folder=folder,
        validate=validate if held_out else None,
        label="CLIP model",
    )
    model.load_state_dict(result.state)
    target.standardise(pictures[:STANDARDISED])
    return result


class _Embedder(nn.Module):
    """The model with the head that only training needs."""

    def __init__(self, target: OpenClipTarget) -> None:
        super().__init__()
        self.target = target
        self.thumbnail = nn.Linear(target.target_mean.shape[-1], 3 * THUMBNAIL**2)


def _objective(
    model: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator, done: float
) -> dict[str, Tensor]:
    texts = batch["text"]
    device = texts.device
    chosen = torch.randint(texts.shape[1], (len(texts),), generator=generator, device=device)
    mirrored = torch.rand(len(texts), generator=generator, device=device) < FLIP
    images = torch.where(mirrored[:, None, None, None], batch["image"].flip(-1), batch["image"])
    return _terms(model, images, texts[torch.arange(len(texts), device=device), chosen])


def _terms(model: nn.Module, images: Tensor, texts: Tensor) -> dict[str, Tensor]:
    from open_clip import ClipLoss

    embedder: Any = model
    target: OpenClipTarget = embedder.target
    pooled, tokens = target.features(images)
    words = target.clip.encode_text(texts.long(), normalize=True)
    scale = target.clip.logit_scale.exp().clamp(max=100)
    contrastive = ClipLoss()(pooled, words, scale)
    shown = F.adaptive_avg_pool2d(target.normalise(images), target.grid * THUMBNAIL)
    cells = F.unfold(shown, THUMBNAIL, stride=THUMBNAIL).transpose(1, 2)
    thumbnail = F.mse_loss(embedder.thumbnail(tokens), cells)
    return {
        "loss": contrastive + THUMBNAIL_WEIGHT * thumbnail,
        "contrastive": contrastive,
        "thumbnail": thumbnail,
    }
