"""Settings of ``phosphene train``."""

from __future__ import annotations

from typing import Any, Literal

from phosphene.config import Config
from phosphene.pipelines.training.engine import EngineConfig

__all__ = ["DecoderConfig"]


class DecoderConfig(Config):
    """Settings of ``phosphene train``.

    ``target``, ``generator`` and ``features`` are folders, of the model ``base`` where they are
    not given; ``structure`` is a target with a decoder, whose pictures may be started from in
    place of the generator's latents. With ``tuning``, the generator goes on learning from what is
    decoded. Detail is borrowed where there are features to find lenders by: ``draws`` and
    ``blurs`` (in pixels); without ``detail_training`` no network looks for the lenders.
    """

    dataset: str
    output: str
    subjects: tuple[str, ...] = ()
    base: str = "virtual-fmri"
    target: str | None = None
    generator: str | None = None
    features: str | None = None
    structure: str | None = None
    token_rank: int = 192
    latent_rank: int = 96
    feature_rank: int = 48
    guidance_scales: tuple[float, ...] = (1.5, 2.5, 3.5)
    draws: int = 4
    blurs: tuple[float, ...] = (3.0, 4.0, 5.0)
    detail_training: EngineConfig | None = EngineConfig(
        epochs=10, batch_size=256, weight_decay=0.02
    )
    tuning: EngineConfig | None = None
    prior: Literal["auto", "diffusion", "identity", "none"] = "auto"
    prior_options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults
    prior_training: EngineConfig = EngineConfig(
        epochs=6, batch_size=128, learning_rate=1e-3, warmup_steps=50, ema_decay=0.995
    )
    strengths: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85, 1.0)
    validation_pictures: int = 64
    retrieval_components: int = 100
    half: bool = False
    seed: int = 0
