"""Two heads on one network: principal components, retrieval and generation, saved and read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.encoders.brain.electric.heads import ElectricHeads
from phosphene.errors import InputError, UsageError
from phosphene.sensors import SensorInfo
from phosphene.trials import complete_trials
from phosphene.types import Recording

OPTIONS = {"n_outputs": 6, "n_chans": 3, "n_times": 10, "sfreq": 50.0, "ch_names": list("abc")}
TARGETS = {"tokens": [2, 8], "lowlevel": [1, 3, 3]}


def heads(**more: object) -> ElectricHeads:
    torch.manual_seed(0)
    return ElectricHeads("flat_mlp", OPTIONS, TARGETS, {"tokens": 4, "lowlevel": 3}, **more)


def values(n: int = 60) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "tokens": torch.randn(n, 2, 8, generator=generator) * torch.arange(1, 9),
        "lowlevel": torch.randn(n, 1, 3, 3, generator=generator),
    }


def recording(n: int = 5) -> Recording:
    data = np.random.default_rng(0).normal(size=(n, 3, 10)).astype(np.float32)
    info = SensorInfo(tuple("abc"), 50.0, unit="whitened")
    return Recording(data, "eeg", "01", complete_trials(None, n), info=info)


def test_coefficients_are_those_of_principal_components() -> None:
    from sklearn.decomposition import PCA

    model, given = heads(), values()
    found = model.fit_targets(given)
    assert found.shape == (60, 7)
    for name, columns in (("tokens", found[:, :4]), ("lowlevel", found[:, 4:])):
        flat = given[name].flatten(1).numpy()
        expected = PCA(columns.shape[1]).fit(flat)
        wanted = expected.inverse_transform(expected.transform(flat))
        part = model.parts_of(found)[name].flatten(1).numpy()
        np.testing.assert_allclose(part, wanted, atol=0.02)
        np.testing.assert_allclose(columns.std(0, correction=0), 1, atol=0.02)


def test_pictures_and_brains_meet_in_one_space() -> None:
    model, given = heads(), values()
    coefficients = model.fit_targets(given)
    mean, weights = model.search_matrix()
    by_map = (given["tokens"].flatten(1) - mean) @ weights
    torch.testing.assert_close(by_map, model.picture_keys(coefficients), atol=1e-4, rtol=1e-4)
    found = model.encode(recording())
    assert found.retrieval is not None
    assert found.retrieval.shape == (5, 6)
    assert found.main.shape == (5, 2, 8)
    assert found.parts["lowlevel"].shape == (5, 1, 3, 3)


def test_a_batch_is_what_its_rows_are_alone_and_a_folder_what_was_saved(tmp_path: Path) -> None:
    model = heads()
    model.fit_targets(values())
    together = model.encode(recording())
    alone = model.encode(recording().select(np.array([3])))
    for name, part in together.parts.items():
        torch.testing.assert_close(alone.parts[name][0], part[3])
    model.save_pretrained(tmp_path)
    read = ElectricHeads.from_pretrained(tmp_path)
    torch.testing.assert_close(read.encode(recording()).main, together.main)
    assert float(read.scale) == pytest.approx(float(model.scale))  # the temperature is kept
    assert sum("logit_scale" in name for name in model.tensors()) == 1


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="components"):
        ElectricHeads("flat_mlp", OPTIONS, TARGETS, {"tokens": 4})
    with pytest.raises(InputError, match="3 training pictures"):
        heads().fit_targets(values(3))
    with pytest.raises(InputError, match="channels"):
        heads().encode(replace(recording(), data=np.zeros((5, 4, 10)), info=None))
