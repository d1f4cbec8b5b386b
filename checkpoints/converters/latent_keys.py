"""Key map of the decoder half of a diffusers autoencoder with three levels of two layers."""

from __future__ import annotations

from phosphene.checkpoints.converters.key_map import Key

__all__ = ["ATTENTION_ALIASES", "decoder_keys", "projector_keys"]

# Dumps of diffusers before 0.18 call the maps of attention otherwise.
ATTENTION_ALIASES = (
    ("mid_block.attentions.0.query.", "mid_block.attentions.0.to_q."),
    ("mid_block.attentions.0.key.", "mid_block.attentions.0.to_k."),
    ("mid_block.attentions.0.value.", "mid_block.attentions.0.to_v."),
    ("mid_block.attentions.0.proj_attn.", "mid_block.attentions.0.to_out.0."),
)


def decoder_keys() -> list[Key]:
    """Return keys of a decoder of 64 channels to ``o``, levels ``c1`` (finest) to ``c3``."""
    keys = [
        *_layer("conv_in", "c3", 64, 3),
        *_pair("mid_block.attentions.0.group_norm", "c3"),
    ]
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        keys += _linear(f"mid_block.attentions.0.{name}", "c3")
    for number in (0, 1):
        keys += _resnet(f"mid_block.resnets.{number}", "c3", "c3")
    levels = (("c3", "c3"), ("c3", "c2"), ("c2", "c1"))
    for block, (before, after) in enumerate(levels):
        keys += _resnet(f"up_blocks.{block}.resnets.0", before, after)
        keys += _resnet(f"up_blocks.{block}.resnets.1", after, after)
        if block < 2:
            keys += _layer(f"up_blocks.{block}.upsamplers.0.conv", after, after, 3)
    return [*keys, *_pair("conv_norm_out", "c1"), *_layer("conv_out", "o", "c1", 3)]


def projector_keys() -> list[Key]:
    """Return keys of the map to a teacher's features, which only training uses."""
    return [
        Key("0.weight", "0.weight", (512, 64, 1, 1)),
        *_pair("1", 512),
        Key("3.weight", "3.weight", (512, 512, 1, 1)),
        *_pair("4", 512),
        *_layer("6", 512, 512, 1),
    ]


def _pair(name: str, size: str | int) -> list[Key]:
    return [Key(f"{name}.{one}", f"{name}.{one}", (size,)) for one in ("weight", "bias")]


def _linear(name: str, size: str) -> list[Key]:
    return [
        Key(f"{name}.weight", f"{name}.weight", (size, size)),
        Key(f"{name}.bias", f"{name}.bias", (size,)),
    ]


def _layer(name: str, after: str | int, before: str | int, kernel: int) -> list[Key]:
    return [
        Key(f"{name}.weight", f"{name}.weight", (after, before, kernel, kernel)),
        Key(f"{name}.bias", f"{name}.bias", (after,)),
    ]


def _resnet(name: str, before: str, after: str) -> list[Key]:
    keys = [
        *_pair(f"{name}.norm1", before),
        *_layer(f"{name}.conv1", after, before, 3),
        *_pair(f"{name}.norm2", after),
        *_layer(f"{name}.conv2", after, after, 3),
    ]
    if before != after:
        keys += _layer(f"{name}.conv_shortcut", after, before, 1)
    return keys
