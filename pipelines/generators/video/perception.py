"""Videos of the decoded perception flow, which published generators can start from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from phosphene.errors import InputError
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.generators.starts import FIRST_SCALE
from phosphene.pipelines.generators.video.base import VideoConditions, frame_times
from phosphene.pipelines.generators.video.warping import at_moments

__all__ = ["perception_videos"]


def perception_videos(
    conditions: VideoConditions,
    n_frames: int,
    pictures: Generator | None,
    vae: Any,
    device: torch.device,
    *,
    owner: str,
) -> Tensor:
    """Return the decoded perception flow as videos (n, n_frames, 3, H, W) in 0..1.

    Parameters
    ----------
    conditions : VideoConditions
    n_frames : int
    pictures : Generator, optional
        Whose latents the perception flow may be.
    vae : diffusers autoencoder
        Of the video generator: Stable Diffusion's first one decodes its own latents.
    device : torch.device
    owner : str
        For messages.

    Raises
    ------
    InputError
        Where there is none, or nothing that decodes it.
    """
    decode = None
    if conditions.lowlevel is not None:
        decode = _decoder(tuple(conditions.lowlevel.shape[2:]), pictures, vae, device)
    if conditions.lowlevel is None or decode is None:
        raise InputError(
            f"{owner} with `start`, and no perception flow that can be decoded",
            expected="latents of each moment, and a picture generator whose latents they are",
            remedy="leave `start` away",
        )
    found, times = [], frame_times(n_frames, conditions.seconds)
    for clip in conditions.lowlevel.float():  # one by one: company never changes the rounding
        shown = decode(clip).cpu()
        found.append(at_moments(shown[None], times, conditions.seconds)[0])
    return torch.stack(found)


def _decoder(
    shape: tuple[int, ...], pictures: Generator | None, vae: Any, device: torch.device
) -> Callable[[Tensor], Tensor] | None:
    """Return what decodes latents (n, *shape): the picture generator's autoencoder, or its own.

    Published decoders of clips predict latents of Stable Diffusion's first autoencoder, which
    AnimateDiff has.
    """
    latents = None if pictures is None else pictures.latents
    if latents is not None and tuple(latents.shape) == shape:
        return latents.decode
    config, kind = vae.config, type(vae).__name__
    first = abs(float(getattr(config, "scaling_factor", 0) or 0) - FIRST_SCALE) < 1e-6
    if kind != "AutoencoderKL" or not first or shape[0] != int(config.latent_channels):
        return None

    def decode(clip: Tensor) -> Tensor:
        scaled = clip.to(device, vae.dtype) / FIRST_SCALE
        frames = [vae.decode(one[None]).sample.float() for one in scaled]
        return (torch.cat(frames) / 2 + 0.5).clamp(0, 1)

    return decode
