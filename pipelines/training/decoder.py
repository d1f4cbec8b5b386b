"""``phosphene train``: a dataset in, one model folder with every part of a decoder out."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.checkpoints.registry import model_folder
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import UsageError
from phosphene.names import check_subject
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.model_folder import ModelParts, write_model
from phosphene.pipelines.rendering import Rendering
from phosphene.pipelines.training.decoder_config import DecoderConfig
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.fitted_subjects import Base, FittedSubjects, joined
from phosphene.pipelines.training.latent_diffusion import tune_latent_diffusion
from phosphene.pipelines.training.materials import (
    cached_targets,
    load_target,
    mean_training_picture,
    refuse_seen_by_target,
    training_protocol,
)
from phosphene.pipelines.training.rendering_choice import DETAIL, PRIOR, choose_rendering
from phosphene.pipelines.training.selection import Score, score_of
from phosphene.priors.identity import IdentityPrior
from phosphene.priors.retrieval import RetrievalProjector
from phosphene.priors.structure import StructureBranch
from phosphene.storage import read_json, write_json
from phosphene.workfolder import WorkFolder

__all__ = ["DecoderConfig", "figures_of", "train_decoder"]

SETTINGS = "settings.json"
TUNING = "generator-training"


def train_decoder(
    config: DecoderConfig, *, resume: bool = False, scenes: Tensor | None = None
) -> tuple[Path, dict[str, float]]:
    """Fit encoders of every subject, train a prior, choose how to render, write the model.

    Parameters
    ----------
    config : DecoderConfig
    resume : bool
        Go on with an interrupted training of the same settings.
    scenes : Tensor of shape (n, d), optional
        Features of the renderer's first n training scenes, which lend detail; by default the
        dataset's own training pictures do.

    Returns
    -------
    folder : Path
    summary : dict of str to float
        Figures on left-out training pictures and on validation pictures.
    """
    dataset = CanonicalDataset.open(config.dataset)
    subjects = [check_subject(label) for label in config.subjects or sorted(dataset.file.subjects)]
    base = _base(config)
    if config.tuning is not None and base.features is None:
        raise UsageError(
            "`tuning` without features",
            expected="a second network, whose decoded features the generator learns to read",
            remedy="name one: --set features=FOLDER, such as an efficientnet-lite0 target",
        )
    refuse_seen_by_target(dataset, base.target, config.target or config.base)
    settings = config.model_dump(mode="json", exclude={"output"})
    work = _open(config, settings, resume)
    if work.finished:
        return work.root, dict(read_json(work.root / "training.json")["summary"])
    fitted = FittedSubjects(
        Preprocessor(modality=dataset.file.modality),
        RidgeEncoder(rank=config.token_rank),
        RidgeEncoder(rank=config.latent_rank),
        RidgeEncoder(rank=config.feature_rank),
    )
    for position, subject in enumerate(subjects):
        fitted.add(
            dataset,
            subject,
            base,
            share=(position, len(subjects)),
            validation_pictures=config.validation_pictures,
            seed=config.seed,
        )
    if config.tuning is not None:
        latents = cached_targets(dataset, base.generator.latents, fitted.names)
        _tune(base.generator, fitted, latents, work.partial / TUNING, config.tuning)
    chosen, scores = choose_rendering(dataset, fitted, base, work.partial, config, scenes)
    summary = fitted.summary | figures_of(score_of(chosen, scores))
    settings = _without_places(settings)
    settings |= {"summary": summary, "validation": [asdict(score) for score in scores]}
    for name in (PRIOR, TUNING, DETAIL):
        shutil.rmtree(work.partial / name, ignore_errors=True)
    (work.partial / SETTINGS).unlink(missing_ok=True)
    parts = _parts(dataset, fitted, base, chosen, config)
    parts.settings = settings
    write_model(work.partial, parts, summary, name=work.root.name, half=config.half)
    return work.finish(), summary


def _parts(
    dataset: CanonicalDataset,
    fitted: FittedSubjects,
    base: Base,
    chosen: Rendering,
    config: DecoderConfig,
) -> ModelParts:
    predicted, truth = (joined(part).main for part in (fitted.left_out, fitted.truth))
    size = truth[0].numel()
    components = min(config.retrieval_components, size, len(truth) // 2)
    rule = "; prior, strength, guidance and detail by rendered validation pictures"
    return ModelParts(
        encoder=fitted.encoder,
        target=base.target,
        preprocessor=fitted.preprocessor,
        prior=chosen.prior,
        structure=fitted.structure,
        structure_target=base.structure,
        # A strength of 1 leaves it out until it is asked for.
        branch=StructureBranch(base.start.spec.hash, chosen.strength),
        retrieval=RetrievalProjector(size, components).fit(predicted, truth),
        features=None if base.features is None else fitted.features,
        features_target=base.features,
        detail=chosen.detail,
        protocol=training_protocol(
            dataset,
            fitted.recordings,
            groups="stimulus",
            average="stimulus",
            weighted=False,
            selection=rule,
        ),
        generator=base.generator,
        baselines={"mean_picture": mean_training_picture(dataset, fitted.recordings)},
    )


def _base(config: DecoderConfig) -> Base:
    """Return the targets that are decoded and the generator that renders them."""
    given = config.target is not None and config.generator is not None
    base = Path() if given else model_folder(config.base)
    target = load_target(config.target or str(base / "target"))
    if target.spec.output == "lowlevel":
        raise UsageError(f"`target` {config.target!r} is one of latents", "tokens or pooled")
    folder = base / "generator" if config.generator is None else model_folder(config.generator)
    features = config.features
    if features is None and not given and (base / "features_target").is_dir():
        features = str(base / "features_target")
    return Base(
        target,
        LatentDiffusion.load(folder, target),
        None if features is None else load_target(features),
        _structure(config),
    )


def _structure(config: DecoderConfig) -> StimulusEncoder | None:
    """Return the target whose decoded pictures are started from, if one is named."""
    if config.structure is None:
        return None
    found = load_target(config.structure)
    if not found.can_decode:
        raise UsageError(
            f"`structure` {config.structure!r} is a target without a decoder",
            expected="one that decodes pictures, such as efficientnet-levels or latents",
        )
    return found


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


def _without_places(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings whose folders have their names alone: a model goes to other machines."""
    return settings | {
        key: Path(settings[key]).name
        for key in ("dataset", "target", "generator", "features", "structure")
        if settings[key] is not None
    }


