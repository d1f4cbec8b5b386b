"""The small model of virtual EEG: its size, what it borrows, and which epochs it takes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from phosphene.checkpoints.registry import default_model, known_models, model_folder
from phosphene.cli.app import app, reconstruct_app
from phosphene.pipelines.model_folder import load_model
from phosphene.pipelines.reading import conformed
from phosphene.trials import complete_trials
from phosphene.types import Recording


def test_it_is_small_and_borrows_the_rest() -> None:
    name = default_model("eeg")
    assert name == "virtual-eeg"
    assert known_models()[name].megabytes <= 5
    folder = model_folder(name)
    assert not (folder / "generator").exists()
    parts = load_model(name)
    roles = ("target", "generator", "features_target")
    assert parts.borrowed == dict.fromkeys(roles, "virtual-fmri")
    assert parts.preprocessor.subjects == ["01"]


def test_epochs_in_volts_of_any_order_become_embeddings() -> None:
    parts = load_model("virtual-eeg")
    protocol = parts.preprocessor.protocol  # type: ignore[union-attr]
    shape = (3, protocol.info.n_chans, protocol.n_times)
    data = 1e-5 * np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    info = replace(protocol.info, unit="V")
    given = Recording(data, "eeg", "01", complete_trials(None, 3), info=info)
    order = np.random.default_rng(1).permutation(shape[1])
    turned = replace(given, data=data[:, order], info=info.select(order.tolist()))
    first, second = (
        parts.encoder.encode(parts.preprocessor.transform(conformed(parts.preprocessor, one)))
        for one in (given, turned)
    )
    np.testing.assert_allclose(first.main, second.main, atol=1e-3)
    assert first.main.shape == (3, *parts.target.spec.shape)
    assert first.features is not None
    assert parts.features_target is not None
    assert first.features.shape == (3, *parts.features_target.spec.shape)


@pytest.mark.slow
def test_a_simulated_recording_becomes_pictures_that_are_judged(tmp_path: Path) -> None:
    """The public commands from start to end; six pictures are too few to be told apart."""
    simulated = tmp_path / "test"
    line = ["simulate", "eeg", "--subject", "01", "--channels", "17", "--scenes", "6",
            "--repetitions", "4", "--seed", "31", "--output", str(simulated)]  # fmt: skip
    done = CliRunner().invoke(app, line)
    assert done.exit_code == 0, done.output
    line = [
        "--subject", "01", "--average", "stimulus", "--output", str(tmp_path / "out"),
        "--input", str(simulated / "sub-01" / "eeg" / "sub-01_task-scenes_epo.fif"),
        "--truth", str(simulated / "stimuli"), "--steps", "2",
    ]  # fmt: skip
    done = CliRunner().invoke(reconstruct_app, line)
    assert done.exit_code == 0, done.output
    assert len(list((tmp_path / "out").glob("sub-01/*_image.png"))) == 6
    stored = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    found = {metric["id"]: metric for metric in stored["metrics"]}
    for name in ("efficientnet-lite0/strict-v1", "two-way-tokens/strict-v1"):
        assert found[name]["n_items"] == 6
        assert 0 < found[name]["permuted"]["p_value"] <= 1
