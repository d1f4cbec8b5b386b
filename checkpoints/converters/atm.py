"""ATM-S: channels as tokens, a subject token, TSConv (Li et al. 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
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
from phosphene.encoders.brain.electric.atm import ATMEncoder, channel_code
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.model_folder import ModelParts

__all__ = ["ATM", "ATM_MAP"]

E = "encoder.enc_embedding."
L = "encoder.encoder.attn_layers.0."
CODES = 5000  # places that the published table of positions has
SPARE_SUBJECTS = 2  # layers that the published class makes and never calls


def _row(value: Tensor) -> Tensor:
    return value[0]


def _as_row(value: Tensor) -> Tensor:
    return value[None]


def _flat(value: Tensor) -> Tensor:
    return value[..., 0]


def _as_conv(value: Tensor) -> Tensor:
    return value[..., None]


def _tokens() -> list[Key]:
    keys = [
        Key(f"{E}value_embedding.weight", "embed.weight", ("n", "n")),
        Key(f"{E}value_embedding.bias", "embed.bias", ("n",)),
        Key(f"{E}position_embedding.pe", "code", (1, "places", "n"), apply=_row, undo=_as_row),
        Key(f"{E}subject_embedding.subject_embedding.weight", "subject_tokens.weight", ("s", "n")),
        Key(
            f"{E}subject_embedding.shared_embedding", "shared_token", (1, "n"),
            apply=_row, undo=_as_row,
        ),
        Key(f"{L}conv1.weight", "layer.first.weight", ("u", "n", 1), apply=_flat, undo=_as_conv),
        Key(f"{L}conv1.bias", "layer.first.bias", ("u",)),
        Key(f"{L}conv2.weight", "layer.second.weight", ("n", "u", 1), apply=_flat, undo=_as_conv),
        Key(f"{L}conv2.bias", "layer.second.bias", ("n",)),
    ]  # fmt: skip
    for name in ("query", "key", "value"):
        keys.append(Key(f"{L}attention.{name}_projection.weight", f"layer.attention.{name}.weight",
                        ("a", "n")))  # fmt: skip
        keys.append(Key(f"{L}attention.{name}_projection.bias", f"layer.attention.{name}.bias",
                        ("a",)))  # fmt: skip
    keys += [
        Key(f"{L}attention.out_projection.weight", "layer.attention.out.weight", ("n", "a")),
        Key(f"{L}attention.out_projection.bias", "layer.attention.out.bias", ("n",)),
    ]
    for published, own in ((f"{L}norm1", "layer.first_norm"), (f"{L}norm2", "layer.second_norm"),
                           ("encoder.encoder.norm", "norm")):  # fmt: skip
        keys += [Key(f"{published}.{one}", f"{own}.{one}", ("n",)) for one in ("weight", "bias")]
    return keys


ATM_MAP = KeyMap(
    "ATM-S",
    (
        *_tokens(),
        *tsconv_keys("enc_eeg.0.", "tsconv."),
        *projector_keys("proj_eeg.", "projector.", "fn.1"),
        Key("logit_scale", "logit_scale", ()),
    ),
    (
        Drop(f"{E}temporal_embedding.embed.weight", "features of the calendar, which EEG never "
             "has: its layer is not called", ("n", 4)),
        Drop(f"{E}mask_token", "stands for masked tokens, and no token is masked", (1, "n")),
        Drop(f"{E}subject_embedding.mask_embedding", "stands for masked subjects, and none is",
             (1, "n")),
        Drop("subject_wise_linear.{j}.weight", "made by the published class and never called",
             ("n", "n")),
        Drop("subject_wise_linear.{j}.bias", "made by the published class and never called",
             ("n",)),
    ),
)  # fmt: skip
SLICE = (
    "the first token is the subject's, and the first C of C + 1 tokens go on: the subject's token "
    "stands for a channel and the last channel (O2 of 63) is lost "
    "(--set legacy_atm_slice=false keeps the channels, as later releases do)"
)
QUIRKS = (
    "subject 10 is out of the table of ten, entry 0 of which was never trained: it gets the shared "
    "token",
    "the temperature was used as it is, not as a logarithm; embeddings are not of unit length",
    "positions are added to channels, as in the release of December 2025; weights of earlier "
    "releases were trained without (--set positions=false)",
)


class ATM(Family):
    """A bare ``state_dict`` of ATMS; the prior's file can stand beside it."""

    name: ClassVar[str] = "atm"
    title: ClassVar[str] = "ATM-S"
    paper: ClassVar[str] = (
        "Li et al. 2024, Visual decoding and reconstruction via EEG embeddings with guided "
        "diffusion (arXiv 2403.07721)"
    )
    source: ClassVar[str] = (
        "LidongYang/EEG_Image_decode (dataset); trainings write "
        "models/contrast/ATMS/SUBJECT/DATE/EPOCH.pth"
    )
    licence: ClassVar[str] = "MIT (repository); data CC-BY-4.0"
    settings: ClassVar[dict[str, Any]] = {
        **SIGNAL, "legacy_atm_slice": True, "positions": True, "heads": 4,
    }  # fmt: skip
    files: ClassVar[dict[str, str]] = {"prior": "the file of the diffusion prior"}

    def recognises(self, shapes: Shapes) -> bool:
        return {f"{E}value_embedding.weight", "enc_eeg.0.tsconv.0.weight"} <= set(shapes)

    def convert(self, state: State, request: Request) -> Converted:
        matched = ATM_MAP.match(state.tensors)
        sizes, tensors = matched.sizes, dict(matched.tensors)
        heads = int(self.setting(request, "heads"))
        if sizes["n"] // heads * heads != sizes["a"]:
            raise InputError(
                f"attention of {sizes['a']} numbers over tokens of {sizes['n']}, {heads} heads",
                expected=f"{sizes['n'] // heads * heads}",
                remedy="--set heads=NUMBER, as it was trained",
            )
        tensors["code"] = tensors["code"][: sizes["c"]]
        slice_ = bool(self.setting(request, "legacy_atm_slice"))
        config = {
            "n_outputs": sizes["z"], **signal_of(sizes["c"], sizes["n"], request),
            "subjects": list(request.subjects), "faithful": True, "heads": heads,
            "hidden": sizes["u"], "table": sizes["s"], "legacy_slice": slice_,
            "positions": bool(self.setting(request, "positions")),
            "filters": sizes["f"],
            "kernel": sizes["k"],
        }  # fmt: skip
        encoder = filled(ATMEncoder, config, tensors)
        prior, words, dropped = self._prior(request)
        parts = model_of_sensors(
            encoder,
            VIT_H(sizes["z"]),
            request,
            generator="ip-adapter-sdxl-turbo",
            subjects=request.subjects,
            protocol=things_protocol(
                request.subjects,
                averaging="single trials",
                selection="the epoch that was best on the test set",
            ),
            prior=prior,
        )
        found = {
            "channels x samples": f"{sizes['c']} x {sizes['n']}",
            "embedding": str(sizes["z"]),
            "subjects in the table": str(sizes["s"]),
            **words,
        }
        quirks = [*([SLICE] if slice_ else []), *QUIRKS]
        return Converted(parts, found, {**matched.dropped, **dropped}, quirks)

    def _prior(self, request: Request) -> tuple[Any, dict[str, str], dict[str, str]]:
        from phosphene.checkpoints.converters.atm_prior import prior_of

        path = request.file("prior")
        if path is None:
            return None, {"prior": "no (--with prior=FILE)"}, {}
        prior, sizes, dropped = prior_of(tensors_of(Path(path)))
        return prior, {"prior": f"widths {', '.join(map(str, sizes))}"}, dropped

    def write(self, parts: ModelParts) -> Any:
        """Return a bare state_dict, as the published programs write and read it."""
        encoder = parts.encoder
        if not isinstance(encoder, ATMEncoder) or not encoder.faithful:
            raise UsageError(
                f"a model with the encoder {encoder.name} as ATM",
                expected="a model whose encoder is atm in its faithful form: the corrected one has "
                "other subjects and keeps all channels",
                remedy="write a model that was converted from published weights",
            )
        own = dict(encoder.state_dict())
        own["code"] = torch.cat(
            [own["code"], channel_code(CODES, own["code"].shape[1])[len(own["code"]) :]]
        )
        sizes = {"n": encoder.signal.n_times, "#j": SPARE_SUBJECTS}
        return ATM_MAP.written(own, sizes, set())
