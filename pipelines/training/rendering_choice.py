"""How a decoder renders, chosen on validation pictures: prior, strength, guidance and detail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import fit_pictures
from phosphene.data.scenes import SCENES_VERSION
from phosphene.pipelines.rendering import Rendering
from phosphene.pipelines.training.decoder_config import DecoderConfig
from phosphene.pipelines.training.detail import train_detail
from phosphene.pipelines.training.fitted_subjects import Base, FittedSubjects, joined
from phosphene.pipelines.training.materials import cached_targets
from phosphene.pipelines.training.prior import train_prior
from phosphene.pipelines.training.selection import Candidate, Score, Validation, choose, judge
from phosphene.priors.base import Prior
from phosphene.priors.detail import BorrowedDetail
from phosphene.priors.diffusion import DiffusionPrior
from phosphene.priors.identity import IdentityPrior
from phosphene.seeds import item_seed

__all__ = ["DETAIL", "PRIOR", "choose_rendering"]

PRIOR, DETAIL = "prior-training", "detail-training"
DETAIL_INPUTS = {"tokens": 128, "pooled": 128, "features": 48}


def choose_rendering(
    dataset: CanonicalDataset,
    fitted: FittedSubjects,
    base: Base,
    folder: Path,
    config: DecoderConfig,
    scenes: Tensor | None,
) -> tuple[Rendering, list[Score]]:
    """Choose prior and strength, then guidance, then the scale of borrowed detail."""
    names = [name for _, part in fitted.validation for name in part]
    predicted = joined([embedding for embedding, _ in fitted.validation])
    truth = cached_targets(dataset, base.target, names)
    priors = _priors(fitted, (predicted.main, truth), folder, config)
    size = base.generator.latents.size
    validation = Validation(
        predicted, fit_pictures(dataset.pictures(names), size=size, channels=3), names
    )
    candidates = [
        Candidate(prior, strength, base.begin) for prior in priors for strength in config.strengths
    ]
    judges = [base.target] if base.features is None else [base.target, base.features]
    chosen, scores = choose(candidates, validation, base.generator, judges, seed=config.seed)
    best = chosen.rendering(base.generator)
    guided = []
    for base.generator.guidance_scale in config.guidance_scales:
        guided.append(judge(best, validation, judges, config.seed))
    kept = max(guided, key=lambda score: score.total)
    base.generator.guidance_scale = kept.guidance_scale
    scores += guided
    if base.features is not None:
        detail = _detail(dataset, fitted, base, scenes, folder / DETAIL, config)
        lent = [
            replace(best, detail=detail.with_blur(blur), features=base.features)
            for blur in config.blurs
        ]
        coarse = lent[0].coarse(predicted, validation.seeds(config.seed))  # the same for all
        found = [judge(way, validation, judges, config.seed, coarse) for way in lent]
        finest = int(np.argmax([score.total for score in found]))
        best = lent[finest] if found[finest].total > kept.total else best
        scores += found
    return best, scores


def _detail(
    dataset: CanonicalDataset,
    fitted: FittedSubjects,
    base: Base,
    scenes: Tensor | None,
    folder: Path,
    config: DecoderConfig,
) -> BorrowedDetail:
    """Return the training pictures that may lend detail, and what finds them."""
    predicted, truth = joined(fitted.left_out), joined(fitted.truth)
    assert base.features is not None
    assert truth.features is not None
    sizes = {name: part[0].numel() for name, part in predicted.parts.items()}
    inputs = {n: (sizes[n], min(most, sizes[n])) for n, most in DETAIL_INPUTS.items() if n in sizes}
    components = min(64, sizes["features"])
    if config.detail_training is None:
        assert predicted.features is not None
        inputs, told = {}, int(torch.linalg.matrix_rank(predicted.features.float()))
        components = min(components, max(1, told))
    pictures, latents = scenes, None
    if pictures is None:
        if fitted.lenders is None:
            found, first = np.unique(fitted.names, return_index=True)  # each picture once
            names, pictures = found.tolist(), truth.features[torch.from_numpy(first)]
        else:
            names, pictures = fitted.lenders
        latents = cached_targets(dataset, base.generator.latents, names)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(item_seed(config.seed, "weights", "detail", 0))
        detail = BorrowedDetail(
            base.features.spec.hash,
            inputs,
            pictures=len(pictures),
            features=sizes["features"],
            components=components,
            draws=config.draws,
            scenes=SCENES_VERSION if latents is None else "",
            latents=() if latents is None else tuple(latents.shape[1:]),
        )
    train_detail(
        detail,
        predicted,
        truth.features,
        pictures,
        config.detail_training,
        folder=folder,
        mean=getattr(base.features, "target_mean", torch.zeros(sizes["features"])),
        scale=getattr(base.features, "target_scale", torch.ones(sizes["features"])),
        latents=latents,
    )
    return detail


def _priors(
    fitted: FittedSubjects, validation: tuple[Tensor, Tensor], folder: Path, config: DecoderConfig
) -> list[Prior | None]:
    """Return the priors to choose among, trained on left-out predictions of all subjects."""
    predicted, truth = (joined(part).main for part in (fitted.left_out, fitted.truth))
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
            folder=folder / PRIOR,
            validation=validation,
        )
        found.append(prior)
    return found
