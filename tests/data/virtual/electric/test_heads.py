"""Virtual EEG and MEG: responses, noise, sequences, the ideal observer, files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.data.conform import SensorProtocol, conform
from phosphene.data.readers import read_recording
from phosphene.data.virtual.electric import (
    HEAD_HASH,
    VirtualHead,
    epochs_path,
    head_hash,
    plan_stream,
)
from phosphene.data.virtual.electric.background import (
    Background,
    alpha_spectrum,
    autocovariance,
    background_spectrum,
)
from phosphene.data.virtual.electric.observer import whitened_gram
from phosphene.data.virtual.electric.presets import STATE_SD
from phosphene.data.virtual.electric.sensors import OCCIPITAL_17
from phosphene.errors import InputError, UsageError

Array = np.ndarray[Any, Any]


@pytest.mark.slow
def test_the_subjects_are_those_that_were_frozen() -> None:
    assert head_hash() == HEAD_HASH


def test_signals_have_the_sizes_of_their_preset(head: VirtualHead, drives: Array) -> None:
    signal = head.respond(drives)
    assert signal.shape == (256, 63, 300)
    assert signal.std(axis=0).max() == pytest.approx(2e-6, rel=1e-3)
    mean, _ = head.coefficients(drives[:1])
    assert np.abs(head.in_window(mean[None])).max() == pytest.approx(6e-6, rel=1e-3)
    assert not signal[:, :, :50].any()  # nothing before the picture


def test_early_responses_are_occipital_and_later_ones_come_later(
    head: VirtualHead, drives: Array
) -> None:
    spread = head.respond(drives).std(axis=0)
    channel, sample = np.unravel_index(spread.argmax(), spread.shape)
    assert head.info.ch_names[channel] in OCCIPITAL_17
    assert 0.06 < head.info.times(300)[sample] < 0.11
    content = drives.copy()
    content[:, 0] = 0
    early = drives.copy()
    early[:, 1] = 0
    peaks = [
        head.info.times(300)[head.respond(part).std(axis=0).max(axis=0).argmax()]
        for part in (early, content)
    ]
    assert peaks[1] > peaks[0] + 0.05


def test_seventeen_channels_are_part_of_the_sixty_three(
    head: VirtualHead, drives: Array, like: Any
) -> None:
    whole, part = head.respond(drives[:3]), like("eeg-17").respond(drives[:3])
    np.testing.assert_allclose(part, whole[:, -17:], rtol=1e-4, atol=1e-10)


def test_a_moved_cap_sees_much_the_same(head: VirtualHead, drives: Array) -> None:
    still = head.respond(drives[:20])
    moved = head.respond(drives[:20], np.array([0.0, 0.05, 0.0]))
    assert 0.8 < np.corrcoef(still.ravel(), moved.ravel())[0, 1] < 0.9999


def test_noise_has_the_covariance_that_the_observer_knows() -> None:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(3, 3))
    spatial = mixing @ mixing.T
    alpha = 2 * np.outer([1.0, 0.5, 0.0], [1.0, 0.5, 0.0])
    noise = Background(spatial, alpha, np.zeros(3), 250.0).sample(600_000, rng)
    pieces = noise[:, : 600_000 // 20 * 20].reshape(3, -1, 20).astype(np.float64)
    slow = autocovariance(background_spectrum, 250.0, 20)
    rhythm = autocovariance(alpha_spectrum, 250.0, 20)
    for i, j in ((0, 0), (0, 1), (2, 2)):
        found = pieces[i].T @ pieces[j] / pieces.shape[1]
        expected = spatial[i, j] * slow + alpha[i, j] * rhythm
        assert np.abs(found - expected).max() < 0.06 * np.abs(np.diag(spatial)).max()


def test_blinks_are_frontal_and_of_their_size(head: VirtualHead) -> None:
    blink = dict(zip(head.info.ch_names, head.background().blink, strict=True))
    assert blink["Fp1"] == pytest.approx(100e-6, rel=1e-6)
    assert abs(blink["Oz"]) < 30e-6


def test_the_spectrum_falls_and_alpha_stands_out() -> None:
    assert background_spectrum(np.array(10.0)) == 1
    ratio = background_spectrum(np.array(5.0)) / background_spectrum(np.array(20.0))
    assert ratio == pytest.approx(4**1.5, rel=0.02)
    assert alpha_spectrum(np.array(10.0)) == 1 > 10 * alpha_spectrum(np.array(13.0))


def test_every_repetition_shows_every_picture_in_another_order() -> None:
    plan = plan_stream(30, 4, seed=1)
    assert plan["session"].nunique() == 4
    for repetition, part in plan.groupby("repetition"):
        assert sorted(part["stimulus"]) == list(range(30)), repetition
    assert plan["stimulus"].tolist() != plan_stream(30, 4, seed=2)["stimulus"].tolist()
    for wrong in ((0, 1, None), (5, 0, None), (5, 1, 6)):
        with pytest.raises(UsageError):
            plan_stream(wrong[0], wrong[1], seed=0, sessions=wrong[2])


def quiet(head: VirtualHead, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take noise, state and session effects away."""
    silent = Background(1e-30 * np.eye(63), 1e-30 * np.eye(63), np.zeros(63), 250.0)
    monkeypatch.setattr(VirtualHead, "background", lambda self, shift=None: silent)
    module = "phosphene.data.virtual.electric.experiment"
    monkeypatch.setattr(f"{module}.STATE_SD", 0.0)
    monkeypatch.setattr(f"{module}.SESSION_GAIN", 0.0)
    monkeypatch.setattr(f"{module}._shift", lambda *_: (np.zeros(3), 0.0))


