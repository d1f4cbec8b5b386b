"""What keeps numbers honest: overlap is told, copies are one picture, weights are judged fairly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from phosphene.data.prepare import refuse_ambiguous_order
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.encoders.brain.voxel_reliability import explained_variance, try_weighing
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.metrics import two_way_identification
from phosphene.pipelines.scores import score_pictures
from phosphene.pipelines.training.autoencoder import AutoencoderConfig, train_autoencoder
from phosphene.pipelines.training.encoder import EncoderConfig, train_encoder
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.schemas import Protocol
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

PROTOCOL = Protocol(
    dataset="d", dataset_hash="", subjects=["01"], mask="", normalisation="",
    normalisation_fitted_on="", averaging_train="", averaging_test="", n_train_trials={"01": 1},
    train_stimulus_ids=[], train_picture_hashes=[], validation_rule="", selection_rule="",
)  # fmt: skip


def test_repeated_pictures_change_neither_score_nor_interval() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (12, 9, 9, 3), dtype=np.uint8)
    noisy = np.clip(truth + rng.normal(0, 90, truth.shape), 0, 255).astype(np.uint8)
    names = [f"p{k}" for k in range(12)]
    once = score_pictures(noisy[:, None], truth, PROTOCOL, mean_picture=None, pictures=names)
    three = score_pictures(
        np.tile(noisy, (3, 1, 1, 1))[:, None], np.tile(truth, (3, 1, 1, 1)), PROTOCOL,
        mean_picture=None, pictures=names * 3,
    )  # fmt: skip
    for a, b in zip(once.metrics, three.metrics, strict=True):
        assert b.value == pytest.approx(a.value, abs=1e-9)
        assert b.interval == pytest.approx(a.interval, abs=1e-9)
        assert b.chance == pytest.approx(a.chance, abs=0.05)
    assert three.n_pictures == 12


def test_items_of_one_picture_are_not_compared() -> None:
    truth = np.random.default_rng(1).normal(size=(4, 7))
    doubled = np.repeat(truth, 2, axis=0)
    found = two_way_identification(doubled, doubled, pictures=list("aabbccdd"))
    assert found.scores.tolist() == [1.0] * 8
    assert two_way_identification(doubled, doubled).mean < 1


def test_pictures_from_training_are_told(toy: Any, model: Path, cli: Any, tmp_path: Path) -> None:
    for data, shown, told in (
        ("train.npy", "train-shown.npy", True),
        ("test.npy", "shown.npy", False),
    ):
        out = tmp_path / data
        done = cli(
            "reconstruct", "--subject", "01", "--input", toy.file(data), "--model", model,
            "--output", out, "--truth", toy.file(shown),
        ).succeeds()  # fmt: skip
        assert ("the model was trained on" in done.out) is told
        assert ("that the model was trained on" in (out / "report.html").read_text()) is told


def noise_recording(n_trials: int = 60, n_voxels: int = 400) -> tuple[Recording, torch.Tensor]:
    rng = np.random.default_rng(3)
    table = complete_trials(pd.DataFrame({"stimulus_id": np.arange(n_trials)}), n_trials)
    data = rng.normal(size=(n_trials, n_voxels)).astype(np.float32)
    space = VoxelSpace.columns(n_voxels)
    targets = torch.from_numpy(rng.normal(size=(n_trials, 5)).astype(np.float32))
    return Recording(data, "fmri", "01", table, space), targets


def test_weights_are_not_used_on_noise() -> None:
    trial = try_weighing(*noise_recording(), RidgeEncoder)
    assert trial is not None
    assert not trial.helps


def test_weights_find_the_voxels_with_signal_and_help() -> None:
    recording, targets = noise_recording(80, 600)
    data = recording.data.copy()
    data[:, :30] += 0.4 * targets.numpy() @ np.random.default_rng(0).normal(size=(5, 30))
    signal = Recording(data.astype(np.float32), "fmri", "01", recording.trials, recording.space)
    weights = explained_variance(signal, targets)
    assert np.median(weights[:30]) > 5 * np.median(weights[30:])
    trial = try_weighing(signal, targets, RidgeEncoder)
    assert trial is not None
    assert trial.helps
    assert trial.weighed > trial.plain + 0.05


def test_an_order_that_can_be_read_in_two_ways_is_refused() -> None:
    refuse_ambiguous_order(["0", "1", "2"], "Y.npy")
    refuse_ambiguous_order(["b", "a", "c"], "Y.npy")
    with pytest.raises(InputError, match="in another order"):
        refuse_ambiguous_order(["2", "0", "1"], "Y.npy")


def small_autoencoder(folder: Path, pictures: np.ndarray, **changes: Any) -> AutoencoderConfig:
    np.save(folder / "p.npy", pictures)
    values: dict[str, Any] = {
        "pictures": str(folder / "p.npy"),
        "output": str(folder / "AE"),
        "size": 8,
        "channels": 1,
        "latent": 2,
        "width": 4,
        "training": EngineConfig(epochs=1),
    }
    return AutoencoderConfig.model_validate(values | changes)


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    train_autoencoder(small_autoencoder(tmp_path, pictures))
    train_autoencoder(small_autoencoder(tmp_path, pictures), resume=True)
    with pytest.raises(UsageError, match="other latent"):
        train_autoencoder(small_autoencoder(tmp_path, pictures, latent=3), resume=True)
    with pytest.raises(UsageError, match="other picture_hashes"):
        train_autoencoder(small_autoencoder(tmp_path, pictures[:-5]), resume=True)


def test_a_mistyped_setting_leaves_no_folder(tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (30, 8, 8), dtype=np.uint8)
    with pytest.raises(UsageError, match="1 \\(grey\\) or 3"):
        train_autoencoder(small_autoencoder(tmp_path, pictures, channels=2))
    assert not (tmp_path / "AE").exists()


def test_a_target_that_learned_test_pictures_is_refused(
    toy: Any, dataset: Path, tmp_path: Path
) -> None:
    from phosphene.data.canonical import CanonicalDataset

    opened = CanonicalDataset.open(dataset)
    test = opened.table.loc[opened.table["split"] == "test", "stimulus_id"].unique().tolist()
    if not test:
        pytest.skip("the toy dataset has no test split")
    shown = np.stack(list(opened.pictures(test)))[..., 0]
    others = np.random.default_rng(0).integers(0, 256, (40, *shown.shape[1:]), dtype=np.uint8)
    config = small_autoencoder(tmp_path, np.concatenate([others, shown]))
    folder, _ = train_autoencoder(config)
    words = {"dataset": str(dataset), "subject": "01", "target": f"local-dir:{folder}"}
    with pytest.raises(InputError, match="was trained on"):
        train_encoder(EncoderConfig(**words, output=str(tmp_path / "M")))
