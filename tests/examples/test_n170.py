"""Two planted classes are told apart within a subject; the last line is what others read."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import mne
import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "n170.py"


def write_subject(folder: Path, label: str, seed: int, n: int = 80) -> None:
    """Faces have a deflection at 170 ms, the other way round from front to back."""
    rng = np.random.default_rng(seed)
    times = -0.1 + np.arange(225) / 250
    kind = rng.permutation(np.arange(n) % 2)
    wave = np.exp(-0.5 * ((times - 0.17) / 0.02) ** 2) * np.array([1, -1, -1, 1])[:, None]
    noise = np.cumsum(rng.normal(size=(n, 4, 225)), axis=2) * 0.5 + rng.normal(size=(n, 4, 225))
    data = (noise + 6 * kind[:, None, None] * wave) * 1e-6
    events = np.c_[np.arange(n) * 1000, np.zeros(n), kind + 1].astype(int)
    info = mne.create_info(["TP9", "AF7", "AF8", "TP10"], 250.0, "eeg")
    epochs = mne.EpochsArray(
        data, info, events, tmin=-0.1, event_id={"house": 1, "face": 2}, verbose="error"
    )
    (folder / f"sub-{label}" / "eeg").mkdir(parents=True)
    path = folder / f"sub-{label}" / "eeg" / f"sub-{label}_task-n170_epo.fif"
    epochs.save(path, verbose="error")


@pytest.mark.slow
def test_planted_classes_are_found_within_and_across_subjects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_subject(tmp_path, "01", 1)
    write_subject(tmp_path, "02", 2)
    words = ["--data", str(tmp_path), "--train", "01", "--test", "01", "02", "--folds", "4"]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = capsys.readouterr().out.splitlines()
    assert "sub-01 (contiguous folds, 80 trials" in lines[0]
    assert "sub-02 (a new subject, 80 trials" in lines[1]
    found = re.fullmatch(r"auc (\d\.\d{3}) baseline (\d\.\d{3})", lines[-1])
    assert found is not None
    assert float(found[1]) > 0.9
