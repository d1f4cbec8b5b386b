"""Builds: killed and resumed, with pictures that cannot be read, with other settings."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.retrieval.building import IndexConfig, build_index
from phosphene.pipelines.retrieval.index import Index

Array = np.ndarray[Any, Any]
MakeIndex = Callable[..., Index]
# The build sleeps behind each part, so that it is killed in the midst of them.
SLOW = """
import sys, time
from phosphene.pipelines.retrieval.parts import Parts
write = Parts.write
def slowly(*words):
    write(*words)
    time.sleep(30 if words[1] >= 2 else 0)
Parts.write = slowly
from phosphene.cli.app import main
sys.argv = ["phosphene", *sys.argv[1:]]
main()
"""


def build(folder: Path, output: Path, **more: Any) -> Index:
    settings = {"target": "pixels:6x3", "part_size": 7, "device": "cpu"}
    resume = more.pop("resume", False)
    config = IndexConfig(pictures=str(folder), output=str(output), **(settings | more))
    return build_index(config, resume=resume)


def assert_equal(one: Index, two: Index) -> None:
    rows = np.arange(len(one))
    np.testing.assert_array_equal(one.vectors(rows), two.vectors(rows))
    assert one.metadata.all().equals(two.metadata.all())


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory, picture_folder: Path) -> Path:
    """A build that was killed when its third part was on disk."""
    output = tmp_path_factory.mktemp("killed") / "index"
    words = ["index", "build", "--pictures", str(picture_folder), "--target", "pixels:6x3",
             "--output", str(output), "--part-size", "7", "--device", "cpu"]  # fmt: skip
    process = subprocess.Popen([sys.executable, "-c", SLOW, *words])
    deadline = time.monotonic() + 240
    while not (output / ".partial" / "parts" / "part-000002.npy").is_file():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return output


def test_a_killed_build_goes_on_without_computing_anything_twice(
    tmp_path: Path, killed: Path, picture_folder: Path, pixel_index: Index
) -> None:
    output = Path(shutil.copytree(killed, tmp_path / "index"))
    with pytest.raises(InputError, match="interrupted build"):
        Index.open(output)
    with pytest.raises(UsageError, match="interrupted work"):
        build(picture_folder, output)
    finished = sorted((output / ".partial" / "parts").glob("part-*.npy"))
    assert [path.name for path in finished] == [f"part-{n:06d}.npy" for n in range(3)]
    finished[0].unlink()  # as if it had been killed before this one
    marked = np.load(finished[1])
    marked[0] = 0.25  # a part that is kept shows it
    np.save(finished[1], marked)
    index = build(picture_folder, output, resume=True)
    expected = pixel_index.vectors(np.arange(len(pixel_index)))
    found = index.vectors(np.arange(len(index)))
    assert (found[7] == 0.25).all()
    np.testing.assert_array_equal(np.delete(found, 7, axis=0), np.delete(expected, 7, axis=0))
    assert index.metadata.all().equals(pixel_index.metadata.all())
    assert sorted(path.name for path in output.iterdir()) == [
        "index.json", "metadata.parquet", "vectors.faiss",
    ]  # fmt: skip


@pytest.mark.parametrize("stage", ["assembled", "moving"])
def test_a_build_that_was_killed_at_the_end_is_finished(
    tmp_path: Path, killed: Path, picture_folder: Path, pixel_index: Index, stage: str
) -> None:
    output = Path(shutil.copytree(killed, tmp_path / "index"))
    for name in ("vectors.faiss", "metadata.parquet", "index.json"):
        content = (pixel_index.folder / name).read_bytes()
        (output / ".partial" / name).write_bytes(content)
    if stage == "moving":
        (output / ".partial" / "vectors.faiss").rename(output / "vectors.faiss")
    assert_equal(build(picture_folder, output, resume=True), pixel_index)
    assert not (output / ".partial").exists()


def test_resuming_a_finished_build_does_nothing(tmp_path: Path, picture_folder: Path) -> None:
    build(picture_folder, tmp_path / "index")
    before = (tmp_path / "index" / "vectors.faiss").stat().st_mtime_ns
    build(picture_folder, tmp_path / "index", resume=True)
    assert (tmp_path / "index" / "vectors.faiss").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="of other pictures or settings"):
        build(picture_folder, tmp_path / "index", resume=True, metric="dot")


def test_an_interrupted_build_is_not_resumed_with_other_settings(
    tmp_path: Path, killed: Path, picture_folder: Path
) -> None:
    output = Path(shutil.copytree(killed, tmp_path / "index"))
    with pytest.raises(UsageError, match="another space and part_size"):
        build(picture_folder, output, resume=True, target="pixels:5x3", part_size=9)


def test_unreadable_pictures_are_skipped_with_their_reason(
    tmp_path: Path, picture_folder: Path, pixel_index: Index
) -> None:
    folder = Path(shutil.copytree(picture_folder, tmp_path / "pictures"))
    (folder / "p005.png").write_bytes(b"nonsense")
    (folder / "p006.png").write_bytes((folder / "p006.png").read_bytes()[:60])
    index = build(folder, tmp_path / "index")
    assert (len(index), index.file.n_skipped) == (38, 2)
    lines = (tmp_path / "index" / "skipped.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["id", "p005", "p006"]
    assert "not a readable picture" in lines[1]
    kept = np.delete(np.arange(40), [5, 6])
    np.testing.assert_array_equal(index.vectors(np.arange(38)), pixel_index.vectors(kept))


def test_no_readable_picture_at_all_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.png").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="none of the 1 pictures"):
        build(tmp_path / "pictures", tmp_path / "index")


def test_batches_do_not_change_the_index(
    tmp_path: Path, picture_folder: Path, pixel_index: Index
) -> None:
    assert_equal(build(picture_folder, tmp_path / "i", batch_size=3, part_size=40), pixel_index)


def test_shards_give_the_index_of_the_folder(
    tmp_path: Path, shards: Path, pixel_index: Index
) -> None:
    index = build(shards, tmp_path / "index")
    rows = np.arange(40)
    np.testing.assert_array_equal(index.vectors(rows), pixel_index.vectors(rows))
    assert index.metadata.all()["id"].tolist() == pixel_index.metadata.all()["id"].tolist()


@pytest.mark.slow
def test_two_processes_give_the_same_index(
    tmp_path: Path, picture_folder: Path, pixel_index: Index
) -> None:
    script = tmp_path / "build_index.py"
    script.write_text("from phosphene.cli.app import main\nmain()\n")
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         str(script), "index", "build", "--pictures", str(picture_folder), "--target",
         "pixels:6x3", "--output", str(tmp_path / "index"), "--part-size", "7",
         "--device", "cpu"],
        capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("40 pictures") == 2  # each process says so
    assert_equal(Index.open(tmp_path / "index"), pixel_index)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0])
def test_embeddings_without_a_direction_are_refused(
    tmp_path: Path, write_ready: Callable[..., Path], index_of: MakeIndex, value: float
) -> None:
    values = np.ones((30, 5), dtype=np.float32)
    values[4] = value
    ready = write_ready(tmp_path / "e", values)
    with pytest.raises(InputError, match=r"row 4"):
        index_of(tmp_path / "i", ready, target="given:x")


def test_ready_embeddings_of_another_size_are_refused(
    tmp_path: Path, write_ready: Callable[..., Path], index_of: MakeIndex
) -> None:
    ready = write_ready(tmp_path / "e", np.ones((30, 5), dtype=np.float32))
    with pytest.raises(InputError, match=r"have 5 numbers\.\nExpected: 108, as the target pixels"):
        index_of(tmp_path / "i", ready)


def test_pictures_for_a_space_without_a_network_are_refused(
    tmp_path: Path, picture_folder: Path, index_of: MakeIndex
) -> None:
    with pytest.raises(UsageError, match="whose network is not known here"):
        index_of(tmp_path / "i", picture_folder, target="given:x")


def test_an_unknown_target_is_refused_with_what_there_is(
    tmp_path: Path, picture_folder: Path, index_of: MakeIndex
) -> None:
    with pytest.raises(UsageError, match="efficientnet-lite0"):
        index_of(tmp_path / "i", picture_folder, target="nonsense")
    assert not (tmp_path / "i").exists()
