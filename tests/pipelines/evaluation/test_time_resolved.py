"""When a picture is in the signal, windows find it; before, they find nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.prepare import write_subject
from phosphene.errors import UsageError
from phosphene.pipelines.evaluation.time_resolved import TimeResolved, TimeResolvedConfig
from phosphene.pipelines.evaluation.time_resolved import evaluate_times as run
from phosphene.pipelines.evaluation.time_windows import (
    TimeWindow,
    corrected_p,
    decode_window,
    time_windows,
    two_way_table,
    whitened,
)
from phosphene.pipelines.metrics.retrieval import brain_to_image_retrieval
from phosphene.sensors import SensorInfo
from phosphene.trials import complete_trials
from phosphene.types import Recording

RATE, TMIN, N_TIMES, N_CHANS = 100.0, -0.1, 60, 5
TRAIN, TEST, REPETITIONS = 40, 10, 2
FIRST, LAST = 25, 40  # samples, .15 to .3 s, that depend on the picture


def write_dataset(root: Path, *, signal: float = 4.0) -> Path:
    """Pictures of two by two squares; the squares drive the sensors from .15 to .3 s."""
    rng = np.random.default_rng(0)
    squares = rng.uniform(0, 255, (TRAIN + TEST, 2, 2)).round()
    pictures = squares.repeat(4, axis=1).repeat(4, axis=2)[..., None].astype(np.uint8)
    shown = np.repeat(np.arange(TRAIN + TEST), REPETITIONS)
    data = rng.normal(size=(len(shown), N_CHANS, N_TIMES))
    weights = np.random.default_rng(1).normal(size=(4, N_CHANS))
    drive = (squares.reshape(-1, 4) / 128 - 1) @ weights
    data[:, :, FIRST:LAST] += signal * drive[shown][:, :, None]
    table = pd.DataFrame({
        "stimulus_id": [f"p{k:02d}" for k in shown],
        "split": ["test" if k >= TRAIN else "train" for k in shown],
    })  # fmt: skip
    info = SensorInfo(tuple(f"E{k}" for k in range(N_CHANS)), RATE, TMIN, unit="whitened")
    names = [f"p{k:02d}" for k in range(len(pictures))]
    recording = Recording(
        data.astype(np.float32), "eeg", "01", complete_trials(table, len(shown)), info=info
    )
    write_subject(root, recording, (names, pictures), name="planted")
    return root


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("planted") / "d")


def test_windows_slide_and_grow_to_the_last_sample() -> None:
    windows = time_windows(-0.1, 100.0, 47, width=0.1, hop=0.05)
    sliding = [(w.first, w.last) for w in windows if w.kind == "sliding"]
    growing = [(w.first, w.last) for w in windows if w.kind == "growing"]
    assert sliding == [(0, 10), (5, 15), (10, 20), (15, 25), (20, 30), (25, 35), (30, 40), (35, 45)]
    assert growing == [(0, k) for k in (5, 10, 15, 20, 25, 30, 35, 40, 45, 47)]
    assert (windows[0].start, windows[0].end) == (-0.1, 0.0)
    for wrong in ({"width": 1.0}, {"width": 0.001}, {"hop": 0.001}):
        with pytest.raises(UsageError, match="--window and --hop"):
            time_windows(-0.1, 100.0, 47, **wrong)


def test_the_picture_is_found_when_it_is_there(planted: Path, tmp_path: Path, cli: Any) -> None:
    outcome = cli("evaluate", "--time-resolved", "--dataset", planted, "--target", "pixels:2x1",
                  "--output", tmp_path / "out").succeeds()  # fmt: skip
    assert outcome.out.splitlines()[-1] == f"evaluation: {tmp_path / 'out' / 'time_resolved.json'}"
    result = TimeResolved.load(tmp_path / "out" / "time_resolved.json")
    assert (result.dataset, result.averaging) == ("planted", "training by picture, test stimulus")
    scores = {(one.kind, one.first_sample): one for one in map(Placed, result.scores)}
    inside = scores["sliding", 25].row
    assert inside.top_1 > 0.7
    assert inside.two_way_low > 0.8
    assert inside.chance_top_1 == pytest.approx(0.1)
    for first in (0, 5, 10, 15, 45, 50):  # ends by .15 s, or starts after .3 s
        assert scores["sliding", first].row.top_1 < 0.35
    growing = [one for one in result.scores if one.kind == "growing"]
    assert [one.end for one in growing][-1] == pytest.approx(0.5)
    assert max(one.two_way for one in growing if one.end <= 0.15) < 0.75
    assert all((one.two_way_p < 0.05) == (one.end > 0.15) for one in growing)
    assert "above chance from 0.2 s on" in outcome.out
    assert min(one.two_way for one in growing if one.end >= 0.3) > 0.9
    table = pd.read_csv(tmp_path / "out" / "time_resolved.tsv", sep="\t")
    assert len(table) == len(result.scores)
    assert table["top_1"].tolist() == pytest.approx([one.top_1 for one in result.scores], rel=1e-5)
    drawing = (tmp_path / "out" / "time_resolved.svg").read_text()
    assert drawing.startswith("<?xml")
    assert "growing windows" in drawing


class Placed:
    def __init__(self, row: Any) -> None:
        self.row, self.kind = row, row.kind
        self.first_sample = round((row.start - TMIN) * RATE)


def test_what_comes_later_changes_nothing_before(planted: Path) -> None:
    opened = CanonicalDataset.open(planted)
    train, test = (opened.recording("01", splits=[split]) for split in ("train", "test"))
    changed = replace(test, data=test.data.copy())
    changed.data[:, :, 40:] += 100  # type: ignore[index]
    targets = torch.randn(len(train), 4, generator=torch.Generator().manual_seed(0))
    window = TimeWindow("growing", -0.1, 0.3, 0, 40)
    one, other = (
        decode_window(window, *pair)
        for pair in ((train, targets, part) for part in whitened(train, test, changed)[1:])
    )
    assert torch.equal(one.main, other.main)
    longer = decode_window(TimeWindow("growing", -0.1, 0.31, 0, 41), train, targets, changed)
    assert not torch.allclose(longer.main, other.main)


def test_the_models_generator_renders_what_a_window_says(
    planted: Path, model: Path, tmp_path: Path, cli: Any
) -> None:
    cli("evaluate", "--time-resolved", "--dataset", planted, "--model", model, "--render", 6,
        "--window", 0.1, "--hop", 0.1, "--output", tmp_path / "out").succeeds()  # fmt: skip
    result = TimeResolved.load(tmp_path / "out" / "time_resolved.json")
    placed = {(one.kind, one.first_sample): one.row for one in map(Placed, result.scores)}
    before, inside = placed["sliding", 0], placed["sliding", 30]
    assert inside.n_rendered == 6
    assert inside.pixel_correlation > before.pixel_correlation + 0.3
    assert inside.pixel_two_way > 0.8
    files = sorted(
        path.name for path in (tmp_path / "out" / "sub-01").glob("sliding-0.200-0.300/*")
    )
    assert files == [f"{k:03d}_p{TRAIN + k}.png" for k in range(6)]
    assert "rendered pictures" in (tmp_path / "out" / "time_resolved.svg").read_text()


def test_two_way_is_that_of_the_ranks_and_its_p_value_is_corrected() -> None:
    rng = np.random.default_rng(5)
    pictures = np.repeat(np.arange(12), 3)
    truth = rng.normal(size=(12, 6)).repeat(3, axis=0)
    noisy = [truth + sd * rng.normal(size=truth.shape) for sd in (1.0, 50.0)]
    tables = np.stack([two_way_table(part, truth, pictures) for part in noisy])
    for part, table in zip(noisy, tables, strict=True):
        ranks = brain_to_image_retrieval(part, truth, pictures=pictures)
        assert np.diag(table).mean() == pytest.approx(ranks.top_1_among(2).mean())
        np.testing.assert_allclose(table.mean(), 0.5)  # every candidate is as often preferred
    strong, weak = corrected_p(tables)
    assert strong < 0.01 < 0.05 < weak
    alone = corrected_p(tables[1:])
    many = corrected_p(
        np.concatenate([rng.permuted(tables[1:], axis=2) for _ in range(9)] + [tables[1:]])
    )
    assert many[-1] >= alone[0]


def test_without_signal_it_is_chance(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "d", signal=0.0)
    config = TimeResolvedConfig(
        dataset=str(root), target="pixels:2x1", output=str(tmp_path / "out"), average="none"
    )
    _, result = run(config)
    assert abs(np.mean([one.top_1 for one in result.scores]) - 0.1) < 0.07
    assert abs(np.mean([one.two_way for one in result.scores]) - 0.5) < 0.1


def test_flags_that_do_not_go_together_are_refused(planted: Path, tmp_path: Path, cli: Any) -> None:
    base = ("evaluate", "--time-resolved", "--dataset", planted, "--output", tmp_path / "out")
    cli(*base).refuses(2, "nothing says what to read")
    cli(*base, "--target", "pixels:2x1", "--render", 3).refuses(2, "without a model")
    cli(*base, "--target", "pixels:2x1", "--suite", "nsd").refuses(2, "--suite together with")
    cli(*base, "--target", "pixels:2x1", "--window", 9).refuses(2, "windows of 9 s")
    cli("evaluate", "--window", 0.1, "--output", tmp_path / "out").refuses(
        2, "--window without --time-resolved"
    )
    assert not (tmp_path / "out").exists()
