"""Sizes that are computed, beside files that were written and the page that quotes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.errors import UsageError
from phosphene.pipelines.retrieval.choice import bytes_per_vector, choose
from phosphene.pipelines.retrieval.sizing import Machine, plan_index, sizing_table

Array = np.ndarray[Any, Any]
PAGE = Path(__file__).parents[3] / "docs" / "retrieval_sizing.md"


def test_the_page_quotes_the_table() -> None:
    assert sizing_table() in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["flat", "hnsw", "ivfpq"])
def test_files_have_the_computed_size(
    tmp_path: Path, spread_vectors: Array, index_of: Any, write_ready: Any, kind: str
) -> None:
    ready = write_ready(tmp_path / "e", spread_vectors, per_file=1200)
    index = index_of(tmp_path / "i", ready, target="given:x", kind=kind)
    size = index.file.files["vectors"].size / len(index)
    assert size == pytest.approx(bytes_per_vector(kind, len(index), 16), rel=0.05)


@pytest.mark.parametrize(
    ("n", "memory", "kind"),
    [
        (99_999, 1e12, "flat"),
        (100_000, 1e12, "hnsw"),
        (250_000, 4e8, "ivfpq"),
        (250_000, 5e8, "hnsw"),
        (10**6, 1e12, "ivfpq"),
    ],
)
def test_the_kind_follows_size_and_memory(n: int, memory: float, kind: str) -> None:
    assert choose(n, 768, memory=memory).kind == kind


def test_the_promises_about_bytes() -> None:
    for n in (10**6, 10**7, 5 * 10**9):
        assert bytes_per_vector("hnsw", n, 768) < 1.3 * 2 * 768
        assert bytes_per_vector("ivfpq", n, 768) < 100


def test_machines_follow_from_memory_and_disk() -> None:
    plan = plan_index(5 * 10**9, 768, kind="ivfpq", machine=Machine(memory=100e9, disk=1e13))
    assert plan.machines == -(-int(5e9 * plan.memory) // int(50e9))
    small = plan_index(200_000, 768, machine=Machine(memory=1e8))
    assert small.kind == "ivfpq"
    assert plan_index(200_000, 768).kind == "hnsw"
    assert plan_index(10**6, 768).kind == "ivfpq"
    assert plan_index(10, 768).kind == "flat"
    with pytest.raises(UsageError, match="0 vectors"):
        plan_index(0, 768)


@pytest.mark.parametrize(("n", "candidates"), [(1000, 500), (1_000_000, 500), (10_000_000, 1581)])
def test_more_rivals_are_compared_exactly_among_more_vectors(n: int, candidates: int) -> None:
    assert choose(n, 768, kind="ivfpq").parameters["candidates"] == candidates


def test_lists_have_enough_vectors_to_learn_from() -> None:
    for n in (256, 1000, 10**5, 10**6, 10**7):
        lists = int(choose(n, 768, kind="ivfpq").parameters["lists"])
        assert lists == 1 or n >= 40 * lists
        assert lists & (lists - 1) == 0
