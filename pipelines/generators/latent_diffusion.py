"""Latent diffusion conditioned on embedding tokens, from diffusers parts.

Rombach et al. 2022 (latent diffusion); Ho and Salimans 2022 (classifier-free guidance: without a
condition is with the mean embedding, which is zero since targets are standardised); Meng et al.
2022 (starting from a picture).
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.batches import in_equal_blocks
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.latents import LatentTarget, load_network
from phosphene.errors import InputError
from phosphene.pipelines.generators.base import Generator, to_uint8
from phosphene.pipelines.generators.denoising import first_step, kept_signal
from phosphene.pipelines.generators.starts import check_steps, start_latents
from phosphene.pipelines.generators.step_progress import StepEnd
from phosphene.schemas import ComponentFile
from phosphene.types import BrainEmbedding

__all__ = ["Decoded", "LatentDiffusion", "extend_unet", "predict_velocity"]

logger = logging.getLogger(__name__)

BLOCK = 8  # items of the network at a time; guidance doubles them


class LatentDiffusion(Generator):
    """Renders embedding tokens by a conditional UNet over an autoencoder's latents.

    Parameters
    ----------
    unet : diffusers.UNet2DConditionModel
    latents : LatentTarget
    condition : str
        Hash of the spec of the target whose embeddings it takes.
    steps : int
        Network calls per picture by default (twice as many rows with guidance).
    guidance_scale : float
        1 is no guidance.
    """

    name: ClassVar[str] = "latent-diffusion"
    tells_steps: ClassVar[bool] = True
    latents: LatentTarget

    def __init__(
        self,
        unet: Any,
        latents: LatentTarget,
        *,
        condition: str,
        steps: int = 12,
        guidance_scale: float = 1.5,
    ) -> None:
        from diffusers import DPMSolverMultistepScheduler

        self.unet, self.latents, self.condition = unet, latents, condition
        self.steps, self.guidance_scale = steps, guidance_scale
        self.scheduler = DPMSolverMultistepScheduler(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="v_prediction",
            timestep_spacing="trailing",
            algorithm_type="dpmsolver++",
            final_sigmas_type="zero",
        )

    @classmethod
    def load(cls, folder: Path, target: StimulusEncoder) -> Self:
        from diffusers import UNet2DConditionModel

        stored = ComponentFile.load(folder / "config.json")
        expected = {"condition", "steps", "guidance_scale"}
        if stored.name != cls.name or set(stored.config) != expected:
            raise InputError(
                f"{folder} holds {stored.name!r} with {', '.join(sorted(stored.config))}",
                expected=f"the generator {cls.name!r} with {', '.join(sorted(expected))}",
                remedy="name the generator this model was saved with",
            )
        if stored.config["condition"] != target.spec.hash:
            raise InputError(
                f"the generator in {folder} renders embeddings of {stored.config['condition']}",
                expected=f"those of the target {target.name}, {target.spec.hash}",
                remedy="use a generator that was trained on this target",
            )
        latents = LatentTarget.from_pretrained(folder / "latents")
        unet = load_network(UNet2DConditionModel, folder / "unet")
        maps = unet.config.in_channels - latents.shape[0]
        if maps not in (0, unet.config.cross_attention_dim):
            raise InputError(
                f"the network in {folder} reads {maps} channels beside noisy latents",
                expected=f"none, or a map of tokens, {unet.config.cross_attention_dim}",
                remedy="train the generator again, or use the release that wrote it",
            )
        return cls(unet, latents, **stored.config)

    def save(self, folder: Path) -> None:
        self.unet.save_pretrained(folder / "unet")
        self.scheduler.save_pretrained(folder / "scheduler")
        self.latents.save_pretrained(folder / "latents")
        ComponentFile(
            kind="generator",
            name=self.name,
            config={
                "condition": self.condition,
                "steps": self.steps,
                "guidance_scale": self.guidance_scale,
            },
        ).save(folder / "config.json")

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        self.unet.to(device, dtype)
        self.latents.to(device)  # in float32: half precision overflows in some autoencoders
        return self

    @torch.no_grad()
    def generate(
        self,
        condition: BrainEmbedding,
        *,
        init: Tensor | None = None,
        strength: float = 1.0,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        output_type: Literal["np", "pt"] = "np",
        callback_on_step_end: StepEnd | None = None,
    ) -> Pictures | Tensor:
        self.check(condition, generators)
        steps = self.steps if num_inference_steps is None else num_inference_steps
        check_steps(steps, strength, starts=init is not None)
        if init is not None:
            kept = kept_signal(self.scheduler, steps, strength)
            logger.info("strength %g keeps %.3f of the start's power", strength, kept)
        self.unet.eval()
        noise = torch.stack(
            [torch.randn(self.latents.shape, generator=g, device=g.device) for g in generators]
        ).to(self.unet.device, self.unet.dtype)
        inputs = self._inputs(condition)
        start = noise if init is None else self._latents_of(init)
        skipped = 0 if init is None else first_step(steps, strength)
        found = in_equal_blocks(
            lambda begin, drawn, *rows: self._denoise(
                begin,
                drawn,
                Decoded(**dict(zip(inputs, rows, strict=True))),
                (steps, skipped),
                callback_on_step_end,
            ),
            start,
            noise,
            *inputs.values(),
            size=BLOCK,
        )
        pictures = in_equal_blocks(self.latents.decode, found.float(), size=BLOCK)
        return to_uint8(pictures) if output_type == "np" else pictures

    def _latents_of(self, init: Tensor) -> Tensor:
        """Return latents as they are; pictures (n, 3, H, W) in 0..1 are encoded."""
        given, latents = init.to(self.unet.device), self.latents
        found = start_latents(given, latents.shape, latents.size, latents.to_latents)
        return found.to(self.unet.device, self.unet.dtype)

    def _inputs(self, condition: BrainEmbedding) -> dict[str, Tensor]:
        """Return what the network is given of an embedding, by name."""
        tokens = condition.main if condition.main.ndim == 3 else condition.main[:, None]
        found = {"tokens": tokens, "features": condition.features}
        return {
            name: part.to(self.unet.device, self.unet.dtype)
            for name, part in found.items()
            if part is not None
        }

    def _denoise(
        self,
        start: Tensor,
        noise: Tensor,
        decoded: Decoded,
        steps_skipped: tuple[int, int],
        tell: StepEnd | None,
    ) -> Tensor:
        """Denoise from ``start``, leaving out the first steps; from pure noise if none is."""
        steps, skipped = steps_skipped
        if skipped == steps:
            return start
        scheduler: Any = type(self.scheduler).from_config(self.scheduler.config)
        scheduler.set_timesteps(steps, device=noise.device)
        times = scheduler.timesteps[skipped:]
        scheduler.set_begin_index(skipped)
        current = scheduler.add_noise(start, noise, times[:1]) if skipped else noise
        for number, time in enumerate(times):
            current = scheduler.step(self._predict(current, time, decoded), time, current)[0]
            if tell is not None:
                tell(number, time, current)
        return current

    def _predict(self, noisy: Tensor, time: Tensor, decoded: Decoded) -> Tensor:
        if self.guidance_scale == 1:
            return predict_velocity(self.unet, noisy, time, decoded)
        both = torch.cat([noisy, noisy])
        found, free = predict_velocity(self.unet, both, time, decoded.beside_nothing()).chunk(2)
        return free + self.guidance_scale * (found - free)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the network is conditioned on; zeros, the mean of each, say that nothing is known.

    Parameters
    ----------
    tokens : Tensor of shape (n, side², d)
    features : Tensor of shape (n, f), optional
        Of a second network.
    """

    tokens: Tensor
    features: Tensor | None = None

    def times(self, factor: Tensor) -> Decoded:
        """Return everything multiplied by a factor (n,) per item."""
        return Decoded(
            *(
                None if part is None else part * factor.view(-1, *[1] * (part.ndim - 1))
                for part in (self.tokens, self.features)
            )  # type: ignore[arg-type]
        )

    def beside_nothing(self) -> Decoded:
        """Return twice as many items, nothing known of the second half."""
        return Decoded(
            *(
                None if part is None else torch.cat([part, torch.zeros_like(part)])
                for part in (self.tokens, self.features)
            )  # type: ignore[arg-type]
        )


