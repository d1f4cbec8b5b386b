"""Rows computed in equal blocks do not depend on their company, to the last bit."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from phosphene.batches import in_equal_blocks

WEIGHTS = torch.randn(301, 97, generator=torch.Generator().manual_seed(0))
ROWS = torch.randn(23, 301, generator=torch.Generator().manual_seed(1))


def product(rows: torch.Tensor) -> torch.Tensor:
    return rows @ WEIGHTS


@given(st.lists(st.integers(0, 22), min_size=1, max_size=23), st.integers(4, 9))
def test_a_row_is_the_same_alone_in_any_order_and_any_subset(order: list[int], size: int) -> None:
    together = in_equal_blocks(product, ROWS, size=size)
    assert torch.equal(in_equal_blocks(product, ROWS[order], size=size), together[order])
    assert torch.allclose(together, product(ROWS), rtol=1e-4, atol=1e-4)


def test_every_block_has_the_size_and_all_tensors_keep_step() -> None:
    seen = []

    def function(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append((len(a), len(b)))
        return a + b[:, None]

    a, b = torch.arange(10.0).reshape(5, 2), torch.arange(5.0) * 100
    found = in_equal_blocks(function, a, b, size=4)
    assert seen == [(4, 4), (4, 4)]
    assert torch.equal(found, a + b[:, None])
