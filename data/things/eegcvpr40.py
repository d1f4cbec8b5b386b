"""``phosphene prepare eegcvpr40``: a set whose classes were shown in blocks, on request only.

Spampinato et al. (2017): 6 people, 40 classes, 50 pictures each, every class in one block of time.
What a classifier finds there is to a large part the slow drift of the recording (Li et al. 2021):
scores vanish when trials are in random order. So it is read with ``block_design=True`` alone, and
the name of the dataset, which stands in the protocol of every model and result, says
``block_design_confound``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.confounds import BLOCK_DESIGN
from phosphene.data.prepare import write_subject
from phosphene.data.readers.damage import existing_file
from phosphene.data.things.pictures_found import found_pictures
from phosphene.errors import InputError, UsageError
from phosphene.sensors import SensorInfo
from phosphene.trials import complete_trials
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONFOUND", "prepare_eegcvpr40"]

Array = np.ndarray[Any, Any]
CONFOUND = BLOCK_DESIGN
RATE, FIRST, LAST = 1000.0, 20, 460  # hertz, and the samples that everybody uses
KIND = "the recordings of EEGCVPR40 (eeg_55_95_std.pth or one of its siblings)"


def prepare_eegcvpr40(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    block_design: bool,
    subjects: list[str] | None = None,
    splits: str | os.PathLike[str] | None = None,
    images: str | os.PathLike[str] | None = None,
) -> tuple[CanonicalDataset, list[str]]:
    """Read EEGCVPR40 and write a canonical dataset that says what is wrong with it.

    Parameters
    ----------
    source : path
        ``eeg_55_95_std.pth`` or another band.
    output : path
        A new folder, or a dataset to add subjects to.
    block_design : bool
        That you know of the confound; False is refused.
    subjects : list of str, optional
        ``1`` to ``6``; all by default.
    splits : path, optional
        ``block_splits_by_image_all.pth``; without it every trial is a training trial.
    images : path, optional
        Folder of the pictures, copied into the dataset.

    Returns
    -------
    dataset : CanonicalDataset
    said : list of str

    Raises
    ------
    UsageError
        Without ``block_design``.
    InputError
        If a file is missing, damaged or malicious.
    """
    if not block_design:
        raise UsageError(
            "EEGCVPR40 shows every class in one block of time: what is decoded from it is mostly "
            "the drift of the recording",
            expected="a set with pictures in random order, such as THINGS-EEG2",
            remedy="give --block-design to read it all the same; every result then says "
            f"{CONFOUND}",
        )
    content = _load(existing_file(source, KIND))
    split_of = {} if splits is None else _splits(existing_file(splits, "its splits (.pth)"))
    said = [f"{CONFOUND}: every class was shown in one block"]
    trials: dict[str, list[tuple[int, Any]]] = {}
    short = 0
    for number, item in enumerate(content["dataset"]):
        if item["eeg"].shape[1] < LAST:
            short += 1
            continue
        trials.setdefault(f"{int(item['subject']):02d}", []).append((number, item))
    if short:
        said.append(f"{short} trials shorter than {LAST} samples left out")
    wanted = [label.removeprefix("sub-").zfill(2) for label in subjects or sorted(trials)]
    absent = [label for label in wanted if label not in trials]
    if absent or not wanted:
        raise InputError(
            f"{source} has no subject {', '.join(absent)}",
            expected=f"among {', '.join(sorted(trials))}",
        )
    dataset: CanonicalDataset | None = None
    for label in wanted:
        recording = _recording(label, trials[label], content, split_of)
        pictures = None if images is None else found_pictures(Path(images), recording.trials)
        dataset = write_subject(
            output, recording, pictures, name=f"eegcvpr40 {CONFOUND}", licence="unknown",
            source=f"eegcvpr40 ({CONFOUND})", dtype="float16",
        )  # fmt: skip
    assert dataset is not None
    return dataset, said


def _recording(
    label: str, trials: list[tuple[int, Any]], content: dict[str, Any], split_of: dict[int, str]
) -> Recording:
    import pandas as pd

    data = np.stack([np.asarray(item["eeg"], np.float32)[:, FIRST:LAST] for _, item in trials])
    names, classes = content["images"], content["labels"]
    table: pd.DataFrame = pd.DataFrame(
        {
            "stimulus_id": [str(names[int(item["image"])]) for _, item in trials],
            "concept": [str(classes[int(item["label"])]) for _, item in trials],
            "split": [split_of.get(number, "train") for number, _ in trials],
        }
    )
    channels = tuple(f"E{number + 1:03d}" for number in range(data.shape[1]))
    info = SensorInfo(channels, RATE, FIRST / RATE, unit="whitened")
    return Recording(
        data.astype(np.float16), "eeg", label, complete_trials(table, len(data)), info=info
    )


def _load(path: Path) -> dict[str, Any]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle and zip errors of many kinds
        raise InputError(
            f"{path} is damaged, or a pickle that asks for more than plain values: nothing of it "
            f"was executed ({' '.join(str(error).split())[:160]})",
            expected=KIND,
            remedy="get the file again from its source",
        ) from error
    if not isinstance(content, dict) or not {"dataset", "labels", "images"} <= set(content):
        raise InputError(f"{path} has no dataset, labels and images", expected=KIND)
    return cast(dict[str, Any], content)


def _splits(path: Path) -> dict[int, str]:
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        first = content["splits"][0]
        found = {
            int(number): name
            for key, name in (("train", "train"), ("val", "validation"), ("test", "test"))
            for number in first[key]
        }
    except Exception as error:
        raise InputError(
            f"{path} is damaged, or no list of splits: nothing of it was executed "
            f"({type(error).__name__})",
            expected="a dictionary with splits, each with train, val and test",
            remedy="get the file again from its source",
        ) from error
    return found
