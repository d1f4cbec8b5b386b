"""Pictures that need no decoding, or no brain, to be scored beside the predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures, read_picture
from phosphene.pipelines.evaluation.reading import PairReader
from phosphene.schemas import EvaluationControl

__all__ = [
    "MEANINGS",
    "Rival",
    "absent_controls",
    "constant_rival",
    "file_rival",
    "grey_rival",
    "mean_of_training",
]

Array = np.ndarray[Any, Any]

# Every result names all of these, with a value or with the reason why there is none.
MEANINGS = {
    "grey_picture": "a flat mid-grey picture in place of every prediction",
    "permuted": "the same predictions paired with other pictures (chance, and a p-value)",
    "mean_picture": "the mean training picture in place of every prediction",
    "nearest_training": "the training picture nearest to each predicted embedding",
    "truth_through_generator": "the true embedding rendered by the same generator (ceiling)",
    "noise_brain": "noise of the recording's distribution through the whole model",
    "shuffled_brain": "each prediction from the recording of another picture",
    "within_category": "identification among pictures of the same category",
    "repetition_curve": "scores when fewer repetitions are averaged",
    "noise_ceiling": "what the noise of the recording leaves to be reached, where known",
}
GREY = 128


@dataclass(frozen=True)
class Rival:
    """What stands in for the predictions.

    Attributes
    ----------
    name : str
        Key of :data:`MEANINGS`, or of what else is scored in the same way.
    picture : callable
        Returns the picture of an item, uint8 (H, W, 3), by the item's row.
    """

    name: str
    picture: Callable[[int], Pictures]


def grey_rival(reader: PairReader) -> Rival:
    """Return the flat picture: what no prediction may fall behind."""
    grey = np.full((*reader.size, 3), GREY, dtype=np.uint8)
    return Rival("grey_picture", lambda row: grey)


def constant_rival(name: str, picture: Pictures, reader: PairReader) -> Rival:
    """Return one picture (H, W, C) for every item."""
    fitted = reader.fit(picture)
    return Rival(name, lambda row: fitted)


def file_rival(name: str, files: Mapping[str, Path], reader: PairReader, root: Path) -> Rival:
    """Return a picture file for each item, by the name of its first file below ``root``."""

    def picture(row: int) -> Pictures:
        own = reader.items[row].files[0].relative_to(root).as_posix()
        return reader.fit(read_picture(files[own]))

    return Rival(name, picture)


def mean_of_training(dataset: CanonicalDataset, reader: PairReader) -> Pictures | None:
    """Return the mean of a dataset's training pictures, uint8 (H, W, 3), read one at a time.

    Each picture counts once, however often it was shown; pictures that are also shown in the
    test are left out.
    """
    table = dataset.table
    hashes = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
    test = {hashes.get(name) for name in table.loc[table["split"] == "test", "stimulus_id"]}
    names = [
        name
        for name in table.loc[table["split"] == "train", "stimulus_id"].unique().tolist()
        if name in hashes and hashes[name] not in test
    ]
    if not names:
        return None
    total = np.zeros((*reader.size, 3))
    for pixels in dataset.pictures(names):
        total += reader.fit(pixels)
    return np.rint(total / len(names)).astype(np.uint8)


def absent_controls(
    present: Sequence[str], reasons: Mapping[str, str], *, otherwise: str
) -> list[EvaluationControl]:
    """Return all controls in order; those that are not present with the reason."""
    return [
        EvaluationControl(
            name=name,
            meaning=meaning,
            reason_absent="" if name in present else reasons.get(name, otherwise),
        )
        for name, meaning in MEANINGS.items()
    ]
