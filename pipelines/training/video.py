"""Training a video decoder: windows of volumes, targets of clips, ridge in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from phosphene.config import Config
from phosphene.data.movies.averaging import average_runs
from phosphene.data.movies.dataset import MovieDataset
from phosphene.data.movies.standardising import standardised
from phosphene.data.readers import read_space
from phosphene.encoders.brain.flow_network import RUNS
from phosphene.encoders.brain.video import VideoRidge
from phosphene.errors import InputError, UsageError
from phosphene.names import check_subject
from phosphene.pipelines.generators.video.keyframe_flow import KeyframeFlow
from phosphene.pipelines.model_folder import ModelParts
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.training.picture_maps import picture_maps
from phosphene.pipelines.training.video_runs import Runs, clip_material, movies_of, runs_by_split
from phosphene.pipelines.training.video_targets import ClipTargets, cuts_of, true_flow
from phosphene.pipelines.video.captions import thinned
from phosphene.pipelines.video.model import VideoModel, save_video_model
from phosphene.priors.identity import IdentityPrior
from phosphene.schemas import Protocol
from phosphene.schemas.video import ClipTiming
from phosphene.seeds import item_seed
from phosphene.storage import check_new_folder
from phosphene.types import VoxelSpace

__all__ = ["VideoTrainingConfig", "train_video"]

Array = np.ndarray[Any, Any]
CORRECTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)


class VideoTrainingConfig(Config):
    """Settings of ``phosphene train video``; flags are names for these keys."""

    dataset: tuple[str, ...]
    output: str
    subjects: tuple[str, ...] = ()
    pictures: str = "virtual-fmri"
    seconds: float = 2.0
    step: float | None = None
    delay: float = 4.0
    window: float = 4.0
    moments: int = 4
    n_frames: int = 16
    grid: int = 8
    rank: int = 96
    features: bool = True
    from_pictures: bool = True
    weigh: bool = True
    flow_voxels: int = 0
    flow_roi: str | None = None
    flow_units: int = 64
    flow_epochs: int = 40
    average: Literal["none", "stimulus"] = "none"
    validation_clips: int = 24
    seed: int = 0


def train_video(config: VideoTrainingConfig) -> tuple[Path, dict[str, float]]:
    """Train a model of every subject that is named, or that all datasets have.

    Parameters
    ----------
    config : VideoTrainingConfig
        Movies of the split ``validation`` choose how much low-level frames correct (without any,
        half is taken), how long flow of networks is and how probable cuts are. Movies of ``test``
        are never looked at. With ``from_pictures`` heads that the picture model has too start from
        what it makes of single volumes, where it knows the subject. With ``average="stimulus"``
        the showings of a movie are averaged. ``flow_roi`` is a mask or ``ATLAS:LABELS``,
        ``{subject}`` in it the subject's label: networks read flow there.

    Returns
    -------
    folder : Path
    summary : dict of str to float
        Shares of variance explained in movies that were left out, and what was chosen.

    Raises
    ------
    InputError
        If datasets lack a subject, runs differ in TR, or there is one movie only.
    """
    if not config.dataset or config.seconds <= 0 or (config.step or 1.0) <= 0:
        raise UsageError("no dataset, or clips of no length", expected="--dataset FOLDER")
    check_new_folder(config.output)
    datasets = [MovieDataset.open(folder) for folder in config.dataset]
    subjects = _subjects(config, datasets)
    pictures = Reconstructor.from_pretrained(config.pictures, prior="none", device="cpu")
    targets = ClipTargets(
        pictures.parts.target,
        pictures.parts.generator.latents,
        pictures.parts.features_target if config.features else None,
        moments=config.moments,
        n_frames=config.n_frames,
        grid=config.grid,
    )
    runs = {subject: runs_by_split(datasets, subject, config.average) for subject in subjects}
    fitted = _fit_subjects(config, runs, targets, pictures.parts)
    model = VideoModel(
        encoder=fitted.encoder,
        prior=fitted.prior,
        generator=KeyframeFlow(pictures.parts.generator.latents),
        pictures=pictures,
        picture_model=config.pictures,
        timing=ClipTiming(
            seconds=config.seconds,
            delay=config.delay,
            window=config.window,
            tr=fitted.tr,
            moments=config.moments,
        ),
        spaces=fitted.spaces,
        protocol=_protocol(config, datasets, subjects, fitted.counts, sorted(fitted.stimuli)),
        metrics={},
        captions=fitted.captions,
        name=Path(config.output).name,
    )
    summary = dict(fitted.summary)
    for subject, own in runs.items():
        summary |= _calibrate(model, subject, own["validation"], targets)
    summary |= _choose_correction(model, config, runs, targets)
    model.metrics = {name: float(value) for name, value in summary.items()}
    return save_video_model(config.output, model), summary


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The decoder of all subjects, and what is told of them."""

    encoder: VideoRidge
    prior: IdentityPrior
    spaces: dict[str, VoxelSpace]
    counts: dict[str, int]
    stimuli: set[str]
    captions: tuple[str, ...]
    tr: float
    summary: dict[str, float]


