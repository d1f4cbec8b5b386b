"""Writing canonical datasets: a recording, its trials and its stimuli, one subject at a time."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import phosphene
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import (
    PICTURE_SUFFIXES,
    PictureFiles,
    Pictures,
    picture_hash,
    read_pictures,
    write_picture,
)
from phosphene.errors import InputError, UsageError
from phosphene.progress import progress
from phosphene.schemas import DatasetFile, SensorGeometry, SubjectGeometry
from phosphene.sensors import unit_factor
from phosphene.storage import TEMPORARY, atomic_path, hash_bytes, save_array, write_error
from phosphene.trials import UNKNOWN
from phosphene.types import Recording

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["refuse_ambiguous_order", "write_subject"]

Stimuli = tuple[list[str] | None, Pictures | PictureFiles]
BLOCK_BYTES = 64 * 2**20
STARTED = ".preparing"


def write_subject(
    root: str | os.PathLike[str],
    recording: Recording,
    stimuli: str | os.PathLike[str] | Stimuli | None,
    *,
    name: str | None = None,
    licence: str = "unknown",
    source: str = "",
    dtype: Literal["float16", "float32"] = "float32",
) -> CanonicalDataset:
    """Write one subject as a new dataset, or add it to an existing one.

    Parameters
    ----------
    root : path
        Output folder.
    recording : Recording
    stimuli : path, optional
        A folder of pictures named by stimulus_id, or an array of pictures: one per trial, or
        one per stimulus where ``stimulus_id`` numbers its rows from 0. Or names and pictures.
    name, licence, source : str
        Told in ``dataset.json``.
    dtype : {"float16", "float32"}
    """
    folder = Path(root)
    existing = _existing(folder, recording)
    known = (
        {}
        if existing is None
        else dict(zip(existing.stimuli["stimulus_id"], existing.stimuli["hash"], strict=True))
    )
    if stimuli is None or isinstance(stimuli, tuple):
        pictures, told = stimuli, "the pictures"
    else:
        pictures, told = read_pictures(stimuli), str(stimuli)
    trials, places = _match_stimuli(recording.trials, pictures, told, known)
    if existing is None:
        _start(folder)
    rows = _stimulus_rows(existing)
    taken = {str(row["file"]) for row in rows}
    rows += _write_pictures(folder, pictures, places, known, taken)
    geometry = _write_recording(folder, recording, trials, dtype, source)
    _write_tables(folder, existing, recording.subject, trials, rows)
    subjects = {} if existing is None else dict(existing.file.subjects)
    subjects[recording.subject] = geometry
    content = "".join(sorted(f"{row['stimulus_id']}={row['hash']};" for row in rows))
    DatasetFile(
        name=(name or folder.resolve().name) if existing is None else existing.file.name,
        modality=recording.modality,
        subjects=subjects,
        stimulus_kind="pictures" if rows else "none",
        n_stimuli=len(rows),
        stimuli_hash=hash_bytes(content.encode())[:16],
        licence=licence if existing is None else existing.file.licence,
        created_with=f"phosphene {phosphene.__version__}",
    ).save(folder / "dataset.json")
    (folder / STARTED).unlink(missing_ok=True)
    return CanonicalDataset.open(folder)


def _stimulus_rows(existing: CanonicalDataset | None) -> list[dict[str, Any]]:
    if existing is None:
        return []
    return [{str(k): v for k, v in row.items()} for row in existing.stimuli.to_dict("records")]


def _existing(folder: Path, recording: Recording) -> CanonicalDataset | None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    if not (folder / "dataset.json").is_file():
        if (folder / STARTED).is_file():
            return None  # an interrupted preparation: it is done again from the start
        raise UsageError(
            f"the output {folder} exists and is not a dataset",
            expected="a new or empty folder, or a dataset to add a subject to",
            remedy="choose another output",
        )
    dataset = CanonicalDataset.open(folder)
    if recording.subject in dataset.file.subjects:
        raise UsageError(
            f"the dataset {folder} has subject {recording.subject} already",
            expected="a new dataset or a new subject",
            remedy="choose another output or subject, or remove the dataset first",
        )
    if recording.modality != dataset.file.modality:
        raise UsageError(
            f"the dataset {folder} holds {dataset.file.modality} recordings",
            expected=f"{recording.modality} recordings, as the new subject has",
            remedy="choose another output",
        )
    return dataset


def _start(folder: Path) -> None:
    """Mark a folder as being prepared, and clear what an interrupted preparation left in it.

    Only the mark tells such a folder from one where recordings and stimuli of the user lie.
    """
    try:
        if (folder / STARTED).is_file():
            for name in ("recordings", "stimuli"):
                shutil.rmtree(folder / name, ignore_errors=True)
            for path in folder.glob(f"{TEMPORARY}*"):
                path.unlink()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / STARTED).touch()
    except OSError as error:
        raise write_error(folder, error) from error


def _match_stimuli(
    trials: pd.DataFrame, stimuli: Stimuli | None, source: str, known: dict[str, str]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the trials with final stimulus ids, and the place of each id's picture.

    ``known`` has the ids of the dataset's stimuli and the hashes of their pictures.
    """
    if stimuli is None:
        return trials, {}
    named = trials["stimulus_id"].tolist()
    names, pictures = stimuli
    if names is not None:
        return trials, _by_name(named, names, source)
    given = UNKNOWN not in named
    if len(pictures) == len(trials):
        refuse_ambiguous_order(named, source)
        if not given:  # equal pictures are one stimulus, so that they never part in a split
            named = _name_by_content(pictures, known)
            trials = trials.assign(stimulus_id=named)
            trials["repetition"] = trials.groupby("stimulus_id").cumcount() + 1
        return trials, _by_row(named, pictures, source)
    numbers = [int(name) if name.isdigit() else -1 for name in named]
    if given and min(numbers) >= 0 and max(numbers) < len(pictures):
        return trials, {name: int(name) for name in dict.fromkeys(named)}
    raise InputError(
        f"{source} holds {len(pictures)} pictures for {len(trials)} trials",
        expected="one picture per trial, or a trials table whose stimulus_id numbers the "
        "pictures from 0, or a folder of pictures named by stimulus_id",
        remedy="give a matching --stimuli or --trials",
    )


