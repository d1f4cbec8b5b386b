"""Readers of recordings: volumes, arrays, surfaces and BIDS folders. None imports torch."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from phosphene.data.readers.arrays import read_array, read_matrix
from phosphene.data.readers.bids import (
    BetasFile,
    find_betas,
    open_betas,
    read_betas,
    read_events,
)
from phosphene.data.readers.damage import existing_file
from phosphene.data.readers.regions import read_space
from phosphene.data.readers.surface import is_surface, read_surface
from phosphene.data.readers.tables import read_trials
from phosphene.data.readers.values import check_values
from phosphene.errors import InputError, UsageError, check_option
from phosphene.names import check_subject
from phosphene.trials import complete_trials
from phosphene.types import MODALITIES, Modality, Recording, VoxelSpace

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["read_recording", "read_space", "read_trials"]

logger = logging.getLogger(__name__)

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh")
FORMATS = (
    "a volume (.nii, .nii.gz, .mgz), an array (.npy, .npz or FILE.npz:KEY), a surface "
    "(.func.gii, .dscalar.nii, .dtseries.nii) or a BIDS folder"
)


def read_recording(
    path: str | os.PathLike[str],
    *,
    subject: str,
    modality: str = "fmri",
    space: VoxelSpace | None = None,
    roi: str | None = None,
    trials: str | os.PathLike[str] | pd.DataFrame | None = None,
) -> Recording:
    """Read one subject's recording in any of the known formats.

    Parameters
    ----------
    path : path
        A volume or series of volumes, an array, surface files (hemispheres separated by a
        comma), or a folder in BIDS form.
    subject : str
        A label such as ``"01"``.
    modality : {"fmri", "eeg", "meg"}
        EEG and MEG are read from arrays (n_trials, n_chans, n_times).
    space : VoxelSpace, optional
        The voxels of a model or dataset: the file has to be on their grid.
    roi : str, optional
        A mask or an atlas with labels, see :func:`read_space`. With ``space`` it selects
        among those voxels. Volumes need one of the two.
    trials : path or DataFrame, optional
        One row per trial. Events beside BIDS betas are found by themselves.

    Returns
    -------
    Recording
        ``data`` is (n_trials, n_voxels) float32 from volumes and surfaces, float16 or float32
        and possibly memory-mapped from arrays.

    Raises
    ------
    InputError
        If the file is missing, damaged, on another grid, or holds no usable values.
    UsageError
        If the arguments do not go together.
    """
    label = check_subject(subject)
    kind = cast(Modality, check_option("modality", modality, MODALITIES))
    source = os.fspath(path)
    is_array = source.lower().endswith((".npy", ".npz")) or ".npz:" in source
    if kind != "fmri":
        if not is_array or roi is not None or space is not None:
            raise UsageError(
                f"{source} was given as {kind} {'with voxels' if roi or space else 'data'}",
                expected="an array (n_trials, n_chans, n_times), without --roi",
            )
        epochs = read_array(source)
        return Recording(epochs, kind, label, _complete(trials, len(epochs)))
    if roi is not None:
        space = read_space(roi, reference=space)
    if is_array:
        data, space = read_matrix(source, space)
    elif is_surface(source):
        data, space = read_surface(source, space)
    elif source.lower().endswith(VOLUME_SUFFIXES) or Path(source).is_dir():
        return _read_volumes(source, label, space, trials)
    else:
        raise _unknown_format(source)
    return Recording(data, kind, label, _complete(trials, len(data)), space)


def _read_volumes(
    source: str,
    subject: str,
    space: VoxelSpace | None,
    trials: str | os.PathLike[str] | pd.DataFrame | None,
) -> Recording:
    """Read a folder of betas or one file; headers and tables come first, as they are quick."""
    is_folder = Path(source).is_dir()
    betas = find_betas(source, subject) if is_folder else [BetasFile.parse(source)]
    if space is None:
        existing_file(betas[0].path, FORMATS)
        raise InputError(
            f"{source} holds whole volumes and nothing says which voxels to use",
            expected="a mask, an atlas with labels, or a model that knows its voxels",
            remedy="pass --roi mask.nii.gz or --roi atlas.nii.gz:1,2,3",
        )
    opened = open_betas(betas, space)
    counts = [volumes.n_volumes for volumes in opened]
    if trials is None and (is_folder or (betas[0].is_betas and betas[0].find_events())):
        trials = read_events(betas, counts)
    if betas[0].entities.get("sub", subject) != subject:
        logger.warning("%s is named after another subject than %s", source, subject)
    table = _complete(trials, sum(counts))
    data = read_betas(opened, space)
    check_values(data, source)
    return Recording(data, "fmri", subject, table, space)


def _complete(trials: str | os.PathLike[str] | pd.DataFrame | None, n_trials: int) -> pd.DataFrame:
    table = read_trials(trials) if isinstance(trials, str | os.PathLike) else trials
    return complete_trials(table, n_trials)


def _unknown_format(source: str) -> InputError:
    if not Path(source).exists():
        return InputError(f"there is no file or folder {source}", FORMATS, "check the path")
    return InputError(
        f"{source} is not of a known format", FORMATS, "convert the recording into one of these"
    )
