"""The forms of THINGS-MEG, written in miniature, become the same dataset."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.filtering import BandPass
from phosphene.data.things.meg import prepare_things_meg
from phosphene.errors import InputError
from tests.data.things.ctf_writer import write_ctf

mne = pytest.importorskip("mne")

N_CHANS, RATE = 4, 200.0
CONCEPTS, EACH, TEST, REPETITIONS = 5, 2, 2, 3  # test concepts are two of the training's
TIMES = 280  # -.1 to 1.3 s
PLAIN: dict[str, Any] = {"whiten": False, "validation": 1}


def attributes() -> pd.DataFrame:
    """Two sessions of one run each, catch trials in between, rows in a random order."""
    rows = [("exp", f"images_meg/thing{k}/thing{k}_{n:02d}b.jpg") for k in range(CONCEPTS)
            for n in range(EACH)]  # fmt: skip
    rows += [("test", f"images_test_meg/thing{k}_13s.jpg") for k in range(TEST)] * REPETITIONS
    rows += [("catch", f"images_catch_meg/catch{k}.jpg") for k in range(2)]
    order = np.random.default_rng(0).permutation(len(rows))
    table = pd.DataFrame([rows[k] for k in order], columns=["trial_type", "image_path"])
    table["things_image_nr"] = [999999 if t == "catch" else k + 1
                                for k, t in enumerate(table["trial_type"])]  # fmt: skip
    half = len(table) // 2
    table["session_nr"] = [1] * half + [2] * (len(table) - half)
    return table.assign(run_nr=1, image_on=0.0, image_off=0.5)


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    """Responses (C, TIMES) of whole femtotesla per trial, zero before the onset."""
    rng = np.random.default_rng(1)
    shape = (len(attributes()), N_CHANS, TIMES)
    data = rng.integers(-400, 400, shape).astype(np.float64)
    data[:, :, :20] = 0
    return {"data": data}


def write_table(folder: Path, table: pd.DataFrame) -> None:
    (folder / "sourcedata").mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "sourcedata" / "sample_attributes_P1.csv", index=False)


def write_epochs(folder: Path, data: np.ndarray, table: pd.DataFrame, metadata: bool) -> None:
    info = mne.create_info([f"MLO{k + 11}-4408" for k in range(N_CHANS)], RATE, "mag")
    codes = table["things_image_nr"].to_numpy()
    events = np.stack([np.arange(len(table)) * 500, np.zeros(len(table)), codes], axis=1)
    epochs = mne.EpochsArray(
        data * 1e-15, info, events.astype(int), tmin=-0.1, verbose="error",
        metadata=table if metadata else None,
    )  # fmt: skip
    where = folder / "derivatives" / "preprocessed"
    where.mkdir(parents=True)
    epochs.save(where / "preprocessed_P1-epo.fif", verbose="error")


def write_runs(folder: Path, data: np.ndarray, table: pd.DataFrame, late: float = 0.15) -> None:
    step = 400  # samples from onset to onset
    for session, rows in table.groupby("session_nr"):
        signal = np.zeros((N_CHANS, step * (len(rows) + 2)))
        trigger = np.zeros(signal.shape[1])
        onsets = step * (1 + np.arange(len(rows)))
        for at, trial in zip(onsets, rows.index, strict=True):
            signal[:, at - 20 : at + 260] = data[trial] * 1e-15
            trigger[at : at + 5] = 64
        trigger[-50:-45] = 32
        run = folder / "sub-BIGMEG1" / f"ses-{session:02d}" / "meg"
        stem = f"sub-BIGMEG1_ses-{session:02d}_task-main_run-01"
        write_ctf(run / f"{stem}_meg.ds", signal, trigger, RATE)
        value = rows["things_image_nr"].replace(999999, 7).to_numpy()  # as in the published runs
        events = pd.DataFrame({"onset": onsets / RATE + late, "duration": 0.5, "value": value})
        events.to_csv(run / f"{stem}_events.tsv", sep="\t", index=False)


def write_pickles(folder: Path, data: np.ndarray, table: pd.DataFrame) -> None:
    stems = table["image_path"].str.rpartition("/")[2].str.rpartition(".")[0]

    def of(stem: str) -> np.ndarray:
        return data[stems.index[stems == stem]] * 1e-15

    train = [
        np.stack([of(f"thing{k}_{n:02d}b") for n in range(EACH)]) for k in range(TEST, CONCEPTS)
    ]
    test = [of(f"thing{k}_13s")[None] for k in range(TEST)]
    (folder / "sub-01").mkdir(parents=True)
    for name, content in (("training", train), ("zs_test", test)):
        held = {
            "meg_data": np.stack(content), "times": -0.1 + np.arange(TIMES) / RATE,
            "ch_names": [f"MLO{k + 11}-4408" for k in range(N_CHANS)],
        }  # fmt: skip
        path = folder / "sub-01" / f"preprocessed_meg_{name}.pkl"
        path.write_bytes(pickle.dumps(held))


def source(folder: Path, form: str, truth: dict[str, np.ndarray]) -> Path:
    table = attributes()
    write_table(folder, table)
    if form == "bids":
        write_runs(folder, truth["data"], table)
    elif form == "pickled":
        write_pickles(folder, truth["data"], table)
    else:
        write_epochs(folder, truth["data"], table, metadata=form == "epochs with metadata")
    return folder


@pytest.mark.parametrize("form", ["epochs with metadata", "epochs", "bids", "pickled"])
def test_every_form_becomes_the_same_dataset(
    form: str, tmp_path: Path, truth: dict[str, np.ndarray]
) -> None:
    _, said = prepare_things_meg(
        source(tmp_path / "in", form, truth), tmp_path / "out", band=BandPass(), **PLAIN
    )
    assert said[0] == f"form: {form.split()[0]}"
    recording = CanonicalDataset.open(tmp_path / "out").recording("01")
    assert (recording.modality, recording.info.unit) == ("meg", "fT")
    assert (recording.info.sfreq, recording.info.tmin, recording.info.n_chans) == (RATE, -0.1, 4)
    trials = recording.trials
    # Catch trials are gone, and training trials of the test's concepts too.
    expected = sorted(f"thing{k}_{n:02d}b" for k in range(TEST, CONCEPTS) for n in range(EACH))
    assert trials["stimulus_id"].tolist()[: len(expected)] == expected
    assert trials["split"].value_counts().to_dict() == {"test": 6, "train": 4, "validation": 2}
    table = attributes()
    stems = table["image_path"].str.rpartition("/")[2].str.rpartition(".")[0]
    for row, (name, repetition) in enumerate(
        zip(trials["stimulus_id"], trials["repetition"], strict=True)
    ):
        shown = np.flatnonzero(stems == name)[repetition - 1]
        np.testing.assert_allclose(recording.data[row], truth["data"][shown], atol=0.3)
    if form != "pickled":
        assert set(trials["session"]) == {"01", "02"}
    if form == "bids":
        assert "subject 01: the event tables are 150 ms late" in said
        assert "subject 01: 2 picture numbers of the event tables differ" in said
    if form in ("bids", "epochs"):
        assert any("4 training trials of test concepts left out" in line for line in said)


def test_whitening_is_fitted_on_the_training_trials_of_a_session(
    tmp_path: Path, truth: dict[str, np.ndarray]
) -> None:
    louder = truth["data"].copy()
    louder[(attributes()["trial_type"] == "test").to_numpy()] *= 3
    for name, data in (("a", truth["data"]), ("b", louder)):
        folder = source(tmp_path / name, "epochs", {"data": data})
        prepare_things_meg(folder, tmp_path / f"{name}-out", validation=0)
    one, other = (CanonicalDataset.open(tmp_path / f"{n}-out").recording("01") for n in "ab")
    assert one.info.unit == "whitened"
    test = (one.trials["split"] == "test").to_numpy()
    np.testing.assert_array_equal(one.data[~test], other.data[~test])
    np.testing.assert_allclose(
        3 * np.float32(one.data[test]), other.data[test], rtol=3e-3, atol=3e-3
    )


def test_the_official_epochs_are_taken_where_runs_lie_beside_them(
    tmp_path: Path, truth: dict[str, np.ndarray]
) -> None:
    folder = source(tmp_path / "in", "epochs", truth)
    write_runs(folder, truth["data"], attributes())
    for form in (None, "bids"):
        _, said = prepare_things_meg(
            folder, tmp_path / str(form), form=form, band=BandPass(), **PLAIN
        )
        assert said[0] == f"form: {form or 'epochs'}"
    with pytest.raises(InputError, match="holds epochs, bids"):
        prepare_things_meg(folder, tmp_path / "x", form="pickled")


def spoilt(folder: Path, how: str, truth: dict[str, np.ndarray]) -> None:
    table = attributes()
    if how == "rows":
        write_table(folder, table.iloc[:-1])
        write_epochs(folder, truth["data"], table, metadata=False)
    elif how == "order":
        write_table(folder, table.iloc[::-1])
        write_epochs(folder, truth["data"], table, metadata=False)
    elif how == "table":
        write_epochs(folder, truth["data"], table, metadata=False)
    elif how == "triggers":
        write_table(folder, table)
        write_runs(folder, truth["data"][:-1], table.iloc[:-1])
    elif how == "pictures":
        write_table(folder, table.assign(things_image_nr=table["things_image_nr"] + 100))
        big = pd.concat([table] * 4, ignore_index=True).assign(session_nr=1)
        write_table(folder, big.assign(things_image_nr=0))
        write_runs(folder, np.concatenate([truth["data"]] * 4), big)
    elif how == "pickle shape":
        write_table(folder, table[~table["image_path"].str.contains("thing4_01b")])
        write_pickles(folder, truth["data"], table)
    else:
        write_table(folder, table)


@pytest.mark.parametrize(
    ("how", "words"),
    [("rows", "its table"), ("order", "catch trials by their event"),
     ("table", "sample_attributes"), ("triggers", "triggers"),
     ("pictures", "name different pictures"),
     ("pickle shape", "concepts with"), ("nothing", "no THINGS-MEG")],
)  # fmt: skip
def test_mismatches_are_one_message(
    how: str, words: str, tmp_path: Path, truth: dict[str, np.ndarray], cli: Any
) -> None:
    (tmp_path / "in").mkdir()
    spoilt(tmp_path / "in", how, truth)
    outcome = cli("prepare things-meg", "--source", tmp_path / "in", "--output", tmp_path / "out",
                  "--no-whitening", "--validation", 1)  # fmt: skip
    outcome.refuses(3, words)


class Executes:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_malicious_pickle_is_refused_and_nothing_runs(
    tmp_path: Path, truth: dict[str, np.ndarray], cli: Any
) -> None:
    folder, mark = source(tmp_path / "in", "pickled", truth), tmp_path / "executed"
    path = folder / "sub-01" / "preprocessed_meg_training.pkl"
    path.write_bytes(pickle.dumps({"meg_data": Executes(mark), "ch_names": []}))
    outcome = cli("prepare things-meg", "--source", folder, "--output", tmp_path / "out")
    outcome.refuses(3, "nothing of it was executed")
    assert not mark.exists()


def test_the_command_says_what_it_did(
    tmp_path: Path, truth: dict[str, np.ndarray], cli: Any
) -> None:
    outcome = cli(
        "prepare things-meg", "--source", source(tmp_path / "in", "bids", truth), "--output",
        tmp_path / "out", "--subject", "BIGMEG1", "--validation", 1, "--lowpass", 40,
        "--highpass", 1, "--causal",
    ).succeeds()  # fmt: skip
    lines = outcome.out.splitlines()
    assert lines[0] == "form: bids"
    assert "subject 01: 2 runs cut at UPPT001, 1 to 40 Hz, causal" in lines
    assert lines[-1] == f"dataset: {tmp_path / 'out'}"
