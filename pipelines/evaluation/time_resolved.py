"""``phosphene evaluate --time-resolved``: when pictures can be told apart, and reconstructed.

Sliding windows say when the signal is there, growing ones what a decoder has by a time: the
question of decoding in real time (Benchetrit et al. 2024). Windows share nothing but the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, PositiveFloat

from phosphene.config import Config
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.confounds import confound_lines
from phosphene.data.pictures import Pictures, fit_pictures, write_picture
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, UsageError
from phosphene.names import check_subject
from phosphene.pipelines.evaluation.time_plot import plot_time_course
from phosphene.pipelines.evaluation.time_windows import (
    TimeWindow,
    corrected_p,
    decode_window,
    time_windows,
    two_way_table,
    whitened,
)
from phosphene.pipelines.metrics.intervals import bootstrap_interval
from phosphene.pipelines.metrics.retrieval import RetrievalResult, brain_to_image_retrieval
from phosphene.pipelines.model_folder import ModelParts, load_model
from phosphene.pipelines.rendering import Rendering
from phosphene.pipelines.training.materials import (
    cached_targets,
    load_target,
    refuse_seen_by_target,
    refuse_shared_pictures,
)
from phosphene.progress import progress
from phosphene.schemas.base import Stored
from phosphene.seeds import item_seed
from phosphene.storage import new_folder, write_text
from phosphene.types import BrainEmbedding, Recording

__all__ = ["TimeResolved", "TimeResolvedConfig", "WindowScores", "evaluate_times", "time_lines"]

Array = np.ndarray[Any, Any]
NAME = "time_resolved"
LEVEL = 0.05
RENDERED = 8  # test pictures that a model makes in every window
COLUMNS = (
    "subject", "kind", "start", "end", "n_pictures", "top_1", "top_1_low", "top_1_high", "top_5",
    "two_way", "two_way_low", "two_way_high", "two_way_p", "chance_top_1", "chance_top_5",
    "n_rendered", "pixel_correlation", "pixel_two_way",
)  # fmt: skip


class TimeResolvedConfig(Config):
    """Settings of :func:`evaluate_times`; flags are names for these keys."""

    output: str
    dataset: str
    model: str | None = None
    target: str | None = None
    subjects: tuple[str, ...] = ()
    average: Literal["none", "stimulus"] = "stimulus"
    window: PositiveFloat = 0.1
    hop: PositiveFloat = 0.05
    render: int | None = None
    steps: int | None = None
    batch_size: int = 32
    seed: int = 0


class WindowScores(BaseModel):
    """Scores of one subject in one window.

    Intervals are bootstrapped over pictures; ``two_way_p`` is corrected over a subject's windows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    subject: str
    kind: Literal["sliding", "growing"]
    start: float
    end: float
    n_pictures: int
    top_1: float
    top_1_low: float
    top_1_high: float
    top_5: float
    two_way: float
    two_way_low: float
    two_way_high: float
    two_way_p: float = 1.0
    chance_top_1: float
    chance_top_5: float
    n_rendered: int = 0
    pixel_correlation: float | None = None
    pixel_two_way: float | None = None


class TimeResolved(Stored):
    """``time_resolved.json``: scores by window, and how they were made."""

    schema_name: ClassVar[str] = "time-resolved"
    dataset: str
    modality: Literal["eeg", "meg"]
    target: str
    target_hash: str
    model: str | None
    averaging: str
    window: float
    hop: float
    decoder: str
    n_train_pictures: dict[str, int]
    scores: list[WindowScores]


@dataclass(frozen=True, eq=False)
class _Materials:
    """What every window needs of one subject."""

    train: Recording
    targets: torch.Tensor
    test: Recording
    truth: torch.Tensor
    shown: list[Pictures] | None  # the first pictures of the test, where some are rendered


