"""Shared settings of the suite, and a planted truth that runs through all of the product.

The truth: pictures, a linear brain without noise, and models trained on it. Voxels are an
injective linear map of the pictures' pixels, so a ridge with hardly any penalty has to give back
the very pictures, those it was never shown included.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

# One thread per worker: several workers with several threads each wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Nothing in the suite may reach for a hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

Array = np.ndarray[Any, Any]

SIDE, N_TRAIN, N_TEST, N_VOXELS = 8, 84, 9, 120
GRID = (7, 5, 6)
AFFINE = np.array([[-2.0, 0, 0, 9], [0, 2.5, 0.3, -11], [0, -0.2, 3.0, 4], [0, 0, 0, 1]])
EXACT = ("--set", "options.alphas=[1.0e-9]", "--set", "options.precision=float64")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a command did."""

    code: int
    out: str
    err: str

    def refuses(self, code: int, *words: str) -> None:
        """Check a refusal: exit code and one message: found, expected, what to do."""
        assert self.code == code, self
        assert self.err.count("phosphene: ") == 1, self.err
        assert "\nExpected: " in self.err, self.err
        assert "\nWhat to do: " in self.err, self.err
        for word in words:
            assert word in self.err, self.err

    def succeeds(self) -> Outcome:
        assert self.code == 0, self
        return self


Cli = Callable[..., Outcome]


@dataclasses.dataclass(frozen=True)
class Toy:
    """The recording, and its files: all.npy, test.npy, shown.npy, all.tsv, test.tsv, ...

    ``pictures`` (93, 8, 8, 1) uint8, the last nine for testing; each of those is shown twice.
    """

    root: Path
    pictures: Array
    voxels: Array
    trials: pd.DataFrame
    mask: Array

    def file(self, name: str) -> str:
        return str(self.root / name)

    @property
    def test_rows(self) -> Array:
        return np.flatnonzero(self.trials["split"] == "test")

    @property
    def shown(self) -> Array:
        """Pictures of the test trials as (18, 8, 8, 3)."""
        numbers = self.trials["stimulus_id"].str.removeprefix("scene-").astype(int)
        return np.repeat(self.pictures[numbers.to_numpy()[self.test_rows]], 3, axis=-1)

    def volumes(self, rows: Array) -> Array:
        """Trials as (X, Y, Z, n): noise outside the mask, the voxels in it."""
        grid = np.random.default_rng(5).normal(size=(*GRID, len(rows))).astype(np.float32)
        grid[self.mask] = self.voxels[rows].T
        return grid


def planted(root: Path) -> Toy:
    """Draw the recording and write it as arrays and as volumes, with its tables and pictures."""
    rng = np.random.default_rng(69)
    pictures = rng.integers(0, 256, size=(N_TRAIN + N_TEST, SIDE, SIDE, 1), dtype=np.uint8)
    shown = np.r_[np.arange(N_TRAIN), np.tile(np.arange(N_TRAIN, N_TRAIN + N_TEST), 2)]
    weights = rng.normal(size=(SIDE * SIDE, N_VOXELS))
    pixels = pictures[shown].reshape(len(shown), -1) / 255
    voxels = (pixels @ weights + 3 * rng.normal(size=N_VOXELS)).astype(np.float32)
    trials = pd.DataFrame(
        {
            "session": np.where(shown < N_TRAIN, "01", "02"),
            "run": [f"{1 + row % 3:02d}" for row in range(len(shown))],
            "trial": np.arange(len(shown)),
            "stimulus_id": [f"scene-{number:03d}" for number in shown],
            "split": np.where(shown < N_TRAIN, "train", "test"),
        }
    )
    mask = np.zeros(int(np.prod(GRID)), dtype=bool)
    mask[rng.choice(mask.size, N_VOXELS, replace=False)] = True
    toy = Toy(root, pictures, voxels, trials, mask.reshape(GRID))
    test = toy.test_rows
    (root / "stimuli").mkdir(parents=True)
    np.save(root / "all.npy", voxels)
    np.save(root / "test.npy", voxels[test])
    np.save(root / "shown.npy", toy.shown)
    np.save(root / "train.npy", voxels[:N_TRAIN])
    np.save(root / "train-shown.npy", pictures[:N_TRAIN])
    trials.to_csv(root / "all.tsv", sep="\t", index=False)
    trials.iloc[test].to_csv(root / "test.tsv", sep="\t", index=False)
    for name, rows in (("betas.nii", np.arange(len(shown))), ("scan.nii", test)):
        nibabel.save(nibabel.Nifti1Image(toy.volumes(rows), AFFINE), root / name)
    nibabel.save(nibabel.Nifti1Image(toy.mask.astype(np.uint8), AFFINE), root / "mask.nii")
    for number, picture in enumerate(pictures):
        Image.fromarray(picture[..., 0]).save(root / "stimuli" / f"scene-{number:03d}.png")
    return toy


@pytest.fixture(scope="session")
def cli() -> Cli:
    """Run a command in this process: ``cli("reconstruct", "--subject", "01", ...)``."""
    from phosphene.cli.app import app, reconstruct_app

    def run(command: str, *arguments: object) -> Outcome:
        entry = reconstruct_app if command == "reconstruct" else app
        words = [] if command == "reconstruct" else command.split()
        done = CliRunner().invoke(entry, [*words, *map(str, arguments)])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert "Traceback" not in done.output
        return Outcome(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def decode(cli: Cli) -> Cli:
    """Reconstruct subject 01: ``decode(recording, model, output, *more)``."""

    def run(source: object, model: object, output: object, *more: object) -> Outcome:
        words = ("--input", source, "--model", model, "--output", output)
        return cli("reconstruct", "--subject", "01", *words, *more)

    return run


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    return planted(tmp_path_factory.mktemp("planted") / "files")


@pytest.fixture(scope="session")
def dataset(toy: Toy, cli: Cli) -> Path:
    """Canonical dataset of the arrays."""
    folder = toy.root.parent / "dataset"
    cli(
        "prepare arrays", "--recordings", toy.file("all.npy"), "--trials", toy.file("all.tsv"),
        "--stimuli", toy.file("stimuli"), "--subject", "01", "--output", folder,
    ).succeeds()  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def model(toy: Toy, dataset: Path, cli: Cli) -> Path:
    """Model that reads arrays."""
    folder = toy.root.parent / "model"
    cli(
        "train encoder", "--dataset", dataset, "--subject", "01", "--target", "pixels:8x1",
        "--output", folder, *EXACT,
    ).succeeds()  # fmt: skip
    return folder


@pytest.fixture(scope="session")
def volume_model(toy: Toy, cli: Cli) -> Path:
    """Model that knows its voxels in a grid."""
    root = toy.root.parent
    cli(
        "prepare betas", "--recordings", toy.file("betas.nii"), "--roi", toy.file("mask.nii"),
        "--trials", toy.file("all.tsv"), "--stimuli", toy.file("stimuli"), "--subject", "01",
        "--output", root / "volumes",
    ).succeeds()  # fmt: skip
    cli(
        "train encoder", "--dataset", root / "volumes", "--subject", "01", "--target",
        "pixels:8x1", "--output", root / "volume-model", *EXACT,
    ).succeeds()  # fmt: skip
    return root / "volume-model"
