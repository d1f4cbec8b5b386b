"""Within, joint and leave-one-subject-out by one command, on planted subjects."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from phosphene.cli.app import app
from phosphene.data.pictures import Pictures
from phosphene.data.prepare import write_subject
from phosphene.pipelines.training.electric_subjects import SubjectsConfig, compare_subjects
from phosphene.pipelines.training.subject_table import BY_PICTURE, summarise, with_intervals
from phosphene.sensors import SensorInfo
from phosphene.storage import save_array
from phosphene.trials import complete_trials
from phosphene.types import Recording

N, CHANS, TIMES = 40, 4, 20
INFO = SensorInfo(("a", "b", "c", "d"), 50.0, 0.0, unit="uV", reference="average")


@pytest.fixture(scope="module")
def dataset(tiny_pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One map from pictures to sources for all; every subject mixes its sensors otherwise."""
    root = tmp_path_factory.mktemp("subjects")
    save_array(root / "stimuli.npy", tiny_pictures)
    rows = np.tile(np.arange(N), 4)
    flat = tiny_pictures.reshape(N, -1) / 255.0
    maps = np.random.default_rng(5).standard_normal((flat.shape[1], CHANS, TIMES))
    sources = np.einsum("nd,dct->nct", flat - flat.mean(0), maps)
    splits = np.select([rows >= N - 8, rows >= N - 12], ["test", "validation"], "train")
    table = pd.DataFrame({"stimulus_id": [f"{row:03d}" for row in rows], "split": splits})
    for number, subject in enumerate(("01", "02", "03")):
        rng = np.random.default_rng(number)
        data = sources[rows] / sources.std() + rng.standard_normal((len(rows), CHANS, TIMES))
        mixed = np.eye(CHANS) + 0.2 * rng.standard_normal((CHANS, CHANS))
        trials = complete_trials(table, len(rows))
        recording = Recording((mixed @ data).astype(np.float32), "eeg", subject, trials, info=INFO)
        write_subject(root / "data", recording, root / "stimuli.npy")
    return root / "data"


def settings(dataset: Path, parts: Path, output: Path, **more: object) -> SubjectsConfig:
    network = {
        "bin": 2, "width": 8, "components": 8,
        "training": {"engine": {"epochs": 4, "batch_size": 32}, "regression": 0.5},
    }  # fmt: skip
    return SubjectsConfig.model_validate(
        {
            "dataset": str(dataset),
            "output": str(output),
            "target": str(parts / "target"),
            "network": network,
            "repetitions": (1, 4),
            "calibration": 20,
            **more,
        }
    )


