from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phosphene.errors import InputError, PhospheneError, UsageError
from phosphene.storage import (
    atomic_path,
    load_array,
    load_tensors,
    new_folder,
    read_json,
    save_array,
    save_tensors,
    write_error,
    write_json,
)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def fail_half_way() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("new, but")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_new_folder_appears_only_when_complete(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with new_folder(tmp_path / "out") as building:
            (building / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == []
    with new_folder(tmp_path / "out") as building:
        (building / "whole").write_text("x")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["whole"]


def test_a_folder_with_content_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(UsageError, match="not an empty folder"), new_folder(tmp_path):
        pass
    assert (tmp_path / "mine").read_text() == "precious"


def test_an_output_below_a_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="could not be written"):
        write_json(tmp_path / "file" / "a.json", {})


def test_a_full_disk_is_told_apart() -> None:
    error = write_error(Path("x"), OSError(errno.ENOSPC, "No space left on device"))
    assert error.exit_code == 1
    assert "disk is full" in str(error)


def test_a_write_beyond_the_file_size_limit_leaves_nothing(tmp_path: Path) -> None:
    """The kernel itself refuses the write, as it does on a full disk."""
    script = (
        "import resource, signal, sys, numpy as np\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "from phosphene.storage import save_array\n"
        "from phosphene.errors import PhospheneError\n"
        "try:\n"
        "    save_array(sys.argv[1], np.zeros(10_000))\n"
        "except PhospheneError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.npy")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "disk is full" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from phosphene.storage import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
    )
    target = tmp_path / "a.txt"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(target)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "writing"
        process.send_signal(signal.SIGKILL)
        process.wait()
    time.sleep(0.05)
    assert not target.exists()


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'executed'}",)

    path = tmp_path / "bad.npy"
    np.save(path, np.array([Hostile()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="pickled Python objects"):
        load_array(path)
    assert not (tmp_path / "executed").exists()


def test_arrays_of_an_archive_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.arange(4))
    with pytest.raises(InputError, match=r"x, y[\s\S]*a.npz:x"):
        load_array(tmp_path / "a.npz")
    assert load_array(f"{tmp_path / 'a.npz'}:y").tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="no 'z'"):
        load_array(f"{tmp_path / 'a.npz'}:z")


def test_arrays_are_mapped_and_come_back_exactly(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    save_array(tmp_path / "a.npy", array)
    loaded = load_array(tmp_path / "a.npy")
    assert isinstance(loaded, np.memmap)
    np.testing.assert_array_equal(loaded, array)


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 400), value=st.integers(0, 255), cut=st.integers(0, 400))
def test_damaged_arrays_raise_only_our_errors(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int, cut: int
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.npy"
    np.save(path, np.arange(40, dtype=np.float64))
    content = bytearray(path.read_bytes())
    content[position % len(content)] = value
    path.write_bytes(bytes(content[: len(content) - cut % len(content)]))
    with contextlib.suppress(PhospheneError):  # anything else is a failure
        load_array(path)


def test_tensors_come_back_exactly_and_damage_is_told(tmp_path: Path) -> None:
    tensors = {"a": torch.randn(3, 5), "b": torch.arange(4)}
    save_tensors(tmp_path / "t.safetensors", tensors)
    loaded = load_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    (tmp_path / "t.safetensors").write_bytes(b"not at all")
    with pytest.raises(InputError, match="damaged"):
        load_tensors(tmp_path / "t.safetensors")


def test_damaged_json_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="not readable JSON"):
        read_json(tmp_path / "a.json")
