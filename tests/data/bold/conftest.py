"""A miniature experiment: raw BIDS with events, and what fMRIPrep would leave of it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.first_level import make_first_level_design_matrix

GRID, TR, VOLUMES, TRIALS = (5, 4, 3), 1.5, 120, 24
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])
Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Made:
    """Where it lies, and the responses that were planted, by (session, run)."""

    raw: Path
    fmriprep: Path
    mask: Array
    betas: dict[tuple[str, str], Array]


def write_nifti(path: Path, data: Array, tr: float | None = None) -> None:
    image = nibabel.Nifti1Image(data, AFFINE)
    if tr is not None:
        image.header.set_zooms((2.0, 2.0, 2.0, tr))
        image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(image, path)


def events_of(rng: np.random.Generator, session: str, run: int) -> pd.DataFrame:
    onsets = 6 + np.cumsum(rng.choice([5.0, 6.5, 8.0], TRIALS)) - 5
    numbers = rng.permutation(TRIALS)
    test = numbers < 6  # the same six in every run
    names = [f"shared/t{n:02d}.png" if t else f"own/{session}{run}n{n:02d}.png"
             for n, t in zip(numbers, test, strict=True)]  # fmt: skip
    table = pd.DataFrame({"onset": onsets, "duration": 2.0, "trial_type": "picture"})
    table["stim_file"] = names
    table["split"] = np.where(test, "test", "train")
    catch = pd.DataFrame(
        {"onset": [170.0], "duration": [0.0], "trial_type": ["button"], "stim_file": ["n/a"],
         "split": ["n/a"]}
    )  # fmt: skip
    rest = catch.assign(onset=0.0, duration=3.0, trial_type="rest")
    return pd.concat([rest, table, catch], ignore_index=True)


def write_experiment(root: Path, *, noise: float = 0.3) -> Made:
    rng = np.random.default_rng(3)
    raw, prep = root / "raw", root / "raw" / "derivatives" / "fmriprep"
    mask = rng.random(GRID) < 0.7
    n_voxels = int(mask.sum())
    for place, kind in ((raw, "raw"), (prep, "derivative")):
        place.mkdir(parents=True, exist_ok=True)
        described = {"Name": "mini", "BIDSVersion": "1.9.0", "DatasetType": kind}
        (place / "dataset_description.json").write_text(json.dumps(described))
    betas = {}
    responses: dict[str, Array] = {}
    times = (np.arange(VOLUMES) + 0.5) * TR
    for session in ("a", "b"):
        for run in (1, 2):
            table = events_of(rng, session, run)
            trials = table[table["trial_type"] == "picture"].reset_index(drop=True)
            named = trials.assign(trial_type=[f"t{n:03d}" for n in range(len(trials))])
            design = make_first_level_design_matrix(
                times, named[["onset", "duration", "trial_type"]], drift_model=None
            )
            for name in trials["stim_file"]:
                responses.setdefault(name, rng.normal(size=n_voxels))
            own = np.stack([responses[name] for name in trials["stim_file"]])
            betas[session, str(run)] = own
            motion = np.cumsum(rng.normal(size=(VOLUMES, 6)), axis=0) * 0.05
            clean = design.to_numpy()[:, : len(trials)] @ own
            series = (
                clean
                + motion @ rng.normal(size=(6, n_voxels))
                + noise * rng.normal(size=(VOLUMES, n_voxels))
            )
            data = np.zeros((*GRID, VOLUMES), dtype=np.float32)
            data[mask] = (1000 * (1 + series / 100)).T
            stem = f"sub-01_ses-{session}_task-see_run-{run}"
            func = Path("sub-01") / f"ses-{session}" / "func"
            write_nifti(raw / func / f"{stem}_bold.nii.gz", data, TR)
            table.to_csv(raw / func / f"{stem}_events.tsv", sep="\t", index=False, na_rep="n/a")
            prepared = f"{stem}_space-T1w"
            write_nifti(prep / func / f"{prepared}_desc-preproc_bold.nii.gz", data, TR)
            write_nifti(prep / func / f"{prepared}_desc-brain_mask.nii.gz", mask.astype(np.uint8))
            (prep / func / f"{prepared}_desc-preproc_bold.json").write_text(
                json.dumps({"RepetitionTime": TR, "StartTime": TR / 2, "TaskName": "see"})
            )
            names = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
            confounds = pd.DataFrame(motion, columns=names)
            for name in ("csf", "white_matter", "global_signal"):
                confounds[name] = rng.normal(size=VOLUMES)
            for order in range(2):
                wave = np.cos(np.pi * (order + 1) * (np.arange(VOLUMES) + 0.5) / VOLUMES)
                confounds[f"cosine{order:02d}"] = wave
            file = prep / func / f"{stem}_desc-confounds_timeseries.tsv"
            confounds.to_csv(file, sep="\t", index=False, na_rep="n/a")
            file.with_suffix(".json").write_text("{}")
    (raw / "task-see_bold.json").write_text(json.dumps({"RepetitionTime": TR}))
    return Made(raw, prep, mask, betas)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The miniature, written once."""
    return write_experiment(tmp_path_factory.mktemp("bids"))


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Where real recordings lie, skipping where they do not."""

    def find(name: str) -> Path:
        default = Path(__file__).parents[4] / "shared" / "data"
        folder = Path(os.environ.get("PHOSPHENE_SHARED_DATA", default)) / name
        if not folder.is_dir():
            pytest.skip(f"{name} is not here; set PHOSPHENE_SHARED_DATA")
        return folder

    return find
