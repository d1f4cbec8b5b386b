from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from phosphene.errors import InputError
from phosphene.pipelines.evaluation.predictions import bare_name, match_items, read_predictions
from phosphene.pipelines.evaluation.shown import read_shown


def write(path: Path, level: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), level, dtype=np.uint8)).save(path)


def level(path: Path) -> int:
    return int(np.asarray(Image.open(path))[0, 0])


def test_files_are_matched_by_name_whatever_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"scene-{number}" for number in range(12)]
    for number, name in enumerate(names):
        write(tmp_path / "shown" / f"{name}.png", number)
        # Folders turn the order of the paths around.
        write(tmp_path / "made" / f"{99 - number}" / f"{name}.png", 100 + number)
    listed = Path.rglob

    def shuffled(self: Path, pattern: str) -> Iterator[Path]:
        found = list(listed(self, pattern))
        random.Random(len(found)).shuffle(found)
        return iter(found)

    monkeypatch.setattr(Path, "rglob", shuffled)
    shown = read_shown(tmp_path / "shown")
    items, missing = match_items(
        read_predictions(tmp_path / "made"), shown.files, truth_name="shown"
    )
    assert missing == 0
    assert [item.key for item in items] == sorted(names)
    for item in items:
        assert level(item.files[0]) == 100 + level(shown.files[item.picture])


def test_samples_have_a_suffix_and_known_names_are_taken_whole(tmp_path: Path) -> None:
    for name in ("cat_sample-1", "cat_sample-0", "dog_sample-10", "dog_sample-9"):
        write(tmp_path / f"{name}.png")
    found = read_predictions(tmp_path)
    assert [(item.key, [path.stem for path in item.files]) for item in found.items] == [
        ("cat", ["cat_sample-0", "cat_sample-1"]),
        ("dog", ["dog_sample-9", "dog_sample-10"]),
    ]
    whole = read_predictions(tmp_path, known=["cat_sample-1.png"])
    assert [item.key for item in whole.items] == ["cat", "cat_sample-1", "dog"]


def test_two_files_of_one_sample_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "a" / "cat.png")
    write(tmp_path / "b" / "cat.png")
    with pytest.raises(InputError, match="two pictures of 'cat'"):
        read_predictions(tmp_path)
    (tmp_path / "b" / "cat.png").unlink()
    write(tmp_path / "cat_sample-0.jpg")  # a name without a suffix is sample 0
    with pytest.raises(InputError, match="two pictures of 'cat'"):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("made", "shown", "words"),
    [
        (["a", "b"], ["a", "b", "c"], "1 of 3 shown pictures of it have no prediction, 'c'"),
        (["a", "b", "x"], ["a", "b"], "1 of 3 predictions in .* are of pictures that it does not"),
        (["a_sample-0", "a_sample-1", "b"], ["a", "b"], "have 1 to 2 samples"),
    ],
)
def test_what_does_not_fit_is_one_message(
    tmp_path: Path, made: list[str], shown: list[str], words: str
) -> None:
    for name in made:
        write(tmp_path / f"{name}.png")
    truth = {name: tmp_path / f"{name}.png" for name in shown}
    predictions = read_predictions(tmp_path, known=truth)
    with pytest.raises(InputError, match=words):
        match_items(predictions, truth, truth_name="it")


def test_missing_predictions_can_be_allowed_and_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    truth = dict.fromkeys("abc", tmp_path / "a.png")
    items, missing = match_items(
        read_predictions(tmp_path), truth, truth_name="it", allow_missing=True
    )
    assert [item.key for item in items] == ["a"]
    assert missing == 2


def own_output(root: Path, rows: list[dict[str, Any]]) -> None:
    for number, row in enumerate(rows):
        write(root / row["file"], number)
    pd.DataFrame(rows).to_csv(root / "trials.tsv", sep="\t", index=False)


def row(item: int, stimulus: str, subject: str = "01", **more: Any) -> dict[str, Any]:
    return {
        "item": item,
        "sample": 0,
        "stimulus_id": stimulus,
        "file": f"sub-{subject}/sub-{subject}_item-{item:06d}.png",
        "source_trials": f"ses-01_run-01_trial-{item:06d}",
    } | more


def test_an_own_output_says_what_its_files_are_of(tmp_path: Path) -> None:
    own_output(tmp_path, [row(10, "b"), row(2, "a.png")])
    found = read_predictions(tmp_path)
    assert found.own
    assert [(item.key, item.picture, item.subject) for item in found.items] == [
        ("a", "a", "01"),
        ("b", "b", "01"),
    ]
    assert found.items[1].source_trials == ("ses-01_run-01_trial-000010",)


def test_trials_of_one_picture_and_subjects_have_keys_of_their_own(tmp_path: Path) -> None:
    own_output(tmp_path, [row(0, "a"), row(1, "a"), row(2, "a", "02"), row(3, "b", "02")])
    found = read_predictions(tmp_path)
    assert [item.key for item in found.items] == [
        "sub-01 a ses-01_run-01_trial-000000",
        "sub-01 a ses-01_run-01_trial-000001",
        "sub-02 a",
        "sub-02 b",
    ]
    assert [item.subject for item in found.items] == ["01", "01", "02", "02"]


def test_unknown_pictures_of_an_own_output_are_matched_with_what_it_stored(tmp_path: Path) -> None:
    own_output(tmp_path, [row(0, "n/a", truth="stimuli/item-000000.png")])
    found = read_predictions(tmp_path)
    assert found.items[0].picture == "item-000000"
    assert found.stored_truth == {"item-000000": tmp_path / "stimuli/item-000000.png"}


def test_a_table_of_another_program_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    (tmp_path / "trials.tsv").write_text("name\tscore\na\t1\n")
    with pytest.raises(InputError, match="no column item, sample"):
        read_predictions(tmp_path)


@given(st.text(st.characters(exclude_characters="/\\\0"), min_size=1, max_size=12))
@settings(max_examples=60)
def test_only_the_ending_of_a_picture_is_no_part_of_an_identifier(name: str) -> None:
    assert bare_name(f"x{name}.png") == f"x{name}"
    assert bare_name(f"x{name}.3") == f"x{name}.3"