@pytest.mark.parametrize("scheme", ["within", "joint", "loso"])
def test_every_subject_and_calibration_has_a_row_that_says_what_was_looked_at(
    scheme: str, dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    steps = {"alignment": True, "whitening": True, "csls": True, "procrustes": True}
    config = settings(
        dataset, tiny_parts_folder, tmp_path / "out", scheme=scheme,
        encoders=("ridge", "flat_mlp"), seeds=(0, 1), **steps,
    )  # fmt: skip
    folder, table, summary = compare_subjects(config)
    keys = ["encoder", "seed", "subject", "repetitions", "calibration"]
    assert len(table) == 2 * 2 * 3 * 2 * 6
    assert not table.duplicated(keys).any()
    told = dict(zip(table["calibration"], table["setting"], strict=True))
    assert told.pop("none") == "none"
    assert told.pop("procrustes") == "transductive"
    assert set(told.values()) == {"inductive (20 trials)"}
    assert set(told) == {"alignment", "whitening", "csls", "alignment+whitening+csls"}
    assert set(table["pool"]) == {8}
    assert set(summary["subjects"]) == {3}
    for score in ("top1", "two_way"):
        assert (table[f"{score}_low"] <= table[score]).all()
        assert (table[score] <= table[f"{score}_high"]).all()
        assert (summary[f"{score}_pictures_low"] <= summary[score]).all()
    learned = dict(zip(table["encoder"], table["parameters"], strict=True))
    assert learned["ridge"] == (CHANS * TIMES // 2 + 1) * 64  # numbers of the tiny target
    assert (table["processor_seconds"] > 0).all()
    assert (folder / "summary.tsv").is_file()
    assert not list(folder.glob("rows-*"))


def test_a_planted_map_is_found_in_a_subject_that_training_never_had(
    dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    config = settings(
        dataset, tiny_parts_folder, tmp_path / "out", scheme="loso", encoders=("ridge",),
        repetitions=(4,),
    )  # fmt: skip
    _, table, _ = compare_subjects(config)
    assert table["two_way"].mean() > 0.7
    assert set(table["subject"]) == {"01", "02", "03"}


def test_without_a_block_everything_is_transductive_and_an_interrupted_run_goes_on(
    dataset: Path, tiny_parts_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(
        dataset, tiny_parts_folder, tmp_path / "out", encoders=("ridge",), alignment=True,
        csls=True, calibration=0,
    )  # fmt: skip
    from phosphene.pipelines.training import electric_subjects

    whole, count = electric_subjects.fit_ridge, 0

    def stops(*args: object, **more: object) -> object:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return whole(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(electric_subjects, "fit_ridge", stops)
    with pytest.raises(KeyboardInterrupt):
        compare_subjects(config)
    _, table, _ = compare_subjects(config, resume=True)
    assert count == 4  # the two subjects that were done are not trained again
    assert set(table["setting"]) == {"none", "transductive"}
    assert sorted(set(table["subject"])) == ["01", "02", "03"]


def test_intervals_are_over_subjects_and_gains_are_paired() -> None:
    rows = [
        {
            "scheme": "loso", "encoder": "ridge", "seed": seed, "subject": f"{number:02d}",
            "calibration": name, "setting": "none" if name == "none" else "transductive",
            "repetitions": 1, "top1": 0.1 * number + add, "top5": 0.5, "two_way": 0.5,
        }
        for seed in (0, 1)
        for number in range(5)
        for name, add in (("none", 0.0), ("csls", 0.03))
    ]  # fmt: skip
    found = summarise(pd.DataFrame(rows)).set_index("calibration")
    assert found.loc["none", "top1"] == pytest.approx(0.2)
    assert found.loc["csls", "top1_gain"] == pytest.approx(0.03)
    assert found.loc["csls", "top1_gain_low"] == pytest.approx(0.03)
    assert found.loc["none", "top1_low"] < 0.15
    assert found.loc["none", "top1_high"] > 0.25
    assert set(found["subjects"]) == {5}


def test_intervals_over_pictures_draw_all_that_was_shown_of_a_picture_together() -> None:
    rng = np.random.default_rng(0)
    easy = rng.random(200)  # the same pictures are easy for both subjects
    rows = [
        {
            "scheme": "within", "encoder": "ridge", "seed": 0, "subject": subject,
            "calibration": name, "setting": "none", "repetitions": 1,
            "top1": 0.0, "top5": 0.0, "two_way": float(easy.mean()) + add,
            BY_PICTURE: {f"{k:03d}": [0.0, 0.0, value + add] for k, value in enumerate(easy)},
        }
        for subject in ("01", "02")
        for name, add in (("none", 0.0), ("csls", 0.1))
    ]  # fmt: skip
    found = summarise(pd.DataFrame(rows)).set_index("calibration")
    error = easy.std() / 200**0.5
    low, high = found.loc["none", ["two_way_pictures_low", "two_way_pictures_high"]]
    assert low == pytest.approx(easy.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(easy.mean() + 1.96 * error, abs=0.2 * error)
    assert found.loc["csls", "two_way_gain_pictures_low"] == pytest.approx(0.1)  # paired
    per_subject = with_intervals(pd.DataFrame(rows))
    assert BY_PICTURE not in per_subject
    assert per_subject["two_way_low"].iloc[0] == pytest.approx(low)


def test_wrong_use_through_the_command_line(dataset: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    line = ["train", "subjects", "--dataset", str(dataset), "--output", str(tmp_path / "out")]
    one = run(app, [*line, "--scheme", "loso", "--subject", "01"])
    assert one.exit_code == 2
    assert "two subjects" in one.output
    assert run(app, [*line, "--scheme", "some"]).exit_code == 2
    assert run(app, [*line, "--encoder", "mlp2"]).exit_code == 2