def _name_by_content(pictures: Pictures | PictureFiles, known: dict[str, str]) -> list[str]:
    """Return an id per picture: the one its content has, or a new number."""
    names = {content: name for name, content in known.items()}
    numbers = [name.removeprefix("stimulus-") for name in known]
    first = 1 + max((int(number) for number in numbers if number.isdigit()), default=-1)
    hashes = [picture_hash(pixels) for pixels in pictures]
    for row, content in enumerate(hashes):
        names.setdefault(content, f"stimulus-{first + row:06d}")
    return [names[content] for content in hashes]


def refuse_ambiguous_order(named: list[str], source: str) -> None:
    """Refuse as many pictures as trials whose ids number the pictures in another order."""
    numbers = [int(name) if name.isdigit() else -1 for name in named]
    if sorted(numbers) == list(range(len(numbers))) != numbers:
        raise InputError(
            f"{source} holds as many pictures as there are trials, and stimulus_id numbers them "
            "in another order",
            expected="pictures in the order of trials, or numbered by stimulus_id, not both",
            remedy="give a folder of pictures named by stimulus_id, or write the ids as names "
            "such as stimulus-7 where the pictures are in the order of trials",
        )


def _by_name(named: list[str], names: list[str], source: str) -> dict[str, int]:
    rows = {name: row for row, name in enumerate(names)}
    stems = {Path(n).stem if n.lower().endswith(PICTURE_SUFFIXES) else n: n for n in named}
    missing = sorted(stem for stem in stems if stem not in rows)
    if missing:
        raise InputError(
            f"{source} has no picture of {len(missing)} of {len(stems)} stimuli, "
            f"{missing[0]!r} for example",
            expected="a file <stimulus_id>.png for each stimulus of the trials",
            remedy="add the missing files, or correct stimulus_id in the trials table",
        )
    return {stems[stem]: rows[stem] for stem in stems}


def _by_row(named: list[str], pictures: Pictures | PictureFiles, source: str) -> dict[str, int]:
    chosen: dict[str, int] = {}
    for row, name in enumerate(named):
        first = chosen.setdefault(name, row)
        if first != row and not np.array_equal(pictures[first], pictures[row]):
            raise InputError(
                f"{source} holds different pictures for stimulus {name!r}",
                expected="the same picture in every trial of a stimulus",
                remedy="check that trials and stimuli are in the same order",
            )
    return chosen


