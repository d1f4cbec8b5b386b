"""Folders of betas and tables of trials."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from phosphene.data.readers import read_recording, read_trials
from phosphene.errors import InputError

Array = np.ndarray[Any, Any]
Write = Callable[..., Path]


def add_run(root: Path, write: Write, values: Array, where: str, **columns: Any) -> Path:
    """Write betas and events; ``where`` is ``"subject session run"``."""
    subject, session, number = where.split()
    func = root / f"sub-{subject}" / f"ses-{session}" / "func"
    stem = f"sub-{subject}_ses-{session}_task-scenes_run-{number}"
    write(str(func.relative_to(root) / f"{stem}_desc-betas_bold.nii.gz"), values)
    n = values.shape[3]
    table = pd.DataFrame({"onset": np.arange(n) * 4.0, "duration": 3.0, **columns})
    table.to_csv(func / f"{stem}_events.tsv", sep="\t", index=False)
    return func / f"{stem}_events.tsv"


@pytest.fixture
def dataset(tmp_path: Path, write: Write, betas: Array) -> Path:
    """Two sessions of subject 01, runs of unequal length; one run of subject 02."""
    ids = [f"{i:03d}" for i in range(9)]
    add_run(tmp_path, write, betas[..., 7:], "01 02 1", stimulus_id=["000", "n/a"])
    add_run(tmp_path, write, betas[..., :3], "01 01 2", stimulus_id=ids[:3])
    add_run(tmp_path, write, betas[..., 3:7], "01 01 10", stimulus_id=ids[3:7])
    add_run(tmp_path, write, betas + 1, "02 01 1", stimulus_id=ids)
    return tmp_path


def test_sessions_and_runs_in_order(
    dataset: Path, mask_file: Path, mask: Array, betas: Array
) -> None:
    recording = read_recording(dataset, subject="01", roi=str(mask_file))
    np.testing.assert_array_equal(recording.data, betas[mask].T)
    assert recording.data.dtype == np.float32
    assert list(recording.trials["session"]) == ["01"] * 7 + ["02"] * 2
    assert list(recording.trials["run"]) == ["2"] * 3 + ["10"] * 4 + ["1"] * 2
    assert list(recording.trials["stimulus_id"])[-3:] == ["006", "000", "n/a"]
    assert list(recording.trials["repetition"])[-2:] == [2, 1]
    assert recording.trials["onset"].dtype.kind in "if"


@pytest.mark.parametrize(
    ("place", "n_trials"), [("sub-01", 9), ("sub-01/ses-01", 7), ("sub-01/ses-02/func", 2)]
)
def test_parts_of_a_dataset(place: str, n_trials: int, dataset: Path, mask_file: Path) -> None:
    assert len(read_recording(dataset / place, subject="01", roi=str(mask_file))) == n_trials


def test_one_file_finds_its_events(dataset: Path, mask_file: Path) -> None:
    func = dataset / "sub-01" / "ses-02" / "func"
    file = func / "sub-01_ses-02_task-scenes_run-1_desc-betas_bold.nii.gz"
    recording = read_recording(file, subject="01", roi=str(mask_file))
    assert list(recording.trials["stimulus_id"]) == ["000", "n/a"]
    assert list(recording.trials["session"]) == ["02", "02"]


def test_columns_of_the_table_go_before_the_name(
    tmp_path: Path, write: Write, betas: Array, mask_file: Path
) -> None:
    add_run(
        tmp_path, write, betas, "01 01 1", run=np.arange(9) // 5 + 3,
        stim_file=[f"pictures/cat{i}.png" for i in range(9)], repetition=[2] * 9,
    )  # fmt: skip
    trials = read_recording(tmp_path, subject="01", roi=str(mask_file)).trials
    assert list(trials["run"]) == ["3"] * 5 + ["4"] * 4
    assert list(trials["stimulus_id"])[:2] == ["cat0", "cat1"]
    assert list(trials["repetition"]) == [2] * 9


def test_derivatives_below_a_dataset(
    tmp_path: Path, write: Write, betas: Array, mask_file: Path
) -> None:
    home = "derivatives/glm/sub-01/func/sub-01_task-x_space-T1w"
    write(f"{home}_desc-betas_statmap.nii", betas)
    table = pd.DataFrame({"stimulus_id": list("abcdefghi")})
    table.to_csv(tmp_path / f"{home}_desc-betas_events.tsv", sep="\t", index=False)
    raw = tmp_path / "sub-01" / "func"
    raw.mkdir(parents=True)
    recording = read_recording(tmp_path, subject="01", roi=str(mask_file))
    assert list(recording.trials["stimulus_id"]) == list("abcdefghi")
    write(f"{home.replace('T1w', 'MNI')}_desc-betas_statmap.nii", betas)
    with pytest.raises(InputError, match="the same betas twice"):
        read_recording(tmp_path, subject="01", roi=str(mask_file))


def test_unequal_counts_name_both_files(dataset: Path, mask_file: Path) -> None:
    events = next(dataset.glob("sub-02/ses-01/func/*_events.tsv"))
    events.write_text("\n".join(events.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(InputError, match=r"events.tsv has 8 rows.*betas_bold.nii.gz has 9 volumes"):
        read_recording(dataset, subject="02", roi=str(mask_file))
    given = pd.DataFrame({"stimulus_id": list("abcdefghi")})
    recording = read_recording(dataset, subject="02", roi=str(mask_file), trials=given)
    assert list(recording.trials["stimulus_id"]) == list("abcdefghi")


def test_missing_events(dataset: Path, mask_file: Path) -> None:
    next(dataset.glob("sub-02/ses-01/func/*_events.tsv")).unlink()
    with pytest.raises(InputError, match="no events table"):
        read_recording(dataset, subject="02", roi=str(mask_file))


def test_unknown_subject_lists_those_there(dataset: Path, mask_file: Path) -> None:
    with pytest.raises(InputError, match="one of its subjects: 01, 02"):
        read_recording(dataset, subject="03", roi=str(mask_file))
    with pytest.raises(InputError, match="folder of subject 01"):
        read_recording(dataset / "sub-01", subject="02", roi=str(mask_file))
    with pytest.raises(InputError, match="one of its subjects: 01"):
        read_recording(dataset / "sub-01/ses-02/func", subject="02", roi=str(mask_file))
    (dataset / "empty").mkdir()
    with pytest.raises(InputError, match="a folder in BIDS form"):
        read_recording(dataset / "empty", subject="02", roi=str(mask_file))


def test_only_raw_series(haxby: Path) -> None:
    mask = next(haxby.glob("derivatives/masks/sub-01/func/*_mask.nii.gz"))
    with pytest.raises(InputError, match="9 raw series of subject 01 and no single-trial betas"):
        read_recording(haxby, subject="01", roi=str(mask))


def test_another_grid_in_one_run(
    dataset: Path, write: Write, betas: Array, affine: Array, mask_file: Path
) -> None:
    affine[1, 3] += 1
    name = "sub-01/ses-02/func/sub-01_ses-02_task-scenes_run-1_desc-betas_bold.nii.gz"
    write(name, betas[..., :2], affine)
    with pytest.raises(InputError, match=r"ses-02.*another grid"):
        read_recording(dataset, subject="01", roi=str(mask_file))


def test_tables_keep_identifiers_as_written(tmp_path: Path) -> None:
    path = tmp_path / "t.tsv"
    path.write_text("onset\tstimulus_id\trepetition\tresponse\n1.5\t007\t1\t3\nn/a\tn/a\t2\tn/a\n")
    table = read_trials(path)
    assert list(table["stimulus_id"]) == ["007", "n/a"]
    assert table["onset"].isna().tolist() == [False, True]
    assert table["repetition"].dtype == "int64"
    table.to_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(read_trials(tmp_path / "t.parquet"), table)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("t.tsv", b"a,b\n1,2\n", "a single column named 'a,b'"),
        ("t.csv", b"a\tb\n1\t2\n", "a single column"),
        ("t.csv", b"", "is empty"),
        ("t.csv", b"\xff\xfe\x00bad", "damaged"),
        ("t.csv", b'a,b\n"1,2\n', "damaged"),
        ("t.xlsx", b"PK", "ends in '.xlsx'"),
        ("t.parquet", b"PAR1nothing", "damaged"),
    ],
)
def test_bad_tables(name: str, content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=told):
        read_trials(tmp_path / name)


def test_empty_identifier(tmp_path: Path, rng: np.random.Generator) -> None:
    np.save(tmp_path / "x.npy", rng.standard_normal((3, 5)).astype(np.float32))
    (tmp_path / "t.tsv").write_text("stimulus_id\tonset\na\t1\n\t2\nb\t3\n")
    with pytest.raises(InputError, match="empty in 1 of 3 rows"):
        read_recording(tmp_path / "x.npy", subject="01", trials=tmp_path / "t.tsv")
    with pytest.raises(InputError, match="there is no file"):
        read_recording(tmp_path / "x.npy", subject="01", trials=tmp_path / "none.tsv")
