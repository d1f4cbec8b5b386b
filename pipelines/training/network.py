"""Train a brain encoder with a network on one or more subjects; write a model folder."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict

from phosphene.checkpoints.registry import model_folder
from phosphene.config import Config
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import fit_pictures
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.brain.linear_reader import LinearReader
from phosphene.encoders.brain.roi_transformer import RegionTransformerEncoder
from phosphene.encoders.brain.voxel_regions import VoxelRegions
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import UsageError, check_option
from phosphene.names import check_subject
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.generators.target_decoder import TargetDecoder
from phosphene.pipelines.model_folder import ModelParts, write_model
from phosphene.pipelines.training.brain_materials import (
    Materials,
    NetworkTraining,
    gather,
)
from phosphene.pipelines.training.engine import TrainingResult, processes, train
from phosphene.pipelines.training.materials import (
    load_target,
    mean_training_picture,
    refuse_seen_by_target,
    training_protocol,
)
from phosphene.pipelines.training.selection import Candidate, Validation, choose
from phosphene.pipelines.training.subject_starts import PARCELS, find_regions, start_subjects
from phosphene.priors.structure import StructureBranch
from phosphene.schemas import Protocol
from phosphene.seeds import item_seed
from phosphene.storage import read_json, write_json
from phosphene.types import BrainEmbedding
from phosphene.workfolder import WorkFolder

__all__ = ["EncoderChoice", "NetworkConfig", "find_recipe", "train_network"]

SETTINGS = "settings.json"
PROFILE_SIZE = 48
WORK = "encoder-training"
RECIPES = Path(__file__).parent / "recipes"


class EncoderChoice(Config):
    """Which encoder a configuration is for; everything else is read later."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    encoder: str = "ridge"


class NetworkConfig(NetworkTraining):
    """Settings of ``phosphene train encoder`` for encoders with a network.

    ``target`` and ``generator`` are folders, of the model ``base`` where they are not given; a
    target that can decode itself needs no generator. With ``lowlevel``, the latents that the
    generator starts from are predicted by the same network, and ``strengths`` are tried on
    ``validation_pictures``.
    """

    encoder: str = "mindeye2"
    options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults
    subjects: tuple[str, ...] = ()
    base: str = "virtual-fmri"
    target: str | None = None
    generator: str | None = None
    lowlevel: bool = True
    strengths: tuple[float, ...] = (0.3, 0.5, 0.7, 0.85, 1.0)
    validation_pictures: int = 64


def find_recipe(config: str | None) -> str | None:
    """Return the file of ``--config``: a path, or the name of a published recipe."""
    if config is None or Path(config).exists() or Path(config).suffix:
        return config
    known = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    return str(RECIPES / f"{check_option('config', config, known)}.yaml")


def train_network(config: NetworkConfig, *, resume: bool = False) -> tuple[Path, dict[str, float]]:
    """Train, keep the best weights on held-out pictures, choose the strength, write the model.

    Returns
    -------
    folder : Path
    summary : dict of str to float
        Figures on held-out pictures.
    """
    dataset = CanonicalDataset.open(config.dataset)
    subjects = [check_subject(label) for label in config.subjects or sorted(dataset.file.subjects)]
    for subject in subjects:
        dataset.check_subject(subject)
    target, generator = _parts(config)
    refuse_seen_by_target(dataset, target, config.target or config.base)
    settings = config.model_dump(mode="json", exclude={"output"})
    work = open_work(config.output, settings, resume)
    if work.finished:
        return work.root, dict(read_json(work.root / "training.json")["summary"])
    targets: dict[str, StimulusEncoder] = {target.spec.output: target}
    if config.lowlevel and generator.latents is not None:
        targets["lowlevel"] = generator.latents
    preprocessor = Preprocessor(modality=dataset.file.modality)
    materials = gather(dataset, subjects, targets, preprocessor, config)
    encoder = make_encoder(
        config.encoder, config.options, materials, targets, config, work.partial / WORK
    )
    result = train_encoder_on(encoder, materials, config, work.partial / WORK)
    summary = materials.validation.figures(encoder) | {"best epoch": float(best_epoch(result))}
    branch = None
    if "lowlevel" in targets and generator.latents is not None:
        branch = _choose_strength(dataset, encoder, materials, target, generator, config)
        summary["strength"] = branch.strength
    parts = ModelParts(
        encoder=encoder,
        target=target,
        preprocessor=preprocessor,
        branch=branch if branch is not None and branch.strength < 1 else None,
        protocol=network_protocol(dataset, materials, config),
        generator=generator,
        baselines={"mean_picture": mean_training_picture(dataset, materials.recordings)},
        settings=settings | {"summary": summary, "history": result.history},
    )
    return finish(work, parts, summary, half=config.half), summary


def _parts(config: NetworkConfig) -> tuple[StimulusEncoder, Generator]:
    """Return the target whose embeddings are decoded and the generator that renders them."""
    base = None if config.target is not None else model_folder(config.base)
    target = load_target(config.target or str(base / "target" if base else ""))
    if target.spec.output == "lowlevel":
        raise UsageError(f"`target` {config.target!r} is one of latents", "tokens or pooled")
    if config.generator is not None:
        return target, LatentDiffusion.load(model_folder(config.generator), target)
    if target.can_decode:
        return target, TargetDecoder(target)
    return target, LatentDiffusion.load(model_folder(config.base) / "generator", target)


