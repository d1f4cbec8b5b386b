"""Known overlaps of public stimulus sets with what public parts of pipelines were trained on."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from pydantic import BaseModel, ConfigDict

from phosphene.pipelines.evaluation.audit_findings import Finding

__all__ = ["KnownOverlaps", "audit_sources", "read_known_overlaps"]


class Sources(BaseModel):
    """Collections that the pictures of a stimulus set were taken from."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    sources: list[str]
    note: str


class TrainedPart(Sources):
    """Collections that a public network was trained on, and how its names begin."""

    kind: str
    matches: list[str]


class KnownOverlaps(BaseModel):
    """Content of ``known_overlaps.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    stimulus_sets: dict[str, Sources]
    parts: dict[str, TrainedPart]
    not_established: str


def read_known_overlaps() -> KnownOverlaps:
    """Return the table that comes with the package."""
    import yaml

    text = files("phosphene.pipelines.evaluation").joinpath("known_overlaps.yaml")
    return KnownOverlaps.model_validate(yaml.safe_load(text.read_text(encoding="utf-8")))


def audit_sources(dataset: str, parts: Sequence[str]) -> Finding:
    """Return what is known about shared sources of a stimulus set and of parts in use.

    Parameters
    ----------
    dataset : str
        Name of the dataset; a known stimulus set is found by a word of it.
    parts : sequence of str
        Names of targets, generators or models in use; without any, all known parts are told.
    """
    known = read_known_overlaps()
    words = dataset.lower().replace("_", "-").replace(" ", "-")
    found = [name for name in known.stimulus_sets if f"-{name}-" in f"-{words}-"]
    if not found or words.startswith("virtual"):  # simulations are named after scanners
        reason = f"{dataset!r} is no public stimulus set whose sources are on record"
        return Finding("sources", "not checked", reason)
    source = known.stimulus_sets[found[0]]
    asked = [part.lower() for part in parts]
    shared = {
        name: part
        for name, part in known.parts.items()
        if set(part.sources) & set(source.sources)
        and (not asked or any(word in one for word in part.matches for one in asked))
    }
    details = {
        "stimulus_set": found[0],
        "sources": source.sources,
        "note": source.note,
        "shared_with": {name: part.note for name, part in shared.items()},
        "not_established": known.not_established,
    }
    summary = f"pictures of {found[0]} come from {' and '.join(source.sources)}"
    if shared:
        summary += f", and so did training pictures of {', '.join(shared)}"
    return Finding("sources", "noted", summary, details)
