"""``reconstruct --video`` from start to end: read, decode, render, join, score, report."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from phosphene.checkpoints.registry import default_model
from phosphene.config import Config
from phosphene.data.movies.dataset import Movie
from phosphene.data.movies.frames import write_movie
from phosphene.data.movies.run import MovieClips, MovieRun
from phosphene.data.pictures import Pictures
from phosphene.errors import UsageError
from phosphene.pipelines.items import recording_hash
from phosphene.pipelines.output import DESCRIPTION
from phosphene.pipelines.versions import package_versions
from phosphene.pipelines.video.model import VideoModel, load_video_model
from phosphene.pipelines.video.output import VideoOutput, clip_stem
from phosphene.pipelines.video.reading import read_shown
from phosphene.pipelines.video.scores import score_videos
from phosphene.pipelines.video.seams import blended, is_reset
from phosphene.pipelines.video.telling import page_of
from phosphene.progress import progress
from phosphene.schemas import MetricsFile, RunFile
from phosphene.seeds import item_seed
from phosphene.storage import write_text
from phosphene.trials import UNKNOWN
from phosphene.workfolder import WorkFolder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["VideoConfig", "reconstruct_video"]

Array = np.ndarray[Any, Any]
DEFAULT_BATCH = 16


class VideoConfig(Config):
    """Settings of ``reconstruct --video``; flags are names for these keys.

    ``onset`` is in seconds after the first volume; ``seams`` joins neighbouring clips. With
    ``average="stimulus"`` the runs beside ``input`` that show the same movie are averaged first;
    ``input`` may then be a folder of runs of one movie. ``generator`` moves, ``keyframes`` is what
    renders the keyframes, by default the generator of the model's picture model.
    """

    subject: str
    input: str
    model: str | None = None
    output: str = "phosphene-output"
    truth: str | None = None
    average: Literal["none", "stimulus"] = "none"
    tr: float | None = None
    onset: float | None = None
    fps: float = 8.0
    generator: str | None = None
    generator_options: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies defaults
    keyframes: str | None = None
    keyframe_options: dict[str, Any] = {}  # noqa: RUF012
    strength: float | None = None
    detail: float | None = None
    seed: int = 0
    steps: int | None = None
    batch_size: int | Literal["auto"] = DEFAULT_BATCH
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seams: bool = True
    stimuli: bool = True


@dataclass(frozen=True, eq=False)
class VideoResult:
    """What a run made: clips lie on disk, memory holds the rest.

    Attributes
    ----------
    trials : DataFrame
        A row per clip, as in ``trials.tsv``.
    metrics : MetricsFile or None
    """

    trials: pd.DataFrame
    metrics: MetricsFile | None

    def __len__(self) -> int:
        return len(self.trials)


def reconstruct_video(
    config: VideoConfig, *, resume: bool = False, dry_run: bool = False
) -> tuple[Path, VideoResult | None]:
    """Turn a run of continuous volumes into clips.

    Parameters
    ----------
    config : VideoConfig
    resume : bool
        Go on with an interrupted run of the same configuration.
    dry_run : bool
        Read and check everything, render nothing and write nothing.

    Returns
    -------
    output : Path
    result : VideoResult or None
        ``None`` after a dry run or where the run was complete already.
    """
    batch_size = DEFAULT_BATCH if config.batch_size == "auto" else config.batch_size
    if not 1 <= config.fps <= 60 or batch_size < 1:
        raise UsageError(
            f"{config.fps:g} frames per second in batches of {config.batch_size}",
            expected="1 to 60 frames per second, at least one clip at a time",
        )
    model = _load(config)
    if config.batch_size == "auto":
        model.pictures.generator.batch_by_memory()
        model.generator.batch_by_memory()
    space = model.space(config.subject.removeprefix("sub-"))
    run, movie = read_shown(
        config.input,
        subject=config.subject,
        space=space,
        truth=config.truth,
        average=config.average,
        tr=config.tr,
        onset=config.onset,
    )
    clips = model.clips(run)
    record = _run_file(config, model, run, clips)
    if dry_run:
        WorkFolder.find(config.output, last=DESCRIPTION, resume=resume)
        return Path(config.output), None
    output = VideoOutput.create(config.output, record, resume=resume)
    if output.work.finished:
        return output.work.root, None
    decoded = model.decode(run, clips)
    seeds = _seeds(config.seed, run, clips)
    _render_missing(model, output, decoded, seeds, batch_size, config)
    return _write(config, model, output, run, clips, decoded, seeds, movie)


def _write(
    config: VideoConfig,
    model: VideoModel,
    output: VideoOutput,
    run: MovieRun,
    clips: MovieClips,
    decoded: dict[str, torch.Tensor],
    seeds: Array,
    movie: Movie | None,
) -> tuple[Path, VideoResult]:
    """Join and write the clips that were rendered, score them where the movie is known."""
    import yaml

    rows = list(_write_clips(model, output, run, clips, decoded, seeds, config))
    table = _table(rows, clips, clips.keys, movie, config)
    words = model.words(decoded)
    if words is not None:
        table["decoded_caption"] = words
    metrics = None
    if movie is not None:
        truths = output.stacked("truth", len(clips), _true_clips(clips, movie, config, output))
        for file, frames in zip(table["truth"], truths, strict=True):
            if config.stimuli:
                write_movie(output.partial / file, frames, config.fps)
        trained = {name.rpartition("/")[2] for name in model.protocol.train_stimulus_ids}
        if len(clips) > 1:
            metrics = score_videos(
                output.stacked("shown", len(clips), map(output.written, range(len(clips)))),
                truths,
                clips,
                output.run.protocol,
                seen=len(clips) if clips.segment in trained else 0,
            )
    write_text(output.partial / "config.yaml", yaml.safe_dump(config.model_dump(), sort_keys=True))
    page = page_of(output.partial, output.run, table, metrics, stimuli=config.stimuli)
    root = output.finish(
        table,
        {name: part.numpy() for name, part in decoded.items()},
        metrics=metrics,
        report=page,
        log=_log(config, model, run, clips),
    )
    return root, VideoResult(table, metrics)


def _load(config: VideoConfig) -> VideoModel:
    given = {"strength": config.strength, "detail": config.detail}
    options = {name: value for name, value in given.items() if value is not None}
    return load_video_model(
        config.model or default_model("fmri-video"),
        generator=config.generator,
        generator_options=config.generator_options or None,
        keyframes=config.keyframes,
        keyframe_options=config.keyframe_options or None,
        device=config.device,
        **options,
    )


def _seeds(seed: int, run: MovieRun, clips: MovieClips) -> Array:
    """Return the seed of each clip (n,): by run and moment, whether or not the movie is known."""
    name = str(run.recording.trials["run"].iloc[0])
    keys = [f"run-{name}_{round(1000 * second)}" for second in clips.start.tolist()]
    subject = run.recording.subject
    return np.array([item_seed(seed, subject, key, 0) for key in keys], dtype=np.int64)


def _run_file(config: VideoConfig, model: VideoModel, run: MovieRun, clips: MovieClips) -> RunFile:
    excluded = {"output", "batch_size", "device"}
    return RunFile(
        command="reconstruct --video",
        config=config.model_dump(exclude=excluded)
        | {
            "subject": run.recording.subject,
            "model": model.name,
            "tr": run.tr,
            "onset": run.onset,
            "averaged": run.averaged,
            "volumes": len(run),
            "clip_seconds": clips.length,
            "delay": model.timing.delay,
            "window": model.timing.window,
            "clips_left_out": clips.n_left_out,
            "generator": model.generator.name,
            "picture_model": model.picture_model,
            "first_frame": "decoded",
            "flow": "decoded" if "flow" in model.encoder.heads else "absent",
            **{f"picture_{name}": value for name, value in model.pictures.settings.items()},
            **model.generator.settings,
        },
        model=model.name,
        model_hash=model.hash,
        input_hash=recording_hash(run.recording),
        n_items=len(clips),
        n_samples=1,
        versions=package_versions(),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        protocol=model.protocol.model_copy(
            update={
                "averaging_test": "none"
                if run.averaged == 1
                else f"mean of {run.averaged} showings"
            }
        ),
    )


def _render_missing(
    model: VideoModel,
    output: VideoOutput,
    decoded: dict[str, torch.Tensor],
    seeds: Array,
    batch_size: int,
    config: VideoConfig,
) -> None:
    """Render what is not written yet; each batch is on disk before the next one starts."""
    missing = [item for item in range(len(seeds)) if not output.is_rendered(item)]
    chosen = torch.tensor(missing, dtype=torch.long)
    parts = {name: part[chosen] for name, part in decoded.items()}
    if not missing:
        return
    batches = model.conditions(
        parts,
        seeds[missing],
        batch_size=batch_size,
        num_inference_steps=config.steps,
    )
    first, total = 0, -(-len(missing) // batch_size)
    for conditions in progress(batches, label="rendering clips", total=total):
        rows = missing[first : first + len(conditions)]
        first += len(conditions)
        frames = model.generator.generate(
            conditions,
            generators=[torch.Generator().manual_seed(int(seeds[row])) for row in rows],
            num_inference_steps=config.steps,
            fps=config.fps,
        )
        for row, clip in zip(rows, frames, strict=True):
            output.keep_rendered(row, clip)


def _write_clips(
    model: VideoModel,
    output: VideoOutput,
    run: MovieRun,
    clips: MovieClips,
    decoded: dict[str, torch.Tensor],
    seeds: Array,
    config: VideoConfig,
) -> Iterator[dict[str, Any]]:
    """Join neighbours, write each clip, and yield what the table says of it."""
    cuts = decoded["cut"].numpy() if "cut" in decoded else None
    joins = [config.seams and _meets(clips, cuts, item) for item in range(1, len(clips))]
    for item in progress(range(len(clips)), label="writing clips"):
        frames = output.rendered(item)
        assert frames is not None
        before = output.rendered(item - 1) if item and joins[item - 1] else None
        after = output.rendered(item + 1) if item < len(joins) and joins[item] else None
        told = {
            "subject": run.recording.subject,
            "item": item,
            "sample": 0,
            "stimulus_id": clips.keys[item],
            "segment": clips.segment,
            "start_seconds": float(clips.start[item]),
            "seconds": clips.length,
            "fps": config.fps,
            "source_volumes": clips.rows[item].tolist(),
            "volume_times": clips.times[item].tolist(),
            "first_frame": "decoded",
            "cut_probability": [] if cuts is None else cuts[item].tolist(),
            "blended_with_previous": before is not None,
            "seed": config.seed,
            "item_seed": int(seeds[item]),
            "model": model.name,
            "model_hash": model.hash,
            "picture_model": model.picture_model,
            "generator": model.generator.name,
            "versions": output.run.versions,
        }
        output.write_clip(item, blended(frames, before, after), config.fps, told)
        yield told


def _meets(clips: MovieClips, cuts: Array | None, item: int) -> bool:
    """Whether a clip goes on where the one before it ends."""
    gap = abs(clips.start[item] - clips.start[item - 1] - clips.length)
    parts = (None, None) if cuts is None else (cuts[item - 1], cuts[item])
    return bool(gap < 1e-6) and not is_reset(*parts)


def _table(
    rows: list[dict[str, Any]],
    clips: MovieClips,
    keys: list[str],
    movie: Movie | None,
    config: VideoConfig,
) -> pd.DataFrame:
    import pandas as pd

    shown = movie is not None and config.stimuli
    return pd.DataFrame(
        {
            "item": range(len(rows)),
            "sample": 0,
            "stimulus_id": keys,
            "file": [
                f"{clip_stem(str(row['subject']), row['item'])}_desc-recon_video.mp4"
                for row in rows
            ],
            "source_trials": [
                " ".join(f"volume-{number:06d}" for number in row["source_volumes"]) for row in rows
            ],
            "seed": [row["item_seed"] for row in rows],
            "truth": [f"stimuli/{key}.mp4" if shown else UNKNOWN for key in keys],
            "segment": clips.segment,
            "start": clips.start,
            "duration": clips.length,
            "straddles_cut": ["yes" if value else "no" for value in clips.straddles]
            if movie is not None and movie.cuts
            else UNKNOWN,
            "scene": clips.scene if movie is not None and movie.cuts else UNKNOWN,
            "cut_probability": [
                1 - float(np.prod([1 - p for p in row["cut_probability"]])) for row in rows
            ],
        }
    )


def _true_clips(
    clips: MovieClips, movie: Movie, config: VideoConfig, output: VideoOutput
) -> Iterator[Pictures]:
    """Yield what was shown in each clip (F, H, W, 3), at the rate of the reconstruction."""
    opened = movie.open()
    numbers = clips.frames(opened.fps, max(1, round(clips.length * config.fps)))
    return opened.read_clips(list(numbers), output.rendered_size[0])


def _log(config: VideoConfig, model: VideoModel, run: MovieRun, clips: MovieClips) -> str:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return (
        f"{now} reconstruct --video finished\n"
        f"subject {run.recording.subject}: {len(run)} volumes x {run.recording.data.shape[1]} "
        f"voxels, TR {run.tr:g} s, movie {run.segment} from {run.onset:g} s on, "
        f"{'one showing' if run.averaged == 1 else f'mean of {run.averaged} showings'}\n"
        f"model {model.name} ({model.hash}), keyframes by {model.picture_model}, moved by "
        f"{model.generator.name}\n"
        f"{len(clips)} clips of {clips.length:g} s at {config.fps:g} frames per second, "
        f"{clips.n_left_out} without volumes left out\n"
    )
