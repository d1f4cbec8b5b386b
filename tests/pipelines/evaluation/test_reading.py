from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from phosphene.errors import InputError
from phosphene.pipelines.evaluation.predictions import Item
from phosphene.pipelines.evaluation.reading import PairReader


def save(path: Path, height: int, width: int, *, seed: int = 0, grey: bool = False) -> Path:
    rng = np.random.default_rng(seed)
    shape = (height, width) if grey else (height, width, 3)
    Image.fromarray(rng.integers(0, 256, size=shape, dtype=np.uint8)).save(path)
    return path


def reader(tmp_path: Path, made: tuple[int, int], shown: tuple[int, int]) -> PairReader:
    item = Item("a", "a", (save(tmp_path / "made.png", *made),))
    return PairReader([item], {"a": save(tmp_path / "shown.png", *shown, seed=1)})


@pytest.mark.parametrize(
    ("made", "shown", "size"),
    [
        ((20, 20), (20, 20), (20, 20)),
        ((40, 40), (20, 20), (20, 20)),
        ((20, 20), (60, 40), (40, 40)),  # the middle square of what was shown
        ((20, 40), (30, 60), (30, 60)),
    ],
)
def test_both_go_in_as_they_are(
    tmp_path: Path, made: tuple[int, int], shown: tuple[int, int], size: tuple[int, int]
) -> None:
    pairs = reader(tmp_path, made, shown)
    assert pairs.size == size
    assert pairs.sample(0, 0).shape == (*made, 3)
    assert pairs.shown("a").shape == (*size, 3)
    assert pairs.shown("a").dtype == np.uint8


def test_both_can_be_brought_to_one_size_first(tmp_path: Path) -> None:
    item = Item("a", "a", (save(tmp_path / "made.png", 20, 20),))
    pairs = PairReader([item], {"a": save(tmp_path / "shown.png", 60, 40, seed=1)}, size=30)
    assert pairs.sample(0, 0).shape == pairs.shown("a").shape == (30, 30, 3)
    assert "30 x 30" in pairs.size_rule


def test_truths_of_several_sizes_are_brought_to_the_smallest(tmp_path: Path) -> None:
    items = [Item(name, name, (save(tmp_path / f"made-{name}.png", 8, 8),)) for name in "ab"]
    truth = {
        "a": save(tmp_path / "a.png", 30, 50, seed=1),
        "b": save(tmp_path / "b.png", 12, 40, seed=2),
    }
    pairs = PairReader(items, truth)
    assert pairs.shown("a").shape == pairs.shown("b").shape == (12, 12, 3)


def test_pictures_of_one_size_are_passed_through_to_the_bit(tmp_path: Path) -> None:
    pairs = reader(tmp_path, (17, 17), (17, 17))
    np.testing.assert_array_equal(pairs.sample(0, 0), np.asarray(Image.open(tmp_path / "made.png")))


def test_grey_beside_colour_is_repeated(tmp_path: Path) -> None:
    item = Item("a", "a", (save(tmp_path / "made.png", 9, 9, grey=True),))
    pairs = PairReader([item], {"a": save(tmp_path / "shown.png", 9, 9, seed=1)})
    made = pairs.sample(0, 0)
    assert made.shape == (9, 9, 3)
    assert np.ptp(made, axis=-1).max() == 0


def test_proportions_that_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="20 x 40 pixels beside 'a' of 40 x 40"):
        reader(tmp_path, (20, 40), (40, 40))


def test_predictions_of_several_sizes_are_refused_with_counts(tmp_path: Path) -> None:
    items = [
        Item(name, "a", (save(tmp_path / f"{name}.png", side, side),))
        for name, side in (("x", 8), ("y", 8), ("z", 9))
    ]
    with pytest.raises(InputError, match=r"2 of 8 x 8, 1 of 9 x 9"):
        PairReader(items, {"a": save(tmp_path / "shown.png", 8, 8)})


def test_all_unreadable_files_are_one_message(tmp_path: Path) -> None:
    items = []
    for name in ("x", "y", "z"):
        path = save(tmp_path / f"{name}.png", 8, 8)
        items.append(Item(name, "a", (path,)))
    items[0].files[0].write_bytes(b"")
    items[2].files[0].write_bytes(b"not a picture")
    with pytest.raises(InputError, match=r"2 of 3 predictions are not readable pictures, .*x\.png"):
        PairReader(items, {"a": save(tmp_path / "shown.png", 8, 8)})


def test_a_file_cut_short_is_named_when_it_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "made.png", 64, 64)
    path.write_bytes(path.read_bytes()[:2000])
    pairs = PairReader([Item("a", "a", (path,))], {"a": save(tmp_path / "shown.png", 64, 64)})
    with pytest.raises(InputError, match=r"made\.png is not a readable picture"):
        pairs.sample(0, 0)
