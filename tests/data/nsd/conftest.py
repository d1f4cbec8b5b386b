"""Miniature trees of NSD: the official layout and four packed forms, of one made-up experiment."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

SESSIONS, LENGTH, GRID, PICTURES, SHARED, STACK, SIDE = 2, 750, (4, 5, 6), 500, 20, 1100, 6
SUBJECTS = (1, 2)


@dataclass(frozen=True)
class Experiment:
    """The truth behind the trees: what was shown, and percent signal change of every trial."""

    ordering: np.ndarray[Any, Any]
    pictures: np.ndarray[Any, Any]
    stack: np.ndarray[Any, Any]
    mask: np.ndarray[Any, Any]
    betas: dict[int, np.ndarray[Any, Any]]

    def shown(self, subject: int) -> np.ndarray[Any, Any]:
        return self.pictures[subject - 1][self.ordering]

    def is_shared(self) -> np.ndarray[Any, Any]:
        return self.ordering < SHARED


def experiment(*, drift: bool) -> Experiment:
    rng = np.random.default_rng(5)
    ordering = rng.permutation(np.repeat(np.arange(PICTURES), 3))
    numbers = rng.permutation(STACK)
    pictures = np.empty((8, PICTURES), dtype=int)
    pictures[:, :SHARED] = numbers[:SHARED]
    own = numbers[SHARED:]
    for row in range(8):  # subjects 1 and 2 share no other picture
        start = (row % 2) * (PICTURES - SHARED)
        pictures[row, SHARED:] = own[start : start + PICTURES - SHARED]
    mask = rng.choice([-1, 0, 1], GRID, p=[0.5, 0.3, 0.2]).astype(np.float32)
    stack = rng.integers(0, 256, (STACK, SIDE, SIDE, 3), dtype=np.uint8)
    betas, shared = {}, ordering < SHARED
    session = np.repeat(np.arange(SESSIONS), LENGTH)
    for subject in SUBJECTS:
        n_voxels = int((mask > 0).sum())
        signal = rng.normal(size=(PICTURES, n_voxels))[ordering]
        data = signal + rng.normal(size=(len(ordering), n_voxels))
        for number in range(SESSIONS):
            rows = session == number
            train = rows & ~shared
            data[rows] = (data[rows] - data[train].mean(0)) / data[train].std(0)
            if drift:
                data[rows] = data[rows] * rng.uniform(1, 2, n_voxels) + rng.normal(size=n_voxels)
        betas[subject] = np.round(data * 300) / 300
    return Experiment(ordering, pictures, stack, mask, betas)


def write_design(root: Path, told: Experiment) -> None:
    folder = root / "nsddata" / "experiments" / "nsd"
    folder.mkdir(parents=True)
    savemat(
        folder / "nsd_expdesign.mat",
        {
            "masterordering": (told.ordering + 1)[None].astype(np.uint16),
            "subjectim": (told.pictures + 1).astype(np.float64),
            "sharedix": (told.pictures[:1, :SHARED] + 1).astype(np.float64),
        },
    )


def write_official(root: Path, told: Experiment, kinds: tuple[str, str] = ("hdf5", "nii")) -> None:
    write_design(root, told)
    shared = set(told.pictures[0, :SHARED].tolist())
    table = pd.DataFrame({"cocoId": np.arange(STACK) + 500000, "nsdId": np.arange(STACK)})
    table["shared1000"] = [number in shared for number in range(STACK)]
    for subject in SUBJECTS:
        for repetition in range(3):
            table[f"subject{subject}_rep{repetition}"] = 0
        for trial, number in enumerate(told.shown(subject), start=1):
            seen = int((told.shown(subject)[: trial - 1] == number).sum())
            table.loc[number, f"subject{subject}_rep{seen}"] = trial
    table.to_csv(root / "nsddata" / "experiments" / "nsd" / "nsd_stim_info_merged.csv")
    affine = np.diag([1.8, 1.8, 1.8, 1])
    for subject in SUBJECTS:
        name = f"subj{subject:02d}"
        roi = root / "nsddata" / "ppdata" / name / "func1pt8mm" / "roi"
        roi.mkdir(parents=True)
        nibabel.save(nibabel.Nifti1Image(told.mask, affine), roi / "nsdgeneral.nii.gz")
        folder = root.joinpath(
            "nsddata_betas", "ppdata", name, "func1pt8mm", "betas_fithrf_GLMdenoise_RR"
        )
        folder.mkdir(parents=True)
        for session in range(SESSIONS):
            volumes = np.zeros((*GRID, LENGTH), dtype=np.int16)
            rows = told.betas[subject][session * LENGTH : (session + 1) * LENGTH]
            volumes[told.mask > 0] = np.rint(rows.T * 300)
            stem = folder / f"betas_session{session + 1:02d}"
            if kinds[session] == "hdf5":
                with h5py.File(stem.with_suffix(".hdf5"), "w") as file:
                    file["betas"] = volumes.transpose()  # as Python sees MATLAB's axes
            else:
                nibabel.save(nibabel.Nifti1Image(volumes, affine), f"{stem}.nii.gz")
    brick = root / "nsddata_stimuli" / "stimuli" / "nsd"
    brick.mkdir(parents=True)
    with h5py.File(brick / "nsd_stimuli.hdf5", "w") as file:
        file.create_dataset("imgBrick", data=told.stack, chunks=(1, SIDE, SIDE, 3))


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(array))
    return out.getvalue()


def normalised(told: Experiment, subject: int) -> np.ndarray[Any, Any]:
    """Z-scored by session over all trials, test trials too, as the packed forms were."""
    blocks = told.betas[subject].reshape(SESSIONS, LENGTH, -1)
    scaled = (blocks - blocks.mean(1, keepdims=True)) / blocks.std(1, keepdims=True)
    return scaled.reshape(SESSIONS * LENGTH, -1).astype(np.float32)


def write_mindeye2(root: Path, told: Experiment) -> None:
    for subject in SUBJECTS:
        name, shared = f"subj{subject:02d}", told.is_shared()
        rows = np.full((SESSIONS * LENGTH, 17), -1.0)
        rows[:, 0], rows[:, 1] = told.shown(subject), subject
        rows[:, 2] = np.repeat(np.arange(SESSIONS) + 1, LENGTH)
        lengths = [63, 62] * 6
        rows[:, 3] = np.tile(np.repeat(np.arange(12) + 1, lengths), SESSIONS)
        rows[:, 5], rows[:, 16] = np.arange(SESSIONS * LENGTH), shared
        groups = {f"train/{s}": np.flatnonzero((rows[:, 2] == s + 1) & ~shared) for s in range(2)}
        groups |= {f"{kind}/0": np.flatnonzero(shared) for kind in ("test", "new_test")}
        counter = 0
        for path, trials in groups.items():
            file = root / "wds" / name / f"{path}.tar"
            file.parent.mkdir(parents=True, exist_ok=True)
            with tarfile.open(file, "w") as archive:
                for trial in trials:
                    key = f"sample{counter:09d}"
                    add(archive, f"{key}.behav.npy", npy(rows[trial][None]))
                    add(archive, f"{key}.past_behav.npy", npy(np.full((15, 17), -1.0)))
                    counter += 1
        with h5py.File(root / f"betas_all_{name}_fp32_renorm.hdf5", "w") as file:
            file["betas"] = normalised(told, subject)
    with h5py.File(root / "coco_images_224_float16.hdf5", "w") as file:
        file["images"] = (told.stack.transpose(0, 3, 1, 2) / 255).astype(np.float16)


def write_mindeye1(root: Path, told: Experiment) -> None:
    from PIL import Image

    for subject in SUBJECTS:
        shown, betas = told.shown(subject), normalised(told, subject)
        for split in ("train", "val", "test"):
            file = root / "webdataset_avg_split" / split / f"{split}_subj{subject:02d}_0.tar"
            file.parent.mkdir(parents=True, exist_ok=True)
            chosen = told.pictures[subject - 1]
            chosen = {"test": chosen[:SHARED], "val": chosen[SHARED : SHARED + 30]}.get(
                split, chosen[SHARED + 30 :]
            )
            with tarfile.open(file, "w") as archive:
                for place, number in enumerate(chosen):
                    trials = np.flatnonzero(shown == number)
                    unique = len(trials)
                    key, picture = f"sample{place:09d}", io.BytesIO()
                    Image.fromarray(told.stack[number]).save(picture, "PNG")
                    padded = np.resize(trials, 3)  # copies fill up to three
                    add(archive, f"{key}.png", picture.getvalue())
                    add(archive, f"{key}.nsdgeneral.npy", npy(betas[padded]))
                    add(archive, f"{key}.trial.npy", npy(padded))
                    add(archive, f"{key}.coco73k.npy", npy([number]))
                    add(archive, f"{key}.num_uniques.npy", npy([unique]))


def write_brain_diffuser(root: Path, told: Experiment, *, design: bool = True) -> None:
    if design:
        write_design(root, told)
    for subject in SUBJECTS:
        folder = root / "processed_data" / f"subj{subject:02d}"
        folder.mkdir(parents=True)
        shown, shared = told.shown(subject), told.is_shared()
        for split, of_split in (("train", ~shared), ("test", shared)):
            order = list(dict.fromkeys(shown[of_split].tolist()))
            means = np.stack([told.betas[subject][shown == n].mean(0) * 300 for n in order])
            np.save(folder / f"nsd_{split}_fmriavg_nsdgeneral_sub{subject}.npy", means)
            stimuli = told.stack[order].astype(np.float64)
            np.save(folder / f"nsd_{split}_stim_sub{subject}.npy", stimuli)


def write_brain_it(root: Path, told: Experiment) -> None:
    folder = root / "nsd_data"
    folder.mkdir(parents=True)
    kind = np.zeros(STACK, dtype=int)
    kind[told.pictures[0, :SHARED]] = 2
    for subject in SUBJECTS:
        kind[told.pictures[subject - 1, SHARED:]] = 1
    means = {subject: np.zeros((STACK, told.betas[1].shape[1])) for subject in SUBJECTS}
    for subject in SUBJECTS:
        for number in told.pictures[subject - 1]:
            means[subject][number] = told.betas[subject][told.shown(subject) == number].mean(0)
    single = np.flatnonzero(kind == 1)
    owner = np.array([0 if n in set(told.pictures[0].tolist()) else 1 for n in single])
    n_voxels = told.betas[1].shape[1]
    rows = np.zeros((len(single), n_voxels + 3), dtype=np.float32)  # padded to the widest
    for place, (number, subject) in enumerate(zip(single, owner, strict=True)):
        rows[place, :n_voxels] = means[subject + 1][number]
    shared = np.flatnonzero(kind == 2)
    every = np.concatenate([means[1][shared], means[2][shared]], axis=1).astype(np.float32)
    np.savez(
        folder / "fmri_v2.npz",
        single_sub_fmri=rows,
        single_sub=owner,
        multi_sub_fmri=every,
        type_sample=kind,
        val_single_ind=np.arange(5),
    )
    np.save(folder / "num_voxels_all_subjects.npy", [[n_voxels - 4, 4], [3, n_voxels - 3]])
    np.save(folder / "all_images_v2_224.npy", told.stack)


WRITERS = {
    "official": write_official,
    "mindeye2": write_mindeye2,
    "mindeye1": write_mindeye1,
    "brain-diffuser": write_brain_diffuser,
    "brain-it": write_brain_it,
}


@pytest.fixture(scope="session")
def steady() -> Experiment:
    """Sessions that are standardised already: means over them lose nothing."""
    return experiment(drift=False)


@pytest.fixture(scope="session")
def drifting() -> Experiment:
    """Sessions of different gain and offset, as in a scanner."""
    return experiment(drift=True)


@pytest.fixture(scope="session")
def trees(tmp_path_factory: pytest.TempPathFactory, steady: Experiment) -> dict[str, Path]:
    """One tree of every form."""
    found = {}
    for form, write in WRITERS.items():
        found[form] = tmp_path_factory.mktemp(form)
        write(found[form], steady)
    return found


@pytest.fixture(scope="session")
def drifting_trees(
    tmp_path_factory: pytest.TempPathFactory, drifting: Experiment
) -> dict[str, Path]:
    """The forms that keep single trials, of sessions that drift."""
    found = {}
    for form in ("official", "mindeye2", "mindeye1"):
        found[form] = tmp_path_factory.mktemp(f"drifting-{form}")
        WRITERS[form](found[form], drifting)
    return found
