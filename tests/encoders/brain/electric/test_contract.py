"""What every encoder of EEG and MEG keeps to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from phosphene.encoders.brain.electric import ELECTRIC_ENCODERS
from phosphene.encoders.brain.electric.adapted import plug_in
from phosphene.encoders.brain.electric.base import signal_words
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.model_folder import load_component
from phosphene.sensors import SensorInfo
from phosphene.trials import complete_trials
from phosphene.types import Recording

NAMES = ELECTRIC_ENCODERS.names()
CHANNELS, N_TIMES, WIDTH = ("P7", "Oz", "PO8", "O1", "Cz"), 90, 12


class OfAnotherMaker(nn.Module):
    """A network as braindecode's are: its words, a row of class scores."""

    def __init__(self, n_outputs: int, n_chans: int, n_times: int, width: int = 7) -> None:
        super().__init__()
        self.across = nn.Conv1d(n_chans, width, 1)
        self.final_layer = nn.Linear(width * n_times, n_outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.final_layer(torch.tanh(self.across(x)).flatten(1))
        return scores


plug_in("OfAnotherMaker", OfAnotherMaker)
SMALL: dict[str, dict[str, Any]] = {
    "adapted": {"architecture": "OfAnotherMaker", "options": {"width": 3}},
    "conformer": {"pool": 30, "depth": 1},
    "conv_attention": {"n_virtual": 6, "n_features": 32, "hidden": 8, "depth": 1},
}


def places(n: int, seed: int = 0) -> np.ndarray:
    unit = np.random.default_rng(seed).normal(size=(n, 3))
    unit[:, 2] = np.abs(unit[:, 2])
    return 0.09 * unit / np.linalg.norm(unit, axis=1, keepdims=True)


def recording(n: int = 9, names: tuple[str, ...] = CHANNELS, **more: Any) -> Recording:
    rng = np.random.default_rng(more.pop("seed", 0))
    data = rng.normal(size=(n, len(names), more.pop("n_times", N_TIMES))).astype(np.float32)
    info = SensorInfo(names, more.pop("sfreq", 250.0), 0.0, places(len(names)), "whitened")
    return Recording(data, "eeg", more.pop("subject", "01"), complete_trials(None, n), info=info)


def make(name: str, **more: Any) -> Any:
    torch.manual_seed(5)
    words: dict[str, Any] = {"n_outputs": WIDTH, "n_times": N_TIMES, "sfreq": 250.0}
    if name != "conv_attention":
        words["ch_names"] = list(CHANNELS)
    kind = ELECTRIC_ENCODERS.get(name)
    encoder = kind(**words, subjects=["01", "02"], **SMALL.get(name, {}), **more)
    if name == "enigma":  # layers of subjects that have come apart, as by training
        for layer in encoder.subject_wise_linear.values():
            torch.nn.init.orthogonal_(layer.weight)
    with torch.no_grad():  # running statistics of batch norms that are not trivial
        for _ in range(3):
            encoder(*inputs(encoder, 16))
    return encoder.eval()


def inputs(encoder: Any, n: int, subject: int = 1) -> tuple[torch.Tensor, ...]:
    x = torch.randn(n, len(CHANNELS), N_TIMES)
    return x, torch.full((n,), subject), torch.from_numpy(places(len(CHANNELS))).float()


@pytest.mark.parametrize("name", NAMES)
def test_embeddings_have_the_shape_that_was_asked_for(name: str) -> None:
    encoder = make(name)
    for n in (1, 9):
        pooled = encoder.encode(recording(n)).pooled
        assert pooled.shape == (n, WIDTH)
        assert pooled.isfinite().all()
        assert not pooled.requires_grad
    assert encoder.get_output_shape() == (1, WIDTH)
    assert not encoder.training


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_gives_what_its_rows_give_alone(name: str) -> None:
    encoder, items = make(name), recording(70)
    whole = encoder.encode(items).pooled
    for row in (0, 33, 69):
        assert torch.equal(encoder.encode(items.select(np.array([row]))).pooled[0], whole[row])
    order = np.random.default_rng(0).permutation(70)
    assert torch.equal(encoder.encode(items.select(order)).pooled, whole[torch.from_numpy(order)])


@pytest.mark.parametrize("name", NAMES)
def test_saving_and_loading_is_exact_and_keeps_the_temperature(name: str, tmp_path: Path) -> None:
    encoder = make(name)
    with torch.no_grad():
        encoder.logit_scale.fill_(3.25)
    json.dumps(encoder.config)
    encoder.save_pretrained(tmp_path / "e")
    again = load_component(tmp_path / "e", ELECTRIC_ENCODERS)
    items = recording(5, seed=3)
    assert torch.equal(again.encode(items).pooled, encoder.encode(items).pooled)
    assert again.logit_scale.item() == 3.25
    tensors = encoder.tensors()
    tensors.pop("logit_scale")
    with pytest.raises(InputError, match="logit_scale is missing"):
        encoder.load_tensors(tensors)


@pytest.mark.parametrize("name", NAMES)
def test_everything_that_is_learned_gets_a_gradient(name: str) -> None:
    encoder = make(name).train()
    x, subject, positions = inputs(encoder, 24)
    subject = torch.arange(24) % 3  # both subjects and the unknown one
    loss = (encoder.scale * encoder(x, subject, positions) ** 2).mean()
    loss.backward()
    silent = [n for n, p in encoder.named_parameters() if p.grad is None or not p.grad.any()]
    # A constant added to every key, or to every score, moves no softmax.
    assert set(silent) <= {"layer.attention.key.bias", "aggregate.score.2.bias"}


@pytest.mark.parametrize("name", NAMES)
def test_the_temperature_is_positive_and_clamped(name: str) -> None:
    encoder = make(name)
    for theta, scale in ((-5.0, 1.0), (2.0, float(np.exp(2.0))), (50.0, 100.0)):
        with torch.no_grad():
            encoder.logit_scale.fill_(theta)
        assert encoder.scale.item() == pytest.approx(scale, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_other_channels_rates_and_lengths_are_refused(name: str) -> None:
    encoder = make(name)
    with pytest.raises(InputError, match="x 80 samples"):
        encoder.encode(recording(3, n_times=80))
    with pytest.raises(InputError, match="500 Hz"):
        encoder.encode(recording(3, sfreq=500.0))
    if name != "conv_attention":
        with pytest.raises(InputError, match="O1, Oz"):
            encoder.encode(recording(3, names=("P7", "O1", "Oz", "PO8", "Cz")))
        with pytest.raises(InputError, match="3 channels"):
            encoder.encode(recording(3, names=("P7", "O1", "Oz")))


@pytest.mark.parametrize("name", NAMES)
def test_channels_may_be_described_as_in_braindecode(name: str, tmp_path: Path) -> None:
    """All six words at once, positions in ``loc`` as MNE keeps them; saved as names and places."""
    channels = [
        {"ch_name": label, "kind": 2, "loc": np.r_[place, np.zeros(9)]}
        for label, place in zip(CHANNELS, places(len(CHANNELS)), strict=True)
    ]
    words = {
        "n_outputs": WIDTH, "n_chans": len(CHANNELS), "chs_info": channels, "n_times": N_TIMES,
        "input_window_seconds": N_TIMES / 250.0, "sfreq": 250.0,
    }  # fmt: skip
    encoder = ELECTRIC_ENCODERS.get(name)(**words, **SMALL.get(name, {})).eval()
    assert encoder.encode(recording(4)).pooled.shape == (4, WIDTH)
    encoder.save_pretrained(tmp_path / "e")
    again = load_component(tmp_path / "e", ELECTRIC_ENCODERS)
    assert again.config == encoder.config
    assert [c["ch_name"] for c in again.config["chs_info"]] == list(CHANNELS)
    with pytest.raises(UsageError, match="without ch_name"):
        ELECTRIC_ENCODERS.get(name)(
            **{**words, "chs_info": [{"loc": np.ones(12)}] * 5}, **SMALL.get(name, {})
        )
    if name != "conv_attention":
        with pytest.raises(UsageError, match="ch_names"):
            ELECTRIC_ENCODERS.get(name)(
                **words, ch_names=list(CHANNELS[::-1]), **SMALL.get(name, {})
            )


@pytest.mark.parametrize("name", ["atm", "conv_attention", "enigma"])
def test_an_unknown_subject_has_a_way_of_its_own(name: str) -> None:
    encoder = make(name)
    known, other, stranger = (
        encoder.encode(recording(4, subject=label)).pooled for label in ("01", "02", "09")
    )
    assert encoder.index_of("09") == 0 != encoder.index_of("01")
    assert not torch.allclose(known, other)
    assert not torch.allclose(known, stranger)
    encoder.train()
    encoder.subject_dropout = 1.0
    x, subject, positions = inputs(encoder, 6)
    torch.manual_seed(0)
    dropped = encoder(x, subject, positions)
    torch.manual_seed(0)
    torch.testing.assert_close(dropped, encoder(x, torch.zeros_like(subject), positions))


def test_words_of_a_signal_complete_one_another() -> None:
    words = signal_words(8, None, None, 250.0, 0.4, CHANNELS)
    assert (words.n_chans, words.n_times, words.sfreq) == (5, 100, 250.0)
    assert signal_words(8, 5, 100, None, 0.4, None).sfreq == pytest.approx(250.0)
    for wrong in (
        (8, None, 100, None, None, None),
        (8, 4, 100, None, None, CHANNELS),
        (8, 5, 100, 250.0, 0.5, None),
        (8, 5, None, 250.0, None, None),
        (8, None, 100, None, None, ("Oz", "EEG OZ-REF")),
    ):
        with pytest.raises(UsageError):
            signal_words(*wrong)
