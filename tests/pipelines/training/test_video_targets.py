"""Targets of clips against movies whose motion, changes and cuts are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from phosphene.data.movies import MovieRun
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.training.video_targets import ClipTargets, estimated_flow, true_flow
from phosphene.trials import complete_trials
from phosphene.types import Recording


class Thumbnails:
    """A target of pictures that anyone can check."""

    def encode(self, pictures: np.ndarray) -> torch.Tensor:
        return torch.tensor([[float(np.mean(picture))] for picture in pictures])


def clips(cuts: tuple[float, ...] = ()):
    recording = Recording(np.zeros((20, 2), np.float32), "fmri", "01", complete_trials(None, 20))
    return MovieRun(recording, "m", 1.0, cuts=cuts).clips(2.0, delay=0.0)


def drifting(pixels: float, n: int = 2, count: int = 8) -> np.ndarray:
    """Return clips (n, F, 64, 64, 3) of noise that moves right by so many pixels per frame."""
    noise = np.random.default_rng(0).uniform(size=(64, 64))
    texture = ndimage.gaussian_filter(noise, 2, mode="wrap")
    texture = (texture - texture.min()) / np.ptp(texture)
    frames = [ndimage.shift(texture, (0, pixels * k), mode="grid-wrap") for k in range(count)]
    rgb = np.repeat((np.stack(frames) * 255).astype(np.uint8)[..., None], 3, axis=-1)
    return np.repeat(rgb[None], n, axis=0)


def test_estimated_flow_is_that_of_the_texture() -> None:
    flow = estimated_flow(drifting(1.5), rate=4.0)
    inner = flow[:, :, 8:-8, 8:-8]
    # 1.5 of 64 pixels, four times a second.
    assert np.median(inner[..., 0]) == pytest.approx(1.5 * 4 / 64, rel=0.1)
    assert abs(np.median(inner[..., 1])) < 0.01


def test_heads_of_frames_that_are_known() -> None:
    targets = ClipTargets(Thumbnails(), None, moments=4, n_frames=8, grid=4)  # type: ignore[arg-type]
    frames = drifting(0.0, n=10)
    frames[:, 4] = 255
    flow = np.zeros((10, 8, 32, 32, 2), np.float32)
    flow[:, 2:4, :8, :8, 0] = 0.5  # the second quarter of the time, the upper left cell
    part = clips(cuts=(1.6, 2.0, 4.3))
    found = targets.of_frames(frames, part, (1.6, 2.0, 4.3), flow)
    assert found["tokens"][:, 0].tolist() == [255.0] * 10
    assert found["flow"].shape == (10, 4, 2, 4, 4)
    expected = torch.zeros(4, 2, 4, 4)
    expected[1, 0, 0, 0] = 0.5
    torch.testing.assert_close(found["flow"][0], expected)
    # Something changes only into and out of the white frame.
    assert (found["motion_energy"][:, [0, 3]] == 0).all()
    assert (found["motion_energy"][:, [1, 2]] > 0).all()
    # At 1.6 s in the last quarter; at 2.0 the seam of two clips; at 4.3 in the first quarter.
    cuts = torch.zeros(10, 4)
    cuts[0, 3] = cuts[2, 0] = 1
    assert torch.equal(found["cut"], cuts)


def test_what_does_not_go_together(tmp_path) -> None:
    with pytest.raises(UsageError, match="multiple of the moments"):
        ClipTargets(Thumbnails(), None, moments=3, n_frames=8)  # type: ignore[arg-type]
    targets = ClipTargets(Thumbnails(), None, moments=4, n_frames=8, grid=8)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="flow fields of 6 x 6"):
        targets.of_frames(drifting(0, n=10), clips(), (), np.zeros((10, 8, 6, 6, 2)))
    assert true_flow(tmp_path, "m", 8.0) is None
