"""The small model of virtual EEG: its size, what it borrows, and which epochs it takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from phosphene.checkpoints.registry import default_model, known_models, model_folder
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
    assert parts.borrowed == {"target": "virtual-fmri", "generator": "virtual-fmri"}
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
