"""`reconstruct --caption`: where pictures are decoded exactly, so are the captions below them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from phosphene import Reconstructor
from phosphene.pipelines.retrieval.building import IndexConfig, build_index


@pytest.fixture(scope="module")
def index(toy: Any, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every picture of the planted recording, each with its name as caption."""
    root = tmp_path_factory.mktemp("captions")
    shutil.copytree(toy.file("stimuli"), root / "pictures")
    for file in (root / "pictures").glob("*.png"):
        file.with_suffix(".txt").write_text(f"this is <{file.stem}>")
    return build_index(
        IndexConfig(
            pictures=str(root / "pictures"), target=f"local-dir:{model / 'target'}",
            output=str(root / "index"), kind="flat", metric="euclidean",
        )
    ).folder  # fmt: skip


def test_captions_are_in_table_report_and_record(
    decode: Callable[..., Any], toy: Any, model: Path, index: Path, tmp_path: Path
) -> None:
    options = ("--trials", toy.file("test.tsv"), "--caption", f"nearest:{index}")
    decode(toy.file("test.npy"), model, tmp_path / "out", *options).succeeds()
    table = pd.read_csv(tmp_path / "out" / "trials.tsv", sep="\t")
    assert table["decoded_caption"].tolist() == [f"this is <{n}>" for n in table["stimulus_id"]]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"this is &lt;{table['stimulus_id'][0]}&gt;" in page
    again = decode(toy.file("test.npy"), model, tmp_path / "out", *options, "--resume")
    assert "complete already" in again.succeeds().out
    other = decode(toy.file("test.npy"), model, tmp_path / "out", *options[:2], "--resume")
    other.refuses(2, "caption was")


def test_from_python_and_averaged(toy: Any, model: Path, index: Path) -> None:
    one = Reconstructor.from_pretrained(model, caption=f"nearest:{index}", device="cpu")
    trials = pd.read_csv(toy.file("test.tsv"), sep="\t")
    found = one.reconstruct(toy.file("test.npy"), subject="01", trials=trials, average="stimulus")
    names = found.trials["stimulus_id"].tolist()
    assert found.trials["decoded_caption"].tolist() == [f"this is <{name}>" for name in names]
    plain = Reconstructor.from_pretrained(model, device="cpu")
    without = plain.reconstruct(
        toy.file("test.npy"), subject="01", trials=trials, average="stimulus"
    )
    assert "decoded_caption" not in without.trials
    assert np.array_equal(found.images, without.images)


def test_an_unknown_captioner_is_told(decode: Callable[..., Any], toy: Any, model: Path) -> None:
    done = decode(toy.file("test.npy"), model, "nowhere", "--caption", "blip:x")
    done.refuses(2, "one of git, nearest")


def test_batch_size_auto(decode: Callable[..., Any], toy: Any, model: Path, tmp_path: Path) -> None:
    """A generator that has nothing to choose renders as ever; another word is refused."""
    for size in ("auto", "7"):
        decode(toy.file("test.npy"), model, tmp_path / size, "--batch-size", size).succeeds()
    names = sorted(path.name for path in (tmp_path / "auto" / "sub-01").glob("*.png"))
    for name in names:
        first, second = ((tmp_path / size / "sub-01" / name).read_bytes() for size in ("auto", "7"))
        assert first == second
    decode(toy.file("test.npy"), model, tmp_path / "x", "--batch-size", "many").refuses(2)
