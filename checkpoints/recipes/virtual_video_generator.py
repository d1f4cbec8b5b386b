"""Train ``default_video``: ``python -m phosphene.checkpoints.recipes.virtual_video_generator``.

Layers over time for the picture generator of a default model, from moving scenes. Only they are
stored, so that a picture generator of the same layers can be trained anew beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phosphene.checkpoints.recipes.running import run_stages
from phosphene.config import Config
from phosphene.errors import InputError
from phosphene.pipelines.training.engine import EngineConfig

if TYPE_CHECKING:
    from torch import Tensor

    from phosphene.data.pictures import Pictures
    from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion

__all__ = ["STAGES", "VideoRecipe", "encoded_clips"]

BLOCK = 50  # clips that are encoded at a time; a block that is written is never made again


class VideoRecipe(Config):
    """Sizes of everything; the defaults are those of the weights that are shipped."""

    model: str = "virtual-fmri"
    clips: int = 200
    validation_clips: int = 20
    frames: int = 16  # two seconds
    fps: float = 8.0
    keyframes: int = 2  # of each clip, whose embeddings are kept
    window: int = 8  # frames that know of each other
    heads: int = 4
    training: EngineConfig = EngineConfig(
        epochs=5,
        batch_size=4,
        learning_rate=1e-3,
        warmup_steps=25,
        checkpoint_every=25,
        ema_decay=0.99,
        precision="bf16",
    )


def clips(recipe: VideoRecipe, work: Path) -> dict[str, dict[str, Tensor]]:
    """Return latents, tokens and features of training and validation clips, in half precision."""
    counts = {"train": recipe.clips, "validation": recipe.validation_clips}
    return {split: encoded_clips(recipe, work, split, count) for split, count in counts.items()}


def encoded_clips(recipe: VideoRecipe, work: Path, split: str, count: int) -> dict[str, Tensor]:
    """Return the first ``count`` clips of a split as the networks see them; they are kept.

    Returns
    -------
    dict
        ``latent`` (n, frames, c, h, w); of keyframes ``token`` (n, keyframes, n_tokens, d) and
        ``feature`` (n, keyframes, f).
    """
    import numpy as np
    import torch

    from phosphene.checkpoints.registry import model_folder
    from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget
    from phosphene.encoders.stimulus.open_clip import OpenClipTarget
    from phosphene.progress import progress
    from phosphene.storage import load_tensors, save_tensors

    generator, folder = _generator(recipe), Path(model_folder(recipe.model))
    target = OpenClipTarget.from_pretrained(folder / "target")
    features = EfficientNetTarget.from_pretrained(folder / "features_target")
    apart = recipe.frames // recipe.keyframes
    parts: list[dict[str, Tensor]] = []
    for start in progress(range(0, count, BLOCK), label=f"{split} clips"):
        many = min(BLOCK, count - start)
        path = work / f"{generator.latents.spec.hash}-{split}-{start:05d}-{many}.safetensors"
        if not path.is_file():
            shown = np.stack(
                [_frames(recipe, split, index) for index in range(start, start + many)]
            )
            keys = shown[:, apart // 2 :: apart].reshape(-1, *shown.shape[2:])
            values = {
                "latent": generator.latents.encode(shown.reshape(-1, *shown.shape[2:])),
                "token": target.encode(keys),
                "feature": features.encode(keys),
            }
            kept = {name: v.unflatten(0, (many, -1)).half() for name, v in values.items()}
            save_tensors(path, kept)
        parts.append(load_tensors(path))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _frames(recipe: VideoRecipe, split: str, index: int) -> Pictures:
    """Return the frames of a moving scene; another one where the camera sank into the ground."""
    from phosphene.data.scenes import render, sample_movie

    try:
        movie = sample_movie(
            index, n_frames=recipe.frames, fps=recipe.fps, mean_shot=math.inf, split=split
        )
        scenes = movie.frames()
    except InputError:
        return _frames(recipe, split, index + 1_000_000)
    return render(scenes).images


def motion(recipe: VideoRecipe, work: Path) -> Path:
    """Train the layers over time; an interrupted training goes on from its checkpoint."""
    import torch

    from phosphene.pipelines.generators.video.motion_module import MotionModule, motion_places
    from phosphene.pipelines.training.video_motion import train_motion_module

    if (work / "motion" / "config.json").is_file():
        return work / "motion"
    generator = _generator(recipe)
    torch.manual_seed(recipe.training.seed)
    made = MotionModule(
        motion_places(generator.unet),
        recipe.window,
        generator.latents.shape[0],
        int(generator.unet.conv_in.out_channels),
        heads=recipe.heads,
    )
    parts = clips(recipe, work)
    joined = {name: torch.cat([parts["train"][name], parts["validation"][name]])
              for name in parts["train"]}  # fmt: skip
    result = train_motion_module(
        generator, made, joined, recipe.training, folder=work / "motion-training",
        held_out=recipe.validation_clips,
    )  # fmt: skip
    for row in result.history:
        print({key: round(value, 5) for key, value in row.items()})
    made.half().save_pretrained(work / "motion")
    return work / "motion"


def publish(recipe: VideoRecipe, work: Path) -> Path:
    """Copy the layers beside those of the default models."""
    import shutil

    from phosphene.pipelines.generators.video.default_video import WEIGHTS, DefaultVideo
    from phosphene.pipelines.generators.video.motion_module import MotionModule

    made = DefaultVideo(_generator(recipe), MotionModule.from_pretrained(work / "motion"))
    shutil.rmtree(WEIGHTS, ignore_errors=True)
    made.save(WEIGHTS)
    return WEIGHTS


def _generator(recipe: VideoRecipe) -> LatentDiffusion:
    from phosphene.checkpoints.registry import model_folder
    from phosphene.encoders.stimulus.open_clip import OpenClipTarget
    from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion

    folder = Path(model_folder(recipe.model))
    target = OpenClipTarget.from_pretrained(folder / "target")
    return LatentDiffusion.load(folder / "generator", target)


STAGES: dict[str, Callable[[VideoRecipe, Path], Any]] = {
    "clips": clips,
    "motion": motion,
    "publish": publish,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe from the command line."""
    run_stages(
        VideoRecipe(), STAGES, words=__doc__, work="phosphene-recipe-video", arguments=arguments
    )


if __name__ == "__main__":
    main()
