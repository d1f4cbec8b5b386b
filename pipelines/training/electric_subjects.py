"""Retrieval within subjects, of all together, and of subjects that training never had.

One command trains as often as the scheme asks for and writes a table per subject: ``within`` a
network for each, ``joint`` one for all, ``loso`` one for each from all the others. What a subject's
result may be called depends on what was looked at; every row says it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from pydantic import NonNegativeInt
from torch import Tensor

from phosphene.checkpoints.registry import model_folder
from phosphene.config import Config
from phosphene.data.alignment import DEFAULT_TRIALS, calibration_rows
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.sensor_preprocessing import SensorPreprocessor
from phosphene.encoders.brain.electric import ELECTRIC_ENCODERS
from phosphene.encoders.brain.electric.base import count_parameters
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.errors import InputError, UsageError, check_option
from phosphene.names import check_subject
from phosphene.pipelines.label_free import calibrate
from phosphene.pipelines.training.brain_materials import held_out_pictures
from phosphene.pipelines.training.electric_decoder import read_subjects
from phosphene.pipelines.training.electric_network import ElectricNetwork, train_heads
from phosphene.pipelines.training.materials import (
    cached_targets,
    load_target,
    refuse_seen_by_target,
)
from phosphene.pipelines.training.subject_table import BY_PICTURE, SCORES, summarise, with_intervals
from phosphene.priors.retrieval import RetrievalProjector
from phosphene.progress import progress
from phosphene.storage import read_json, write_json, write_text
from phosphene.types import Recording
from phosphene.workfolder import WorkFolder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SubjectsConfig", "compare_subjects"]

TABLE, SUMMARY, SETTINGS = "subjects.tsv", "summary.tsv", "settings.json"
MOST_GROUPS = 8  # of repetitions that are averaged, each a result of its own
POOLED = "pooled"  # label of a ridge of several subjects
RANK = 5


class SubjectsConfig(Config):
    """Settings of ``phosphene train subjects``.

    ``repetitions`` are the numbers of test trials that are averaged. Each step of calibration is
    tried by itself, and those that a block allows all together. ``calibration`` is the number of
    unlabelled trials they learn from; 0 takes the test itself, which is transductive.
    """

    dataset: str
    output: str
    scheme: Literal["within", "joint", "loso"] = "within"
    encoders: tuple[str, ...] = ("flat_mlp",)
    subjects: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    base: str = "virtual-fmri"
    target: str | None = None
    network: ElectricNetwork = ElectricNetwork()
    retrieval_components: int = 256
    repetitions: tuple[int, ...] = (1, 5, 20, 80)
    alignment: bool = False
    whitening: bool = False
    csls: bool = False
    adaptive: bool = False
    procrustes: bool = False
    calibration: NonNegativeInt = DEFAULT_TRIALS


@dataclass(frozen=True, eq=False)
class _Decoder:
    """What a training leaves: how trials and pictures get into one space, and its size."""

    preprocessor: SensorPreprocessor
    encode: Callable[[Recording], Tensor]
    keys: Callable[[Tensor], Tensor]
    parameters: int


def compare_subjects(
    config: SubjectsConfig, *, resume: bool = False
) -> tuple[Path, pd.DataFrame, pd.DataFrame]:
    """Train by the scheme for every encoder and seed; return folder, table and summary.

    Returns
    -------
    folder : Path
    table : DataFrame
        One row per encoder, seed, subject, number of repetitions and calibration: scores with
        95 % intervals over pictures, learned numbers of the encoder, and what its training took
        (``seconds`` by the clock, ``processor_seconds``), preprocessing included.
    summary : DataFrame
        Means over subjects with intervals; see :func:`.subject_table.summarise`.
    """
    import pandas as pd

    for name in config.encoders:
        check_option("encoder", name, ("ridge", *ELECTRIC_ENCODERS.names()))
    dataset = CanonicalDataset.open(config.dataset)
    subjects = [check_subject(label) for label in config.subjects or sorted(dataset.file.subjects)]
    for subject in subjects:
        dataset.check_subject(subject)
    if config.scheme == "loso" and len(subjects) < 2:
        raise UsageError(
            f"leave one subject out of {len(subjects)}",
            expected="two subjects or more",
            remedy="name more with --subject, or take --scheme within",
        )
    settings = config.model_dump(mode="json", exclude={"output"})
    work = WorkFolder.open(config.output, last=TABLE, resume=resume)
    if not work.finished:
        path = work.partial / SETTINGS
        if work.resumed and path.is_file() and read_json(path) != settings:
            raise UsageError(
                f"the comparison in {work.root} was begun with other settings",
                expected="the same settings as before",
                remedy="repeat the first command with --resume, or choose another --output",
            )
        write_json(path, settings)
        rows = _all_rows(dataset, subjects, config, work.partial)
        table = pd.DataFrame(rows)
        write_text(work.partial / SUMMARY, summarise(table).to_csv(sep="\t", index=False))
        write_text(work.partial / TABLE, with_intervals(table).to_csv(sep="\t", index=False))
        work.finish()
    table, summary = (
        pd.read_csv(
            work.root / name, sep="\t", dtype={"subject": str}, keep_default_na=False,
            na_values=[""],
        )
        for name in (TABLE, SUMMARY)
    )  # fmt: skip
    return work.root, table, summary


def _all_rows(
    dataset: CanonicalDataset, subjects: list[str], config: SubjectsConfig, folder: Path
) -> list[dict[str, Any]]:
    """Train and test fold by fold; what is done already is read."""
    from shutil import rmtree

    folds = {
        "within": [([one], [one]) for one in subjects],
        "joint": [(subjects, subjects)],
        "loso": [([s for s in subjects if s != one], [one]) for one in subjects],
    }[config.scheme]
    target = load_target(config.target or str(model_folder(config.base) / "target"))
    refuse_seen_by_target(dataset, target, config.target or config.base)
    tests = {label: dataset.recording(label, splits=["test"]) for label in subjects}
    shown = sorted({n for one in tests.values() for n in one.trials["stimulus_id"]})
    gallery = (shown, target.encode(dataset.pictures(shown)).flatten(1))
    jobs = [
        (name, seed, fold) for name in config.encoders for seed in config.seeds for fold in folds
    ]
    rows: list[dict[str, Any]] = []
    for name, seed, (train, test) in progress(jobs, label="trainings", total=len(jobs)):
        done = folder / f"rows-{name}-{seed}-{'-'.join(test) if len(test) == 1 else 'all'}.json"
        if not done.is_file():
            held_out = held_out_pictures(dataset, train, (), seed)
            recordings = read_subjects(dataset, train, held_out)
            names = sorted({n for one in recordings.values() for n in one.trials["stimulus_id"]})
            values = cached_targets(dataset, target, names)
            work, begun, busy = done.with_suffix(""), time.perf_counter(), time.process_time()
            decoder = (
                _ridge(recordings, values, names, config)
                if name == "ridge"
                else _network(recordings, values, names, config, name, seed, work)
            )
            rmtree(work, ignore_errors=True)
            cost = {
                "parameters": decoder.parameters,
                "seconds": round(time.perf_counter() - begun, 3),
                "processor_seconds": round(time.process_time() - busy, 3),
            }
            found = [
                {"scheme": config.scheme, "encoder": name, "seed": seed, "subject": label, **row}
                | cost
                for label in test
                for row in _test(decoder, dataset, label, tests[label], gallery, config)
            ]
            write_json(done, found)
        rows += read_json(done)
    for path in folder.glob("rows-*"):
        path.unlink()
    return rows


def _network(
    recordings: dict[str, Recording],
    values: Tensor,
    names: list[str],
    config: SubjectsConfig,
    encoder: str,
    seed: int,
    folder: Path,
) -> _Decoder:
    part = "pooled" if values.ndim == 2 else "tokens"
    trained = train_heads(
        recordings, {part: values}, names,
        config.network.model_copy(update={"encoder": encoder}), seed=seed, folder=folder,
    )  # fmt: skip
    heads = trained.heads
    mean, weights = heads.search_matrix()

    def encode(recording: Recording) -> Tensor:
        found = heads.encode(recording).retrieval
        assert found is not None
        return found

    return _Decoder(
        trained.preprocessor, encode, lambda shown: (shown - mean) @ weights,
        count_parameters(heads.backbone),
    )  # fmt: skip


def _ridge(
    recordings: dict[str, Recording], values: Tensor, names: list[str], config: SubjectsConfig
) -> _Decoder:
    """Fit one ridge on the pictures of all subjects, each averaged and whitened by itself."""
    import pandas as pd

    network = config.network.model_copy(update={"encoder": "ridge"})
    preprocessor = network.preprocessor()
    prepared = []
    for recording in recordings.values():
        preprocessor.fit(recording.select((recording.trials["split"] == "train").to_numpy()))
        prepared.append(preprocessor.transform(recording.average("stimulus_id")))
    together = replace(
        prepared[0],
        subject=POOLED,
        data=np.concatenate([one.data for one in prepared]),
        trials=pd.concat([one.trials for one in prepared], ignore_index=True),
    )
    numbers = {name: row for row, name in enumerate(names)}
    truth = values[[numbers[name] for name in together.trials["stimulus_id"]]]
    encoder = RidgeEncoder()
    encoder.fit(together, truth, keep_left_out=True)
    predicted = encoder.left_out(POOLED).main
    size = truth[0].numel()
    count = min(config.retrieval_components, size, len(truth) // 2)
    projector = RetrievalProjector(size, count).fit(predicted, truth)

    def encode(recording: Recording) -> Tensor:
        return projector.project(encoder.encode(replace(recording, subject=POOLED)).main)

    learned = int(np.prod(together.data.shape[1:]) + 1) * size
    return _Decoder(preprocessor, encode, projector.project, learned)


def _variants(config: SubjectsConfig) -> dict[str, tuple[str, ...]]:
    """Return what is tried: nothing, each step, and all that a block allows together."""
    steps = [
        name
        for name in ("alignment", "whitening", "csls", "adaptive", "procrustes")
        if getattr(config, name)
    ]
    found: dict[str, tuple[str, ...]] = {"none": (), **{name: (name,) for name in steps}}
    together = tuple(name for name in steps if name != "procrustes")
    if len(together) > 1:
        found["+".join(together)] = together
    return found


def _test(
    decoder: _Decoder,
    dataset: CanonicalDataset,
    label: str,
    test: Recording,
    gallery: tuple[list[str], Tensor],
    config: SubjectsConfig,
) -> list[dict[str, Any]]:
    """Return the rows of one subject."""
    shown, targets = gallery
    variants, keys, block = _variants(config), decoder.keys(targets), None
    if config.calibration and len(variants) > 1:
        whole = dataset.recording(label)
        block = whole.select(calibration_rows(whole, config.calibration))
    groups = {count: _groups(test, count) for count in config.repetitions}
    # Preprocessing is linear: a mean is prepared as its trials would be, and only once.
    encoded = {
        aligned: _encoded(decoder, test, groups, block, aligned=aligned)
        for aligned in sorted({"alignment" in steps for steps in variants.values()})
    }
    rows = []
    for variant, steps in variants.items():
        embedded, others = encoded["alignment" in steps]
        source = block if "procrustes" not in steps else None
        for count, found in groups.items():
            scores = [
                _scores(z, items, shown, keys, steps, None if source is None else others)
                for z, items in zip(embedded[count], found, strict=True)
            ]
            if not scores:
                continue
            setting = "none" if not steps else scores[0][1]
            if "alignment" in steps and setting == "none":
                trials = "" if source is None else f" ({len(source)} trials)"
                setting = f"inductive{trials}" if source is not None else "transductive"
            rows.append(_row(variant, setting, count, [one for one, _ in scores], found, shown))
    return rows


def _encoded(
    decoder: _Decoder,
    test: Recording,
    groups: dict[int, list[Recording]],
    block: Recording | None,
    *,
    aligned: bool,
) -> tuple[dict[int, list[Tensor]], Tensor | None]:
    """Return embeddings of every group and of the block."""
    preprocessor = decoder.preprocessor
    if aligned:
        preprocessor = preprocessor.adapted(test if block is None else block)

    def encode(recording: Recording) -> Tensor:
        return decoder.encode(preprocessor.transform(recording))

    found = {count: [encode(one) for one in parts] for count, parts in groups.items()}
    return found, None if block is None else encode(block)


def _row(
    variant: str,
    setting: str,
    count: int,
    scores: list[np.ndarray[Any, Any]],
    groups: list[Recording],
    shown: list[str],
) -> dict[str, Any]:
    """Return one row: means over groups, then over pictures, and the scores of each picture."""
    orders = [np.argsort(one.trials["stimulus_id"].to_numpy()) for one in groups]
    found = np.mean([s[:, order] for s, order in zip(scores, orders, strict=True)], axis=0)
    names = sorted(groups[0].trials["stimulus_id"])
    return {
        "calibration": variant,
        "setting": setting,
        "repetitions": count,
        **{score: float(values.mean()) for score, values in zip(SCORES, found, strict=True)},
        "pictures": found.shape[1],
        "pool": len(shown),
        "chance_top1": 1 / len(shown),
        "chance_top5": RANK / len(shown),
        BY_PICTURE: dict(zip(names, found.T.round(6).tolist(), strict=True)),
    }


def _groups(test: Recording, count: int) -> list[Recording]:
    """Return averages of so many repetitions of every picture, from disjoint trials."""
    trials = test.trials
    order = trials.groupby("stimulus_id").cumcount().to_numpy()
    least = int(trials.groupby("stimulus_id").size().min())
    found = []
    for number in range(min(least // count, MOST_GROUPS)):
        inside = (order >= number * count) & (order < (number + 1) * count)
        found.append(test.select(inside).average("stimulus_id"))
    return found


def _scores(
    embedded: Tensor,
    items: Recording,
    shown: list[str],
    keys: Tensor,
    steps: tuple[str, ...],
    block: Tensor | None,
) -> tuple[np.ndarray[Any, Any], str]:
    """Return top-1, top-5 and two-way identification of each item (3, n), and the setting."""
    places = {name: row for row, name in enumerate(shown)}
    own = torch.tensor([places[name] for name in items.trials["stimulus_id"]])
    known = [s for s in ("whitening", "csls", "procrustes") if s in steps]
    if "adaptive" in steps and "csls" not in known:
        known.append("csls")
    calibrated = calibrate(
        embedded,
        keys,
        steps=tuple(known),
        block=block if known else None,
        neighbours="adaptive" if "adaptive" in steps else 12,
    )
    scores = calibrated.scores
    mine = scores.gather(1, own[:, None])
    better = (scores > mine).sum(dim=1).double()
    ties = (scores == mine).sum(dim=1).double() - 1
    rank = better + ties / 2
    if len(shown) < 2:
        raise InputError(f"{len(shown)} test picture", expected="two or more to tell apart")
    # Ties count as the share of orders in which the own picture is among the first.
    first = ((1 - better) / (1 + ties)).clamp(0, 1)
    fifth = ((RANK - better) / (1 + ties)).clamp(0, 1)
    two_way = 1 - rank / (len(shown) - 1)
    return torch.stack([first, fifth, two_way]).numpy(), calibrated.setting
