"""EEG and MEG files of every kind, written by other libraries, come back as what was put in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import edfio
import eeglabio.raw
import mne
import numpy as np
import pandas as pd
import pybv
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.readers import read_recording
from phosphene.data.readers.described import SensorsFile
from phosphene.errors import InputError, UsageError
from phosphene.sensors import SensorInfo

NAMES = ["O1", "Oz", "O2", "Cz"]
RATE, WINDOW = 200.0, (-0.1, 0.3)
ONSETS = [1.0, 2.0, 3.5, 4.25, 6.0]
SHOWN = ["face", "house", "face", "cat", "house"]
Writer = Callable[[Path, np.ndarray, float], Path]


@pytest.fixture(scope="module")
def volts() -> np.ndarray:
    """Eight seconds, volts: noise of 20 microvolts, in steps an EDF of 16 bits can hold."""
    rng = np.random.default_rng(11)
    return (20e-6 * rng.normal(size=(len(NAMES), int(8 * RATE)))).astype(np.float64)


def raw_of(volts: np.ndarray, *, annotated: bool = True, kind: str = "eeg") -> Any:
    raw = mne.io.RawArray(volts, mne.create_info(NAMES, RATE, kind), verbose="error")
    if annotated:
        raw.set_annotations(mne.Annotations([0.2, *ONSETS], 0, ["BAD_blink", *SHOWN]))
    return raw


def write_fif(folder: Path, volts: np.ndarray) -> Path:
    raw_of(volts).save(folder / "a_raw.fif", verbose="error")
    return folder / "a_raw.fif"


def write_edf(folder: Path, volts: np.ndarray, suffix: str = "edf") -> Path:
    made = edfio.Edf if suffix == "edf" else edfio.Bdf
    signal = edfio.EdfSignal if suffix == "edf" else edfio.BdfSignal
    file = made(
        [
            signal(row * 1e6, RATE, label=f"EEG {name}", physical_dimension="uV",
                   physical_range=(-200, 200))
            for name, row in zip(NAMES, volts, strict=True)
        ],
        annotations=[
            edfio.EdfAnnotation(at, None, text) for at, text in zip(ONSETS, SHOWN, strict=True)
        ],
    )  # fmt: skip
    file.write(folder / f"a.{suffix}")
    return folder / f"a.{suffix}"


def write_bdf(folder: Path, volts: np.ndarray) -> Path:
    return write_edf(folder, volts, "bdf")


def write_vhdr(folder: Path, volts: np.ndarray) -> Path:
    events = [
        {"onset": int(at * RATE), "type": "Comment", "description": text, "duration": 1}
        for at, text in zip(ONSETS, SHOWN, strict=True)
    ]
    pybv.write_brainvision(
        data=volts, sfreq=RATE, ch_names=NAMES, fname_base="a", folder_out=str(folder),
        events=events, resolution=0.01, unit="µV",
    )  # fmt: skip
    return folder / "a.vhdr"


def write_set(folder: Path, volts: np.ndarray) -> Path:
    eeglabio.raw.export_set(
        str(folder / "a.set"), volts, RATE, NAMES,
        annotations=[SHOWN, np.array(ONSETS), np.zeros(len(ONSETS))],
    )  # fmt: skip
    return folder / "a.set"


def cut(volts: np.ndarray) -> np.ndarray:
    starts = [round((at + WINDOW[0]) * RATE) for at in ONSETS]
    return np.stack([volts[:, start : start + 81] for start in starts])


@pytest.mark.parametrize("write", [write_fif, write_edf, write_bdf, write_vhdr, write_set])
def test_continuous_files_are_cut_at_their_events(
    tmp_path: Path, volts: np.ndarray, write: Any
) -> None:
    path = write(tmp_path, volts)
    recording = read_recording(path, subject="01", window=WINDOW)
    assert recording.modality == "eeg"
    assert recording.info is not None
    assert [name.removeprefix("EEG ") for name in recording.info.ch_names] == NAMES
    assert (recording.info.sfreq, recording.info.unit) == (RATE, "V")
    assert recording.info.tmin == pytest.approx(-0.1)
    # 16 bits over 400 microvolts, or steps of .01 microvolt
    np.testing.assert_allclose(recording.data, cut(volts), atol=1e-8)
    texts = [text.removeprefix("Comment/") for text in recording.trials["stimulus_id"]]
    assert texts == SHOWN
    assert recording.trials["repetition"].tolist() == [1, 1, 2, 1, 2]


def test_a_stimulus_channel_serves_where_there_are_no_annotations(
    tmp_path: Path, volts: np.ndarray
) -> None:
    stim = np.zeros((1, volts.shape[1]))
    for number, at in enumerate(ONSETS, start=1):
        stim[0, round(at * RATE) : round(at * RATE) + 4] = number
    info = mne.create_info([*NAMES, "STI"], RATE, ["eeg"] * 4 + ["stim"])
    raw = mne.io.RawArray(np.vstack([volts, stim]), info, first_samp=500, verbose="error")
    raw.save(tmp_path / "b_raw.fif", verbose="error")
    recording = read_recording(tmp_path / "b_raw.fif", subject="01", window=WINDOW)
    np.testing.assert_allclose(recording.data, cut(volts), atol=1e-10)
    assert recording.trials["stimulus_id"].tolist() == ["1", "2", "3", "4", "5"]


def test_annotations_of_a_cut_file_keep_their_places(tmp_path: Path, volts: np.ndarray) -> None:
    raw = raw_of(volts)
    raw.crop(0.5, None)
    raw.save(tmp_path / "c_raw.fif", verbose="error")
    recording = read_recording(tmp_path / "c_raw.fif", subject="01", window=WINDOW)
    np.testing.assert_allclose(recording.data, cut(volts), atol=1e-10)


def test_a_bids_folder_takes_events_beside_the_file_and_sessions_in_order(
    tmp_path: Path, volts: np.ndarray
) -> None:
    for session in ("02", "01"):
        folder = tmp_path / "sub-01" / f"ses-{session}" / "eeg"
        folder.mkdir(parents=True)
        stem = f"sub-01_ses-{session}_task-x_run-01"
        raw_of(volts * int(session), annotated=False).save(
            folder / f"{stem}_eeg.fif", verbose="error"
        )
        pd.DataFrame({"onset": ONSETS, "duration": 0.1, "trial_type": SHOWN}).to_csv(
            folder / f"{stem}_events.tsv", sep="\t", index=False
        )
    recording = read_recording(tmp_path, subject="01", window=WINDOW)
    np.testing.assert_allclose(
        recording.data, np.concatenate([cut(volts), 2 * cut(volts)]), atol=1e-9
    )
    assert recording.trials["session"].tolist() == ["01"] * 5 + ["02"] * 5
    assert recording.trials["repetition"].tolist()[5:] == [3, 3, 4, 2, 4]


def epochs_of(data: np.ndarray, **more: Any) -> Any:
    info = mne.create_info(NAMES, RATE, more.pop("kind", "eeg"))
    events = np.c_[np.arange(len(data)) * 100, np.zeros(len(data)), [1, 2, 1, 3, 2]].astype(int)
    return mne.EpochsArray(
        data, info, events, tmin=-0.1, event_id={"face": 1, "house": 2, "cat": 3},
        verbose="error", **more,
    )  # fmt: skip


def test_epochs_round_trip_with_events_and_metadata(tmp_path: Path, volts: np.ndarray) -> None:
    metadata = pd.DataFrame({"stimulus_id": list("abcab"), "split": ["train"] * 4 + ["test"]})
    epochs_of(cut(volts)).save(tmp_path / "sub-01_ses-03_epo.fif", verbose="error")
    epochs_of(cut(volts), metadata=metadata).save(tmp_path / "m_epo.fif", verbose="error")
    plain = read_recording(tmp_path / "sub-01_ses-03_epo.fif", subject="01")
    np.testing.assert_allclose(plain.data, cut(volts), rtol=1e-6, atol=1e-12)
    assert plain.trials["event"].tolist() == SHOWN == plain.trials["stimulus_id"].tolist()
    assert set(plain.trials["session"]) == {"03"}
    named = read_recording(tmp_path / "m_epo.fif", subject="01")
    assert named.trials["stimulus_id"].tolist() == list("abcab")
    assert named.trials["split"].tolist() == metadata["split"].tolist()


def test_bad_channels_are_left_out_and_meg_is_told_from_eeg(
    tmp_path: Path, volts: np.ndarray
) -> None:
    mixed = epochs_of(cut(volts), kind=["eeg", "eeg", "mag", "mag"])
    mixed.info["bads"] = ["Oz"]
    mixed.save(tmp_path / "x_epo.fif", verbose="error")
    with pytest.raises(InputError, match="both EEG and MEG"):
        read_recording(tmp_path / "x_epo.fif", subject="01")
    eeg = read_recording(tmp_path / "x_epo.fif", subject="01", modality="eeg")
    meg = read_recording(tmp_path / "x_epo.fif", subject="01", modality="meg")
    assert eeg.info.ch_names == ("O1",)
    assert (meg.info.ch_names, meg.info.unit, meg.modality) == (("O2", "Cz"), "T", "meg")


def test_an_array_is_described_by_the_file_beside_it(tmp_path: Path) -> None:
    data = np.random.default_rng(0).normal(size=(5, 4, 30)).astype(np.float32)
    np.save(tmp_path / "x.npy", data)
    info = SensorInfo(tuple(NAMES), 250.0, -0.2, np.ones((4, 3)), "uV", "Cz")
    SensorsFile.of(info).save(tmp_path / "x.json")
    recording = read_recording(tmp_path / "x.npy", subject="01", modality="eeg")
    assert recording.info.hash == info.hash
    np.testing.assert_array_equal(recording.info.positions, info.positions)
    SensorsFile.of(info.select([0, 1])).save(tmp_path / "x.json")
    with pytest.raises(InputError, match="4 channels of data for 2"):
        read_recording(tmp_path / "x.npy", subject="01", modality="eeg")


def test_epochs_become_a_dataset_and_come_back(tmp_path: Path, volts: np.ndarray, cli: Any) -> None:
    """float16 cannot hold volts: they are kept in microvolts there."""
    epochs_of(cut(volts)).save(tmp_path / "x_epo.fif", verbose="error")
    words = ("--recordings", tmp_path / "x_epo.fif", "--subject", "01", "--modality", "eeg")
    for dtype, unit, factor in (("float16", "uV", 1e6), ("float32", "V", 1.0)):
        out = tmp_path / dtype
        cli("prepare arrays", *words, "--output", out, "--dtype", dtype).succeeds()
        recording = CanonicalDataset.open(out).recording("01")
        assert (recording.modality, recording.info.unit) == ("eeg", unit)
        assert recording.info.ch_names == tuple(NAMES)
        np.testing.assert_allclose(recording.data, cut(volts) * factor, rtol=1e-3, atol=1e-7)
    with pytest.raises(InputError, match="has no voxels"):
        CanonicalDataset.open(tmp_path / "float16").space("01")


def test_flat_and_nan_channels_are_named(tmp_path: Path, volts: np.ndarray) -> None:
    for value, words in ((7e-6, "flat in the channels Oz"), (np.nan, "Oz in 5 of 5 trials")):
        data = cut(volts)
        data[:, 1] = value
        epochs_of(data).save(tmp_path / "f_epo.fif", overwrite=True, verbose="error")
        with pytest.raises(InputError, match=words):
            read_recording(tmp_path / "f_epo.fif", subject="01")


def test_mistakes_are_one_message_each(tmp_path: Path, volts: np.ndarray) -> None:
    path = write_fif(tmp_path, volts)
    with pytest.raises(InputError, match="which window to cut"):
        read_recording(path, subject="01")
    with pytest.raises(InputError, match=r"1 of 5 trials .* reach beyond"):
        read_recording(path, subject="01", window=(-0.1, 2.5))
    with pytest.raises(UsageError, match="start before end"):
        read_recording(path, subject="01", window=(0.3, 0.1))
    with pytest.raises(InputError, match="no column onset"):
        read_recording(path, subject="01", window=WINDOW, trials=pd.DataFrame({"run": ["1"]}))
    with pytest.raises(UsageError, match="with voxels"):
        read_recording(path, subject="01", roi="mask.nii")
    with pytest.raises(InputError, match="no MEG channel"):
        read_recording(path, subject="01", modality="meg", window=WINDOW)
    raw_of(volts, annotated=False).save(tmp_path / "n_raw.fif", verbose="error")
    with pytest.raises(InputError, match="no event"):
        read_recording(tmp_path / "n_raw.fif", subject="01", window=WINDOW)
    with pytest.raises(InputError, match="there is no file"):
        read_recording(tmp_path / "absent_epo.fif", subject="01")


def test_epochs_are_known_by_what_a_file_holds_too(tmp_path: Path, volts: np.ndarray) -> None:
    made = epochs_of(cut(volts))
    made.save(tmp_path / "trials.fif", verbose="error")
    made.export(tmp_path / "trials.set", fmt="eeglab", verbose="error")
    for name in ("trials.fif", "trials.set"):
        recording = read_recording(tmp_path / name, subject="01")  # no window is needed
        np.testing.assert_allclose(recording.data, cut(volts), rtol=1e-5, atol=1e-11)
        assert recording.trials["stimulus_id"].tolist() == SHOWN
        assert recording.info.tmin == pytest.approx(-0.1)
    made.average().save(tmp_path / "mean-ave.fif", verbose="error")
    with pytest.raises(InputError, match="damaged or is not"):
        read_recording(tmp_path / "mean-ave.fif", subject="01", window=WINDOW)


def test_a_table_of_channels_beside_a_file_says_what_is_no_electrode_and_what_is_bad(
    tmp_path: Path, volts: np.ndarray
) -> None:
    folder = tmp_path / "sub-01" / "eeg"
    folder.mkdir(parents=True)
    write_vhdr(folder, volts)
    stem = "sub-01_task-x"
    raw = mne.io.read_raw(folder / "a.vhdr", verbose="error")
    raw.export(folder / f"{stem}_eeg.edf", fmt="edf", verbose="error")
    table = pd.DataFrame(
        {"name": [*NAMES, "Fp1"], "type": ["EEG", "EEG", "EEG", "VEOG", "EEG"],
         "status": ["good", "bad", "good", "good", "bad"]}
    )  # fmt: skip
    table.to_csv(folder / f"{stem}_channels.tsv", sep="\t", index=False)
    assert read_recording(tmp_path, subject="01", window=WINDOW).info.ch_names == ("O1", "O2")
    table.drop(columns="name").to_csv(folder / f"{stem}_channels.tsv", sep="\t", index=False)
    with pytest.raises(InputError, match="no column name"):
        read_recording(tmp_path, subject="01", window=WINDOW)


def test_a_name_that_a_file_has_twice_is_refused(tmp_path: Path, volts: np.ndarray) -> None:
    labels = ["O1", "Oz", "Oz", "Cz"]
    signals = [
        edfio.EdfSignal(row * 1e6, RATE, label=name, physical_dimension="uV",
                        physical_range=(-200, 200))
        for name, row in zip(labels, volts, strict=True)
    ]  # fmt: skip
    edfio.Edf(signals, annotations=[edfio.EdfAnnotation(2.0, None, "face")]).write(
        tmp_path / "twice.edf"
    )
    with pytest.raises(InputError, match="2 channels with the name Oz"):
        read_recording(tmp_path / "twice.edf", subject="01", window=WINDOW)


@pytest.mark.parametrize("wrong", ["n/a", "two", float("nan"), float("inf")])
def test_onsets_that_are_no_numbers_are_one_message(
    tmp_path: Path, volts: np.ndarray, wrong: object
) -> None:
    path = write_fif(tmp_path, volts)
    with pytest.raises(InputError, match=r"onset of 1 of 2 trials .* is no number"):
        read_recording(
            path, subject="01", window=WINDOW, trials=pd.DataFrame({"onset": ["1.5", wrong]})
        )


@pytest.mark.parametrize("name", ["d_epo.fif", "d.edf", "d.vhdr", "d.set", "d_raw.fif", "d.bdf"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 300, b"\x80\x04cos\nsystem\n", b"text\n" * 9])
def test_damaged_files_are_one_message(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"damaged or is not|holds no"):
        read_recording(tmp_path / name, subject="01", window=WINDOW)
