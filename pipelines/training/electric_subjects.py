"""Retrieval within subjects, of all together, and of subjects that training never had.

One command trains as often as the scheme asks for and writes a table per subject: ``within`` a
network for each, ``joint`` one for all, ``loso`` one for each from all the others. What a subject's
result may be called depends on what was looked at; every row says it.
"""

from __future__ import annotations

import time
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeInt

from phosphene.checkpoints.registry import model_folder
from phosphene.config import Config
from phosphene.data.alignment import DEFAULT_TRIALS
from phosphene.data.canonical import CanonicalDataset
from phosphene.encoders.brain.electric import ELECTRIC_ENCODERS
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import UsageError, check_option
from phosphene.names import check_subject
from phosphene.pipelines.training.brain_materials import held_out_pictures
from phosphene.pipelines.training.electric_decoder import read_subjects
from phosphene.pipelines.training.electric_network import ElectricNetwork
from phosphene.pipelines.training.materials import (
    cached_targets,
    load_target,
    refuse_seen_by_target,
)
from phosphene.pipelines.training.subject_decoders import SubjectDecoder, fit_network, fit_ridge
from phosphene.pipelines.training.subject_scores import subject_rows
from phosphene.pipelines.training.subject_table import summarise, with_intervals
from phosphene.progress import progress
from phosphene.storage import read_json, write_json, write_text
from phosphene.workfolder import WorkFolder

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SubjectsConfig", "compare_subjects"]

TABLE, SUMMARY, SETTINGS = "subjects.tsv", "summary.tsv", "settings.json"


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
            work = done.with_suffix("")
            decoder, cost = _trained(dataset, target, train, config, name, seed, work)
            rmtree(work, ignore_errors=True)
            found = [
                {"scheme": config.scheme, "encoder": name, "seed": seed, "subject": label, **row}
                | cost
                for label in test
                for row in subject_rows(
                    decoder, dataset, label, tests[label], gallery,
                    variants=_variants(config), repetitions=config.repetitions,
                    calibration=config.calibration,
                )
            ]  # fmt: skip
            write_json(done, found)
        rows += read_json(done)
    for path in folder.glob("rows-*"):
        path.unlink()
    return rows


def _trained(
    dataset: CanonicalDataset,
    target: StimulusEncoder,
    subjects: list[str],
    config: SubjectsConfig,
    name: str,
    seed: int,
    folder: Path,
) -> tuple[SubjectDecoder, dict[str, float]]:
    """Train one encoder on some subjects; return it and what it took."""
    held_out = held_out_pictures(dataset, subjects, (), seed)
    recordings = read_subjects(dataset, subjects, held_out)
    names = sorted({n for one in recordings.values() for n in one.trials["stimulus_id"]})
    values = cached_targets(dataset, target, names)
    begun, busy = time.perf_counter(), time.process_time()
    network = config.network.model_copy(update={"encoder": name})
    if name == "ridge":
        count = config.retrieval_components
        decoder = fit_ridge(recordings, values, names, network, components=count)
    else:
        decoder = fit_network(recordings, values, names, network, seed=seed, folder=folder)
    return decoder, {
        "parameters": decoder.parameters,
        "seconds": round(time.perf_counter() - begun, 3),
        "processor_seconds": round(time.process_time() - busy, 3),
    }


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
