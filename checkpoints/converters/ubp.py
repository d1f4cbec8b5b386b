"""UBP: all samples in a row and a residual head, in a Lightning checkpoint (Wu et al. 2025)."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional as F

from phosphene.checkpoints.converters.family import Converted, Family, Request, filled
from phosphene.checkpoints.converters.key_map import Key, KeyMap
from phosphene.checkpoints.converters.sensors import (
    SIGNAL,
    model_of_sensors,
    projector_keys,
    signal_of,
    things_protocol,
)
from phosphene.checkpoints.converters.state import State
from phosphene.encoders.brain.electric.flat_mlp import FlatMLPEncoder
from phosphene.encoders.stimulus.published import PublishedTarget
from phosphene.errors import UsageError

__all__ = ["UBP", "UBP_MAP", "shape_of_row"]


def _as_logarithm(value: Tensor) -> Tensor:
    """The published scale is the softplus of the parameter; here it is an exponential."""
    return F.softplus(value.float()).log()


UBP_MAP = KeyMap(
    "UBP",
    (
        *projector_keys("brain.model.", "projector.", "f.1", width="row"),
        Key("brain.logit_scale", "logit_scale", (), apply=_as_logarithm),
    ),
    aliases=(("brain.model.1.fn.1.", "brain.model.1.f.1."),),
)
RATES = ((250, "eeg"), (201, "meg"))


def shape_of_row(row: int, request: Request) -> tuple[int, int]:
    """Return channels and samples of a row of ``row`` numbers.

    Raises
    ------
    UsageError
        If tensors and settings leave it open.
    """
    times = request.settings.get("n_times")
    if times is None:
        times = next((count for count, _ in RATES if row % count == 0), None)
    if times is None or row % int(times):
        raise UsageError(
            f"rows of {row} numbers, which do not say how many channels and samples they are",
            expected="250 samples of EEG or 201 of MEG per channel",
            remedy="--set n_times=NUMBER",
        )
    return row // int(times), int(times)


class UBP(Family):
    """``last.ckpt`` of one subject."""

    name: ClassVar[str] = "ubp"
    title: ClassVar[str] = "UBP (Uncertainty-aware Blur Prior)"
    paper: ClassVar[str] = (
        "Wu et al. 2025, Bridging the vision-brain gap with an uncertainty-aware blur prior "
        "(CVPR 2025, arXiv 2503.04207)"
    )
    source: ClassVar[str] = "HaitaoWuTJU/Uncertainty-aware-Blur-Prior: last.ckpt of a training"
    licence: ClassVar[str] = "Apache-2.0 (repository); data CC-BY-4.0"
    marks: ClassVar[tuple[str, ...]] = ("brain.model.0.weight", "brain.logit_scale")
    settings: ClassVar[dict[str, Any]] = {**SIGNAL, "n_times": None}

    def convert(self, state: State, request: Request) -> Converted:
        matched = UBP_MAP.match(state.tensors)
        sizes = matched.sizes
        channels, times = shape_of_row(sizes["row"], request)
        config = {
            "n_outputs": sizes["z"], **signal_of(channels, times, request),
            "subjects": list(request.subjects),
        }  # fmt: skip
        target = PublishedTarget(
            "RN50", "openai", "pooled", [sizes["z"]],
            note="of foveally blurred pictures in training; cosines are compared",
        )  # fmt: skip
        parts = model_of_sensors(
            filled(FlatMLPEncoder, config, matched.tensors),
            target,
            request,
            generator="",
            subjects=request.subjects,
            protocol=things_protocol(
                request.subjects,
                averaging="mean of the repetitions",
                selection="early stopping on the training loss; the validation set was the test "
                "set within subjects",
            ),
        )
        words = {"channels x samples": f"{channels} x {times}", "embedding": str(sizes["z"])}
        quirks = [
            "the paper's test gallery is blurred like the training pictures",
            "another picture network than RN50 leaves no trace in the weights; say so with care",
        ]
        notes = ["no published generator takes embeddings of RN50: use it for retrieval"]
        return Converted(parts, words, matched.dropped, quirks, notes)
