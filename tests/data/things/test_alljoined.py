"""Alljoined-1.6M in miniature: recordings of a headset, and ENIGMA's arrays of them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import edfio
import numpy as np
import pandas as pd
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.things.alljoined import FLEX_32, prepare_alljoined
from phosphene.errors import InputError

pytest.importorskip("mne")

RATE = 256
TRAIN, TEST = (
    [("stim_train", 100 + k) for k in range(8)],
    [("stim_test", 900 + k) for k in range(2)],
)
SPELT = tuple("Afz" if name == "AFz" else name for name in FLEX_32)


def metadata() -> pd.DataFrame:
    rows = [(split, f"/images/{number}.jpg", f"thing{number // 2}") for split, number in shown()]
    table = pd.DataFrame(rows, columns=["partition", "image_path", "category_name"])
    return table.assign(subject="sub-08", dropped=False)


def shown() -> list[tuple[str, int]]:
    return [*TRAIN, *TEST, *TEST]


def flat() -> np.ndarray:
    """Whole numbers over 64 (n, 32, 250)."""
    rng = np.random.default_rng(0)
    return rng.integers(-200, 200, (len(shown()), 32, 250)) / 64


def write_raw(folder: Path) -> Path:
    """Two blocks; the header says another subject, and channels come in another order."""
    subject = folder / "raw_eeg" / "sub-08"
    for block, items in enumerate((shown()[:6], shown()[6:])):
        n = RATE * (2 * len(items) + 3)
        order = np.random.default_rng(block).permutation(32)
        signals = []
        for channel in order:
            wave = np.zeros(n)
            for place in range(len(items)):
                at = RATE * (2 + 2 * place)
                wave[at : at + RATE] = (channel + 1) * (place + 1 + 10 * block)
            signals.append(
                edfio.EdfSignal(wave, RATE, label=SPELT[channel], physical_dimension="uV",
                                physical_range=(-1000, 1000))
            )  # fmt: skip
        notes = [
            edfio.EdfAnnotation(2.0 * (place + 1), None, f"{split}, {number}, 1, {place}")
            for place, (split, number) in enumerate(items)
        ]
        notes.append(edfio.EdfAnnotation(0.5, None, "rest"))
        where = subject / "session_01" / f"block_{block + 1:02d}"
        where.mkdir(parents=True)
        edfio.Edf(signals, annotations=notes, patient=edfio.Patient(name="Subject_19")).write(
            where / "recording.edf"
        )
    metadata().to_parquet(subject / "experiment_metadata_categories.parquet")
    return folder


def write_flat(folder: Path) -> Path:
    subject = folder / "sub-08"
    subject.mkdir(parents=True)
    table, data = metadata(), flat()
    table.loc[3, "dropped"] = True
    table.to_parquet(subject / "experiment_metadata.parquet")
    for split, name in (("stim_train", "training"), ("stim_test", "test")):
        rows = np.flatnonzero((table["partition"] == split) & ~table["dropped"])
        content = {"preprocessed_eeg_data": data[rows], "ch_names": list(SPELT)}
        np.save(subject / f"preprocessed_eeg_{name}_flat.npy", content)  # type: ignore[arg-type]
    return folder


def test_recordings_are_cut_at_their_annotations(tmp_path: Path) -> None:
    dataset, said = prepare_alljoined(
        write_raw(tmp_path / "in"), tmp_path / "out", whiten=False, validation=1
    )
    assert said[0] == "form: raw"
    assert dataset.file.licence == "CC BY-NC 4.0"
    recording = CanonicalDataset.open(tmp_path / "out").recording("08")
    assert recording.info.ch_names == FLEX_32  # AFz, in one order whatever the block's
    assert (recording.info.sfreq, recording.info.tmin, recording.info.unit) == (250.0, 0.0, "uV")
    trials = recording.trials
    assert trials["split"].value_counts().to_dict() == {"train": 6, "validation": 2, "test": 4}
    held = trials.loc[trials["split"] == "validation", "concept"]
    assert len(set(held)) == 1  # a concept with all its pictures
    names = [str(number) for _, number in shown()]
    for row, (name, repetition) in enumerate(
        zip(trials["stimulus_id"], trials["repetition"], strict=True)
    ):
        which = [k for k, known in enumerate(names) if known == name][repetition - 1]
        size = which + 1 if which < 6 else which - 6 + 1 + 10
        expected = size * (1 + np.arange(32))[:, None]
        middle = recording.data[row][:, 20:-20]
        np.testing.assert_allclose(
            middle, np.broadcast_to(expected, middle.shape), atol=0.05, rtol=2e-3
        )


def test_flat_arrays_follow_their_table(tmp_path: Path) -> None:
    _, said = prepare_alljoined(write_flat(tmp_path / "in"), tmp_path / "out", validation=0)
    assert said == ["form: flat"]
    recording = CanonicalDataset.open(tmp_path / "out").recording("08")
    assert recording.info.unit == "whitened"
    kept = [k for k in range(len(shown())) if k != 3]  # the table dropped one trial
    expected = {str(shown()[k][1]): flat()[k] for k in kept[:-2]}
    for row in np.flatnonzero(recording.trials["repetition"].to_numpy() == 1):
        name = recording.trials["stimulus_id"].iloc[row]
        np.testing.assert_allclose(recording.data[row], expected[name], atol=1e-3)


def test_17_channels_are_those_the_headset_has(tmp_path: Path, cli: Any) -> None:
    outcome = cli("prepare alljoined", "--source", write_flat(tmp_path / "in"), "--output",
                  tmp_path / "out", "--channels", "17", "--subject", "08",
                  "--validation", 0).succeeds()  # fmt: skip
    assert outcome.out.splitlines()[-1] == f"dataset: {tmp_path / 'out'}"
    info = CanonicalDataset.open(tmp_path / "out").recording("08").info
    assert info.n_chans == 17


def test_what_does_not_fit_is_one_message(tmp_path: Path) -> None:
    folder = write_flat(tmp_path / "in")
    path = folder / "sub-08" / "preprocessed_eeg_training_flat.npy"
    np.save(path, {"preprocessed_eeg_data": flat()[:3], "ch_names": list(SPELT)})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a row per trial"):
        prepare_alljoined(folder, tmp_path / "out")
    np.save(path, {"preprocessed_eeg_data": flat()[:7, :4], "ch_names": list(SPELT[:4])})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no channel F5, F1"):
        prepare_alljoined(folder, tmp_path / "out")
    (folder / "sub-08" / "experiment_metadata.parquet").unlink()
    with pytest.raises(InputError, match="experiment_metadata"):
        prepare_alljoined(folder, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no recording of Alljoined"):
        prepare_alljoined(tmp_path / "empty", tmp_path / "out")


class Executes:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_malicious_pickle_is_refused_and_nothing_runs(tmp_path: Path, cli: Any) -> None:
    folder, mark = write_flat(tmp_path / "in"), tmp_path / "executed"
    path = folder / "sub-08" / "preprocessed_eeg_test_flat.npy"
    path.write_bytes(pickle.dumps({"preprocessed_eeg_data": Executes(mark)}))
    outcome = cli("prepare alljoined", "--source", folder, "--output", tmp_path / "out")
    outcome.refuses(3, "nothing of it was executed")
    assert not mark.exists()