def open_work(output: str, settings: dict[str, Any], resume: bool) -> WorkFolder:
    """Open the folder of a training; one that was begun otherwise is refused.

    Of several processes the first one opens it, and the others look.
    """
    state = processes()
    if not state.is_main_process:
        state.wait_for_everyone()
        return WorkFolder.find(output, last="model_index.json", resume=True)
    work = WorkFolder.open(output, last="model_index.json", resume=resume)
    path = work.partial / SETTINGS
    if not work.finished:
        if work.resumed and path.is_file() and read_json(path) != settings:
            raise UsageError(
                f"the training in {work.root} was begun with other settings",
                expected="the same settings as before",
                remedy="repeat the first command with --resume, or choose another --output",
            )
        write_json(path, settings)
    state.wait_for_everyone()
    return work


def finish(work: WorkFolder, parts: ModelParts, summary: dict[str, float], *, half: bool) -> Path:
    """Write the model into the work folder, without what only the training needed.

    What trackers wrote stays, in ``logs``. Of several processes the first one writes.
    """
    import shutil

    state = processes()
    if state.is_main_process:
        if (work.partial / WORK / "logs").is_dir():
            shutil.move(work.partial / WORK / "logs", work.partial / "logs")
        shutil.rmtree(work.partial / WORK, ignore_errors=True)
        (work.partial / SETTINGS).unlink(missing_ok=True)
        write_model(work.partial, parts, summary, name=work.root.name, half=half)
        work.finish()
    state.wait_for_everyone()
    return work.root


def make_encoder(
    name: str,
    options: dict[str, Any],
    materials: Materials,
    targets: dict[str, StimulusEncoder],
    config: NetworkTraining,
    folder: Path | None = None,
) -> NetworkEncoder:
    """Build an encoder with seeded weights; where voxels have profiles, they start from them."""
    kind = BRAIN_ENCODERS.get(name)
    voxels = {one.subject: int(np.prod(one.data.shape[1:])) for one in materials.recordings}
    shapes = {part: list(target.spec.shape) for part, target in targets.items()}
    regions: dict[str, VoxelRegions] = {}
    if kind is RegionTransformerEncoder:
        asked = options.get("regions", PARCELS)
        names, regions = find_regions(
            materials, config, asked if isinstance(asked, int) else PARCELS
        )
        options = options | {"regions": names if isinstance(asked, int) else asked}
    n_pictures = len(next(iter(materials.objective.targets.values())))
    if issubclass(kind, LinearReader) and n_pictures >= 4 * PROFILE_SIZE:
        options = {"profile_size": PROFILE_SIZE} | options  # for subjects that are added later
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(item_seed(config.seed, "weights", "encoder", 0))
        try:
            encoder: NetworkEncoder = kind(voxels=voxels, targets=shapes, **options)
        except TypeError as error:
            known = list(inspect.signature(kind).parameters)[2:]  # after voxels and targets
            raise UsageError(
                f"`options` of the encoder {name} are {options} ({error})",
                expected=f"arguments among {', '.join(known)}",
                remedy="correct --set options.NAME=VALUE",
            ) from error
        start_subjects(encoder, materials, config, regions, folder)
    return encoder


def train_encoder_on(
    encoder: NetworkEncoder, materials: Materials, config: NetworkTraining, folder: Path
) -> TrainingResult:
    """Train the encoder in place; its best weights on held-out pictures are kept."""
    result = train(
        encoder,
        materials.objective.items.tensors(),
        materials.objective,
        config.engine,
        folder=folder,
        validate=materials.validation,
        label=f"encoder {encoder.name}",
    )
    encoder.load_state_dict(result.state)
    encoder.eval()
    return result


def best_epoch(result: TrainingResult) -> int:
    """Return the epoch whose weights were kept."""
    scores = [row["validation"] for row in result.history]
    return 1 + int(np.argmin(scores))


def _choose_strength(
    dataset: CanonicalDataset,
    encoder: NetworkEncoder,
    materials: Materials,
    target: StimulusEncoder,
    generator: Generator,
    config: NetworkConfig,
) -> StructureBranch:
    """Render held-out pictures, shared out among the subjects, at every strength."""
    validation, latents = materials.validation, generator.latents
    assert latents is not None
    count = len(validation.items.subjects)
    kept, embeddings, start = [], [], 0
    for number in range(count):
        mine = validation.embedding(encoder, number)
        names = materials.validation_names[start : start + len(mine)]
        start += len(mine)
        rows = list(range(number, len(mine), count))[: max(2, config.validation_pictures // count)]
        kept += [names[row] for row in rows]
        embeddings.append(mine[torch.tensor(rows)])
    joined = BrainEmbedding(
        **{part: torch.cat([getattr(one, part) for one in embeddings]) for part in encoder.targets}
    )
    pictures = fit_pictures(dataset.pictures(kept), size=latents.size, channels=3)
    # One picture may stand for several subjects: its place keeps the random streams apart.
    keys = [f"{name} {place}" for place, name in enumerate(kept)]
    shown = Validation(joined, pictures, keys)
    candidates = [Candidate(None, strength) for strength in config.strengths]
    chosen, _ = choose(candidates, shown, generator, [target], seed=config.seed)
    return StructureBranch(latents.spec.hash, chosen.strength)


def network_protocol(
    dataset: CanonicalDataset, materials: Materials, config: NetworkTraining
) -> Protocol:
    """Return which trials trained the network, and how its weights were chosen."""
    averaging = {
        "single": "single trials",
        "average": "mean of repetitions",
        "random": "mean of a random number of repetitions at each step",
    }[config.repetitions]
    held_out = len(set(materials.validation_names))
    plain = training_protocol(
        dataset, materials.recordings, groups="stimulus", average="none", weighted=False,
        selection="",
    )  # fmt: skip
    return plain.model_copy(
        update={
            "averaging_train": averaging,
            "validation_rule": f"{held_out} held-out training pictures, mean of their trials",
            "selection_rule": f"epoch with the best {config.monitor} on held-out pictures; "
            "strength by rendering them",
        }
    )