def _write_pictures(
    folder: Path,
    stimuli: Stimuli | None,
    places: dict[str, int],
    known: dict[str, str],
    taken: set[str],
) -> list[dict[str, Any]]:
    if stimuli is None:
        return []
    rows, files = [], set(taken)
    for name, place in progress(places.items(), label="stimuli", total=len(places)):
        pixels = stimuli[1][place]
        content = picture_hash(pixels)
        if name in known:
            if known[name] != content:
                raise InputError(
                    f"stimulus {name!r} is another picture than in the dataset {folder}",
                    expected="one picture per stimulus_id across subjects",
                    remedy="rename the stimuli of one subject, or prepare two datasets",
                )
            continue
        plain = Path(name).name  # an id may be a path such as images/p00.jpg
        known_suffix = plain.lower().endswith(PICTURE_SUFFIXES)
        file = f"{Path(plain).stem if known_suffix else plain}.png"
        if file in files or file.startswith("."):
            raise InputError(
                f"the stimulus_id {name!r} cannot be a file name of its own",
                "a plain name that no other stimulus has",
                remedy="rename it in the trials table",
            )
        files.add(file)
        write_picture(folder / "stimuli" / file, pixels)
        height, width, channels = pixels.shape
        rows.append(
            {
                "stimulus_id": name,
                "file": file,
                "hash": content,
                "height": height,
                "width": width,
                "channels": channels,
            }
        )
    return rows


def _write_recording(
    folder: Path,
    recording: Recording,
    trials: pd.DataFrame,
    dtype: Literal["float16", "float32"],
    source: str,
) -> SubjectGeometry:
    """Write the data in blocks, so that memory does not grow with the number of trials."""
    space, info = recording.space, recording.info
    if recording.modality == "fmri" and space is None:
        raise UsageError(f"the recording of subject {recording.subject} has no voxel space")
    if recording.modality != "fmri" and info is None:
        raise UsageError(
            f"the {recording.modality} recording of subject {recording.subject} does not name its "
            "channels",
            expected="channel names, rate, window and unit",
            remedy="write FILE.json beside FILE.npy, see the page on EEG",
        )
    # float16 has no room for volts and tesla: they are kept in micro- and femtounits there.
    stored_unit = {"V": "uV", "T": "fT"}.get(info.unit, info.unit) if info is not None else ""
    factor = 1.0
    if info is not None and dtype == "float16" and stored_unit != info.unit:
        factor = unit_factor(info.unit, stored_unit) or 1.0
        info = replace(info, unit=stored_unit)
    data = recording.data
    rows = max(1, BLOCK_BYTES // (data[0].size * 4))
    content = hashlib.sha256(trials.to_csv(index=False).encode())
    stem = folder / "recordings" / f"sub-{recording.subject}"
    # Written, not mapped: where the disk is full, a write through a map kills the process.
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": data.shape}
    with atomic_path(stem.with_suffix(".npy")) as temporary, temporary.open("wb") as out:
        np.lib.format.write_array_header_1_0(out, header)
        for start in range(0, len(data), rows):
            block = np.asarray(data[start : start + rows])
            if factor != 1:
                block = block.astype(np.float32) * np.float32(factor)
            with np.errstate(over="ignore"):
                converted = block.astype(dtype)
            if not np.isfinite(converted).all():
                raise InputError(
                    f"the recording holds values up to {np.nanmax(np.abs(block)):g}",
                    expected=f"values that {dtype} can hold",
                    remedy="use float32, or rescale the recording",
                )
            content.update(converted.tobytes())
            out.write(np.ascontiguousarray(converted).data)
    if space is None:
        return SubjectGeometry(
            n_trials=len(data),
            shape=data.shape,
            dtype=dtype,
            content_hash=content.hexdigest()[:16],
            source=source,
            sensors=None if info is None else SensorGeometry(**info.to_dict()),
        )
    save_array(stem.with_name(f"{stem.name}_voxels.npy"), space.indices)
    return SubjectGeometry(
        n_trials=len(data),
        shape=data.shape,
        dtype=dtype,
        grid_shape=space.grid_shape,
        affine=None if space.affine is None else space.affine.tolist(),
        voxel_hash=space.hash,
        content_hash=content.hexdigest()[:16],
        source=source,
    )


def _write_tables(
    folder: Path,
    existing: CanonicalDataset | None,
    subject: str,
    trials: pd.DataFrame,
    rows: list[dict[str, Any]],
) -> None:
    import pandas as pd

    # Text in one subject's table and numbers in another's could not share a column.
    mine = trials.assign(subject=subject, trial=trials["trial"].astype(str))
    whole = mine if existing is None else pd.concat([existing.table, mine], ignore_index=True)
    columns = ["stimulus_id", "file", "hash", "height", "width", "channels"]
    for name, table in (
        ("stimuli.parquet", pd.DataFrame(rows, columns=columns)),
        ("trials.parquet", whole),
    ):
        with atomic_path(folder / name) as temporary:
            table.to_parquet(temporary, index=False)
