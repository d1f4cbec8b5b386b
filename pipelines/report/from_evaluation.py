"""What a report says of a folder of `phosphene evaluate`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import phosphene
from phosphene.data.pictures import PictureFiles, Pictures, picture_hash
from phosphene.errors import InputError, PhospheneError
from phosphene.pipelines.evaluation.summary import statistics_words
from phosphene.pipelines.report.brain_map import BrainMap, brain_map_of
from phosphene.pipelines.report.content import (
    WRONG_PAIRING,
    Content,
    Curve,
    CurvePoint,
    Measure,
    SubjectTable,
    Within,
    control_words,
)
from phosphene.pipelines.report.from_reconstruction import (
    is_virtual,
    protocol_rows,
    settings_words,
    versions_words,
)
from phosphene.pipelines.report.panels import number
from phosphene.pipelines.report.ranking import Ranking, rank_items
from phosphene.schemas import EvaluatedMetric, EvaluationFile, RunFile

__all__ = ["EVALUATION", "content_of_evaluation"]

EVALUATION = "evaluation.json"
MAX_CURVES = 6


class ShownFiles(Sequence[Pictures]):
    """Shown pictures of the items, each read and checked when it is asked for."""

    def __init__(self, result: EvaluationFile, files: dict[str, Path]) -> None:
        self.items, self.files = result.items, files

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: Any) -> Any:
        one = self.items[item]
        pixels: Pictures = PictureFiles([self.files[one.picture]])[0]
        if picture_hash(pixels) != one.picture_hash:
            raise InputError(
                f"the shown picture {self.files[one.picture]} is not the one that was scored",
                expected=f"a picture with the hash {one.picture_hash}",
                remedy="restore the pictures that were evaluated, or evaluate again",
            )
        return pixels


def content_of_evaluation(
    folder: str | os.PathLike[str], *, stimuli: bool = True, model: str | None = None
) -> Content:
    """Return what a report of the evaluation says.

    Parameters
    ----------
    folder : path
        With an ``evaluation.json``; pictures are read from where the evaluation found them.
    stimuli : bool
        False leaves out the shown pictures and their names.
    model : str, optional
        Where the model lies, for the map of voxels; by default where the run found it.
    """
    result = EvaluationFile.load(Path(folder) / EVALUATION)
    images, truth, missing = _pictures(Path(folder), result, stimuli=stimuli)
    names = f"{result.name} {result.model or ''} {result.protocol.truth}"
    virtual = is_virtual(names, result.protocol.training, _input(result))
    brain, brain_missing = _brain(result, model)
    return Content(
        heading=f"Evaluation of {result.name}",
        lead=_lead(result),
        model=result.model or result.name,
        labels=[
            item.key if stimuli else f"item {place}" for place, item in enumerate(result.items)
        ],
        images=images,
        truth=truth,
        ranking=_ranking(result),
        scores={metric.id: metric.per_item for metric in result.metrics if metric.per_item},
        measures=[_measure(metric, result) for metric in result.metrics],
        interval_rule=result.interval_rule,
        virtual=virtual,
        stimuli=stimuli,
        warnings=[*_warnings(result), *([missing] if missing else [])],
        curves=_curves(result),
        subjects=_subjects(result),
        absent=_absent(result),
        audit=_audit(result, stimuli=stimuli),
        brain=brain,
        brain_missing=brain_missing,
        protocol=_protocol(result),
        provenance=_provenance(result, stimuli=stimuli),
    )


def _pictures(
    folder: Path, result: EvaluationFile, *, stimuli: bool
) -> tuple[list[Sequence[Pictures]], ShownFiles | None, str]:
    """Return the predictions and what was shown, or say that they are gone."""
    if {metric.spec.get("kind") for metric in result.metrics} & {"video", "caption"}:
        nothing: list[Sequence[Pictures]] = [[] for _ in result.items]
        return nothing, None, "Clips and captions are scored here and not shown."
    own = result.config.get("model") is not None  # decoded by the evaluation, into its own folder
    root = (folder if own else Path()) / result.predictions
    files = [[root / name for name in item.files] for item in result.items]
    if not all(path.is_file() for paths in files for path in paths):
        none: list[Sequence[Pictures]] = [[] for _ in result.items]
        return none, None, f"The predictions are not found: {root.name} is elsewhere or changed."
    images: list[Sequence[Pictures]] = [PictureFiles(paths) for paths in files]
    if not stimuli:
        return images, None, ""
    shown = _shown_files(result, root)
    if any(item.picture not in shown for item in result.items):
        return images, None, "The shown pictures are not found where the evaluation had them."
    return images, ShownFiles(result, shown), ""


def _input(result: EvaluationFile) -> dict[str, Any]:
    """Return the settings of the run that made the predictions, where it left them."""
    run = Path(result.predictions) / "run.json"
    return RunFile.load(run).config if run.is_file() else {}


def _shown_files(result: EvaluationFile, predictions: Path) -> dict[str, Path]:
    from phosphene.pipelines.evaluation.predictions import read_predictions
    from phosphene.pipelines.evaluation.shown import read_shown

    source = result.config.get("truth") or result.config.get("dataset")
    try:
        if source:
            return dict(read_shown(str(source), split=result.protocol.split).files)
        return dict(read_predictions(predictions).stored_truth)
    except PhospheneError:
        return {}


def _ranking(result: EvaluationFile) -> Ranking | None:
    return rank_items(
        {metric.id: metric.per_item for metric in result.metrics if metric.per_item},
        {metric.id: metric.higher_is_better for metric in result.metrics},
        {metric.id for metric in result.metrics if _identifies(metric)},
    )


def _identifies(metric: EvaluatedMetric) -> bool:
    return metric.spec.get("ways") == 2


def _measure(metric: EvaluatedMetric, result: EvaluationFile) -> Measure:
    wrong = metric.chance if metric.permuted.mean is None else metric.permuted.mean
    controls: dict[str, float | None] = {WRONG_PAIRING: wrong, **metric.controls}
    if metric.id in result.noise_ceiling:
        controls["noise_ceiling"] = result.noise_ceiling[metric.id]
    within = metric.within_category
    collapsed = "collapsed: most predictions are the same" if metric.collapsed else ""
    return Measure(
        id=metric.id,
        name=str(metric.spec.get("title") or metric.id),
        identifies=_identifies(metric),
        value=metric.value,
        interval=metric.interval,
        controls=controls,
        higher_is_better=metric.higher_is_better,
        n_items=metric.n_items,
        p_value=metric.permuted.p_value,
        within=None if within is None else Within(within.value, within.interval, within.chance),
        note="; ".join(filter(None, (collapsed, metric.note, *statistics_words(metric)))),
    )


def _lead(result: EvaluationFile) -> str:
    protocol = result.protocol
    samples = "one sample" if protocol.n_samples == 1 else f"{protocol.n_samples} samples"
    subjects = f", {len(protocol.subjects)} subjects" if len(protocol.subjects) > 1 else ""
    return (
        f"{protocol.n_items:,} items of {protocol.n_pictures:,} pictures, {samples} each{subjects}"
        f", compared with {protocol.truth} by the suite {result.suite} ({protocol.averaging})."
    )


def _warnings(result: EvaluationFile) -> list[str]:
    said = []
    if result.n_seen_in_training:
        said.append(
            f"Careful: {result.n_seen_in_training} of {len(result.items)} items show pictures that "
            "the model was trained on. The numbers say nothing about new pictures."
        )
    if result.protocol.n_missing:
        said.append(f"Careful: {result.protocol.n_missing} shown pictures have no prediction.")
    if result.protocol.transductive:
        said.append("Careful: these predictions looked at other test items (transductive).")
    collapsed = [str(m.spec.get("title") or m.id) for m in result.metrics if m.collapsed]
    if collapsed:
        said.append(f"Careful: most predictions are the same to {', '.join(collapsed)}.")
    return said


def _curves(result: EvaluationFile) -> list[Curve]:
    points = sorted(result.repetition_curve, key=lambda one: one.n_repetitions)
    curves = []
    for metric in result.metrics:
        found = [
            CurvePoint(one.n_repetitions, one.values[metric.id], one.intervals.get(metric.id))
            for one in points
            if metric.id in one.values
        ]
        if len(found) > 1:
            name = str(metric.spec.get("title") or metric.id)
            curves.append(Curve(name, found, metric.chance))
    return curves[:MAX_CURVES]


def _subjects(result: EvaluationFile) -> SubjectTable | None:
    labels = sorted({label for metric in result.metrics for label in metric.per_subject})
    if len(labels) < 2:
        return None
    return SubjectTable(
        columns=[str(metric.spec.get("title") or metric.id) for metric in result.metrics],
        rows=[
            (f"sub-{label}", [number(metric.per_subject.get(label)) for metric in result.metrics])
            for label in labels
        ],
    )


def _absent(result: EvaluationFile) -> list[tuple[str, str]]:
    controls = [
        (control_words(one.name), one.reason_absent) for one in result.controls if one.reason_absent
    ]
    return [*((metric.id, metric.reason) for metric in result.absent), *controls]


def _audit(result: EvaluationFile, *, stimuli: bool) -> list[tuple[str, str]]:
    """Return counts and shares; what names pictures stays out without stimuli."""
    rows = []
    if result.n_seen_in_training is not None:
        found = f"{result.n_seen_in_training} of {len(result.items)}"
        rows.append(("Items whose picture was in training", found))
    for key, value in (result.audit or {}).items():
        if key == "line":
            rows.insert(0, ("In short", str(value).removeprefix("overlap: ")))
        elif isinstance(value, (int, float)) or (isinstance(value, str) and stimuli):
            words = f"{value:,}" if isinstance(value, int) else f"{value}"
            rows.append((key.removeprefix("n_").replace("_", " ").capitalize(), words))
    return rows


def _brain(result: EvaluationFile, named: str | None) -> tuple[BrainMap | None, str]:
    if result.model is None or result.model_hash is None or not result.protocol.subjects:
        return None, ""
    subject = result.protocol.subjects[0]
    return brain_map_of(result.config, result.model, result.model_hash, subject, named=named)


def _protocol(result: EvaluationFile) -> list[tuple[str, str]]:
    protocol = result.protocol
    rows = [
        ("Compared with", f"{protocol.truth}, split {protocol.split} ({protocol.truth_hash})"),
        ("Pictures that were scored", f"{protocol.n_pictures:,} ({protocol.pictures_hash})"),
        ("Size", protocol.size_rule),
        ("Repetitions", protocol.averaging),
    ]
    if protocol.training is None:
        return [*rows, ("Training", "not known: these predictions came without a protocol")]
    return [*rows, *protocol_rows(protocol.training)]


def _provenance(result: EvaluationFile, *, stimuli: bool) -> list[tuple[str, str]]:
    model = f"{result.model} ({result.model_hash})" if result.model else "not known"
    return [
        ("Model", model),
        ("Settings", settings_words(result.config, stimuli=stimuli)),
        ("Seeds", ", ".join(f"{name} {seed}" for name, seed in result.seeds.items())),
        ("Started", result.started),
        ("Versions", versions_words(result.versions)),
        ("Page", f"phosphene {phosphene.__version__}"),
    ]
