from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.shown import (
    Shown,
    find_categories,
    read_categories,
    read_shown,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "version-1" / "dataset"
SHOWN = Shown("it", {name: Path(f"{name}.png") for name in ("a", "b", "3.14")})


def test_pictures_of_one_split_of_a_dataset(dataset: Path) -> None:
    test, train, both = (
        read_shown(dataset, split=split, subjects=["01"]) for split in ("test", "train", "all")
    )
    assert sorted(test.files) == [f"scene-{number:03d}" for number in range(84, 93)]
    assert len(train.files) == 84
    assert set(both.files) == set(test.files) | set(train.files)
    assert all(path.is_file() for path in both.files.values())
    with pytest.raises(InputError, match="no known pictures in the split 'validation'"):
        read_shown(dataset, split="validation")
    with pytest.raises(InputError, match="no subject '07'"):
        read_shown(dataset, subjects=["07"])


def test_an_array_has_no_identifiers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        read_shown(tmp_path / "shown.npy")


def test_categories_from_a_table(tmp_path: Path) -> None:
    table = tmp_path / "kinds.tsv"
    table.write_text(
        "picture\tsize\tcategory\na.png\t1\tface\nb\t2\thouse\n3.14\t3\tface\nz\t1\tx\n"
    )
    assert read_categories(str(table), SHOWN) == {
        "a": "face", "b": "house", "3.14": "face", "z": "x",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a\tface\nb\thouse\n", r"no category for 1 of 3 shown pictures, '3.14'"),
        ("a\tface\nb\tn/a\n3.14\tface\n", r"no category for 1 of 3 shown pictures, 'b'"),
        ("a\tface\na\thouse\nb\thouse\n3.14\tface\n", r"'a' the categories 'face' and 'house'"),
    ],
)
def test_categories_that_are_not_one_for_each_are_refused(
    rows: str, words: str, tmp_path: Path
) -> None:
    table = tmp_path / "kinds.tsv"
    table.write_text("picture\tkind\n" + rows)
    with pytest.raises(InputError, match=words):
        read_categories(str(table), SHOWN)


def test_what_is_neither_a_file_nor_a_column_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="neither a file nor a column"):
        read_categories("concept", SHOWN)


def test_categories_from_a_column_of_the_dataset(dataset: Path) -> None:
    shown = read_shown(dataset)
    assert set(read_categories("split", shown).values()) == {"train", "test"}


def test_categories_are_found_where_nobody_says_where_they_stand() -> None:
    assert find_categories(SHOWN, {"a": "x", "b": "y", "3.14": "y", "other": None}) == {
        "a": "x", "b": "y", "3.14": "y",
    }  # fmt: skip
    assert "give --category" in find_categories(SHOWN, {"a": "x", "b": None})
    golden = read_shown(GOLDEN)
    assert "give --category" in find_categories(golden, {})
    dataset = golden.dataset
    assert dataset is not None
    kinds = ["train"] * 12 + ["face", "house", "face"]
    told = replace(golden, dataset=replace(dataset, table=dataset.table.assign(category=kinds)))
    expected = {"golden-12": "face", "golden-13": "house", "golden-14": "face"}
    found = find_categories(told, {})
    assert isinstance(found, dict)
    assert {name: found[name] for name in expected} == expected
    kinds[13] = "n/a"
    some = replace(golden, dataset=replace(dataset, table=dataset.table.assign(category=kinds)))
    assert "no category for 1 of 3 shown pictures" in find_categories(some, {})
