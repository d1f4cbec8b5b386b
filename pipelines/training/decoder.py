"""``phosphene train``: a dataset in, one model folder with every part of a decoder out."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from phosphene.checkpoints.registry import model_folder
from phosphene.config import Config
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import fit_pictures
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, UsageError
from phosphene.names import check_subject
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.model_folder import ModelParts, write_model
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.materials import (
    cached_targets,
    load_target,
    mean_training_picture,
    refuse_seen_by_target,
    refuse_shared_pictures,
    training_protocol,
)
from phosphene.pipelines.training.prior import train_prior
from phosphene.pipelines.training.selection import Candidate, Score, Validation, choose
from phosphene.priors.base import Prior
from phosphene.priors.diffusion import DiffusionPrior
from phosphene.priors.identity import IdentityPrior
from phosphene.priors.retrieval import RetrievalProjector
from phosphene.priors.structure import StructureBranch
from phosphene.seeds import item_seed
from phosphene.storage import read_json, write_json
from phosphene.types import BrainEmbedding, Recording
from phosphene.workfolder import WorkFolder

__all__ = ["DecoderConfig", "train_decoder"]

SETTINGS = "settings.json"
HELD_OUT = 0.05  # share of training pictures, where a dataset has no validation split


class DecoderConfig(Config):
    """Settings of ``phosphene train``.

    ``target`` and ``generator`` are folders, of the model ``base`` where they are not given.
    """

    dataset: str
    output: str
    subjects: tuple[str, ...] = ()
    base: str = "virtual-fmri"
    target: str | None = None
    generator: str | None = None
    token_rank: int = 192
    latent_rank: int = 160
    prior: Literal["auto", "diffusion", "identity", "none"] = "auto"
    prior_options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults
    prior_training: EngineConfig = EngineConfig(
        epochs=6, batch_size=128, learning_rate=1e-3, warmup_steps=50, ema_decay=0.995
    )
    strengths: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85, 1.0)
    validation_pictures: int = 64
    retrieval_components: int = 100
    half: bool = False
    seed: int = 0


@dataclass
class _Fitted:
    """What the subjects' recordings have led to so far."""

    preprocessor: Preprocessor
    encoder: RidgeEncoder
    structure: RidgeEncoder
    summary: dict[str, float] = field(default_factory=dict)
    recordings: list[Recording] = field(default_factory=list)
    left_out: list[Tensor] = field(default_factory=list)
    truth: list[Tensor] = field(default_factory=list)
    validation: list[tuple[BrainEmbedding, list[str]]] = field(default_factory=list)


