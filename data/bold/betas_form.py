"""Betas in BIDS form: what ``reconstruct --input`` reads, a volume per row of an events table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phosphene.errors import InputError
from phosphene.storage import atomic_path, write_json, write_text
from phosphene.types import Recording

__all__ = ["write_betas"]

Array = np.ndarray[Any, Any]


def write_betas(root: Path, recording: Recording, task: str) -> int:
    """Write the test trials of a recording (all, where none is of the test) run by run.

    Zero outside the recording's voxels. Returns the number of volumes.

    Raises
    ------
    InputError
        If the voxels have no grid.
    """
    import nibabel

    make: Any = nibabel.Nifti1Image
    space = recording.space
    if space is None or space.affine is None or len(space.grid_shape) != 3:
        raise InputError("betas without a grid of voxels", "a recording of volumes")
    test = (recording.trials["split"] == "test").to_numpy()
    chosen = recording.select(test if test.any() else np.ones(len(recording), dtype=bool))
    for (session, run), mine in chosen.trials.groupby(["session", "run"], sort=False):
        entities = f"sub-{recording.subject}_ses-{session}_task-{task}_run-{run}"
        folder = root / f"sub-{recording.subject}" / f"ses-{session}" / "func"
        volumes = np.zeros((int(np.prod(space.grid_shape)), len(mine)), dtype=np.float32)
        volumes[space.indices] = np.asarray(chosen.data[mine.index.to_numpy()]).T
        image = make(volumes.reshape(*space.grid_shape, -1), space.affine)
        with atomic_path(folder / f"{entities}_desc-betas_bold.nii.gz") as temporary:
            nibabel.save(image, temporary)
        first = [name for name in ("onset", "duration") if name in mine]
        table = mine[[*first, *(name for name in mine if name not in first)]]
        table = table.drop(columns=["session", "run"])
        write_text(
            folder / f"{entities}_desc-betas_events.tsv",
            table.to_csv(sep="\t", index=False, na_rep="n/a"),
        )
    description = {"Name": "single-trial betas", "BIDSVersion": "1.9.0"}
    write_json(
        root / "dataset_description.json",
        {**description, "DatasetType": "derivative", "GeneratedBy": [{"Name": "phosphene"}]},
    )
    return len(chosen)
