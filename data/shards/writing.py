"""Divide a canonical dataset into webdataset shards.

``sub-01_train-000000.tar`` holds trials of one subject and one split; a trial's members share the
key ``sub-01_ses-01_trial-000123`` and are ``fmri.npy`` (or ``eeg.npy``, ``meg.npy``), the picture,
and ``json`` with its row of the trials table. ``shards.json`` is written last.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import webdataset

import phosphene
from phosphene.data.canonical import CanonicalDataset
from phosphene.errors import UsageError
from phosphene.progress import progress
from phosphene.schemas import Shard, ShardedSubject, ShardsFile
from phosphene.storage import atomic_path, check_new_folder, hash_file

__all__ = ["INDEX", "trial_key", "write_shards"]

INDEX = "shards.json"


def trial_key(subject: str, session: str, row: int) -> str:
    """Return the key of a trial: its row in the subject's recording makes it its own."""
    return f"sub-{subject}_ses-{session}_trial-{row:06d}"


def write_shards(
    dataset: CanonicalDataset,
    output: str | os.PathLike[str],
    *,
    subjects: list[str] | None = None,
    trials_per_shard: int = 1000,
    pictures: bool = True,
) -> ShardsFile:
    """Write the shards of some subjects, or all.

    Parameters
    ----------
    dataset : CanonicalDataset
    output : path
        New or empty folder.
    subjects : list of str, optional
    trials_per_shard : int
        At most. Shards are what is shared out among processes: write at least as many as there
        will be.
    pictures : bool
        Put the shown picture beside each trial.
    """
    if trials_per_shard < 1:
        raise UsageError(f"{trials_per_shard} trials per shard", expected="at least 1")
    labels = [dataset.check_subject(one) for one in subjects or sorted(dataset.file.subjects)]
    folder = check_new_folder(output)
    folder.mkdir(parents=True, exist_ok=True)
    shown = pictures and dataset.file.stimulus_kind == "pictures"
    shards: list[Shard] = []
    described = {}
    for subject in labels:
        geometry = dataset.file.subjects[subject]
        described[subject] = ShardedSubject(
            shape=geometry.shape, dtype=geometry.dtype, content_hash=geometry.content_hash
        )
        splits = dataset.recording(subject).trials["split"]
        for split in sorted(set(splits)):
            rows = np.flatnonzero(splits == split)
            parts = np.split(rows, range(trials_per_shard, len(rows), trials_per_shard))
            for number, part in enumerate(
                progress(parts, label=f"sub-{subject} {split}", total=len(parts))
            ):
                name = f"sub-{subject}_{split}-{number:06d}.tar"
                _write_shard(dataset, subject, part, folder / name, shown)
                shards.append(
                    Shard(
                        file=name, subject=subject, split=split, rows=part.tolist(),
                        size=(folder / name).stat().st_size, sha256=hash_file(folder / name),
                    )
                )  # fmt: skip
    index = ShardsFile(
        dataset=dataset.file.name,
        modality=dataset.file.modality,
        subjects=described,
        shards=shards,
        created_with=f"phosphene {phosphene.__version__}",
    )
    index.save(folder / INDEX)
    return index


def _write_shard(
    dataset: CanonicalDataset, subject: str, rows: np.ndarray[Any, Any], path: Path, shown: bool
) -> None:
    recording = dataset.recording(subject)
    table = recording.trials.iloc[rows]
    values = recording.data[rows]
    files = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["file"], strict=True))
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as handle,
        # The same content is the same file, whoever writes it and when.
        webdataset.TarWriter(
            handle, encoder=False, compress=False, mtime=0, user="root", group="root"
        ) as writer,
    ):
        for row, value, trial in zip(rows, values, table.to_dict("records"), strict=True):
            sample: dict[str, Any] = {
                "__key__": trial_key(subject, str(trial["session"]), int(row)),
                f"{dataset.file.modality}.npy": _array(value),
                "json": _facts({"subject": subject, "row": int(row)} | trial),
            }
            name = files.get(trial["stimulus_id"])
            if shown and name is not None:
                suffix = Path(name).suffix.lower().lstrip(".")
                sample[suffix] = (dataset.root / "stimuli" / name).read_bytes()
            writer.write(sample)


def _array(value: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(value), allow_pickle=False)
    return buffer.getvalue()


def _facts(trial: dict[Any, Any]) -> bytes:
    plain = {
        str(key): value.item() if isinstance(value, np.generic) else value
        for key, value in trial.items()
    }
    return json.dumps(plain, sort_keys=True, default=str).encode()
