"""Train a brain encoder: dataset and target in, a model folder out."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from phosphene.config import Config
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.voxel_reliability import (
    WeighingTrial,
    explained_variance,
    try_weighing,
)
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.maps import MapTarget
from phosphene.errors import UsageError
from phosphene.names import check_subject
from phosphene.pipelines.generators.choosing import open_generator
from phosphene.pipelines.generators.target_decoder import TargetDecoder
from phosphene.pipelines.model_folder import ModelParts, save_model
from phosphene.pipelines.training.materials import (
    LEFT_OUT,
    cached_targets,
    load_target,
    mean_training_picture,
    refuse_seen_by_target,
    refuse_shared_pictures,
    training_protocol,
)
from phosphene.storage import check_new_folder
from phosphene.types import Recording

if TYPE_CHECKING:
    import torch

__all__ = ["EncoderConfig", "train_encoder"]

logger = logging.getLogger(__name__)


class EncoderConfig(Config):
    """Settings of ``phosphene train encoder``.

    ``control`` is a target of maps, depth or edges, that is decoded beside the other one for a
    generator that draws along it.
    """

    dataset: str
    subject: str
    target: str
    output: str
    encoder: str = "ridge"
    generator: str | None = None  # the target's own decoder, where it has one
    control: str | None = None
    generator_options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults
    groups: Literal["stimulus", "session", "run"] = "stimulus"
    average: Literal["none", "stimulus"] = "none"
    voxel_weights: Literal["auto", "explained", "none"] = "auto"
    seed: int = 0
    options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults


def train_encoder(config: EncoderConfig) -> tuple[Path, dict[str, float]]:
    """Fit preprocessing and encoder on the train split; write the model folder.

    Returns
    -------
    folder : Path
    summary : dict of str to float
        Figures on left-out training pictures.
    """
    check_new_folder(config.output)
    dataset = CanonicalDataset.open(config.dataset)
    subject = check_subject(config.subject)
    recording = dataset.recording(subject, splits=["train"])
    refuse_shared_pictures(dataset, recording)
    target = load_target(config.target)
    refuse_seen_by_target(dataset, target, config.target)
    generator = (
        TargetDecoder(target)
        if config.generator is None
        else open_generator(config.generator, Path(), target, config.generator_options)
    )
    values = cached_targets(dataset, target, recording.trials["stimulus_id"].tolist())
    preprocessor = Preprocessor(modality=recording.modality).fit(recording)
    make_encoder = functools.partial(_make_encoder, config)
    trial = _weigh_voxels(config, preprocessor, recording, values, make_encoder)
    encoder = make_encoder()
    control_target = None if config.control is None else _load_control(config.control)
    fitted = preprocessor.transform(recording)
    if config.average == "stimulus":
        first = ~fitted.trials["stimulus_id"].duplicated().to_numpy()
        values, fitted = values[first], fitted.average("stimulus_id")
    summary: dict[str, float] = encoder.fit(fitted, values, groups=config.groups)
    control = None
    if control_target is not None:
        control = make_encoder()
        maps = cached_targets(dataset, control_target, fitted.trials["stimulus_id"].tolist())
        of_maps = control.fit(fitted, maps, groups=config.groups)
        summary["left_out_r2 of maps"] = of_maps["left_out_r2"]
    if summary.get("alphas_at_edge", 0) > 0.5:
        logger.warning(
            "most targets chose the smallest or largest penalty of the grid: consider a wider one, "
            "for example --set options.alphas=[1e-5,1e-3,1e-1,10,1e3,1e5]"
        )
    if preprocessor.weighted:  # the weights saw the trials that this figure leaves out
        for figure in ("left_out_r2", "left_out_r2 of maps"):
            summary.pop(figure, None)
    if trial is not None:
        summary["cross_validated_r2"] = trial.weighed if preprocessor.weighted else trial.plain
    parts = ModelParts(
        encoder=encoder,
        target=target,
        preprocessor=preprocessor,
        protocol=training_protocol(
            dataset,
            [recording],
            groups=config.groups,
            average=config.average,
            weighted=preprocessor.weighted,
            selection=_weighing_words(config),
        ),
        generator=generator,
        control=control,
        control_target=control_target,
        baselines={"mean_picture": mean_training_picture(dataset, [recording])},
        settings=config.model_dump(mode="json", exclude={"output"}),
    )
    return save_model(config.output, parts, summary), summary


def _load_control(name: str) -> StimulusEncoder:
    found = load_target(name)
    if not isinstance(found, MapTarget):
        raise UsageError(
            f"`control` {name!r} is the target {found.name}",
            expected="a target of maps: depth or edges",
            remedy="make one: `Depth and edges` in the documentation of generators",
        )
    return found


def _weighing_words(config: EncoderConfig) -> str:
    if config.voxel_weights != "auto":
        return ""
    return f"; voxel weights by cross-validation over training {LEFT_OUT[config.groups]}s"


def _make_encoder(config: EncoderConfig) -> Any:
    kind = BRAIN_ENCODERS.get(config.encoder)
    try:
        return kind(**config.options)
    except TypeError as error:
        raise UsageError(
            f"`options` of the encoder {config.encoder} are {config.options} ({error})",
            expected=f"arguments among {', '.join(inspect.signature(kind).parameters)}",
            remedy="correct --set options.NAME=VALUE",
        ) from error


def _weigh_voxels(
    config: EncoderConfig,
    preprocessor: Preprocessor,
    recording: Recording,
    values: torch.Tensor,
    make_encoder: Callable[[], Any],
) -> WeighingTrial | None:
    """Let the preprocessor weigh voxels by what pictures explain of them, where that helps."""
    if config.voxel_weights == "none":
        return None
    normalised = preprocessor.transform(recording)
    trial = try_weighing(normalised, values, make_encoder, groups=config.groups, seed=config.seed)
    if config.voxel_weights == "explained" or (trial is not None and trial.helps):
        weights = explained_variance(normalised, values, groups=config.groups)
        preprocessor.weigh(recording.subject, weights)
    return trial
