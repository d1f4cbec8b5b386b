"""Train ``default_video``: ``python -m phosphene.checkpoints.recipes.virtual_video_generator``.

Layers over time for the picture generator of a default model, from moving scenes. Only they are
stored, so that a picture generator of the same layers can be trained anew beside them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phosphene.checkpoints.recipes.encoded_clips import encoded_clips, picture_generator
from phosphene.checkpoints.recipes.running import run_stages
from phosphene.config import Config
from phosphene.pipelines.training.engine import EngineConfig

if TYPE_CHECKING:
    from torch import Tensor

    from phosphene.checkpoints.recipes.judged_video_generator import Scores
    from phosphene.pipelines.generators.video.default_video import DefaultVideo

__all__ = ["STAGES", "VideoRecipe", "moving_generator"]


class VideoRecipe(Config):
    """Sizes of everything; the defaults are those of the weights that are shipped."""

    model: str = "virtual-fmri"
    clips: int = 500
    validation_clips: int = 20
    frames: int = 16  # two seconds, as default models decode
    fps: float = 8.0
    window: int = 16  # frames that know of each other
    heads: int = 4
    seed: int = 0  # of imitated decoding
    # Chosen on validation clips:
    steps: int = 8
    guidance_scale: float = 2.5
    noise_share: float = 1.0
    correction: float = 1.0  # of keyframe_flow beside it
    # Scenes that nothing was trained or chosen on:
    judged_seed: int = 43
    judged_clips: int = 20
    training: EngineConfig = EngineConfig(
        epochs=10,
        batch_size=4,
        learning_rate=1e-3,
        warmup_steps=50,
        checkpoint_every=25,
        ema_decay=0.99,
        precision="bf16",
    )


def clips(recipe: VideoRecipe, work: Path) -> dict[str, dict[str, Tensor]]:
    """Return what networks see of training and validation clips, in half precision."""
    counts = {"train": recipe.clips, "validation": recipe.validation_clips}
    return {split: encoded_clips(recipe, work, split, count) for split, count in counts.items()}


def motion(recipe: VideoRecipe, work: Path) -> Path:
    """Train the layers over time; an interrupted training goes on from its checkpoint."""
    import torch

    from phosphene.pipelines.generators.video.motion_module import MotionModule, motion_places
    from phosphene.pipelines.training.video_motion import train_motion_module

    if (work / "motion" / "config.json").is_file():
        return work / "motion"
    generator = picture_generator(recipe)
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


def judge(recipe: VideoRecipe, work: Path) -> Scores:
    """Compare it with the keyframe that is moved, on scenes of an unused seed; print the table."""
    import json

    from phosphene.checkpoints.recipes.judged_video_generator import compare, table
    from phosphene.pipelines.generators.video.keyframe_flow import KeyframeFlow
    from phosphene.storage import read_json, write_text

    path = work / "judged.json"
    if path.is_file():
        found: Scores = read_json(path)
        return found
    generator = picture_generator(recipe)
    moved = KeyframeFlow(generator.latents, correction=recipe.correction)
    found = compare(recipe, moved, moving_generator(recipe, work))
    print(table(found))
    write_text(path, json.dumps(found, indent=2) + "\n")
    return found


def publish(recipe: VideoRecipe, work: Path) -> Path:
    """Copy the layers, in half precision, beside the default models."""
    import shutil

    from phosphene.checkpoints.recipes.judged_video_generator import card
    from phosphene.pipelines.generators.video.default_video import WEIGHTS
    from phosphene.storage import new_folder, write_text

    made = moving_generator(recipe, work)
    made.motion.half()
    shutil.rmtree(WEIGHTS, ignore_errors=True)
    with new_folder(WEIGHTS) as building:
        made.save(building)
        write_text(building / "README.md", card(recipe, judge(recipe, work)))
    return WEIGHTS


def moving_generator(recipe: VideoRecipe, work: Path) -> DefaultVideo:
    """Return the generator with the layers that were trained, and the settings of the recipe."""
    from phosphene.pipelines.generators.video.default_video import DefaultVideo
    from phosphene.pipelines.generators.video.motion_module import MotionModule

    return DefaultVideo(
        picture_generator(recipe),
        MotionModule.from_pretrained(work / "motion"),
        steps=recipe.steps,
        guidance_scale=recipe.guidance_scale,
        noise_share=recipe.noise_share,
    )


STAGES: dict[str, Callable[[VideoRecipe, Path], Any]] = {
    "clips": clips,
    "motion": motion,
    "judge": judge,
    "publish": publish,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe from the command line."""
    run_stages(
        VideoRecipe(), STAGES, words=__doc__, work="phosphene-recipe-video", arguments=arguments
    )


if __name__ == "__main__":
    main()
