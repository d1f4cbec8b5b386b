"""The default picture generator with layers over time, small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.generators.target_decoder import TargetDecoder
from phosphene.pipelines.generators.video.base import VideoConditions
from phosphene.pipelines.generators.video.default_video import DefaultVideo, overlapping
from phosphene.pipelines.generators.video.motion_module import MotionModule, motion_places
from phosphene.types import BrainEmbedding


@pytest.fixture
def video(tiny_generator: LatentDiffusion) -> DefaultVideo:
    unet = tiny_generator.unet
    torch.manual_seed(3)
    first = int(unet.conv_in.out_channels)
    channels = tiny_generator.latents.shape[0]
    motion = MotionModule(motion_places(unet), 4, channels, first, heads=2, groups=2, hidden=8)
    for layer in motion.layers.values():
        torch.nn.init.normal_(layer.proj_out.weight, std=0.3)
    torch.nn.init.normal_(motion.guide[-1].weight, std=0.3)
    return DefaultVideo(tiny_generator, motion, steps=3)


@pytest.fixture
def conditions(video_conditions, tiny_generator: LatentDiffusion) -> VideoConditions:
    made = video_conditions(3, latent=tiny_generator.latents.shape)
    stream = torch.Generator().manual_seed(8)
    width = int(tiny_generator.unet.config.cross_attention_dim)
    tokens = torch.randn(3, 4, width, generator=stream)
    return replace(made, embedding=BrainEmbedding(tokens=tokens))


def seeds(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(n)]


def test_what_every_video_generator_promises(
    video: DefaultVideo, conditions, video_contract
) -> None:
    video_contract(video, conditions)
    init = torch.rand((3, 8, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    video_contract(video, conditions, init=init, strength=0.6)


def test_strength_0_returns_the_start_and_1_ignores_it(
    video: DefaultVideo, conditions: VideoConditions
) -> None:
    init = torch.rand((3, 8, 3, 16, 16), generator=torch.Generator().manual_seed(0))
    kept = video.generate(conditions, init=init, strength=0.0, generators=seeds(3))
    latents = video.pictures.latents
    wanted = latents.decode(latents.to_latents(init[1] * 2 - 1)).movedim(1, -1)
    assert np.abs(kept[1] - (wanted * 255).round().numpy()).max() <= 1
    ignored = video.generate(conditions, init=init, strength=1.0, generators=seeds(3))
    assert np.array_equal(ignored, video.generate(conditions, generators=seeds(3)))


@pytest.mark.parametrize("part", ["lowlevel", "flow", "embedding"])
def test_everything_that_was_decoded_counts(
    part: str, video: DefaultVideo, conditions: VideoConditions
) -> None:
    told = video.generate(conditions, generators=seeds(3))
    if part == "embedding":
        assert conditions.embedding is not None
        assert conditions.embedding.tokens is not None
        other = replace(
            conditions, embedding=BrainEmbedding(tokens=conditions.embedding.tokens + 1)
        )
    else:
        other = replace(conditions, **{part: None})
    assert not np.array_equal(video.generate(other, generators=seeds(3)), told)


def test_an_absent_keyframe_and_another_scene_are_not_looked_at(
    video: DefaultVideo, conditions: VideoConditions
) -> None:
    absent = replace(conditions, first_frame="absent")
    other = replace(absent, keyframes=conditions.keyframes.flip(0))
    first, second = (video.generate(one, generators=seeds(3)) for one in (absent, other))
    assert np.array_equal(first, second)
    cut = torch.zeros(1, 4)
    cut[0, 3] = 0.9  # the last quarter shows another scene
    guesses = video._guesses(replace(conditions[:1], cut=cut), 8)
    assert guesses.moved is not None
    assert guesses.moved.flatten(1).any(1).tolist() == [True] * 7 + [False]


def test_long_clips_are_seen_in_windows(video: DefaultVideo, conditions: VideoConditions) -> None:
    assert overlapping(9, 4) == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [5, 6, 7, 8]]
    assert video.generate(conditions[:1], generators=seeds(1), fps=9.0).shape[1] == 9
    assert video.generate(conditions[:1], generators=seeds(1), fps=2.0).shape[1] == 2


def test_frames_of_one_noise_are_one_picture(
    video: DefaultVideo, conditions: VideoConditions
) -> None:
    # Before any training, and told nothing of frames: what they share is all there is.
    motion = MotionModule(
        video.motion.places, 4, video.motion.channels, video.motion.first, heads=2, groups=2
    )
    nothing = replace(conditions[:1], lowlevel=None, flow=None, cut=None)

    def change(share: float) -> float:
        still = DefaultVideo(video.pictures, motion, steps=3, noise_share=share)
        clip = still.generate(nothing, generators=seeds(1), fps=4.0)[0].astype(float)
        return float(np.abs(np.diff(clip, axis=0)).mean())

    assert change(1.0) <= 0.01
    assert change(1.0) < change(0.9) < change(0.0)


def test_other_latents_are_refused(
    video: DefaultVideo, tiny_generator: LatentDiffusion, tmp_path: Path
) -> None:
    video.save(tmp_path)
    text = (tmp_path / "config.json").read_text(encoding="utf-8")
    own = tiny_generator.latents.spec.hash
    assert own in text
    (tmp_path / "config.json").write_text(text.replace(own, "0" * len(own)), encoding="utf-8")
    with pytest.raises(InputError, match=f"renders from the latents {own}") as error:
        DefaultVideo.load(tmp_path, tiny_generator)
    assert "keyframe_flow" in str(error.value)


def test_save_and_load_give_the_same_clips(
    video: DefaultVideo, conditions: VideoConditions, tmp_path: Path
) -> None:
    video.save(tmp_path)
    again = DefaultVideo.load(tmp_path, video.pictures)
    first, second = (one.generate(conditions, generators=seeds(3)) for one in (video, again))
    assert np.array_equal(first, second)
    assert {file.name for file in tmp_path.rglob("*") if file.is_file()} == {
        "config.json",
        "model.safetensors",
    }  # no network of pictures is stored


def test_wrong_use_is_one_message(
    video: DefaultVideo, conditions: VideoConditions, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="clips without embeddings"):
        video.generate(replace(conditions, embedding=None), generators=seeds(3))
    wrong = replace(conditions, lowlevel=torch.zeros(3, 4, 1, 2, 2))
    with pytest.raises(InputError, match="a perception flow of shape"):
        video.generate(wrong, generators=seeds(3))
    pixels = TargetDecoder(PixelTarget(8, 3))
    with pytest.raises(UsageError, match="over pictures of target-decoder"):
        DefaultVideo.load(tmp_path, pixels)
    with pytest.raises(UsageError, match="a noise_share of 2"):
        DefaultVideo(video.pictures, video.motion, noise_share=2)
