"""What stands beside a continuous recording about its channels, and names that it has twice."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from phosphene.data.readers.damage import reading
from phosphene.errors import InputError

__all__ = ["describe_channels", "refuse_doubles"]

NUMBERED = re.compile(r"^(.+)-(\d+)$")
KIND = "a table of channels (_channels.tsv)"


def describe_channels(raw: Any, path: Path) -> None:
    """Apply the BIDS table ``_channels.tsv`` beside a file: what is no electrode, and what is bad.

    Formats such as EDF and BrainVision take every channel for EEG. Names that the file does not
    have are passed over.

    Parameters
    ----------
    raw : mne.io.BaseRaw
        Changed in place.
    path : Path
        ``sub-01_task-x_eeg.vhdr`` has ``sub-01_task-x_channels.tsv`` beside it.
    """
    import pandas as pd

    stem = path.name.removesuffix(".gz").rpartition(".")[0]
    head, _, kind = stem.rpartition("_")
    beside = path.with_name(f"{head}_channels.tsv")
    if kind not in ("eeg", "meg") or not beside.is_file():
        return
    with reading(beside, KIND):
        table = pd.read_csv(beside, sep="\t", dtype=str, keep_default_na=False)
    if "name" not in table:
        raise InputError(
            f"{beside} has no column name", expected=KIND, remedy="name the channels as BIDS does"
        )
    types = dict(zip(raw.ch_names, raw.get_channel_types(), strict=True))
    for row in table.to_dict("records"):
        name, said = row["name"], str(row.get("type", "EEG")).upper()
        if name not in types:
            continue
        if types[name] == "eeg" and said not in ("EEG", "N/A", ""):
            raw.set_channel_types({name: "misc"}, on_unit_change="ignore", verbose="error")
        if str(row.get("status", "")).lower() == "bad" and name not in raw.info["bads"]:
            raw.info["bads"] = [*raw.info["bads"], name]


def refuse_doubles(names: list[str], source: str) -> None:
    """Refuse channels that stand twice in a file: MNE tells them apart by a number.

    Raises
    ------
    InputError
        If names such as Oz-0 and Oz-1 say that a file has two of one name.
    """
    seen: dict[str, list[str]] = {}
    for name in names:
        found = NUMBERED.match(name)
        if found:
            seen.setdefault(found[1], []).append(name)
    twice = {base: same for base, same in seen.items() if len(same) > 1 and f"{base}-0" in same}
    if twice:
        base, same = next(iter(twice.items()))
        raise InputError(
            f"{source} has {len(same)} channels with the name {base}",
            expected="every channel once",
            remedy="rename or drop one of them in the program that wrote the file",
        )
