from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from phosphene.cli.simulate import app
from phosphene.data.readers import read_recording
from phosphene.data.scenes import is_held_out, sample_scenes
from phosphene.data.virtual import (
    AREA_NAMES,
    VirtualSubject,
    choose_stimuli,
    mask_path,
    read_photographs,
    write_experiment,
)
from phosphene.data.virtual.confounds import gaze_towards_main_solid
from phosphene.errors import UsageError


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["fmri", *arguments])


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulated") / "data"
    result = run("--scenes", "5", "--repetitions", "2", "--seed", "7", "--output", str(folder))
    assert result.exit_code == 0, result.output
    assert "10 trials of 5 pictures in 2 sessions" in result.stdout
    return folder


def test_files_read_back_as_the_arrays(written: Path, subject: VirtualSubject) -> None:
    stimuli = choose_stimuli(5, seed=7)
    signal = subject.respond(stimuli.scenes, stimuli.images)
    simulation = subject.simulate(signal, repetitions=2, seed=7)
    recording = read_recording(written, subject="01", roi=str(mask_path(written, "01")))
    np.testing.assert_array_equal(recording.data, simulation.betas)
    assert recording.space is not None
    assert recording.space.hash == subject.space.hash
    expected = np.array(stimuli.ids)[simulation.trials["stimulus"]]
    assert recording.trials["stimulus_id"].tolist() == expected.tolist()
    for column in ("session", "run", "repetition", "onset"):
        assert recording.trials[column].tolist() == simulation.trials[column].tolist()
    np.testing.assert_array_equal(np.load(written / "truth" / "signal.npy"), signal)


def test_layout_is_bids(written: Path) -> None:
    func = written / "sub-01" / "ses-02" / "func"
    stem = "sub-01_ses-02_task-scenes"
    table = pd.read_csv(func / f"{stem}_events.tsv", sep="\t")
    assert list(table) == [
        "onset", "duration", "run", "stimulus_id", "stim_file", "repetition",
    ]  # fmt: skip
    assert nib.load(func / f"{stem}_desc-betas_bold.nii.gz").shape[3] == len(table) == 5
    description = json.loads((written / "dataset_description.json").read_text())
    assert "virtual" in description["GeneratedBy"][0]["Description"]
    for name in table["stim_file"]:
        with Image.open(written / "stimuli" / name) as picture:
            assert picture.size == (64, 64)


def test_truth_is_complete(written: Path, subject: VirtualSubject) -> None:
    truth = written / "truth"
    ideal = json.loads((truth / "ideal_observer.json").read_text())
    assert [score["repetitions"] for score in ideal["identification"]] == [1, 3, 10, 80]
    covariance = np.load(truth / "noise_covariance.npy")
    np.testing.assert_allclose(np.sqrt(np.diag(covariance)), subject.noise.sd, rtol=1e-3)
    factors = pd.read_csv(truth / "factors.tsv", sep="\t")
    assert {"caption", "main_shape", "main_view_angle", "crowding"} <= set(factors)
    voxels = pd.read_csv(truth / "voxels.tsv", sep="\t")
    assert set(voxels["area"]) == set(AREA_NAMES)
    stem = written / "sub-01" / "anat" / "sub-01_desc-areas_dseg"
    areas = np.asarray(nib.load(f"{stem}.nii.gz").dataobj)
    names = pd.read_csv(f"{stem}.tsv", sep="\t").set_index("index")["name"]
    at = areas[voxels["i"], voxels["j"], voxels["k"]]
    assert (names.loc[at].to_numpy() == voxels["area"]).all()
    assert (areas > 0).sum() == subject.n_voxels


def test_hold_outs_are_what_they_say() -> None:
    for one in choose_stimuli(4, holdout="conjunctions").scenes or ():
        assert all(is_held_out(s.colour, s.shape, s.material) for s in one.solids)
    for one in choose_stimuli(3, holdout="shape").scenes or ():
        assert {solid.shape for solid in one.solids} == {"octahedron"}
    pairs = choose_stimuli(6, holdout="hard-negatives")
    assert pairs.scenes is not None
    for first, twin in zip(pairs.scenes[::2], pairs.scenes[1::2], strict=True):
        assert twin.name.startswith(f"{first.name}~")


def test_duplicates_repeat_training_pictures_under_other_names() -> None:
    clean = choose_stimuli(8, training=4)
    tied = choose_stimuli(8, training=4, duplicates=True)
    assert clean.ids == tied.ids
    assert len(set(tied.ids)) == 12
    changed = [k for k in range(12) if not np.array_equal(clean.images[k], tied.images[k])]
    assert changed == [0, 4]
    np.testing.assert_array_equal(tied.images[4], tied.images[9])
    with pytest.raises(UsageError, match="training"):
        choose_stimuli(8, duplicates=True)


def test_gaze_changes_the_signal_alone(subject: VirtualSubject, tmp_path: Path) -> None:
    stimuli = choose_stimuli(3, seed=2, training=1)
    looked = write_experiment(
        tmp_path / "gaze", subject, stimuli, repetitions=1, seed=2, confounds=["gaze"]
    )
    scenes = sample_scenes(0, 3, seed=2, split="test")
    gaze = gaze_towards_main_solid((*scenes, *sample_scenes(0, 1, seed=2)))
    signal = subject.respond(stimuli.scenes, stimuli.images, gaze)
    np.testing.assert_array_equal(looked.signal, signal)
    clean = subject.simulate(signal, repetitions=1, seed=2)
    np.testing.assert_array_equal(clean.betas, looked.betas)
    factors = pd.read_csv(tmp_path / "gaze" / "truth" / "factors.tsv", sep="\t")
    np.testing.assert_allclose(factors["gaze_x"], gaze[:, 0], atol=1e-4)
    events = next((tmp_path / "gaze").glob("sub-01/ses-01/func/*_events.tsv"))
    assert sorted(pd.read_csv(events, sep="\t")["split"]) == ["test"] * 3 + ["train"]


def test_photographs_are_shown_by_their_names(subject: VirtualSubject, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("dog", "cat"):
        pixels = generator.integers(0, 256, (70, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    stimuli = read_photographs(tmp_path)
    assert stimuli.ids == ("cat", "dog")
    assert subject.respond(None, stimuli.images).shape == (2, subject.n_voxels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--subject", ""), "letters and digits"),
        (("--subject", "a/b"), "letters and digits"),
        (("--preset", "7t"), "nsd-7t"),
        (("--holdout", "cats"), "hard-negatives"),
        (("--scenes", "0"), "at least one scene"),
        (("--repetitions", "0"), "at least one"),
        (("--confound", "gase"), "did you mean 'gaze'"),
        (("--confound", "duplicates"), "--training-scenes"),
        (("--photographs", "x", "--holdout", "shape"), "photographs alone"),
        (("--estimator", "glm"), "lsa"),
    ],
)
def test_wrong_use_ends_in_one_message(
    arguments: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    result = run("--scenes", "1", "--output", str(tmp_path / "new"), *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    result = run("--scenes", "1", "--output", str(tmp_path))
    assert result.exit_code == 2
    assert str(tmp_path) in result.stderr
    assert [item.name for item in tmp_path.iterdir()] == ["mine.txt"]
    assert run("--scenes", "1").exit_code == 2
