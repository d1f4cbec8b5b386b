from __future__ import annotations

from phosphene.seeds import item_seed


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
