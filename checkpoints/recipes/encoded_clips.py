"""Moving scenes as networks see them, and keyframes as a decoder would have them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from phosphene.errors import InputError
from phosphene.seeds import item_seed

if TYPE_CHECKING:
    from torch import Tensor

    from phosphene.checkpoints.recipes.virtual_video_generator import VideoRecipe
    from phosphene.data.pictures import Pictures
    from phosphene.data.scenes import RenderedMovie
    from phosphene.encoders.stimulus.base import StimulusEncoder
    from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion

__all__ = [
    "decoded_keyframes",
    "encoded_clips",
    "picture_generator",
    "picture_targets",
    "rendered_clips",
]

BLOCK = 50  # clips that are encoded at a time; a block that is written is never made again
FLOW_SIZE = 16  # of optical flow, a grid as fine as latents


def encoded_clips(recipe: VideoRecipe, work: Path, split: str, count: int) -> dict[str, Tensor]:
    """Return the first ``count`` clips of a split as the networks see them; they are kept.

    Returns
    -------
    dict
        As :func:`train_motion_module` takes it.
    """
    import torch

    from phosphene.progress import progress
    from phosphene.storage import load_tensors, save_tensors

    generator, (target, features) = picture_generator(recipe), picture_targets(recipe)
    parts: list[dict[str, Tensor]] = []
    for start in progress(range(0, count, BLOCK), label=f"{split} clips"):
        many = min(BLOCK, count - start)
        name = f"clips-{generator.latents.spec.hash}-{split}-{start:05d}-{many}.safetensors"
        if not (work / name).is_file():
            shown, flow = rendered_clips(recipe, split, range(start, start + many))
            keys = shown[:, recipe.frames // 2]
            values = {
                "latent": generator.latents.encode(shown.reshape(-1, *shown.shape[2:])).unflatten(
                    0, (many, -1)
                ),
                "flow": flow,
                "token": target.encode(keys),
                "feature": features.encode(keys),
            }
            seed = item_seed(recipe.seed, split, "clips", start)
            values |= decoded_keyframes(generator, values["token"], values["feature"], seed)
            save_tensors(work / name, {name: value.half() for name, value in values.items()})
        parts.append(load_tensors(work / name))
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def decoded_keyframes(
    generator: LatentDiffusion, token: Tensor, feature: Tensor, seed: int
) -> dict[str, Tensor]:
    """Return imitated embeddings of keyframes, and latents of what is rendered from them."""
    import torch

    from phosphene.pipelines.training.imitated_decoding import imitate_embedding
    from phosphene.types import BrainEmbedding

    told_token, told_feature = imitate_embedding(
        token, feature, torch.Generator().manual_seed(seed)
    )
    drawn = generator.generate(
        BrainEmbedding(tokens=told_token, features=told_feature),
        generators=[torch.Generator().manual_seed(seed + row) for row in range(len(token))],
    )
    return {
        "told_token": told_token,
        "told_feature": told_feature,
        "drawn": generator.latents.encode(np.asarray(drawn)),
    }


def rendered_clips(
    recipe: VideoRecipe, split: str, indices: range, seed: int = 0
) -> tuple[Pictures, Tensor]:
    """Return frames (n, F, H, W, 3) of moving scenes, and their flow in widths per frame."""
    import torch
    from torch.nn import functional as F

    movies = [_movie(recipe, split, index, seed) for index in indices]
    flow = torch.from_numpy(np.stack([movie.flow for movie in movies])).movedim(-1, 2)
    flow[:, -1] = flow[:, -2]  # nothing is known of what follows the last frame
    width = flow.shape[-1]
    coarse = F.avg_pool2d(flow.flatten(0, 1), width // FLOW_SIZE).unflatten(0, flow.shape[:2])
    return np.stack([movie.images for movie in movies]), coarse / width


def _movie(recipe: VideoRecipe, split: str, index: int, seed: int) -> RenderedMovie:
    """Return a moving scene; another one where the camera sank into the ground."""
    from phosphene.data.scenes import render_movie, sample_movie

    try:
        movie = sample_movie(
            index,
            n_frames=recipe.frames,
            fps=recipe.fps,
            mean_shot=math.inf,
            split=split,
            seed=seed,
        )
        return render_movie(movie)
    except InputError:
        return _movie(recipe, split, index + 1_000_000, seed)


def picture_generator(recipe: VideoRecipe) -> LatentDiffusion:
    """Return the generator of the model whose pictures begin to move."""
    from phosphene.checkpoints.registry import model_folder
    from phosphene.encoders.stimulus.open_clip import OpenClipTarget
    from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion

    folder = Path(model_folder(recipe.model))
    target = OpenClipTarget.from_pretrained(folder / "target")
    return LatentDiffusion.load(folder / "generator", target)


def picture_targets(recipe: VideoRecipe) -> tuple[StimulusEncoder, StimulusEncoder]:
    """Return the encoders of tokens and of features that this model was trained on."""
    from phosphene.checkpoints.registry import model_folder
    from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget
    from phosphene.encoders.stimulus.open_clip import OpenClipTarget

    folder = Path(model_folder(recipe.model))
    return (
        OpenClipTarget.from_pretrained(folder / "target"),
        EfficientNetTarget.from_pretrained(folder / "features_target"),
    )
