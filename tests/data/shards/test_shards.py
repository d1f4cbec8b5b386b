"""Shards: written, read back, shared out, and nothing in them executed."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.shards.array import ShardArray
from phosphene.data.shards.streaming import ShardSource
from phosphene.data.shards.writing import write_shards
from phosphene.errors import AssetError, InputError, PhospheneError, UsageError


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> CanonicalDataset:
    """Return a dataset of two subjects with different voxels and three splits."""
    from phosphene.data.prepare import write_subject
    from phosphene.trials import complete_trials
    from phosphene.types import Recording, VoxelSpace

    root, rng = tmp_path_factory.mktemp("shards") / "d", np.random.default_rng(0)
    pictures = rng.integers(0, 256, (10, 6, 6, 3), dtype=np.uint8)
    for subject, n_voxels in (("01", 7), ("02", 5)):
        import pandas as pd

        shown = np.r_[np.arange(10), np.arange(10), np.arange(3)]
        table = pd.DataFrame({
            "session": ["01"] * 12 + ["02"] * 11, "stimulus_id": [f"p{n}" for n in shown],
            "split": ["test" if n == 9 else "validation" if n == 8 else "train" for n in shown],
        })  # fmt: skip
        data = rng.normal(size=(23, n_voxels)).astype(np.float32)
        recording = Recording(
            data, "fmri", subject, complete_trials(table, 23), VoxelSpace.columns(n_voxels)
        )
        write_subject(root, recording, ([f"p{n}" for n in range(10)], pictures))
    return CanonicalDataset.open(root)


@pytest.fixture(scope="module")
def shards(dataset: CanonicalDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards") / "s"
    write_shards(dataset, folder, trials_per_shard=4)
    return folder


def test_a_trial_has_its_recording_its_picture_and_its_row(
    dataset: CanonicalDataset, shards: Path
) -> None:
    source = ShardSource(str(shards))
    assert len(source.chosen(["01"])) == 5  # 19 training trials
    seen = 0
    for subject in ("01", "02"):
        recording = dataset.recording(subject)
        for shard in source.chosen([subject], None):
            assert shard.file.startswith(f"sub-{subject}_{shard.split}-")
            for trial in source.read(shard, pictures=True):
                row = trial["facts"]["row"]
                told = recording.trials.iloc[row]
                session = told["session"]
                assert trial["key"] == f"sub-{subject}_ses-{session}_trial-{row:06d}"
                assert np.array_equal(trial["data"], recording.data[row])
                assert trial["facts"]["stimulus_id"] == told["stimulus_id"]
                assert told["split"] == shard.split
                (picture,) = dataset.pictures([told["stimulus_id"]])
                assert np.array_equal(trial["picture"], picture)
                seen += 1
    assert seen == 46


def test_webdataset_reads_them_and_writing_again_gives_the_same_bytes(
    dataset: CanonicalDataset, shards: Path, tmp_path: Path
) -> None:
    path = shards / "sub-02_test-000000.tar"
    samples = list(webdataset.WebDataset([str(path)], shardshuffle=False))
    parts = {part for sample in samples for part in sample if not part.startswith("__")}
    assert parts == {"fmri.npy", "png", "json"}
    write_shards(dataset, tmp_path / "s", subjects=["02"], trials_per_shard=4)
    for one in (tmp_path / "s").glob("*.tar"):
        assert one.read_bytes() == (shards / one.name).read_bytes()
    index = ShardSource(str(shards)).index
    for shard in index.shards:
        content = (shards / shard.file).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard.size, shard.sha256)


def test_every_trial_once_over_workers_and_in_another_order_each_epoch(shards: Path) -> None:
    from torch.utils.data import DataLoader

    source, orders = ShardSource(str(shards)), []
    for epoch in (0, 0, 1):
        loader: Any = DataLoader(source.stream(seed=3, epoch=epoch), batch_size=None, num_workers=2)
        orders.append([trial["key"] for trial in loader])
        assert len(set(orders[-1])) == len(orders[-1]) == 38
    assert orders[0] == orders[1] != orders[2]
    plain = [trial["key"] for trial in source.stream(subjects=["02"], splits=["validation"])]
    assert plain == sorted(plain)
    assert len(plain) == 2


SCRIPT = """
import sys
import torch
from torch.utils.data import DataLoader
from phosphene.data.shards.streaming import ShardSource
torch.distributed.init_process_group("gloo")
for epoch in range(2):
    stream = ShardSource(sys.argv[1]).stream(seed=0, epoch=epoch)
    for trial in DataLoader(stream, batch_size=None, num_workers=int(sys.argv[2])):
        print(epoch, trial["key"])
