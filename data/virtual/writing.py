"""Writing a simulated experiment as a folder in BIDS form, with the truth beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import phosphene
from phosphene.data.pictures import write_picture
from phosphene.data.scenes import captions, factor_table
from phosphene.data.virtual.areas import AREA_NAMES, VERSION
from phosphene.data.virtual.confounds import gaze_towards_main_solid, main_shapes
from phosphene.data.virtual.experiment import plan_trials
from phosphene.data.virtual.haemodynamics import HRF_PARAMETERS
from phosphene.data.virtual.ideal_observer import REPETITIONS, ideal_identification
from phosphene.data.virtual.scene_bank import LEAST, build_bank, ideal_pixels
from phosphene.data.virtual.stimuli import Stimuli, labels_of
from phosphene.errors import UsageError, check_option
from phosphene.progress import progress
from phosphene.storage import atomic_path, new_folder, save_array, write_json

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.data.virtual.experiment import Simulation
    from phosphene.data.virtual.subject import VirtualSubject

__all__ = ["mask_path", "save_table", "write_experiment", "write_factors", "write_stimuli"]

Array = np.ndarray[Any, Any]


def mask_path(folder: str | os.PathLike[str], subject: str) -> Path:
    """Return where a simulation keeps the mask of its voxels."""
    return Path(folder) / f"sub-{subject}" / "anat" / f"sub-{subject}_desc-visual_mask.nii.gz"


def write_experiment(
    folder: str | os.PathLike[str],
    subject: VirtualSubject,
    stimuli: Stimuli,
    *,
    repetitions: int | None = None,
    seed: int = 0,
    sessions: int | None = None,
    estimator: str = "lsa",
    confounds: Sequence[str] = (),
    bank: int = 0,
    threads: int | None = 2,
) -> Simulation:
    """Simulate an experiment and write betas, events, stimuli and truth into a new folder.

    Parameters
    ----------
    folder : path
        Must not exist or be empty.
    subject : VirtualSubject
    stimuli : Stimuli
    repetitions, seed, sessions, estimator
        As in :meth:`VirtualSubject.simulate`.
    confounds : sequence of str
        Names in :data:`CONFOUNDS`; ``duplicates`` is a matter of the stimuli.
    bank : int
        Scenes of the ideal observer's bank for pixel scores; 0 leaves these scores out.
    threads : int or None
        Of the renderer.

    Raises
    ------
    UsageError
        If the folder is not empty or arguments do not go together.
    """
    check_option("estimator", estimator, ("lsa", "lss"))
    if bank and estimator != "lsa":
        raise UsageError(f"a bank for {estimator!r} betas", expected="'lsa' betas")
    # Wrong numbers end here and not after all pictures have been seen.
    shown = subject.preset.repetitions if repetitions is None else repetitions
    plan_trials(len(stimuli), shown, seed=seed, sessions=sessions)
    with new_folder(folder) as root:
        content = {"arousal", "block-drift", "gaze"} & set(confounds)
        scenes = labels_of(stimuli.scenes) if content else ()
        gaze = gaze_towards_main_solid(scenes) if "gaze" in confounds else None
        signal = subject.respond(stimuli.scenes, stimuli.images, gaze)
        simulation = subject.simulate(
            signal,
            repetitions=repetitions,
            seed=seed,
            sessions=sessions,
            estimator=estimator,
            confounds=confounds,
            categories=main_shapes(scenes) if scenes else None,
        )
        write_stimuli(root / "stimuli", stimuli)
        _write_anatomy(root, subject)
        _write_sessions(root, simulation, stimuli)
        settings = {
            "virtual": True,
            "version": VERSION,
            "subject": subject.label,
            "preset": subject.preset.name,
            "realistic": not subject.preset.independent,
            "seed": seed,
            "estimator": estimator,
            "confounds": sorted(confounds),
            "units": "percent signal change",
            "tr_seconds": subject.preset.tr,
        }
        _write_truth(root / "truth", simulation, stimuli, gaze, estimator)
        write_json(root / "truth" / "simulation.json", settings)
        _write_ideal(root / "truth", simulation, stimuli, estimator, bank, threads)
        write_json(root / "dataset_description.json", _description(subject))
    return simulation


def _description(subject: VirtualSubject) -> dict[str, Any]:
    return {
        "Name": f"Virtual fMRI subject {subject.label} looking at scenes",
        "BIDSVersion": "1.10.0",
        "DatasetType": "derivative",
        "License": "Apache-2.0",
        "GeneratedBy": [
            {
                "Name": "phosphene",
                "Version": phosphene.__version__,
                "Description": f"Simulation: virtual fMRI subject, version {VERSION}, preset "
                f"{subject.preset.name}. Not human data.",
            }
        ],
    }


def write_stimuli(folder: Path, stimuli: Stimuli) -> None:
    """Write the pictures, named by their identifiers."""
    for name, image in zip(stimuli.ids, stimuli.images, strict=True):
        write_picture(folder / f"{name}.png", image)


def _save_volume(path: Path, values: Array, affine: Array) -> None:
    import nibabel as nib

    image = nib.Nifti1Image(values, affine)  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def save_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table as BIDS does, atomically."""
    with atomic_path(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep="n/a", float_format="%.6g")


def _volumes(subject: VirtualSubject, columns: Array) -> Array:
    """Return columns (n, V) as a volume per row (X, Y, Z, n), zero outside the voxels."""
    shape = subject.space.grid_shape
    grid = np.zeros((int(np.prod(shape)), len(columns)), dtype=columns.dtype)
    grid[subject.space.indices] = columns.T
    return grid.reshape(*shape, len(columns))