def test_neighbouring_pictures_overlap_in_a_stream(
    head: VirtualHead, drives: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without noise an epoch is the sum of the responses to the pictures around it."""
    quiet(head, monkeypatch)
    simulation = head.simulate(drives[:8], repetitions=1, seed=3, sessions=1)
    mean, changes = head.coefficients(drives[:8])
    response = np.einsum("nkc,kt->nct", mean + changes, head.courses)  # from onset on
    order = simulation.trials["stimulus"].to_numpy()
    at = 3
    expected = np.zeros((63, 300))
    for other in range(8):
        start = 50 + 50 * (other - at)
        for sample in range(300):
            if 0 <= sample - start < response.shape[2]:
                expected[:, sample] += response[order[other], :, sample - start]
    np.testing.assert_allclose(simulation.epochs[at], expected, atol=1e-9)


def test_the_gram_of_the_observer_is_that_of_the_whole_covariance(drives: Array, like: Any) -> None:
    """Against the covariance of all sensors and samples at once, in a short window."""
    small = like("eeg-17")
    small.preset = small.preset.__class__(**{**small.preset.__dict__, "n_times": 74})
    signal = small.respond(drives[:5])
    found = whitened_gram(small, signal)
    background = small.background()
    slow = autocovariance(background_spectrum, 250.0, 24)
    rhythm = autocovariance(alpha_spectrum, 250.0, 24)
    whole = np.kron(background.spatial, slow) + np.kron(background.alpha, rhythm)
    states = small.respond(drives)[:, :, 50:].reshape(256, -1).astype(np.float64)
    whole += STATE_SD**2 / 256 * states.T @ states
    flat = signal[:, :, 50:].reshape(5, -1).astype(np.float64)
    np.testing.assert_allclose(found, flat @ np.linalg.solve(whole, flat.T), rtol=1e-4, atol=1e-8)


def test_sessions_and_subjects_are_reproducible_and_different(
    head: VirtualHead, drives: Array
) -> None:
    first, again, other = (
        head.simulate(drives[:4], repetitions=2, seed=seed) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.epochs, again.epochs)
    assert not np.allclose(first.epochs, other.epochs)
    assert first.trials["shift_mm"].nunique() == 2
    recording = first.recording()
    assert (recording.modality, recording.info.unit) == ("eeg", "V")
    with pytest.raises(InputError, match="drives of shape"):
        head.simulate(drives[:4, 0], repetitions=1)


def test_meg_has_its_own_units_and_pace(drives: Array, like: Any) -> None:
    meg = like("meg-271")
    simulation = meg.simulate(drives[:3], repetitions=1, seed=0)
    assert simulation.epochs.shape == (3, 271, 300)
    assert 1e-14 < simulation.epochs.std() < 1e-11
    assert np.diff(simulation.trials["onset"]).min() > 1.2
    assert (meg.info.unit, meg.info.n_chans) == ("T", 271)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["eeg", "meg"])
def test_a_written_experiment_reads_back(kind: str, tmp_path: Path, cli: Any) -> None:
    out = tmp_path / "out"
    more = ("--channels", 63) if kind == "eeg" else ()
    done = cli(f"simulate {kind}", "--scenes", 3, "--training-scenes", 2, "--repetitions", 2,
               "--output", out, *more).succeeds()  # fmt: skip
    path = epochs_path(out, "01", kind)
    assert done.out.strip().splitlines()[-1] == f"epochs: {path}"
    recording = read_recording(path, subject="01")
    assert recording.modality == kind
    assert recording.trials["split"].value_counts().to_dict() == {"test": 6, "train": 4}
    head = VirtualHead("01", "eeg-63" if kind == "eeg" else "meg-271")
    assert recording.info.ch_names == head.info.ch_names
    assert recording.info.reference == head.info.reference
    np.testing.assert_allclose(recording.info.positions, head.info.positions, atol=1e-6)
    truth = out / "truth"
    assert np.load(truth / "signal.npy").shape == (5, head.preset.n_sensors, 300)
    ideal = json.loads((truth / "ideal_observer.json").read_text())
    assert [row["repetitions"] for row in ideal["identification"]] == [1, 3, 10, 80]
    assert len(list((out / "stimuli").glob("*.png"))) == 5
    if kind == "eeg":
        wanted = SensorProtocol("eeg", VirtualHead("01", "eeg-17").info, 200)
        converted, said = conform(recording, wanted)
        np.testing.assert_array_equal(converted.data, recording.data[:, -17:, :200])
        assert said == ["46 of 63 channels dropped", "cropped to -0.2 to 0.596 s"]


def test_wrong_use_is_one_message(tmp_path: Path, cli: Any) -> None:
    cli("simulate eeg", "--channels", 32, "--output", tmp_path / "a").refuses(2, "eeg-32", "eeg-63")
    cli("simulate meg").refuses(2, "--output")
