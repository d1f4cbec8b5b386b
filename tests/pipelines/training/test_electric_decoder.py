"""`phosphene train` on EEG through the command line, on tiny parts, and pictures from epochs."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from phosphene.cli.app import app, reconstruct_app
from phosphene.data.pictures import Pictures
from phosphene.data.prepare import write_subject
from phosphene.data.sensor_preprocessing import SensorPreprocessor
from phosphene.encoders.brain.electric.heads import ElectricHeads
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.errors import InputError
from phosphene.pipelines.model_folder import load_model, save_model
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.sensors import SensorInfo
from phosphene.storage import save_array
from phosphene.trials import complete_trials
from phosphene.types import Recording

N, CHANS, TIMES = 40, 6, 40
NAMES = ("Oz", "O1", "O2", "POz", "P3", "P4")
INFO = SensorInfo(NAMES, 100.0, -0.1, unit="V", reference="average")


def epochs(
    pictures: Pictures, subject: str, rows: np.ndarray, splits: np.ndarray, seed: int = 0
) -> Recording:
    """Samples after the picture are a noisy linear map of it, the same for all subjects."""
    flat = pictures.reshape(len(pictures), -1) / 255.0
    maps = np.random.default_rng(5).standard_normal((flat.shape[1], CHANS, TIMES - 10))
    rng = np.random.default_rng([int(subject), seed])
    data = rng.standard_normal((len(rows), CHANS, TIMES))
    data[:, :, 10:] += np.einsum("nd,dct->nct", (flat - flat.mean(0))[rows], maps) / 3
    table = pd.DataFrame({"stimulus_id": [f"{row:03d}" for row in rows], "split": splits})
    table = complete_trials(table, len(rows))
    return Recording((1e-6 * data).astype(np.float32), "eeg", subject, table, info=INFO)


@pytest.fixture(scope="module")
def dataset(tiny_pictures: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("eeg")
    save_array(root / "stimuli.npy", tiny_pictures)
    rows = np.tile(np.arange(N), 3)
    splits = np.select([rows >= N - 4, rows >= N - 12], ["test", "validation"], "train")
    for subject in ("01", "02"):
        recording = epochs(tiny_pictures, subject, rows, splits)
        write_subject(root / "data", recording, root / "stimuli.npy", dtype="float16")
    return root / "data"


def arguments(dataset: Path, parts: Path, output: Path, *more: str) -> list[str]:
    sets = {
        "token_rank": 4, "latent_rank": 4, "prior": "identity", "strengths": "[0.5,1.0]",
        "guidance_scales": "[1.0]", "validation_pictures": 4, "network.components": 6,
        "network.latent_components": 4, "network.width": 8, "network.bin": 2,
        "network.training.engine.epochs": 3, "network.training.engine.batch_size": 32,
        "network.window": "[0,0.3]",
    }  # fmt: skip
    return [
        "train", *more, "--dataset", str(dataset), "--output", str(output),
        "--target", str(parts / "target"), "--set", f"generator={parts / 'generator'}",
        *(text for key, value in sets.items() for text in ("--set", f"{key}={value}")),
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["ridge", "flat_mlp"])
def model(
    request: pytest.FixtureRequest,
    dataset: Path,
    tiny_parts_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    output = tmp_path_factory.mktemp("model") / request.param
    line = arguments(dataset, tiny_parts_folder, output)
    result = CliRunner().invoke(app, [*line, "--encoder", request.param])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"model: {output}"
    return output


def test_one_folder_holds_sensors_encoder_and_everything_else(model: Path) -> None:
    parts = load_model(str(model))
    assert isinstance(parts.preprocessor, SensorPreprocessor)
    assert parts.preprocessor.protocol.info.ch_names == NAMES
    kinds = {"ridge": RidgeEncoder, "flat_mlp": ElectricHeads}
    assert isinstance(parts.encoder, kinds[model.name])
    assert parts.protocol.n_train_trials == {"01": 84, "02": 84}
    assert "036" not in parts.protocol.train_stimulus_ids
    assert "whitened" in parts.protocol.normalisation
    assert not list(model.glob(".*"))
    model_files = {path.name for path in model.iterdir()}
    assert "encoder-training" not in model_files


def write_epochs(folder: Path, recording: Recording, *, sfreq: float = 100.0) -> Path:
    mne = pytest.importorskip("mne")
    extra = ["EOG" if name == "extra" else name for name in ("extra", *reversed(NAMES))]
    made = mne.create_info(extra, sfreq, ["eog", *["eeg"] * CHANS])
    made["description"] = "reference: average"
    data = np.concatenate([recording.data[:, :1], recording.data[:, ::-1]], axis=1)
    if sfreq != 100.0:
        data = np.repeat(data, round(sfreq / 100), axis=2)
    names = recording.trials["stimulus_id"].tolist()
    codes = {name: number for number, name in enumerate(sorted(set(names)), start=1)}
    events = np.array([[1000 * row, 0, codes[name]] for row, name in enumerate(names)])
    made = mne.EpochsArray(
        data.astype(np.float64), made, events, tmin=-0.1, event_id=codes, baseline=None,
        verbose="error",
    )  # fmt: skip
    path = folder / "new_epo.fif"
    made.save(path, verbose="error")
    return path


def test_epochs_of_mne_become_pictures_whatever_their_order_and_rate(
    model: Path, tiny_pictures: Pictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = np.tile(np.arange(N - 4, N), 2)
    given = epochs(tiny_pictures, "01", rows, np.full(len(rows), "test"), seed=1)
    path = write_epochs(tmp_path, given)
    line = [
        "--subject", "01", "--input", str(path), "--model", str(model), "--average", "stimulus",
        "--output", str(tmp_path / "out"), "--steps", "2",
    ]  # fmt: skip
    with caplog.at_level(logging.WARNING):
        result = CliRunner().invoke(reconstruct_app, line)
    assert result.exit_code == 0, result.output
    assert "channels put in the model's order" in caplog.text
    log = (tmp_path / "out" / "log.txt").read_text(encoding="utf-8")
    assert "8 trials x 6 channels" in log
    assert "input converted: channels put in the model's order" in log
    assert len(list((tmp_path / "out").rglob("*_image.png"))) == 4
    same = Reconstructor.from_pretrained(model, device="cpu")
    result_here = same.reconstruct(given, subject="01", average="stimulus", num_inference_steps=2)
    stored = np.load(tmp_path / "out" / "embeddings.npz")
    for name, values in result_here.embeddings.items():
        np.testing.assert_allclose(stored[name], values, atol=2e-2, err_msg=name)
    assert ("retrieval" in stored.files) == (model.name != "ridge")


def test_what_cannot_be_converted_is_one_error(
    model: Path, tiny_pictures: Pictures, tmp_path: Path
) -> None:
    rows = np.arange(4)
    given = epochs(tiny_pictures, "01", rows, np.full(4, "test"))
    reconstructor = Reconstructor.from_pretrained(model, device="cpu")
    short = replace(given, data=given.data[:, :, :20])
    with pytest.raises(InputError, match="window of the model"):
        reconstructor.reconstruct(short, subject="01")
    fewer = replace(given, data=given.data[:, :5], info=INFO.select(range(5)))
    with pytest.raises(InputError, match="no channel P4"):
        reconstructor.reconstruct(fewer, subject="01")
    whitened = replace(given, info=replace(INFO, unit="whitened"))
    with pytest.raises(InputError, match="whitened"):
        reconstructor.reconstruct(whitened, subject="01")
    with pytest.raises(InputError, match="fMRI"):
        reconstructor.parts.preprocessor.space("01")


def test_a_stranger_goes_through_a_network_and_not_through_ridge(
    model: Path, tiny_pictures: Pictures, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    given = epochs(tiny_pictures, "07", np.arange(4), np.full(4, "test"))
    path = write_epochs(tmp_path, given)
    reconstructor = Reconstructor.from_pretrained(model, device="cpu")
    recording = reconstructor.read(path, subject="07")
    assert "unknown to the model" in caplog.text
    if model.name == "ridge":
        with pytest.raises(Exception, match="sub-07"):
            reconstructor.embed(recording)
    else:
        assert len(reconstructor.embed(recording)) == 4


def test_an_encoder_alone_is_trained_too(
    dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    line = arguments(dataset, tiny_parts_folder, tmp_path / "model", "encoder")
    result = CliRunner().invoke(app, [*line, "--subject", "02", "--encoder", "flat_mlp"])
    assert result.exit_code == 0, result.output
    parts = load_model(str(tmp_path / "model"))
    assert (parts.preprocessor.subjects, parts.prior, parts.branch) == (["02"], None, None)
    assert list(parts.encoder.targets) == ["tokens"]


def test_features_of_a_second_network_are_decoded_beside_the_target(
    dataset: Path, tiny_parts_folder: Path, tiny_pictures: Pictures, tmp_path: Path
) -> None:
    """One map for both; training pictures lend, and identification by either is reported."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra metrics")
    from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget

    features = EfficientNetTarget(size=32)
    features.standardise(tiny_pictures[: N - 12])
    features.save_pretrained(tmp_path / "features")
    line = arguments(dataset, tiny_parts_folder, tmp_path / "model")
    more = {"features": tmp_path / "features", "blurs": "[1.0,4.0]", "draws": 1,
            "strengths": "[1.0]"}  # fmt: skip
    line += [text for key, value in more.items() for text in ("--set", f"{key}={value}")]
    result = CliRunner().invoke(app, [*line, "--encoder", "canonical"])
    assert result.exit_code == 0, result.output
    parts = load_model(str(tmp_path / "model"))
    assert list(parts.encoder.targets) == ["tokens", "features"]
    assert parts.features is None
    assert parts.features_target is not None
    scores = {row["blur"]: row for row in parts.settings["validation"]}
    assert set(scores) == {0.0, 1.0, 4.0}
    assert all(row["by_features"] is not None for row in scores.values())
    if parts.detail is not None:
        assert parts.detail.inputs == {}
        assert len(parts.detail.get_buffer("keys")) == N - 12  # no validation or test picture lends
    rows = np.tile(np.arange(N - 4, N), 2)
    given = epochs(tiny_pictures, "01", rows, np.full(len(rows), "test"), seed=1)
    path = write_epochs(tmp_path, given)
    save_array(tmp_path / "shown.npy", tiny_pictures[N - 4 :])
    line = [
        "--subject", "01", "--input", str(path), "--model", str(tmp_path / "model"),
        "--average", "stimulus", "--truth", str(tmp_path / "shown.npy"),
        "--output", str(tmp_path / "out"), "--steps", "2",
    ]  # fmt: skip
    result = CliRunner().invoke(reconstruct_app, line)
    assert result.exit_code == 0, result.output
    stored = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    found = {metric["id"]: metric for metric in stored["metrics"]}
    for name in ("efficientnet-lite0/strict-v1", "two-way-tokens/strict-v1"):
        assert 0 <= found[name]["value"] <= 1
        assert found[name]["permuted"]["p_value"] > 0
    assert "features" in np.load(tmp_path / "out" / "embeddings.npz").files


def test_a_model_may_borrow_its_target_and_generator(
    dataset: Path, model: Path, tmp_path: Path, tiny_pictures: Pictures
) -> None:
    """The same decoder without the parts that another model has; a changed one is refused."""
    whole = load_model(str(model))
    base = tmp_path / "base"
    shutil.copytree(model, base)
    small = save_model(
        tmp_path / "small",
        replace(whole, borrowed={"target": str(base), "generator": str(base)}),
        {},
    )
    assert not (small / "target").exists()
    assert not (small / "generator").exists()
    given = epochs(tiny_pictures, "01", np.arange(4), np.full(4, "test"))
    first, second = (
        Reconstructor.from_pretrained(folder, device="cpu")
        .reconstruct(given, subject="01", num_inference_steps=2)
        .images
        for folder in (model, small)
    )
    np.testing.assert_array_equal(first, second)
    weights = next((base / "generator").rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="changed or damaged"):
        load_model(str(small))
    index = json.loads((base / "model_index.json").read_text(encoding="utf-8"))
    name = weights.relative_to(base).as_posix()
    index["files"][name] = "0" * 64
    (base / "model_index.json").write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(InputError, match="with which the model that borrows it was trained"):
        load_model(str(small))
