"""Train the default weights for virtual subjects: ``python -m phosphene.checkpoints.recipes.virtual``.

Stages run in order and leave what they made in the working folder; a stage whose result is there
is skipped, and an interrupted one goes on from its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.checkpoints.recipes.scene_pictures import scene_pictures
from phosphene.checkpoints.recipes.virtual_recordings import virtual_recordings
from phosphene.config import Config
from phosphene.data.pictures import Pictures
from phosphene.pipelines.training.engine import EngineConfig

__all__ = ["STAGES", "FmriRecipe"]


class FmriRecipe(Config):
    """Sizes of everything; the defaults are those of the weights that are shipped."""

    scenes: int = 40_000
    validation_scenes: int = 1_200
    shown_scenes: int = 8_000  # to each subject, three times
    shown_validation_scenes: int = 300
    repetitions: int = 3
    subjects: tuple[str, ...] = ("01", "02", "03", "04")
    preset: str = "nsd-7t"
    embedder: EngineConfig = EngineConfig(
        epochs=5, batch_size=128, learning_rate=1e-3, weight_decay=0.05, warmup_steps=100,
        checkpoint_every=300,
    )
    autoencoder: EngineConfig = EngineConfig(
        epochs=3, batch_size=32, learning_rate=2e-3, warmup_steps=50, checkpoint_every=300,
        ema_decay=0.99,
    )


EMBEDDER = {
    "embed_dim": 128,
    "vision_cfg": {
        "image_size": 64, "patch_size": 8, "width": 160, "layers": 5, "head_width": 32,
        "pool_type": "avg",
    },
    "text_cfg": {"context_length": 32, "width": 128, "heads": 4, "layers": 3},
}  # fmt: skip
AUTOENCODER = {
    "in_channels": 3, "out_channels": 3, "latent_channels": 4, "layers_per_block": 1,
    "down_block_types": ["DownEncoderBlock2D"] * 3, "up_block_types": ["UpDecoderBlock2D"] * 3,
    "block_out_channels": [24, 48, 96], "norm_num_groups": 8, "sample_size": 64,
    "mid_block_add_attention": False,
}  # fmt: skip


def pictures(recipe: FmriRecipe, work: Path) -> dict[str, Pictures]:
    """Return training and validation pictures."""
    counts = {"train": recipe.scenes, "validation": recipe.validation_scenes}
    return {split: scene_pictures(work, n, split=split) for split, n in counts.items()}


def embedder(recipe: FmriRecipe, work: Path) -> Path:
    """Train the CLIP model on scenes and captions."""
    from phosphene.data.scenes import caption_vocabulary, captions, sample_scenes
    from phosphene.encoders.stimulus.open_clip import OpenClipTarget
    from phosphene.pipelines.training.contrastive import train_contrastive

    def train(folder: Path) -> Any:
        shown = pictures(recipe, work)["train"]
        told = [captions(scene, 4) for scene in sample_scenes(0, len(shown))]
        target = OpenClipTarget(EMBEDDER, sorted(caption_vocabulary()))
        train_contrastive(target, shown, told, recipe.embedder, folder=folder)
        return target

    return _stage(work / "embedder", train, seed=recipe.embedder.seed)


def autoencoder(recipe: FmriRecipe, work: Path) -> Path:
    """Train the autoencoder whose latents are rendered and decoded from brains."""
    from phosphene.encoders.stimulus.latents import LatentTarget
    from phosphene.pipelines.training.latents import train_latents

    def train(folder: Path) -> Any:
        target = LatentTarget("AutoencoderKL", AUTOENCODER, 64)
        shown = pictures(recipe, work)["train"]
        train_latents(target, shown, recipe.autoencoder, folder=folder)
        return target

    return _stage(work / "autoencoder", train, seed=recipe.autoencoder.seed)


def recordings(recipe: FmriRecipe, work: Path) -> Path:
    """Simulate the training recordings of every subject."""
    shown = pictures(recipe, work)
    virtual_recordings(
        work / "recordings",
        list(recipe.subjects),
        {
            "train": shown["train"][: recipe.shown_scenes],
            "validation": shown["validation"][: recipe.shown_validation_scenes],
        },
        repetitions=recipe.repetitions,
        preset=recipe.preset,
    )
    return work / "recordings"


def _stage(folder: Path, train: Callable[[Path], Any], *, seed: int) -> Path:
    """Run a training whose component is not there yet; keep half precision and its history."""
    import torch

    if not (folder / "config.json").is_file():
        torch.manual_seed(seed)  # of the first weights
        component = train(folder.with_name(f"{folder.name}-training"))
        component.half().float()  # what is shipped; everything later is trained on exactly this
        component.save_pretrained(folder)
    return folder


STAGES: dict[str, Callable[[FmriRecipe, Path], Any]] = {
    "pictures": pictures,
    "embedder": embedder,
    "autoencoder": autoencoder,
    "recordings": recordings,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe from the command line."""
    import argparse
    import logging
    import time

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modality", choices=["fmri"])
    parser.add_argument("--work", type=Path, default=Path("phosphene-recipe"))
    parser.add_argument("--stage", choices=list(STAGES), action="append")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    for name in options.stage or STAGES:
        start = time.perf_counter()
        STAGES[name](FmriRecipe(), options.work)
        print(f"{name}: {(time.perf_counter() - start) / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
