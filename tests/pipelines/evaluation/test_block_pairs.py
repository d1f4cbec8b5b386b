from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phosphene.pipelines.evaluation.block_pairs import BlockPairs, block_size, blocks_of
from phosphene.pipelines.evaluation.pairing import pair_scores
from phosphene.pipelines.evaluation.predictions import Item
from phosphene.pipelines.evaluation.reading import PairReader
from phosphene.pipelines.metrics import pixel_correlation
from phosphene.pipelines.metrics.specs import create_metric

N = 9


@pytest.fixture
def reader(tmp_path: Path) -> PairReader:
    rng = np.random.default_rng(0)
    items, truth = [], {}
    for number in range(N):
        files = []
        for kind in ("shown", "made-0", "made-1"):
            path = tmp_path / f"{kind}-{number}.png"
            Image.fromarray(rng.integers(0, 256, size=(6, 6, 3), dtype=np.uint8)).save(path)
            files.append(path)
        name = f"{number}"
        truth[name] = files[0]
        items.append(Item(name, name, tuple(files[1:])))
    return PairReader(items, truth)


@pytest.mark.parametrize("size", [2, 3, 4, 64])
@pytest.mark.parametrize("n", [1, 2, 3, 7, 20])
def test_blocks_hold_every_picture_once_and_never_one_alone(n: int, size: int) -> None:
    blocks = blocks_of(n, size, seed=0)
    assert sorted(np.concatenate(blocks).tolist()) == list(range(n))
    assert min(map(len, blocks)) >= min(n, 2)
    assert max(map(len, blocks)) <= max(2 * size, 3)


def test_blocks_differ_by_seed_and_not_from_call_to_call() -> None:
    first, again, other = (
        np.concatenate(blocks_of(30, 5, seed=seed)).tolist() for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_networks_get_few_pairs_and_large_pictures_fewer_than_small_ones() -> None:
    assert block_size(1000, (425, 425), network=True) == 4
    assert block_size(1000, (425, 425), network=False) == 4
    assert block_size(100, (28, 28), network=False) == 64
    assert block_size(100, (425, 425), network=False) == 27


def test_one_block_is_the_whole_matrix_of_pairs(reader: PairReader) -> None:
    rows = list(range(N))
    pairs = BlockPairs(reader, rows, size=64, seed=0)
    found = pairs.matrix(create_metric("pixcorr/strict-v1"), batch_size=5, label="")
    shown = np.stack([reader.shown(str(row)) for row in rows])
    expected = np.mean(
        [
            pair_scores(pixel_correlation, np.stack([reader.sample(r, k) for r in rows]), shown)
            for k in range(2)
        ],
        axis=0,
    )
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_batches_change_nothing_and_nothing_stands_between_blocks(reader: PairReader) -> None:
    metric = create_metric("pixcorr/strict-v1")
    pairs = BlockPairs(reader, list(range(N)), size=3, seed=0)
    one, many = (pairs.matrix(metric, batch_size=size, label="") for size in (1, 100))
    np.testing.assert_array_equal(one, many)
    same = pairs.groups[:, None] == pairs.groups[None, :]
    assert np.isfinite(one[same]).all()
    assert np.isnan(one[~same]).all()
