"""Killed, interrupted, out of space: nothing looks finished that is not, and --resume goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from phosphene import Reconstruction
from phosphene.data.canonical import CanonicalDataset
from phosphene.errors import InputError

# A shell starts background jobs with Ctrl-C ignored, which children inherit.
START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from phosphene.cli.app import {0}
{0}()
"""
# Every file appears by a rename. The command is run in a fork that is killed right before its
# n-th rename, for n = 0, step, 2 step, ... until it is no longer killed; then come the commands
# that follow, in forks of their own.
KILL = """
import json, os, signal, sys
from pathlib import Path
import jinja2, pandas, pyarrow.parquet, safetensors.torch, skimage.metrics, yaml  # once, here
from PIL import PngImagePlugin
from phosphene.cli import app
from phosphene.data import prepare
from phosphene.encoders.brain import ridge
from phosphene.encoders.stimulus import pixels
from phosphene.pipelines import reconstruct
from phosphene.pipelines.generators import target_decoder
from phosphene.pipelines.report import page
from phosphene.pipelines.training import encoder

commands, step = json.loads(sys.argv[1]), int(sys.argv[2])
replace = Path.replace

def run(words, left):
    def counted(path, target):
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return replace(path, target)
    pid = os.fork()
    if pid == 0:
        Path.replace = counted
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        entry = app.reconstruct_app if words[0] == "reconstruct" else app.app
        try:
            entry(args=words[1:] if words[0] == "reconstruct" else words)
        except SystemExit as done:
            os._exit(done.code or 0)
        os._exit(70)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

point = 0
while True:
    first, *others = [[w.replace("POINT", str(point)) for w in words] for words in commands]
    codes = [run(first, point)] + [run(words, -1) for words in others]
    print(json.dumps([point, codes]), flush=True)
    if codes[0] >= 0:
        break
    point += step
"""


def killed_on_the_way(*commands: list[object], step: int = 1) -> list[tuple[int, list[int]]]:
    """Return the points and the exit codes of the killed command and of those after it."""
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", KILL, words, str(step)],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    points = [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    assert len(points) > 3, done.stderr
    assert all(codes[0] == -signal.SIGKILL for _, codes in points[:-1])
    return points


# Writes take a while, so that the test has time to see a run on its way.
SLOWLY = """
import time
from pathlib import Path
replace = Path.replace

def slow(path, target):
    time.sleep(0.003)
    return replace(path, target)

Path.replace = slow
"""


