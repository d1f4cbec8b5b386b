"""Hostile and damaged files: one message each, and nothing of them ever runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
import subprocess
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from phosphene.checkpoints.converters.convert import convert_file
from phosphene.checkpoints.converters.inert import InertRecord
from phosphene.checkpoints.converters.reading import read_content
from phosphene.checkpoints.converters.state import state_of
from phosphene.errors import InputError


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def payloads(mark: Path) -> dict[str, Any]:
    touch = f"touch {mark}"
    return {
        "posix.system": Payload(os.system, touch),
        "subprocess.Popen": Payload(subprocess.Popen, ["touch", str(mark)]),
        "builtins.exec": Payload(exec, f"import os; os.system({touch!r})"),
        "builtins.eval": Payload(eval, f"__import__('os').system({touch!r})"),
        "builtins.getattr": Payload(getattr, "text", "upper"),
    }


NAMES = sorted(payloads(Path("mark")))


def assert_refused(path: Path, tmp_path: Path, mark: Path) -> str:
    with pytest.raises(InputError) as error:
        convert_file(path, tmp_path / "model", subjects=["01"])
    assert not mark.exists()
    assert not (tmp_path / "model").exists()
    assert not list(tmp_path.glob(".tmp-*"))
    return str(error.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("legacy", [False, True])
def test_torch_files_that_run_commands(name: str, legacy: bool, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "evil.pth"
    content = {"model_state_dict": {"a": torch.zeros(2)}, "epoch": payloads(mark)[name]}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    message = assert_refused(path, tmp_path, mark)
    assert "executed" in message
    assert legacy or name in message


@pytest.mark.parametrize("name", NAMES)
def test_bare_pickles_that_run_commands(name: str, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"weight": np.zeros(2), "bias": payloads(mark)[name]}))
    assert name in assert_refused(path, tmp_path, mark)


def archive(path: Path, program: bytes, data: dict[str, bytes] | None = None, **how: Any) -> None:
    """Write a torch archive with a pickle of our own."""
    with zipfile.ZipFile(path, "w", **how) as made:
        made.writestr("archive/data.pkl", program)
        made.writestr("archive/version", "3\n")
        for name, content in (data or {}).items():
            made.writestr(f"archive/data/{name}", content)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("bare", [False, True])
def test_every_protocol_is_refused(protocol: int, bare: bool, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "evil.pth"
    program = pickle.dumps({"weight": Payload(os.system, f"touch {mark}")}, protocol=protocol)
    if bare:
        path.write_bytes(program)
    else:
        archive(path, program)
    assert_refused(path, tmp_path, mark)


class Built:
    """Is made by a call, and then written to."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


def forged_kind() -> Built:
    """A type of numpy's that says it holds no objects, and has a field of them."""
    parts = {"a": (np.dtype("O"), 0)}
    return Built(np.dtype, ("V8", False, True), (3, "|", None, ("a",), parts, 8, 1, 0))


@pytest.mark.parametrize("bare", [False, True])
def test_numbers_never_become_addresses(bare: bool, tmp_path: Path) -> None:
    """numpy follows a number of a forged type as if it were an address, and crashes."""
    from numpy._core.numeric import _frombuffer

    for number, value in enumerate(
        (
            Built(_frombuffer, (b"A" * 8, forged_kind(), (1,), "C")),
            Built(np.dtype, ("O", False, True), (3, "|", None, ("a",), {}, 8, 1, 0)),
        )
    ):
        path = tmp_path / f"{number}.pth"
        program = pickle.dumps({"weight": value}, protocol=4)
        if bare:
            path.write_bytes(program)
        else:
            archive(path, program)
        assert "has parts" in assert_refused(path, tmp_path, tmp_path / "mark")


@pytest.mark.parametrize(
    "name", ["_codecs encode", "numpy dtype", "torch._utils _rebuild_tensor_v2", "torch Size"]
)
def test_what_a_pickle_calls_it_cannot_write_to(name: str, tmp_path: Path) -> None:
    place = f"c{name.replace(' ', chr(10))}\n".encode()
    program = b"\x80\x02" + place + b"N}X\x0c\x00\x00\x00__defaults__X\x01\x00\x00\x00a\x85s\x86b."
    archive(tmp_path / "x.pth", program)
    bare = tmp_path / "x.pkl"
    bare.write_bytes(program)
    for path in (tmp_path / "x.pth", bare):
        assert_refused(path, tmp_path, tmp_path / "mark")


PLACES = (b"r\xff\xff\xff\x3f", b"p1073741823\n", b"p +1_073_741_823\n")  # of a gigabyte of places


