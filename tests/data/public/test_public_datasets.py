"""Miniature copies of public datasets in their official layouts are read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from phosphene.cli.app import app
from phosphene.data.canonical import CanonicalDataset

GRID, AFFINE = (4, 3, 3), np.diag([2.0, 2.0, 2.0, 1.0])
NAMES = ("miyawaki2008", "bold5000", "god", "things-fmri")


def invoke(*line: str) -> Any:
    return CliRunner().invoke(app, ["prepare", *line])


def save(path: Path, data: Any, affine: Any = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(data, affine), path)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_copy_the_way_to_it_is_told(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    result = invoke(name, "--output", str(tmp_path / "d"))
    assert result.exit_code == 4
    assert "What to do" in result.output
    assert "licence" in result.output
    assert not (tmp_path / "d").exists()


def test_a_fetcher_that_reaches_nothing_ends_with_code_4(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nilearn.datasets

    def unreachable(**options: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr(nilearn.datasets, "fetch_miyawaki2008", unreachable)
    result = invoke("miyawaki2008", "--output", str(tmp_path / "d"))
    assert result.exit_code == 4
    assert "ConnectionError" in result.output


@pytest.mark.parametrize("name", NAMES)
def test_another_folder_is_bad_input(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    line = [name, "--source", str(tmp_path / "empty"), "--output", str(tmp_path / "d")]
    result = invoke(*line, *(["--no-pictures"] if name == "god" else []))
    assert result.exit_code == 3
    assert not (tmp_path / "d").exists()


def write_miyawaki(root: Path) -> dict[str, Any]:
    """Two random runs and one of figures; responses are linear in the squares."""
    rng = np.random.default_rng(0)
    mask = np.ones(GRID, dtype=np.uint8)
    mask[0] = 0
    save(root / "mask" / "mask.nii.gz", mask)
    weights = rng.normal(size=(100, int(mask.sum())))
    shown: dict[str, list[Any]] = {"random": [], "figure": []}
    figures = rng.integers(0, 2, (3, 100))
    for kind, n_runs in (("random", 2), ("figure", 1)):
        for run in range(1, n_runs + 1):
            patterns = (
                rng.integers(0, 2, (8, 100)) if kind == "random" else np.tile(figures, (2, 1))
            )
            labels = [np.full((7, 100), -1)]
            for pattern in patterns:
                labels += [np.tile(pattern, (3, 1)), np.full((3, 100), -1)]
            whole = np.concatenate(labels)
            response = np.where(whole[:, :1] == -1, 0.0, whole @ weights)
            late = np.concatenate([np.zeros((2, weights.shape[1])), response[:-2]])
            series = 500 * (1 + late / 100) + 0.5 * np.arange(len(whole))[:, None]
            volumes = np.zeros((*GRID, len(whole)), dtype=np.float32)
            volumes[mask > 0] = series.T
            save(root / "func" / f"data_{kind}_run{run:02d}.nii.gz", volumes)
            path = root / "label" / f"data_{kind}_run{run:02d}_label.csv"
            path.parent.mkdir(exist_ok=True)
            np.savetxt(path, whole, fmt="%d", delimiter=",")
            shown[kind] += list(patterns)
    return {"weights": weights, **shown}


def test_miyawaki(tmp_path: Path) -> None:
    told = write_miyawaki(tmp_path / "miyawaki2008")
    result = invoke("miyawaki2008", "--source", str(tmp_path), "--output", str(tmp_path / "d"))
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"dataset: {tmp_path / 'd'}"
    dataset = CanonicalDataset.open(tmp_path / "d")
    recording = dataset.recording("01")
    splits = recording.trials["split"]
    assert (splits == "train").sum() == 16
    assert (splits == "test").sum() == 6
    assert recording.trials.loc[splits == "test", "stimulus_id"].nunique() == 3
    planted = np.stack(told["random"]) @ told["weights"]
    planted = (planted - planted.mean(0)) / planted.std(0)
    np.testing.assert_allclose(recording.data[:16], planted, atol=0.05)
    picture = dataset.pictures([recording.trials["stimulus_id"][3]])[0]
    # Numbers run down the columns.
    np.testing.assert_array_equal(picture[..., 0] // 255, told["random"][3].reshape(10, 10).T)


def write_bold5000(root: Path) -> list[str]:
    rng = np.random.default_rng(1)
    once = [f"COCO_train2014_{k:012d}.jpg" for k in range(30)] + [
        f"n0{k}_1.JPEG" for k in range(30)
    ]
    order = [*once, *(["rep_mall1.jpg"] * 4), *(["rep_park2.jpg"] * 4), "beach1.jpg", "beach2.jpg"]
    names = [order[k] for k in rng.permutation(len(order))]
    (root / "CSI1_imgnames.txt").write_text("\n".join(names) + "\n")
    mask = rng.random(GRID) < 0.6
    save(root / "CSI1_brainmask.nii.gz", mask.astype(np.uint8))
    for session, rows in enumerate(np.array_split(np.arange(len(names)), 2), start=1):
        volumes = rng.normal(size=(*GRID, len(rows))).astype(np.float32)
        volumes[~mask] = np.nan
        name = f"CSI1_GLMbetas-TYPED-FITHRF-GLMDENOISE-RR_ses-{session:02d}.nii.gz"
        save(root / name, volumes, np.eye(4))  # the affine is wrong in the release
    folder = root / "BOLD5000_Stimuli" / "Scene_Stimuli" / "Presented_Stimuli"
    for name in dict.fromkeys(names):
        kind = "COCO" if name.startswith("COCO") else "ImageNet" if name[0] == "n" else "Scene"
        path = folder / kind / name.removeprefix("rep_")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).save(path, "PNG")
    return names


def test_bold5000(tmp_path: Path) -> None:
    root = tmp_path / "b"
    root.mkdir()
    names = write_bold5000(root)
    line = ["bold5000", "--source", str(root), "--output", str(tmp_path / "d"), "--subjects", "1"]
    result = invoke(*line)
    assert result.exit_code == 0, result.output
    assert "2 of 15 sessions" in result.output
    recording = CanonicalDataset.open(tmp_path / "d").recording("CSI1")
    expected = [Path(name.removeprefix("rep_")).stem for name in names]
    assert recording.trials["stimulus_id"].tolist() == expected
    test = recording.trials["split"] == "test"
    assert set(recording.trials.loc[test, "stimulus_id"]) == {"mall1", "park2"}
    assert recording.space is not None
    np.testing.assert_allclose(recording.space.affine, AFFINE)
    (root / "CSI1_imgnames.txt").write_text("\n".join(names[:-5]))
    again = invoke(*line[:4], str(tmp_path / "e"))
    assert again.exit_code == 3
    assert "65 trials" in again.output


def write_things(root: Path, *, with_id: bool) -> Any:
    """Write pandas' fixed form of a table, as its HDF store lays it out."""
    rng = np.random.default_rng(2)
    n_voxels = 12
    kinds = ["train"] * 20 + ["test"] * 12 + ["catch"] * 2
    table = pd.DataFrame({"trial_type": kinds})
    table["session"], table["run"] = np.arange(34) % 2 + 1, np.arange(34) % 3 + 1
    table["subject_id"], table["trial_id"] = 1, np.arange(34) + 1
    table["stimulus"] = [
        *(f"wrench{k}_{k:02d}s.jpg" for k in range(20)),
        *(f"dog{k % 4}_01b.jpg" for k in range(12)),
        "catch_01.jpg", "catch_02.jpg",
    ]  # fmt: skip
    table.to_csv(root / "sub-01_StimulusMetadata.csv", index=False)
    voxels = pd.DataFrame({"voxel_id": np.arange(n_voxels), "V1": np.arange(n_voxels) % 2})
    voxels["nc_singletrial"] = rng.random(n_voxels)
    voxels.to_csv(root / "sub-01_VoxelMetadata.csv", index=False)
    data = rng.normal(size=(n_voxels, 34))
    with h5py.File(root / "sub-01_ResponseData.h5", "w") as file:
        group = file.create_group("ResponseData")
        group["axis1"] = np.arange(n_voxels)
        block = np.column_stack([np.arange(n_voxels), data]) if with_id else data
        group["block0_values"] = block
        if not with_id:
            group["block1_values"] = np.arange(n_voxels)[:, None]
    return data, table


