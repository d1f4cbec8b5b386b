"""Layers over time for a network of pictures, which itself stays as it is.

Guo et al. 2024, *AnimateDiff: animate your personalized text-to-image diffusion models without
specific tuning*: a transformer over time behind each layer of a frozen UNet lets frames that would
be drawn one by one know of each other. Here only these transformers are stored, and they go into
any UNet with the same layers; a network that was trained anew keeps its own weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from phosphene.component import Component, check_tensors, record_config
from phosphene.errors import InputError

__all__ = ["Guesses", "MotionModule", "motion_places", "moving", "repeat_frames"]


def motion_places(unet: Any) -> dict[str, int]:
    """Return behind which layers of a UNet time is looked at, and how many channels these have.

    Those are the attention layers of a block, and its convolutions where it has no attention.

    Examples
    --------
    >>> from diffusers import UNet2DConditionModel
    >>> unet = UNet2DConditionModel(
    ...     block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
    ...     cross_attention_dim=8, attention_head_dim=2,
    ...     down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    ...     up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    ... )
    >>> list(motion_places(unet).items())[:2]
    [('down_blocks.0.resnets.0', 8), ('down_blocks.1.attentions.0', 16)]
    """
    found: dict[str, int] = {}
    blocks = [(f"down_blocks.{i}", block) for i, block in enumerate(unet.down_blocks)]
    blocks.append(("mid_block", unet.mid_block))
    blocks += [(f"up_blocks.{i}", block) for i, block in enumerate(unet.up_blocks)]
    for name, block in blocks:
        attentions = getattr(block, "attentions", None)
        if attentions:
            layers = {f"attentions.{i}": one.in_channels for i, one in enumerate(attentions)}
        else:
            layers = {f"resnets.{i}": one.out_channels for i, one in enumerate(block.resnets)}
        found |= {f"{name}.{layer}": int(channels) for layer, channels in layers.items()}
    return found


class MotionModule(nn.Module, Component):
    """One transformer over time for each place of a UNet; before any training it changes nothing.

    Parameters
    ----------
    places : dict of str to int
        From :func:`motion_places`.
    window : int
        Frames that know of each other.
    channels, first : int
        Of latents, and of what the network makes of them first.
    heads, groups, hidden : int
        Of attention, of normalisation, and of the convolutions over what was decoded.
    """

    kind: ClassVar[str] = "generator"
    name: ClassVar[str] = "motion-module"

    @record_config
    def __init__(
        self,
        places: dict[str, int],
        window: int,
        channels: int,
        first: int,
        *,
        heads: int = 4,
        groups: int = 16,
        hidden: int = 48,
    ) -> None:
        super().__init__()
        from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D

        self.places, self.window = dict(places), window
        self.channels, self.first = channels, first
        # Two guesses of each frame, and whether there is one.
        self.guide = nn.Sequential(
            nn.Conv2d(2 * channels + 2, hidden, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(hidden, first, 3, padding=1),
        )
        self.layers = nn.ModuleDict()
        for place, width in places.items():
            layer = AnimateDiffTransformer3D(
                num_attention_heads=heads,
                attention_head_dim=width // heads,
                in_channels=width,
                norm_num_groups=groups,
                positional_embeddings="sinusoidal",
                num_positional_embeddings=window,
            )
            _silence(layer.proj_out)
            self.layers[place.replace(".", "-")] = layer
        _silence(self.guide[-1])

    def tensors(self) -> dict[str, Tensor]:
        # The sinusoids of places in time are no weights.
        state: dict[str, Tensor] = self.state_dict()
        return {key: value for key, value in state.items() if not key.endswith("pos_embed.pe")}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        check_tensors(self.tensors(), tensors, owner=f"{self.kind} {self.name}")
        self.load_state_dict(self.state_dict() | tensors)

    def check(self, unet: Any) -> None:
        """Refuse a UNet of other layers than those it was made for.

        Raises
        ------
        InputError
            Naming the first difference.
        """
        found = motion_places(unet) | {"conv_in": int(unet.conv_in.out_channels)}
        wanted = self.places | {"conv_in": self.first}
        if found == wanted:
            return
        other = next(k for k in {**found, **wanted} if found.get(k) != wanted.get(k))
        raise InputError(
            f"a motion module for another network: {other} has {found.get(other, 'no')} channels",
            expected=f"{wanted.get(other, 'no')} channels there, as in the network that it "
            "was trained in",
            remedy="train it for this generator, or use keyframe_flow, which needs no training",
        )


@dataclass(frozen=True, eq=False)
class Guesses:
    """What was decoded of each frame, n rows each; nothing of either where there is none.

    Parameters
    ----------
    lowlevel : Tensor of shape (n, c, h, w), optional
        Latents that were predicted: the perception flow.
    moved : Tensor of shape (n, c, h, w), optional
        Latents of the keyframe, moved by decoded flow.
    """

    lowlevel: Tensor | None = None
    moved: Tensor | None = None

    def maps(self, like: Tensor) -> Tensor:
        """Return both and whether they are there, (n, 2 c + 2, h, w), for noisy latents."""
        parts, here = [], []
        for part in (self.lowlevel, self.moved):
            given = torch.zeros_like(like) if part is None else part.to(like)
            parts.append(given)
            # A guess of zeros, which is the mean, says nothing.
            here.append(
                given.flatten(1).any(1).to(like).view(-1, 1, 1, 1).expand(like[:, :1].shape)
            )
        return torch.cat([*parts, *here], dim=1)


@contextmanager
def moving(unet: Any, motion: Any, n_frames: int, guesses: Tensor) -> Iterator[None]:
    """Let a UNet of pictures see rows of clips: frames of one clip stand one after the other.

    Parameters
    ----------
    unet : diffusers.UNet2DConditionModel
        Called with (n_clips * n_frames, c, h, w) inside the block.
    motion : MotionModule
        Or what several processes wrap it in.
    n_frames : int
    guesses : Tensor of shape (n_clips * n_frames, 2 c + 2, h, w)
        Of :meth:`Guesses.maps`.
    """
    layers: Any = getattr(motion, "module", motion)
    modules = dict(unet.named_modules())

    def hook(layer: nn.Module) -> Any:
        def after(_: nn.Module, __: Any, found: Any) -> Any:
            inside = found[0] if isinstance(found, tuple) else getattr(found, "sample", found)
            moved = layer(inside.contiguous(), num_frames=n_frames)
            if isinstance(found, tuple):
                return (moved, *found[1:])
            return moved if isinstance(found, Tensor) else type(found)(sample=moved)

        return after

    def beside(_: nn.Module, __: Any, found: Tensor) -> Tensor:
        guided: Tensor = found + layers.guide(guesses.to(found.dtype))
        return guided

    hooks = [
        modules[place].register_forward_hook(hook(layers.layers[place.replace(".", "-")]))
        for place in layers.places
    ]
    hooks.append(unet.conv_in.register_forward_hook(beside))
    try:
        yield
    finally:
        for one in hooks:
            one.remove()


def repeat_frames(values: Tensor, n_frames: int) -> Tensor:
    """Return rows (n * n_frames, ...) of values that all frames of a clip share, (n, ...)."""
    return torch.repeat_interleave(values, n_frames, dim=0)


def _silence(layer: Any) -> None:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
