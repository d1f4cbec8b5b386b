"""Every kind of bad input: one message that says what to do, its exit code, nothing written."""

from __future__ import annotations

import gzip
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pandas as pd
import pytest

Array = np.ndarray[Any, Any]


@pytest.fixture
def attempt(cli: Any, model: Path, tmp_path: Path) -> Callable[..., Any]:
    """Reconstruct into a new folder, of which nothing may remain where it is refused."""

    def run(source: object, *more: object, subject: str = "01", name: object = model) -> Any:
        out = tmp_path / "out"
        done = cli(
            "reconstruct", "--subject", subject, "--input", source, "--model", name, "--output",
            out, *more,
        )  # fmt: skip
        assert (done.code == 0) == (out / "dataset_description.json").exists()
        assert done.code == 0 or not out.exists()
        return done

    return run


@pytest.fixture
def volumes(attempt: Any, volume_model: Path) -> Callable[..., Any]:
    return lambda source, *more: attempt(source, *more, name=volume_model)


def saved(path: Path, values: Array) -> Path:
    np.save(path, values)
    return path


def scan(path: Path, values: Array, affine: Array) -> Path:
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


@pytest.fixture
def affine(toy: Any) -> Array:
    return np.asarray(nibabel.load(toy.file("scan.nii")).affine)


def test_missing_file(attempt: Any, volumes: Any, tmp_path: Path) -> None:
    attempt(tmp_path / "no.npy").refuses(3, "there is no file", "no.npy", "check the path")
    volumes(tmp_path / "no.nii.gz").refuses(3, "there is no file", "no.nii.gz")
    attempt(tmp_path / "no").refuses(3, "there is no file or folder")
    attempt("").refuses(3)  # an empty variable of the shell


