"""CognitionCapturer: three encoders of EEG, for pictures, captions and depth (2024)."""

from __future__ import annotations

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
from phosphene.checkpoints.converters.key_map import Drop, Key, KeyMap
from phosphene.checkpoints.converters.sensors import (
    SIGNAL,
    VIT_H,
    model_of_sensors,
    projector_keys,
    signal_of,
    things_protocol,
    tsconv_keys,
)
from phosphene.checkpoints.converters.state import State
from phosphene.encoders.brain.published.cogcap import CogCapEncoder
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError, check_option

__all__ = ["CognitionCapturer"]

PARTS = ("img", "text", "depth")
LAYER = "attention_model.transformer_encoder.layers.0."


def _layer() -> list[Key]:
    """Return keys of torch's transformer layer; queries, keys and values are one tensor."""
    names = {
        "self_attn.in_proj_weight": ("in_weight", ("3*c", "c")),
        "self_attn.in_proj_bias": ("in_bias", ("3*c",)),
        "self_attn.out_proj.weight": ("out.weight", ("c", "c")),
        "self_attn.out_proj.bias": ("out.bias", ("c",)),
        "linear1.weight": ("first.weight", ("u", "c")),
        "linear1.bias": ("first.bias", ("u",)),
        "linear2.weight": ("second.weight", ("c", "u")),
        "linear2.bias": ("second.bias", ("c",)),
    }
    keys = [Key(LAYER + name, own, shape) for name, (own, shape) in names.items()]
    for number, own in (("1", "first_norm"), ("2", "second_norm")):
        keys += [
            Key(f"{LAYER}norm{number}.{kind}", f"{own}.{kind}", ("c",))
            for kind in ("weight", "bias")
        ]
    return keys


ENCODER = KeyMap(
    "CognitionCapturer",
    (
        Key("attention_model.pos_encoder.pe", "places", ("places", "c")),
        *_layer(),
        Key("subject_wise_linear.0.weight", "matrix.weight", ("n", "n")),
        Key("subject_wise_linear.0.bias", "matrix.bias", ("n",)),
        *tsconv_keys("enc_eeg.0.", "tsconv."),
        *projector_keys("proj_eeg.", "projector.", "fn.1"),
        Key("logit_scale", "logit_scale", ()),
    ),
    (
        Drop(
            "attention_model.encoder_layer.*",
            "the layer that torch copies from: it is registered, and not called",
        ),
        Drop("subject_wise_linear.*", "of subjects beyond the first, whose matrix serves all"),
    ),
)
QUIRKS = (
    "the first subject's matrix over time serves every subject: its place is fixed in the code",
    "attention runs over samples, with as many numbers per token as there are channels",
)
GUIDANCE = 7.5  # of the prior, in the published pictures
PRIOR_QUIRKS = (
    "the prior was trained on ten times the features, and its samples go to the adapter as they "
    "are; clean ones are cut to -1..1 at every step",
    "the published picture has three adapters (picture, caption, depth), at different places of "
    "the network; here one part is rendered",
)


class CognitionCapturer(Family):
    """A Lightning checkpoint of all three encoders; one is kept, by ``--set part=img``."""

    name: ClassVar[str] = "cognitioncapturer"
    title: ClassVar[str] = "CognitionCapturer"
    paper: ClassVar[str] = "CognitionCapturer (arXiv 2412.10489)"
    source: ClassVar[str] = "XiaoZhangYES/CognitionCapturer: checkpoints of a training"
    licence: ClassVar[str] = "MIT (repository); data CC-BY-4.0"
    settings: ClassVar[dict[str, Any]] = {**SIGNAL, "part": "img"}
    files: ClassVar[dict[str, str]] = {"prior": "the file of the prior of the same part"}

    def recognises(self, shapes: Shapes) -> bool:
        return any(f"EEGmodel_{part}.enc_eeg.0.tsconv.0.weight" in shapes for part in PARTS)

    def convert(self, state: State, request: Request) -> Converted:
        part = check_option("part", str(self.setting(request, "part")), PARTS)
        prefix = f"EEGmodel_{part}."
        own: dict[str, Tensor] = {}
        dropped: dict[str, str] = {}
        for name, value in state.tensors.items():
            if name.startswith(prefix):
                own[name.removeprefix(prefix)] = value
            elif name.startswith(tuple(f"EEGmodel_{one}." for one in PARTS)):
                dropped[name] = "encoder of another target (--set part=img, text or depth)"
            elif name.startswith(("imagemodel.", "textmodel.", "depthmodel.")):
                dropped[name] = "head of the other side, which returns what it is given"
            elif name.startswith("top") or name == "logit_scale":
                dropped[name] = "temperature of metrics and of a loss, which is never trained"
            else:
                own[name] = value  # left over: the map says so
        if not any(name.startswith(prefix) for name in state.tensors):
            raise InputError(
                f"no encoder of {part} in the file",
                expected=f"tensors that begin with {prefix}",
                remedy="--set part=img, text or depth",
            )
        matched = ENCODER.match(own)
        sizes, tensors = matched.sizes, dict(matched.tensors)
        tensors["places"] = tensors["places"][: sizes["n"]]
        for kind in ("weight", "bias"):
            thirds = tensors.pop(f"in_{kind}").chunk(3)
            for name, value in zip(("query", "key", "value"), thirds, strict=True):
                tensors[f"{name}.{kind}"] = value
        config = {
            "n_outputs": sizes["z"], **signal_of(sizes["c"], sizes["n"], request),
            "subjects": list(request.subjects), "hidden": sizes["u"], "filters": sizes["f"],
            "kernel": sizes["k"],
        }  # fmt: skip
        pictures = part == "img"
        target = VIT_H(sizes["z"])
        if not pictures:
            target = PublishedTarget(
                "ViT-H-14", "laion2b_s32b_b79k", "features", [sizes["z"]], "own",
                note={"text": "of BLIP2 captions", "depth": "of depth pictures"}[part],
            )  # fmt: skip
        parts = model_of_sensors(
            filled(CogCapEncoder, config, tensors),
            target,
            request,
            generator="ip-adapter-sdxl-turbo" if pictures else "",
            subjects=request.subjects,
            protocol=things_protocol(
                request.subjects,
                averaging="mean of the repetitions",
                selection="the epoch that was best on the test set",
            ),
        )
        words = {
            "part": part,
            "channels x samples": f"{sizes['c']} x {sizes['n']}",
            "embedding": str(sizes["z"]),
        }
        quirks, notes = list(QUIRKS), []
        parts.prior, told = self._prior(request, dropped)
        if parts.prior is None:
            notes = [
                "contrastive weights fix directions, not lengths; the published pictures go "
                "through a prior (unet_weights_new): --with prior=FILE"
            ]
        else:
            quirks += PRIOR_QUIRKS
        return Converted(parts, words | told, {**matched.dropped, **dropped}, quirks, notes)

    def _prior(self, request: Request, dropped: dict[str, str]) -> tuple[Any, dict[str, str]]:
        from phosphene.checkpoints.converters.atm_prior import prior_of

        path = request.file("prior")
        if path is None:
            return None, {"prior": "no (--with prior=FILE)"}
        prior, widths, left = prior_of(tensors_of(Path(path)), guidance=GUIDANCE)
        dropped |= left
        return prior, {"prior": f"widths {', '.join(map(str, widths))}"}
