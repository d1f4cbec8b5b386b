"""The recipe of default_video, its scores, and the weights that come with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.checkpoints.recipes.encoded_clips import picture_generator, rendered_clips
from phosphene.checkpoints.recipes.judged_video_generator import card, measured
from phosphene.checkpoints.recipes.virtual_video_generator import VideoRecipe
from phosphene.checkpoints.registry import HERE, embedded_video_generators
from phosphene.data.scenes import render_movie, sample_movie
from phosphene.pipelines.generators.video.base import VideoConditions
from phosphene.pipelines.generators.video.default_video import DefaultVideo
from phosphene.types import BrainEmbedding


def test_scenes_come_with_their_flow_in_widths_per_frame() -> None:
    recipe = VideoRecipe(frames=3)
    shown, flow = rendered_clips(recipe, "validation", range(4, 5), seed=3)
    movie = render_movie(
        sample_movie(4, n_frames=3, fps=8.0, mean_shot=np.inf, seed=3, split="validation")
    )
    assert np.array_equal(shown[0], movie.images)
    assert flow.shape == (1, 3, 2, 16, 16)
    for frame in range(2):
        corner = movie.flow[frame, :4, :4].mean((0, 1)) / 64
        assert flow[0, frame, :, 0, 0].numpy() == pytest.approx(corner, abs=1e-6)
    assert torch.equal(flow[0, 2], flow[0, 1])


def test_scores_of_clips_whose_scores_are_known() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    picture = np.kron(picture[::8, ::8], np.ones((8, 8, 1), np.uint8))
    moving = np.stack([np.roll(picture, step, axis=1) for step in range(3)])[None]
    still = np.repeat(moving[:, 1:2], 3, axis=1)
    same, stands = measured(moving, moving), measured(still, moving)
    assert float(same["end-point error"][0]) == 0
    assert float(same["PixCorr"][0]) == pytest.approx(1)
    assert float(same["SSIM"][0]) == pytest.approx(1)
    assert float(stands["change"][0]) == 0
    assert float(stands["neighbours"][0]) == pytest.approx(1)
    assert float(stands["motion"][0]) == 0
    # A still clip is as wrong as the true motion is long.
    assert stands["end-point error"] == pytest.approx(same["motion"])
    assert float(same["change"][0]) == pytest.approx(
        np.abs(moving[0, 1].astype(float) - moving[0, 0]).mean(), abs=1e-3
    )
    scores = {"keyframe_flow": stands, "default_video": same}
    told = card(
        VideoRecipe(),
        {name: {key: v.tolist() for key, v in each.items()} for name, each in scores.items()},
    )
    assert "| clips in which default_video is better |  |  | 1 of 1 |  | 1 of 1 | 1 of 1 |" in told
    assert "never human data" in told


def test_all_weights_stay_within_their_budget() -> None:
    files = [file for file in (HERE / "weights").rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 60e6
    assert 1 < embedded_video_generators()["default_video"][0] < 7


def test_weights_of_the_package_go_into_the_default_model(tmp_path: Path) -> None:
    recipe = VideoRecipe()
    pictures = picture_generator(recipe)
    video = DefaultVideo.load(tmp_path / "none", pictures)
    assert video.settings == {
        "video_steps": str(recipe.steps),
        "video_guidance": f"{recipe.guidance_scale:g}",
        "video_noise_share": f"{recipe.noise_share:g}",
    }
    assert video.motion.window == recipe.window
    stream = torch.Generator().manual_seed(0)
    conditions = VideoConditions(
        seconds=0.5,
        keyframes=torch.rand(1, 3, 64, 64, generator=stream),
        embedding=BrainEmbedding(tokens=torch.randn(1, 16, 160, generator=stream)),
    )
    streams = [torch.Generator().manual_seed(1)]
    clip = video.generate(conditions, generators=streams, num_inference_steps=2)
    assert clip.shape == (1, 4, 64, 64, 3)
    assert clip.std() > 1
