"""The main job from start to end: read, decode, render, score, report; resumable."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phosphene.checkpoints.registry import default_model
from phosphene.config import Config
from phosphene.data.pictures import Pictures
from phosphene.data.readers.modality import input_modality
from phosphene.errors import UsageError
from phosphene.pipelines.items import embedding_arrays, items_of, picture_seeds
from phosphene.pipelines.metrics.features import NETWORK, FeatureNetwork
from phosphene.pipelines.model_folder import ModelParts
from phosphene.pipelines.output import OutputFolder
from phosphene.pipelines.reading import read_for
from phosphene.pipelines.reconstruction import Reconstruction
from phosphene.pipelines.reconstructor import DEFAULT_BATCH, Reconstructor
from phosphene.pipelines.run_record import describe_run
from phosphene.pipelines.scores import known_categories, score_pictures
from phosphene.pipelines.truth import read_truth
from phosphene.progress import progress
from phosphene.schemas import Protocol
from phosphene.storage import write_text
from phosphene.trials import UNKNOWN
from phosphene.types import BrainEmbedding, Recording

__all__ = ["ReconstructConfig", "reconstruct"]


class ReconstructConfig(Config):
    """Settings of the command ``reconstruct``; flags are names for these keys."""

    subject: str
    input: str
    model: str | None = None
    output: str = "phosphene-output"
    trials: str | None = None
    truth: str | None = None
    average: Literal["none", "stimulus"] = "none"
    generator: str | None = None
    generator_options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults
    prior: str | None = None
    strength: float | None = None
    detail: float | None = None
    caption: str | None = None
    blend: float | None = None
    samples: int = 1
    seed: int = 0
    steps: int | None = None
    batch_size: int | Literal["auto"] = DEFAULT_BATCH
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32"] = "auto"
    stimuli: bool = True


def reconstruct(
    config: ReconstructConfig, *, resume: bool = False, dry_run: bool = False
) -> tuple[Path, Reconstruction | None]:
    """Run the main job.

    Parameters
    ----------
    config : ReconstructConfig
    resume : bool
        Go on with an interrupted run of the same configuration.
    dry_run : bool
        Read and check everything, render nothing and write nothing.

    Returns
    -------
    output : Path
    result : Reconstruction or None
        ``None`` after a dry run or where the run was complete already.
    """
    by_memory = config.batch_size == "auto"
    batch_size = DEFAULT_BATCH if config.batch_size == "auto" else config.batch_size
    if config.samples < 1 or batch_size < 1:
        raise UsageError(
            f"`samples` is {config.samples} and `batch_size` is {config.batch_size}",
            expected="at least 1 each",
            remedy="leave the flags away for 1 sample in batches of 64",
        )
    modality = "" if config.model else input_modality(config.input, config.subject)
    model = Reconstructor.from_pretrained(
        config.model or default_model(modality),
        generator=config.generator,
        generator_options=config.generator_options,
        prior=config.prior,
        strength=config.strength,
        detail=config.detail,
        caption=config.caption,
        blend=config.blend,
        device=config.device,
    )
    if by_memory:
        model.generator.batch_by_memory()
    recording, said = read_for(
        model.parts.preprocessor, config.input, subject=config.subject, trials=config.trials
    )
    items, table = items_of(recording, config.average)
    seeds = picture_seeds(
        items, table, average=config.average, seed=config.seed, samples=config.samples
    )
    embedding = model.embed(items)
    shape = picture_shape(model, embedding, seeds)
    truth: Pictures | None = None
    hashes: list[str] = []
    if config.truth is not None:
        truth, hashes = read_truth(config.truth, table, recording.trials, size=shape[0])
    settings = config.model_dump(exclude={"output", "batch_size", "device", "dtype"}) | {
        "subject": recording.subject,
        **model.settings,
    }
    run = describe_run(model.parts, recording, n_items=len(items), config=settings)
    if dry_run:
        OutputFolder.check(config.output, resume=resume)
        return Path(config.output), None
    output = OutputFolder.create(config.output, run, resume=resume)
    if output.work.finished:
        return output.work.root, None
    result = Reconstruction(
        images=np.zeros((*seeds.shape, *shape), dtype=np.uint8),
        embeddings=embedding_arrays(embedding),
        trials=model.with_captions(table, embedding),
        provenance=output.run,
        seeds=seeds,
        truth=truth,
    )
    _render_missing(model, output, result, embedding, batch_size, config.steps)
    if truth is not None:
        protocol = output.run.protocol
        result.metrics = score_pictures(
            result.images,
            truth,
            protocol,
            mean_picture=mean_picture(model, shape),
            pictures=hashes,
            categories=known_categories(table),
            n_seen_in_training=seen_in_training(protocol, table["stimulus_id"].tolist(), hashes),
            networks=judging_networks(model.parts),
        )
    write_text(output.partial / "config.yaml", _yaml(config))
    return output.finish(
        result, stimuli=config.stimuli, log=_log(config, recording, result, said)
    ), result


def seen_in_training(protocol: Protocol, stimulus_ids: list[str], hashes: list[str]) -> int:
    """Return how many items show a picture the model was trained on, by content or by name."""
    known = set(protocol.train_picture_hashes)
    names = set(protocol.train_stimulus_ids) - {UNKNOWN}
    pairs = zip(stimulus_ids, hashes, strict=True)
    return sum(content in known or name in names for name, content in pairs)


def judging_networks(parts: ModelParts) -> dict[str, str | FeatureNetwork]:
    """Return the networks a model decodes to, by the name of identification in their features.

    Both belong to the decoder, so that neither is an independent judge. Models that decode the
    features of no second network are scored by pixels alone.
    """
    second = parts.features_target
    if second is None:
        return {}
    name = second.name
    # As `evaluate` defines it, features as they are; others as the model has them.
    by_features = (
        (f"{name}/strict-v1", name) if name == NETWORK else ("two-way-features/strict-v1", second)
    )
    return dict([by_features, (f"two-way-{parts.target.spec.output}/strict-v1", parts.target)])


def picture_shape(
    model: Reconstructor, embedding: BrainEmbedding, seeds: np.ndarray[Any, Any]
) -> tuple[int, int, int]:
    """Return (H, W, 3) of the pictures, seen by rendering the first item."""
    _, first = next(iter(model.render(embedding[:1], seeds[:1, :1], batch_size=1)))
    height, width, channels = first.shape[2:]
    return height, width, channels


def mean_picture(model: Reconstructor, shape: tuple[int, int, int]) -> Pictures | None:
    """Return the mean training picture of a model as (H, W, 3), where it was kept."""
    from phosphene.data.pictures import fit_pictures
    from phosphene.pipelines.generators.base import to_uint8

    stored = model.parts.baselines.get("mean_picture")
    if stored is None:
        return None
    picture: Pictures = fit_pictures(to_uint8(stored[None]), size=shape[0], channels=3)[0]
    return picture


def _render_missing(
    model: Reconstructor,
    output: OutputFolder,
    result: Reconstruction,
    embedding: BrainEmbedding,
    batch_size: int,
    steps: int | None,
) -> None:
    """Render what is not written yet; each batch is on disk before the next one starts."""
    subject = str(output.run.config["subject"])
    missing = []
    for item in range(len(result)):
        written = output.item_pictures(subject, item)
        if written is None:
            missing.append(item)
        else:
            result.images[item] = np.stack(written)
    starts = range(0, len(missing), batch_size)
    for start in progress(starts, label="rendering", total=len(starts)):
        rows = missing[start : start + batch_size]
        part = embedding[_positions(rows)]
        batches = model.render(
            part,
            result.seeds[rows],
            batch_size=batch_size,
            num_inference_steps=steps,
        )
        for _, rendered in batches:
            result.images[rows] = rendered
        for item in rows:
            output.write_item(result, item)


def _positions(rows: list[int]) -> Any:
    import torch

    return torch.tensor(rows, dtype=torch.long)


def _yaml(config: ReconstructConfig) -> str:
    import yaml

    return yaml.safe_dump(config.model_dump(), sort_keys=True)


def _log(
    config: ReconstructConfig, recording: Recording, result: Reconstruction, said: list[str]
) -> str:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    run = result.provenance
    columns = "voxels" if recording.modality == "fmri" else "channels"
    lines = [
        f"{run.started} reconstruct started",
        f"subject {recording.subject}: {len(recording)} trials x {recording.data.shape[1]} "
        f"{columns} (input {run.input_hash})",
        *(f"input converted: {words}" for words in said),
        f"model {run.model} ({run.model_hash}), generator {run.config['generator']}",
        f"{len(result)} items x {run.n_samples} samples, seed {config.seed}, "
        f"average {config.average}",
        f"{now} finished",
    ]
    return "\n".join(lines) + "\n"
