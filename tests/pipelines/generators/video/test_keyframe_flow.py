"""Warped keyframes against closed forms, and what every video generator promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage

from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.video import VIDEO_GENERATORS
from phosphene.pipelines.generators.video.base import VideoConditions
from phosphene.pipelines.generators.video.keyframe_flow import KeyframeFlow
from phosphene.pipelines.generators.video.warping import at_moments, warp_keyframes


def smooth(n: int, size: int) -> torch.Tensor:
    noise = torch.rand((n, 3, size, size), generator=torch.Generator().manual_seed(0)).numpy()
    return torch.from_numpy(ndimage.gaussian_filter(noise, (0, 0, 2, 2)))


def uniform(n: int, right: float, down: float) -> torch.Tensor:
    return torch.tensor([right, down]).view(1, 1, 2, 1, 1).repeat(n, 3, 1, 4, 4)


def seeds(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(n)]


def test_what_every_video_generator_promises(
    video_contract, video_conditions, tiny_latents: LatentTarget
) -> None:
    assert "keyframe_flow" in VIDEO_GENERATORS.names()
    conditions = video_conditions(4)
    video_contract(VIDEO_GENERATORS.get("keyframe_flow")(tiny_latents), conditions)
    init = torch.rand((4, 8, 3, 16, 16))
    video_contract(KeyframeFlow(tiny_latents), conditions, init=init, strength=0.4)


def test_a_uniform_flow_moves_the_picture_by_as_many_pixels() -> None:
    pictures = smooth(2, 32)
    # 4 frames in a second, each an eighth or three of it from the middle: 1 and 3 pixels.
    frames = warp_keyframes(pictures, uniform(2, 8 / 32, -8 / 32), seconds=1.0, n_frames=4)
    for frame, pixels in enumerate((-3, -1, 1, 3)):
        moved = torch.roll(pictures, (-pixels, pixels), dims=(2, 3))
        inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))
        torch.testing.assert_close(frames[:, frame][inner], moved[inner], atol=1e-5, rtol=0)


def test_a_rotation_agrees_with_scipy() -> None:
    size, degrees_per_second = 48, 40.0
    pictures = smooth(1, size)
    centre = (torch.arange(size) + 0.5) / size - 0.5
    speed = np.radians(degrees_per_second)
    across = (-centre[:, None] * speed).expand(size, size)  # down the page is clockwise
    down = (centre[None] * speed).expand(size, size)
    flow = torch.stack([across, down])[None, None]
    frames = warp_keyframes(
        pictures, flow, seconds=1.0, n_frames=2, steps_per_frame=20
    )  # a quarter of a second before and after
    expected = ndimage.rotate(
        pictures[0].numpy(), -degrees_per_second / 4, axes=(1, 2), reshape=False, order=1
    )
    inner = (slice(None), slice(12, -12), slice(12, -12))
    np.testing.assert_allclose(frames[0, 1].numpy()[inner], expected[inner], atol=5e-3)


def test_a_height_per_second_is_no_width_per_second() -> None:
    wide = smooth(1, 32)[:, :, :16]  # 16 rows, 32 columns
    frames = warp_keyframes(wide, uniform(1, 0.0, 8 / 32), seconds=1.0, n_frames=4)
    moved = torch.roll(wide, 3, dims=2)
    torch.testing.assert_close(frames[:, 3, :, 4:-4], moved[:, :, 4:-4], atol=1e-5, rtol=0)


def test_moments_between_moments() -> None:
    series = torch.tensor([[0.0, 2.0]])  # at .5 and 1.5 of 2 s
    found = at_moments(series, torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0]), 2.0)
    assert found.tolist() == [[0.0, 0.0, 1.0, 2.0, 2.0]]


def test_zero_flow_and_no_correction_is_a_still_picture() -> None:
    conditions = VideoConditions(1.0, smooth(2, 16), flow=uniform(2, 0.0, 0.0))
    clips = KeyframeFlow().generate(conditions, generators=seeds(2), fps=8)
    assert (clips == clips[:, :1]).all()


def test_low_level_frames_correct_what_is_coarse_and_replace_another_scene(
    tiny_latents: LatentTarget,
) -> None:
    keyframes = smooth(1, 16)
    lowlevel = torch.stack([torch.zeros(2, 8, 8), 3 * torch.ones(2, 8, 8)])[None]
    shown = tiny_latents.decode(lowlevel[0])
    conditions = VideoConditions(
        1.0, keyframes, lowlevel=lowlevel, cut=torch.tensor([[0.0, 0.0, 0.9, 0.0]])
    )
    made = KeyframeFlow(tiny_latents, correction=0.0).generate(
        conditions, generators=seeds(1), fps=8
    )[0]
    still = (keyframes[0] * 255).round().byte().movedim(0, -1).numpy()
    assert (made[0] == still).all()
    # From five eighths on another scene is shown, of which only the low-level frames know.
    last = (shown[1] * 255).round().byte().movedim(0, -1).numpy()
    assert np.abs(made[-1].astype(int) - last).max() <= 1
    fully = KeyframeFlow(tiny_latents, correction=1.0).generate(
        conditions, generators=seeds(1), fps=8
    )[0]
    grey = fully[0].mean(), (shown[0] * 255).mean()
    assert abs(grey[0] - grey[1]) < abs(still.mean() - grey[1])


def test_saved_settings_come_back(tmp_path: Path, tiny_latents: LatentTarget) -> None:
    class Pictures:
        latents = tiny_latents

    KeyframeFlow(tiny_latents, correction=0.25, gain=2.0).save(tmp_path)
    loaded = KeyframeFlow.load(tmp_path, Pictures())  # type: ignore[arg-type]
    assert (loaded.correction, loaded.gain) == (0.25, 2.0)
    assert loaded.latents is tiny_latents
    assert KeyframeFlow.load(tmp_path / "none", Pictures()).gain == 1.0  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generators": []}, "0 random generators for 2 clips"),
        ({"strength": 0.5}, "without frames"),
        ({"fps": 0.0}, "fps"),
        ({"init": torch.zeros(2, 3, 3, 16, 16)}, "an init of shape"),
    ],
)
def test_arguments_that_do_not_go_together(change: dict[str, object], message: str) -> None:
    conditions = VideoConditions(1.0, smooth(2, 16))
    with pytest.raises((InputError, UsageError), match=message):
        KeyframeFlow().generate(conditions, **{"generators": seeds(2), **change})  # type: ignore[arg-type]


def test_conditions_of_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match="flow of shape"):
        VideoConditions(1.0, smooth(2, 16), flow=torch.zeros(2, 4, 3, 4, 4))
    with pytest.raises(InputError, match="captions of 1"):
        VideoConditions(1.0, smooth(2, 16), captions=("one",))
    with pytest.raises(InputError, match="keyframes"):
        VideoConditions(0.0, smooth(2, 16))
