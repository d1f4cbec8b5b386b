from __future__ import annotations

import torch

from phosphene.seeds import item_generator, item_seed


def test_a_seed_is_fixed_by_what_the_item_is() -> None:
    # A change of this value would change every stored result.
    assert item_seed(0, "01", "stim-1", 0) == 6_126_668_833_759_665_167


def test_every_part_of_the_key_matters() -> None:
    seeds = {
        item_seed(*key)
        for key in [
            (0, "01", "a", 0),
            (1, "01", "a", 0),
            (0, "02", "a", 0),
            (0, "01", "b", 0),
            (0, "01", "a", 1),
            (0, "0", "1a", 0),
        ]
    }
    assert len(seeds) == 6


def test_generators_of_the_same_item_draw_the_same_numbers() -> None:
    draws = [torch.randn(4, generator=item_generator(3, "01", "x", 2)) for _ in range(2)]
    assert torch.equal(*draws)