@pytest.mark.parametrize("with_id", [False, True])
def test_things(tmp_path: Path, with_id: bool) -> None:
    root = tmp_path / "betas_csv"
    root.mkdir()
    data, table = write_things(root, with_id=with_id)
    line = ["things-fmri", "--source", str(tmp_path), "--no-pictures", "--subjects", "01"]
    result = invoke(*line, "--output", str(tmp_path / "d"))
    assert result.exit_code == 0, result.output
    recording = CanonicalDataset.open(tmp_path / "d").recording("01")
    assert len(recording) == 32
    assert (recording.trials["split"] == "test").sum() == 12
    assert recording.trials["concept"][0] == "wrench0"
    raw = data.T[:32]
    for session in (1, 2):
        rows = np.flatnonzero(table["session"].to_numpy()[:32] == session)
        fit = rows[rows < 20]
        expected = (raw[rows] - raw[fit].mean(0)) / raw[fit].std(0)
        np.testing.assert_allclose(recording.data[rows], expected, atol=1e-4)
    part = invoke(*line, "--roi", "V1", "--output", str(tmp_path / "e"))
    assert part.exit_code == 0
    assert CanonicalDataset.open(tmp_path / "e").space("01").indices.tolist() == [1, 3, 5, 7, 9, 11]
    wrong = invoke(*line, "--roi", "V9", "--output", str(tmp_path / "f"))
    assert wrong.exit_code == 3
    assert "among V1" in wrong.output


