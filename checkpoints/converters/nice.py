"""NICE, NICE-SA and NICE-GA: an encoder and a residual head, one file each (Song et al. 2024)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from phosphene.checkpoints.converters.family import (
    Converted,
    Family,
    Request,
    Shapes,
    filled,
    tensors_of,
)
from phosphene.checkpoints.converters.key_map import Drop, Key, KeyMap, Matched
from phosphene.checkpoints.converters.sensors import (
    SIGNAL,
    frames_to_times,
    model_of_sensors,
    projector_keys,
    scale_tensor,
    signal_of,
    things_protocol,
    tsconv_keys,
)
from phosphene.checkpoints.converters.state import State
from phosphene.encoders.brain.electric.base import ElectricEncoder
from phosphene.encoders.brain.electric.tsconv import TSConvEncoder
from phosphene.encoders.brain.published.nice_variant import NICEVariant
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError, UsageError

__all__ = ["NICE"]

POOL, STRIDE = 51, 5
ENCODER, HEAD = "Enc_eeg_cls", "Proj_eeg_cls"
PLAIN, SELF, GRAPH = "NICE", "NICE-SA", "NICE-GA"
FIRST = {"0.tsconv.0.weight": PLAIN, "0.fn.1.query.0.weight": SELF, "0.fn.0.conv1.bias": GRAPH}
DEAD = (
    "weights of attention that are summed over the axis on which they sum to one: whatever they "
    "are, nothing changes"
)
TWICE = "the same tensor as the one of senders, under a second name"
# Two programs are published; in the earlier one the two convolutions are layers of their own.
EARLIER = (
    ("1.tempconv.", "1.tsconv."),
    ("2.spatconv.0.", "1.tsconv.4."),
    ("2.spatconv.1.", "1.tsconv.5."),
    ("2.projection.", "1.projection."),
    (".conv1.lin_src.", ".conv1.lin."),
)


def _row(value: Tensor) -> Tensor:
    return value.flatten()


def _map(title: str, place: str, keys: tuple[Key, ...], drops: tuple[Drop, ...]) -> KeyMap:
    head = projector_keys("head.", "projector.", "fn.1")
    return KeyMap(title, (*keys, *tsconv_keys(place, "tsconv."), *head), drops, EARLIER)


def _pair(published: str, own: str, size: str) -> tuple[Key, ...]:
    kinds = ("weight", "bias")
    return tuple(Key(f"{published}.{kind}", f"{own}.{kind}", (size,)) for kind in kinds)


MAPS = {
    PLAIN: _map(PLAIN, "0.", (), ()),
    SELF: _map(
        SELF,
        "1.",
        (
            *_pair("0.fn.0", "between.before", "t"),
            Key("0.fn.1.projection.0.weight", "between.map.weight", ("c", "c")),
            Key("0.fn.1.projection.0.bias", "between.map.bias", ("c",)),
            *_pair("0.fn.1.projection.1", "between.after", "c"),
        ),
        (Drop("0.fn.1.query.*", DEAD), Drop("0.fn.1.key.*", DEAD)),
    ),
    GRAPH: _map(
        GRAPH,
        "1.",
        (
            Key("0.fn.0.conv1.lin.weight", "between.transform.weight", ("t", "t")),
            Key("0.fn.0.conv1.bias", "between.bias", ("t",)),
            Key("0.fn.0.conv1.att_src", "between.source", (1, 1, "t"), apply=_row),
            Key("0.fn.0.conv1.att_dst", "between.target", (1, 1, "t"), apply=_row),
        ),
        (Drop("0.fn.0.conv1.lin_dst.weight", TWICE),),
    ),
}
QUIRKS = {
    SELF: "its attention between channels changes nothing: its weights are summed over the axis on "
    "which they sum to one; layer norms and a linear map over channels remain",
    GRAPH: "its edges join the channels of the first trial of a batch alone; every other trial, in "
    "training and at test, only goes through the linear map, which is kept "
    "(--set graph=true joins the channels of every trial)",
}


class NICE(Family):
    """``{run}Enc_eeg_cls.pth`` with ``{run}Proj_eeg_cls.pth`` beside it or named."""

    name: ClassVar[str] = "nice"
    title: ClassVar[str] = "NICE"
    paper: ClassVar[str] = (
        "Song et al. 2024, Decoding natural images from EEG for object recognition "
        "(arXiv 2308.13234)"
    )
    source: ClassVar[str] = "eeyhsong/NICE: {run}Enc_eeg_cls.pth, {run}Proj_eeg_cls.pth"
    licence: ClassVar[str] = "MIT (repository); data CC-BY-4.0"
    settings: ClassVar[dict[str, Any]] = {**SIGNAL, "n_times": None, "graph": False}
    files: ClassVar[dict[str, str]] = {
        "encoder": "{run}Enc_eeg_cls.pth",
        "projector": "{run}Proj_eeg_cls.pth",
    }

    def recognises(self, shapes: Shapes) -> bool:
        names = set(shapes)
        head = {"0.weight", "1.fn.1.weight", "2.weight"}
        return _variant(names) is not None or (head <= names and len(names) == 6)

    def convert(self, state: State, request: Request) -> Converted:
        encoder, head = self._both(state, request)
        tensors = {**encoder, **{f"head.{name}": value for name, value in head.items()}}
        variant, graph = _variant(tensors) or PLAIN, bool(self.setting(request, "graph"))
        if graph and variant != GRAPH:
            raise UsageError(
                f"graph=true for {variant}",
                expected="weights of NICE-GA, the variant with a graph",
                remedy="leave --set graph out",
            )
        matched = MAPS[variant].match(tensors)
        sizes = matched.sizes
        frames, rest = divmod(sizes["w"], sizes["f"])
        times = self.setting(request, "n_times") or sizes.get("t")
        times = int(times) if times else frames_to_times(frames, sizes["k"], POOL, STRIDE)
        if rest or (times - sizes["k"] + 1 - POOL) // STRIDE + 1 != frames:
            raise InputError(
                f"a head of {sizes['w']} numbers after {sizes['f']} filters, for {times} samples",
                expected="as many as the convolution gives",
                remedy="--set n_times=NUMBER, or name the head of the same run",
            )
        config = {
            "n_outputs": sizes["z"], **signal_of(sizes["c"], times, request),
            "subjects": list(request.subjects), "filters": sizes["f"], "kernel": sizes["k"],
            "pool": POOL, "stride": STRIDE,
        }  # fmt: skip
        kind, options, own = _encoder(variant, matched, graph=graph)
        made = filled(kind, {**config, **options}, {**own, "logit_scale": scale_tensor()})
        target = PublishedTarget(
            "ViT-L-14", "openai", "pooled", [sizes["z"]], width=1024, layers=24,
            note="cosines are compared; test galleries of the paper are means of other pictures "
            "of each concept",
        )  # fmt: skip
        parts = model_of_sensors(
            made,
            target,
            request,
            generator="stable-unclip-small",
            subjects=request.subjects,
            protocol=things_protocol(
                request.subjects,
                averaging="mean of the repetitions",
                selection="validation loss on 740 training pictures, of concepts that training has",
            ),
        )
        words = {
            "variant": variant,
            "channels x samples": f"{sizes['c']} x {times}",
            "embedding": str(sizes["z"]),
        }
        quirks = [
            *([QUIRKS[variant]] if variant in QUIRKS and not graph else []),
            "the temperature was never given to the optimiser and is not in the files: it stays at "
            "1 / 0.07",
            "the head of pictures ({run}Proj_img_cls.pth) returns what it is given and is not "
            "needed",
        ]
        notes = ["contrastive weights fix directions, not lengths: use them for retrieval"]
        return Converted(parts, words, matched.dropped, quirks, notes)

    def _both(self, state: State, request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the tensors of both files, whichever one was given."""
        path = request.path
        is_encoder = _variant(state.tensors) is not None
        here, there = (ENCODER, HEAD) if is_encoder else (HEAD, ENCODER)
        wanted = "projector" if is_encoder else "encoder"
        near = path.with_name(path.name.replace(here, there))
        other = request.file(wanted, *([near] if near != path else []))
        if other is None:
            raise UsageError(
                f"{path} is one of two files of NICE",
                expected=f"the {wanted} beside it, {near.name if near != path else there + '.pth'}",
                remedy=f"--with {wanted}=FILE",
            )
        found = tensors_of(Path(other)).tensors
        return (state.tensors, found) if is_encoder else (found, state.tensors)


def _variant(names: Collection[str]) -> str | None:
    """Return which network an encoder's names are those of; nothing for those of a head."""
    return next((variant for name, variant in FIRST.items() if name in names), None)


def _encoder(
    variant: str, matched: Matched, *, graph: bool
) -> tuple[type[ElectricEncoder], dict[str, Any], dict[str, Tensor]]:
    """Return class, further options and tensors of the encoder; what it lacks is noted."""
    tensors = dict(matched.tensors)
    if variant == PLAIN or graph:
        return TSConvEncoder, {"variant": "graph" if graph else "plain"}, tensors
    if variant == SELF:
        return NICEVariant, {"over": "channels"}, tensors
    for name, published in (("source", "att_src"), ("target", "att_dst")):
        del tensors[f"between.{name}"]
        matched.dropped[f"0.fn.0.conv1.{published}"] = "attention of a graph without edges"
    tensors["between.weight"] = tensors.pop("between.transform.weight")
    return NICEVariant, {"over": "samples"}, tensors
