"""Noise that the frames of a clip share.

Ge et al. 2023, *Preserve your own correlation: a noise prior for video diffusion models* (mixed
noise): a part is the same in all frames, a part is each frame's own. Frames that start from
independent noise differ until a network makes them agree; frames that start from nearly the same
noise under the same condition are nearly the same picture before any layer over time was trained.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["mixed_noise"]


def mixed_noise(common: Tensor, own: Tensor, share: float | Tensor) -> Tensor:
    """Return normal noise of variance 1 whose correlation between frames is ``share``.

    Parameters
    ----------
    common : Tensor of shape (..., 1, c, h, w)
        Standard normal, for all frames.
    own : Tensor of shape (..., n_frames, c, h, w)
        Standard normal, for each.
    share : float or Tensor
        0 to 1: of the variance, what frames have in common. A tensor must fit ``own``.

    Returns
    -------
    Tensor of the shape of ``own``

    Examples
    --------
    >>> import torch
    >>> common, own = torch.ones(1, 1), torch.zeros(3, 1)
    >>> mixed_noise(common, own, 0.25).flatten().tolist()
    [0.5, 0.5, 0.5]
    """
    mixed: Tensor = share**0.5 * common + (1 - share) ** 0.5 * own
    return mixed