def evaluate_times(config: TimeResolvedConfig) -> tuple[Path, TimeResolved]:
    """Decode windows of time, score them, and draw the course.

    Parameters
    ----------
    config : TimeResolvedConfig
        With ``target``, or ``model`` whose target it is; ``render`` test pictures per window are
        made by the model's generator, from what the window says of them.

    Returns
    -------
    path : Path
        Of ``time_resolved.json``, beside ``.tsv`` and ``.svg``.
    result : TimeResolved

    Raises
    ------
    UsageError
        If neither or both of target and model are given, or windows do not fit.
    InputError
        If the dataset is no EEG or MEG, or has no test trial.
    """
    model, target = _target(config)
    if config.render is None:
        config = config.model_copy(update={"render": 0 if model is None else RENDERED})
    dataset = CanonicalDataset.open(config.dataset)
    if dataset.file.modality == "fmri":
        raise InputError(
            f"{dataset.root} holds fMRI",
            expected="EEG or MEG: a volume has no course in milliseconds",
            remedy="leave --time-resolved out",
        )
    refuse_seen_by_target(dataset, target, config.target or str(config.model))
    subjects = [check_subject(label) for label in config.subjects or sorted(dataset.file.subjects)]
    scores: list[WindowScores] = []
    counts: dict[str, int] = {}
    with new_folder(config.output) as building:
        for subject in subjects:
            materials = _materials(dataset, subject, target, config)
            counts[subject] = len(set(materials.train.trials["stimulus_id"]))
            info = materials.train.info
            assert info is not None
            windows = time_windows(
                info.tmin, info.sfreq, materials.train.data.shape[2], width=config.window,
                hop=config.hop,
            )  # fmt: skip
            mine, tables = [], []
            for window in progress(windows, label=f"sub-{subject}", total=len(windows)):
                found = decode_window(window, materials.train, materials.targets, materials.test)
                row, table = _scored(subject, window, found, materials, model, config, building)
                mine.append(row)
                tables.append(table)
            chances = corrected_p(np.stack(tables), seed=config.seed)
            scores += [
                row.model_copy(update={"two_way_p": float(p)})
                for row, p in zip(mine, chances, strict=True)
            ]
        result = TimeResolved(
            dataset=dataset.file.name,
            modality=dataset.file.modality,
            target=config.target or f"that of {config.model}",
            target_hash=target.spec.hash,
            model=config.model,
            averaging=f"training by picture, test {config.average}",
            window=config.window,
            hop=config.hop,
            decoder="ridge per window, penalty by leaving training pictures out, noise white "
            "over sensors",
            n_train_pictures=counts,
            scores=scores,
        )
        result.save(building / f"{NAME}.json")
        write_text(building / f"{NAME}.tsv", _table(scores))
        plot_time_course(building / f"{NAME}.svg", [one.model_dump() for one in scores])
    return Path(config.output) / f"{NAME}.json", result


def _target(config: TimeResolvedConfig) -> tuple[ModelParts | None, StimulusEncoder]:
    if (config.model is None) == (config.target is None):
        raise UsageError(
            "--model and --target are both given" if config.model else "nothing says what to read",
            expected="either --target, or --model whose target it is",
            remedy="give one of the two",
        )
    if config.render and config.model is None:
        raise UsageError(
            f"--render {config.render} without a model",
            expected="--model, whose generator makes the pictures",
            remedy="give --model in place of --target, or leave --render out",
        )
    if config.model is None:
        return None, load_target(str(config.target))
    model = load_model(config.model)
    return model, model.target


def _materials(
    dataset: CanonicalDataset, subject: str, target: StimulusEncoder, config: TimeResolvedConfig
) -> _Materials:
    there = set(dataset.table.loc[dataset.table["subject"] == subject, "split"])
    dataset.check_subject(subject)
    if "test" not in there or not there & {"train", "validation"}:
        raise InputError(
            f"subject {subject} of {dataset.root} has trials in {', '.join(sorted(there))}",
            expected="training and test trials",
            remedy="mark the splits in the trials table, and prepare the dataset again",
        )
    train = dataset.recording(subject, splits=sorted(there & {"train", "validation"}))
    refuse_shared_pictures(dataset, train)
    test = dataset.recording(subject, splits=["test"])
    if test.trials["stimulus_id"].nunique() < 2:
        raise InputError(f"one test picture of subject {subject}", "two or more to tell apart")
    white, other = whitened(train, test)
    white = white.average()
    other = other.average() if config.average == "stimulus" else other
    names = other.trials["stimulus_id"].tolist()
    shown = list(dataset.pictures(names[: config.render])) if config.render else None
    return _Materials(
        white,
        cached_targets(dataset, target, white.trials["stimulus_id"].tolist()).float(),
        other,
        cached_targets(dataset, target, names).float(),
        shown,
    )