def predict_velocity(unet: Any, noisy: Tensor, time: Tensor, decoded: Decoded) -> Tensor:
    """Return what a conditional UNet sees in noisy latents (n, c, h, w).

    Attention cannot tell where a token lies. A network with enough input channels gets the tokens
    as a map beside the latents too, each over its part of the picture; one with an embedding of
    classes gets features.
    """
    tokens = decoded.tokens
    if unet.config.in_channels > noisy.shape[1]:
        side = math.isqrt(tokens.shape[1])
        places = tokens.transpose(1, 2).unflatten(2, (side, side))
        maps = F.interpolate(places, noisy.shape[2:], mode="bilinear")
        noisy = torch.cat([noisy, maps], dim=1)
    features = decoded.features
    if unet.config.projection_class_embeddings_input_dim is None:
        features = None
    elif features is None:
        features = tokens.new_zeros(len(tokens), unet.config.projection_class_embeddings_input_dim)
    found: Tensor = unet(noisy, time, encoder_hidden_states=tokens, class_labels=features).sample
    return found


def extend_unet(unet: Any, features: int) -> Any:
    """Return a network that also takes features of a second network, and ignores them yet.

    Parameters
    ----------
    unet : diffusers.UNet2DConditionModel
    features : int
        How many.
    """
    # Its private keys would put what was left at its default back to it.
    config = {key: value for key, value in unet.config.items() if not key.startswith("_")} | {
        "class_embed_type": "simple_projection",
        "projection_class_embeddings_input_dim": features,
    }
    found = type(unet).from_config(config)
    weights = unet.state_dict()
    for name, value in found.state_dict().items():
        known = weights.get(name)
        weights[name] = torch.zeros_like(value) if known is None else known
    found.load_state_dict(weights)
    return found
