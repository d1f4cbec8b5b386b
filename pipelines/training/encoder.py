"""Train a brain encoder: dataset and target in, a model folder out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.config import Config
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.voxel_reliability import explained_variance, weighing_helps
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, UsageError
from phosphene.names import check_subject, resolve_folder
from phosphene.pipelines.model_folder import ModelParts, load_component, save_model
from phosphene.schemas import Protocol
from phosphene.storage import check_new_folder, hash_bytes, load_tensors, save_tensors
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
    recording = dataset.recording(subject, splits=["train", "validation"])
    _refuse_shared_pictures(dataset, recording)
    target = load_target(config.target)
    values = cached_targets(dataset, target, recording.trials["stimulus_id"].tolist())
    preprocessor = Preprocessor(modality=recording.modality).fit(recording)
    kind = BRAIN_ENCODERS.get(config.encoder)

    def make_encoder() -> Any:
        return kind(**config.options)

    _weigh_voxels(config, preprocessor, recording, values, make_encoder)
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
    ids = recording.trials["stimulus_id"]
    parts = ModelParts(
        encoder=encoder,
        target=target,
        preprocessor=preprocessor,
        protocol=_protocol(dataset, recording, config, weighted=preprocessor.weighted),
        generator="target-decoder",
        baselines={"mean_picture": _mean_picture(dataset.pictures(sorted(set(ids))))},
    )
    return save_model(config.output, parts, summary), summary


def _weigh_voxels(
    config: EncoderConfig,
    preprocessor: Preprocessor,
    recording: Recording,
    values: torch.Tensor,
    make_encoder: Callable[[], Any],
) -> None:
    """Let the preprocessor weigh voxels by what pictures explain of them, where that helps."""
    if config.voxel_weights == "none":
        return
    normalised = preprocessor.transform(recording)
    if config.voxel_weights == "auto" and not weighing_helps(
        normalised, values, make_encoder, groups=config.groups, seed=config.seed
    ):
        return
    weights = explained_variance(normalised, values, groups=config.groups)
    preprocessor.weigh(recording.subject, weights)


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
        save_tensors(path, {"values": values})
        target.spec.save(path.with_name("target.json"))
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


def _mean_picture(pictures: list[Pictures]) -> torch.Tensor:
    """Return the mean picture (C, H, W) in 0..1; pictures of another size are fitted first."""
    import torch

    from phosphene.data.pictures import fit_pictures

    height, width, channels = pictures[0].shape
    stacked = (
        np.stack(pictures)
        if all(p.shape == (height, width, channels) for p in pictures)
        else fit_pictures(pictures, size=min(height, width), channels=3)
    )
    mean = stacked.mean(axis=0, dtype=np.float64) / 255
    return torch.from_numpy(mean.astype(np.float32)).permute(2, 0, 1).contiguous()


def _protocol(
    dataset: CanonicalDataset, recording: Recording, config: EncoderConfig, *, weighted: bool
) -> Protocol:
    space = recording.space
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
        train_stimulus_ids=sorted(set(recording.trials["stimulus_id"])),
        validation_rule=f"closed-form leave-one-{left_out}-out on training trials",
        selection_rule=f"regularisation by leave-one-{left_out}-out error on training trials"
        + (
            f"; voxel weights by cross-validation over training {left_out}s"
            if config.voxel_weights == "auto"
            else ""
        ),
        transductive=False,
    )
