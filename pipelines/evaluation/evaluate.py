"""``phosphene evaluate`` from start to end: match, score beside controls, write."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from phosphene.data.pictures import picture_hash
from phosphene.errors import UsageError
from phosphene.pipelines.evaluation.assemble import (
    INTERVAL_RULE,
    assemble_curve,
    assemble_metrics,
    fewer_name,
)
from phosphene.pipelines.evaluation.background import Background, background_of
from phosphene.pipelines.evaluation.clips import clip_evaluation, is_of_clips
from phosphene.pipelines.evaluation.config import EvaluateConfig, check_config
from phosphene.pipelines.evaluation.embedded import score_retrieval
from phosphene.pipelines.evaluation.predictions import (
    Item,
    Predictions,
    match_items,
    read_predictions,
)
from phosphene.pipelines.evaluation.reading import PairReader
from phosphene.pipelines.evaluation.records import (
    evaluation_versions,
    item_record,
    protocol_record,
)
from phosphene.pipelines.evaluation.results import load_evaluation, write_evaluation
from phosphene.pipelines.evaluation.rivals import (
    Rival,
    absent_controls,
    class_means_of_training,
    constant_rival,
    file_rival,
    grey_rival,
)
from phosphene.pipelines.evaluation.scoring import Scorer, SubjectScores
from phosphene.pipelines.evaluation.shown import Shown, read_categories, read_shown
from phosphene.pipelines.evaluation.suites import create_suite, suite_metrics
from phosphene.pipelines.reconstructor import _choose_device
from phosphene.schemas import (
    AbsentMetric,
    EvaluatedMetric,
    EvaluationControl,
    EvaluationFile,
    RepetitionScores,
)
from phosphene.storage import check_new_folder, new_folder

__all__ = ["EvaluateConfig", "evaluate", "evaluate_predictions"]


def evaluate(config: EvaluateConfig) -> tuple[Path, EvaluationFile]:
    """Score a folder of pictures, or decode a dataset with a model and score that.

    Returns
    -------
    path : Path
        Of ``evaluation.json``.
    result : EvaluationFile

    Raises
    ------
    UsageError
        If neither or both of predictions and model are given, or a number is out of range.
    InputError
        If predictions and truth do not fit together.
    """
    check_config(config)
    names = suite_metrics(config.suite, config.metrics)
    clips = is_of_clips(names)
    if clips and config.model is not None:
        raise UsageError(
            "metrics of clips for a model of pictures",
            expected="--predictions with a folder of clips, and --truth",
            remedy="choose a suite of pictures",
        )
    target = check_new_folder(config.output)
    with new_folder(target) as building:
        if clips:
            path = write_evaluation(building, clip_evaluation(config, names, building))
            return target / path.name, load_evaluation(path)
        if config.model is not None:
            from phosphene.pipelines.evaluation.end_to_end import decode_dataset

            predictions, shown, background = decode_dataset(config, building)
        else:
            shown, predictions = _given(config)
            background = background_of(predictions, shown, config)
        with TemporaryDirectory(dir=building) as features:
            result = evaluate_predictions(
                config, predictions, shown, background, cache=config.cache or features
            )
        path = write_evaluation(building, result)
    return target / path.name, result


def _given(config: EvaluateConfig) -> tuple[Shown, Predictions]:
    """Read what was shown and what was predicted, where both are folders."""
    source = config.truth or config.dataset
    if source is not None:
        shown = read_shown(source, split=config.split, subjects=config.subjects)
        return shown, read_predictions(str(config.predictions), known=shown.files)
    predictions = read_predictions(str(config.predictions))
    lacking = [
        item.key for item in predictions.items if item.picture not in predictions.stored_truth
    ]
    if lacking:
        raise UsageError(
            f"{predictions.root} does not say what was shown for {len(lacking)} of "
            f"{len(predictions.items)} items",
            expected="--truth with a folder of pictures named by identifier, or a dataset",
            remedy="add --truth; outputs of `reconstruct --truth` hold what was shown",
        )
    return Shown(
        f"{predictions.root.name}/stimuli", predictions.stored_truth, "stored"
    ), predictions


def evaluate_predictions(
    config: EvaluateConfig,
    predictions: Predictions,
    shown: Shown,
    background: Background,
    *,
    cache: str | None = None,
) -> EvaluationFile:
    """Score predictions against what was shown, beside every control there is.

    Parameters
    ----------
    config : EvaluateConfig
    predictions : Predictions
    shown : Shown
    background : Background
        What is known of how the predictions came about, and which rivals that gives.
    cache : str, optional
        Folder where features of shown pictures are kept.
    """
    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    items, n_missing = match_items(
        predictions, shown.files, truth_name=shown.name, allow_missing=config.allow_missing
    )
    categories = None if config.category is None else read_categories(config.category, shown)
    if categories is not None:
        items = [replace(item, category=categories[item.picture]) for item in items]
    reader = PairReader(items, shown.files, size=config.size)
    rivals = _rivals(reader, background, predictions.root, categories)
    found, absent, curve = _scores(
        config, reader, rivals, background, predictions.root, categories, cache
    )
    names = sorted({item.picture for item in items})
    hashes = {name: picture_hash(reader.shown_as_stored(name)) for name in names}
    return EvaluationFile(
        name=config.name or background.name,
        predictions="predictions" if config.model is not None else str(config.predictions),
        suite="chosen metrics" if config.metrics else config.suite,
        config=config.model_dump(mode="json", exclude={"output"}),
        model=background.model,
        model_hash=background.model_hash,
        protocol=protocol_record(items, shown, background, hashes, n_missing, reader.size_rule),
        items=[item_record(item, hashes, predictions.root) for item in items],
        metrics=found,
        absent=absent,
        controls=_controls(rivals, found, background, curve, categories is not None),
        audit=background.audit,
        n_seen_in_training=background.count_seen(items, hashes),
        repetition_curve=curve,
        noise_ceiling=background.noise_ceiling,
        seeds={"seed": config.seed, "bootstrap": 0},
        interval_rule=INTERVAL_RULE,
        versions=evaluation_versions(),
        started=started,
    )


def _scores(
    config: EvaluateConfig,
    reader: PairReader,
    rivals: Sequence[Rival],
    background: Background,
    root: Path,
    categories: Mapping[str, str] | None,
    cache: str | None,
) -> tuple[list[EvaluatedMetric], list[AbsentMetric], list[RepetitionScores]]:
    """Return the suite's metrics, those that are absent, and the curve over repetitions."""
    order, items = suite_metrics(config.suite, config.metrics), reader.items
    metrics, absent = create_suite(
        order,
        network=config.network,
        cache=cache,
        device=_choose_device(config.device),
        embeddings=bool(background.keys),
    )
    searches = {name: one for name, one in metrics.items() if one.spec.kind == "retrieval"}
    scorer = Scorer(
        reader,
        {name: one for name, one in metrics.items() if name not in searches},
        rivals,
        categories=categories,
        batch_size=config.batch_size,
        n_permutations=config.n_permutations,
        seed=config.seed,
    )
    scores = _by_subject(scorer, items)
    if searches:
        _add_retrieval(scores, searches, items, root, background, config)
    pictures = [item.picture for item in items]
    found, failed = assemble_metrics(scores, pictures, [name for name in order if name in metrics])
    curve = assemble_curve(scores, pictures, list(background.fewer), found, _trials(items))
    reasons = {one.id: one for one in (*absent, *failed)}
    return found, [reasons[name] for name in order if name in reasons], curve


