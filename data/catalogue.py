"""Public datasets known here: licence, size and how to obtain them. Nothing is redistributed."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict

from phosphene.errors import check_option

__all__ = ["CatalogueEntry", "find_dataset", "read_catalogue"]


class CatalogueEntry(BaseModel):
    """Facts about one public dataset."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    title: str
    modality: Literal["fmri", "eeg", "meg", "both"]
    stimuli: str
    subjects: int
    licence: str
    size: str
    obtain: str
    reader: str
    caution: str = ""


def read_catalogue() -> list[CatalogueEntry]:
    """Return every known dataset, by name."""
    import yaml

    text = files("phosphene.data").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    entries = [CatalogueEntry.model_validate(entry) for entry in yaml.safe_load(text)]
    return sorted(entries, key=lambda entry: entry.name)


def find_dataset(name: str) -> CatalogueEntry:
    """Return the facts of one dataset; an unknown name is an error that lists all."""
    entries = {entry.name: entry for entry in read_catalogue()}
    return entries[check_option("dataset", name, entries)]
