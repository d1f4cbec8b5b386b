"""Train a brain encoder: dataset and target in, a model folder out."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.config import Config
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import fit_pictures, picture_hash
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.voxel_reliability import (
    WeighingTrial,
    explained_variance,
    try_weighing,
)
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, PhospheneError, UsageError
from phosphene.names import check_subject, resolve_folder
from phosphene.pipelines.model_folder import ModelParts, load_component, save_model
from phosphene.schemas import Protocol
from phosphene.storage import (
    check_new_folder,
    hash_bytes,
    load_tensors,
    read_json,
    save_tensors,
)
from phosphene.types import Recording

if TYPE_CHECKING:
    import torch

__all__ = ["EncoderConfig", "cached_targets", "load_target", "train_encoder"]

logger = logging.getLogger(__name__)


class EncoderConfig(Config):
    """Settings of ``phosphene train encoder``."""

    dataset: str
    subject: str
    target: str
    output: str
    encoder: str = "ridge"
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
    _refuse_shared_pictures(dataset, recording)
    target = load_target(config.target)
    _refuse_seen_by_target(dataset, target, config.target)
    values = cached_targets(dataset, target, recording.trials["stimulus_id"].tolist())
    preprocessor = Preprocessor(modality=recording.modality).fit(recording)
    make_encoder = functools.partial(_make_encoder, config)
    trial = _weigh_voxels(config, preprocessor, recording, values, make_encoder)
    encoder = make_encoder()
    fitted = preprocessor.transform(recording)
    if config.average == "stimulus":
        first = ~fitted.trials["stimulus_id"].duplicated().to_numpy()
        values, fitted = values[first], fitted.average("stimulus_id")
    summary: dict[str, float] = encoder.fit(fitted, values, groups=config.groups)
    if summary.get("alphas_at_edge", 0) > 0.5:
        logger.warning(
            "most targets chose the smallest or largest penalty of the grid: consider a wider one, "
            "for example --set options.alphas=[1e-5,1e-3,1e-1,10,1e3,1e5]"
        )
    if preprocessor.weighted:  # the weights saw the trials that this figure leaves out
        summary.pop("left_out_r2", None)
    if trial is not None:
        summary["cross_validated_r2"] = trial.weighed if preprocessor.weighted else trial.plain
    parts = ModelParts(
        encoder=encoder,
        target=target,
        preprocessor=preprocessor,
        protocol=_protocol(dataset, recording, config, weighted=preprocessor.weighted),
        generator="target-decoder",
        baselines={"mean_picture": _mean_picture(dataset, recording)},
        settings=config.model_dump(mode="json", exclude={"output"}),
    )
    return save_model(config.output, parts, summary), summary


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


def load_target(name: str) -> StimulusEncoder:
    """Return the target that ``local-dir:FOLDER``, ``hf-hub:ID`` or ``pixels:28x1`` names."""
    kind, _, size = name.partition(":")
    if kind == "pixels":
        side, _, channels = size.partition("x")
        if not (side.isdecimal() and int(side) > 0 and channels in ("1", "3")):
            raise UsageError(
                f"`target` is {name!r}",
                expected="pixels:SIZExCHANNELS, as 28x1",
                remedy="name a folder with local-dir:FOLDER, or a size such as pixels:28x1",
            )
        made: StimulusEncoder = STIMULUS_ENCODERS.get("pixels")(int(side), int(channels))
        return made
    folder = resolve_folder(name)
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} is not a target: it has no config.json",
            expected="a folder written by `phosphene train autoencoder`",
            remedy="check the path; an interrupted training is finished with --resume",
        )
    found: StimulusEncoder = load_component(folder, STIMULUS_ENCODERS)
    if (folder / "training.json").is_file():
        learned = read_json(folder / "training.json").get("picture_hashes", [])
        found.training_picture_hashes = frozenset(learned)
    return found


def cached_targets(
    dataset: CanonicalDataset, target: StimulusEncoder, stimulus_ids: list[str]
) -> torch.Tensor:
    """Return the target of each trial's stimulus, computed once per dataset and target.

    The cache is found by the hash of the target's spec and of the pictures' content.
    """
    table = dataset.stimuli
    names = sorted(set(stimulus_ids))
    hashes = dict(zip(table["stimulus_id"], table["hash"], strict=True))
    content = "".join(f"{name}={hashes.get(name)};" for name in names)
    key = hash_bytes(f"{target.spec.hash} {content}".encode())[:16]
    path = dataset.root / "targets" / key / "values.safetensors"
    if path.is_file():
        values = load_tensors(path)["values"]
    else:
        values = target.encode(dataset.pictures(names))
        try:
            save_tensors(path, {"values": values})
            target.spec.save(path.with_name("target.json"))
        except PhospheneError as error:  # a cache that cannot be kept is no reason to stop
            logger.warning("targets are not cached: %s", error.found)
    rows = {name: row for row, name in enumerate(names)}
    return values[[rows[name] for name in stimulus_ids]]


def _refuse_shared_pictures(dataset: CanonicalDataset, recording: Recording) -> None:
    """No trial of a test picture may train anything, under whatever name it stands."""
    hashes = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
    test = dataset.table.loc[dataset.table["split"] == "test", "stimulus_id"]
    known = {hashes.get(name, name) for name in test}
    mine = recording.trials["stimulus_id"]
    shared = sorted({name for name in mine if hashes.get(name, name) in known})
    if shared:
        raise InputError(
            f"{len(shared)} pictures of the test split are also in the training trials, "
            f"{shared[0]!r} for example",
            expected="test pictures that training never sees",
            remedy="give all trials of a picture the same split, and prepare the dataset again",
        )


def _refuse_seen_by_target(dataset: CanonicalDataset, target: StimulusEncoder, name: str) -> None:
    """A target that was trained on test pictures knows what it is to be tested on."""
    learned = target.training_picture_hashes
    test = dataset.table.loc[dataset.table["split"] == "test", "stimulus_id"].unique().tolist()
    if not learned or not test or dataset.file.stimulus_kind == "none":
        return
    size, channels = (int(target.spec.preprocessing[key]) for key in ("size", "channels"))
    fitted = fit_pictures(dataset.pictures(test), size=size, channels=channels)
    seen = [
        stimulus for stimulus, one in zip(test, fitted, strict=True) if picture_hash(one) in learned
    ]
    if seen:
        raise InputError(
            f"the target {name} was trained on {len(seen)} pictures of the test split, "
            f"{seen[0]!r} for example",
            expected="a target that has not seen what it is tested on",
            remedy="train it again with --exclude and the stimuli",
        )


def _mean_picture(dataset: CanonicalDataset, recording: Recording) -> torch.Tensor:
    """Return the mean training picture (C, H, W) in 0..1; other sizes are fitted first."""
    import torch

    names = sorted(set(recording.trials["stimulus_id"]))
    pictures = dataset.pictures(names)
    table = dataset.stimuli[dataset.stimuli["stimulus_id"].isin(names)]
    sizes = table[["height", "width", "channels"]].drop_duplicates()
    side, channels = int(sizes[["height", "width"]].to_numpy().min()), int(sizes["channels"].max())
    total: Any = 0.0
    for pixels in pictures:
        one = pixels if len(sizes) == 1 else fit_pictures([pixels], size=side, channels=channels)[0]
        total = total + one.astype(np.float64)
    mean = torch.from_numpy((total / len(pictures) / 255).astype(np.float32))
    return mean.permute(2, 0, 1).contiguous()


def _protocol(
    dataset: CanonicalDataset, recording: Recording, config: EncoderConfig, *, weighted: bool
) -> Protocol:
    space = recording.space
    names = sorted(set(recording.trials["stimulus_id"]))
    hashes = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
    left_out = {"stimulus": "picture", "session": "session", "run": "run"}[config.groups]
    return Protocol(
        dataset=dataset.file.name,
        dataset_hash=dataset.file.hash,
        subjects=[recording.subject],
        mask="all columns" if space is None else f"{space.describe()} (voxels {space.hash})",
        normalisation="z-score per voxel"
        + (", scaled by the root of its explained variance" if weighted else ""),
        normalisation_fitted_on="training trials",
        averaging_train="mean of repetitions" if config.average == "stimulus" else "single trials",
        averaging_test="not run yet",
        n_train_trials={recording.subject: len(recording)},
        train_stimulus_ids=names,
        train_picture_hashes=sorted({hashes[name] for name in names if name in hashes}),
        validation_rule=f"closed-form leave-one-{left_out}-out on training trials",
        selection_rule=f"regularisation by leave-one-{left_out}-out error on training trials"
        + (
            f"; voxel weights by cross-validation over training {left_out}s"
            if config.voxel_weights == "auto"
            else ""
        ),
        transductive=False,
    )
