"""THINGS-EEG1 in miniature: BrainVision in BIDS, onsets in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pybv
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.things.eeg1 import prepare_things_eeg1
from phosphene.data.virtual.electric.sensors import OCCIPITAL_17

pytest.importorskip("mne")

CHANNELS = ("Fz", *OCCIPITAL_17)
RATE, STEP = 1000, 1500  # hertz, samples from picture to picture
SHOWN = [f"thing{k}/thing{k}_{n:02d}s.jpg" for k in range(4) for n in range(2)]
TESTED = ["thing0/thing0_13s.jpg", "thing9/thing9_13s.jpg"] * 2


def events(unit: str = "ms") -> pd.DataFrame:
    files = [*SHOWN, *TESTED, "thing3/thing3_00s.jpg"]
    onset = STEP * (1 + np.arange(len(files)))
    return pd.DataFrame(
        {
            "onset": onset if unit == "ms" else onset / 1000,
            "duration": 50 if unit == "ms" else 0.05,
            "stimname": [file.rpartition("/")[2] for file in files],
            "isteststim": [0] * len(SHOWN) + [1] * len(TESTED) + [0],
            "istarget": [0] * (len(files) - 1) + [1],
        }
    )


def responses() -> np.ndarray:
    """Microvolts (n, C, 1000) after each onset; slow, so that 250 Hz can hold them."""
    rng = np.random.default_rng(3)
    phase = rng.uniform(0, 6, (len(events()), len(CHANNELS), 1))
    return np.round(20 * np.sin(2 * np.pi * 3 * np.arange(1000) / RATE + phase))


def write(folder: Path, unit: str = "ms", table: pd.DataFrame | None = None) -> Path:
    table = events(unit) if table is None else table
    signal = np.zeros((len(CHANNELS), STEP * (len(events()) + 3)))
    for trial, response in enumerate(responses()):
        at = STEP * (1 + trial)
        signal[:, at : at + 1000] = response
    where = folder / "sub-01" / "eeg"
    where.mkdir(parents=True)
    pybv.write_brainvision(
        data=signal * 1e-6, sfreq=RATE, ch_names=list(CHANNELS), fname_base="sub-01_task-rsvp_eeg",
        folder_out=where, resolution=0.1, unit="µV", fmt="binary_float32",
    )  # fmt: skip
    table.to_csv(where / "sub-01_task-rsvp_events.tsv", sep="\t", index=False)
    return folder


@pytest.mark.parametrize("unit", ["ms", "s"])
def test_trials_are_cut_at_their_onsets_whatever_the_unit(unit: str, tmp_path: Path) -> None:
    _, said = prepare_things_eeg1(
        write(tmp_path / "in", unit), tmp_path / "out", validation=1, whiten=False
    )
    recording = CanonicalDataset.open(tmp_path / "out").recording("01")
    assert recording.info.ch_names == CHANNELS
    assert (recording.info.sfreq, recording.info.tmin, recording.info.unit) == (250.0, 0.0, "uV")
    trials = recording.trials
    # The target is dropped, and the training pictures of thing0, which the test shows.
    assert trials["split"].value_counts().to_dict() == {"train": 4, "test": 4, "validation": 2}
    assert "thing0" not in set(trials.loc[trials["split"] != "test", "concept"])
    assert "subject 01: 1 target trials dropped, no filter" in said
    assert "subject 01: 2 training trials of test concepts left out" in said
    names = [Path(name).stem for name in events()["stimname"]]
    for row, (name, repetition) in enumerate(
        zip(trials["stimulus_id"], trials["repetition"], strict=True)
    ):
        which = [k for k, known in enumerate(names[:-1]) if known == name][repetition - 1]
        slow = responses()[which][:, ::4]
        np.testing.assert_allclose(recording.data[row][:, 10:-10], slow[:, 10:-10], atol=0.6)


def test_whitened_averages_of_17_channels(tmp_path: Path, cli: Any) -> None:
    folder = write(tmp_path / "in")
    outcome = cli("prepare things-eeg1", "--source", folder, "--output", tmp_path / "out",
                  "--channels", "17", "--average", "--validation", 0,
                  "--lowpass", 40, "--causal").succeeds()  # fmt: skip
    assert outcome.out.splitlines()[-1] == f"dataset: {tmp_path / 'out'}"
    recording = CanonicalDataset.open(tmp_path / "out").recording("01")
    assert recording.info.ch_names == OCCIPITAL_17
    assert recording.info.unit == "whitened"
    assert recording.trials["repetition"].tolist() == [1] * 6 + [2, 2]


def test_wrong_tables_and_channels_are_one_message(tmp_path: Path, cli: Any) -> None:
    table = events()
    wrong = {
        "late": table.assign(onset=table["onset"] + 10_000_000),
        "columns": table.drop(columns="isteststim"),
        "empty": table.iloc[:0],
        "text": table.assign(onset="soon"),
    }
    words = {"late": "beyond the recording", "columns": "isteststim", "empty": "no event",
             "text": "no numbers"}  # fmt: skip
    for name, content in wrong.items():
        folder = write(tmp_path / name, table=content)
        outcome = cli("prepare things-eeg1", "--source", folder, "--output", tmp_path / "out")
        outcome.refuses(3, words[name])
    (tmp_path / "nothing").mkdir()
    outcome = cli(
        "prepare things-eeg1", "--source", tmp_path / "nothing", "--output", tmp_path / "o"
    )
    outcome.refuses(3, "no recording of THINGS-EEG1")
