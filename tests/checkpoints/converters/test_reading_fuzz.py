"""Pickles that nobody would write: one message or plain content, and nothing ever runs."""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phosphene.checkpoints.converters.reading import read_content
from phosphene.checkpoints.converters.state import state_of
from phosphene.errors import InputError

DANGEROUS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "os.remove",
             "os.rename", "os.mkdir", "shutil.", "socket.", "ctypes.", "webbrowser.")  # fmt: skip
heard: list[str] = []
listening = False


def hear(event: str, arguments: Any) -> None:
    if listening and event.startswith(DANGEROUS):
        heard.append(event)


sys.addaudithook(hear)
QUICK = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

NAMES = (
    "os system", "posix system", "builtins eval", "builtins getattr", "builtins setattr",
    "subprocess Popen", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
    "torch._tensor _rebuild_from_type_v2", "torch FloatStorage", "torch Size", "torch load",
    "collections OrderedDict", "numpy ndarray", "numpy dtype", "numpy._core.multiarray scalar",
    "numpy._core.multiarray _reconstruct", "numpy._core.numeric _frombuffer", "_codecs encode",
    "copyreg _reconstructor", "functools partial", "some.package Class", "argparse Namespace",
    "__main__ Class", "types CodeType", "operator attrgetter", "importlib import_module",
)  # fmt: skip


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + len(encoded).to_bytes(4, "little") + encoded


OPERATIONS = st.one_of(
    st.sampled_from(NAMES).map(lambda name: f"c{name.replace(' ', chr(10))}\n".encode()),
    st.sampled_from(
        [b"R", b"b", b"o", b"\x81", b"\x92", b"\x93", b"(", b"t", b")", b"]", b"}", b"s", b"u",
         b"a", b"e", b"d", b"l", b"0", b"2", b"N", b"\x88", b"\x85", b"\x86", b"\x87", b"Q",
         b"\x94", b"\x8f", b"\x90", b"\x91", b"\x98", b"\x97", b"1"]
    ),
    st.integers(0, 255).map(lambda n: b"K" + bytes([n])),
    st.integers(0, 9).map(lambda n: b"h" + bytes([n])),
    st.integers(0, 9).map(lambda n: b"q" + bytes([n])),
    st.sampled_from(
        ["touch mark", "system", "__setstate__", "__class__", "__dict__", "__reduce__", "f4", "O",
         "V8", "storage", "0", "cpu", "__code__", "__defaults__", "extend", "append"]
    ).map(text),
    st.binary(max_size=9).map(lambda one: b"C" + bytes([len(one)]) + one),
    st.just(b"\x8a\x05\xff\xff\xff\xff\x7f"),
)  # fmt: skip


def genuine() -> bytes:
    """The pickle of a network with arrays beside it, as it lies in an archive."""
    content = {
        "state_dict": OrderedDict(a=torch.ones(2, 3), b=torch.arange(4)),
        "more": {"x": np.arange(3.0), "y": [np.float64(2), "text", None]},
        "network": torch.nn.Linear(2, 2),
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return archive.read(next(one for one in archive.namelist() if one.endswith("data.pkl")))


def attempt(path: Path, program: bytes, *, bare: bool) -> None:
    global listening
    if bare:
        path.write_bytes(program)
    else:
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("a/data.pkl", program)
            made.writestr("a/version", "3\n")
            for number in range(6):
                made.writestr(f"a/data/{number}", bytes(64))
    before = set(path.parent.iterdir())
    heard.clear()
    listening = True
    try:
        with contextlib.suppress(InputError):
            state_of(read_content(path))
    finally:
        listening = False
    assert heard == []
    assert set(path.parent.iterdir()) == before


# torch says so of newer protocols than the one it writes.
pytestmark = pytest.mark.filterwarnings("ignore:Detected pickle protocol")


@pytest.mark.parametrize("bare", [False, True])
@QUICK
@given(parts=st.lists(OPERATIONS, min_size=1, max_size=14), protocol=st.sampled_from([2, 4, 5]))
def test_programs_of_any_operations(
    bare: bool, parts: list[bytes], protocol: int, tmp_path: Path
) -> None:
    program = b"\x80" + bytes([protocol]) + b"".join(parts) + b"."
    attempt(tmp_path / "x.pth", program, bare=bare)


@pytest.mark.parametrize("bare", [False, True])
@QUICK
@given(data=st.data())
def test_genuine_pickles_with_some_bytes_changed(
    bare: bool, data: st.DataObject, tmp_path: Path
) -> None:
    whole = bytearray(genuine()) if not bare else bytearray(pickle.dumps({"a": np.arange(6.0)}))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(2, len(whole) - 1))
        how = data.draw(st.integers(0, 2))
        if how == 0:
            whole[place] = data.draw(st.integers(0, 255))
        elif how == 1:
            del whole[place]
        else:
            whole[place:place] = data.draw(OPERATIONS)
    attempt(tmp_path / "x.pth", bytes(whole), bare=bare)
