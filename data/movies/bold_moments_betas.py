"""Files of the BOLD Moments Dataset: prepared betas of its version B, in four forms.

Pickles are read without executing anything. Facts: the dataset's own README files and scripts, and
what programs of others read: ``areas``, a dictionary of arrays (clips, showings, voxels) per area;
``mni``, a tuple of such an array, names of clips and an image of the mask (which is not read);
``fslr32k``, the same without image; ``fsaverage``, the same per hemisphere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.readers.restricted_pickle import load_plain_pickle
from phosphene.errors import InputError, UsageError

__all__ = ["CLIP", "EXPECTED", "FORMS", "Responses", "find_betas", "read_betas"]

Array = np.ndarray[Any, Any]
Responses = tuple[Array, list[int]]
"""Responses (clips, showings, voxels) float32 and the numbers of the clips, increasing."""
Blocks = dict[str, list[Responses]]
PARTS = ("train", "test")
N_TRAINING = 1000  # clips with higher numbers are those of the test
FORMS = ("areas", "mni", "fslr32k", "fsaverage")
GENERAL = "BMDgeneral"
GRAYORDINATES, CORTEX = 91282, 59412  # of fs_LR 32k; the cortices come first
AREA = re.compile(r"sub-(?P<label>\d+)_roi-(?P<area>[^_]+)_betas_normalized\.pkl")
BETAS = re.compile(
    r"sub-(?P<label>\d+)_organized_betas_task-(?P<part>train|test)"
    r"(?:_hemi-(?P<side>left|right))?_normalized\.pkl"
)
CLIP = re.compile(r"(?:vid(?:_idx)?)?0*(?P<number>\d+)")
KIND = "betas (clips, showings, voxels) of version B"
EXPECTED = (
    "derivatives/versionB/MNI152/prepared_allvoxel_pkl/sub-01/"
    "sub-01_roi-lV1v_betas_normalized.pkl, or .../GLM/sub-01/prepared_betas/"
    "sub-01_organized_betas_task-train_normalized.pkl and its neighbours"
)
REMEDY = "take the file as it was published"


def find_betas(root: Path, form: str) -> tuple[str, dict[str, list[Path]]]:
    """Return the form that is there and the files of every subject in it.

    Parameters
    ----------
    root : path
        Folder of the dataset, or any that holds the files.
    form : {"auto", "areas", "mni", "fslr32k", "fsaverage"}

    Raises
    ------
    InputError
        If there are none, or their content was not fetched.
    """
    found: dict[str, dict[str, list[Path]]] = {name: {} for name in FORMS}
    unfetched = 0
    for path in sorted(root.rglob("sub-*_normalized.pkl")):
        kind = _form_of(path)
        if kind is None:
            continue
        if not path.is_file():  # a link of git-annex to what was not fetched
            unfetched += 1
            continue
        name = (AREA if kind == "areas" else BETAS).fullmatch(path.name)
        assert name is not None
        found[kind].setdefault(f"{int(name['label']):02d}", []).append(path)
    for kind in FORMS if form == "auto" else (form,):
        if found[kind]:
            return kind, found[kind]
    raise InputError(
        f"{root} holds no prepared betas of BOLD Moments"
        + ("" if form == "auto" else f" in the form {form}")
        + (f"; the content of {unfetched} files was not fetched" if unfetched else ""),
        expected=EXPECTED,
        remedy="fetch them: `datalad get FILE`" if unfetched
        else "check --source: the folder of the dataset, or any that holds these",
    )  # fmt: skip


def _form_of(path: Path) -> str | None:
    """Return the form of a file, None of a file that is not read."""
    if AREA.fullmatch(path.name):
        return "areas"
    name = BETAS.fullmatch(path.name)
    if name is None:
        return None
    if name["side"]:
        return "fsaverage"
    return "fslr32k" if any(part.lower() == "fslr32k" for part in path.parts) else "mni"


def read_betas(
    form: str, files: list[Path], areas: tuple[str, ...]
) -> tuple[dict[str, Responses], str]:
    """Return the responses of one subject, by part, and what to say of the voxels.

    Parameters
    ----------
    form : {"areas", "mni", "fslr32k", "fsaverage"}
    files : list of path
        See :func:`find_betas`.
    areas : tuple of str
        All that are right by default.

    Raises
    ------
    InputError
        If a file is damaged, holds something else, or does not fit the others.
    UsageError
        If there is no such area.
    """
    if form == "areas":
        blocks, said = _areas(files, areas)
    elif areas and form != "mni":
        raise UsageError(
            f"areas of the form {form}",
            expected="areas of the forms areas or mni",
            remedy="leave --area away, or choose another --form",
        )
    else:
        blocks, said = _whole(files, areas)
    parts: dict[str, Responses] = {}
    for part in PARTS:
        named = blocks.get(part, [])
        shapes = {(data.shape[:2], tuple(numbers)) for data, numbers in named}
        if len(shapes) > 1:
            raise InputError(
                f"files of {files[0].parent} have different clips or showings",
                expected="the same clips and showings in all",
                remedy="take the files as they were published",
            )
        if named:
            parts[part] = np.concatenate([data for data, _ in named], axis=2), named[0][1]
    if "train" not in parts:
        raise InputError(f"{files[0].parent} has no training clips", EXPECTED, "fetch them too")
    usable = np.logical_and.reduce(
        [np.isfinite(data).all(axis=(0, 1)) for data, _ in parts.values()]
    )
    if not usable.any():
        raise InputError(
            f"no voxel of {files[0].parent} has finite responses to all clips", KIND, REMEDY
        )
    dropped = int((~usable).sum())
    said += f"; {dropped} without a finite response to every clip left out" if dropped else ""
    if dropped:
        parts = {part: (data[:, :, usable], numbers) for part, (data, numbers) in parts.items()}
    return parts, said


def _areas(files: list[Path], wanted: tuple[str, ...]) -> tuple[Blocks, str]:
    """Return the blocks of areas, side by side."""
    there = {str(AREA.fullmatch(path.name)["area"]): path for path in files}  # type: ignore[index]
    names = _named(wanted, list(there)) if wanted else [one for one in there if one != GENERAL]
    names = names or [GENERAL]
    blocks: Blocks = {part: [] for part in PARTS}
    counts = []
    for name in names:
        content = load_plain_pickle(there[name])
        for part in PARTS:
            data = content.get(f"{part}_data_allvoxel") if isinstance(content, dict) else None
            if data is None and part == "train":
                raise InputError(f"{there[name]} has no `train_data_allvoxel`", KIND, REMEDY)
            if data is not None:
                data = _checked(data, there[name])
                first = 1 if part == "train" else N_TRAINING + 1
                blocks[part].append((data, list(range(first, first + len(data)))))
        counts.append(f"{name} {blocks['train'][-1][0].shape[2]}")
    said = f"voxels: {', '.join(counts)}"
    return blocks, said + _caution(names)


def _caution(names: list[str]) -> str:
    chosen = GENERAL in names
    return f" ({GENERAL} was chosen by responses to test clips too)" if chosen else ""


def _named(wanted: tuple[str, ...], there: list[str]) -> list[str]:
    """Return the areas of both hemispheres that names stand for."""
    chosen = {
        one: [name for name in there if name in (one, f"l{one}", f"r{one}")] for one in wanted
    }
    absent = [one for one, names in chosen.items() if not names]
    if absent:
        raise UsageError(
            f"there is no area {', '.join(absent)}", expected=f"of {', '.join(sorted(there))}"
        )
    return list(dict.fromkeys(name for names in chosen.values() for name in names))


def _whole(files: list[Path], areas: tuple[str, ...]) -> tuple[Blocks, str]:
    """Return the blocks of whole brains: voxels, grayordinates of both cortices, or vertices."""
    columns, caution = _columns(files[0].parent.parent / "ROIs", areas) if areas else (None, "")
    blocks: Blocks = {part: [] for part in PARTS}
    for path in files:  # left before right
        name = BETAS.fullmatch(path.name)
        assert name is not None
        data, numbers = _betas(path)
        if data.shape[2] == GRAYORDINATES:
            data = data[:, :, :CORTEX]
        if columns is not None:
            if columns.max(initial=0) >= data.shape[2]:
                raise InputError(
                    f"areas reach to voxel {columns.max()} of {data.shape[2]} in {path}",
                    expected="areas of the same mask",
                    remedy="take both as they were published",
                )
            data = data[:, :, columns]
        blocks[name["part"]].append((data, numbers))
    count = sum(data.shape[2] for data, _ in blocks["train"])
    return blocks, f"{count} voxels or vertices{caution}"


def _columns(folder: Path, areas: tuple[str, ...]) -> tuple[Array, str]:
    """Return the positions of areas among the voxels of the mask, each once."""
    there = {
        path.name.removeprefix("ROI-").removesuffix("_indices.pkl"): path
        for path in sorted(folder.glob("ROI-*_indices.pkl"))
    }
    names = _named(areas, list(there))
    found = []
    for name in names:  # coordinates, positions in the mask, and an image
        read = load_plain_pickle(there[name], before="nibabel")
        arrays = [one for one in read if isinstance(one, np.ndarray)]
        if len(arrays) < 2 or arrays[1].dtype.kind not in "iu":
            raise InputError(f"{there[name]} has no positions", "coordinates and positions", REMEDY)
        found.append(arrays[1].ravel())
    return np.unique(np.concatenate(found)).astype(np.int64), _caution(names)


def _betas(path: Path) -> Responses:
    """Return the responses of a file and the numbers of their clips."""
    content = load_plain_pickle(path, before="nibabel")
    parts = list(content) if isinstance(content, list | tuple) else []
    data = next((part for part in parts if isinstance(part, np.ndarray)), None)
    names = next((part for part in parts if isinstance(part, list)), None)
    if data is None or names is None:
        raise InputError(f"{path} holds no responses with the names of clips", KIND, REMEDY)
    data = _checked(data, path)
    numbers = [int(found["number"]) for found in _clip_names(names)]
    if len(numbers) != len(names) or len(names) != len(data) or len(set(numbers)) < len(numbers):
        raise InputError(
            f"{path} has {len(data)} responses and names of {len(set(numbers))} clips",
            expected="vid0001, vid0002 and so on, one per response",
            remedy=REMEDY,
        )
    order = np.argsort(numbers)
    if (np.diff(order) != 1).any():
        data = data[order]
    return data, sorted(numbers)


def _clip_names(names: list[Any]) -> Iterator[re.Match[str]]:
    for name in names:
        found = CLIP.fullmatch(Path(str(name)).stem)
        if found is not None:
            yield found


def _checked(data: Any, path: Path) -> Array:
    if not isinstance(data, np.ndarray) or data.ndim != 3 or 0 in data.shape:
        found = f"the shape {data.shape}" if isinstance(data, np.ndarray) else "no array"
        raise InputError(f"{path} has {found}", KIND, REMEDY)
    if data.dtype.kind not in "fiu":
        raise InputError(f"{path} holds values of the type {data.dtype}", KIND, REMEDY)
    return data.astype(np.float32)
