"""SEED-DV: EEG of twenty people who watched clips of 2 s, seven blocks of forty concepts.

A concept takes 13 s: its name for 3 s, then five clips of 2 s. People therefore knew what was to
come, and clips of one concept lie side by side in time: a split by trials would measure slow drift
and expectation. Blocks are the only splits offered, and the name of the dataset, which stands in
the protocol of every model and result, says ``concept_cue_confound``.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.confounds import CONCEPT_CUE, CONFOUNDS
from phosphene.data.movies.frames import MOVIE_SUFFIXES, open_movie
from phosphene.data.prepare import Stimuli, write_subject
from phosphene.data.readers.damage import existing_folder
from phosphene.errors import InputError, UsageError
from phosphene.progress import progress
from phosphene.sensors import SensorInfo
from phosphene.storage import load_array
from phosphene.trials import complete_trials
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CHANNELS", "SeedDVSettings", "clip_start", "prepare_seed_dv"]

Array = np.ndarray[Any, Any]
BLOCKS, CONCEPTS, CLIPS = 7, 40, 5
HINT, SECONDS, RATE = 3.0, 2.0, 200.0
BLOCK_SECONDS = CONCEPTS * (HINT + CLIPS * SECONDS)
CHANNELS = (  # the order of the cap of 62 electrodes that all SEED sets share
    "Fp1", "Fpz", "Fp2", "AF3", "AF4", "F7", "F5", "F3", "F1", "Fz", "F2", "F4", "F6", "F8", "FT7",
    "FC5", "FC3", "FC1", "FCz", "FC2", "FC4", "FC6", "FT8", "T7", "C5", "C3", "C1", "Cz", "C2",
    "C4", "C6", "T8", "TP7", "CP5", "CP3", "CP1", "CPz", "CP2", "CP4", "CP6", "TP8", "P7", "P5",
    "P3", "P1", "Pz", "P2", "P4", "P6", "P8", "PO7", "PO5", "PO3", "POz", "PO4", "PO6", "PO8",
    "CB1", "O1", "Oz", "O2", "CB2",
)  # fmt: skip
SEGMENTED = (BLOCKS, CONCEPTS, CLIPS, len(CHANNELS), round(SECONDS * RATE))
WHOLE = (BLOCKS, len(CHANNELS), round(BLOCK_SECONDS * RATE))
FOLDERS = ("Segmented_Rawf_200Hz_2s", "EEG", "")
NAME = re.compile(r"sub(?P<label>\d+)\.npy")
MICROVOLTS = 1e-2  # an SD above it is not in volts
EXPECTED = (
    f"Segmented_Rawf_200Hz_2s/sub1.npy {SEGMENTED}, or EEG/sub1.npy {WHOLE}: blocks, channels, "
    f"samples at {RATE:g} Hz"
)


@dataclass(frozen=True)
class SeedDVSettings:
    """What may be chosen.

    Attributes
    ----------
    subjects : tuple of str
        All by default.
    validation, test : tuple of int
        Blocks, from 1, that are held out whole.
    labels : path, optional
        Array (7, 40) with the concept at each place of each block.
    movies : path, optional
        Folder of ``1st_10min.mp4``, ...; found below the source by default.
    size : int
        Side of the middle frames, which stand for the clips.
    """

    subjects: tuple[str, ...] = ()
    validation: tuple[int, ...] = (6,)
    test: tuple[int, ...] = (7,)
    labels: Path | None = None
    movies: Path | None = None
    size: int = 256


def clip_start(concept: int, clip: int) -> float:
    """Return the second of its block at which a clip begins, both counted from 0.

    Examples
    --------
    >>> clip_start(0, 0), clip_start(1, 4)
    (3.0, 24.0)
    """
    return concept * (HINT + CLIPS * SECONDS) + HINT + clip * SECONDS


def prepare_seed_dv(
    source: str | os.PathLike[str], output: str | os.PathLike[str], settings: SeedDVSettings
) -> tuple[CanonicalDataset, list[str]]:
    """Write a local copy as a dataset of trials, one per clip, split by blocks.

    Returns
    -------
    dataset : CanonicalDataset
    notes : list of str

    Raises
    ------
    InputError
        If there is nothing of the dataset, or an array has another shape.
    UsageError
        If a block is in two splits, or none is left for training.
    """
    _check_blocks(settings)
    root = existing_folder(source, EXPECTED)
    files = _files(root)
    absent = [label for label in settings.subjects if label not in files]
    if not files or absent:
        raise InputError(
            f"{source} holds no recording" + (f" of {', '.join(absent)}" if absent else ""),
            expected=EXPECTED,
            remedy="check --source",
        )
    said = [f"{CONCEPT_CUE}: {CONFOUNDS[CONCEPT_CUE]}"]
    table = _table(settings, _labels(root, settings.labels))
    pictures, told = _pictures(root, table, settings)
    said.append(told)
    dataset: CanonicalDataset | None = None
    for label in settings.subjects or tuple(sorted(files)):
        data = _read(files[label])
        unit = "uV" if float(np.median(data[::50].std(axis=2))) > MICROVOLTS else "V"
        info = SensorInfo(CHANNELS, RATE, 0.0, unit=unit)
        recording = Recording(data, "eeg", label, complete_trials(table, len(data)), info=info)
        dataset = write_subject(
            output, recording, pictures, name=f"seed-dv {CONCEPT_CUE}", licence="on request",
            source=f"SEED-DV ({CONCEPT_CUE})",
        )  # fmt: skip
        said.append(f"subject {label}: {len(data)} clips, taken to be in {unit} by their size")
    assert dataset is not None
    return dataset, said


def _check_blocks(settings: SeedDVSettings) -> None:
    held_out = (*settings.validation, *settings.test)
    inside = set(held_out) <= set(range(1, BLOCKS + 1))
    if (
        not settings.test
        or len(set(held_out)) < len(held_out)
        or not inside
        or len(held_out) >= BLOCKS
    ):
        raise UsageError(
            f"blocks {', '.join(map(str, settings.validation)) or 'none'} for validation and "
            f"{', '.join(map(str, settings.test)) or 'none'} for the test",
            expected=f"different blocks of 1 to {BLOCKS}, at least one of them left for training",
            remedy="clips of a block lie side by side in time: only whole blocks can be held out",
        )


def _files(root: Path) -> dict[str, Path]:
    """Return the file of every subject, cut ones before whole ones."""
    for folder in FOLDERS:
        found = {}
        for path in sorted((root / folder).glob("sub*.npy")):
            name = NAME.fullmatch(path.name)
            if name is not None:
                found[f"{int(name['label']):02d}"] = path
        if found:
            return found
    return {}


def _read(path: Path) -> Array:
    """Return the clips (1400, 62, 400) float32 of one subject, in the order of time."""
    array = load_array(path)
    if array.shape not in (SEGMENTED, WHOLE) or array.dtype.kind not in "fiu":
        raise InputError(
            f"{path} holds {array.dtype} of shape {array.shape}",
            expected=EXPECTED,
            remedy="recordings at 1000 Hz have to be brought to 200 Hz first, as published",
        )
    if array.shape == SEGMENTED:
        data = np.asarray(array, dtype=np.float32).reshape(-1, *SEGMENTED[3:])
    else:
        starts = [clip_start(k, c) for k in range(CONCEPTS) for c in range(CLIPS)]
        first = np.round(np.array(starts) * RATE).astype(int)
        columns = first[:, None] + np.arange(SEGMENTED[-1])
        blocks = [np.asarray(block[:, columns], np.float32).swapaxes(0, 1) for block in array]
        data = np.concatenate(blocks)
    if not np.isfinite(data).all():
        raise InputError(
            f"{path} holds values that are not finite",
            expected="finite numbers",
            remedy="copy the file again, or leave this subject out with --subject",
        )
    return data


def _labels(root: Path, given: Path | None) -> Array | None:
    """Return the concept at each place (7, 40), where a file says so."""
    path = given or next(iter(sorted(root.rglob("All_video_label.npy"))), None)
    if path is None:
        return None
    labels = np.asarray(load_array(path))
    orders = [sorted(set(row.tolist())) for row in labels] if labels.ndim == 2 else []
    if labels.shape != (BLOCKS, CONCEPTS) or any(
        len(order) < CONCEPTS or order != orders[0] for order in orders
    ):
        raise InputError(
            f"{path} holds labels of shape {labels.shape}",
            expected=f"({BLOCKS}, {CONCEPTS}): each concept once in every block",
            remedy="give another file with --labels, or move this one away",
        )
    return labels


def _table(settings: SeedDVSettings, labels: Array | None) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for block in range(1, BLOCKS + 1):
        split = (
            "test" if block in settings.test
            else "validation" if block in settings.validation else "train"
        )  # fmt: skip
        for place in range(CONCEPTS):
            for clip in range(CLIPS):
                row: dict[str, Any] = {
                    "run": f"{block:02d}",
                    "stimulus_id": f"block-{block}_place-{place + 1:02d}_clip-{clip + 1}",
                    "split": split,
                    "movie": f"block-{block}",
                    "movie_time": clip_start(place, clip),
                }
                if labels is not None:
                    row["concept"] = f"concept-{int(labels[block - 1, place]):02d}"
                rows.append(row)
    return pd.DataFrame(rows)


def _pictures(
    root: Path, table: pd.DataFrame, settings: SeedDVSettings
) -> tuple[Stimuli | None, str]:
    """Return the middle frame of every clip, where the films of the blocks are there."""
    folders = [settings.movies] if settings.movies is not None else [root / "Video", root]
    paths = [_film(folders, block) for block in range(1, BLOCKS + 1)]
    if None in paths:
        return None, "no films of the blocks: give the folder of 1st_10min.mp4 with --movies"
    middle = table["movie_time"].to_numpy(np.float64)[: CONCEPTS * CLIPS] + SECONDS / 2
    parts = []
    for path in progress(paths, label="films", total=len(paths)):
        assert path is not None
        film = open_movie(path)
        if film.seconds < BLOCK_SECONDS - 1:
            raise InputError(
                f"the film {path} lasts {film.seconds:g} s",
                expected=f"{BLOCK_SECONDS:g} s, forty times a hint of 3 s and five clips of 2 s",
                remedy="check that it is the film of a whole block",
            )
        places = np.minimum((middle * film.fps).astype(int), film.n_frames - 1)
        parts.append(film.read(places, settings.size))
    names = table["stimulus_id"].tolist()
    return (names, np.concatenate(parts)), f"middle frames of {len(names)} clips"


def _film(folders: list[Path], block: int) -> Path | None:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(block, "th")
    for folder in folders:
        for suffix in MOVIE_SUFFIXES:
            path = folder / f"{block}{ending}_10min{suffix}"
            if path.is_file():
                return path
    return None
