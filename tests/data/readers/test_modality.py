"""What kind of recording an input says it is, from its header or its name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phosphene.data.readers.described import SensorsFile
from phosphene.data.readers.modality import input_modality
from phosphene.errors import InputError


@pytest.mark.parametrize(("kind", "expected"), [("eeg", "eeg"), ("mag", "meg"), ("grad", "meg")])
def test_epochs_are_told_by_their_channels(kind: str, expected: str, tmp_path: Path) -> None:
    mne = pytest.importorskip("mne")
    info = mne.create_info(["a1", "a2"], 100.0, kind)
    events = np.array([[0, 0, 1], [100, 0, 1]])
    epochs = mne.EpochsArray(np.ones((2, 2, 30)) * 1e-6, info, events, verbose="error")
    path = tmp_path / "x_epo.fif"
    epochs.save(path, verbose="error")
    assert input_modality(path, "01") == expected


@pytest.mark.parametrize(("unit", "expected"), [("uV", "eeg"), ("fT", "meg"), ("whitened", "eeg")])
def test_described_arrays_are_told_by_their_unit(unit: str, expected: str, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 1, 5)))
    SensorsFile(ch_names=["Oz"], sfreq=50.0, unit=unit).save(tmp_path / "x.json")
    assert input_modality(tmp_path / "x.npy", "01") == expected


def test_volumes_and_arrays_that_nothing_describes_are_fmri(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 5)))
    for name in ("x.npy", "scan.nii.gz", "x.npz:data"):
        assert input_modality(tmp_path / name, "01") == "fmri"
    assert input_modality(tmp_path, "01") == "fmri"


def test_folders_in_bids_form_and_raw_files_are_told_by_their_names(tmp_path: Path) -> None:
    place = tmp_path / "sub-01" / "meg"
    place.mkdir(parents=True)
    (place / "sub-01_task-x_meg.fif").touch()
    assert input_modality(tmp_path, "01") == "meg"
    assert input_modality("anything.vhdr", "01") == "eeg"


def test_a_damaged_header_is_one_error(tmp_path: Path) -> None:
    pytest.importorskip("mne")
    (tmp_path / "x_epo.fif").write_bytes(b"no fif at all")
    with pytest.raises(InputError):
        input_modality(tmp_path / "x_epo.fif", "01")