def test_a_folder_that_is_no_recording(attempt: Any, volumes: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    volumes(tmp_path / "empty").refuses(3, "no functional data of subject 01")
    (tmp_path / "folder.npy").mkdir()
    attempt(tmp_path / "folder.npy").refuses(3, "folder.npy")


def test_not_a_nifti(volumes: Any, tmp_path: Path) -> None:
    for name in ("note.nii", "note.nii.gz"):
        (tmp_path / name).write_text("this is a note about the scan\n" * 40)
        volumes(tmp_path / name).refuses(3, name, "not a NIfTI", "check that the path")
    (tmp_path / "empty.nii").write_bytes(b"")
    volumes(tmp_path / "empty.nii").refuses(3, "empty.nii", "not a NIfTI")


def test_an_unknown_format(attempt: Any, toy: Any, tmp_path: Path) -> None:
    shutil.copy(toy.file("test.npy"), tmp_path / "scan.mat")
    attempt(tmp_path / "scan.mat").refuses(3, "scan.mat", "known format", "convert")


def test_truncated_gzip(volumes: Any, toy: Any, tmp_path: Path) -> None:
    content = gzip.compress(Path(toy.file("scan.nii")).read_bytes())
    (tmp_path / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    volumes(tmp_path / "cut.nii.gz").refuses(3, "cut.nii.gz", "damaged", "copy it again")


def test_truncated_volume_and_array(volumes: Any, attempt: Any, toy: Any, tmp_path: Path) -> None:
    for source, run in ((toy.file("scan.nii"), volumes), (toy.file("test.npy"), attempt)):
        cut = tmp_path / f"cut{Path(source).suffix}"
        cut.write_bytes(Path(source).read_bytes()[:-100])
        run(cut).refuses(3, cut.name, "copy it again")


def test_wrong_grid(volumes: Any, toy: Any, affine: Array, tmp_path: Path) -> None:
    values = toy.volumes(toy.test_rows)[:, :, :-1]
    done = volumes(scan(tmp_path / "small.nii", values, affine))
    done.refuses(3, "7 x 5 x 5", "7 x 5 x 6", "resample")


def test_wrong_affine(volumes: Any, toy: Any, affine: Array, tmp_path: Path) -> None:
    shifted = affine.copy()
    shifted[0, 3] += 1.5
    values = toy.volumes(toy.test_rows)
    volumes(scan(tmp_path / "moved.nii", values, shifted)).refuses(
        3, "1.5 mm apart", "(9.00, -11.00, 4.00)", "(10.50, -11.00, 4.00)"
    )


def test_turned_axes_are_told_apart_from_another_grid(
    volumes: Any, toy: Any, affine: Array, tmp_path: Path
) -> None:
    image = nibabel.Nifti1Image(toy.volumes(toy.test_rows), affine)
    turned = image.as_reoriented([[0, -1], [1, 1], [2, 1]])
    nibabel.save(turned, tmp_path / "turned.nii")
    volumes(tmp_path / "turned.nii").refuses(3, "another order of axes", "reorient")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite(
    attempt: Any, volumes: Any, toy: Any, affine: Array, tmp_path: Path, value: float
) -> None:
    rows = toy.voxels[toy.test_rows].copy()
    rows[4, [2, 7]] = value
    attempt(saved(tmp_path / "bad.npy", rows)).refuses(3, "NaN or infinity in 2 of 120", "1 of 18")
    values = toy.volumes(toy.test_rows)
    values[tuple(np.argwhere(toy.mask)[3])][5] = value
    volumes(scan(tmp_path / "bad.nii", values, affine)).refuses(
        3, "NaN or infinity in 1 of 120", "--roi"
    )


def test_what_lies_outside_the_mask_may_be_anything(
    volumes: Any, toy: Any, affine: Array, tmp_path: Path
) -> None:
    values = toy.volumes(toy.test_rows)
    values[~toy.mask] = np.nan
    volumes(scan(tmp_path / "masked.nii", values, affine)).succeeds()


def test_voxels_or_trials_of_zeros(
    attempt: Any, volumes: Any, toy: Any, affine: Array, tmp_path: Path
) -> None:
    rows = toy.voxels[toy.test_rows].copy()
    rows[:, 11] = 0
    attempt(saved(tmp_path / "dead.npy", rows)).refuses(3, "zero in every trial in 1 of 120")
    attempt(saved(tmp_path / "zero.npy", np.zeros_like(rows))).refuses(3, "in 120 of 120")
    rows = toy.voxels[toy.test_rows].copy()
    rows[3] = 0
    attempt(saved(tmp_path / "gap.npy", rows)).refuses(3, "1 of 18 trials", "row 3")
    empty = np.zeros((*toy.mask.shape, 5), dtype=np.float32)
    volumes(scan(tmp_path / "zero.nii", empty, affine)).refuses(3, "in 120 of 120 voxels")


def test_zero_trials(attempt: Any, volumes: Any, toy: Any, tmp_path: Path) -> None:
    attempt(saved(tmp_path / "none.npy", np.zeros((0, 120), np.float32))).refuses(3, "zero trials")
    content = bytearray(Path(toy.file("scan.nii")).read_bytes())
    content[48:50] = bytes(2)  # dim[4] of the header: the number of volumes
    (tmp_path / "none.nii").write_bytes(content)
    volumes(tmp_path / "none.nii").refuses(3, "zero trials", "none.nii")


def test_unknown_subject(attempt: Any, toy: Any) -> None:
    attempt(toy.file("test.npy"), subject="02").refuses(
        3, "does not know subject '02'", "one of 01", "phosphene train encoder --subject 02"
    )
    attempt(toy.file("test.npy"), subject="1").refuses(3, "does not know subject '1'", "one of 01")


def test_a_subject_that_is_no_label(attempt: Any, toy: Any) -> None:
    for label in ("", "../01", "0 1", "sub-"):
        attempt(toy.file("test.npy"), subject=label).refuses(
            2, "`subject` is", "letters and digits"
        )


@pytest.mark.parametrize("dtype", [np.complex64, np.int16, np.uint8, bool])
def test_complex_and_integer_arrays(attempt: Any, toy: Any, tmp_path: Path, dtype: Any) -> None:
    values = toy.voxels[toy.test_rows].astype(dtype)
    done = attempt(saved(tmp_path / "odd.npy", values))
    done.refuses(3, f"holds {np.dtype(dtype)} values", "float32")


def test_complex_and_integer_volumes(volumes: Any, toy: Any, affine: Array, tmp_path: Path) -> None:
    values = toy.volumes(toy.test_rows)
    volumes(scan(tmp_path / "complex.nii", values.astype(np.complex64), affine)).refuses(
        3, "complex numbers", "numpy.abs"
    )
    scale = 300 / np.abs(values).max() * 100
    image = nibabel.Nifti1Image(np.rint(values * scale).astype(np.int16), affine)
    image.header.set_slope_inter(1 / scale, 0)
    nibabel.save(image, tmp_path / "scaled.nii")
    volumes(tmp_path / "scaled.nii").succeeds()  # integers with a scale factor are usual


def test_arrays_of_another_shape(attempt: Any, toy: Any, tmp_path: Path) -> None:
    rows = toy.voxels[toy.test_rows]
    attempt(saved(tmp_path / "a.npy", rows[:, :-1])).refuses(3, "119", "120")
    attempt(saved(tmp_path / "b.npy", rows.T)).refuses(3, "18", "120")
    attempt(saved(tmp_path / "c.npy", rows[0])).refuses(3, "one axis", "reshape(1, 120)")
    attempt(saved(tmp_path / "d.npy", rows[None])).refuses(3, "(1, 18, 120)", "two axes")


def test_pickled_objects_are_not_run(attempt: Any, tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return eval, (f"open({str(tmp_path / 'ran')!r}, 'w')",)

    np.save(tmp_path / "objects.npy", np.array([Hostile()], dtype=object), allow_pickle=True)
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Hostile()))
    for name in ("objects.npy", "raw.npy"):
        attempt(tmp_path / name).refuses(3, name, "pickled Python objects", "astype('float32')")
    assert not (tmp_path / "ran").exists()


def test_an_archive_needs_a_name(attempt: Any, toy: Any, tmp_path: Path) -> None:
    rows = toy.voxels[toy.test_rows]
    np.savez(tmp_path / "two.npz", X=rows, Y=rows[:, :2])
    attempt(tmp_path / "two.npz").refuses(3, "X, Y", "two.npz:X")
    attempt(f"{tmp_path / 'two.npz'}:Z").refuses(3, "no 'Z'")
    attempt(f"{tmp_path / 'two.npz'}:X").succeeds()


def test_a_trials_table_of_another_length(
    attempt: Any, volumes: Any, toy: Any, tmp_path: Path
) -> None:
    for run, source in ((attempt, toy.file("test.npy")), (volumes, toy.file("scan.nii"))):
        run(source, "--trials", toy.file("all.tsv")).refuses(
            3, "102 rows", "18 trials", "drop the rows"
        )


def table(path: Path, **columns: object) -> Path:
    pd.DataFrame(columns).to_csv(path, sep="\t", index=False)
    return path


def test_damaged_trials_tables(attempt: Any, toy: Any, tmp_path: Path) -> None:
    attempt(toy.file("test.npy"), "--trials", tmp_path / "no.tsv").refuses(3, "no.tsv")
    names = [f"scene-{row}" for row in range(18)]
    gap = table(tmp_path / "gap.tsv", stimulus_id=[*names[:-1], None])
    attempt(toy.file("test.npy"), "--trials", gap).refuses(3, "'stimulus_id'", "1 of 18")
    twice = table(tmp_path / "twice.tsv", stimulus_id=names, trial=[1, 1, *range(2, 18)])
    attempt(toy.file("test.npy"), "--trials", twice).refuses(3, "trial-000001 twice")
    split = table(tmp_path / "split.tsv", stimulus_id=names, split=["dev"] * 18)
    attempt(toy.file("test.npy"), "--trials", split).refuses(3, "'dev'", "train, validation, test")
    (tmp_path / "binary.tsv").write_bytes(b"\xff\xfe\x00" * 90)
    attempt(toy.file("test.npy"), "--trials", tmp_path / "binary.tsv").refuses(3, "binary.tsv")
    (tmp_path / "empty.tsv").write_bytes(b"")
    attempt(toy.file("test.npy"), "--trials", tmp_path / "empty.tsv").refuses(3, "is empty")


def test_truths_that_do_not_fit(attempt: Any, toy: Any, tmp_path: Path) -> None:
    attempt(toy.file("test.npy"), "--truth", toy.file("stimuli")).refuses(
        3, "does not say which stimulus", "--trials"
    )
    attempt(toy.file("test.npy"), "--truth", tmp_path / "no.npy").refuses(3, "there is no file")
    few = saved(tmp_path / "few.npy", toy.shown[:7])
    attempt(toy.file("test.npy"), "--truth", few).refuses(
        3, "7 pictures", "18, one per output item"
    )
    (tmp_path / "some").mkdir()
    shutil.copy(Path(toy.file("stimuli")) / "scene-084.png", tmp_path / "some")
    done = attempt(
        toy.file("test.npy"), "--trials", toy.file("test.tsv"), "--truth", tmp_path / "some"
    )
    done.refuses(3, "no picture of 16 of 18", "'scene-085'")
    picture = Path(toy.file("stimuli")) / "scene-084.png"
    done = attempt(toy.file("test.npy"), "--truth", picture)
    done.refuses(3, "scene-084.png", "not an array")
    assert "pickle" not in done.err
    (tmp_path / "empty").mkdir()
    attempt(toy.file("test.npy"), "--truth", tmp_path / "empty").refuses(3, "holds no pictures")


@pytest.fixture
def copied(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


def model_files(model: Path) -> list[str]:
    return sorted(json.loads((model / "model_index.json").read_text())["files"])


def test_a_model_folder_with_a_missing_file(
    attempt: Any, toy: Any, model: Path, copied: Path
) -> None:
    names = model_files(model)
    assert len(names) >= 7
    for name in names:
        (copied / name).unlink()
        attempt(toy.file("test.npy"), name=copied).refuses(
            3, f"has lost the file {name}", "copy the model"
        )
        shutil.copy(model / name, copied / name)
    (copied / "model_index.json").unlink()
    attempt(toy.file("test.npy"), name=copied).refuses(
        3, "has no model_index.json", "check the path"
    )


def test_a_model_folder_with_a_changed_file(
    attempt: Any, toy: Any, model: Path, copied: Path
) -> None:
    for name in model_files(model):
        content = bytearray((model / name).read_bytes())
        content[-1] ^= 1
        (copied / name).write_bytes(content)
        attempt(toy.file("test.npy"), name=copied).refuses(3, name, "changed or damaged", "SHA-256")
        shutil.copy(model / name, copied / name)
    attempt(toy.file("test.npy"), name=copied).succeeds()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"colour": 1}, "colour"),
        ({"schema_version": 2}, "version 2"),
        ({"schema": "dataset"}, "not a model file"),
        ({"generator": "painter"}, "painter"),
        ({"files": {"../secret": "0"}}, "../secret"),
        ({"subjects": "01"}, "subjects"),
    ],
)
def test_a_model_folder_with_another_index(
    attempt: Any, toy: Any, copied: Path, change: dict[str, Any], words: str
) -> None:
    index = copied / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | change))
    attempt(toy.file("test.npy"), name=copied).refuses(3, words)


def test_a_model_index_that_is_no_json(attempt: Any, toy: Any, copied: Path) -> None:
    (copied / "model_index.json").write_text("{")
    attempt(toy.file("test.npy"), name=copied).refuses(3, "not readable JSON")


def test_no_such_model(attempt: Any, toy: Any, tmp_path: Path) -> None:
    attempt(toy.file("test.npy"), name=tmp_path / "no").refuses(
        4, "no model folder", "phosphene train"
    )
    attempt(toy.file("test.npy"), name=f"local-dir:{tmp_path / 'no'}").refuses(4, "no model folder")
    attempt(toy.file("test.npy"), name=toy.file("test.npy")).refuses(4, "no model folder")
