"""Pictures that need no decoding, or no brain, to be scored beside the predictions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures, read_picture
from phosphene.pipelines.evaluation.predictions import bare_name
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

# A result names each of these, with a value or with the reason why there is none; those of clips
# stand in results of clips alone.
OF_CLIPS = ("grey_picture", "permuted", "still_picture", "still_truth")
OTHER = {  # with other words where the meaning is another one
    "clips": dict.fromkeys((*OF_CLIPS, "within_category"), ""),
    "captions": {
        "grey_picture": "the caption 'a plain grey picture' in place of every prediction",
        "permuted": "",
        "within_category": "",
    },
}
MEANINGS = {
    "grey_picture": "a flat mid-grey picture in place of every prediction",
    "permuted": "the same predictions paired with other pictures (chance, and a p-value)",
    "mean_picture": "the mean training picture in place of every prediction",
    "class_mean_picture": "the mean training picture of the right category",
    "nearest_training": "the training picture nearest to each predicted embedding",
    "still_picture": "the middle frame of each predicted clip, held still",
    "still_truth": "the middle frame of each true clip, held still",
    "truth_through_generator": "the true embedding rendered by the same generator (ceiling)",
    "oracle_embedding": "the true embedding with the low-level latent decoded from the brain",
    "noise_brain": "noise with each voxel's mean and spread through the whole model",
    "shuffled_brain": "each prediction from the recording of another picture",
    "within_category": "identification among pictures of the same category, and shuffled there",
    "repetition_curve": "scores when fewer repetitions are averaged",
    "across_subjects": "subjects as the random factor: Student's t, what another person may score",
    "share_of_ideal": "identification on the way from chance to the ideal observer of a simulation",
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
    names = _training_names(dataset)
    if not names:
        return None
    total = np.zeros((*reader.size, 3))
    for pixels in dataset.pictures(names):
        total += reader.fit(pixels)
    return np.rint(total / len(names)).astype(np.uint8)


def class_means_of_training(
    dataset: CanonicalDataset, reader: PairReader, categories: Mapping[str, str]
) -> Rival | str:
    """Return each category's mean training picture as a rival, or why there is none."""
    sums: dict[str, Array] = {}
    counts: dict[str, int] = {}
    for name in _training_names(dataset):
        kind = categories.get(bare_name(name))
        if kind is not None:
            pixels = reader.fit(dataset.pictures([name])[0]).astype(np.float64)
            sums[kind] = sums.get(kind, 0) + pixels
            counts[kind] = counts.get(kind, 0) + 1
    wanted = {categories[item.picture] for item in reader.items}
    if lacking := sorted(wanted - set(sums)):
        return f"no training picture is known to be of the category {lacking[0]!r}"
    means = {kind: np.rint(sums[kind] / counts[kind]).astype(np.uint8) for kind in wanted}
    return Rival("class_mean_picture", lambda row: means[categories[reader.items[row].picture]])


def _training_names(dataset: CanonicalDataset) -> list[str]:
    """Return training pictures, each once, without those that are also shown in the test."""
    table = dataset.table
    hashes = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
    test = {hashes.get(name) for name in table.loc[table["split"] == "test", "stimulus_id"]}
    train = table.loc[table["split"] == "train", "stimulus_id"].unique().tolist()
    return [name for name in train if name in hashes and hashes[name] not in test]


def absent_controls(
    present: Sequence[str],
    reasons: Mapping[str, str],
    *,
    otherwise: str,
    of: Literal["pictures", "clips", "captions"] = "pictures",
) -> list[EvaluationControl]:
    """Return all controls of what was scored; those that are not present with the reason."""
    if of == "pictures":
        known = {name: words for name, words in MEANINGS.items() if not name.startswith("still_")}
    else:
        known = {name: words or MEANINGS[name] for name, words in OTHER[of].items()}
    return [
        EvaluationControl(
            name=name,
            meaning=meaning,
            reason_absent="" if name in present else reasons.get(name, otherwise),
        )
        for name, meaning in known.items()
    ]
