"""``phosphene train`` on EEG or MEG: a dataset in, one model folder with every part out.

Ridge on whitened samples in a row is the baseline, fitted in closed form for every subject; every
other encoder is one network with a head for retrieval and one for generation, for all subjects.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, PositiveInt
from torch import Tensor

from phosphene.checkpoints.registry import model_folder
from phosphene.config import Config
from phosphene.data.canonical import CanonicalDataset
from phosphene.encoders.brain.electric import ELECTRIC_ENCODERS
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.errors import InputError, UsageError, check_option
from phosphene.names import check_subject
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.model_folder import ModelParts
from phosphene.pipelines.rendering import Rendering
from phosphene.pipelines.training.brain_materials import held_out_pictures
from phosphene.pipelines.training.decoder import figures_of
from phosphene.pipelines.training.decoder_config import DecoderConfig
from phosphene.pipelines.training.electric import mean_reciprocal_rank
from phosphene.pipelines.training.electric_network import (
    ElectricNetwork,
    TrainedNetwork,
    marked,
    train_heads,
)
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.fitted_subjects import Base, FittedSubjects
from phosphene.pipelines.training.materials import (
    cached_targets,
    load_target,
    mean_training_picture,
    refuse_seen_by_target,
    refuse_shared_pictures,
    training_protocol,
)
from phosphene.pipelines.training.network import WORK, finish, open_work
from phosphene.pipelines.training.rendering_choice import DETAIL, PRIOR, choose_rendering
from phosphene.pipelines.training.selection import score_of
from phosphene.priors.retrieval import RetrievalProjector
from phosphene.priors.structure import StructureBranch
from phosphene.schemas import Protocol
from phosphene.storage import read_json
from phosphene.types import BrainEmbedding, Recording

__all__ = [
    "DatasetChoice",
    "ElectricDecoderConfig",
    "electric_targets",
    "read_subjects",
    "train_electric_decoder",
]

ENCODERS = ("ridge", *ELECTRIC_ENCODERS.names())


class DatasetChoice(Config):
    """Which dataset a configuration is for; everything else is read later."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    dataset: str = ""


class ElectricDecoderConfig(DecoderConfig):
    """Settings of ``phosphene train`` on EEG and MEG, beside those of every decoder.

    ``encoder`` is ridge or a network, ``network`` its settings (``network.window``,
    ``network.options.dropout``, ...). ``keep_base`` leaves target, generator and what features are
    of in the model ``base`` and names it: a smaller folder that needs the other one. Few
    directions are told, in which decoded features find lenders as well as a network would; what a
    recording does not tell is the lenders', so that more of them may be wanted (``blurs``).
    """

    encoder: str = "flat_mlp"
    network: ElectricNetwork = ElectricNetwork()
    keep_base: bool = False
    token_rank: PositiveInt = 48
    latent_rank: PositiveInt = 32
    blurs: tuple[float, ...] = (4.0, 8.0, 16.0, 32.0)
    detail_training: EngineConfig | None = None
    retrieval_components: PositiveInt = 256

    @property
    def named(self) -> ElectricNetwork:
        """The settings of the network, with its name."""
        return self.network.model_copy(update={"encoder": self.encoder})


def train_electric_decoder(
    config: ElectricDecoderConfig, *, resume: bool = False, scenes: Tensor | None = None
) -> tuple[Path, dict[str, float]]:
    """Train encoder and prior, choose how to render, write the model.

    Parameters
    ----------
    config : ElectricDecoderConfig
    resume : bool
        Go on with an interrupted training of the same settings.
    scenes : Tensor of shape (n, d), optional
        Features of the renderer's first n training scenes, which lend detail; by default the
        dataset's own training pictures do.

    Returns
    -------
    folder : Path
    summary : dict of str to float
        Figures on validation pictures.
    """
    check_option("encoder", config.encoder, ENCODERS)
    dataset = CanonicalDataset.open(config.dataset)
    if dataset.file.modality == "fmri":
        raise InputError(
            f"{dataset.root} holds fMRI",
            expected="a dataset of EEG or MEG",
            remedy="choose an encoder of fMRI, such as ridge or mindeye2",
        )
    subjects = [check_subject(label) for label in config.subjects or sorted(dataset.file.subjects)]
    for subject in subjects:
        dataset.check_subject(subject)
    if config.keep_base and not (config.target is None and config.generator is None):
        raise UsageError(
            "`keep_base` with a target or generator of its own",
            expected="those of the model `base`, which is named and not copied",
            remedy="leave keep_base out",
        )
    base = _base(config)
    refuse_seen_by_target(dataset, base.target, config.target or config.base)
    settings = config.model_dump(mode="json", exclude={"output"})
    work = open_work(config.output, settings, resume)
    if work.finished:
        return work.root, dict(read_json(work.root / "training.json")["summary"])
    fitted = (
        _fit_ridge(dataset, subjects, base, config)
        if config.encoder == "ridge"
        else _fit_network(dataset, subjects, base, config, work.partial / WORK)
    )
    if config.keep_base:  # what lies in another model cannot be set anew
        own = {"guidance_scales": (base.generator.guidance_scale,)}
        config = config.model_copy(update=own)
    chosen, scores = choose_rendering(dataset, fitted, base, work.partial, config, scenes)
    summary = fitted.summary | figures_of(score_of(chosen, scores))
    parts = _parts(dataset, fitted, base, chosen, config)
    places = ("dataset", "target", "generator", "features")
    told = {key: Path(settings[key]).name for key in places if settings[key] is not None}
    parts.settings = (
        settings | told | {"summary": summary, "validation": [asdict(one) for one in scores]}
    )
    for name in (PRIOR, DETAIL):
        shutil.rmtree(work.partial / name, ignore_errors=True)
    return finish(work, parts, summary, half=config.half), summary