def start(entry: str, *words: object, prefix: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", prefix + START.format(entry), *map(str, words)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def results(folder: Path) -> dict[str, bytes]:
    """Everything but what names the time or the folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    timed = {"log.txt", "run.json", "report.html", "config.yaml"}
    return {
        path.relative_to(folder).as_posix(): b"" if path.name in timed else path.read_bytes()
        for path in files
    }


@pytest.fixture
def halfway(toy: Any, model: Path, tmp_path: Path) -> Callable[[int], tuple[Any, list[Any]]]:
    """Start a long run and send it a signal when some, not all pictures are there."""
    words = ["--subject", "01", "--input", toy.file("all.npy"), "--model", model,
             "--output", tmp_path / "out", "--batch-size", 1, "--samples", 6]  # fmt: skip

    def run(number: int) -> tuple[Any, list[Any]]:
        process = start("reconstruct_main", *words, prefix=SLOWLY)
        partial, patience = tmp_path / "out" / ".partial", time.monotonic() + 120
        while len(list(partial.glob("sub-01/sub-01_*.png"))) < 8 and time.monotonic() < patience:
            time.sleep(0.002)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert 8 <= len(list(partial.glob("sub-01/sub-01_*.png"))) < 102 * 6
        return (process.returncode, out, err), words

    return run


def test_sigkill_and_resume(toy: Any, model: Path, cli: Any, tmp_path: Path, halfway: Any) -> None:
    (code, _, _), words = halfway(signal.SIGKILL)
    out = tmp_path / "out"
    assert code == -signal.SIGKILL
    assert [path.name for path in out.iterdir()] == [".partial"]
    with pytest.raises(InputError, match=r"not a finished output[\s\S]*--resume"):
        Reconstruction.load(out)
    cli("report", out).refuses(3, "not a finished output folder", "--resume")

    cli("reconstruct", *words).refuses(2, "holds interrupted work", "go on with --resume")
    resumed = [*words, "--resume"]
    cli("reconstruct", *resumed, "--seed", 1).refuses(2, "other settings", "seed was 0")
    other = [toy.file("test.npy") if word == toy.file("all.npy") else word for word in resumed]
    cli("reconstruct", *other).refuses(2, "same model, input and settings")
    cli("reconstruct", *resumed, "--samples", 5).refuses(2, "n_samples 6, this one 5")
    cli("reconstruct", *resumed, "--trials", toy.file("all.tsv")).refuses(2, "the run in")

    before = {path: path.stat().st_mtime_ns for path in (out / ".partial").rglob("*.png")}
    cli("reconstruct", *resumed).succeeds()
    kept = [p for p, t in before.items() if (out / "sub-01" / p.name).stat().st_mtime_ns == t]
    assert len(kept) >= len(before) - 6  # only the item that was not complete is made again
    whole = [tmp_path / "whole" if word == out else word for word in words]
    cli("reconstruct", *whole).succeeds()
    assert results(out) == results(tmp_path / "whole")
    assert len(results(out)) == 2 * 612 + 8

    done = cli("reconstruct", *resumed).succeeds()  # once more: nothing to do
    assert "complete already" in done.out
    cli("reconstruct", *resumed, "--seed", 1).refuses(2, "other settings")


def test_control_c_and_resume(cli: Any, tmp_path: Path, halfway: Any) -> None:
    (code, _, err), words = halfway(signal.SIGINT)
    assert code == 1
    assert err.count("phosphene: ") == 1
    assert "interrupted" in err
    assert "--resume" in err
    assert "Traceback" not in err
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".partial"]
    assert not list((tmp_path / "out").rglob(".tmp-*"))
    cli("reconstruct", *words, "--resume").succeeds()
    assert len(Reconstruction.load(tmp_path / "out")) == 102


def test_reconstruct_killed_before_some_rename(
    toy: Any, model: Path, cli: Any, tmp_path: Path
) -> None:
    np.save(tmp_path / "few.npy", toy.voxels[:2])
    np.save(tmp_path / "shown.npy", toy.pictures[:2])
    words = ["reconstruct", "--subject", "01", "--input", tmp_path / "few.npy", "--model", model,
             "--truth", tmp_path / "shown.npy", "--output"]  # fmt: skip
    again = [*words, tmp_path / "outPOINT", "--resume"]
    points = killed_on_the_way([*words, tmp_path / "outPOINT"], again, step=3)
    cli(*words, tmp_path / "whole").succeeds()
    expected = results(tmp_path / "whole")
    assert len(points) > 6
    for point, codes in points:
        assert codes[1] == 0, point
        assert results(tmp_path / f"out{point}") == expected, point


def test_prepare_killed_before_some_rename(toy: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", toy.voxels[:3])
    np.save(tmp_path / "shown.npy", toy.pictures[:3])
    words = ["prepare", "arrays", "--recordings", tmp_path / "few.npy", "--subject", "01",
             "--stimuli", tmp_path / "shown.npy", "--output", tmp_path / "outPOINT"]  # fmt: skip
    look = ["train", "encoder", "--dataset", tmp_path / "outPOINT", "--subject", "01",
            "--target", "pixels:8x1", "--output", tmp_path / "modelPOINT"]  # fmt: skip
    points = killed_on_the_way(words, look, words, step=2)
    for point, codes in points[:-1]:
        assert codes[1:] == [3, 0], point  # no dataset yet; then the same command makes it
        assert not (tmp_path / f"model{point}").exists()
        dataset = CanonicalDataset.open(tmp_path / f"out{point}")
        np.testing.assert_array_equal(dataset.recording("01").data, toy.voxels[:3])
        assert not [p.name for p in dataset.root.rglob("*") if p.name.startswith(".")]
    assert points[-1][1] == [0, 0, 2]  # a whole dataset is not written over


def test_train_killed_before_some_rename(dataset: Path, tmp_path: Path) -> None:
    words = ["train", "encoder", "--dataset", dataset, "--subject", "01", "--target",
             "pixels:8x1", "--output", tmp_path / "modelPOINT"]  # fmt: skip
    points = killed_on_the_way(words, words, step=4)
    for point, codes in points[:-1]:
        assert codes == [-signal.SIGKILL, 0], point
    assert points[-1][1] == [0, 2]


def test_adding_a_subject_killed_before_some_rename(toy: Any, cli: Any, tmp_path: Path) -> None:
    for subject, rows in (("01", slice(0, 4)), ("02", slice(2, 7))):
        np.save(tmp_path / f"{subject}.npy", toy.voxels[rows])
        np.save(tmp_path / f"shown{subject}.npy", toy.pictures[rows])

    def words(subject: str, name: str) -> list[object]:
        return ["prepare", "arrays", "--recordings", tmp_path / f"{subject}.npy", "--subject",
                subject, "--stimuli", tmp_path / f"shown{subject}.npy", "--output",
                tmp_path / name]  # fmt: skip

    for point in range(0, 15, 3):
        cli(" ".join(map(str, words("01", f"out{point}")[:2])), *words("01", f"out{point}")[2:])
    points = killed_on_the_way(words("02", "outPOINT"), words("02", "outPOINT"), step=3)
    for point, codes in points:
        assert codes[1] == (0 if codes[0] < 0 else 2), point
        found = CanonicalDataset.open(tmp_path / f"out{point}")
        for subject, rows in (("01", slice(0, 4)), ("02", slice(2, 7))):
            recording = found.recording(subject)
            np.testing.assert_array_equal(recording.data, toy.voxels[rows])
            shown = found.pictures(recording.trials["stimulus_id"].tolist())
            np.testing.assert_array_equal(np.stack(shown), toy.pictures[rows])
        assert len(found.stimuli) == 7


LIMIT = (
    "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
    "resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); "
)


def full_disk(size: int, entry: str, *words: object) -> None:
    """Run with a limit on the size of files: the kernel refuses as on a full disk."""
    process = start(entry, *words, prefix=LIMIT.format(size))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert err.count("phosphene: ") == 1, err
    assert "the disk is full" in err
    assert "What to do: free some space" in err
    assert "Traceback" not in err


def test_a_full_disk(toy: Any, model: Path, dataset: Path, cli: Any, tmp_path: Path) -> None:
    # Pictures and sidecars are small, the embeddings (18 x 64 float32) are not.
    words = ("--subject", "01", "--input", toy.file("test.npy"), "--model", model, "--output")
    full_disk(4000, "reconstruct_main", *words, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [".partial"]
    assert not list((tmp_path / "out").rglob(".tmp-*"))
    cli("reconstruct", *words, tmp_path / "out", "--resume").succeeds()

    words = ("--recordings", toy.file("all.npy"), "--subject", "01", "--output", tmp_path / "data")
    full_disk(20_000, "main", "prepare", "arrays", *words)
    assert not (tmp_path / "data" / "dataset.json").exists()
    cli("prepare arrays", *words).succeeds()

    words = ("--dataset", dataset, "--subject", "01", "--target", "pixels:8x1", "--output")
    full_disk(20_000, "main", "train", "encoder", *words, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert not list(tmp_path.glob(".tmp-*"))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is unwritable for root")
def test_a_folder_without_permission(toy: Any, model: Path, decode: Any, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o555)
    out = tmp_path / "closed" / "out"
    decode(toy.file("test.npy"), model, out).refuses(2, "could not be written", "permissions")


def test_a_trials_table_changed_in_between_is_refused(
    toy: Any, model: Path, cli: Any, tmp_path: Path
) -> None:
    table = toy.trials.iloc[toy.test_rows[:2]]
    np.save(tmp_path / "few.npy", toy.voxels[toy.test_rows[:2]])
    table.to_csv(tmp_path / "few.tsv", sep="\t", index=False)
    words = ["--subject", "01", "--input", tmp_path / "few.npy", "--model", model, "--trials",
             tmp_path / "few.tsv", "--output", tmp_path / "out"]  # fmt: skip
    cli("reconstruct", *words).succeeds()
    out = tmp_path / "out"
    (out / ".partial").mkdir()
    (out / "dataset_description.json").unlink()  # as when it was killed at the very end
    changed = pd.read_csv(tmp_path / "few.tsv", sep="\t", dtype=str)
    changed["stimulus_id"] = changed["stimulus_id"].to_numpy()[::-1]
    changed.to_csv(tmp_path / "few.tsv", sep="\t", index=False)
    cli("reconstruct", *words, "--resume").refuses(2, "input_hash", "same model, input")
