"""``default_video`` beside the keyframe that is moved by decoded flow, on scenes that nothing saw.

What a decoder says of the clips is imitated, as in training; of each clip to an extent of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.seeds import item_seed

if TYPE_CHECKING:
    from phosphene.checkpoints.recipes.virtual_video_generator import VideoRecipe
    from phosphene.data.pictures import Pictures
    from phosphene.pipelines.generators.video.base import VideoConditions, VideoGenerator

__all__ = ["Scores", "card", "compare", "imitated_conditions", "measured", "rendered", "table"]

Array = np.ndarray[Any, Any]
Scores = dict[str, dict[str, list[float]]]
BETTER = {"end-point error": -1, "PixCorr": 1, "SSIM": 1}  # less, or more


def imitated_conditions(
    recipe: VideoRecipe, split: str, indices: range, seed: int
) -> tuple[VideoConditions, Pictures]:
    """Return what could have been decoded of moving scenes of a seed, and their frames."""
    import torch

    from phosphene.checkpoints.recipes.encoded_clips import (
        decoded_keyframes,
        picture_generator,
        picture_targets,
        rendered_clips,
    )
    from phosphene.pipelines.generators.video.base import VideoConditions
    from phosphene.pipelines.training.imitated_decoding import imitate_flow, imitate_lowlevel
    from phosphene.types import BrainEmbedding

    generator, (target, features) = picture_generator(recipe), picture_targets(recipe)
    shown, flow = rendered_clips(recipe, split, indices, seed)
    clean = generator.latents.encode(shown.reshape(-1, *shown.shape[2:]))
    keys, drawn = shown[:, recipe.frames // 2], item_seed(seed, split, "judged", indices.start)
    told = decoded_keyframes(generator, target.encode(keys), features.encode(keys), drawn)
    noise = torch.Generator().manual_seed(drawn)
    return VideoConditions(
        seconds=recipe.frames / recipe.fps,
        keyframes=generator.latents.decode(told["drawn"]).cpu(),
        embedding=BrainEmbedding(tokens=told["told_token"], features=told["told_feature"]),
        lowlevel=imitate_lowlevel(clean.unflatten(0, shown.shape[:2]), noise),
        flow=imitate_flow(flow, noise) * recipe.fps,
    ), shown


def compare(recipe: VideoRecipe, moved: VideoGenerator, drawn: VideoGenerator) -> Scores:
    """Return scores of each clip: of the truth, of both generators, and of their controls."""
    from phosphene.pipelines.metrics.optical_flow import FlowError

    clips = range(recipe.judged_clips)
    conditions, truth = imitated_conditions(recipe, "test", clips, recipe.judged_seed)
    assert conditions.lowlevel is not None
    assert conditions.flow is not None
    still = replace(conditions, flow=None, lowlevel=None)
    exchanged = replace(
        conditions, lowlevel=conditions.lowlevel.roll(1, 0), flow=conditions.flow.roll(1, 0)
    )
    shown = {
        "truth": truth,
        "keyframe, still": rendered(moved, still, recipe.fps),
        moved.name: rendered(moved, conditions, recipe.fps),
        drawn.name: rendered(drawn, conditions, recipe.fps),
        f"{drawn.name}, no guesses": rendered(
            drawn, replace(still, first_frame="absent"), recipe.fps
        ),
        f"{drawn.name}, exchanged guesses": rendered(drawn, exchanged, recipe.fps),
    }
    flow = FlowError().describe(truth)
    return {
        name: {key: each.tolist() for key, each in measured(one, truth, flow).items()}
        for name, one in shown.items()
    }


def rendered(generator: VideoGenerator, conditions: VideoConditions, fps: float) -> Pictures:
    """Return the frames of clips, each with its own stream."""
    import torch

    streams = [torch.Generator().manual_seed(row) for row in range(len(conditions))]
    return generator.generate(conditions, generators=streams, fps=fps)


def measured(clips: Pictures, truth: Pictures, flow: Array | None = None) -> dict[str, Array]:
    """Return scores of each clip (n,).

    Parameters
    ----------
    clips, truth : ndarray of shape (n, F, H, W, 3)
    flow : ndarray, optional
        Of the truth, as :class:`FlowError` describes it.
    """
    from phosphene.pipelines.metrics.optical_flow import FlowError
    from phosphene.pipelines.metrics.pictures import pixel_correlation, structural_similarity

    def over_frames(measure: Callable[[Array, Array], Array], a: Pictures, b: Pictures) -> Array:
        pairs = measure(a.reshape(-1, *a.shape[2:]), b.reshape(-1, *b.shape[2:]))
        return np.asarray(pairs.reshape(len(a), -1).mean(1))

    step = np.abs(np.diff(clips.astype(np.float32), axis=1))
    error, axes = FlowError(), tuple(range(1, step.ndim))
    moving, true = error.describe(clips), error.describe(truth) if flow is None else flow
    return {
        "change": step.mean(axis=axes),
        "neighbours": over_frames(pixel_correlation, clips[:, 1:], clips[:, :-1]),
        "end-point error": error.compare(moving, true),
        "motion": error.compare(np.zeros_like(moving), moving),
        "PixCorr": over_frames(pixel_correlation, clips, truth),
        "SSIM": over_frames(structural_similarity, clips, truth),
    }


def table(scores: Scores) -> str:
    """Return mean scores as a table, and in how many clips default_video is the better one."""
    titles = list(next(iter(scores.values())))
    rows = {
        name: [f"{np.mean(values):.3f}" for values in each.values()]
        for name, each in scores.items()
    }
    one, other = scores["default_video"], scores["keyframe_flow"]
    count = len(one[titles[0]])
    rows["clips in which default_video is better"] = [
        f"{int((BETTER[key] * (np.array(one[key]) - other[key]) > 0).sum())} of {count}"
        if key in BETTER
        else ""
        for key in titles
    ]
    return "\n".join(
        [
            f"| | {' | '.join(titles)} |",
            f"|---|{'---|' * len(titles)}",
            *(f"| {name} | {' | '.join(values)} |" for name, values in rows.items()),
        ]
    )


def card(recipe: VideoRecipe, scores: Scores) -> str:
    """Return the README of the weights."""
    return f"""---
library_name: phosphene
tags: [brain-decoding, video]
---
# default_video

Layers over time for the picture generator of `{recipe.model}` (AnimateDiff, Guo et al. 2024), which
lets the frames of a clip be drawn together. Trained on {recipe.clips} rendered moving scenes of
{recipe.frames / recipe.fps:g} s with imitated decoding errors; never human data. It knows how these
scenes move and may show motion that nobody decoded.

On {recipe.judged_clips} scenes of a seed that nothing was trained or chosen on, guesses imitated:

{table(scores)}

`change` is the mean absolute difference of neighbouring frames in grey levels, `neighbours` their
correlation, `end-point error` that of the motion in the frames beside the truth's, and `motion` its
mean length, in pixels of 64 per frame. `keyframe_flow` is the default: what is seen with decoded
runs in the place of imitated ones is in `docs/video_generators.md`.

```
reconstruct --subject 01 --input RUN --video --generator default_video --output OUT
python -m phosphene.checkpoints.recipes.virtual_video_generator --work DIR
```
"""