def read_subjects(
    dataset: CanonicalDataset, subjects: list[str], held_out: frozenset[str]
) -> dict[str, Recording]:
    """Return training and validation trials of each subject; test pictures are refused."""
    found = {}
    for subject in subjects:
        there = set(dataset.table.loc[dataset.table["subject"] == subject, "split"])
        recording = dataset.recording(subject, splits=sorted({"train", "validation"} & there))
        found[subject] = marked(recording, held_out)
        refuse_shared_pictures(dataset, found[subject])
    return found


def electric_targets(
    dataset: CanonicalDataset, base: Base, names: list[str], *, latents: bool = True
) -> dict[str, Tensor]:
    """Return the targets of pictures: embedding, features, and latents a generator starts from."""
    found: dict[str, Tensor] = {
        base.target.spec.output: cached_targets(dataset, base.target, names)
    }
    if base.features is not None:
        found["features"] = cached_targets(dataset, base.features, names)
    if latents:
        found["lowlevel"] = cached_targets(dataset, base.generator.latents, names)
    return found


def _base(config: ElectricDecoderConfig) -> Base:
    """Return the targets that are decoded and the generator that renders them."""
    given = config.target is not None and config.generator is not None
    base = Path() if given else model_folder(config.base)
    target = load_target(config.target or str(base / "target"))
    folder = base / "generator" if config.generator is None else model_folder(config.generator)
    features = config.features
    if features is None and not given and (base / "features_target").is_dir():
        features = str(base / "features_target")
    return Base(
        target,
        LatentDiffusion.load(folder, target),
        None if features is None else load_target(features),
    )


