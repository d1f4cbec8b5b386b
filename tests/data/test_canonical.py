"""Canonical datasets: what goes in comes out, whoever was added, and leaks are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import picture_hash
from phosphene.data.prepare import write_subject
from phosphene.errors import InputError, PhospheneError, UsageError
from phosphene.pipelines.training.materials import cached_targets, load_target
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

Array = np.ndarray[Any, Any]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(4)


def recording(data: Array, subject: str = "01", **columns: Any) -> Recording:
    table = complete_trials(pd.DataFrame(columns) if columns else None, len(data))
    return Recording(data, "fmri", subject, table, VoxelSpace.columns(data.shape[1]))


def pictures_file(path: Path, pictures: Array) -> Path:
    np.save(path, pictures)
    return path


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_data_come_back_exactly_and_memory_mapped(
    rng: np.random.Generator, tmp_path: Path, dtype: Any
) -> None:
    data = rng.normal(size=(7, 11)).astype(dtype)
    data[0, :3] = [np.finfo(dtype).tiny, -0.0, np.finfo(dtype).max]
    written = write_subject(tmp_path / "d", recording(data), None, dtype=dtype)
    for dataset in (written, CanonicalDataset.open(tmp_path / "d")):
        found = dataset.recording("01").data
        assert isinstance(found, np.memmap)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.view(np.uint8), data.view(np.uint8))
    assert np.load(tmp_path / "d/recordings/sub-01.npy").flags.c_contiguous


def test_any_layout_of_the_data_is_written_in_order(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phosphene.data.prepare.BLOCK_BYTES", 100)  # many blocks, the last short
    data = np.asfortranarray(rng.normal(size=(7, 11)).astype(">f4"))
    dataset = write_subject(tmp_path / "d", recording(data), None)
    np.testing.assert_array_equal(dataset.recording("01").data, data)


def test_values_beyond_float16_are_refused(rng: np.random.Generator, tmp_path: Path) -> None:
    data = rng.normal(size=(5, 6)).astype(np.float32)
    data[3, 2] = 70_000
    with pytest.raises(InputError, match=r"70000[\s\S]*float16[\s\S]*use float32"):
        write_subject(tmp_path / "d", recording(data), None, dtype="float16")
    assert not (tmp_path / "d/dataset.json").exists()
    with pytest.raises(InputError, match=r"no dataset\.json"):
        CanonicalDataset.open(tmp_path / "d")
    write_subject(tmp_path / "d", recording(data), None, dtype="float32")  # goes on from there
    assert CanonicalDataset.open(tmp_path / "d").recording("01").data[3, 2] == 70_000


def test_a_second_subject(rng: np.random.Generator, tmp_path: Path) -> None:
    pictures = rng.integers(0, 256, size=(9, 6, 7, 3), dtype=np.uint8)
    one, two = rng.normal(size=(5, 11)).astype("f4"), rng.normal(size=(6, 4)).astype("f4")
    seen = {"01": [0, 1, 2, 1, 0], "02": [7, 2, 1, 8, 2, 5]}
    for subject, data in (("01", one), ("02", two)):
        shown = pictures_file(tmp_path / f"{subject}.npy", pictures[seen[subject]])
        write_subject(tmp_path / "d", recording(data, subject), shown, name="two")
    dataset = CanonicalDataset.open(tmp_path / "d")
    assert dataset.file.name == "two"
    assert sorted(dataset.file.subjects) == ["01", "02"]
    np.testing.assert_array_equal(dataset.recording("01").data, one)
    np.testing.assert_array_equal(dataset.recording("02").data, two)
    for subject, rows in seen.items():
        trials = dataset.recording(subject).trials
        found = dataset.pictures(trials["stimulus_id"].tolist())
        np.testing.assert_array_equal(np.stack(found), pictures[rows])
    # Equal pictures have one id, within a subject and across them.
    assert dataset.file.n_stimuli == len(dataset.stimuli) == len({0, 1, 2, 7, 8, 5})
    assert dataset.stimuli["hash"].is_unique
    assert dataset.recording("01").trials["repetition"].tolist() == [1, 1, 1, 2, 2]
    assert dataset.recording("02").trials["repetition"].tolist() == [1, 1, 1, 1, 2, 1]
    with pytest.raises(UsageError, match="has subject 02 already"):
        write_subject(tmp_path / "d", recording(two, "02"), None)


def test_another_picture_under_a_known_name_is_refused(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    pictures = rng.integers(0, 256, size=(2, 6, 6), dtype=np.uint8)
    data = rng.normal(size=(2, 5)).astype("f4")
    shown = pictures_file(tmp_path / "p.npy", pictures)
    write_subject(tmp_path / "d", recording(data, stimulus_id=["a", "b"]), shown)
    before = (tmp_path / "d/dataset.json").read_bytes()
    with pytest.raises(InputError, match="stimulus 'b' is another picture"):
        write_subject(tmp_path / "d", recording(data, "02", stimulus_id=["b", "a"]), shown)
    assert (tmp_path / "d/dataset.json").read_bytes() == before
    with pytest.raises(InputError, match="different pictures for stimulus 'a'"):
        write_subject(tmp_path / "e", recording(data, stimulus_id=["a", "a"]), shown)


def test_pictures_by_number_name_and_file_name(rng: np.random.Generator, tmp_path: Path) -> None:
    from PIL import Image

    pictures = rng.integers(0, 256, size=(4, 6, 5), dtype=np.uint8)
    data = rng.normal(size=(3, 5)).astype("f4")
    shown = pictures_file(tmp_path / "p.npy", pictures)
    by_number = write_subject(tmp_path / "n", recording(data, stimulus_id=["3", "0", "3"]), shown)
    np.testing.assert_array_equal(by_number.pictures(["3"])[0][..., 0], pictures[3])
    (tmp_path / "folder").mkdir()
    for name, picture in zip("abcd", pictures, strict=True):
        Image.fromarray(picture).save(tmp_path / "folder" / f"{name}.png")
    for kind in ("d", "d.png"):
        names = [kind, kind.replace("d", "b"), kind]
        named = write_subject(
            tmp_path / kind, recording(data, stimulus_id=names), tmp_path / "folder"
        )
        np.testing.assert_array_equal(named.pictures([kind])[0][..., 0], pictures[3])
    with pytest.raises(InputError, match="no picture of 1 of 2 stimuli, 'z'"):
        write_subject(tmp_path / "z", recording(data, stimulus_id=list("zaz")), tmp_path / "folder")
    with pytest.raises(InputError, match="4 pictures for 3 trials"):
        write_subject(tmp_path / "z", recording(data, stimulus_id=list("xyz")), shown)
    assert not (tmp_path / "z").exists()


@pytest.mark.parametrize("name", ["../../escaped", "a/escaped", "/tmp/escaped.jpg"])
def test_identifiers_never_leave_the_folder(
    rng: np.random.Generator, tmp_path: Path, name: str
) -> None:
    shown = pictures_file(tmp_path / "p.npy", rng.integers(0, 256, (2, 6, 6), dtype=np.uint8))
    data = rng.normal(size=(2, 5)).astype("f4")
    dataset = write_subject(tmp_path / "x/d", recording(data, stimulus_id=[name, "b"]), shown)
    assert list(tmp_path.rglob("escaped*")) == [tmp_path / "x/d/stimuli/escaped.png"]
    assert not Path("/tmp/escaped.png").exists()
    assert len(dataset.pictures([name])) == 1
    for other in ("escaped", ".hidden", ".."):
        with pytest.raises(InputError, match="no other stimulus has"):
            write_subject(tmp_path / "x/e", recording(data, stimulus_id=[name, other]), shown)


def test_paths_of_another_subject_overwrite_no_picture(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    pictures = rng.integers(0, 256, (4, 6, 6), dtype=np.uint8)
    data = rng.normal(size=(2, 5)).astype("f4")
    for subject, names, rows in (("01", ["a/p", "q"], [0, 1]), ("02", ["b/p", "q"], [2, 1])):
        shown = pictures_file(tmp_path / f"{subject}.npy", pictures[rows])
        brain = recording(data, subject, stimulus_id=names)
        if subject == "02":
            with pytest.raises(InputError, match="no other stimulus has"):
                write_subject(tmp_path / "d", brain, shown)
        else:
            write_subject(tmp_path / "d", brain, shown)
    found = CanonicalDataset.open(tmp_path / "d").pictures(["a/p", "q"])
    np.testing.assert_array_equal(np.stack(list(found))[..., 0], pictures[:2])


def test_splits_select_trials_in_order(rng: np.random.Generator, tmp_path: Path) -> None:
    data = rng.normal(size=(6, 5)).astype("f4")
    splits = ["train", "test", "validation", "train", "test", "train"]
    dataset = write_subject(
        tmp_path / "d", recording(data, stimulus_id=list("abcdef"), split=splits), None
    )
    part = dataset.recording("01", splits=["train", "validation"])
    np.testing.assert_array_equal(part.data, data[[0, 2, 3, 5]])
    assert part.trials["stimulus_id"].tolist() == list("acdf")
    with pytest.raises(InputError, match="has no subject '03'"):
        dataset.recording("03")
    with pytest.raises(InputError, match="no picture of 6 stimuli"):
        dataset.pictures(list("abcdef"))


def test_a_damaged_dataset_is_told(rng: np.random.Generator, tmp_path: Path) -> None:
    data = rng.normal(size=(4, 5)).astype("f4")
    root = tmp_path / "d"
    write_subject(root, recording(data), None)
    whole = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}

    def damage(name: str, content: bytes | None, message: str) -> None:
        (root / name).unlink()
        if content is not None:
            (root / name).write_bytes(content)
        with pytest.raises(InputError, match=message):
            CanonicalDataset.open(root).recording("01")
        (root / name).write_bytes(whole[root / name])

    for name in ("trials.parquet", "stimuli.parquet"):
        damage(name, None, "missing or damaged")
        damage(name, b"not at all", "missing or damaged")
    damage("recordings/sub-01.npy", None, "no file")
    damage("recordings/sub-01_voxels.npy", None, "no file")
    np.save(tmp_path / "other.npy", data[:, :4])
    damage("recordings/sub-01.npy", (tmp_path / "other.npy").read_bytes(), r"shape \(4, 4\)")
    np.save(tmp_path / "other.npy", np.arange(1, 5))
    damage("recordings/sub-01_voxels.npy", (tmp_path / "other.npy").read_bytes(), "the hash")
    file = json.loads(whole[root / "dataset.json"])
    damage("dataset.json", json.dumps(file | {"mood": 1}).encode(), "mood")
    file["subjects"]["01"]["n_trials"] = 5
    damage("dataset.json", json.dumps(file).encode(), "4 trials of subject 01")
    table = pd.read_parquet(root / "trials.parquet")
    table.drop(columns="split").to_parquet(tmp_path / "t.parquet")
    damage("trials.parquet", (tmp_path / "t.parquet").read_bytes(), "split")
    CanonicalDataset.open(root).recording("01")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, 10**6), value=st.integers(0, 255), pick=st.integers(0, 30))
def test_damaged_datasets_raise_only_our_errors(
    tmp_path: Path, place: int, value: int, pick: int
) -> None:
    root = tmp_path / "d"
    if not root.exists():
        shown = pictures_file(tmp_path / "p.npy", np.arange(48, dtype=np.uint8).reshape(3, 4, 4))
        data = np.random.default_rng(0).normal(size=(3, 5)).astype("f4")
        write_subject(root, recording(data), shown)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    path = files[pick % len(files)]
    content = path.read_bytes()
    changed = bytearray(content)
    changed[place % len(content)] = value
    path.write_bytes(changed)
    try:
        dataset = CanonicalDataset.open(root)
        list(dataset.pictures(dataset.recording("01").trials["stimulus_id"].tolist()))
    except PhospheneError:
        pass
    finally:
        path.write_bytes(content)


def test_targets_are_computed_once(dataset: Path, toy: Any) -> None:
    opened = CanonicalDataset.open(dataset)
    target = load_target("pixels:8x1")
    ids = opened.recording("01").trials["stimulus_id"].tolist()

    def caches() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in (dataset / "targets").rglob("*.safetensors")}

    values = cached_targets(opened, target, ids)
    first = caches()
    again = cached_targets(opened, load_target("pixels:8x1"), ids)
    assert caches() == first
    assert torch.equal(values, again)
    order = ids[::-1]
    assert torch.equal(cached_targets(opened, target, order), values.flip(0))
    assert caches() == first  # the order of trials does not matter to the cache
    cached_targets(opened, load_target("pixels:6x1"), ids)
    assert len(caches()) == len(first) + 1  # another target has its own
    numbers = [int(name.removeprefix("scene-")) for name in ids]
    expected = torch.from_numpy(toy.pictures[numbers].reshape(len(ids), -1) / 255).float()
    assert torch.equal(values, expected)


def test_training_again_takes_the_cache(
    dataset: Path, model: Path, cli: Any, tmp_path: Path
) -> None:
    before = {p: p.stat().st_mtime_ns for p in (dataset / "targets").rglob("*")}
    words = ("--dataset", dataset, "--subject", "01", "--target", "pixels:8x1")
    for name in ("one", "two"):
        cli("train encoder", *words, "--output", tmp_path / name).succeeds()
    after = {p: p.stat().st_mtime_ns for p in (dataset / "targets").rglob("*")}
    assert {path: after[path] for path in before} == before
    one, two = (json.loads((tmp_path / n / "model_index.json").read_text()) for n in ("one", "two"))
    assert one["metrics"] == two["metrics"]  # fitting is deterministic
    names = [name for name in one["files"] if name != "README.md"]  # it tells the folder's name
    assert [one["files"][name] for name in names] == [two["files"][name] for name in names]


def test_the_cache_is_found_by_content(rng: np.random.Generator, tmp_path: Path) -> None:
    data = rng.normal(size=(3, 5)).astype("f4")
    pictures = rng.integers(0, 256, size=(3, 8, 8), dtype=np.uint8)
    shown = pictures_file(tmp_path / "p.npy", pictures)
    folders = []
    for name, table in (("a", list("abc")), ("b", list("abc")), ("c", list("acb"))):
        opened = write_subject(tmp_path / name, recording(data, stimulus_id=table), shown)
        cached_targets(opened, load_target("pixels:8x1"), table)
        folders.append([path.name for path in (tmp_path / name / "targets").iterdir()])
    assert folders[0] == folders[1] != folders[2]


@pytest.mark.parametrize("names", [list("abca"), list("abcd")])
def test_test_pictures_never_train(
    rng: np.random.Generator, cli: Any, tmp_path: Path, names: list[str]
) -> None:
    """Neither under its own name nor under another one."""
    pictures = rng.integers(0, 256, size=(4, 8, 8), dtype=np.uint8)
    pictures[3] = pictures[0]
    shown = pictures_file(tmp_path / "p.npy", pictures)
    data = rng.normal(size=(4, 5)).astype("f4")
    table = {"stimulus_id": names, "split": ["train", "train", "train", "test"]}
    write_subject(tmp_path / "d", recording(data, **table), shown)
    cli(
        "train encoder", "--dataset", tmp_path / "d", "--subject", "01", "--target", "pixels:8x1",
        "--output", tmp_path / "m",
    ).refuses(3, "1 pictures of the test split", "'a' for example", "same split")  # fmt: skip
    assert not (tmp_path / "m").exists()


def test_test_pictures_of_another_subject_do_not_train_either(
    rng: np.random.Generator, cli: Any, tmp_path: Path
) -> None:
    pictures = rng.integers(0, 256, size=(4, 8, 8), dtype=np.uint8)
    shown = pictures_file(tmp_path / "p.npy", pictures)
    data = rng.normal(size=(4, 5)).astype("f4")
    write_subject(tmp_path / "d", recording(data, stimulus_id=list("abcd")), shown)
    table = {"stimulus_id": list("abcd"), "split": ["train", "train", "train", "test"]}
    write_subject(tmp_path / "d", recording(data, "02", **table), shown)
    cli(
        "train encoder", "--dataset", tmp_path / "d", "--subject", "01", "--target", "pixels:8x1",
        "--output", tmp_path / "m",
    ).refuses(3, "'d' for example")  # fmt: skip


def test_hashes_tell_shape_and_content() -> None:
    flat = np.zeros((4, 6, 1), np.uint8)
    assert picture_hash(flat) != picture_hash(flat.reshape(6, 4, 1))
    assert picture_hash(flat) == picture_hash(flat.copy(order="F"))


def test_targets_of_some_pictures_come_from_the_cache_of_more(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = rng.normal(size=(4, 5)).astype("f4")
    pictures = rng.integers(0, 256, size=(4, 8, 8), dtype=np.uint8)
    table = list("abcd")
    shown = pictures_file(tmp_path / "p.npy", pictures)
    opened = write_subject(tmp_path / "d", recording(data, stimulus_id=table), shown)
    target = load_target("pixels:8x1")
    whole = cached_targets(opened, target, table)
    monkeypatch.setattr(type(target), "encode", lambda *_: pytest.fail("computed again"))
    assert torch.equal(cached_targets(opened, target, list("cac")), whole[[2, 0, 2]])
    assert len(list((tmp_path / "d" / "targets").iterdir())) == 1
    (path,) = (tmp_path / "d" / "targets").rglob("*.safetensors")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(pytest.fail.Exception):
        cached_targets(opened, target, list("cac"))
