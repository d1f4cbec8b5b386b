"""Miniature files of every form of THINGS-EEG2 become the same canonical dataset."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.covariance import ledoit_wolf
from sklearn.preprocessing import StandardScaler

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.readers.restricted_pickle import load_plain_pickle
from phosphene.data.things import Whitening, choose_concepts, prepare_things_eeg2, recognise
from phosphene.data.things.stimulus_table import read_stimulus_table
from phosphene.data.things.validation import ConceptSplit
from phosphene.data.things.whitening import shrunk_covariances
from phosphene.data.virtual.electric.sensors import OCCIPITAL_17, THINGS_63
from phosphene.errors import InputError, UsageError

CONCEPTS, EACH, TEST, N_TRAIN_REPS, N_TEST_REPS, N_TIMES = 6, 2, 3, 4, 8, 250
REAL = Path(__file__).parents[3].parent / "shared" / "data" / "things_eeg2"


def table() -> dict[str, list[str]]:
    names = [f"{k + 1:05d}_thing{k}" for k in range(CONCEPTS)]
    return {
        "train_img_concepts": [name for name in names for _ in range(EACH)],
        "train_img_files": [f"thing{k}_{n:02d}b.jpg" for k in range(CONCEPTS) for n in range(EACH)],
        "test_img_concepts": [f"{k + 1:05d}_other{k}" for k in range(TEST)],
        "test_img_files": [f"other{k}_01s.jpg" for k in range(TEST)],
    }


@pytest.fixture(scope="module")
def truth() -> dict[str, np.ndarray]:
    """Whole numbers over 64, which float16 holds: (pictures, repetitions, 63, 250)."""
    rng = np.random.default_rng(4)
    shapes = {"train": (CONCEPTS * EACH, N_TRAIN_REPS), "test": (TEST, N_TEST_REPS)}
    return {
        split: rng.integers(-200, 200, (*shape, 63, N_TIMES)).astype(np.float32) / 64
        for split, shape in shapes.items()
    }


def times(n: int = 300, rate: float = 250.0) -> np.ndarray:
    return -0.2 + np.arange(n) / rate


def write_nice(folder: Path, truth: dict[str, np.ndarray], *, stim: bool = False) -> None:
    """Bare pickles of protocol 4, float64, 300 times for 250 samples."""
    for split, name in (("train", "training"), ("test", "test")):
        content = pickled(truth[split].astype(np.float64), times(), stim=stim)
        path = folder / "sub-01" / f"preprocessed_eeg_{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(content, protocol=4))


def write_official(folder: Path, truth: dict[str, np.ndarray]) -> None:
    """Dictionaries that numpy.save pickled, with triggers as a 64th channel."""
    for split, name in (("train", "training"), ("test", "test")):
        content = pickled(truth[split].astype(np.float64), times()[50:], stim=True)
        path = folder / "sub-01" / f"preprocessed_eeg_{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, content)


def pickled(data: np.ndarray, axis: np.ndarray, *, stim: bool) -> dict[str, Any]:
    names = list(THINGS_63)
    if stim:
        data = np.concatenate([data, np.full_like(data[:, :, :1], 7.0)], axis=2)
        names.append("stim")
    return {"preprocessed_eeg_data": data, "ch_names": names, "times": axis}


def write_ubp(folder: Path, truth: dict[str, np.ndarray]) -> None:
    """Tensors in float16, rows in an order of their own that the paths of pictures tell."""
    rng = np.random.default_rng(1)
    for split, key in (("train", "train"), ("test", "test")):
        order = rng.permutation(len(truth[split]))
        concepts, files = table()[f"{key}_img_concepts"], table()[f"{key}_img_files"]
        content = {
            "eeg": torch.from_numpy(truth[split][order]).half(),
            "label": torch.from_numpy(order),
            "img": np.array([f"images/{concepts[k]}/{files[k]}" for k in order]),
            "text": [f"This picture is {concepts[k]}" for k in order],
            "session": np.tile(["1", "2"], (len(order), truth[split].shape[1] // 2)),
            "ch_names": list(THINGS_63),
            "times": times(),
        }
        (folder / "sub-01").mkdir(parents=True, exist_ok=True)
        torch.save(content, folder / "sub-01" / f"{split}.pt")


def write_neurobridge(folder: Path, truth: dict[str, np.ndarray]) -> None:
    (folder / "sub-01").mkdir(parents=True)
    train = truth["train"].reshape(CONCEPTS, EACH, *truth["train"].shape[1:])
    np.save(folder / "sub-01" / "train.npy", train)
    np.save(folder / "sub-01" / "test.npy", truth["test"][:, None])
    (folder / "sub-01" / "info.json").write_text('{"sfreq": 250}')


def write_raw(folder: Path, truth: dict[str, np.ndarray], sessions: int = 2) -> None:
    """Continuous microvolt-sized signals at 250 Hz that are zero before every picture."""
    for session in range(sessions):
        for split, name in (("train", "training"), ("test", "test")):
            data = truth[split]
            mine = range(session, data.shape[1], sessions)
            shown = [(picture, rep) for rep in mine for picture in range(len(data))]
            continuous = np.zeros((64, 400 * len(shown) + 800))
            for place, (picture, rep) in enumerate(shown):
                at = 200 + 400 * place
                continuous[:63, at : at + 250] = data[picture, rep] * 1e-6
                continuous[63, at] = picture + 1
            continuous[63, -100] = 99999  # a catch picture
            content = {
                "raw_eeg_data": continuous, "ch_names": [*THINGS_63, "stim"],
                "ch_types": ["eeg"] * 63 + ["stim"], "sfreq": 250, "highpass": 0.01,
                "lowpass": 100.0,
            }  # fmt: skip
            path = folder / "sub-01" / f"ses-{session + 1:02d}" / f"raw_eeg_{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, content)


WRITERS: dict[str, Callable[..., None]] = {
    "nice": write_nice, "official": write_official, "ubp": write_ubp,
    "neurobridge": write_neurobridge, "raw": write_raw,
}  # fmt: skip


def source(folder: Path, form: str, truth: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    np.save(folder / "image_metadata.npy", table())
    WRITERS[form](folder / "data", truth)
    return folder


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_every_form_becomes_the_same_dataset(
    form: str, tmp_path: Path, truth: dict[str, np.ndarray]
) -> None:
    options = {"whiten": False} if form == "raw" else {}
    dataset, found = prepare_things_eeg2(
        source(tmp_path / "in", form, truth), tmp_path / "out", validation=2, **options
    )
    assert found == form
    recording = CanonicalDataset.open(tmp_path / "out").recording("01")
    assert recording.info.ch_names == THINGS_63
    assert (recording.info.sfreq, recording.info.tmin) == (250.0, 0.0)
    assert recording.info.unit == ("uV" if form == "raw" else "whitened")
    n = CONCEPTS * EACH * N_TRAIN_REPS
    train = recording.data[:n].reshape(truth["train"].shape)
    test = recording.data[n:].reshape(truth["test"].shape)
    order = slice(None)
    if form == "raw":  # repetitions come in the order of sessions
        order = np.r_[0:4:2, 1:4:2]
        expected_test = truth["test"][:, np.r_[0:8:2, 1:8:2]]
    else:
        expected_test = truth["test"]
    np.testing.assert_allclose(train, truth["train"][:, order], atol=1e-3)
    np.testing.assert_allclose(test, expected_test, atol=1e-3)
    trials = recording.trials
    assert trials["stimulus_id"].iloc[0] == "thing0_00b"
    assert trials["concept"].iloc[-1] == "other2"
    assert dataset.file.licence == "CC BY 4.0"
    if form == "raw":
        assert trials["session"].iloc[:4].tolist() == ["01", "01", "02", "02"]


def test_validation_shares_no_concept_with_training(
    tmp_path: Path, truth: dict[str, np.ndarray]
) -> None:
    folder = source(tmp_path / "in", "nice", truth)
    prepare_things_eeg2(folder, tmp_path / "out", validation=2, seed=3)
    trials = CanonicalDataset.open(tmp_path / "out").recording("01").trials
    concepts = {split: set(part["concept"]) for split, part in trials.groupby("split")}
    assert len(concepts["validation"]) == 2
    assert not concepts["validation"] & concepts["train"]
    stored = ConceptSplit.load(tmp_path / "out" / "validation_concepts.json")
    assert set(stored.concepts) == concepts["validation"]
    assert stored.n_concepts == CONCEPTS


def test_the_draw_of_concepts_depends_on_names_alone() -> None:
    names = [f"c{k}" for k in range(50)]
    first = choose_concepts(names, 10, seed=1)
    assert first.concepts == choose_concepts(names[::-1] * 2, 10, seed=1).concepts
    assert first.concepts != choose_concepts(names, 10, seed=2).concepts
    with pytest.raises(UsageError, match="50 validation concepts"):
        choose_concepts(names, 50)


def test_averages_and_the_17_channels(tmp_path: Path, truth: dict[str, np.ndarray]) -> None:
    folder = source(tmp_path / "in", "nice", truth)
    prepare_things_eeg2(folder, tmp_path / "out", validation=0, average=True, channels="17")
    recording = CanonicalDataset.open(tmp_path / "out").recording("01")
    assert recording.info.ch_names == OCCIPITAL_17
    rows = [THINGS_63.index(name) for name in OCCIPITAL_17]
    expected = np.concatenate([truth["train"].mean(1), truth["test"].mean(1)])[:, rows]
    np.testing.assert_allclose(recording.data, expected, atol=2e-3)
    assert recording.trials["repetition"].tolist() == [4] * 12 + [8] * 3


def test_a_row_of_triggers_is_no_electrode(tmp_path: Path, truth: dict[str, np.ndarray]) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    np.save(folder / "image_metadata.npy", table())
    write_nice(folder / "data", truth, stim=True)
    prepare_things_eeg2(folder, tmp_path / "out", validation=0)
    assert CanonicalDataset.open(tmp_path / "out").recording("01").info.n_chans == 63


def test_the_official_100_hz_form_keeps_its_own_time_axis(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "in" / "sub-07").mkdir(parents=True)
    np.save(tmp_path / "in" / "image_metadata.npy", table())
    for name, n, reps in (("training", 12, 4), ("test", 3, 8)):
        content = {
            "preprocessed_eeg_data": rng.normal(size=(n, reps, 17, 100)),
            "ch_names": list(OCCIPITAL_17), "times": np.round(times(100, 100.0), 2),
        }  # fmt: skip
        np.save(tmp_path / "in" / "sub-07" / f"preprocessed_eeg_{name}.npy", content)
    prepare_things_eeg2(tmp_path / "in", tmp_path / "out", validation=1)
    info = CanonicalDataset.open(tmp_path / "out").recording("07").info
    assert (info.sfreq, info.tmin, info.n_chans) == (100.0, -0.2, 17)


def test_whitening_agrees_with_scikit_learn_and_makes_noise_white() -> None:
    rng = np.random.default_rng(2)
    mixing = rng.normal(size=(5, 5))
    trials = np.einsum("cd,ndt->nct", mixing, rng.normal(size=(40, 5, 60)))
    for trial, ours in zip(trials[:4], shrunk_covariances(trials[:4]), strict=True):
        scaler = StandardScaler()
        shrunk = ledoit_wolf(scaler.fit_transform(trial.T))[0]
        expected = scaler.scale_[:, None] * shrunk * scaler.scale_
        np.testing.assert_allclose(ours, expected, rtol=1e-9)
    mild = np.eye(5) + 0.3 * rng.normal(size=(5, 5))
    long = np.einsum("cd,ndt->nct", mild, rng.normal(size=(6, 5, 5000)))
    fitted = Whitening.fit(long, np.arange(6) // 2)
    white = fitted.apply(long).transpose(1, 0, 2).reshape(5, -1)
    assert np.abs(np.cov(white) - np.eye(5)).max() < 0.1
    np.testing.assert_allclose(fitted.matrix, fitted.matrix.T, atol=1e-12)


def test_whitening_learns_from_training_trials_alone(
    tmp_path: Path, truth: dict[str, np.ndarray]
) -> None:
    louder = {"train": truth["train"], "test": truth["test"] * 3}
    for name, content in (("a", truth), ("b", louder)):
        prepare_things_eeg2(
            source(tmp_path / name, "raw", content), tmp_path / f"{name}-out", validation=0
        )
    one, other = (CanonicalDataset.open(tmp_path / f"{n}-out").recording("01") for n in "ab")
    n = CONCEPTS * EACH * N_TRAIN_REPS
    np.testing.assert_array_equal(one.data[:n], other.data[:n])
    np.testing.assert_allclose(
        3 * np.asarray(one.data[n:], np.float32), other.data[n:], rtol=2e-3, atol=1e-3
    )


class Executes:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("wrap", ["bare", "numpy", "torch", "inside"])
def test_a_malicious_pickle_is_refused_and_nothing_runs(
    wrap: str, tmp_path: Path, truth: dict[str, np.ndarray], cli: Any
) -> None:
    mark = tmp_path / "executed"
    form = "ubp" if wrap == "torch" else "nice"
    folder = source(tmp_path / "in", form, truth)
    bad: Any = Executes(mark)
    if wrap == "inside":
        bad = {"preprocessed_eeg_data": np.zeros(3), "ch_names": [bad], "times": times()}
    if wrap == "torch":
        torch.save({"eeg": bad}, folder / "data" / "sub-01" / "train.pt")
    elif wrap == "numpy":
        np.save(folder / "data" / "sub-01" / "preprocessed_eeg_training.npy", bad)
    else:
        path = folder / "data" / "sub-01" / "preprocessed_eeg_training.npy"
        path.write_bytes(pickle.dumps(bad))
    words = ("--source", folder, "--output", tmp_path / "out", "--validation", 1)
    outcome = cli("prepare things-eeg2", *words)
    outcome.refuses(3, "nothing of it was executed")
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cos\nsystem\n(S'touch x'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\ndtype\n(I5\ntS'b'\ntR.",
        b"cnumpy\ndtype\n(S'O8,O8'\ntR.",
        b"c_codecs\nencode\n(Vx\nVrot13\ntR.",
        b"P1\n.",
        b"\x80\x04\x95",
        b"garbage",
        b"",
    ],
)
def test_other_programs_are_refused(program: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(program)
    with pytest.raises(InputError):
        load_plain_pickle(tmp_path / "x.npy")


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back_from_every_protocol(protocol: int, tmp_path: Path) -> None:
    content = {
        "a": np.arange(6.0).reshape(2, 3), "f": np.asfortranarray(np.eye(3, 4, dtype="f4")),
        "names": ["x", "y"], "n": np.float64(2.5), "text": np.array(["p", "qq"]),
        "objects": np.array([{"k": 1}, None], dtype=object), "flag": True,
    }  # fmt: skip
    (tmp_path / "x.npy").write_bytes(pickle.dumps(content, protocol=protocol))
    found = load_plain_pickle(tmp_path / "x.npy")
    for key in ("a", "f", "text"):
        np.testing.assert_array_equal(found[key], content[key])
    assert found["objects"][0] == {"k": 1}
    assert (found["names"], found["n"], found["flag"]) == (["x", "y"], 2.5, True)


def test_mismatches_are_one_message(tmp_path: Path, truth: dict[str, np.ndarray]) -> None:
    fewer = {"train": truth["train"][:-1], "test": truth["test"]}
    folder = source(tmp_path / "in", "nice", fewer)
    with pytest.raises(InputError, match=r"\(11, 4, 63, 250\)"):
        prepare_things_eeg2(folder, tmp_path / "out", validation=0)
    (folder / "image_metadata.npy").unlink()
    with pytest.raises(InputError, match=r"no image_metadata\.npy"):
        prepare_things_eeg2(folder, tmp_path / "out", validation=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no form"):
        recognise(tmp_path / "empty")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real stimulus table is not here")
def test_the_real_stimulus_table_is_read() -> None:
    train, test = read_stimulus_table(REAL)
    assert (len(train), len(set(train.concepts)), len(test)) == (16540, 1654, 200)
    assert (train.ids[0], train.concepts[0]) == ("aardvark_01b", "aardvark")
