"""Additions and mergers give what one build gives."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.retrieval import choice as choosing
from phosphene.pipelines.retrieval.extending import add_pictures, merge_indexes
from phosphene.pipelines.retrieval.index import Index

Array = np.ndarray[Any, Any]
MakeIndex = Callable[..., Index]
WriteReady = Callable[..., Path]


def halves(folder: Path, root: Path) -> tuple[Path, Path]:
    for number, name in enumerate(("one", "two")):
        (root / name).mkdir()
        for row in range(20 * number, 20 * number + 20):
            for path in folder.glob(f"p{row:03d}.*"):
                shutil.copy(path, root / name / path.name)
    return root / "one", root / "two"


def assert_same(index: Index, expected: Index) -> None:
    rows = np.arange(len(expected))
    assert len(index) == len(expected)
    np.testing.assert_array_equal(index.vectors(rows), expected.vectors(rows))
    columns = ["id", "caption"]
    assert index.metadata.all()[columns].equals(expected.metadata.all()[columns])
    queries = expected.vectors(rows)[:5] + 0.01
    np.testing.assert_array_equal(index.search(queries, 5).rows, expected.search(queries, 5).rows)
    index.verify()


def test_an_addition_equals_one_build(
    tmp_path: Path, picture_folder: Path, pixel_index: Index, index_of: MakeIndex
) -> None:
    one, two = halves(picture_folder, tmp_path)
    index_of(tmp_path / "i", one)
    before = Index.open(tmp_path / "i")
    before.search(before.vectors(np.arange(2)))  # open while it is extended
    added = add_pictures(tmp_path / "i", str(two), part_size=6, device="cpu")
    assert_same(added, pixel_index)
    assert added.file.sources == [str(one), str(two)]
    assert before.search(before.vectors(np.arange(2)), 1).rows.tolist() == [[0], [1]]
    names = sorted(path.name for path in (tmp_path / "i").iterdir())
    assert names == ["index.json", "metadata-0001.parquet", "vectors-0001.faiss"]
    with pytest.raises(UsageError, match="is in the index"):
        add_pictures(tmp_path / "i", str(two), part_size=6, device="cpu")


def test_pictures_that_are_there_already_are_refused(
    tmp_path: Path, picture_folder: Path, index_of: MakeIndex
) -> None:
    one, _ = halves(picture_folder, tmp_path)
    index_of(tmp_path / "i", one)
    with pytest.raises(InputError, match="20 identifiers again"):
        add_pictures(tmp_path / "i", str(picture_folder), device="cpu")
    assert len(Index.open(tmp_path / "i")) == 20


def test_an_interrupted_addition_is_resumed(
    tmp_path: Path, picture_folder: Path, pixel_index: Index, index_of: MakeIndex,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from phosphene.pipelines.retrieval.parts import Parts

    one, two = halves(picture_folder, tmp_path)
    index_of(tmp_path / "i", one)
    write = Parts.write

    def until_the_second(parts: Parts, part: int, *rest: Any) -> None:
        if part == 2:
            raise KeyboardInterrupt
        write(parts, part, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "write", until_the_second)
        with pytest.raises(KeyboardInterrupt):
            add_pictures(tmp_path / "i", str(two), part_size=6, device="cpu")
    assert len(Index.open(tmp_path / "i")) == 20
    with pytest.raises(UsageError, match="interrupted addition"):
        add_pictures(tmp_path / "i", str(two), part_size=6, device="cpu")
    added = add_pictures(tmp_path / "i", str(two), part_size=6, device="cpu", resume=True)
    assert_same(added, pixel_index)
    assert not (tmp_path / "i" / ".adding").exists()


def test_merged_indexes_equal_one_build(
    tmp_path: Path, picture_folder: Path, pixel_index: Index, index_of: MakeIndex
) -> None:
    one, two = halves(picture_folder, tmp_path)
    index_of(tmp_path / "a", one)
    index_of(tmp_path / "b", two)
    merged = merge_indexes([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert_same(merged, pixel_index)
    with pytest.raises(InputError, match="identifiers again"):
        merge_indexes([tmp_path / "a", tmp_path / "c"], tmp_path / "d")
    with pytest.raises(UsageError, match="1 index to merge"):
        merge_indexes([tmp_path / "a"], tmp_path / "d")


def test_indexes_of_different_spaces_are_not_merged(
    tmp_path: Path, picture_folder: Path, pixel_index: Index, index_of: MakeIndex
) -> None:
    other = index_of(tmp_path / "a", picture_folder, target="pixels:5x3")
    with pytest.raises(InputError, match=r"108.*75|75.*108"):
        merge_indexes([pixel_index.folder, other.folder], tmp_path / "b")


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_graphs_and_codes_are_extended(
    tmp_path: Path, spread_vectors: Array, index_of: MakeIndex, write_ready: WriteReady, kind: str
) -> None:
    first = write_ready(tmp_path / "a", spread_vectors[:800], per_file=800)
    both = write_ready(tmp_path / "b", spread_vectors, per_file=800)
    for path in (both / "img_emb" / "img_emb_0.npy", both / "metadata" / "metadata_0.parquet"):
        path.unlink()
    index_of(tmp_path / "i", first, target="given:x", kind=kind)
    added = add_pictures(tmp_path / "i", str(both), device="cpu")
    assert (len(added), added.file.kind) == (1200, kind)
    unit = spread_vectors / np.linalg.norm(spread_vectors, axis=1, keepdims=True)
    found = added.search(unit[[5, 1100]], 1)
    np.testing.assert_allclose(found.scores[:, 0], 1, atol=1e-3)
    np.testing.assert_allclose(added.vectors(np.array([1100]))[0], unit[1100], atol=1e-3)
    added.verify()


def test_a_flat_index_that_outgrows_itself_becomes_a_graph(
    tmp_path: Path, picture_folder: Path, pixel_index: Index, index_of: MakeIndex,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one, two = halves(picture_folder, tmp_path)
    index_of(tmp_path / "i", one)
    monkeypatch.setattr(choosing, "FLAT_BELOW", 30)
    added = add_pictures(tmp_path / "i", str(two), part_size=6, device="cpu")
    assert added.file.kind == "hnsw"
    assert "fit into the budget" in str(added.file.parameters["reason"])
    rows = np.arange(40)
    np.testing.assert_allclose(added.vectors(rows), pixel_index.vectors(rows), atol=1e-3)
    assert added.search(pixel_index.vectors(rows), 1).rows[:, 0].tolist() == rows.tolist()