@pytest.mark.parametrize("place", PLACES)
def test_places_that_take_all_memory(place: bytes, tmp_path: Path) -> None:
    bare, whole = tmp_path / "x.pkl", tmp_path / "x.pth"
    bare.write_bytes(b"\x80\x02K\x01" + place + b".")
    archive(whole, b"\x80\x02ca.b\nC\n0K\x01" + place + b".")  # a class: not torch's own reader
    for path in (bare, whole):
        assert "at place 1073741823" in assert_refused(path, tmp_path, tmp_path / "mark")


def test_archives_that_readers_would_not_agree_on(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    evil = pickle.dumps(Payload(os.system, f"touch {mark}"), protocol=2)
    for number, names in enumerate((("a", "a"), ("a", "b"))):
        path = tmp_path / f"{number}.pth"
        with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as made:
            warnings.simplefilter("ignore")  # of a name that is there twice
            for name, program in zip(names, (evil, pickle.dumps({})), strict=True):
                made.writestr(f"{name}/data.pkl", program)
            made.writestr("a/version", "3\n")
        assert "several" in assert_refused(path, tmp_path, mark)
    archive(tmp_path / "nested.pth", (tmp_path / "0.pth").read_bytes())
    assert_refused(tmp_path / "nested.pth", tmp_path, mark)


def test_weights_that_are_not_finite(made: Any, tmp_path: Path) -> None:
    weights = made.ubp_weights()
    weights["brain.model.2.bias"][0] = float("nan")
    torch.save(weights, tmp_path / "nan.pth")
    assert "not finite" in assert_refused(tmp_path / "nan.pth", tmp_path, tmp_path / "mark")


def test_a_pickle_written_by_hand(tmp_path: Path) -> None:
    """Protocol 0 with INST, and names that are put together on the stack."""
    mark = tmp_path / "mark"
    for number, program in enumerate(
        (
            f"(ios\nsystem\nS'touch {mark}'\n.".replace("(i", "(S'x'\n0i").encode(),
            f"cos\nsystem\n(S'touch {mark}'\ntR.".encode(),
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c"
            + bytes([len(f"touch {mark}")]) + f"touch {mark}".encode() + b"\x85R.",
        )
    ):  # fmt: skip
        path = tmp_path / f"{number}.pth"
        archive(path, program)
        assert_refused(path, tmp_path, mark)


def declared(shape: tuple[int, ...], numbers: int, stored: int) -> tuple[bytes, dict[str, bytes]]:
    """Return a pickle of one tensor, as torch writes it, with any sizes."""
    buffer = io.BytesIO()

    class Writer(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            if isinstance(obj, Tensor):
                return ("storage", torch.FloatStorage, "0", "cpu", numbers)
            return None

    class Made:
        def __reduce__(self) -> Any:
            stride = tuple(int(np.prod(shape[i + 1 :], dtype=object)) for i in range(len(shape)))
            hooks: OrderedDict[str, Any] = OrderedDict()
            arguments = (torch.zeros(1), 0, shape, stride, False, hooks)
            return torch._utils._rebuild_tensor_v2, arguments

    Writer(buffer, protocol=2).dump({"a.weight": Made()})
    return buffer.getvalue(), {"0": bytes(4 * stored)}


@pytest.mark.parametrize(
    ("shape", "numbers"), [((10**6, 10**6), 10**12), ((10**6, 10**6), 4), ((4,), 10**12)]
)
def test_enormous_declared_tensors(shape: tuple[int, ...], numbers: int, tmp_path: Path) -> None:
    path = tmp_path / "large.pth"
    archive(path, *declared(shape, numbers, stored=4))
    assert_refused(path, tmp_path, tmp_path / "mark")


def test_views_that_repeat_one_number(tmp_path: Path) -> None:
    path = tmp_path / "view.pth"
    torch.save({"a.weight": torch.zeros(1).expand(10**6, 10**6)}, path)
    assert "stores 4 bytes" in assert_refused(path, tmp_path, tmp_path / "mark")


def test_zip_bombs(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    archive(path, b"\x80\x02}.", {"0": bytes(2**25)}, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 2**17
    assert "unpack" in assert_refused(path, tmp_path, tmp_path / "mark")


def test_tensors_without_numbers_and_other_layouts(tmp_path: Path) -> None:
    for number, value in enumerate(
        (torch.zeros(2, 2).to_sparse(), torch.empty(10**6, 10**6, device="meta"))
    ):
        path = tmp_path / f"{number}.pth"
        torch.save({"a": value}, path)
        assert_refused(path, tmp_path, tmp_path / "mark")


@pytest.mark.parametrize(
    "content",
    [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04 no archive", bytes(100),
     b"\x80\x04K\x01."],
)  # fmt: skip
def test_files_that_are_no_checkpoints(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    assert_refused(path, tmp_path, tmp_path / "mark")


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "no file" in assert_refused(tmp_path / "none.pth", tmp_path, tmp_path / "mark")
    (tmp_path / "folder").mkdir()
    assert "zero_to_fp32" in assert_refused(tmp_path / "folder", tmp_path, tmp_path / "mark")


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95, 0.999])
def test_truncated_files(share: float, tmp_path: Path, made: Any) -> None:
    whole, cut = tmp_path / "whole.pth", tmp_path / "cut.pth"
    torch.save({"model_state_dict": made.mindeye2_weights()}, whole)
    content = whole.read_bytes()
    cut.write_bytes(content[: int(share * len(content))])
    assert_refused(cut, tmp_path, tmp_path / "mark")


class Part(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)
        self.register_buffer("counts", torch.arange(4))


def test_pickled_networks_become_records_and_give_their_tensors(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, path = Part(), tmp_path / "network.pth"
    torch.save(network, path)
    content = read_content(path)
    assert isinstance(content.value, InertRecord)
    assert any(name.endswith(".Part") for name in content.inert)
    assert "torch.nn.modules.linear.Linear" in content.inert
    found = state_of(content).tensors
    assert set(found) == set(network.state_dict())
    for name, value in network.state_dict().items():
        assert torch.equal(found[name], value)


def test_a_pickled_network_with_a_command_in_it_is_refused(tmp_path: Path) -> None:
    network, mark = Part(), tmp_path / "mark"
    network.later = Payload(os.system, f"touch {mark}")  # type: ignore[assignment]
    torch.save(network, tmp_path / "network.pth")
    assert "posix.system" in assert_refused(tmp_path / "network.pth", tmp_path, mark)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64", "int64", "uint8", "bool"])
def test_both_readers_find_the_same_numbers(dtype: str, tmp_path: Path) -> None:
    """torch's weights_only, and the restricted unpickler that a record makes necessary."""
    stream = torch.Generator().manual_seed(0)
    value = (torch.randn(4, 6, generator=stream) * 3).to(getattr(torch, dtype))
    weights = {"a": value, "b": value.T, "c": value[1:, ::2], "d": torch.tensor(3.0)}
    plain, more = tmp_path / "plain.pth", tmp_path / "more.pth"
    torch.save({"state_dict": weights}, plain)
    torch.save({"state_dict": weights, "settings": Part()}, more)
    for path in (plain, more):
        found = state_of(read_content(path)).tensors
        assert list(found) == list(weights)
        for name, one in weights.items():
            assert torch.equal(found[name], one)


def test_wrappers_are_removed() -> None:
    from phosphene.checkpoints.converters.reading import Content

    def names(value: Any) -> tuple[list[str], str, list[str]]:
        found = state_of(Content(Path("x"), value))
        return list(found.tensors), found.container, found.beside

    one = torch.zeros(1)
    assert names({"module.a": one, "module.b.c": one}) == (["a", "b.c"], "", [])
    assert names({"module.model.a": one}) == (["a"], "", [])
    assert names({"model._orig_mod.a": one, "model._orig_mod.b": one})[0] == ["a", "b"]
    assert names({"_forward_module.module.a": one})[0] == ["a"]  # DeepSpeed's engine
    assert names({"model.a": one, "other": one})[0] == ["model.a", "other"]
    content = {"state_dict": {"net.a": one}, "epoch": 3, "optimizer_states": [{"x": one}]}
    assert names(content) == (["net.a"], "state_dict", ["epoch", "optimizer_states"])
    assert names({"module": {"module.a": one}, "dp_world_size": 2})[0] == ["a"]
    assert names({"state_dict": {"one": {"a": one}, "two": {"a": one}}})[0] == ["one.a", "two.a"]


def test_content_that_contains_itself(tmp_path: Path) -> None:
    value: dict[str, Any] = {"a": torch.zeros(1)}
    value["again"] = value
    torch.save({"state_dict": value, "model": value}, tmp_path / "loop.pth")
    assert_refused(tmp_path / "loop.pth", tmp_path, tmp_path / "mark")


def test_big_endian_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.pth"
    program, data = declared((4,), 4, stored=4)
    archive(path, program, data)
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("archive/byteorder", "big")
    assert "big-endian" in assert_refused(path, tmp_path, tmp_path / "mark")
    assert struct.calcsize("<HH") == 4
