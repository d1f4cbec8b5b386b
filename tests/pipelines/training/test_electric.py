"""Training of EEG encoders on a planted truth, and its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from phosphene.encoders.brain.electric.flat_mlp import FlatMLPEncoder
from phosphene.errors import InputError
from phosphene.pipelines.training.electric import (
    ElectricTraining,
    augment,
    mean_reciprocal_rank,
    train_electric,
)
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.sensors import SensorInfo
from phosphene.trials import complete_trials
from phosphene.types import Recording

N, WIDTH, CHANS, TIMES = 160, 6, 4, 10


def targets() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(N, WIDTH))).float()


def recording(subject: str = "01", noise: float = 1.0, repetitions: int = 3) -> Recording:
    """Pictures 0 to 119 train, 120 to 159 validate; one linear map for all subjects."""
    maps = np.random.default_rng(1).normal(size=(WIDTH, CHANS, TIMES))
    rng = np.random.default_rng([2, int(subject)])
    shown = np.tile(np.arange(N), repetitions)
    data = np.einsum("nd,dct->nct", targets().numpy()[shown], maps)
    data = (data + noise * rng.normal(size=data.shape)).astype(np.float32)
    table = pd.DataFrame(
        {
            "stimulus_id": [f"p{number}" for number in shown],
            "split": np.where(shown < 120, "train", "validation"),
        }
    )
    info = SensorInfo(tuple(f"C{k}" for k in range(CHANS)), 100.0, unit="whitened")
    return Recording(data, "eeg", subject, complete_trials(table, len(shown)), info=info)


IDS = [f"p{number}" for number in range(N)]


def settings(**more: Any) -> ElectricTraining:
    engine = EngineConfig(batch_size=60, learning_rate=5e-3, epochs=more.pop("epochs", 40))
    return ElectricTraining(engine=engine, **more)


def encoder(subjects: tuple[str, ...] = ("01",)) -> FlatMLPEncoder:
    torch.manual_seed(0)
    return FlatMLPEncoder(WIDTH, CHANS, TIMES, 100.0, subjects=subjects, dropout=0.0)


def test_a_planted_map_is_learned_and_serves_new_pictures(tmp_path: Path) -> None:
    model, given = encoder(), recording()
    result = train_electric(model, {"01": given}, targets(), IDS, settings(), folder=tmp_path)
    held = given.select(given.trials["split"].to_numpy() == "validation").average()
    found = mean_reciprocal_rank(model.encode(held).pooled, targets(), torch.arange(120, 160))
    assert found > 0.8  # chance among 40 is .11
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert min(row["validation"] for row in result.history) == pytest.approx(1 - found, abs=0.02)


def test_subjects_that_share_pictures_train_one_network(tmp_path: Path) -> None:
    given = {label: recording(label) for label in ("01", "02")}
    model = encoder(("01", "02"))
    train_electric(model, given, targets(), IDS, settings(regression=0.1), folder=tmp_path)
    stranger = recording("03")
    held = stranger.select(stranger.trials["split"].to_numpy() == "validation").average()
    found = mean_reciprocal_rank(model.encode(held).pooled, targets(), torch.arange(120, 160))
    assert found > 0.6  # leave one subject out; chance .11


def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    options = {"smooth": 0.5, "shift": 1, "drop": 0.2}
    whole, halves = encoder(), encoder()
    args = ({"01": recording()}, targets(), IDS)
    train_electric(whole, *args, settings(epochs=4, **options), folder=tmp_path / "a")
    longer = settings(epochs=4, **options)
    train_electric(halves, *args, longer, folder=tmp_path / "b")
    again = encoder()
    train_electric(again, *args, longer, folder=tmp_path / "b")
    for one, other in ((whole, halves), (halves, again)):
        for name, tensor in one.state_dict().items():
            assert torch.equal(tensor, other.state_dict()[name]), name


def test_augmentation_does_what_it_says() -> None:
    x = torch.arange(24.0).reshape(2, 3, 4)
    draw = lambda: torch.Generator().manual_seed(0)  # noqa: E731
    torch.testing.assert_close(augment(x, settings(), draw()), x)
    smooth = augment(x, settings(smooth=1.0, smooth_width=3), draw())
    torch.testing.assert_close(smooth[0, 0], torch.tensor([1 / 3, 1, 2, 8 / 3]))
    ones = torch.ones(50, 40, 4)
    dropped = augment(ones, settings(drop=0.25), draw())
    torch.testing.assert_close(dropped.unique(), torch.tensor([0, 4 / 3]))
    assert dropped.mean() == pytest.approx(1, abs=0.05)
    moved = augment(x, settings(shift=2), draw())
    for trial, before in zip(moved, x, strict=True):
        assert any(
            torch.equal(trial, before[:, (torch.arange(4) + by).clamp(0, 3)]) for by in range(-2, 3)
        )


def test_ranks_count_ties_one_half() -> None:
    pictures = torch.eye(4)
    assert mean_reciprocal_rank(pictures, pictures, torch.arange(4)) == 1
    constant = torch.ones(4, 4)
    assert mean_reciprocal_rank(constant, pictures, torch.arange(4)) == pytest.approx(1 / 2.5)


def test_what_cannot_be_trained_on_is_refused(tmp_path: Path) -> None:
    given = recording()
    model = encoder()

    def refuse(match: str, changed: Recording, ids: list[str] = IDS) -> None:
        with pytest.raises(InputError, match=match):
            train_electric(model, {"01": changed}, targets(), ids, settings(), folder=tmp_path)

    def with_split(values: Any) -> Recording:
        trials = given.trials.assign(split=values)
        return Recording(given.data, "eeg", "01", trials, info=given.info)

    refuse("test split", with_split("test"))
    refuse("no training trial", with_split("validation"))
    refuse("both in training", with_split(["train", "train", "validation"] * (len(given) // 3)))
    refuse("have no target", given, [f"q{number}" for number in range(N)])
    tiny = Recording(given.data * 1e-9, "eeg", "01", given.trials, info=given.info)
    refuse("float16 cannot hold", tiny)
