"""Adapt a trained network to a new subject: only what belongs to that subject is learned."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import numpy as np
import torch

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import UsageError
from phosphene.names import check_subject
from phosphene.pipelines.model_folder import ModelParts, load_model
from phosphene.pipelines.training.brain_materials import (
    Materials,
    NetworkTraining,
    gather,
)
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.materials import refuse_seen_by_target
from phosphene.pipelines.training.network import (
    WORK,
    best_epoch,
    finish,
    network_protocol,
    open_work,
    train_encoder_on,
)
from phosphene.pipelines.training.subject_starts import start_new_subject
from phosphene.schemas import Protocol
from phosphene.seeds import item_seed
from phosphene.storage import read_json

__all__ = ["AdaptConfig", "adapt_model", "add_subject", "freeze_but"]


class AdaptConfig(NetworkTraining):
    """Settings of ``phosphene train adapt``.

    Everything that subjects share stays as it is, unless ``everything`` is true: then all of the
    network goes on learning, from the new subject alone, and the others may suffer.
    """

    model: str
    subject: str
    everything: bool = False
    training: EngineConfig = EngineConfig(
        epochs=50, batch_size=64, learning_rate=5e-4, weight_decay=0.01, warmup_steps=20,
        patience=8,
    )  # fmt: skip


def adapt_model(config: AdaptConfig, *, resume: bool = False) -> tuple[Path, dict[str, float]]:
    """Add a subject to a model and write the model anew, with all of its subjects.

    Returns
    -------
    folder : Path
    summary : dict of str to float
        Figures on held-out pictures of the new subject; ``before`` is what its starting values
        alone explain. They are kept, as epoch 0, where no epoch is better.
    """
    dataset = CanonicalDataset.open(config.dataset)
    subject = dataset.check_subject(check_subject(config.subject))
    parts = load_model(config.model)
    encoder = parts.encoder
    preprocessor = parts.preprocessor
    if not isinstance(encoder, NetworkEncoder) or not isinstance(preprocessor, Preprocessor):
        raise UsageError(
            f"the model {config.model} has the encoder {encoder.name}",
            expected="one whose subjects share a network, such as bit or mindeye2",
            remedy="fit the new subject by itself: phosphene train encoder --encoder ridge",
        )
    encoder.check_new(subject)
    settings = config.model_dump(mode="json", exclude={"output"})
    work = open_work(config.output, settings, resume)
    if work.finished:
        return work.root, dict(read_json(work.root / "training.json")["summary"])
    refuse_seen_by_target(dataset, parts.target, config.model)
    materials = gather(dataset, [subject], _targets(parts), preprocessor, config)
    add_subject(encoder, subject, materials, config, work.partial / WORK)
    start = materials.validation.figures(encoder)["validation r2"]
    watched, state = materials.validation(encoder), copy.deepcopy(encoder.state_dict())
    if not config.everything:
        freeze_but(encoder, subject)
    result = train_encoder_on(encoder, materials, config, work.partial / WORK)
    best = best_epoch(result)
    if watched <= result.history[best - 1]["validation"]:  # what it began with was the best
        encoder.load_state_dict(state)
        best = 0
    summary = materials.validation.figures(encoder)
    summary |= {"before": start, "best epoch": float(best)}
    adapted = dataclasses.replace(
        parts,
        protocol=_joined(parts.protocol, network_protocol(dataset, materials, config)),
        settings=settings | {"base": parts.settings, "summary": summary, "history": result.history},
        name="",
        hash="",
        folder=None,
    )
    return finish(work, adapted, summary, half=config.half), summary


def _targets(parts: ModelParts) -> dict[str, StimulusEncoder]:
    """Return the target of each part that the encoder predicts."""
    found: dict[str, StimulusEncoder] = {parts.target.spec.output: parts.target}
    if "lowlevel" in parts.encoder.targets and parts.generator.latents is not None:
        found["lowlevel"] = parts.generator.latents
    return found


def add_subject(
    encoder: NetworkEncoder,
    subject: str,
    materials: Materials,
    config: NetworkTraining,
    folder: Path | None = None,
) -> None:
    """Make room for the subject; voxels with profiles start from their nearest neighbours."""
    n_voxels = int(np.prod(materials.recordings[0].data.shape[1:]))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(item_seed(config.seed, "weights", f"sub-{subject}", 0))
        encoder.add_subject(subject, n_voxels)
        start_new_subject(encoder, subject, materials, config, folder)


def freeze_but(encoder: NetworkEncoder, subject: str) -> None:
    """Let nothing learn but what belongs to one subject alone."""
    encoder.requires_grad_(False)
    for parameter in encoder.own_parameters(subject).values():
        parameter.requires_grad_(True)


def _joined(before: Protocol, new: Protocol) -> Protocol:
    """Return the protocol of all subjects: what trained the shared part stays part of it."""
    return new.model_copy(
        update={
            "dataset": "; ".join(dict.fromkeys([before.dataset, new.dataset])),
            "dataset_hash": "; ".join(dict.fromkeys([before.dataset_hash, new.dataset_hash])),
            "subjects": [*before.subjects, *new.subjects],
            "mask": "; ".join(dict.fromkeys([before.mask, new.mask])),
            "n_train_trials": before.n_train_trials | new.n_train_trials,
            "train_stimulus_ids": sorted({*before.train_stimulus_ids, *new.train_stimulus_ids}),
            "train_picture_hashes": sorted(
                {*before.train_picture_hashes, *new.train_picture_hashes}
            ),
        }
    )
