"""``phosphene prepare miyawaki2008``: patterns of 10 x 10 squares, fetched or a local copy.

As nilearn lays it out: ``func/data_{random,figure}_run01.nii.gz``, ``mask/mask.nii.gz`` and
``label/data_*_run01_label.csv`` (a row of 100 numbers per volume, -1 at rest). Random patterns
train, figures and letters test. A stimulus is one trial: the mean of its volumes, four seconds
later, in percent of the voxel's mean at rest in the run, after a linear trend of the rest was
taken out (Miyawaki et al. 2008, *Neuron* 60).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.prepare import Stimuli
from phosphene.data.public import not_here
from phosphene.data.public.writing import PublicSettings, standardised, write_public
from phosphene.data.readers.damage import reading
from phosphene.data.readers.grids import check_grid
from phosphene.data.readers.nifti import open_volumes
from phosphene.data.readers.regions import read_space
from phosphene.errors import InputError
from phosphene.hub import is_offline
from phosphene.names import require
from phosphene.storage import hash_bytes
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["prepare_miyawaki2008"]

Array = np.ndarray[Any, Any]
SIDE, DELAY = 10, 2  # squares; volumes of 2 s by which the response is late
LICENCE = "see the distribution fetched by nilearn"
SPLITS = {"random": "train", "figure": "test"}


def prepare_miyawaki2008(
    source: str | os.PathLike[str] | None,
    output: str | os.PathLike[str],
    settings: PublicSettings,
) -> tuple[CanonicalDataset, list[str]]:
    """Read a local copy, or let nilearn fetch one, and write a canonical dataset.

    Raises
    ------
    AssetError
        If there is no copy and none can be fetched.
    InputError
        If files are missing or damaged.
    """
    folder = _fetch() if source is None else _root(Path(source))
    space = read_space(settings.roi or str(folder / "mask" / "mask.nii.gz"))
    blocks, tables, shown = [], [], []
    for kind in ("random", "figure"):
        runs = sorted((folder / "func").glob(f"data_{kind}_run*.nii*"))
        if not runs:
            raise InputError(
                f"{folder} has no func/data_{kind}_run01.nii.gz",
                expected="20 runs of random patterns and 12 of figures",
                remedy="complete the copy, or leave --source out to fetch one",
            )
        for path in runs:
            run = path.name.split("_run")[1].split(".")[0]
            labels = _labels(folder / "label" / f"data_{kind}_run{run}_label.csv")
            data, patterns = _trials(path, labels, space)
            blocks.append(data)
            shown += list(patterns)
            tables.append(_table(kind, run, patterns))
    import pandas as pd

    trials = complete_trials(pd.concat(tables, ignore_index=True), sum(map(len, blocks)))
    recording = Recording(np.concatenate(blocks), "fmri", "01", trials, space)
    recording, notes = standardised(recording)
    stimuli = _stimuli(trials["stimulus_id"].tolist(), shown) if settings.pictures else None
    dataset = write_public(
        output, recording, stimuli, settings, name="miyawaki2008", form="as nilearn fetches it",
        licence=LICENCE, facts={"n_runs": len(tables)},
    )  # fmt: skip
    return dataset, notes


def _fetch() -> Path:
    if is_offline():
        raise not_here("miyawaki2008", "it is not named, and access to networks is off")
    fetch = require("nilearn.datasets", "fmri").fetch_miyawaki2008
    try:
        found = fetch(verbose=0)
    except Exception as error:  # the fetcher raises whatever its requests library does
        raise not_here(
            "miyawaki2008", f"it could not be fetched ({type(error).__name__})"
        ) from error
    return Path(found.func[0]).parent.parent


def _root(source: Path) -> Path:
    for folder in (source, source / "miyawaki2008"):
        if (folder / "func").is_dir() and (folder / "label").is_dir():
            return folder
    raise InputError(
        f"{source} is no copy of Miyawaki et al. 2008",
        expected="folders func, label and mask, as nilearn lays them out",
        remedy="correct --source, or leave it out to fetch a copy",
    )


def _labels(path: Path) -> Array:
    with reading(path, "labels of volumes (.csv)"):
        labels = np.loadtxt(path, dtype=np.int64, delimiter=",", ndmin=2)
    if labels.shape[1] != SIDE * SIDE:
        raise InputError(
            f"{path} has {labels.shape[1]} columns", f"{SIDE * SIDE}, a square per column"
        )
    return labels


def _trials(path: Path, labels: Array, space: VoxelSpace) -> tuple[Array, Array]:
    """Return a response (n, n_voxels) and a pattern (n, 100) per stimulus of a run."""
    volumes = open_volumes(path)
    check_grid(str(path), volumes.grid_shape, volumes.affine, space)
    if volumes.n_volumes != len(labels):
        raise InputError(
            f"{path} has {volumes.n_volumes} volumes for {len(labels)} labels", "one per volume"
        )
    series = volumes.read(space.indices).astype(np.float64)
    rest = labels[:, 0] == -1
    late = np.r_[np.ones(DELAY, bool), rest[:-DELAY]]  # volumes that still answer a stimulus go
    quiet = rest & late
    if quiet.sum() < 3:
        quiet = late if late.sum() >= 3 else np.ones(len(labels), bool)
    time = np.arange(len(labels)) - len(labels) / 2
    base = np.stack([np.ones_like(time), time], axis=1)
    fitted = base @ np.linalg.lstsq(base[quiet], series[quiet], rcond=None)[0]
    level = series[quiet].mean(axis=0)
    centred = bool((level <= 0).any())  # then there is no percent
    change = series - fitted if centred else 100 * (series - fitted) / level
    starts = np.flatnonzero(~rest & np.r_[True, (labels[1:] != labels[:-1]).any(axis=1)])
    responses, patterns = [], []
    for start in starts.tolist():
        stop = start
        while stop < len(labels) and (labels[stop] == labels[start]).all():
            stop += 1
        rows = np.arange(start + DELAY, min(stop + DELAY, len(labels)))
        if len(rows):
            responses.append(change[rows].mean(axis=0))
            patterns.append(labels[start])
    if not responses:
        raise InputError(f"{path} shows nothing", "volumes whose label is not -1")
    return np.stack(responses).astype(np.float32), np.stack(patterns)


def _table(kind: str, run: str, patterns: Array) -> pd.DataFrame:
    import pandas as pd

    names = [f"{kind}-{hash_bytes(np.uint8(pattern).tobytes())[:10]}" for pattern in patterns]
    return pd.DataFrame(
        {
            "session": "01",
            "run": f"{kind}{run}",
            "trial": np.arange(1, len(names) + 1),
            "stimulus_id": names,
            "split": SPLITS[kind],
        }
    )


def _stimuli(names: list[str], shown: list[Array]) -> Stimuli:
    """Return patterns as pictures; numbers run down the columns, as in the original."""
    first = {name: row for row, name in reversed(list(enumerate(names)))}
    patterns = np.stack([shown[row] for row in first.values()])
    pictures = patterns.reshape(-1, SIDE, SIDE).transpose(0, 2, 1)[..., None] > 0
    return list(first), cast(Any, pictures.astype(np.uint8) * 255)
