"""Batches are the rows that were asked for, also while the next ones are gathered."""

from __future__ import annotations

import pytest
import torch

from phosphene.pipelines.training.gathering import gathered


def test_batches_hold_the_rows_in_their_order() -> None:
    generator = torch.Generator().manual_seed(0)
    data = {
        "x": torch.randn(50, 3, 4, generator=generator).half(),
        "b": torch.randn(50, 2, generator=generator).bfloat16(),
        "number": torch.arange(50),
        "there": torch.rand(50, 5, generator=generator) > 0.5,
        "strided": torch.randn(6, 50, generator=generator).T,
    }
    order = torch.randperm(50, generator=generator)
    parts = [*order.split(8), order[:1], order[:20]]  # a shorter and a longer one
    seen = [
        {name: tensor.clone() for name, tensor in batch.items()} for batch in gathered(data, parts)
    ]
    assert len(seen) == len(parts)
    for rows, batch in zip(parts, seen, strict=True):
        for name, tensor in data.items():
            assert batch[name].dtype == tensor.dtype
            assert torch.equal(batch[name], tensor[rows])


def test_a_batch_stays_until_the_next_is_asked_for() -> None:
    data = {"x": torch.arange(4000.0).reshape(40, 100)}
    for rows, batch in zip(
        torch.arange(40).split(4), gathered(data, torch.arange(40).split(4)), strict=True
    ):
        before = batch["x"].clone()
        torch.randn(300, 300).mm(torch.randn(300, 300))  # the network; meanwhile rows are gathered
        assert torch.equal(batch["x"], before)
        assert torch.equal(before, data["x"][rows])


def test_what_is_made_besides_belongs_to_its_batch_and_buffers_take_turns() -> None:
    given: list[int] = []

    def more(rows: torch.Tensor, buffer: dict[str, object]) -> dict[str, torch.Tensor]:
        given.append(id(buffer))
        return {"double": 2 * rows}

    parts = torch.arange(30).split(7)
    for rows, batch in zip(parts, gathered({"x": torch.arange(30.0)}, parts, more), strict=True):
        assert torch.equal(batch["double"], 2 * rows)
        assert torch.equal(batch["x"], rows.float())
    assert given[0] == given[2] != given[1] == given[3]


def test_no_part_is_no_batch_and_rows_beyond_the_end_are_an_error() -> None:
    data = {"x": torch.ones(3, 2)}
    assert list(gathered(data, [])) == []
    with pytest.raises(IndexError, match="beyond the 3 of 'x'"):
        list(gathered(data, [torch.tensor([0]), torch.tensor([3])]))


def test_a_training_that_ends_early_leaves_no_thread() -> None:
    import threading

    batches = gathered({"x": torch.ones(30, 2)}, torch.arange(30).split(3))
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("gather")]