def _rivals(
    reader: PairReader, background: Background, root: Path, categories: Mapping[str, str] | None
) -> list[Rival]:
    rivals = [grey_rival(reader)]
    if (mean := background.mean_picture(reader)) is not None:
        rivals.append(constant_rival("mean_picture", mean, reader))
    reason: Rival | str = "categories are not known: give --category"
    if categories is not None:
        reason = "training pictures are not known: give a dataset that has a training split"
        if background.dataset is not None:
            reason = class_means_of_training(background.dataset, reader, categories)
    if isinstance(reason, Rival):
        rivals.append(reason)
    else:
        background.reasons["class_mean_picture"] = reason
    files = dict(background.rivals)
    files |= {fewer_name(count): own for count, own in background.fewer.items()}
    return rivals + [file_rival(name, own, reader, root) for name, own in files.items()]


def _by_subject(scorer: Scorer, items: Sequence[Item]) -> dict[str | None, SubjectScores]:
    rows: dict[str | None, list[int]] = defaultdict(list)
    for row, item in enumerate(items):
        rows[item.subject].append(row)
    several = len(rows) > 1
    return {
        label: scorer.score(own, label=f"subject {label}: " if several else "")
        for label, own in rows.items()
    }


def _add_retrieval(
    scores: Mapping[str | None, SubjectScores],
    searches: Mapping[str, Any],
    items: Sequence[Item],
    root: Path,
    background: Background,
    config: EvaluateConfig,
) -> None:
    """Search embeddings of each subject alone, and add what that scores."""
    for one in scores.values():
        own = [items[row] for row in one.rows]
        known = [background.keys[item.files[0].relative_to(root).as_posix()] for item in own]
        names = [name for name in known[0] if all(name in each for each in known)]
        score_retrieval(
            one,
            searches,
            {name: np.stack([each[name] for each in known]) for name in names},
            [item.picture for item in own],
            n_permutations=config.n_permutations,
            seed=config.seed,
        )


def _trials(items: Sequence[Item]) -> int | None:
    """Return how many trials went into each item, where it is the same for all."""
    counts = {len(item.source_trials) for item in items}
    return counts.pop() if len(counts) == 1 else None


def _controls(
    rivals: Sequence[Rival],
    metrics: Sequence[EvaluatedMetric],
    background: Background,
    curve: Sequence[RepetitionScores],
    categories: bool,
) -> list[EvaluationControl]:
    present = [rival.name for rival in rivals]
    if any(metric.permuted.mean is not None for metric in metrics):
        present.append("permuted")
    if any(metric.within_category is not None for metric in metrics):
        present.append("within_category")
    if curve:
        present.append("repetition_curve")
    if background.noise_ceiling:
        present.append("noise_ceiling")
    reasons = dict(background.reasons)
    reasons["permuted"] = "fewer than two pictures: there is no wrong pairing"
    reasons["within_category"] = (
        "no two pictures of one category, or no metric that identifies"
        if categories
        else "categories are not known: give --category"
    )
    return absent_controls(present, reasons, otherwise="needs a model: give --model and --dataset")