def _fit_subjects(
    config: VideoTrainingConfig,
    runs: dict[str, dict[str, Runs]],
    targets: ClipTargets,
    pictures: ModelParts,
) -> _Fitted:
    """Fit every subject's matrix, and the lengths of tokens on predictions of movies left out."""
    known: dict[str, dict[str, Tensor]] = {}  # subjects who saw the same movies share targets
    encoder: VideoRidge | None = None
    summary: dict[str, float] = {}
    spaces: dict[str, VoxelSpace] = {}
    counts: dict[str, int] = {}
    stimuli: set[str] = set()
    captions: list[str] = []
    left_out: list[tuple[Tensor, Tensor]] = []
    tr = 0.0
    for subject, own in runs.items():
        material = clip_material(
            own["train"],
            lambda run: run.clips(
                config.seconds, step=config.step, delay=config.delay, window=config.window
            ),
            targets,
            known,
        )
        if len(set(material.movies)) < 2:
            raise InputError(
                f"subject {subject} saw {len(set(material.movies))} training movie",
                expected="two or more, to choose penalties on movies left out",
                remedy="cut the movie into several, or add runs",
            )
        if encoder is None:
            n_volumes = material.windows.shape[1]
            shapes = {name: list(part.shape[1:]) for name, part in material.targets.items()}
            if n_volumes < 2:
                del shapes["cut"]  # told by two halves of a window
            encoder = VideoRidge(
                shapes,
                n_volumes,
                rank=config.rank,
                weigh=config.weigh,
                flow_voxels=config.flow_voxels,
                flow_units=config.flow_units,
                flow_epochs=config.flow_epochs,
            )
            tr = own["train"][0][1].tr
        space = own["train"][0][1].recording.space
        found = encoder.fit(
            subject,
            material.windows,
            material.targets,
            material.movies,
            towards=picture_maps(pictures, subject, space) if config.from_pictures else None,
            flow_among=_flow_among(config, subject, space),
        )
        summary |= {f"{name}_sub-{subject}": value for name, value in found.items()}
        shown = material.targets["tokens"][encoder.fitted_on_]
        left_out.append((encoder.left_out_["tokens"], shown))
        if space is not None:
            spaces[subject] = space
        counts[subject] = len(material.windows)
        stimuli |= set(material.movies)
        captions += material.captions
    assert encoder is not None
    tokens = encoder.heads["tokens"]
    prior = IdentityPrior(n_tokens=1 if len(tokens) == 1 else tokens[0])
    predicted, truth = (torch.cat(parts) for parts in zip(*left_out, strict=True))
    prior.fit(predicted, truth)
    words = thinned(captions) if "caption" in encoder.heads else ()
    return _Fitted(encoder, prior, spaces, counts, stimuli, words, tr, summary)


def _subjects(config: VideoTrainingConfig, datasets: list[MovieDataset]) -> list[str]:
    if config.subjects:
        return [check_subject(label) for label in config.subjects]
    shared = set(datasets[0].subjects).intersection(*(data.subjects for data in datasets))
    if not shared:
        raise InputError(
            "the datasets share no subject", expected="--subject, or a subject that all have"
        )
    return sorted(shared)


def _flow_among(
    config: VideoTrainingConfig, subject: str, space: VoxelSpace | None
) -> Array | None:
    """Return which columns lie in the region that networks read flow from; None for all."""
    if config.flow_roi is None or space is None:
        return None
    region = read_space(config.flow_roi.replace("{subject}", subject), reference=space)
    return np.flatnonzero(np.isin(space.indices, region.indices))


