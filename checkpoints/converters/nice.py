"""NICE: TSConv and a residual head, in one file each (Song et al. 2024)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from phosphene.checkpoints.converters.family import (
    Converted,
    Family,
    Request,
    Shapes,
    filled,
    tensors_of,
)
from phosphene.checkpoints.converters.key_map import KeyMap
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
from phosphene.encoders.brain.electric.tsconv import TSConvEncoder
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import InputError, UsageError

__all__ = ["NICE"]

POOL, STRIDE = 51, 5
ENCODER, HEAD = "Enc_eeg_cls", "Proj_eeg_cls"
NICE_MAP = KeyMap(
    "NICE",
    (*tsconv_keys("0.", "tsconv."), *projector_keys("head.", "projector.", "fn.1")),
)


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
    settings: ClassVar[dict[str, Any]] = {**SIGNAL, "n_times": None}
    files: ClassVar[dict[str, str]] = {
        "encoder": "{run}Enc_eeg_cls.pth",
        "projector": "{run}Proj_eeg_cls.pth",
    }

    def recognises(self, shapes: Shapes) -> bool:
        names = set(shapes)
        head = {"0.weight", "1.fn.1.weight", "2.weight"}
        return "0.tsconv.0.weight" in names or (head <= names and len(names) == 6)

    def convert(self, state: State, request: Request) -> Converted:
        encoder, head = self._both(state, request)
        tensors = {**encoder, **{f"head.{name}": value for name, value in head.items()}}
        matched = NICE_MAP.match(tensors)
        sizes = matched.sizes
        frames, rest = divmod(sizes["w"], sizes["f"])
        times = self.setting(request, "n_times")
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
        made = filled(TSConvEncoder, config, {**matched.tensors, "logit_scale": scale_tensor()})
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
            "channels x samples": f"{sizes['c']} x {times}",
            "embedding": str(sizes["z"]),
        }
        quirks = [
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
        is_encoder = "0.tsconv.0.weight" in state.tensors
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
