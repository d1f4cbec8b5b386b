"""`phosphene index calibrate`: an index tells how sure it is of a subject's predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from phosphene.storage import save_array

Array = np.ndarray[Any, Any]
Cli = Callable[..., Any]
N = 80


@pytest.fixture(scope="module")
def noise_index(cli: Cli, decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that were never shown to anyone, so that predictions find them by chance alone."""
    root = tmp_path_factory.mktemp("noise")
    (root / "pictures").mkdir()
    pictures = np.random.default_rng(3).integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
    for number, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(root / "pictures" / f"n{number:02d}.png")
    cli(
        "index build", "--pictures", root / "pictures", "--target", f"local-dir:{decoder}",
        "--output", root / "index", "--device", "cpu",
    ).succeeds()  # fmt: skip
    return root / "index"


def write_scan(folder: Path, scan: Path, names: list[str], seed: int) -> tuple[Any, ...]:
    """Write a recording of noise during the named pictures; return flags that name it."""
    width = np.load(scan, allow_pickle=False).shape[1]
    data = np.random.default_rng(seed).standard_normal((len(names), width)).astype(np.float32)
    folder.mkdir()
    save_array(folder / "scan.npy", data)
    pd.DataFrame({"stimulus_id": names}).to_csv(folder / "scan.tsv", sep="\t", index=False)
    return ("--subject", "01", "--input", folder / "scan.npy", "--trials", folder / "scan.tsv",
            "--average", "stimulus", "--device", "cpu")  # fmt: skip


def test_an_index_knows_that_noise_finds_pictures_by_chance(
    cli: Cli, noise_index: Path, scan: Path, tmp_path: Path
) -> None:
    taught = [f"n{number:02d}" for number in range(60)]
    flags = write_scan(tmp_path / "a", scan, taught, 0)
    done = cli("index calibrate", noise_index, *flags).succeeds()
    assert done.out.splitlines()[-1] == f"confidence: {noise_index}/confidence.json"
    asked = ["n03", *(f"n{number:02d}" for number in range(60, N))]
    flags = write_scan(tmp_path / "b", scan, asked, 1)
    done = cli(
        "retrieve", *flags, "--index", noise_index, "--top", 5, "--output", tmp_path / "out"
    ).succeeds()
    assert "among the first 5: mean" in done.out
    table = pd.read_csv(tmp_path / "out" / "confidence.tsv", sep="\t")
    assert table.columns.tolist() == ["query", "k", "confidence"]
    assert table["query"].tolist() == [name for name in sorted(asked) for _ in range(2)]
    assert table["k"].tolist() == [1, 5] * len(asked)
    own = table["query"] == "n03"
    assert table["confidence"][own].isna().all()  # it taught the confidence
    means = table[~own].groupby("k")["confidence"].mean()
    assert means[1] < 0.15
    assert means[1] < means[5] < 0.25
    assert "if it is indexed: first 0." in (tmp_path / "out" / "report.html").read_text()
    single = (*flags[:6], "--device", "cpu")  # not averaged: it was not fitted for such trials
    cli("retrieve", *single, "--index", noise_index, "--output", tmp_path / "single").succeeds()
    assert not (tmp_path / "single" / "confidence.tsv").exists()
    cli("index verify", noise_index).succeeds()


def test_pictures_that_cannot_calibrate_are_refused(
    cli: Cli, noise_index: Path, scan: Path, tmp_path: Path
) -> None:
    flags = write_scan(tmp_path / "a", scan, ["n01", "elsewhere"], 0)
    cli("index calibrate", noise_index, *flags).refuses(3, "1 of 2 seen pictures", "'elsewhere'")
    flags = write_scan(tmp_path / "b", scan, ["n01", "n02"], 0)
    cli("index calibrate", noise_index, *flags).refuses(3, "50 pictures at least")


def test_training_pictures_do_not_calibrate(
    cli: Cli, decoder: Path, scenes: Path, scan: Path, tmp_path: Path
) -> None:
    cli(
        "index build", "--pictures", scenes, "--target", f"local-dir:{decoder}", "--output",
        tmp_path / "i", "--device", "cpu",
    ).succeeds()  # fmt: skip
    cli(
        "index calibrate", tmp_path / "i", "--subject", "01", "--input", scan, "--trials",
        scan.with_suffix(".tsv"), "--device", "cpu",
    ).refuses(3, "is one of training or test")  # fmt: skip
