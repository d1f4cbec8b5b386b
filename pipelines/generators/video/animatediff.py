"""AnimateDiff: Stable Diffusion 1.5 with layers over time, kept to the keyframe by SparseCtrl.

Guo et al. 2024, *AnimateDiff*; Guo et al. 2024, *SparseCtrl: adding sparse controls to
text-to-video diffusion models*; Ye et al. 2023 (IP-Adapter). NeuroClips (Gong et al. 2024) renders
so, from a decoded blurry video.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from phosphene.checkpoints.registry import KnownGenerator, find_video_generator
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.expected import Wanted, at_own_length, check_target
from phosphene.pipelines.generators.ip_adapter import IPAdapter
from phosphene.pipelines.generators.pipeline_folder import (
    load_part,
    load_pipeline,
    weights_fingerprint,
)
from phosphene.pipelines.generators.video.options import VideoOptions
from phosphene.pipelines.generators.video.published import PublishedVideo
from phosphene.pipelines.generators.video.rendering import Block, Predict, guided
from phosphene.storage import hash_bytes

__all__ = ["AnimateDiff"]


class AnimateDiffOptions(VideoOptions):
    """Settings of AnimateDiff.

    Attributes
    ----------
    control_scale : float
        Weight of the keyframe; 0 leaves it out.
    adapter_scale : float
        Weight of the embedding, where there is an adapter.
    embedding_length : float, optional
        As for picture generators.
    """

    control_scale: float = 1.0
    adapter_scale: float = 1.0
    embedding_length: float | None = None


class AnimateDiff(PublishedVideo):
    """The keyframe is what the middle of a clip shows; the embedding or a prompt says of what."""

    name: ClassVar[str] = "animatediff"
    options_class: ClassVar[type[VideoOptions]] = AnimateDiffOptions
    options: AnimateDiffOptions
    network_part: ClassVar[str] = "unet"
    half: ClassVar[str] = "float16"
    begins: ClassVar[bool] = False
    takes_radial: ClassVar[bool] = False

    def __init__(self, pipeline: Any, *arguments: Any, **named: Any) -> None:
        self.control: Any = pipeline.controlnet.eval().requires_grad_(False)
        super().__init__(pipeline, *arguments, **named)
        self.adapted = self.network.config.encoder_hid_dim_type == "ip_image_proj"
        if self.adapted:
            self.pipeline.set_ip_adapter_scale(self.options.adapter_scale)
            self._check_embeddings()

    @classmethod
    def read_pipeline(cls, folders: dict[str, Path], entry: KnownGenerator) -> Any:
        from diffusers import (
            AnimateDiffSparseControlNetPipeline,
            DDIMScheduler,
            MotionAdapter,
            SparseControlNetModel,
        )

        base = load_pipeline("StableDiffusionPipeline", folders["pipeline"])
        motion = load_part(MotionAdapter, folders["motion"])
        control = load_part(SparseControlNetModel, folders["control"])
        # The layers over time were trained with noise that grows linearly.
        scheduler = DDIMScheduler.from_config(
            base.scheduler.config, beta_schedule="linear", clip_sample=False
        )
        parts = ("vae", "text_encoder", "tokenizer", "unet")
        try:
            pipeline = AnimateDiffSparseControlNetPipeline(
                **{name: getattr(base, name) for name in parts},
                motion_adapter=motion,
                controlnet=control,
                scheduler=scheduler,
            )
        except ValueError as error:
            raise InputError(
                f"a motion adapter that does not fit the UNet ({error})",
                expected="one that was trained for this pipeline",
                remedy="name a generator whose parts belong together",
            ) from error
        pipeline.set_progress_bar_config(disable=True)
        if "adapter" in entry.parts:
            return IPAdapter.add_parts(pipeline, folders, entry)
        return pipeline

    def _check_embeddings(self) -> None:
        """Refuse embeddings of keyframes that the adapter was not trained on."""
        target = getattr(self.pictures, "target", None)
        found = find_video_generator(self.entry_name)
        published = None if found is None else found[1].embedding
        projection = self.network.encoder_hid_proj.image_projection_layers[0]
        size = int(projection.image_embeds.in_features)
        if target is None:
            raise InputError(
                f"the video generator {self.entry_name} without a target of embeddings",
                expected=Wanted("pooled", size).describe(published),
                remedy="name a picture generator that takes them, or animatediff, which takes none",
            )
        check_target(self.entry_name, Wanted("pooled", size), published, target)

    @classmethod
    def encode_words(
        cls, pipeline: Any, texts: Sequence[str], device: torch.device
    ) -> dict[str, Tensor]:
        found, _ = pipeline.encode_prompt(
            list(texts), device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return {"prompt": found.float()}

    def whole_frames(self, frames: int) -> int:
        most = int(self.network.config.motion_max_seq_length)
        if frames > most:
            raise UsageError(
                f"{frames} frames of one clip for {self.entry_name}",
                expected=f"{most} at most, which its layers over time know",
                remedy="ask for fewer frames per second, or decode shorter clips",
            )
        return frames

    def latent_shape(self, frames: int) -> tuple[int, int, int, int]:
        side = int(self.pipeline.vae_scale_factor)
        channels = int(self.network.config.in_channels)
        return channels, frames, self.options.height // side, self.options.width // side

    def to(self, device: str | torch.device) -> Self:
        super().to(device)
        self.control.to(self.network.dtype)
        return self

    def encode(self, frames: Tensor) -> Tensor:
        scale = float(self.vae.config.scaling_factor)
        parts = [
            self.vae.encode(part).latent_dist.mode() * scale
            for part in frames[0].transpose(0, 1).split(self.options.decode_frames)
        ]
        return torch.cat(parts).transpose(0, 1)[None]

    def decode(self, latents: Tensor) -> Tensor:
        plain = latents[0].transpose(0, 1) / float(self.vae.config.scaling_factor)
        shown = [
            (self.vae.decode(part).sample.cpu() / 2 + 0.5).clamp(0, 1)
            for part in plain.split(self.options.decode_frames)
        ]
        return torch.cat(shown)

    def prepare(self, block: Block, noise: Tensor) -> Predict:
        dtype, frames = self.network.dtype, noise.shape[2]
        known, mask = (part.to(dtype) for part in self._known(block, noise))
        embeddings = self._embeddings(block, dtype)

        def call(rows: Tensor, time: Tensor, words: Tensor, embedding: Tensor | None) -> Tensor:
            text = words.repeat_interleave(frames, dim=0)
            more: dict[str, Any] = {}
            if self.options.control_scale != 0:
                down, middle = self.control(
                    rows,
                    time,
                    encoder_hidden_states=text,
                    controlnet_cond=known,
                    conditioning_mask=mask,
                    conditioning_scale=self.options.control_scale,
                    return_dict=False,
                )
                more["down_block_additional_residuals"] = down
                more["mid_block_additional_residual"] = middle
            if embedding is not None:
                more["added_cond_kwargs"] = {"image_embeds": [embedding]}
            found: Tensor = self.network(
                rows, time, encoder_hidden_states=text, return_dict=False, **more
            )[0]
            return found.float()

        def predict(noisy: Tensor, time: Tensor) -> Tensor:
            rows = noisy.to(dtype)
            told = call(rows, time, block.words["prompt"], embeddings)
            if self.options.guidance_scale <= 1:
                return told
            nothing = None if embeddings is None else torch.zeros_like(embeddings)
            free = call(rows, time, block.words["negative_prompt"], nothing)
            return guided(free, told, self.options.guidance_scale)

        return predict

    def _known(self, block: Block, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return what SparseCtrl is told of each frame, and of which it is told anything."""
        middle = noise.shape[2] // 2
        if self.control.use_simplified_condition_embedding:
            shown = torch.cat(
                [self.encode((one * 2 - 1)[None, :, None])[:, :, 0] for one in block.picture]
            )
        else:
            shown = block.picture
        known = shown.new_zeros(*shown.shape[:2], noise.shape[2], *shown.shape[2:])
        known[:, :, middle] = shown
        mask = torch.zeros_like(known[:, :1])
        mask[:, :, middle] = 1
        return known, mask

    def _embeddings(self, block: Block, dtype: torch.dtype) -> Tensor | None:
        """Return embeddings at the network's own length, (n, 1, d)."""
        if not self.adapted:
            return None
        if block.embedding is None:
            raise InputError(
                f"clips without embeddings for {self.entry_name}",
                expected="the decoded embedding of each keyframe",
                remedy="name animatediff, which takes none",
            )
        target: Any = getattr(self.pictures, "target", None)
        values = block.embedding.main.float()
        found = at_own_length(target, values, self.options.embedding_length)
        return found[:, None].to(self.device, dtype)

    @property
    def fingerprint(self) -> str:
        """Identity of the weights of UNet, layers over time included, and SparseCtrl."""
        both = super().fingerprint + weights_fingerprint(self.control)
        return hash_bytes(both.encode())[:16]
