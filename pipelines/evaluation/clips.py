"""Clips: matched by identifier like pictures, decoded onto disk, scored beside stills and grey."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from phosphene.data.movies.run import first_scene
from phosphene.data.pictures import Pictures, picture_hash
from phosphene.data.readers import read_trials
from phosphene.errors import AssetError, InputError, UsageError
from phosphene.pipelines.evaluation.assemble import INTERVAL_RULE, corrected
from phosphene.pipelines.evaluation.background import Background
from phosphene.pipelines.evaluation.clip_controls import ClipScores, score_clips
from phosphene.pipelines.evaluation.config import EvaluateConfig
from phosphene.pipelines.evaluation.predictions import (
    Item,
    Predictions,
    match_items,
    read_predictions,
)
from phosphene.pipelines.evaluation.records import evaluation_record, item_record, protocol_record
from phosphene.pipelines.evaluation.rivals import OF_CLIPS, absent_controls
from phosphene.pipelines.evaluation.shown import Shown, read_categories
from phosphene.pipelines.metrics.specs import METRICS
from phosphene.progress import progress
from phosphene.schemas import AbsentMetric, EvaluatedMetric, EvaluationFile, PermutedPairing
from phosphene.storage import load_array
from phosphene.trials import UNKNOWN

__all__ = [
    "CLIP_SUFFIXES",
    "ClipEvaluation",
    "clip_evaluation",
    "evaluate_clips",
    "read_clip",
]

Array = np.ndarray[Any, Any]
CLIP_SUFFIXES = (".mp4", ".gif", ".webm", ".mov", ".avi", ".mkv")
RENDERED, LOSSLESS = "_desc-recon_video.mp4", "_desc-recon_frames.npy"


@dataclass(frozen=True, eq=False)
class ClipEvaluation:
    """What was found about a folder of clips.

    Attributes
    ----------
    hashes : dict of str to str
        Content of each true clip, by identifier.
    size_rule : str
        At which size clips were compared.
    by_scene : bool
        Whether clips of one scene are drawn together.
    """

    root: Path
    items: list[Item]
    n_missing: int
    shown: Shown
    hashes: dict[str, str]
    metrics: list[EvaluatedMetric]
    absent: list[AbsentMetric]
    size_rule: str
    by_scene: bool


def clip_evaluation(config: EvaluateConfig, names: Sequence[str], building: Path) -> EvaluationFile:
    """Score a folder of clips; frames are decoded into a folder that is removed again."""
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with TemporaryDirectory(dir=building) as work:
        found = evaluate_clips(config, names, Path(work))
    background = Background(found.root.resolve().name)
    protocol = protocol_record(
        found.items, found.shown, background, found.hashes, found.n_missing, found.size_rule
    )
    present = [name for name in OF_CLIPS if found.metrics]
    if any(metric.within_category is not None for metric in found.metrics):
        present.append("within_category")
    reason = (
        "no two clips of one category, or no metric that identifies"
        if config.category
        else "categories are not known: give --category"
    )
    return evaluation_record(
        config,
        background,
        protocol=protocol,
        items=[item_record(item, found.hashes, found.root) for item in found.items],
        metrics=found.metrics,
        absent=found.absent,
        controls=absent_controls(
            present,
            {"within_category": reason},
            otherwise="no metric could be computed",
            of="clips",
        ),
        seeds={"seed": config.seed, "bootstrap": config.seed},
        interval_rule=INTERVAL_RULE + ("; clips of one scene together" if found.by_scene else ""),
        started=started,
    )


def read_clip(path: Path) -> Pictures:
    """Return all frames of a clip, uint8 (F, H, W, 3).

    Beside the MP4 files of ``reconstruct --video`` lie their frames without loss: these are read.
    """
    import av
    import imageio.v3

    if path.name.endswith(RENDERED):
        lossless = path.with_name(f"{path.name.removesuffix(RENDERED)}{LOSSLESS}")
        if lossless.is_file():
            return np.asarray(load_array(lossless))
    try:
        if path.suffix.lower() == ".gif":
            frames = np.asarray(imageio.v3.imread(path, plugin="pillow"))
        else:
            # Not through imageio, which collects all garbage of the program behind each file.
            with av.open(str(path)) as container:
                decoded = container.decode(video=0)
                frames = np.stack([frame.to_ndarray(format="rgb24") for frame in decoded])
    except Exception as error:  # every codec raises errors of its own
        raise InputError(
            f"{path} is not a readable clip ({error})",
            expected="a video file or an animated picture",
            remedy="open it in a player and write it again, or copy it from its source",
        ) from error
    if frames.ndim == 3:
        frames = frames[None] if frames.shape[-1] in (3, 4) else frames[..., None]
    if frames.shape[-1] == 1:
        frames = np.repeat(frames, 3, axis=-1)
    if frames.dtype != np.uint8 or frames.ndim != 4:
        raise InputError(f"{path} holds {frames.dtype} frames {frames.shape}", "8-bit colour")
    return np.ascontiguousarray(frames[..., :3])


def evaluate_clips(config: EvaluateConfig, names: Sequence[str], work: Path) -> ClipEvaluation:
    """Score a folder of clips against a folder of true ones.

    Parameters
    ----------
    config : EvaluateConfig
        With ``predictions`` and ``truth``.
    names : sequence of str
        Ids of metrics of clips.
    work : Path
        Where decoded frames lie while they are needed: memory does not hold all of them.
    """
    shown = _true_clips(config.truth)
    predictions = read_predictions(
        str(config.predictions), known=shown.files, suffixes=CLIP_SUFFIXES
    )
    items, n_missing = match_items(
        predictions, shown.files, truth_name=shown.name, allow_missing=config.allow_missing
    )
    if len(items[0].files) > 1:
        raise InputError(
            f"{len(items[0].files)} samples of each clip",
            expected="one clip per identifier",
            remedy="evaluate one sample at a time",
        )
    scenes = _own_scenes(predictions, items)
    if config.scenes is not None:
        known = read_categories(config.scenes, shown)
        scenes = [known[item.picture] for item in items]
    kinds = None
    if config.category is not None:
        known = read_categories(config.category, shown)
        items = [replace(item, category=known[item.picture]) for item in items]
        kinds = [known[item.picture] for item in items]
    truth = _decoded([shown.files[item.picture] for item in items], work / "truth.npy", "truths")
    made = _decoded([item.files[0] for item in items], work / "made.npy", "predictions")
    hashes = {item.picture: picture_hash(truth[row]) for row, item in enumerate(items)}
    metrics, absent = [], []
    for name in names:
        spec = METRICS[name].spec
        options: dict[str, Any] = {}
        if config.network is not None and spec.network is not None and spec.availability():
            options["weights_folder"] = config.network
        try:
            found = score_clips(
                name,
                made,
                truth,
                scenes=scenes,
                categories=kinds,
                n_permutations=config.n_permutations,
                seed=config.seed,
                **options,
            )
        except AssetError as error:
            reason = spec.availability() or f"{error.found}: {error.remedy}"
            absent.append(AbsentMetric(id=name, reason=reason))
        except InputError as error:
            absent.append(AbsentMetric(id=name, reason=f"{error.found}, {error.expected}"))
        else:
            metrics.append(_metric(found))
    shape = " x ".join(map(str, truth.shape[1:4]))
    rule = f"clips of {shape} (frames, height, width)"
    return ClipEvaluation(
        predictions.root,
        items,
        n_missing,
        shown,
        hashes,
        corrected(metrics),
        absent,
        rule,
        by_scene=scenes is not None,
    )


def _own_scenes(predictions: Predictions, items: Sequence[Item]) -> list[str] | None:
    """Return the scene in which each clip begins, where `reconstruct --video` wrote it down."""
    if not predictions.own:
        return None
    table = read_trials(predictions.root / "trials.tsv")
    if "scene" not in table or (table["scene"] == UNKNOWN).any():
        return None
    known = dict(zip(table["stimulus_id"].map(str), table["scene"].map(str), strict=True))
    scenes = [first_scene(known[item.picture]) for item in items]
    return scenes if len(set(scenes)) > 1 else None


def _true_clips(truth: str | None) -> Shown:
    root = Path(truth or "")
    if truth is None or not root.is_dir():
        raise UsageError(
            "no folder of true clips" if truth is None else f"the truth {truth} is not a folder",
            expected="--truth with a folder of clips named by identifier",
            remedy=f"give a folder of files ending in {', '.join(CLIP_SUFFIXES)}",
        )
    found = read_predictions(root, suffixes=CLIP_SUFFIXES)
    several = [item.key for item in found.items if len(item.files) > 1]
    if several:
        raise InputError(
            f"the truth {root} holds several clips of {several[0]!r}", "one clip per identifier"
        )
    return Shown(root.name, {item.key: item.files[0] for item in found.items})


def _decoded(files: Sequence[Path], path: Path, what: str) -> Pictures:
    """Decode clips into one array on disk, (n, F, H, W, 3); all have to be of one shape."""
    first = read_clip(files[0])
    shape = (len(files), *first.shape)
    array: Pictures = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    for row, file in enumerate(progress(files, label=f"decoding {what}", total=len(files))):
        clip = read_clip(file)
        if clip.shape != first.shape:
            raise InputError(
                f"{file} has {clip.shape[0]} frames of {clip.shape[1]} x {clip.shape[2]}",
                expected=f"{first.shape[0]} frames of {first.shape[1]} x {first.shape[2]}, as "
                f"{files[0].name} has",
                remedy="bring all clips to one frame rate, length and size first",
            )
        array[row] = clip
    return array


def _metric(found: ClipScores) -> EvaluatedMetric:
    spec, permuted = found.spec, found.permuted
    return EvaluatedMetric(
        id=spec.id,
        spec=spec.model_dump(mode="json"),
        value=found.value,
        interval=found.interval,
        chance=permuted.chance if spec.chance is None else spec.chance,
        permuted=PermutedPairing(
            mean=permuted.chance,
            p_value=permuted.p_value,
            n_permutations=len(permuted.null),
            rule="clips exchanged",
        ),
        controls=_known(found.controls),
        within_category=found.within,
        per_subject={},
        per_item=[float(score) if np.isfinite(score) else None for score in found.scores],
        n_items=int(np.isfinite(found.scores).sum()),
        n_pictures=len(found.scores),
        higher_is_better=spec.higher_is_better,
        collapsed=found.collapsed,
        note=spec.note,
    )


def _known(controls: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in controls.items()}
