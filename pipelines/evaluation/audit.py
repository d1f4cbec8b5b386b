"""The whole audit of a dataset: what its test shares with training, what else could decode it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

import phosphene
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.splits import CONCEPT_COLUMNS
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.audit_confounds import (
    audit_gaze,
    audit_global_signal,
    audit_order,
    nuisance_columns,
)
from phosphene.pipelines.evaluation.audit_findings import Finding
from phosphene.pipelines.evaluation.audit_overlap import (
    Overlap,
    audit_categories,
    audit_overlap,
    split_stimuli,
)
from phosphene.pipelines.evaluation.audit_predictions import audit_predictions
from phosphene.pipelines.evaluation.known_overlaps import audit_sources
from phosphene.pipelines.reconstruction import Reconstruction
from phosphene.schemas import AuditFile, AuditFinding

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Audit", "audit_dataset", "target_embeddings", "with_labels"]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Audit:
    """What the audits of one dataset said."""

    dataset: CanonicalDataset
    overlap: Overlap
    findings: tuple[Finding, ...]

    @property
    def tripped(self) -> list[str]:
        """Names of the audits that tripped, in order."""
        return list(dict.fromkeys(one.name for one in self.findings if one.verdict == "tripped"))

    def lines(self) -> list[str]:
        """Return a line per finding; the last one is the overlap."""
        return [*(finding.line() for finding in self.findings), self.overlap.line]

    def facts(self) -> dict[str, Any]:
        """Return the audit in numbers and words, as a result carries it beside its scores."""
        return {
            "line": self.overlap.line,
            "n_test_stimuli": self.overlap.n_test,
            "n_training_stimuli": self.overlap.n_training,
            "n_shared_stimuli": len(self.overlap.shared),
            "n_near_copies": sum(one.how == "near copy" for one in self.overlap.shared),
            "audits_tripped": ", ".join(self.tripped) or "none",
        }

    def file(self) -> AuditFile:
        """Return everything as it is stored."""
        return AuditFile(
            dataset=self.dataset.file.name,
            dataset_hash=self.dataset.file.hash,
            n_test=self.overlap.n_test,
            n_training=self.overlap.n_training,
            n_shared=len(self.overlap.shared),
            shared={one.test: one.training for one in self.overlap.shared},
            findings=[AuditFinding(**one.to_dict()) for one in self.findings],
            created_with=f"phosphene {phosphene.__version__}",
        )


def audit_dataset(
    dataset: CanonicalDataset,
    *,
    embeddings: dict[str, Array] | None = None,
    labels: pd.DataFrame | None = None,
    category: str | None = None,
    parts: Sequence[str] = (),
    result: Reconstruction | None = None,
) -> Audit:
    """Make every audit of a dataset.

    Parameters
    ----------
    dataset : CanonicalDataset
    embeddings : dict of stimulus_id to ndarray, optional
        As :func:`target_embeddings` returns them.
    labels : DataFrame, optional
        More about the stimuli, see :func:`with_labels`.
    category : str, optional
        Column, of ``labels`` or of the trials, that names the category.
    parts : sequence of str
        Targets, generators or models in use, for what is known about their training sets.
    result : Reconstruction, optional
        What a model made of it, see :func:`audit_predictions`.
    """
    table = with_labels(dataset.table, labels, category=category)
    overlap, found = audit_overlap(dataset, embeddings=embeddings)
    findings = [found, audit_categories(table), audit_sources(dataset.file.name, parts)]
    for subject in sorted(dataset.file.subjects):
        mine = table[table["subject"] == subject].drop(columns="subject").reset_index(drop=True)
        recording = dataset.recording(subject)
        findings += [
            audit_order(mine, subject=subject),
            audit_global_signal(replace(recording, trials=mine)),
            audit_gaze(mine, subject=subject),
        ]
    if result is not None:
        findings += audit_predictions(dataset, result, table=table, embeddings=embeddings)
    return Audit(dataset, overlap, tuple(findings))


def with_labels(
    table: pd.DataFrame, labels: pd.DataFrame | None, *, category: str | None = None
) -> pd.DataFrame:
    """Return the trials with a column ``category``, and what is told about eyes.

    Parameters
    ----------
    table : DataFrame
        Trials.
    labels : DataFrame, optional
        One row per ``stimulus_id``; its category and its columns about eyes are taken.
    category : str, optional
        Name of the column with the category; ``concept`` or ``category`` by default.

    Raises
    ------
    InputError
        If a column or a stimulus is missing, or a stimulus has two rows.
    """
    merged = table.copy()
    source = merged
    if labels is not None:
        if "stimulus_id" not in labels:
            raise InputError("the table of labels has no column stimulus_id", "a row per stimulus")
        rows = labels.astype({"stimulus_id": str})
        if rows["stimulus_id"].duplicated().any():
            twice = rows.loc[rows["stimulus_id"].duplicated(), "stimulus_id"].iloc[0]
            raise InputError(f"the table of labels has two rows of {twice!r}", "one per stimulus")
        missing = sorted(set(merged["stimulus_id"].astype(str)) - set(rows["stimulus_id"]))
        if missing:
            raise InputError(
                f"the table of labels has no row of {len(missing)} stimuli, {missing[0]!r} for "
                "example",
                expected="a row per stimulus of the dataset",
            )
        source = merged[["stimulus_id"]].astype(str).merge(rows, on="stimulus_id", how="left")
        for column, values in nuisance_columns(source).items():
            merged[column] = values
    wanted = category or next((name for name in CONCEPT_COLUMNS if name in source), None)
    if wanted is None:
        return merged
    if wanted not in source and wanted in merged:
        source = merged
    if wanted not in source:
        raise InputError(
            f"there is no column {wanted!r}",
            expected=f"one of {', '.join(map(str, source.columns))}",
            remedy="name the column that holds the category of each stimulus",
        )
    others = [name for name in CONCEPT_COLUMNS if name in merged]
    values = source[wanted].astype(str).to_numpy()
    return merged.drop(columns=others).assign(category=values)


def target_embeddings(dataset: CanonicalDataset, target: str) -> dict[str, Array]:
    """Return the target of every stimulus with a picture, cached in the dataset.

    Parameters
    ----------
    dataset : CanonicalDataset
    target : str
        ``local-dir:FOLDER``, ``hf-hub:ID`` or ``pixels:28x1``.
    """
    from phosphene.pipelines.training.materials import cached_targets, load_target

    test, training = split_stimuli(dataset.table)
    pictured = set(dataset.stimuli["stimulus_id"])
    names = [name for name in sorted({*test, *training}) if name in pictured]
    if not names:
        return {}
    values = cached_targets(dataset, load_target(target), names).numpy()
    return dict(zip(names, values, strict=True))
