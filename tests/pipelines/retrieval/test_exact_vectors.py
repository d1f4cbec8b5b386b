"""Vectors on disk: written as they come, read row by row."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from phosphene.pipelines.retrieval import exact_vectors
from phosphene.pipelines.retrieval.exact_vectors import ExactVectors, write_vectors


def test_blocks_become_files_of_bounded_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_vectors, "ROWS_PER_FILE", 10)
    values = np.random.default_rng(0).standard_normal((1234, 5)).astype(np.float16)
    ends = [0, 1, 4, 10, 12, 20, 27, 1220, 1234]
    blocks = [values[a:b] for a, b in pairwise(ends)]
    names = write_vectors(tmp_path, iter(blocks), first=3)
    assert names == [f"exact-{number:04d}.npy" for number in range(3, 3 + len(names))]
    arrays = [np.load(tmp_path / name, allow_pickle=False) for name in names]
    assert [len(array) for array in arrays] == [10, 10, 1200, 14]
    np.testing.assert_array_equal(np.concatenate(arrays), values)
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    stored = ExactVectors([tmp_path / name for name in names])
    rows = np.array([1233, 0, 20, 19, 0, 640])
    found = stored.rows(rows)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values[rows].astype(np.float32))


def test_no_blocks_are_no_files(tmp_path: Path) -> None:
    assert write_vectors(tmp_path, iter(())) == []


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    def broken():  # type: ignore[no-untyped-def]
        yield np.ones((2, 3), dtype=np.float16)
        raise OSError("no space left")

    with pytest.raises(Exception, match="no space left"):
        write_vectors(tmp_path, broken())
    assert list(tmp_path.iterdir()) == []
