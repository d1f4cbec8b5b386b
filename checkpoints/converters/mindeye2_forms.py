"""Other forms of MindEye2: without the trunk, and as the published files have it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.encoders.brain.mindeye2 import FactorisedHead, MindEye2Encoder
from phosphene.errors import UsageError

__all__ = ["LATENTS", "MIXERS", "as_published", "folded_trunk"]

MIXERS = "backbone.mixer_blocks1.{b}.", "backbone.mixer_blocks2.{b}."
LATENTS = "backbone.lowlevel."


def trunk_number(tensors: dict[str, Tensor], depth: int) -> Tensor:
    """Return the number that the published trunk adds to its input.

    In each block the norm over one element gives its own offset beta, and the mixer of that is
    ``w3 gelu(w0 beta + b0) + b3``.
    """
    total = torch.zeros(())
    for block in range(depth):
        name = f"backbone.mixer_blocks2.{block}."
        w0, b0, w3, b3 = (
            tensors[f"{name}1.{part}"].float().reshape(())
            for part in ("0.weight", "0.bias", "3.weight", "3.bias")
        )
        beta = tensors[f"{name}0.bias"].float().reshape(())
        total = total + w3 * F.gelu(w0 * beta + b0) + b3
    return total


def folded_trunk(
    tensors: dict[str, Tensor], depth: int, subjects: tuple[str, ...]
) -> dict[str, Tensor]:
    """Return tensors without the trunk, whose number is added to the subjects' biases."""
    number = trunk_number(tensors, depth)
    kept = {name: value for name, value in tensors.items() if "mixer_blocks" not in name}
    for subject in subjects:
        name = f"ridge.linears.sub-{subject}.bias"
        kept[name] = kept[name].float() + number
    return kept


def as_published(encoder: MindEye2Encoder) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return an encoder's tensors with a dense head, a trunk of four blocks, numbered subjects."""
    own = dict(encoder.state_dict())
    subjects = list(encoder.voxels)
    for place, subject in enumerate(subjects):
        for kind in ("weight", "bias"):
            value = own.pop(f"ridge.linears.sub-{subject}.{kind}")
            own[f"ridge.linears.{place}.{kind}"] = value
    blocks = len(encoder.backbone.mixer_blocks1)
    if not encoder.backbone.faithful:
        if blocks or "pooled" in encoder.targets:
            raise UsageError(
                "a mindeye2 with residual layers or a pooled part as a published file",
                expected="one that is affine up to its tokens, as the original is (depth 0)",
                remedy="train one with options.depth=0 on a target of tokens",
            )
        head = encoder.backbone.backbone_linear
        assert isinstance(head, FactorisedHead)
        for name in list(own):
            if name.startswith(("backbone.backbone_linear.", LATENTS)):
                del own[name]
        own |= _dense(head)
    if blocks == 0:
        blocks = 4
        own |= _empty_trunk(encoder.width, blocks)
    return own, {"#s": len(subjects), "#b": blocks}


def _dense(head: FactorisedHead) -> dict[str, Tensor]:
    """Return the one dense map that a factorised head is."""
    n, shared = head.n_tokens, head.shared.weight
    codes, offsets = head.codes.weight.unflatten(0, (n, -1)), head.codes.bias.unflatten(0, (n, -1))
    weight = torch.einsum("dr,trw->tdw", shared, codes).flatten(0, 1)
    bias = (offsets @ shared.T + head.offset).flatten()
    name = "backbone.backbone_linear."
    return {f"{name}weight": weight.detach(), f"{name}bias": bias.detach()}


def _empty_trunk(width: int, blocks: int) -> dict[str, Tensor]:
    """Return a trunk that adds nothing."""
    made: dict[str, Tensor] = {}
    for block in range(blocks):
        for prefix, size in zip(MIXERS, (width, 1), strict=True):
            name = prefix.replace("{b}", str(block))
            made[f"{name}0.weight"], made[f"{name}0.bias"] = torch.ones(size), torch.zeros(size)
            for part in ("1.0", "1.3"):
                made[f"{name}{part}.weight"] = torch.zeros(size, size)
                made[f"{name}{part}.bias"] = torch.zeros(size)
    return made
