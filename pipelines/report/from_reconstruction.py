"""What a report says of one run of `reconstruct`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import phosphene
from phosphene.pipelines.report.brain_map import brain_map_of
from phosphene.pipelines.report.content import (
    WRONG_PAIRING,
    Content,
    Measure,
    Retrieved,
    Within,
    metric_words,
)
from phosphene.pipelines.report.ranking import Ranking, rank_items
from phosphene.schemas import MetricsFile, Protocol, RunFile
from phosphene.trials import UNKNOWN
from phosphene.types import VoxelSpace

if TYPE_CHECKING:
    from phosphene.pipelines.reconstruction import Reconstruction

__all__ = [
    "content_of_reconstruction",
    "is_virtual",
    "protocol_rows",
    "settings_words",
    "versions_words",
]

OF_SHOWN = ("truth", "trials")  # settings that name what was shown


def content_of_reconstruction(
    result: Reconstruction,
    *,
    stimuli: bool = True,
    retrieved: Sequence[Retrieved] = (),
    model: str | None = None,
) -> Content:
    """Return what a report of the result says.

    Parameters
    ----------
    result : Reconstruction
    stimuli : bool
        False leaves out the shown pictures, their names, and pictures that a search found.
    retrieved : sequence of Retrieved
        What a search found for some of the items.
    model : str, optional
        Where the model lies, for the map of voxels; by default where the run found it.
    """
    run, metrics = result.provenance, result.metrics
    scores = {} if metrics is None else dict(metrics.per_item)
    virtual = is_virtual(run.model, run.protocol, run.config)
    subject = str(run.config.get("subject", ""))
    brain, brain_missing = brain_map_of(run.config, run.model, run.model_hash, subject, named=model)
    return Content(
        heading=f"Decoded from {'virtual ' if virtual else ''}sub-{subject or '?'}",
        lead=_lead(run),
        model=run.model,
        labels=_labels(result, stimuli),
        images=result.images,
        truth=result.truth if stimuli else None,
        ranking=None if metrics is None else _ranking(metrics),
        scores=scores,
        measures=[] if metrics is None else _measures(metrics),
        interval_rule="" if metrics is None else metrics.interval_rule,
        virtual=virtual,
        stimuli=stimuli,
        warnings=_warnings(result),
        audit=[] if metrics is None else _audit(result, metrics),
        retrieved=retrieved if stimuli else (),
        brain=brain,
        brain_missing=brain_missing,
        protocol=protocol_rows(run.protocol),
        provenance=_provenance_rows(run, stimuli=stimuli),
    )


def is_virtual(names: str, protocol: Protocol | None, config: Mapping[str, Any]) -> bool:
    """Return whether the recordings are simulated, by every trace that a run leaves of it.

    Names are looked at, the described source of the input, and the grid of the voxels, which
    is that of virtual subjects alone. A report that wrongly says virtual does less harm than one
    that passes a simulation off as people.

    Parameters
    ----------
    names : str
        Of the model and of whatever else has a name.
    protocol : Protocol, optional
    config : mapping
        Settings of the run.
    """
    said = [names]
    if protocol is not None:
        said.append(protocol.dataset)
        if _virtual_grid() in protocol.mask:
            return True
    source = config.get("input")
    description = Path(str(source)) / "dataset_description.json" if source else None
    if description is not None and description.is_file():
        # A damaged description says nothing; reading the recording will have told.
        said.append(description.read_text(encoding="utf-8", errors="replace"))
    return any(re.search(r"\bvirtual\b|\bsimulat", text, re.IGNORECASE) for text in said)


def _virtual_grid() -> str:
    """Return the grid of virtual subjects as a protocol words it."""
    from phosphene.data.virtual.anatomy import GRID_SHAPE, grid_affine

    space = VoxelSpace(GRID_SHAPE, np.arange(1), grid_affine())
    return space.describe().rpartition(", ")[0]


def _lead(run: RunFile) -> str:
    samples = "one sample" if run.n_samples == 1 else f"{run.n_samples} samples"
    items = "One item" if run.n_items == 1 else f"{run.n_items:,} items"
    each = " each" if run.n_items > 1 else ""
    averaging = run.protocol.averaging_test
    lead = f"{items}, {samples}{each}, decoded by {run.model} ({averaging})."
    blur = run.config.get("detail") or 0
    if blur:
        lead += f" Detail finer than {blur:g} pixels is borrowed from training pictures."
    return lead


def _labels(result: Reconstruction, stimuli: bool) -> list[str]:
    names = [str(name) for name in result.trials["stimulus_id"]]
    labels = [
        f"item {item}" if name == UNKNOWN or not stimuli else name
        for item, name in enumerate(names)
    ]
    if "decoded_caption" not in result.trials:
        return labels
    captions = result.trials["decoded_caption"]
    return [f"{label}: \u201c{said}\u201d" for label, said in zip(labels, captions, strict=True)]


def _ranking(metrics: MetricsFile) -> Ranking | None:
    directions = {metric.id: metric.higher_is_better for metric in metrics.metrics}
    return rank_items(metrics.per_item, directions, set(filter(_identifies, directions)))


def _identifies(metric: str) -> bool:
    return metric.startswith("two-way")


def _measures(metrics: MetricsFile) -> list[Measure]:
    return [
        Measure(
            id=metric.id,
            name=metric_words(metric.id),
            identifies=_identifies(metric.id),
            value=metric.value,
            interval=metric.interval,
            controls={WRONG_PAIRING: metric.chance} | metric.baselines,
            higher_is_better=metric.higher_is_better,
            n_items=metric.n_items,
            p_value=None if metric.permuted is None else metric.permuted.p_value,
            within=None
            if (within := metric.within_category) is None
            else Within(within.value, within.interval, within.chance),
            note=metric.note,
        )
        for metric in metrics.metrics
    ]


def _warnings(result: Reconstruction) -> list[str]:
    metrics = result.metrics
    if metrics is None or not metrics.n_seen_in_training:
        return []
    return [
        f"Careful: {metrics.n_seen_in_training} of {len(result)} items show pictures that the "
        "model was trained on. The numbers say nothing about new pictures."
    ]


def _audit(result: Reconstruction, metrics: MetricsFile) -> list[tuple[str, str]]:
    n = len(result)
    repeated = n - metrics.n_pictures
    return [
        ("Items whose picture was in training", f"{metrics.n_seen_in_training} of {n}"),
        (
            "Different pictures shown",
            f"{metrics.n_pictures}"
            + (f"; {repeated} items repeat one and are counted with it" if repeated else ""),
        ),
        (
            "What was compared",
            "content of the picture and its name; phosphene evaluate audit also finds near copies",
        ),
    ]


def protocol_rows(protocol: Protocol) -> list[tuple[str, str]]:
    """Return how a model was trained, for people."""
    trials = ", ".join(f"sub-{s}: {n:,}" for s, n in protocol.n_train_trials.items())
    return [
        ("Training data", f"{protocol.dataset} ({protocol.dataset_hash})"),
        ("Training trials", trials),
        ("Different training pictures", f"{len(protocol.train_stimulus_ids):,}"),
        ("Voxels", protocol.mask),
        (
            "Normalisation",
            f"{protocol.normalisation}, fitted on {protocol.normalisation_fitted_on}",
        ),
        ("Repetitions in training", protocol.averaging_train),
        ("Repetitions in this run", protocol.averaging_test),
        ("Held out to choose by", protocol.validation_rule),
        ("Chosen by", protocol.selection_rule),
        ("Looks at other test items", "yes (transductive)" if protocol.transductive else "no"),
    ]


def _provenance_rows(run: RunFile, *, stimuli: bool) -> list[tuple[str, str]]:
    return [
        ("Model", f"{run.model} ({run.model_hash})"),
        ("Input", run.input_hash),
        ("Settings", settings_words(run.config, stimuli=stimuli)),
        ("Started", run.started),
        ("Versions", versions_words(run.versions)),
        ("Page", f"phosphene {phosphene.__version__}"),
    ]


def settings_words(config: Mapping[str, Any], *, stimuli: bool) -> str:
    """Return settings in one line; of paths the last name, and none of what was shown."""
    kept = {
        key: value
        for key, value in config.items()
        if value is not None and (stimuli or key not in OF_SHOWN)
    }
    return ", ".join(f"{key} {_short(value)}" for key, value in kept.items())


def _short(value: Any) -> str:
    is_path = isinstance(value, str) and re.search(r"[/\\]", value) and "hub:" not in value
    return re.split(r"[/\\]", value.rstrip("/\\"))[-1] if is_path else str(value)


def versions_words(versions: Mapping[str, str]) -> str:
    """Return names and versions in one line."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())
