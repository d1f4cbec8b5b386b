"""A set with a block design is read on request alone, and says so for ever."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.confounds import confound_lines
from phosphene.data.pictures import write_picture
from phosphene.data.things.eegcvpr40 import CONFOUND


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    generator = torch.Generator().manual_seed(0)
    items = [
        {"eeg": torch.randn(8, 500 if k else 400, generator=generator), "image": k, "label": k // 3,
         "subject": 1 + k % 2}
        for k in range(9)
    ]  # fmt: skip
    content = {
        "dataset": items,
        "labels": ["n1", "n2", "n3"],
        "images": [f"n_{k}" for k in range(9)],
    }
    torch.save(content, tmp_path / "eeg.pth")
    splits = {"splits": [{"train": [0, 1, 2, 3, 4], "val": [5, 6], "test": [7, 8]}]}
    torch.save(splits, tmp_path / "splits.pth")
    return tmp_path / "eeg.pth", tmp_path / "splits.pth"


def test_it_is_refused_without_the_flag(files: tuple[Path, Path], tmp_path: Path, cli: Any) -> None:
    outcome = cli("prepare eegcvpr40", "--source", files[0], "--output", tmp_path / "out")
    outcome.refuses(2, "one block of time", "--block-design")
    assert not (tmp_path / "out").exists()


def test_with_it_the_name_tells(files: tuple[Path, Path], tmp_path: Path, cli: Any) -> None:
    outcome = cli("prepare eegcvpr40", "--source", files[0], "--splits", files[1], "--output",
                  tmp_path / "out", "--block-design").succeeds()  # fmt: skip
    assert outcome.out.splitlines()[0] == f"{CONFOUND}: every class was shown in one block"
    assert "1 trials shorter than 460 samples left out" in outcome.out
    dataset = CanonicalDataset.open(tmp_path / "out")
    assert dataset.file.name == f"eegcvpr40 {CONFOUND}"
    assert sorted(dataset.file.subjects) == ["01", "02"]
    recording = dataset.recording("02")
    assert recording.data.shape == (4, 8, 440)
    assert recording.trials["split"].tolist() == ["train", "train", "validation", "test"]
    original = torch.load(files[0], weights_only=True)["dataset"][1]["eeg"][:, 20:460]
    np.testing.assert_allclose(recording.data[0], original, atol=2e-3)


class Executes:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_malicious_file_is_refused_and_nothing_runs(tmp_path: Path, cli: Any) -> None:
    mark = tmp_path / "executed"
    torch.save({"dataset": Executes(mark)}, tmp_path / "eeg.pth")
    outcome = cli("prepare eegcvpr40", "--source", tmp_path / "eeg.pth", "--output",
                  tmp_path / "out", "--block-design")  # fmt: skip
    outcome.refuses(3, "nothing of it was executed")
    assert not mark.exists()


def test_every_result_says_it(files: tuple[Path, Path], tmp_path: Path, cli: Any) -> None:
    """The words go from the dataset into the scores, printed and stored."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    for k in range(9):
        write_picture(folder / f"n_{k}.png", rng.integers(0, 256, (8, 8, 1), dtype=np.uint8))
    cli("prepare eegcvpr40", "--source", files[0], "--splits", files[1], "--images", folder,
        "--output", tmp_path / "out", "--block-design", "--subject", "1",
        "--subject", "2").succeeds()  # fmt: skip
    for name in ("n_7", "n_8"):  # those of the test
        (tmp_path / "made").mkdir(exist_ok=True)
        (tmp_path / "made" / f"{name}.png").write_bytes((folder / f"{name}.png").read_bytes())
    outcome = cli("evaluate", "--predictions", tmp_path / "made", "--truth", tmp_path / "out",
                  "--output", tmp_path / "scores", "--metric", "pixcorr/strict-v1")  # fmt: skip
    outcome.succeeds()
    assert confound_lines(CONFOUND)[0] in outcome.out
    assert CONFOUND in (tmp_path / "scores" / "evaluation.json").read_text()
