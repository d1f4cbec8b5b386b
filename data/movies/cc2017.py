"""The movies and volumes of Wen et al. (2018), "CC2017", in absolute seconds of the movie.

Three subjects, 18 training movies shown twice and 5 test movies shown ten times, 8 minutes each,
a volume every 2 s. In runs of 245 volumes the movie had been running for 2 s when the first volume
began; runs of 246 volumes begin with it. The usual trimming to 240 volumes keeps those from second
4 of the movie on, in both kinds of run; "volume j belongs to clip j" is then a delay of 4 s. Here
every volume keeps its second, and delay and window stay arguments.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.movies.repetition_time import settle_repetition_time
from phosphene.errors import InputError

if TYPE_CHECKING:
    from phosphene.types import VoxelSpace

__all__ = [
    "MOVIE_SECONDS",
    "OfficialRun",
    "find_official_runs",
    "kept_volumes",
    "polynomial_residuals",
    "read_official_run",
    "start_of_run",
]

Array = np.ndarray[Any, Any]

TR = 2.0
MOVIE_SECONDS = 480.0
STARTS = {245: 2.0, 246: 0.0}
"""Second of the movie at which the first volume began, by the number of volumes."""
TRIMMED_START, TRIMMED_VOLUMES = 4.0, 240
DEGREE = 4  # of the polynomial that is taken out of every voxel
EXCLUDED = {("03", "test2", 9)}  # it lags the movie by about 10 s
FORMS = ("cifti", "mni")
SUBJECT = re.compile(r"sub(?:ject)?[-_]?0*(?P<number>\d+)", re.IGNORECASE)
NAME = re.compile(r"(?P<segment>(?:seg|test)\d+)_(?P<repetition>\d+)(?=[^\d])")
SUFFIXES = {"cifti": (".dtseries.nii",), "mni": (".nii", ".nii.gz")}


@dataclass(frozen=True)
class OfficialRun:
    """A file of the official layout.

    Attributes
    ----------
    path : Path
    subject : str
        "01" for ``subject1``.
    segment : str
        ``seg1`` or ``test1``.
    repetition : int
    """

    path: Path
    subject: str
    segment: str
    repetition: int

    @property
    def excluded(self) -> bool:
        """Whether this is the run that lags its movie."""
        return (self.subject, self.segment, self.repetition) in EXCLUDED

    @property
    def order(self) -> tuple[bool, int, int]:
        """Training segments first, then by number and repetition."""
        return (
            self.segment.startswith("test"),
            int(re.sub(r"\D", "", self.segment)),
            self.repetition,
        )


def find_official_runs(source: str | os.PathLike[str], form: str) -> dict[str, list[OfficialRun]]:
    """Return the runs of every subject in ``subject1/fmri/seg1/cifti/`` and its neighbours.

    Parameters
    ----------
    source : path
        The folder ``video_fmri_dataset``, the one above it, that of one subject, or its ``fmri``.
    form : {"cifti", "mni"}
    """
    found: dict[str, list[OfficialRun]] = {}
    for folder, label in _subject_folders(Path(source)):
        runs: dict[tuple[str, int], OfficialRun] = {}
        for path in sorted(folder.glob(f"fmri/*/{form}/*")):
            name = NAME.match(path.name)
            if name is None or not path.name.endswith(SUFFIXES[form]):
                continue
            if form == "mni" and path.name.endswith(SUFFIXES["cifti"]):
                continue
            run = OfficialRun(path, label, name["segment"], int(name["repetition"]))
            if runs.setdefault((run.segment, run.repetition), run) is not run:
                raise InputError(
                    f"{path.parent} has two files of repetition {run.repetition}",
                    expected="one per repetition",
                    remedy="move the other one away",
                )
        if runs and label in found:
            raise InputError(
                f"{source} holds subject {label} twice, once in {folder}",
                expected="one folder per subject",
                remedy="name one of them with --source",
            )
        if runs:
            found[label] = sorted(runs.values(), key=lambda run: run.order)
    return found


def _subject_folders(root: Path) -> list[tuple[Path, str]]:
    """Return the folders named after subjects: this one, those in it or, failing them, deeper."""
    own = root.resolve()
    own = own.parent if own.name == "fmri" else own
    for places in ([own], sorted(root.iterdir()), sorted(root.glob("*/*"))):
        named = [(path, SUBJECT.fullmatch(path.name)) for path in places if path.is_dir()]
        found = [(path, f"{int(name['number']):02d}") for path, name in named if name is not None]
        if found:
            return found
    return []


def start_of_run(n_volumes: int, where: str) -> float:
    """Return the second of the movie at which a run's first volume began.

    Raises
    ------
    InputError
        If a run has neither 245 nor 246 volumes (nor 240, which are trimmed already).
    """
    if n_volumes == TRIMMED_VOLUMES:
        return TRIMMED_START
    if n_volumes not in STARTS:
        raise InputError(
            f"{where} has {n_volumes} volumes",
            expected="245 (they begin at second 2 of the movie), 246 (at its start), or 240 that "
            "were trimmed in the usual way (at second 4)",
            remedy="take the runs as they were published",
        )
    return STARTS[n_volumes]


def kept_volumes(n_volumes: int, where: str, *, trim: bool) -> tuple[slice, float]:
    """Return which volumes of a run are kept, and the second of the movie the first one began at.

    Parameters
    ----------
    n_volumes : int
    where : str
        Named in messages.
    trim : bool
        Whether to keep the usual 240, from second 4 on.
    """
    start = start_of_run(n_volumes, where)
    if not trim:
        return slice(0, n_volumes), start
    first = round((TRIMMED_START - start) / TR)
    return slice(first, first + TRIMMED_VOLUMES), TRIMMED_START


def polynomial_residuals(data: Array) -> Array:
    """Return volumes (n, V) float32 without a polynomial of degree 4, each voxel z-scored.

    A voxel that does not vary becomes 0.
    """
    n = len(data)
    basis, _ = np.linalg.qr(np.polynomial.legendre.legvander(np.linspace(-1, 1, n), DEGREE))
    values = np.asarray(data, dtype=np.float64)
    values = values - values.mean(axis=0)
    rest = values - basis @ (basis.T @ values)
    spread = rest.std(axis=0)
    floor = 1e-9 * np.maximum(np.abs(np.asarray(data[0], dtype=np.float64)), 1e-30)
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > floor)
    found: Array = (rest * scale).astype(np.float32)
    return found


def read_official_run(
    run: OfficialRun, space: VoxelSpace | None, *, roi: str | None, trim: bool
) -> tuple[Array, float, VoxelSpace]:
    """Read one run, free of drift.

    Returns
    -------
    data : ndarray of shape (n_volumes, n_voxels), float32
    start : float
        Second of the movie at which the first volume began.
    space : VoxelSpace
        Of CIFTI: grayordinates of both cortices, unless ``space`` says otherwise.
    """
    from phosphene.data.readers import read_recording

    settle_repetition_time(run.path, TR, by="the TR of CC2017")
    if space is None and roi is None:
        space = cortex_of(run.path) if run.path.name.endswith(SUFFIXES["cifti"]) else None
        if space is None:
            space = varying_voxels(run.path)
    recording = read_recording(
        run.path, subject=run.subject, space=space, roi=roi if space is None else None
    )
    kept, start = kept_volumes(len(recording), str(run.path), trim=trim)
    assert recording.space is not None  # readers of volumes and surfaces always give one
    return polynomial_residuals(recording.data[kept]), start, recording.space


def cortex_of(path: Path) -> VoxelSpace | None:
    """Return the columns of both cortices in a CIFTI file, None where it has no other columns."""
    import nibabel

    from phosphene.data.readers.damage import existing_file, reading
    from phosphene.types import VoxelSpace

    with reading(existing_file(path, "a CIFTI time series"), "a CIFTI time series"):
        axis: Any = nibabel.load(path).header.get_axis(1)  # type: ignore[attr-defined]
        names = np.array([str(name) for name in axis.name])
    cortex = np.isin(names, ["CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"])
    if not cortex.any():
        return VoxelSpace.columns(len(names))
    return VoxelSpace((len(names),), np.flatnonzero(cortex))


def varying_voxels(path: Path) -> VoxelSpace:
    """Return the voxels of a volume series that vary, where no mask is given."""
    import nibabel

    from phosphene.data.readers.damage import existing_file, reading
    from phosphene.types import VoxelSpace

    with reading(existing_file(path, "a series of volumes"), "a series of volumes"):
        image: Any = nibabel.load(path)
        if len(image.shape) != 4:
            raise InputError(f"{path} has the shape {image.shape}", "a series of volumes")
        low = high = np.asarray(image.dataobj[..., 0], dtype=np.float32)
        for number in range(1, image.shape[3], max(1, image.shape[3] // 20)):
            volume = np.asarray(image.dataobj[..., number], dtype=np.float32)
            low, high = np.minimum(low, volume), np.maximum(high, volume)
        indices = np.flatnonzero((high > low).ravel())
        if not len(indices):
            raise InputError(f"no voxel of {path} varies", "a series of volumes")
        return VoxelSpace(tuple(image.shape[:3]), indices, image.affine)