def _fit_ridge(
    dataset: CanonicalDataset, subjects: list[str], base: Base, config: ElectricDecoderConfig
) -> FittedSubjects:
    fitted = FittedSubjects(
        config.named.preprocessor(),
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
    return fitted


def _fit_network(
    dataset: CanonicalDataset,
    subjects: list[str],
    base: Base,
    config: ElectricDecoderConfig,
    folder: Path,
) -> FittedSubjects:
    """Train the network; what validation pictures give serves prior and choice, half each."""
    held_out = held_out_pictures(dataset, subjects, (), config.seed)
    recordings = read_subjects(dataset, subjects, held_out)
    names = sorted({n for one in recordings.values() for n in one.trials["stimulus_id"]})
    values = electric_targets(dataset, base, names, latents=min(config.strengths) < 1)
    trained = train_heads(recordings, values, names, config.named, seed=config.seed, folder=folder)
    train = [one.select((one.trials["split"] == "train").to_numpy()) for one in recordings.values()]
    fitted = FittedSubjects(trained.preprocessor, trained.heads, None, None, recordings=train)  # type: ignore[arg-type]
    fitted.summary |= _figures(trained, recordings, values, names)
    shown_in_training = {name for one in train for name in one.trials["stimulus_id"]}
    if "features" in values:
        learned = [row for row, name in enumerate(names) if name in shown_in_training]
        fitted.lenders = [names[row] for row in learned], values["features"][learned]
    for position, recording in enumerate(recordings.values()):
        embedding, shown = _validation(trained, recording)
        rows = {name: row for row, name in enumerate(names)}
        truth = {part: value[[rows[name] for name in shown]] for part, value in values.items()}
        odd = np.arange(len(shown)) % 2 == 1
        fit, judged = (torch.from_numpy(np.flatnonzero(part)) for part in (~odd, odd))
        fitted.names += [shown[row] for row in fit]
        fitted.left_out.append(embedding[fit])
        fitted.truth.append(BrainEmbedding(**truth)[fit])
        count = max(2, config.validation_pictures // len(subjects))
        kept = judged[position :: len(subjects)][:count]
        fitted.validation.append((embedding[kept], [shown[row] for row in kept]))
    return fitted


def _validation(trained: TrainedNetwork, recording: Recording) -> tuple[BrainEmbedding, list[str]]:
    """Return predictions of validation pictures, from all their repetitions, and their names."""
    held = recording.select((recording.trials["split"] == "validation").to_numpy()).average()
    embedding = trained.heads.encode(trained.preprocessor.transform(held))
    # Nothing downstream knows this part; retrieval is judged on its own.
    return replace(embedding, retrieval=None), held.trials["stimulus_id"].tolist()


def _figures(
    trained: TrainedNetwork,
    recordings: dict[str, Recording],
    values: dict[str, Tensor],
    names: list[str],
) -> dict[str, float]:
    heads, found = trained.heads, {}
    rows = {name: row for row, name in enumerate(names)}
    with torch.no_grad():
        coefficients = heads.coefficients(values)
        keys = heads.picture_keys(coefficients)
    for label, recording in recordings.items():
        held = recording.select((recording.trials["split"] == "validation").to_numpy()).average()
        embedding = heads.encode(trained.preprocessor.transform(held))
        own = torch.tensor([rows[name] for name in held.trials["stimulus_id"]])
        assert embedding.retrieval is not None
        key = f"sub-{label} validation reciprocal rank of {len(own)}"
        found[key] = mean_reciprocal_rank(embedding.retrieval, keys, own)
        predicted = heads.coefficients(embedding.parts)
        error = (predicted - coefficients[own]).square().sum()
        spread = coefficients[own].square().sum()
        found[f"sub-{label} validation r2"] = float(1 - error / spread)
    if trained.result.history:
        found["epochs"] = float(len(trained.result.history))
    return found


def _parts(
    dataset: CanonicalDataset,
    fitted: FittedSubjects,
    base: Base,
    chosen: Rendering,
    config: ElectricDecoderConfig,
) -> ModelParts:
    latents = base.generator.latents.spec.hash
    ridge = config.encoder == "ridge"
    # Where every strength is 1, no network has learned what pictures would start from.
    starts = ridge or min(config.strengths) < 1
    borrowed = dict.fromkeys(("target", "generator"), config.base) if config.keep_base else {}
    if config.keep_base and base.features is not None and config.features is None:
        borrowed["features_target"] = config.base
    return ModelParts(
        encoder=fitted.encoder,
        target=base.target,
        preprocessor=fitted.preprocessor,
        prior=chosen.prior,
        structure=fitted.structure if ridge else None,
        # A network predicts features itself.
        features=fitted.features if ridge and base.features is not None else None,
        features_target=base.features,
        detail=chosen.detail,
        # A strength of 1 leaves it out until it is asked for.
        branch=StructureBranch(latents, chosen.strength) if starts else None,
        retrieval=_retrieval(fitted, config),
        protocol=_protocol(dataset, fitted, config),
        generator=base.generator,
        baselines={"mean_picture": mean_training_picture(dataset, fitted.recordings)},
        borrowed=borrowed,
    )


def _retrieval(fitted: FittedSubjects, config: ElectricDecoderConfig) -> RetrievalProjector:
    """Return where pictures are looked for: learned by the network, or from ridge's errors."""
    if config.encoder != "ridge":
        heads: Any = fitted.encoder
        return RetrievalProjector.of(*heads.search_matrix())
    predicted, truth = (
        torch.cat([one.main for one in part]) for part in (fitted.left_out, fitted.truth)
    )
    size = truth[0].numel()
    count = min(config.retrieval_components, size, len(truth) // 2)
    return RetrievalProjector(size, count).fit(predicted, truth)


def _protocol(
    dataset: CanonicalDataset, fitted: FittedSubjects, config: ElectricDecoderConfig
) -> Protocol:
    ridge, preprocessor = config.encoder == "ridge", fitted.preprocessor
    protocol = training_protocol(
        dataset, fitted.recordings, groups="stimulus", average="stimulus", weighted=False,
        selection="; prior, strength, guidance and detail by rendered validation pictures",
    )  # fmt: skip
    sensors: Any = preprocessor
    update = {
        "mask": sensors.protocol.info.describe(sensors.protocol.n_times),
        "normalisation": sensors.described,
    }
    if config.encoder == "canonical":
        update |= {
            "validation_rule": "held-out training pictures, mean of their trials",
            "selection_rule": "penalty and number of directions by reciprocal rank among held-out "
            "pictures; prior, strength, guidance and detail by rendering them",
        }
    elif not ridge:
        update |= {
            "averaging_train": "mean of a random number of repetitions at each step"
            if config.network.training.average
            else "mean of repetitions",
            "validation_rule": "held-out training pictures, mean of their trials",
            "selection_rule": "epoch with the best reciprocal rank among held-out pictures; "
            "prior, strength, guidance and detail by rendering them",
        }
    return protocol.model_copy(update=update)
