from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError
from phosphene.pipelines.metrics.correlations import (
    BLOCK,
    correlate,
    near_copies,
    sketch_rows,
    unit_rows,
)

Array = np.ndarray[Any, Any]


@pytest.fixture(params=[7, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def pair(request: pytest.FixtureRequest) -> tuple[Array, Array]:
    """Rows with offsets and a trend, so that blocks have means of their own."""
    rng = np.random.default_rng(request.param)
    d = request.param
    truth = rng.normal(size=(6, d)) + 5 * rng.normal(size=(6, 1)) + np.linspace(0, 3, d)
    return truth, 0.4 * truth[::-1] + rng.normal(size=(6, d)) - 8


@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_it_is_numpys(pair: tuple[Array, Array], dtype: Any, atol: float) -> None:
    truth, predicted = (rows.astype(dtype) for rows in pair)
    expected = np.corrcoef(truth, predicted)[:6, 6:]
    found = correlate(truth, predicted)
    np.testing.assert_allclose(found.matrix, expected, atol=atol)
    assert found.matrix.dtype == np.float64
    assert found.copies.tolist() == np.eye(6, dtype=bool).tolist()
    products = unit_rows(truth) @ unit_rows(predicted).T
    np.testing.assert_allclose(products, expected, atol=atol)
    assert products.dtype == dtype


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("level", [0.0, 0.1, 1000.3])
def test_flat_rows_correlate_with_nothing(dtype: Any, level: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(4, 5000)).astype(dtype)
    flat = np.full_like(truth, level)
    found = correlate(truth, flat)
    assert found.matrix.tolist() == np.zeros((4, 4)).tolist()
    assert found.copies.all()
    assert not unit_rows(flat).any()


def test_copies_are_found_up_to_scale_and_offset() -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(5, 9000)).astype(np.float32)
    rows[3] = 2 * rows[0] - 7
    rows[4] = rows[1] + 0.2 * rng.normal(size=9000)  # r = .98: another one
    expected = np.eye(5, dtype=bool)
    expected[0, 3] = expected[3, 0] = True
    assert correlate(rows[::-1], rows).copies.tolist() == expected.tolist()
    assert near_copies(sketch_rows(unit_rows(rows))).tolist() == expected.tolist()


def test_files_are_read_in_blocks(tmp_path: Path, pair: tuple[Array, Array]) -> None:
    for name, rows in zip(("truth", "predicted"), pair, strict=True):
        np.save(tmp_path / f"{name}.npy", rows)
    mapped = [np.load(tmp_path / f"{n}.npy", mmap_mode="r") for n in ("truth", "predicted")]
    np.testing.assert_array_equal(correlate(*mapped).matrix, correlate(*pair).matrix)


def test_numbers_have_to_be_finite() -> None:
    rows = np.random.default_rng(2).normal(size=(3, 40))
    broken = rows.copy()
    broken[1, 5] = np.inf
    with pytest.raises(InputError, match="not finite"):
        correlate(broken, rows)
