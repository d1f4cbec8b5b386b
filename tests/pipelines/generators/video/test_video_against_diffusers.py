"""One clip at a time, published video generators render what the library's own pipelines do."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from phosphene.checkpoints.registry import find_video_generator
from phosphene.pipelines.generators.denoising import draw
from phosphene.pipelines.generators.video import VIDEO_GENERATORS
from phosphene.pipelines.generators.video.base import VideoConditions

spec = importlib.util.spec_from_file_location(
    "tiny_video_pipelines", Path(__file__).with_name("tiny_video_pipelines.py")
)
assert spec is not None
assert spec.loader is not None
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)

STEPS, GUIDANCE, FRAMES, FPS = 3, 3.0, 9, 8.0


@pytest.fixture(autouse=True)
def _means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some pipelines of the library draw the latents of a keyframe; here they are the mean."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution as Posterior

    monkeypatch.setattr(Posterior, "sample", lambda self, generator=None: self.mode())


def opened(name: str, folder: Path, **more: Any) -> Any:
    tiny.MAKERS[name](folder)
    found = find_video_generator(name)
    assert found is not None
    kind: Any = VIDEO_GENERATORS.get(found[1].generator)
    options = {
        "steps": STEPS,
        "guidance_scale": GUIDANCE,
        "prompt": "a dog",
        "negative_prompt": "b",
    }
    settings = {**options, **tiny.OPTIONS[name], **more}
    return kind.open(name, None, source=f"local-dir:{folder}", options=settings)


def picture(size: int) -> tuple[torch.Tensor, Image.Image]:
    levels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    return torch.from_numpy(levels).movedim(-1, 0)[None] / 255, Image.fromarray(levels)


def compare(made: Any, shown: torch.Tensor, clip: torch.Tensor) -> None:
    """Compare with the library's clip (1, F, 3, H, W) in 0..1."""
    conditions = VideoConditions(FRAMES / FPS, shown)
    stream = [torch.Generator().manual_seed(5)]
    found = made.generate(conditions, generators=stream, fps=FPS)[0].astype(int)
    wanted = (clip[0].movedim(1, -1) * 255).round().numpy().astype(int)
    assert wanted.std() > 2
    assert np.abs(found - wanted).max() <= 1


def noise(made: Any) -> torch.Tensor:
    return draw(made.latent_shape(FRAMES), [torch.Generator().manual_seed(5)])


def words(made: Any) -> dict[str, torch.Tensor]:
    return {
        "prompt_embeds": made.prompt["prompt"],
        "negative_prompt_embeds": made.prompt["negative_prompt"],
    }


def asked(made: Any) -> dict[str, Any]:
    return {
        "height": made.options.height, "width": made.options.width, "num_frames": FRAMES,
        "num_inference_steps": STEPS, "output_type": "pt",
    }  # fmt: skip


def test_animatediff(tmp_path: Path) -> None:
    made = opened("animatediff", tmp_path)
    shown, image = picture(16)
    clip = made.pipeline(
        **words(made), **asked(made), conditioning_frames=[image],
        controlnet_frame_indices=[FRAMES // 2], guidance_scale=GUIDANCE, latents=noise(made),
    ).frames  # fmt: skip
    compare(made, shown, clip)


def test_stable_video_diffusion(tmp_path: Path) -> None:
    made = opened("stable-video-diffusion", tmp_path, picture_noise=0.0, decode_frames=4)
    shown, _ = picture(16)
    clip = made.pipeline(
        shown, **asked(made), max_guidance_scale=GUIDANCE, fps=int(FPS), noise_aug_strength=0.0,
        latents=noise(made).transpose(1, 2), decode_chunk_size=4,
    ).frames  # fmt: skip
    compare(made, shown, clip)


def test_wan(tmp_path: Path) -> None:
    made = opened("wan", tmp_path)
    shown, image = picture(16)
    clip = made.pipeline(
        image, **words(made), **asked(made), guidance_scale=GUIDANCE, latents=noise(made)
    ).frames
    compare(made, shown, clip)


def test_cogvideox(tmp_path: Path) -> None:
    made = opened("cogvideox", tmp_path)
    shown, image = picture(16)
    made.pipeline.scheduler = made.scheduler  # its own one is replaced
    clip = made.pipeline(
        image, **words(made), **asked(made), guidance_scale=GUIDANCE,
        latents=noise(made).transpose(1, 2),
    ).frames  # fmt: skip
    compare(made, shown, clip)


def test_ltx(tmp_path: Path) -> None:
    made = opened("ltx", tmp_path)
    shown, image = picture(32)
    pipe = made.pipeline
    pixels = pipe.video_processor.preprocess(image, height=32, width=32)
    start = noise(made)
    start[:, :, :1] = made.encode(pixels[:, :, None])
    patches = (pipe.transformer_spatial_patch_size, pipe.transformer_temporal_patch_size)
    clip = pipe(
        image, **words(made), **asked(made), guidance_scale=GUIDANCE, frame_rate=8,
        prompt_attention_mask=made.prompt["mask"],
        negative_prompt_attention_mask=made.prompt["negative_mask"],
        latents=pipe._pack_latents(start, *patches),
    ).frames  # fmt: skip
    compare(made, shown, clip)


def test_the_librarys_keyframe_serves_a_whole_batch(tmp_path: Path) -> None:
    """When this fails, SparseCtrl of the library takes one keyframe per clip."""
    made = opened("animatediff", tmp_path)
    both = {name: value.repeat(2, 1, 1) for name, value in words(made).items()}
    same = noise(made).repeat(2, 1, 1, 1, 1)
    _, image = picture(16)
    clips = made.pipeline(
        **both, **asked(made), conditioning_frames=[image, image.rotate(90)],
        controlnet_frame_indices=[FRAMES // 2], guidance_scale=GUIDANCE, latents=same,
    ).frames  # fmt: skip
    assert torch.allclose(clips[0], clips[1], atol=1e-4)
