"""A fresh scan of a virtual subject, decoded with no other option, and what goes wrong."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

from phosphene.cli.app import app, reconstruct_app

SCENES = 4


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("virtual") / "scan"
    command = ["simulate", "fmri", "--subject", "01", "--scenes", str(SCENES), "--seed", "31"]
    done = CliRunner().invoke(app, [*command, "--output", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


def betas(scan: Path) -> Path:
    return sorted(scan.rglob("*_bold.nii.gz"))[0]


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(reconstruct_app, list(arguments))
    return done.exit_code, done.output  # both streams, as a terminal shows them


@pytest.mark.slow
def test_a_folder_is_decoded_and_scored(scan: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, text = run(
        "--subject", "01", "--input", str(scan), "--average", "stimulus",
        "--truth", str(scan / "stimuli"), "--output", str(out),
    )  # fmt: skip
    assert code == 0, text
    assert len(list(out.glob("sub-01/*.png"))) == SCENES
    metrics = {m["id"]: m for m in json.loads((out / "metrics.json").read_text())["metrics"]}
    layout = metrics["pixcorr/strict-v1"]
    assert layout["value"] > layout["chance"] + 0.1  # layout is decoded, not only plausible
    assert (out / "grid.png").is_file()
    assert "virtual-fmri" in (out / "report.html").read_text()


@pytest.mark.slow
def test_a_single_file_is_decoded_with_no_other_option(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = run("--subject", "01", "--input", str(betas(scan)))
    assert code == 0, text
    assert len(list(tmp_path.glob("phosphene-output/sub-01/*.png"))) == SCENES


@pytest.mark.parametrize(
    ("damage", "expected_code", "found"),
    [
        ("subject", 3, "does not know subject '09'"),
        ("cut", 3, "_bold.nii.gz"),
        ("grid", 3, "voxels"),
        ("absent", 3, "there is no"),
    ],
)
def test_what_does_not_fit_is_one_message(
    scan: Path, tmp_path: Path, damage: str, expected_code: int, found: str
) -> None:
    source, subject = betas(scan), "01"
    path = tmp_path / source.name
    if damage == "subject":
        path, subject = source, "09"
    elif damage == "cut":
        path.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    elif damage == "grid":
        volume = np.zeros((7, 8, 9, 4), dtype=np.float32)
        nibabel.Nifti1Image(volume, np.eye(4)).to_filename(path)
    code, text = run("--subject", subject, "--input", str(path), "--output", str(tmp_path / "o"))
    assert code == expected_code, text
    assert found in text
    assert "Traceback" not in text
    assert text.count("phosphene: ") == 1
    assert not (tmp_path / "o").exists()


def test_simulating_a_subject_without_a_label_is_one_message(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["simulate", "fmri", "--subject", "0/1", "--output", str(tmp_path / "scan")]
    )
    assert done.exit_code == 2
    assert "label" in done.stderr