def _write_anatomy(root: Path, subject: VirtualSubject) -> None:
    import pandas as pd

    anatomy, affine = subject.anatomy, subject.anatomy.affine
    path = mask_path(root, subject.label)
    stem = path.with_name(f"sub-{subject.label}_desc-areas_dseg")
    areas = _volumes(subject, anatomy.area[None].astype(np.int16))[..., 0]
    _save_volume(path, (areas > 0).astype(np.uint8), affine)
    _save_volume(stem.with_name(stem.name + ".nii.gz"), areas, affine)
    labels = pd.DataFrame({"index": np.arange(1, len(AREA_NAMES) + 1), "name": AREA_NAMES})
    save_table(stem.with_name(stem.name + ".tsv"), labels)


def _write_sessions(root: Path, simulation: Simulation, stimuli: Stimuli) -> None:
    subject, trials = simulation.subject, simulation.trials
    affine = subject.anatomy.affine
    ids = np.array(stimuli.ids, dtype=object)[trials["stimulus"].to_numpy()]
    events = trials[["onset", "duration", "run"]].copy()
    events["stimulus_id"], events["stim_file"] = ids, ids + ".png"
    events["repetition"] = trials["repetition"]
    if "train" in stimuli.splits:
        events["split"] = np.array(stimuli.splits)[trials["stimulus"].to_numpy()]
    sessions = trials.groupby("session").indices
    for session, rows in progress(list(sessions.items()), label="writing sessions"):
        stem = f"sub-{subject.label}_ses-{session}_task-scenes"
        func = root / f"sub-{subject.label}" / f"ses-{session}" / "func"
        volumes = _volumes(subject, simulation.betas[rows])
        _save_volume(func / f"{stem}_desc-betas_bold.nii.gz", volumes, affine)
        save_table(func / f"{stem}_events.tsv", events.iloc[rows])


def _write_truth(
    folder: Path, simulation: Simulation, stimuli: Stimuli, gaze: Array | None, estimator: str
) -> None:
    subject = simulation.subject
    save_array(folder / "signal.npy", simulation.signal)
    covariance = subject.noise.covariance(estimator)
    save_array(folder / "noise_covariance.npy", covariance.astype(np.float32))
    trials = simulation.trials.copy()
    trials["stimulus_id"] = np.array(stimuli.ids, dtype=object)[trials["stimulus"].to_numpy()]
    save_table(folder / "trials.tsv", trials.drop(columns="stimulus"))
    write_factors(folder, stimuli, gaze)
    save_table(folder / "voxels.tsv", _voxel_table(subject))


def write_factors(folder: Path, stimuli: Stimuli, gaze: Array | None = None) -> None:
    """Write what each picture shows: ``factors.tsv`` and, of scenes, ``scenes.json``."""
    import pandas as pd

    factors = pd.DataFrame({"stimulus_id": stimuli.ids, "split": stimuli.splits})
    if gaze is not None:
        factors["gaze_x"], factors["gaze_y"] = gaze[:, 0], gaze[:, 1]
    if stimuli.scenes is not None:
        factors["caption"] = [captions(scene, 1)[0] for scene in stimuli.scenes]
        factors = pd.concat([factors, pd.DataFrame(factor_table(stimuli.scenes))], axis=1)
        pairs = zip(stimuli.ids, stimuli.scenes, strict=True)
        write_json(folder / "scenes.json", {name: scene.to_dict() for name, scene in pairs})
    save_table(folder / "factors.tsv", factors)


def _voxel_table(subject: VirtualSubject) -> pd.DataFrame:
    """Return what is known about each voxel, in the order of the columns of ``signal.npy``."""
    import pandas as pd

    anatomy = subject.anatomy
    at = np.unravel_index(subject.space.indices, subject.space.grid_shape)
    peaks = np.array(HRF_PARAMETERS)[subject.noise.hrf]
    ratio = subject.ncsnr
    return pd.DataFrame(
        {
            "i": at[0],
            "j": at[1],
            "k": at[2],
            "area": anatomy.area_names,
            "hemisphere": np.array(["L", "R"])[anatomy.hemisphere],
            "rf_x_degrees": anatomy.rf_x,
            "rf_y_degrees": anatomy.rf_y,
            "rf_sigma_degrees": anatomy.rf_sigma,
            "exponent": anatomy.exponent,
            "hrf_peak_seconds": peaks[:, 0],
            "hrf_undershoot_seconds": peaks[:, 1],
            "signal_sd": subject.amplitude,
            "noise_sd": subject.noise.sd,
            "ncsnr": ratio,
            "noise_ceiling_1_trial": ratio**2 / (ratio**2 + 1),
            "noise_ceiling_3_trials": ratio**2 / (ratio**2 + 1 / 3),
            "suppression": subject.suppression,
        }
    )


def _write_ideal(
    folder: Path,
    simulation: Simulation,
    stimuli: Stimuli,
    estimator: str,
    bank: int,
    threads: int | None,
) -> None:
    subject = simulation.subject
    rows = np.flatnonzero(np.array(stimuli.splits) == "test")
    signal = simulation.signal[rows]
    content: dict[str, Any] = {"repetitions": list(REPETITIONS), "pictures": len(rows)}
    if estimator == "lsa":
        scores = ideal_identification(subject, signal)
        content["identification"] = [score.to_dict() for score in scores]
    else:
        content["identification"] = None
        content["note"] = "LSS mixes trials: the likelihood depends on the whole sequence"
    if bank:
        built = build_bank(subject, bank, folder / "bank", threads=threads)
        content["pixels"] = ideal_pixels(subject, built, signal, stimuli.images[rows])
        content["bank_is_large_enough_to_quote"] = bank >= LEAST
    write_json(folder / "ideal_observer.json", content)
