"""``phosphene prepare check``: every audit that a dataset allows, before anything is trained."""

from __future__ import annotations

from dataclasses import replace

from phosphene.data.canonical import CanonicalDataset
from phosphene.pipelines.evaluation.audit import with_labels
from phosphene.pipelines.evaluation.audit_confounds import (
    audit_gaze,
    audit_global_signal,
    audit_order,
)
from phosphene.pipelines.evaluation.audit_design import (
    audit_pictures,
    audit_repetitions,
    audit_sequence,
    audit_test_trials,
    audit_timing,
)
from phosphene.pipelines.evaluation.audit_findings import Finding
from phosphene.pipelines.evaluation.audit_overlap import audit_overlap
from phosphene.pipelines.evaluation.audit_reliability import audit_reliability
from phosphene.trials import UNKNOWN

__all__ = ["REMEDIES", "check_dataset"]

REMEDIES = {
    "overlap": "test on pictures that were never shown in training",
    "pictures": "name single pictures, or only classify conditions (and say so)",
    "test set": "mark test trials: --test COLUMN=PATTERN, or the column split",
    "repetitions in a run": "spread repetitions over runs, and hold out runs whole",
    "sequence": "draw a new order for every run; with fixed orders hold nothing for decoded",
    "timing": "use --model lss, and leave neighbours of test trials out of training",
    "order": "spread categories over runs; blocks let drifts decode them",
    "global signal": "regress out the mean, or compare with decoding from it alone",
    "gaze": "compare with decoding from the eyes alone",
    "reliability": "check region, timing and motion, or collect more repetitions",
}


def check_dataset(dataset: CanonicalDataset) -> list[Finding]:
    """Return all findings, those of the whole dataset first."""
    table = with_labels(dataset.table, None)
    findings = []
    if (dataset.table["stimulus_id"] != UNKNOWN).all():
        findings.append(audit_overlap(dataset)[1])
    for subject in sorted(dataset.file.subjects):
        mine = table[table["subject"] == subject].drop(columns="subject").reset_index(drop=True)
        recording = dataset.recording(subject)
        findings += [
            audit_pictures(mine, subject=subject),
            audit_test_trials(mine, subject=subject),
            audit_repetitions(mine, subject=subject),
            audit_sequence(mine, subject=subject),
            audit_timing(mine, subject=subject),
            audit_order(mine, subject=subject),
            audit_global_signal(replace(recording, trials=mine)),
            audit_gaze(mine, subject=subject),
            audit_reliability(recording),
        ]
    return findings
