"""Bars planted in a small recording come back; nothing outside training is learned from."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from phosphene.encoders.brain.blood_response import blood_response
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.retinotopy import BarDecoder, BarRecording, parse_ranges
from phosphene.pipelines.retinotopy.bar_evaluation import shift_values
from phosphene.pipelines.retinotopy.clock import mirrored_clock, scheduled_clock
from phosphene.pipelines.retinotopy.frame_scores import (
    frame_correlations,
    pooled,
    score_frames,
)

Array = np.ndarray[Any, Any]
ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "examples" / "prf_bars.py"
REAL = Path(os.environ.get("PHOSPHENE_SHARED_DATA", ROOT.parent / "shared" / "data")) / "prf_bars"
HEIGHT, WIDTH, TR, N_VOXELS = 15, 20, 1.5, 60
N = 5 * 7 + 4 + 3 * WIDTH + 2 * HEIGHT
LAST = re.compile(r"r (-?\d\.\d{3}) ridge (-?\d\.\d{3}) clock (-?\d\.\d{3})")


def sweep(kind: str) -> Array:
    n = WIDTH if kind in "rl" else HEIGHT
    frames = np.zeros((n, HEIGHT, WIDTH), np.uint8)
    for step in range(n):
        place = step if kind in "rd" else n - 1 - step
        if kind in "rl":
            frames[step, :, max(0, place - 1) : place + 1] = 1
        else:
            frames[step, max(0, place - 1) : place + 1] = 1
    return frames


def write_recording(folder: Path, seed: int = 0) -> Path:
    """Four sweeps and one more to be decoded, with a fixation mark in the middle."""
    rng = np.random.default_rng(seed)
    blank = np.zeros((7, HEIGHT, WIDTH), np.uint8)
    video = np.concatenate([p for kind in "rdlur" for p in (blank, sweep(kind))] + [blank[:4]])
    video[:, 7, 10] = 1
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pixels = np.c_[x.ravel() - 9.5, 7.0 - y.ravel()] / 2
    centres = rng.uniform([-5, -4], [5, 4], size=(N_VOXELS, 2))
    fields = np.exp(-0.5 * ((pixels[:, None] - centres[None]) ** 2).sum(axis=2)) / (2 * np.pi) / 4
    drive = video.reshape(len(video), -1).astype(float) @ fields
    response = blood_response(TR, 4.2)
    bold = np.stack([np.convolve(d, response)[: len(video)] for d in drive.T], axis=1)
    bold = 2 * bold + 0.15 * rng.normal(size=bold.shape)
    bold[:, N_VOXELS // 2 :] = 0.2 * rng.normal(size=(len(video), N_VOXELS - N_VOXELS // 2))
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "bars.npz", bold=bold.astype(np.float32), video=video, tr=np.float32(TR))
    grid = pixels.reshape(HEIGHT, WIDTH, 2).transpose(1, 0, 2).reshape(-1, 2)
    pd.DataFrame(grid, columns=["x", "y"]).to_csv(
        folder / "grid_coordinates.tsv", sep="\t", index=False
    )
    return folder


def run_example(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> list[str]:
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_planted_bars_come_back_by_the_example(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_recording(tmp_path / "data")
    n = len(BarRecording.read(folder))
    words = ["--data", str(folder), "--train", "0:88", "--test", f"94:{n}", "--shifts", "2"]
    lines = run_example(monkeypatch, capsys, *words, "--output", str(tmp_path / "out"))
    found = LAST.fullmatch(lines[-1])
    assert found is not None
    assert float(found[1]) > 0.7 > float(found[2])
    assert any("8 directions equally likely, unknown onset" in line for line in lines)
    table = [line for line in lines if line.startswith(("receptive", "mean", "BOLD", "clock"))]
    assert len(table) == 6
    assert (tmp_path / "out" / "truth_and_decoded.mp4").stat().st_size > 500
    with np.load(tmp_path / "out" / "decoded.npz") as stored:
        assert stored["frames"].shape == (n - 94, HEIGHT, WIDTH)
        # The blank at the end is seen to be one.
        assert stored["frames"][-2:].mean() < 0.3 * stored["frames"].mean()


def test_nothing_outside_training_is_learned_from(tmp_path: Path) -> None:
    recording = BarRecording.read(write_recording(tmp_path))
    rows, rng = np.arange(60), np.random.default_rng(3)

    def learned(frames: Array, bold: Array) -> BarDecoder:
        return BarDecoder.fit(bold[rows], frames[rows], rows, recording.pixels, recording.tr)

    frames, bold = recording.frames.copy(), recording.bold.copy()
    first = learned(frames, bold)
    frames[60:], bold[60:] = rng.random(frames[60:].shape), 1e3
    second = learned(frames, bold)
    np.testing.assert_array_equal(first.voxels, second.voxels)
    for a, b in zip(first.kernels, second.kernels, strict=True):
        np.testing.assert_array_equal(a, b)
    train, test = np.arange(60), np.arange(70, 80)
    for clock in (scheduled_clock, mirrored_clock):
        np.testing.assert_array_equal(
            clock(recording.frames, recording.has_bar, train, test),
            clock(frames, recording.has_bar, train, test),
        )


def test_volumes_that_were_trained_on_are_never_read(tmp_path: Path) -> None:
    recording = BarRecording.read(write_recording(tmp_path))
    train = np.r_[np.arange(30), np.arange(60, 90)]
    assert recording.beside(np.arange(38, 52), train, 12.0).tolist() == list(range(30, 60))
    assert recording.beside(np.arange(38, 52), train[:30], 3.0).tolist() == list(range(36, 54))
    assert recording.beside(np.arange(5), train[30:], 30.0)[0] == 0


def test_the_mark_is_masked_and_constant_frames_score_zero(tmp_path: Path) -> None:
    recording = BarRecording.read(write_recording(tmp_path))
    assert np.flatnonzero(recording.mark).tolist() == [7 * WIDTH + 10]
    assert recording.has_bar.sum() == 3 * WIDTH + 2 * HEIGHT
    rows = np.arange(5, 20)
    true, has_bar = recording.frames[rows], recording.has_bar[rows]
    perfect = score_frames(true, None, true, has_bar, recording.mark)
    assert pooled([perfect]) == (pytest.approx(1), pytest.approx(1), pytest.approx(1))
    flat = score_frames(np.ones_like(true), None, true, has_bar, recording.mark)
    assert pooled([flat]) == (0, 0.5, 0.5)
    some = np.random.default_rng(0).random((3, 50))
    np.testing.assert_allclose(
        frame_correlations(some, some[:2]), np.corrcoef(some, some[:2])[:3, 3:], atol=1e-12
    )


def test_clocks_continue_what_is_regular() -> None:
    blank = np.zeros((6, HEIGHT, WIDTH))
    parts = [p for kind in "rlrl" for p in (blank, sweep(kind))]
    frames = np.concatenate(parts).reshape(-1, HEIGHT * WIDTH).astype(np.float32)
    has_bar = frames.any(axis=1)
    period = 2 * (6 + WIDTH)
    train, test = np.arange(period + 15), np.arange(period + 15, 2 * period)
    np.testing.assert_array_equal(mirrored_clock(frames, has_bar, train, test), frames[test])
    test = np.arange(period + 6, period + 6 + WIDTH)
    found = scheduled_clock(frames, has_bar, np.arange(period), test)
    either = (sweep("r").astype(float) + sweep("l")) / 2  # at the right time
    np.testing.assert_allclose(found, either.reshape(WIDTH, -1), atol=1e-6)


def test_shifts_are_at_least_twenty_seconds() -> None:
    shifts = shift_values(100, 1.3, 5)
    assert len(shifts) == 5
    assert min(shifts) == 16
    assert max(shifts) == 84
    assert shift_values(20, 1.3, 5) == []


def test_ranges() -> None:
    assert parse_ranges("0:3, 5:7", 10, "--train").tolist() == [0, 1, 2, 5, 6]
    assert parse_ranges(":2,8:", 10, "--train").tolist() == [0, 1, 8, 9]
    for wrong in ("3", "a:b", "5:5", "0:11", "0:5,4:6", "-3:2"):
        with pytest.raises(UsageError, match="--test"):
            parse_ranges(wrong, 10, "--test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tr": None}, "does not say its TR"),
        ({"tr": np.float32(0)}, "the TR in"),
        ({"video": np.zeros((5, 15, 20))}, "video of shape"),
        ({"bold": np.full((N, 4), np.nan)}, "not finite"),
        ({"video": np.arange(N * 300).reshape(N, 15, 20)}, "different values"),
    ],
)
def test_wrong_recordings_are_told(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = write_recording(tmp_path) / "bars.npz"
    with np.load(path) as stored:
        arrays = dict(stored) | change
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    with pytest.raises(InputError, match=message):
        BarRecording.read(tmp_path)


def test_a_missing_table_means_pixels(tmp_path: Path) -> None:
    folder = write_recording(tmp_path / "a")
    (folder / "grid_coordinates.tsv").unlink()
    pixels = BarRecording.read(folder).pixels
    assert np.ptp(pixels[:, 1]) == pytest.approx(10 * (HEIGHT - 1) / HEIGHT)
    shutil.rmtree(folder)
    with pytest.raises(InputError, match="there is no file"):
        BarRecording.read(folder)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_dir(), reason="the recording prf_bars is not there")
def test_real_bars_are_decoded_better_than_by_a_clock(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(REAL), "--train", "0:72", "--test", "80:100", "--shifts", "0"]
    lines = run_example(monkeypatch, capsys, *words)
    found = LAST.fullmatch(lines[-1])
    assert found is not None
    decoded, ridge, clock = map(float, found.groups())
    assert decoded > clock
    assert decoded > ridge