def train_decoder(config: DecoderConfig, *, resume: bool = False) -> tuple[Path, dict[str, float]]:
    """Fit encoders of every subject, train a prior, choose prior and strength, write the model.

    Returns
    -------
    folder : Path
    summary : dict of str to float
        Figures on left-out training pictures and on validation pictures.
    """
    dataset = CanonicalDataset.open(config.dataset)
    subjects = [check_subject(label) for label in config.subjects or sorted(dataset.file.subjects)]
    target, generator = _base(config)
    refuse_seen_by_target(dataset, target, config.target or config.base)
    settings = config.model_dump(mode="json", exclude={"output"})
    work = _open(config, settings, resume)
    if work.finished:
        return work.root, dict(read_json(work.root / "training.json")["summary"])
    fitted = _Fitted(
        Preprocessor(modality=dataset.file.modality),
        RidgeEncoder(rank=config.token_rank),
        RidgeEncoder(rank=config.latent_rank),
    )
    for position, subject in enumerate(subjects):
        share = (position, len(subjects))
        _fit_subject(dataset, subject, share, target, generator, fitted, config)
    chosen, scores = _choose(dataset, fitted, target, generator, work.partial, config)
    summary = fitted.summary | _best_figures(chosen, scores)
    settings |= {"summary": summary, "validation": [asdict(score) for score in scores]}
    branched = chosen.strength < 1
    predicted, truth = torch.cat(fitted.left_out), torch.cat(fitted.truth)
    size = truth[0].numel()
    components = min(config.retrieval_components, size, len(truth) // 2)
    parts = ModelParts(
        encoder=fitted.encoder,
        target=target,
        preprocessor=fitted.preprocessor,
        prior=chosen.prior,
        structure=fitted.structure if branched else None,
        branch=StructureBranch(generator.latents.spec.hash, chosen.strength) if branched else None,
        retrieval=RetrievalProjector(size, components).fit(predicted, truth),
        protocol=training_protocol(
            dataset,
            fitted.recordings,
            groups="stimulus",
            average="stimulus",
            weighted=False,
            selection="; prior and strength by rendered validation pictures",
        ),
        generator=generator,
        baselines={"mean_picture": mean_training_picture(dataset, fitted.recordings)},
        settings=settings,
    )
    shutil.rmtree(work.partial / "prior-training", ignore_errors=True)
    (work.partial / SETTINGS).unlink(missing_ok=True)
    write_model(work.partial, parts, summary, name=work.root.name, half=config.half)
    return work.finish(), summary


def _base(config: DecoderConfig) -> tuple[StimulusEncoder, LatentDiffusion]:
    """Return the target whose embeddings are decoded and the generator that renders them."""
    given = config.target is not None and config.generator is not None
    base = Path() if given else model_folder(config.base)
    target = load_target(config.target or str(base / "target"))
    if target.spec.output == "lowlevel":
        raise UsageError(f"`target` {config.target!r} is one of latents", "tokens or pooled")
    folder = base / "generator" if config.generator is None else model_folder(config.generator)
    return target, LatentDiffusion.load(folder, target)


def _open(config: DecoderConfig, settings: dict[str, Any], resume: bool) -> WorkFolder:
    work = WorkFolder.open(config.output, last="model_index.json", resume=resume)
    if work.finished:
        return work
    path = work.partial / SETTINGS
    if work.resumed and path.is_file() and read_json(path) != settings:
        raise UsageError(
            f"the training in {work.root} was begun with other settings",
            expected="the same settings as before",
            remedy="repeat the first command with --resume, or choose another --output",
        )
    write_json(path, settings)
    return work


def _fit_subject(
    dataset: CanonicalDataset,
    subject: str,
    share: tuple[int, int],
    target: StimulusEncoder,
    generator: LatentDiffusion,
    fitted: _Fitted,
    config: DecoderConfig,
) -> None:
    """Fit one subject, keep its left-out predictions, predict its share of validation pictures."""
    recording, validation = _splits(dataset, subject, config.seed)
    refuse_shared_pictures(dataset, recording)
    fitted.preprocessor.fit(recording)
    averaged = fitted.preprocessor.transform(recording.average("stimulus_id"))
    names = averaged.trials["stimulus_id"].tolist()
    values = cached_targets(dataset, target, names)
    found = fitted.encoder.fit(averaged, values, keep_left_out=True)
    latents = cached_targets(dataset, generator.latents, names)
    layout = fitted.structure.fit(averaged, latents)
    fitted.summary |= {
        f"sub-{subject} left_out_r2": found["left_out_r2"],
        f"sub-{subject} left_out_r2 of latents": layout["left_out_r2"],
    }
    fitted.recordings.append(recording)
    fitted.left_out.append(fitted.encoder.left_out(subject).main)
    fitted.truth.append(values)
    position, count = share
    # Subjects share the validation pictures out, so that no picture is judged twice.
    shown = sorted(validation.trials["stimulus_id"].unique())[position::count]
    kept = shown[: max(2, config.validation_pictures // count)]
    items = validation.select(validation.trials["stimulus_id"].isin(kept).to_numpy())
    prepared = fitted.preprocessor.transform(items.average("stimulus_id"))
    predicted = fitted.encoder.encode(prepared)
    both = BrainEmbedding(
        pooled=predicted.pooled,
        tokens=predicted.tokens,
        lowlevel=fitted.structure.encode(prepared).lowlevel,
    )
    fitted.validation.append((both, prepared.trials["stimulus_id"].tolist()))


def _splits(dataset: CanonicalDataset, subject: str, seed: int) -> tuple[Recording, Recording]:
    """Return training and validation trials; pictures are held out where none are marked."""
    table = dataset.table
    mine = table[table["subject"] == subject] if "subject" in table else table
    if (mine["split"] == "validation").any():
        return (
            dataset.recording(subject, splits=["train"]),
            dataset.recording(subject, splits=["validation"]),
        )
    recording = dataset.recording(subject, splits=["train"])
    names = recording.trials["stimulus_id"]
    order = sorted(set(names), key=lambda name: item_seed(seed, "held out", name, 0))
    held_out = names.isin(order[: max(2, round(HELD_OUT * len(order)))]).to_numpy()
    if held_out.all():
        raise InputError(
            f"{len(order)} training pictures of subject {subject}",
            expected="enough to hold some out for choosing prior and strength",
            remedy="mark more trials as train, or some as validation",
        )
    return recording.select(~held_out), recording.select(held_out)


def _choose(
    dataset: CanonicalDataset,
    fitted: _Fitted,
    target: StimulusEncoder,
    generator: LatentDiffusion,
    folder: Path,
    config: DecoderConfig,
) -> tuple[Candidate, list[Score]]:
    names = [name for _, part in fitted.validation for name in part]
    embeddings = [embedding for embedding, _ in fitted.validation]
    joined = BrainEmbedding(
        **{
            part: torch.cat([getattr(one, part) for one in embeddings])
            for part in ("pooled", "tokens", "lowlevel")
            if getattr(embeddings[0], part) is not None
        }
    )
    truth = cached_targets(dataset, target, names)
    priors = _priors(fitted, (joined.main, truth), folder, config)
    size = generator.latents.size
    validation = Validation(
        joined, fit_pictures(dataset.pictures(names), size=size, channels=3), names
    )
    candidates = [Candidate(prior, strength) for prior in priors for strength in config.strengths]
    return choose(candidates, validation, generator, target, seed=config.seed)


def _priors(
    fitted: _Fitted, validation: tuple[Tensor, Tensor], folder: Path, config: DecoderConfig
) -> list[Prior | None]:
    """Return the priors to choose among, trained on left-out predictions of all subjects."""
    predicted, truth = torch.cat(fitted.left_out), torch.cat(fitted.truth)
    n_tokens = 1 if truth.ndim == 2 else truth.shape[1]
    found: list[Prior | None] = []
    if config.prior in ("auto", "none"):
        found.append(None)
    if config.prior in ("auto", "identity"):
        found.append(IdentityPrior(n_tokens).fit(predicted, truth))
    if config.prior in ("auto", "diffusion"):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(item_seed(config.seed, "weights", "prior", 0))
            prior = DiffusionPrior(truth.shape[-1], n_tokens, **config.prior_options)
        train_prior(
            prior,
            predicted,
            truth,
            config.prior_training,
            folder=folder / "prior-training",
            validation=validation,
        )
        found.append(prior)
    return found


def _best_figures(chosen: Candidate, scores: list[Score]) -> dict[str, float]:
    best = scores[int(np.argmax([score.total for score in scores]))]
    return {
        "strength": chosen.strength,
        "validation identification": best.identification,
        "validation pixel_correlation": best.pixel_correlation,
    }
