"""What the heads of a video decoder are taught: targets of clips, from their movie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.data.movies.dataset import Movie
from phosphene.data.movies.run import MovieClips
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.errors import InputError, UsageError
from phosphene.names import require

__all__ = ["ClipTargets", "captions_of", "cuts_of", "estimated_flow", "joined", "true_flow"]

Array = np.ndarray[Any, Any]
SIZE = 64  # side of the frames that flow and changes are measured on


@dataclass(frozen=True, eq=False)
class ClipTargets:
    """Turns clips of a movie into targets.

    Parameters
    ----------
    tokens : StimulusEncoder
        Of keyframes.
    latents : LatentTarget or None
        Of frames at several moments: the perception flow.
    features : StimulusEncoder or None
        Of keyframes, by a second network.
    moments : int
        T, at which latents, flow, change and cuts are taught: each stands for its share of the
        clip.
    n_frames : int
        Frames of a clip that are looked at, a multiple of T.
    grid : int
        Side of the flow field.
    """

    tokens: StimulusEncoder
    latents: LatentTarget | None
    features: StimulusEncoder | None = None
    moments: int = 4
    n_frames: int = 16
    grid: int = 8

    def __post_init__(self) -> None:
        if self.moments < 1 or self.n_frames % self.moments or SIZE % self.grid:
            raise UsageError(
                f"{self.n_frames} frames at {self.moments} moments on a grid of {self.grid}",
                expected=f"a multiple of the moments, and a grid that divides {SIZE}",
            )

    def of(self, clips: MovieClips, movie: Movie, flow: Array | None) -> dict[str, Tensor]:
        """Return targets (n, *shape) of clips of one movie.

        Parameters
        ----------
        clips : MovieClips
        movie : Movie
        flow : ndarray of shape (frames of the movie, h, w, 2), optional
            True flow, see :func:`true_flow`; estimated from the frames where there is none.
        """
        opened = movie.open()
        if clips.stop.max() > opened.seconds + 1e-6:
            raise InputError(
                f"clips of {movie.stimulus_id} up to second {clips.stop.max():g}, and "
                f"{movie.path} lasts {opened.seconds:g} s",
                expected="a run and a movie of one length",
                remedy="check the onset and the length of the movie",
            )
        numbers = clips.frames(opened.fps, self.n_frames)
        size = max(SIZE, 0 if self.latents is None else self.latents.size)
        frames = opened.read(numbers.ravel(), size).reshape(*numbers.shape, size, size, 3)
        found = self.of_frames(frames, clips, movie.cuts, None if flow is None else flow[numbers])
        words = captions_of(clips, movie)
        if all(words) and hasattr(self.tokens, "encode_text"):
            found["caption"] = self.tokens.encode_text(words).float()
        return found

    def flow_of(self, clips: MovieClips, movie: Movie, flow: Array | None) -> Tensor:
        """Return the flow (n, T, 2, g, g) of clips of one movie, as :meth:`of` does."""
        opened = movie.open()
        numbers = clips.frames(opened.fps, self.n_frames)
        if flow is not None:
            return self._on_grid(flow[numbers])
        frames = opened.read(numbers.ravel(), SIZE).reshape(*numbers.shape, SIZE, SIZE, 3)
        return self._on_grid(estimated_flow(frames, self.n_frames / clips.length))

    def of_frames(
        self, frames: Pictures, clips: MovieClips, cuts: tuple[float, ...], flow: Array | None
    ) -> dict[str, Tensor]:
        """Return targets of clips whose frames (n, F, H, W, 3) are given.

        Parameters
        ----------
        flow : ndarray of shape (n, F, h, w, 2), optional
            In picture widths per second.
        """
        n, count = len(frames), self.n_frames
        keyframes = frames[:, count // 2]
        found = {"tokens": self.tokens.encode(keyframes)}
        if self.features is not None:
            found["features"] = self.features.encode(keyframes)
        share = count // self.moments
        if self.latents is not None:
            chosen = frames[:, share // 2 :: share]
            encoded = self.latents.encode(chosen.reshape(-1, *chosen.shape[2:]))
            found["lowlevel"] = encoded.unflatten(0, (n, self.moments))
        rate = count / clips.length
        small = _small(frames)
        if flow is None:
            flow = estimated_flow(small, rate)
        found["flow"] = self._on_grid(flow)
        found["motion_energy"] = self._changes(small, rate)
        found["cut"] = cuts_of(clips, cuts, self.moments)
        return found

    def _on_grid(self, flow: Array) -> Tensor:
        """Return flow (n, T, 2, g, g): the mean over each share of the time and each cell."""
        n, count, height, width, _ = flow.shape
        if height % self.grid or width % self.grid:
            raise InputError(
                f"flow fields of {height} x {width}", expected=f"a multiple of {self.grid}"
            )
        cells = flow.astype(np.float32).reshape(
            n,
            self.moments,
            count // self.moments,
            self.grid,
            height // self.grid,
            self.grid,
            width // self.grid,
            2,
        )
        return torch.from_numpy(np.ascontiguousarray(np.moveaxis(cells.mean((2, 4, 6)), -1, 2)))

    def _changes(self, frames: Pictures, rate: float) -> Tensor:
        """Return the root mean square change of lightness per second (n, T)."""
        light = frames.astype(np.float32).mean(axis=-1) / 255
        change = np.sqrt((np.diff(light, axis=1) ** 2).mean(axis=(2, 3))) * rate
        change = np.concatenate([change, change[:, -1:]], axis=1)
        return torch.from_numpy(change.reshape(len(frames), self.moments, -1).mean(axis=2))


def _small(frames: Pictures) -> Pictures:
    factor = frames.shape[2] // SIZE
    n, count = frames.shape[:2]
    if factor == 1:
        return frames
    cells = frames.reshape(n, count, SIZE, factor, SIZE, factor, 3).astype(np.float32)
    small: Pictures = cells.mean(axis=(3, 5)).round().astype(np.uint8)
    return small


def captions_of(clips: MovieClips, movie: Movie) -> list[str]:
    """Return what is told of the scene in the middle of each clip; empty where nothing is."""
    return [movie.caption_at(float(start) + clips.length / 2) for start in clips.start]


def cuts_of(clips: MovieClips, cuts: tuple[float, ...], moments: int) -> Tensor:
    """Return whether a new scene begins in each share of each clip (n, T), 0 or 1."""
    edges = clips.start[:, None] + np.arange(moments + 1) * clips.length / moments
    edges[:, 0] += 1e-6  # a cut at the seam begins the clip and lies not inside it
    before = np.searchsorted(np.asarray(cuts, dtype=np.float64), edges, side="left")
    return torch.from_numpy((np.diff(before, axis=1) > 0).astype(np.float32))


def true_flow(root: Path, segment: str, fps: float) -> Array | None:
    """Return the flow that a simulation wrote, in picture widths per second, else None."""
    path = root / "truth" / "flow" / f"{segment}.npy"
    if not path.is_file():
        return None
    from phosphene.storage import load_array

    return np.asarray(load_array(path), dtype=np.float32) * (fps / SIZE)


def estimated_flow(frames: Pictures, rate: float, size: int = 32) -> Array:
    """Return flow between neighbouring frames (n, F, size, size, 2), widths per second.

    The iterative method of Lucas and Kanade as scikit-image has it; the last frame repeats the
    flow before it. Where more changes than moves (a cut) it means nothing: longer than a quarter
    of the picture per frame counts as none.

    Parameters
    ----------
    frames : ndarray of shape (n, F, 64, 64, 3)
    rate : float
        Frames per second.
    """
    registration = require("skimage.registration", "metrics")
    n, count = frames.shape[:2]
    factor = frames.shape[2] // size
    light = frames.astype(np.float32).mean(axis=-1) / 255
    light = light.reshape(n, count, size, factor, size, factor).mean(axis=(3, 5))
    flow = np.zeros((n, count, size, size, 2), dtype=np.float32)
    for clip, out in zip(light, flow, strict=True):
        for step in range(count - 1):
            down, right = registration.optical_flow_ilk(
                clip[step], clip[step + 1], radius=4, num_warp=5
            )
            out[step] = np.stack([right, down], axis=-1)
        out[-1] = out[-2] if count > 1 else 0
    flow[np.abs(flow).max(axis=-1) > size / 4] = 0
    return flow * (rate / size)


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the targets of several movies one after the other, those that all of them have."""
    shared = [name for name in parts[0] if all(name in part for part in parts)]
    return {name: torch.cat([part[name] for part in parts]) for name in shared}
