"""Readers of recordings: volumes, arrays, surfaces, EEG, MEG, BIDS folders. None imports torch."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from phosphene.data.readers.arrays import read_matrix
from phosphene.data.readers.bids import (
    BetasFile,
    find_betas,
    open_betas,
    read_betas,
    read_events,
)
from phosphene.data.readers.continuous import (
    CONTINUOUS_SUFFIXES,
    find_continuous,
    read_continuous,
)
from phosphene.data.readers.damage import existing_file
from phosphene.data.readers.described import read_described
from phosphene.data.readers.epochs import holds_epochs, read_epochs
from phosphene.data.readers.glmsingle import is_glmsingle, read_glmsingle
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
    "(.func.gii, .dscalar.nii, .dtseries.nii), EEG or MEG (_epo.fif, .fif, .edf, .bdf, .vhdr, "
    ".set) or a BIDS folder"
)


def read_recording(
    path: str | os.PathLike[str],
    *,
    subject: str,
    modality: str | None = None,
    space: VoxelSpace | None = None,
    roi: str | None = None,
    trials: str | os.PathLike[str] | pd.DataFrame | None = None,
    window: tuple[float, float] | None = None,
) -> Recording:
    """Read one subject's recording in any of the known formats.

    Parameters
    ----------
    path : path
        A volume or series of volumes, an array, surface files (hemispheres separated by a
        comma), epochs of MNE (``_epo.fif``), continuous EEG or MEG with events (``.fif``,
        ``.edf``, ``.bdf``, ``.vhdr``, ``.set``), or a folder in BIDS form.
    subject : str
        A label such as ``"01"``.
    modality : {"fmri", "eeg", "meg"}, optional
        By default that of the file; arrays are fMRI unless it says otherwise, and with ``eeg``
        or ``meg`` (n_trials, n_chans, n_times), described by ``FILE.json`` beside ``FILE.npy``.
    space : VoxelSpace, optional
        The voxels of a model or dataset: the file has to be on their grid.
    roi : str, optional
        A mask or an atlas with labels, see :func:`read_space`. With ``space`` it selects
        among those voxels. Volumes need one of the two.
    trials : path or DataFrame, optional
        One row per trial. Events beside BIDS betas are found by themselves, and so are those
        of continuous EEG and MEG.
    window : (float, float), optional
        First and last time of a trial relative to its event in seconds: where continuous
        recordings are cut.

    Returns
    -------
    Recording
        ``data`` is (n_trials, n_voxels) float32 from volumes and surfaces, float16 or float32
        and possibly memory-mapped from arrays; (n_trials, n_chans, n_times) of EEG (volts) and
        MEG (tesla).

    Raises
    ------
    InputError
        If the file is missing, damaged, on another grid, or holds no usable values.
    UsageError
        If the arguments do not go together.
    """
    label = check_subject(subject)
    if modality is not None:
        check_option("modality", modality, MODALITIES)
    source = os.fspath(path)
    is_array = source.lower().endswith((".npy", ".npz")) or ".npz:" in source
    if modality in ("eeg", "meg") or _is_electric(source, label, space, roi):
        if roi is not None or space is not None:
            raise UsageError(
                f"{source} was given as {modality or 'EEG or MEG'} with voxels",
                expected="EEG or MEG without --roi, and a model of that modality",
            )
        return _read_electric(source, label, modality, trials, window, is_array=is_array)
    if roi is not None:
        space = read_space(roi, reference=space)
    if is_glmsingle(source):
        data, space = read_glmsingle(source, space)
    elif is_array:
        data, space = read_matrix(source, space)
    elif is_surface(source):
        data, space = read_surface(source, space)
    elif source.lower().endswith(VOLUME_SUFFIXES) or Path(source).is_dir():
        return _read_volumes(source, label, space, trials)
    else:
        raise _unknown_format(source)
    return Recording(data, "fmri", label, _complete(trials, len(data)), space)


def _is_electric(source: str, subject: str, space: VoxelSpace | None, roi: str | None) -> bool:
    """Whether a file's name, or what a folder holds, says EEG or MEG."""
    if Path(source).is_dir():
        return space is None and roi is None and bool(find_continuous(source, subject))
    return source.lower().endswith(CONTINUOUS_SUFFIXES)


def _read_electric(
    source: str,
    subject: str,
    modality: str | None,
    trials: str | os.PathLike[str] | pd.DataFrame | None,
    window: tuple[float, float] | None,
    *,
    is_array: bool,
) -> Recording:
    """Read EEG or MEG: an array with its description, epochs, or continuous data with events."""
    table = read_trials(trials) if isinstance(trials, str | os.PathLike) else trials
    if is_array:
        kind = cast(Modality, check_option("modality", str(modality), ("eeg", "meg")))
        epochs, info = read_described(source, kind)
        return Recording(epochs, kind, subject, complete_trials(table, len(epochs)), info=info)
    if Path(source).is_file() and holds_epochs(source):
        return read_epochs(source, subject=subject, modality=modality, trials=table)
    if Path(source).is_dir():
        files = find_continuous(source, subject, modality)
    elif source.lower().endswith(CONTINUOUS_SUFFIXES):
        files = [existing_file(source, FORMATS)]
    else:
        raise _unknown_format(source)
    if not files:
        raise InputError(
            f"{source} has no EEG or MEG file of subject {subject}",
            expected=f"sub-{subject}_..._eeg or _meg with one of {', '.join(CONTINUOUS_SUFFIXES)}",
            remedy="check the folder and the subject's label",
        )
    if window is None:
        raise InputError(
            f"{source} is a continuous recording and nothing says which window to cut",
            expected="a model that knows its window, or a window in seconds",
            remedy="name a model, pass window=(0, 1), or cut epochs with MNE",
        )
    return read_continuous(files, subject=subject, window=window, modality=modality, trials=table)


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
