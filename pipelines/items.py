"""Items of a run: which rows of a recording become pictures, and the seed of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.errors import UsageError
from phosphene.seeds import item_seed
from phosphene.storage import hash_bytes
from phosphene.trials import OUTPUT_COLUMNS, UNKNOWN, trial_keys
from phosphene.types import BrainEmbedding, Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["averaging_words", "embedding_arrays", "items_of", "picture_seeds", "recording_hash"]


def items_of(recording: Recording, average: str) -> tuple[Recording, pd.DataFrame]:
    """Return the recording with one row per output item, and the table of the items."""
    if average not in ("none", "stimulus"):
        raise UsageError(f"`average` is {average!r}", expected="none or stimulus")
    items = recording.average("stimulus_id") if average == "stimulus" else recording
    table = items.trials.drop(columns="split")  # a split is a matter of training
    table = table.rename(columns={name: f"trial_{name}" for name in OUTPUT_COLUMNS})
    if average == "none":
        table["source_trials"] = trial_keys(table)
    return items, table


def picture_seeds(
    items: Recording, table: pd.DataFrame, *, average: str, seed: int, samples: int
) -> np.ndarray[Any, Any]:
    """Return the seed of each picture, (n_items, n_samples).

    An item is known by its stimulus (averaged) or its trial; where nobody named these, by the
    content of its row: so a subset or another order of a plain array gives the same pictures.
    """
    if (table["stimulus_id"] == UNKNOWN).any():
        keys = [hash_bytes(np.asarray(row, dtype=np.float32).tobytes()) for row in items.data]
    else:
        keys = [
            f"{stimulus} {trials}" if average == "none" else str(stimulus)
            for stimulus, trials in zip(table["stimulus_id"], table["source_trials"], strict=True)
        ]
    return np.array(
        [
            [item_seed(seed, items.subject, key, sample) for sample in range(samples)]
            for key in keys
        ],
        dtype=np.int64,
    )


def embedding_arrays(embedding: BrainEmbedding) -> dict[str, np.ndarray[Any, Any]]:
    """Return the parts of an embedding as float32 arrays by name."""
    return {name: part.float().cpu().numpy() for name, part in embedding.parts.items()}


def recording_hash(recording: Recording) -> str:
    """Return the identity of a recording's content, data and trials."""
    rows = [hash_bytes(np.ascontiguousarray(row).tobytes()) for row in recording.data]
    return hash_bytes("".join([*rows, recording.trials.to_csv()]).encode())[:16]


def averaging_words(average: str) -> str:
    """Return how test trials were averaged, in words."""
    return "mean of all repetitions" if average == "stimulus" else "single trials"