def _tune(
    generator: LatentDiffusion,
    fitted: FittedSubjects,
    latents: Tensor,
    folder: Path,
    config: EngineConfig,
) -> None:
    """Train the generator on left-out predictions, as the rescaling prior hands them on."""
    predicted = joined(fitted.left_out)
    truth = replace(joined(fitted.truth), lowlevel=latents)
    prior = IdentityPrior(1 if truth.main.ndim == 2 else truth.main.shape[1]).fit(
        predicted.main, truth.main
    )
    cleaned = prior.sample(predicted, generators=[torch.Generator()] * len(predicted))
    # All subjects' predictions of a picture stand together: the last ones, which are only
    # watched, are of pictures that train nothing.
    order = torch.from_numpy(np.argsort(fitted.names, kind="stable"))
    tune_latent_diffusion(
        generator,
        truth[order],
        cleaned[order],
        config,
        folder=folder,
        held_out=min(256, len(order) // 10),
    )
    generator.unet.half().float()  # what is shipped, and what strength and choice are chosen for


def figures_of(score: Score) -> dict[str, float]:
    """Return how a way to render did, by name."""
    found = {
        "strength": score.strength,
        "guidance_scale": score.guidance_scale,
        "blur": score.blur,
        "validation identification": score.identification,
        "validation pixel_correlation": score.pixel_correlation,
    }
    if score.by_features is not None:
        found["validation identification by features"] = score.by_features
    return found
