"""What a decoder could have said of clips, made from the clips themselves.

Best guesses of a regression are shrunken by as much as they are wrong: where a share r of the
variance is explained, r x + sqrt(r (1 - r)) e with an error e as large as x. Errors look like other
clips, and what is fine or quick is lost first. Nothing here is read from brains.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["imitate_embedding", "imitate_flow", "imitate_lowlevel", "some"]

LEAST_EXPLAINED = 0.1
ALIKE = 0.5
"""Share of an error's variance that looks like another clip; the rest is noise."""


def imitate_embedding(
    token: Tensor, feature: Tensor, noise: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return decoded tokens and features of keyframes, each from 0 to 1 explained.

    Tokens are as long as true ones again, as a prior makes them. Half of the keyframes have no
    features: zeros.

    Parameters
    ----------
    token : Tensor of shape (n, n_tokens, d)
    feature : Tensor of shape (n, f)
    noise : torch.Generator

    Returns
    -------
    tuple of Tensor
        Of the same shapes.
    """
    share = _uniform(len(token), noise, token, LEAST_EXPLAINED)
    told = _guessed(token, _error(token, noise), share)
    told = told / share.view(-1, 1, 1).sqrt()
    return told, some(_guessed(feature, _error(feature, noise), share), 0.5, noise)


def imitate_lowlevel(clean: Tensor, noise: torch.Generator) -> Tensor:
    """Return the perception flow of clips: blood is slow, voxels are few, and neither is certain.

    Parameters
    ----------
    clean : Tensor of shape (n, n_frames, c, h, w)
        Standardised latents.
    noise : torch.Generator

    Returns
    -------
    Tensor of the same shape
        What is quick and what is fine is lost to an extent that each clip has of its own.
    """
    slow, coarse, share = (
        _uniform(len(clean), noise, clean, least) for least in (0, 0, LEAST_EXPLAINED)
    )
    other = clean.roll(1, 0)[:, clean.shape[1] // 2, None].expand_as(clean)
    changing = torch.randn(clean.shape, generator=noise, device=clean.device)
    error = ALIKE**0.5 * other + (1 - ALIKE) ** 0.5 * changing
    seen, wrong = (_coarse(_mixed(part, _over_time(part), slow), coarse) for part in (clean, error))
    return _guessed(seen, wrong, share)


def imitate_flow(flow: Tensor, noise: torch.Generator) -> Tensor:
    """Return optical flow that hardly changes over a clip; its errors are flow of other scenes.

    Parameters
    ----------
    flow : Tensor of shape (n, n_frames, 2, h, w)
        True.
    noise : torch.Generator
    """
    slow, share = (_uniform(len(flow), noise, flow, least) for least in (0, LEAST_EXPLAINED))
    lasting = flow.mean(1, keepdim=True).expand_as(flow)
    return _guessed(_mixed(flow, lasting, slow), lasting.roll(1, 0), share)


def some(values: Tensor, share: float, noise: torch.Generator) -> Tensor:
    """Return values of which about a share of the items is known, the others zeros."""
    known = _uniform(len(values), noise, values) < share
    return values * known.view(-1, *[1] * (values.ndim - 1))


def _uniform(n: int, noise: torch.Generator, like: Tensor, least: float = 0.0) -> Tensor:
    drawn = torch.rand(n, generator=noise, device=like.device)
    return least + (1 - least) * drawn


def _mixed(first: Tensor, second: Tensor, amount: Tensor) -> Tensor:
    amount = amount.view(-1, *[1] * (first.ndim - 1))
    return (1 - amount) * first + amount * second


def _guessed(values: Tensor, error: Tensor, share: Tensor) -> Tensor:
    """Return values of which a share (n,) of the variance is explained."""
    share = share.view(-1, *[1] * (values.ndim - 1))
    return share * values + (share * (1 - share)).sqrt() * error


def _error(values: Tensor, noise: torch.Generator) -> Tensor:
    """Return an error: partly the next item, partly noise."""
    drawn = torch.randn(values.shape, generator=noise, device=values.device)
    error: Tensor = ALIKE**0.5 * values.roll(1, 0) + (1 - ALIKE) ** 0.5 * drawn
    return error


def _over_time(clips: Tensor) -> Tensor:
    """Return the running mean of five frames, (n, n_frames, ...)."""
    flat = clips.flatten(2).transpose(1, 2)
    padded = F.pad(flat, (2, 2), mode="replicate")
    return F.avg_pool1d(padded, 5, stride=1).transpose(1, 2).reshape(clips.shape)


def _coarse(clips: Tensor, amount: Tensor) -> Tensor:
    """Return clips (n, n_frames, c, h, w), an amount (n,) of them blurred."""
    blurred = clips.flatten(0, 1)
    for _ in range(3):
        blurred = F.avg_pool2d(blurred, 3, stride=1, padding=1, count_include_pad=False)
    return _mixed(clips, blurred.view(clips.shape), amount)
