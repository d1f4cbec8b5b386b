"""Items, labels and batches; the outcome of two processes is that of one."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.errors import InputError
from phosphene.pipelines.metrics import mean_squared_error
from phosphene.pipelines.metrics.specs import METRICS, create_metric

Array = np.ndarray[Any, Any]
WORKER = Path(__file__).with_name("two_processes.py")


@pytest.fixture
def pair() -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    shape = (7, 16, 12, 3)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 256, shape, dtype=np.uint8)


def labels(n: int) -> list[str]:
    return [f"item-{number:02d}" for number in range(n)]


def test_batches_and_their_order_change_nothing(pair: tuple[Array, Array]) -> None:
    names = labels(7)
    whole, parts = create_metric("mse/unit-range-v1"), create_metric("mse/unit-range-v1")
    whole.update(*pair, names)
    for rows in ([5], [0, 6, 2], [], [4, 1, 3]):
        parts.update(pair[0][rows], pair[1][rows], [names[row] for row in rows])
    one, two = whole.compute(), parts.compute()
    assert one.items == two.items == tuple(names)
    np.testing.assert_array_equal(one.scores, two.scores)
    np.testing.assert_array_equal(one.scores, mean_squared_error(*pair))
    assert one.value == two.value == one.scores.mean()
    whole.reset()
    with pytest.raises(InputError, match="no items"):
        whole.compute()


def test_labels_may_be_any_text(pair: tuple[Array, Array]) -> None:
    metric = create_metric("mse/unit-range-v1")
    names = ["Straße 7", "日本", "a b", "ä", "x/y", "nan", "-"]
    metric.update(*pair, names)
    found = metric.compute()
    assert found.items == tuple(sorted(names))
    expected = dict(zip(names, mean_squared_error(*pair), strict=True))
    assert dict(zip(found.items, found.scores, strict=True)) == expected
    for wrong in ("", "a\x00b"):
        with pytest.raises(InputError, match="zero byte"):
            metric.update(pair[0][:1], pair[1][:1], [wrong])


def test_an_item_counts_once(pair: tuple[Array, Array]) -> None:
    """Samplers that share items among processes repeat some; another item of that name is wrong."""
    metric = create_metric("mse/unit-range-v1")
    metric.update(*pair, labels(7))
    before = metric.compute()
    metric.update(pair[0][2:4], pair[1][2:4], labels(7)[2:4])
    again = metric.compute()
    assert again.items == before.items
    assert again.value == before.value
    metric.update(pair[0][2:3], pair[1][4:5], ["item-02"])
    with pytest.raises(InputError, match="two different items labelled 'item-02'"):
        metric.compute()


def test_batches_that_cannot_be_scored(pair: tuple[Array, Array]) -> None:
    metric = create_metric("mse/unit-range-v1")
    with pytest.raises(InputError, match="as many labels"):
        metric.update(*pair, labels(6))
    with pytest.raises(InputError, match="uint8 pictures"):
        metric.update(pair[0] / 255, pair[1], labels(7))
    with pytest.raises(InputError, match="uint8 pictures"):
        metric.update(pair[0][0], pair[1][0], labels(7))
    with pytest.raises(InputError, match="6 reconstructions beside 7 truths"):
        metric.update(pair[0][:6], pair[1], labels(7))


@pytest.mark.slow
@pytest.mark.parametrize("world", [2, 3])
def test_several_processes_equal_one(world: int, tmp_path: Path) -> None:
    """Shares of unequal size over a real process group; one item is twice, one process has none."""
    single = json.loads(json.dumps(runpy.run_path(str(WORKER))["outcomes"](list(range(9)))))
    assert len(single) > 4
    assert _in_processes(world, tmp_path) == [single] * world


@pytest.mark.slow
def test_several_processes_equal_one_through_a_network(tmp_path: Path) -> None:
    """Identification by a network's features, and distances of whole sets."""
    worker = runpy.run_path(str(WORKER))
    names = worker["NETWORK"]
    if reason := next((METRICS[name].spec.availability() for name in names), None):
        pytest.skip(reason)
    single = worker["outcomes"](list(range(9)), names)
    for found in _in_processes(2, tmp_path, "network"):
        for name, (value, scores, items) in single.items():
            assert found[name][2] == items, name
            assert found[name][0] == pytest.approx(value, rel=1e-4, abs=1e-6), name
            if scores is None:
                assert found[name][1] is None, name
            else:
                assert found[name][1] == pytest.approx(scores, rel=1e-4, abs=1e-6), name
        assert found["fid-efficientnet-lite0/strict-v1"][0] > 0


def _in_processes(world: int, folder: Path, *more: str) -> list[Any]:
    """Return what each process of a group printed."""
    command = [sys.executable, str(WORKER), str(folder / "meeting"), str(world)]
    workers = [
        subprocess.Popen([*command, str(rank), *more], stdout=subprocess.PIPE, text=True)
        for rank in range(world)
    ]
    printed = [worker.communicate(timeout=400)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * world
    return [json.loads(text.splitlines()[-1]) for text in printed]