def _scored(
    subject: str,
    window: TimeWindow,
    found: BrainEmbedding,
    materials: _Materials,
    model: ModelParts | None,
    config: TimeResolvedConfig,
    folder: Path,
) -> tuple[WindowScores, Array]:
    names = materials.test.trials["stimulus_id"].to_numpy()
    mean = materials.targets.mean(dim=0, keepdim=True)  # of training pictures
    predicted, truth = (
        (part - mean).flatten(1).double().numpy() for part in (found.main, materials.truth)
    )
    ranks = brain_to_image_retrieval(predicted, truth, pictures=names)
    top_1, two_way = ranks.top_k(1), ranks.top_1_among(2)
    first, second = (bootstrap_interval(part, pictures=names) for part in (top_1, two_way))
    drawn: dict[str, Any] = {}
    if model is not None and materials.shown is not None:
        pictures = _render(subject, window, found, names, model, config)
        _write(folder, subject, window, pictures, names)
        drawn = _pixel_scores(pictures, materials.shown)
    row = WindowScores(
        subject=subject,
        kind=window.kind,
        start=window.start,
        end=window.end,
        n_pictures=len(set(names)),
        top_1=float(top_1.mean()),
        top_1_low=first[0],
        top_1_high=first[1],
        top_5=float(ranks.top_k(5).mean()),
        two_way=float(two_way.mean()),
        two_way_low=second[0],
        two_way_high=second[1],
        chance_top_1=ranks.chance(1),
        chance_top_5=ranks.chance(5),
        **drawn,
    )
    return row, two_way_table(predicted, truth, names)


def _render(
    subject: str,
    window: TimeWindow,
    found: BrainEmbedding,
    names: Array,
    model: ModelParts,
    config: TimeResolvedConfig,
) -> Pictures:
    """Return pictures (n, H, W, 3) of the first items, from noise alone."""
    rendering = Rendering(model.generator, model.prior)
    # The same seed in every window: what differs between windows is what was read there.
    seeds = [item_seed(config.seed, subject, str(name), 0) for name in names[: config.render]]
    parts = []
    for start in range(0, len(seeds), config.batch_size):
        rows = torch.arange(start, min(start + config.batch_size, len(seeds)))
        parts.append(
            rendering.pictures(
                found[rows], seeds[start : start + config.batch_size],
                num_inference_steps=config.steps,
            )
        )  # fmt: skip
    return np.concatenate(parts)


def _write(
    folder: Path, subject: str, window: TimeWindow, pictures: Pictures, names: Array
) -> None:
    where = folder / f"sub-{subject}" / f"{window.kind}-{window.start:.3f}-{window.end:.3f}"
    where.mkdir(parents=True, exist_ok=True)
    for row, picture in enumerate(pictures):
        write_picture(where / f"{row:03d}_{names[row]}.png", picture)


def _pixel_scores(made: Pictures, shown: Sequence[Pictures]) -> dict[str, Any]:
    """Return correlation of pixels, and two-way identification by it, over rendered pictures."""
    size = min(made.shape[1], *(min(one.shape[:2]) for one in shown))
    fitted = [fit_pictures(part, size=size, channels=3) for part in (made, shown)]
    flat = [part.reshape(len(part), -1).astype(np.float64) for part in fitted]
    centred = [part - part.mean(axis=1, keepdims=True) for part in flat]
    norms = [np.linalg.norm(part, axis=1) for part in centred]
    product, scale = (centred[0] * centred[1]).sum(axis=1), norms[0] * norms[1]
    correlation = np.divide(product, scale, out=np.zeros(len(made)), where=scale > 0)
    scores: dict[str, Any] = {
        "n_rendered": len(made),
        "pixel_correlation": float(correlation.mean()),
    }
    if len(made) > 1:
        ranks: RetrievalResult = brain_to_image_retrieval(*centred)
        scores["pixel_two_way"] = float(ranks.top_1_among(2).mean())
    return scores


def _table(scores: Sequence[WindowScores]) -> str:
    def cell(value: Any) -> str:
        return (
            "n/a" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
        )

    rows = ["\t".join(COLUMNS)]
    rows += ["\t".join(cell(getattr(one, name)) for name in COLUMNS) for one in scores]
    return "\n".join(rows) + "\n"


def time_lines(result: TimeResolved) -> list[str]:
    """Return what a person wants to know first: when it is there, and what there is by the end."""
    lines = confound_lines(result.dataset)
    for subject in result.n_train_pictures:
        mine = [one for one in result.scores if one.subject == subject]
        sliding = [one for one in mine if one.kind == "sliding"]
        growing = [one for one in mine if one.kind == "growing"]
        best, last = max(sliding, key=lambda one: one.top_1), growing[-1]
        above = next((one.end for one in growing if one.two_way_p < LEVEL), None)
        lines.append(
            f"subject {subject}: sliding windows best from {best.start:g} to {best.end:g} s, top-1 "
            f"{best.top_1:.3f}; growing by {last.end:g} s top-1 {last.top_1:.3f} "
            f"[{last.top_1_low:.3f}, {last.top_1_high:.3f}], two-way {last.two_way:.3f}; chance "
            f"{last.chance_top_1:.3f} of {last.n_pictures} pictures; above chance "
            + ("in no window" if above is None else f"from {above:g} s on")
            + f" (two-way, p < {LEVEL:g} corrected over windows)"
        )
    return lines
