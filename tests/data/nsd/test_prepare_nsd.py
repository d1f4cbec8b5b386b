"""Five forms of one miniature experiment become the same dataset."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy.io import loadmat, savemat
from typer.testing import CliRunner

from phosphene.cli.app import app
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.nsd import FORMS, NsdSettings, prepare_nsd, recognise
from phosphene.data.nsd.facts import VOXELS, check_voxels
from phosphene.errors import InputError, UsageError

COLUMNS = ["session", "run", "trial", "stimulus_id", "repetition", "split", "nsd_id"]
SHARED, PICTURES = 20, 500


def prepare(source: Path, output: Path, *subjects: str, **settings: Any) -> CanonicalDataset:
    settings = {"pictures": False} | settings
    return prepare_nsd(source, output, list(subjects) or ["01"], NsdSettings(**settings))[0]


def test_every_form_is_recognised(trees: dict[str, Path]) -> None:
    assert {form: recognise(path) for form, path in trees.items()} == {n: n for n in FORMS}


def test_five_forms_become_the_same_means(trees: dict[str, Path], tmp_path: Path) -> None:
    made = {
        form: prepare(path, tmp_path / form, "02", average=True, pictures=True)
        for form, path in trees.items()
    }
    first = made["official"]
    one = first.recording("02")
    assert len(one) == PICTURES
    assert (one.trials["split"] == "test").sum() == SHARED
    for form, dataset in made.items():
        assert dataset.file.stimuli_hash == first.file.stimuli_hash, form
        other = dataset.recording("02")
        columns = [name for name in COLUMNS if form != "brain-it" or name != "repetition"]
        pd.testing.assert_frame_equal(one.trials[columns], other.trials[columns])
        np.testing.assert_allclose(one.data, other.data, atol=3e-3, err_msg=form)


def test_forms_of_single_trials_agree_however_they_were_standardised(
    drifting_trees: dict[str, Path], tmp_path: Path
) -> None:
    made = {form: prepare(path, tmp_path / form, "02") for form, path in drifting_trees.items()}
    one = made["official"].recording("02")
    for form, dataset in made.items():
        other = dataset.recording("02")
        columns = [name for name in COLUMNS if form != "mindeye1" or name != "run"]
        pd.testing.assert_frame_equal(one.trials[columns], other.trials[columns])
        np.testing.assert_allclose(one.data, other.data, atol=4e-3, err_msg=form)
    train = (one.trials["split"] == "train").to_numpy()
    for session in ("01", "02"):
        mine = train & (one.trials["session"] == session).to_numpy()
        np.testing.assert_allclose(one.data[mine].mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(one.data[mine].std(0), 1, atol=1e-4)


def test_official_trials_are_those_of_the_experiment(
    trees: dict[str, Path], steady: Any, tmp_path: Path
) -> None:
    dataset = prepare(trees["official"], tmp_path / "d", pictures=True)
    recording = dataset.recording("01")
    shown = steady.shown(1)
    assert recording.trials["nsd_id"].tolist() == shown.tolist()
    assert recording.trials["repetition"].max() == 3
    assert (recording.trials["coco_id"] == shown + 500000).all()
    np.testing.assert_allclose(recording.data, steady.betas[1], atol=3e-3)
    # Runs of 63 and 62 trials take turns.
    assert recording.trials["run"].tolist()[60:66] == ["01"] * 3 + ["02"] * 3
    space = dataset.space("01")
    assert space.indices.tolist() == np.flatnonzero(steady.mask.ravel() > 0).tolist()
    name = recording.trials["stimulus_id"][5]
    np.testing.assert_array_equal(dataset.pictures([name])[0], steady.stack[shown[5]])


def test_sessions_and_protocol_from_the_command_line(
    trees: dict[str, Path], steady: Any, tmp_path: Path
) -> None:
    line = ["prepare", "nsd", "--source", str(trees["official"]), "--subjects", "01", "02"]
    line += ["--protocol", "1000", "--sessions", "1..2", "--output", str(tmp_path / "d")]
    result = CliRunner().invoke(app, line)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"dataset: {tmp_path / 'd'}"
    assert "1440 train, 60 test" in result.output
    one = [*line[:8], "982", "--no-pictures", "--sessions", "1", "--test-sessions", "1-2"]
    result = CliRunner().invoke(app, [*one, "--output", str(tmp_path / "e")])
    assert result.exit_code == 0, result.output
    trials = CanonicalDataset.open(tmp_path / "e").recording("01").trials
    train = trials[trials["split"] == "train"]
    assert set(train["session"]) == {"01"}
    assert set(trials["session"]) == {"01", "02"}
    assert len(train) == int((~steady.is_shared()[:750]).sum())


def test_sessions_that_are_missing_or_were_never_released(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="lacks 38 of the 40 sessions"):
        prepare(trees["official"], tmp_path / "a", sessions=list(range(1, 41)))
    with pytest.raises(UsageError, match="released"):
        prepare(trees["official"], tmp_path / "b", sessions=[41])


def test_validation_pictures_are_the_same_in_every_form(
    trees: dict[str, Path], tmp_path: Path
) -> None:
    chosen = []
    for form in ("official", "mindeye2"):
        trials = prepare(trees[form], tmp_path / form, validation=25).recording("01").trials
        held_out = trials[trials["split"] == "validation"]
        assert held_out["stimulus_id"].nunique() == 25
        assert not set(held_out["stimulus_id"]) & set(
            trials.loc[trials["split"] != "validation", "stimulus_id"]
        )
        chosen.append(set(held_out["stimulus_id"]))
    assert chosen[0] == chosen[1]


def test_reliable_voxels_are_chosen_from_training_pictures(
    trees: dict[str, Path], steady: Any, tmp_path: Path
) -> None:
    """All voxels are alike here (signal and noise of one spread): half of them pass the median."""
    from phosphene.data.reliability import signal_to_noise

    whole = prepare(trees["official"], tmp_path / "a").recording("01", splits=["train"])
    ratio = signal_to_noise(whole)
    assert abs(np.median(ratio) - 1) < 0.1
    kept = prepare(trees["official"], tmp_path / "b", reliability=float(np.median(ratio)))
    assert kept.space("01").n_voxels == int((ratio >= np.median(ratio)).sum())
    with pytest.raises(InputError, match="no voxel reaches"):
        prepare(trees["official"], tmp_path / "c", reliability=5.0)


def test_brain_diffuser_without_a_design_names_pictures_by_content(
    trees: dict[str, Path], steady: Any, tmp_path: Path
) -> None:
    copy = tmp_path / "bare"
    shutil.copytree(trees["brain-diffuser"], copy, ignore=shutil.ignore_patterns("nsddata"))
    dataset = prepare(copy, tmp_path / "d", "01", "02", pictures=True)
    trials = dataset.recording("01").trials
    assert trials["stimulus_id"].nunique() == PICTURES
    assert trials["stimulus_id"].str.startswith("picture-").all()
    test = trials["split"] == "test"
    other = dataset.recording("02").trials
    shared = set(trials["stimulus_id"]) & set(other["stimulus_id"])
    assert shared == set(trials.loc[test, "stimulus_id"])  # equal pictures, equal names


def test_mindeye1_that_does_not_say_when_repetitions_were(
    trees: dict[str, Path], steady: Any, tmp_path: Path
) -> None:
    """One number for all repetitions: they are kept, in one session that is not known."""
    copy = tmp_path / "copy"
    shutil.copytree(trees["mindeye1"], copy)
    for path in copy.rglob("*_subj01_*.tar"):
        with tarfile.open(path) as archive:
            members = [(m.name, archive.extractfile(m).read()) for m in archive]  # type: ignore[union-attr]
        with tarfile.open(path, "w") as archive:
            for name, content in members:
                if name.endswith("trial.npy"):
                    out = io.BytesIO()
                    np.save(out, np.load(io.BytesIO(content))[:1])
                    content = out.getvalue()
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    dataset, _, notes = prepare_nsd(
        copy, tmp_path / "d", ["01"], NsdSettings(sessions=[1, 2], pictures=False)
    )
    trials = dataset.recording("01").trials
    assert len(trials) == 3 * PICTURES
    assert set(trials["session"]) == {"n/a"}
    assert any("--sessions cannot" in note for note in notes)


def test_links_and_pickles_in_tars_are_refused(trees: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(trees["mindeye2"], copy)
    with tarfile.open(copy / "wds" / "subj01" / "train" / "0.tar", "a") as archive:
        link = tarfile.TarInfo("sample999999999.behav.npy")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../secret.npy"
        archive.addfile(link)
    with pytest.raises(InputError, match="link"):
        prepare(copy, tmp_path / "d")
    with tarfile.open(copy / "wds" / "subj01" / "train" / "0.tar", "w") as archive:
        out = io.BytesIO()
        np.save(out, np.array([{"a": 1}], dtype=object), allow_pickle=True)
        info = tarfile.TarInfo("sample000000000.behav.npy")
        info.size = len(out.getvalue())
        archive.addfile(info, io.BytesIO(out.getvalue()))
    with pytest.raises(InputError, match="pickle"):
        prepare(copy, tmp_path / "e")


def test_voxel_counts_on_the_official_grid() -> None:
    check_voxels("01", VOXELS["1"], (81, 104, 83), "mask")
    check_voxels("01", 20, (4, 5, 6), "mask")  # a miniature
    with pytest.raises(InputError, match="15724"):
        check_voxels("01", 20000, (81, 104, 83), "mask")


@pytest.fixture
def official(trees: dict[str, Path], tmp_path: Path) -> Path:
    copy = tmp_path / "copy"
    shutil.copytree(trees["official"], copy)
    return copy


def test_design_that_counts_from_zero_is_refused(official: Path, tmp_path: Path) -> None:
    path = official / "nsddata" / "experiments" / "nsd" / "nsd_expdesign.mat"
    content = {k: v for k, v in loadmat(path).items() if not k.startswith("_")}
    savemat(path, content | {"masterordering": content["masterordering"] - 1.0})
    with pytest.raises(InputError, match="count from 1"):
        prepare(official, tmp_path / "d")


def test_stimulus_table_of_another_release_is_refused(official: Path, tmp_path: Path) -> None:
    path = official / "nsddata" / "experiments" / "nsd" / "nsd_stim_info_merged.csv"
    table = pd.read_csv(path, index_col=0)
    table["shared1000"] = np.roll(table["shared1000"], 1)
    table.to_csv(path)
    with pytest.raises(InputError, match="shared1000"):
        prepare(official, tmp_path / "d")


def test_pictures_shown_too_often_are_refused(official: Path, tmp_path: Path) -> None:
    path = official / "nsddata" / "experiments" / "nsd" / "nsd_expdesign.mat"
    content = {k: v for k, v in loadmat(path).items() if not k.startswith("_")}
    ordering = content["masterordering"].copy()
    ordering[0, :4] = 30
    savemat(path, content | {"masterordering": ordering})
    with pytest.raises(InputError, match="at most 3"):
        prepare(official, tmp_path / "d")


def test_session_that_ends_early_is_refused(official: Path, tmp_path: Path) -> None:
    folder = next(official.glob("nsddata_betas/ppdata/subj01/func1pt8mm/*"))
    with h5py.File(folder / "betas_session01.hdf5", "r+") as file:
        short = file["betas"][:700]
        del file["betas"]
        file["betas"] = short
    with pytest.raises(InputError, match="holds"):
        prepare(official, tmp_path / "d")


def test_betas_on_another_grid_are_refused(official: Path, tmp_path: Path) -> None:
    folder = next(official.glob("nsddata_betas/ppdata/subj01/func1pt8mm/*"))
    volumes = np.zeros((4, 5, 7, 750), dtype=np.int16)
    nibabel.save(
        nibabel.Nifti1Image(volumes, np.diag([1.8, 1.8, 1.8, 1])),
        folder / "betas_session02.nii.gz",
    )
    with pytest.raises(InputError, match="another grid"):
        prepare(official, tmp_path / "d")


def test_stack_is_read_row_by_row(
    trees: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    largest = 0
    original = h5py.Dataset.__getitem__

    def spy(self: Any, key: Any, **options: Any) -> Any:
        nonlocal largest
        found = original(self, key, **options)
        if self.name == "/imgBrick":
            largest = max(largest, np.asarray(found).size)
        return found

    monkeypatch.setattr(h5py.Dataset, "__getitem__", spy)
    prepare(trees["official"], tmp_path / "d", pictures=True)
    assert largest == 6 * 6 * 3
