"""``phosphene evaluate`` from start to end: match, score beside controls, write."""

from __future__ import annotations

import datetime
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from phosphene.data.pictures import picture_hash
from phosphene.errors import PhospheneError, UsageError
from phosphene.pipelines.devices import choose_device
from phosphene.pipelines.evaluation.assemble import (
    INTERVAL_RULE,
    assemble_curve,
    assemble_metrics,
    fewer_name,
)
from phosphene.pipelines.evaluation.background import Background, background_of
from phosphene.pipelines.evaluation.captions import caption_evaluation
from phosphene.pipelines.evaluation.clips import clip_evaluation
from phosphene.pipelines.evaluation.config import EvaluateConfig, check_config
from phosphene.pipelines.evaluation.embedded import score_retrieval
from phosphene.pipelines.evaluation.ideal import ideal_of_simulations, with_ideal
from phosphene.pipelines.evaluation.predictions import (
    Item,
    Predictions,
    match_items,
    read_predictions,
)
from phosphene.pipelines.evaluation.reading import PairReader
from phosphene.pipelines.evaluation.records import evaluation_record, item_record, protocol_record
from phosphene.pipelines.evaluation.results import (
    EVALUATION_NAME,
    load_evaluation,
    write_evaluation,
)
from phosphene.pipelines.evaluation.rivals import (
    Rival,
    absent_controls,
    class_means_of_training,
    constant_rival,
    file_rival,
    grey_rival,
)
from phosphene.pipelines.evaluation.scoring import Scorer, SubjectScores
from phosphene.pipelines.evaluation.shown import (
    Shown,
    find_categories,
    read_categories,
    read_shown,
)
from phosphene.pipelines.evaluation.suites import create_suite, suite_metrics, what_is_scored
from phosphene.schemas import (
    AbsentMetric,
    EvaluatedMetric,
    EvaluationControl,
    EvaluationFile,
    RepetitionScores,
)
from phosphene.storage import check_new_folder, new_folder
from phosphene.workfolder import WorkFolder

__all__ = ["EvaluateConfig", "evaluate", "evaluate_model", "evaluate_predictions"]

FEATURES = "features-"


def evaluate(config: EvaluateConfig, *, resume: bool = False) -> tuple[Path, EvaluationFile]:
    """Score a folder of pictures, or decode a dataset with a model and score that.

    Parameters
    ----------
    config : EvaluateConfig
    resume : bool
        Go on with an interrupted run of the same configuration: pictures that were decoded are
        kept. Scoring starts anew.

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
    kind = what_is_scored(names)
    if config.model is not None:
        if kind != "pictures":
            raise UsageError(
                f"metrics of {kind} for a model of pictures",
                expected=f"--predictions with {kind}, and --truth",
                remedy="choose a suite of pictures",
            )
        return evaluate_model(config, resume=resume)
    if resume:
        raise UsageError(
            "--resume without --model",
            expected="--resume for pictures that are decoded here",
            remedy="leave it away: pictures of a folder are scored anew",
        )
    target = check_new_folder(config.output)
    with new_folder(target) as building:
        if kind == "clips":
            path = write_evaluation(building, clip_evaluation(config, names, building))
        elif kind == "captions":
            path = write_evaluation(building, caption_evaluation(config, names))
        else:
            shown, predictions = _given(config)
            background = background_of(predictions, shown, config)
            path = _scored(config, building, predictions, shown, background)
    return target / path.name, load_evaluation(target)


def evaluate_model(config: EvaluateConfig, *, resume: bool = False) -> tuple[Path, EvaluationFile]:
    """Decode a dataset with a model and score that, see :func:`evaluate`."""
    from phosphene.pipelines.evaluation.end_to_end import SETTINGS_NAME, decode_dataset

    work = WorkFolder.open(config.output, last=EVALUATION_NAME, resume=resume)
    if not work.finished:
        for stale in work.partial.glob(f"{FEATURES}*"):  # killed while scoring
            shutil.rmtree(stale)
        try:
            predictions, shown, background = decode_dataset(config, work.partial)
            _scored(config, work.partial, predictions, shown, background)
        except PhospheneError:
            if not any(work.partial.rglob("*.png")):  # nothing is lost
                shutil.rmtree(work.partial)
                with suppress(OSError):
                    work.root.rmdir()
            raise
        (work.partial / SETTINGS_NAME).unlink()
        work.finish()
    return work.root / EVALUATION_NAME, load_evaluation(work.root)


def _scored(
    config: EvaluateConfig,
    folder: Path,
    predictions: Predictions,
    shown: Shown,
    background: Background,
) -> Path:
    with TemporaryDirectory(dir=folder, prefix=FEATURES) as features:
        result = evaluate_predictions(
            config, predictions, shown, background, cache=config.cache or features
        )
    return write_evaluation(folder, result)


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
    categories: dict[str, str] | None = None
    if config.category is not None:
        categories = read_categories(config.category, shown)
    else:
        told = find_categories(shown, {item.picture: item.category for item in items})
        if isinstance(told, str):
            background.reasons["within_category"] = told
        else:
            categories = told
    if categories is not None:
        items = [replace(item, category=categories[item.picture]) for item in items]
    reader = PairReader(items, shown.files, size=config.size)
    rivals = _rivals(reader, background, predictions.root, categories)
    found, absent, curve = _scores(
        config, reader, rivals, background, predictions.root, categories, cache
    )
    ideal = ideal_of_simulations(config.simulations, items)
    if isinstance(ideal, str):
        background.reasons["share_of_ideal"] = ideal
    else:
        found = with_ideal(found, ideal)
    names = sorted({item.picture for item in items})
    hashes = {name: picture_hash(reader.shown_as_stored(name)) for name in names}
    return evaluation_record(
        config,
        background,
        protocol=protocol_record(items, shown, background, hashes, n_missing, reader.size_rule),
        items=[item_record(item, hashes, predictions.root) for item in items],
        metrics=found,
        absent=absent,
        controls=_controls(rivals, found, background, curve, categories is not None),
        n_seen_in_training=background.count_seen(items, hashes),
        repetition_curve=curve,
        interval_rule=INTERVAL_RULE,
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
        device=choose_device(config.device),
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
    reason: Rival | str = background.reasons.get("within_category", "")
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
    if any(metric.across_subjects is not None for metric in metrics):
        present.append("across_subjects")
    if any(metric.share_of_ideal is not None for metric in metrics):
        present.append("share_of_ideal")
    reasons = {
        "across_subjects": "one subject, or nobody says whose: nothing is said about others",
        "share_of_ideal": "no metric that identifies, or the ideal observer is at chance",
        **background.reasons,
    }
    reasons["permuted"] = "fewer than two pictures: there is no wrong pairing"
    if categories:
        reasons["within_category"] = "no two pictures of one category, or no metric that identifies"
    return absent_controls(present, reasons, otherwise="needs a model: give --model and --dataset")