def _calibrate(
    model: VideoModel, subject: str, runs: Runs, targets: ClipTargets
) -> dict[str, float]:
    """Choose on validation movies what depends on how many showings were averaged."""
    movies = movies_of(runs)
    if not movies:
        return {}
    most = min(len(group) for _, group in movies)
    windows: dict[int, list[Array]] = {count: [] for count in RUNS if count <= most}
    flow, cut = [], []
    for data, group in movies:
        clips = model.clips(group[0])
        movie = data.movie(group[0].segment)
        fps = movie.open().fps
        flow.append(targets.flow_of(clips, movie, true_flow(data.root, movie.stimulus_id, fps)))
        cut.append(cuts_of(clips, movie.cuts, targets.moments))
        for count, parts in windows.items():
            run = average_runs(group[:count])
            parts.append(standardised(run.recording.data, run.tr)[model.clips(run).rows])
    given = {count: np.concatenate(parts) for count, parts in windows.items()}
    shown = {"flow": torch.cat(flow), "cut": torch.cat(cut)}
    found = model.encoder.calibrate(subject, given, shown)
    return {f"{name}_sub-{subject}": value for name, value in found.items()}


def _choose_correction(
    model: VideoModel,
    config: VideoTrainingConfig,
    runs: dict[str, dict[str, Runs]],
    targets: ClipTargets,
) -> dict[str, float]:
    """Choose on validation clips how much low-level frames correct the moved keyframe."""
    latents = model.pictures.parts.generator.latents
    best, errors = 0.5, dict.fromkeys(CORRECTIONS, 0.0)
    count = 0
    for subject, own in runs.items() if latents is not None else ():
        movies = movies_of(own["validation"])
        for data, group in movies:
            run = average_runs(group) if config.average == "stimulus" else group[0]
            clips = model.clips(run)
            share = min(len(clips), -(-config.validation_clips // len(movies)))
            clips = clips.select(np.linspace(0, len(clips) - 1, share).round().astype(int))
            seeds = np.array([item_seed(config.seed, subject, key, 0) for key in clips.keys])
            opened = data.movie(run.segment).open()
            numbers = clips.frames(opened.fps, config.n_frames)
            size = latents.size if latents is not None else 64
            shown = opened.read(numbers.ravel(), size).reshape(*numbers.shape, size, size, 3)
            first = 0
            for conditions in model.conditions(model.decode(run, clips), seeds):
                rows = shown[first : first + len(conditions)].astype(np.float32)
                first += len(conditions)
                draws = [torch.Generator() for _ in range(len(conditions))]
                for correction in CORRECTIONS:
                    made = KeyframeFlow(latents, correction).generate(
                        conditions, generators=draws, fps=config.n_frames / config.seconds
                    )
                    errors[correction] += float(((made - rows) ** 2).mean((1, 2, 3, 4)).sum())
            count += len(clips)
    if count:
        best = min(CORRECTIONS, key=lambda value: errors[value])
    model.generator = KeyframeFlow(latents, best)
    return {"correction": best, "validation_clips": float(count)} | {
        f"validation_rmse_{value:g}": (errors[value] / count) ** 0.5
        for value in CORRECTIONS
        if count
    }


def _protocol(
    config: VideoTrainingConfig,
    datasets: list[MovieDataset],
    subjects: list[str],
    counts: dict[str, int],
    stimuli: list[str],
) -> Protocol:
    start = "pictures seen before as a start; " if config.from_pictures else ""
    flow = "true" if (datasets[0].root / "truth" / "flow").is_dir() else "estimated (ILK)"
    return Protocol(
        dataset=" + ".join(data.root.name for data in datasets),
        dataset_hash="+".join(data.hash for data in datasets),
        subjects=subjects,
        mask="all voxels of the runs",
        normalisation="polynomial drift removed, z-scored within each run",
        normalisation_fitted_on="the run itself, without labels",
        averaging_train="mean of all showings" if config.average == "stimulus" else "none",
        averaging_test="none, or the mean of showings",
        n_train_trials=counts,
        train_stimulus_ids=stimuli,
        train_picture_hashes=[],
        validation_rule="movies of the split validation",
        selection_rule="alpha per head on movies left out; correction on validation clips; "
        f"{start}"
        f"{flow} optical flow as target; clips of {config.seconds:g} s, delay {config.delay:g} s, "
        f"window {config.window:g} s as given",
    )
