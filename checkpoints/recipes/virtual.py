"""Train the default weights: ``python -m phosphene.checkpoints.recipes.virtual fmri``.

Stages run in order and leave what they made in the working folder; a stage whose result is there
is skipped, and an interrupted one goes on from its checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from phosphene.checkpoints.recipes.running import publish_weights, run_stages
from phosphene.checkpoints.recipes.scene_pictures import encoded_pictures, scene_pictures
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
        epochs=3,
        batch_size=128,
        learning_rate=1e-3,
        weight_decay=0.05,
        warmup_steps=60,
        checkpoint_every=100,
    )
    autoencoder: EngineConfig = EngineConfig(
        epochs=3,
        batch_size=32,
        learning_rate=2e-3,
        warmup_steps=50,
        checkpoint_every=300,
        ema_decay=0.99,
    )
    generator: EngineConfig = EngineConfig(
        epochs=3,
        batch_size=32,
        learning_rate=6e-4,
        warmup_steps=100,
        checkpoint_every=200,
        ema_decay=0.998,
        precision="bf16",
    )
    standardised_on: int = 2_000  # training scenes, for the features
    lending_scenes: int = 40_000  # of which detail is borrowed
    tuning: EngineConfig = EngineConfig(
        epochs=5,
        batch_size=32,
        learning_rate=5e-4,
        warmup_steps=100,
        checkpoint_every=200,
        ema_decay=0.998,
        precision="bf16",
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
UNET = {
    "sample_size": 16, "in_channels": 4 + 160, "out_channels": 4, "layers_per_block": 1,
    "block_out_channels": [64, 128, 128], "cross_attention_dim": 160,
    "attention_head_dim": 4,  # diffusers reads it as the number of heads
    "norm_num_groups": 16,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
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


def generator(recipe: FmriRecipe, work: Path) -> Path:
    """Train the conditional UNet on latents and tokens of all pictures."""
    import torch
    from diffusers import UNet2DConditionModel

    from phosphene.encoders.stimulus.latents import LatentTarget
    from phosphene.encoders.stimulus.open_clip import OpenClipTarget
    from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
    from phosphene.pipelines.training.latent_diffusion import train_latent_diffusion

    if (work / "generator" / "config.json").is_file():
        return work / "generator"
    target = OpenClipTarget.from_pretrained(work / "embedder")
    latents = LatentTarget.from_pretrained(work / "autoencoder")
    shown = pictures(recipe, work)["train"]
    torch.manual_seed(recipe.generator.seed)
    made = LatentDiffusion(UNet2DConditionModel(**UNET), latents, condition=target.spec.hash)
    train_latent_diffusion(
        made,
        encoded_pictures(work / "latents.safetensors", latents, shown),
        encoded_pictures(work / "tokens.safetensors", target, shown),
        recipe.generator,
        folder=work / "generator-training",
    )
    made.unet.half().float()
    made.save(work / "generator")
    return work / "generator"


def features(recipe: FmriRecipe, work: Path) -> Path:
    """Measure how the features of a network of natural pictures vary over scenes."""
    from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget

    if not (work / "features" / "config.json").is_file():
        target = EfficientNetTarget()
        target.standardise(pictures(recipe, work)["train"][: recipe.standardised_on])
        target.save_pretrained(work / "features")
    return work / "features"


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


def decoder(recipe: FmriRecipe, work: Path) -> Path:
    """Fit encoders, tune the generator, choose strength with ``phosphene train``.

    A diffusion prior was trained and lost to the rescaling one; it is not trained again.
    """
    from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget
    from phosphene.pipelines.training.decoder import DecoderConfig, train_decoder

    config = DecoderConfig(
        dataset=str(work / "recordings"),
        output=str(work / "virtual-fmri"),
        subjects=recipe.subjects,
        target=str(work / "embedder"),
        generator=str(work / "generator"),
        features=str(work / "features"),
        tuning=recipe.tuning,
        prior="identity",
        half=True,
    )
    lenders = encoded_pictures(
        work / "features.safetensors",
        EfficientNetTarget.from_pretrained(features(recipe, work)),
        pictures(recipe, work)["train"][: recipe.lending_scenes],
    )
    folder, summary = train_decoder(config, resume=True, scenes=lenders)
    for name, value in summary.items():
        print(f"{name} {value:.4g}")
    return folder


def publish(recipe: FmriRecipe, work: Path) -> Path:
    """Copy the model beside the registry and enter its identity there."""
    return publish_weights(
        work / "virtual-fmri",
        modality="fmri",
        description=f"virtual subjects {', '.join(recipe.subjects)} ({recipe.preset}), "
        f"{recipe.shown_scenes} scenes x {recipe.repetitions}; never human data",
    )


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
    "generator": generator,
    "features": features,
    "recordings": recordings,
    "decoder": decoder,
    "publish": publish,
}


def main(arguments: list[str] | None = None) -> None:
    """Run the recipe from the command line."""
    run_stages(
        FmriRecipe(), STAGES, words=__doc__, work="phosphene-recipe", modality="fmri",
        arguments=arguments,
    )  # fmt: skip


if __name__ == "__main__":
    main()