@pytest.fixture
def god_copy(tmp_path: Path) -> Callable[[Path], Path]:
    """Real events of two runs of training and one of test, with series of noise."""

    def copy(designs: Path) -> Path:
        root, rng = tmp_path / "ds001246", np.random.default_rng(3)
        wanted = (("perceptionTraining01", "01"), ("perceptionTraining01", "02"),
                  ("perceptionTest01", "01"))  # fmt: skip
        for session, run in wanted:
            func = Path("sub-01") / f"ses-{session}" / "func"
            name = f"sub-01_ses-{session}_task-perception_run-{run}"
            (root / func).mkdir(parents=True, exist_ok=True)
            shutil.copy(designs / "ds001246" / func / f"{name}_events.tsv", root / func)
            series = 500 + rng.normal(size=(*GRID, 178)).astype(np.float32)
            save(root / func / f"{name}_bold.nii.gz", series)
        (root / "task-perception_bold.json").write_text(json.dumps({"RepetitionTime": 3}))
        return root

    return copy


def test_god(god_copy: Any, tmp_path: Path) -> None:
    designs = Path(__file__).parents[4] / "shared" / "data" / "designs"
    if not designs.is_dir():
        pytest.skip("the designs are not here")
    root = god_copy(designs)
    line = ["god", "--source", str(root), "--output", str(tmp_path / "d")]
    assert invoke(*line).exit_code == 3  # pictures are not part of it
    result = invoke(*line, "--no-pictures")
    assert result.exit_code == 0, result.output
    trials = CanonicalDataset.open(tmp_path / "d").recording("01").trials
    assert len(trials) == 165
    test = trials["split"] == "test"
    assert set(trials.loc[test, "session"]) == {"perceptionTest01"}
    assert trials["stimulus_id"].str.fullmatch(r"n\d{8}_\d+").all()
    shared = set(trials.loc[test, "stimulus_id"]) & set(trials.loc[~test, "stimulus_id"])
    assert not shared