"""


def test_two_processes_see_every_trial_once(shards: Path) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(shards), "2"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "WORLD_SIZE": "2", "RANK": str(rank), "MASTER_PORT": port,
                 "MASTER_ADDR": "127.0.0.1"},
        )
        for rank in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=600) for process in running]
    assert [process.returncode for process in running] == [0, 0], told
    lines = [out.split("\n")[:-1] for out, _ in told]
    assert all(lines)
    for epoch in "01":
        seen = Counter(line for one in lines for line in one if line.startswith(epoch))
        assert len(seen) == 38
        assert set(seen.values()) == {1}


def test_more_processes_than_shards_are_refused(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "40")
    with pytest.raises(UsageError, match="10 shards for 40 processes"):
        ShardSource(str(shards)).stream()


def test_an_array_of_shards_is_the_memory_map(dataset: CanonicalDataset, shards: Path) -> None:
    source = ShardSource(str(shards))
    array, expected = ShardArray(source, dataset, "02", keep=2), dataset.recording("02").data
    assert (array.shape, array.dtype, array.ndim, len(array)) == ((23, 5), np.float32, 2, 23)
    for which in (slice(3, 9), np.array([20, 0, 4, 4]), 7, slice(None), -1):
        assert np.array_equal(array[which], expected[which])
    fresh = ShardArray(source, dataset, "02", keep=2)
    rows = np.flatnonzero(dataset.recording("02").trials["split"] == "train")
    (order,) = fresh.shuffled(rows, seed=5)
    assert sorted(order) == list(range(len(rows)))
    for row in order:
        assert np.array_equal(fresh[rows[row]], expected[rows[row]])
    assert fresh.reads == 5  # one per shard, though only two are held
    parts = fresh.shuffled(rows, seed=5, parts=2)
    assert sorted(np.concatenate(parts)) == list(range(len(rows)))
    owners = [set(fresh._shard[rows[part]]) for part in parts]
    assert not owners[0] & owners[1]


def test_shards_of_another_recording_are_refused(
    dataset: CanonicalDataset, shards: Path, tmp_path: Path
) -> None:
    index = json.loads((shards / "shards.json").read_text())
    index["subjects"]["01"]["content_hash"] = "other"
    index["subjects"].pop("02")
    (tmp_path / "shards.json").write_text(json.dumps(index))
    source = ShardSource(str(tmp_path))
    with pytest.raises(InputError, match="another recording of subject 01"):
        ShardArray(source, dataset, "01")
    with pytest.raises(InputError, match="do not have subject 02"):
        ShardArray(source, dataset, "02")


class _Explodes:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("part", ["fmri.npy", "json", "png"])
def test_nothing_in_a_shard_is_executed(
    part: str, dataset: CanonicalDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pickles hide in object arrays, and behind names that `.decode()` would unpickle."""
    monkeypatch.chdir(tmp_path)
    write_shards(dataset, tmp_path / "s", subjects=["02"])
    source = ShardSource(str(tmp_path / "s"))
    (shard,) = source.chosen(["02"], ["test"])
    path, buffer = tmp_path / "s" / shard.file, io.BytesIO()
    evil = pickle.dumps(_Explodes())
    if part == "fmri.npy":
        np.save(buffer, np.array([_Explodes()]), allow_pickle=True)
    else:
        buffer.write(evil)
    with tarfile.open(path) as archive:
        members = [
            (one, archive.extractfile(one).read())  # type: ignore[union-attr]
            for one in archive.getmembers()
        ]
    with tarfile.open(path, "w") as archive:
        for member, content in members:
            new = buffer.getvalue() if member.name.endswith(part) else content
            member.size = len(new)
            archive.addfile(member, io.BytesIO(new))
            if member.name.endswith("json"):
                for name in ("pyd", "pkl", "pickle", "pth"):
                    member.name = member.name.rpartition(".")[0] + f".{name}"
                    member.size = len(evil)
                    archive.addfile(member, io.BytesIO(evil))
    with pytest.raises(InputError, match=r"damaged|picture"):
        list(source.read(shard, pictures=True))
    assert not (tmp_path / "exploded").exists()


def test_damaged_and_absent_shards_are_one_clear_message(
    dataset: CanonicalDataset, tmp_path: Path
) -> None:
    write_shards(dataset, tmp_path / "s", subjects=["01"])
    source = ShardSource(str(tmp_path / "s"))
    (shard,) = source.chosen(["01"])
    whole = (tmp_path / "s" / shard.file).read_bytes()
    for size in (0, 700, len(whole) // 2):
        (tmp_path / "s" / shard.file).write_bytes(whole[:size])
        with pytest.raises(InputError, match="cut off or damaged"):
            list(source.read(shard))
    (tmp_path / "s" / shard.file).unlink()
    with pytest.raises(InputError, match="there is no"):
        list(source.read(shard))
    with pytest.raises(InputError, match="prepare shards"):
        ShardSource(str(tmp_path / "nowhere"))
    (tmp_path / "s" / "shards.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        ShardSource(str(tmp_path / "s"))
    for wrong in ("pipe:touch exploded", "ftp://host/d"):
        with pytest.raises(UsageError):
            ShardSource(wrong)


@pytest.fixture
def served(shards: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *words: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(shards)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()


def test_shards_come_from_an_address(served: str, dataset: CanonicalDataset) -> None:
    source = ShardSource(served)
    assert len(list(source.stream())) == 38
    assert np.array_equal(
        ShardArray(source, dataset, "01")[3:17], dataset.recording("01").data[3:17]
    )
    with pytest.raises(PhospheneError) as caught:
        ShardSource(f"{served}/nowhere")
    assert isinstance(caught.value, AssetError), caught.value


def test_the_command_writes_shards(cli: Any, dataset: CanonicalDataset, tmp_path: Path) -> None:
    done = cli(
        "prepare shards", dataset.root, "--output", tmp_path / "s", "--subject", "02",
        "--trials-per-shard", "10", "--no-stimuli",
    ).succeeds()  # fmt: skip
    assert done.out.splitlines()[-2:] == [
        "23 trials of 1 subjects in 4 shards", f"shards: {tmp_path / 's'}",
    ]  # fmt: skip
    first = next(iter(ShardSource(str(tmp_path / "s")).stream()))
    assert first.keys() == {"key", "data", "facts"}
    cli("prepare shards", dataset.root, "--output", tmp_path / "s").refuses(2)
    cli("prepare shards", tmp_path / "no", "--output", tmp_path / "t").refuses(3)
    cli("prepare shards", dataset.root, "--output", tmp_path / "t", "--subject", "09").refuses(3)
