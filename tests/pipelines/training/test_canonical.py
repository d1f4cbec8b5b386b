"""Canonical correlation against scikit-learn, and on a planted truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from phosphene.encoders.brain.electric.heads import ElectricHeads
from phosphene.errors import InputError
from phosphene.pipelines.training.canonical import choose_canonical, fit_canonical


def pairs(n: int, noise: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two of eight target directions reach the recording, and these are not the largest."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randn(n, 8, generator=generator)
    maps = torch.randn(2, 30, generator=torch.Generator().manual_seed(99))
    x = y[:, 5:7] @ maps + noise * torch.randn(n, 30, generator=generator)
    return x, y - y.mean(0)


def test_without_penalties_it_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.cross_decomposition import CCA

    from phosphene.pipelines.training import canonical

    monkeypatch.setattr(canonical, "TARGET_PENALTY", 0.0)
    x, y = pairs(500)
    maps = choose_canonical((x, y), None, penalties=(0.0,), widths=(3,))
    expected = CCA(3, scale=False, max_iter=5000, tol=1e-12).fit(x.numpy(), y.numpy())
    theirs = expected.transform(x.numpy(), y.numpy())
    mine = ((x.double() - maps.mean) @ maps.brain, y.double() @ maps.picture)
    for axis in range(3):
        found = np.corrcoef(mine[0][:, axis], mine[1][:, axis])[0, 1]
        wanted = np.corrcoef(theirs[0][:, axis], theirs[1][:, axis])[0, 1]
        assert found == pytest.approx(wanted, abs=1e-4)


def test_the_told_directions_are_found_and_the_width_chosen() -> None:
    maps = choose_canonical(pairs(400, 2.0), pairs(200, 2.0, seed=1), widths=(2, 8))
    assert maps.brain.shape[1] == 2
    told = maps.picture[5:7].norm() / maps.picture.norm()
    assert told > 0.9
    x, y = pairs(100, 2.0, seed=2)
    scores = torch.nn.functional.normalize((x.double() - maps.mean) @ maps.brain, dim=1)
    scores = scores @ torch.nn.functional.normalize(y.double() @ maps.picture, dim=1).T
    assert (scores.argmax(1) == torch.arange(100)).double().mean() > 0.05  # chance .01
    assert maps.reciprocal_rank > 0.1


def test_noise_alone_is_told_by_its_slopes() -> None:
    drawn = torch.Generator().manual_seed(0)
    x, other = (torch.randn(n, 30, generator=drawn) for n in (300, 500))
    y, shown = (torch.randn(n, 8, generator=drawn) for n in (300, 500))
    maps = choose_canonical((x, y), (other, shown), widths=(8,))
    assert float(maps.slopes.mean()) < 0.3
    real = choose_canonical(pairs(400), pairs(500, seed=1), widths=(2,))
    assert float(real.slopes.min()) > 0.8


def test_the_maps_become_both_heads() -> None:
    options = {"n_outputs": 2, "n_chans": 3, "n_times": 10, "sfreq": 50.0}
    heads = ElectricHeads("canonical", options, {"pooled": [8]}, {"pooled": 8})
    x, y = pairs(400)
    coefficients = heads.fit_targets({"pooled": y})
    maps = choose_canonical((x, coefficients), None, widths=(2,))
    fit_canonical(heads, maps, x, coefficients)
    new, truth = pairs(200, seed=3)
    with torch.no_grad():
        z = heads(new.unflatten(1, (3, 10)))
        predicted = heads.parts_of(heads.regress(z))["pooled"]
    torch.testing.assert_close(
        z.double(), (new.double() - maps.mean) @ maps.brain, atol=1e-3, rtol=1e-3
    )
    error = (predicted - truth).square().sum(0) / truth.square().sum(0)
    assert (error[5:7] < 0.2).all()  # what reaches the recording is predicted
    assert (error[:5] < 1.05).all()
    wrong = choose_canonical((x, coefficients), None, widths=(4,))
    with pytest.raises(InputError, match="canonical"):
        fit_canonical(heads, wrong, x, coefficients)


def test_two_targets_are_fused_and_pictures_looked_for_by_the_first() -> None:
    """Either target tells one of the two directions that reach the recording."""
    options = {"n_outputs": 2, "n_chans": 3, "n_times": 10, "sfreq": 50.0}
    shapes, counts = {"pooled": [6], "features": [2]}, {"pooled": 6, "features": 2}
    heads = ElectricHeads("canonical", options, shapes, counts)
    x, y = pairs(2000)
    coefficients = heads.fit_targets({"pooled": y[:, :6], "features": y[:, 6:]})
    maps = choose_canonical((x, coefficients), None, widths=(2,))
    fit_canonical(heads, maps, x, coefficients)
    new, truth = pairs(300, seed=3)
    with torch.no_grad():
        z = heads(new.unflatten(1, (3, 10)))
        parts = heads.parts_of(heads.regress(z))
        keys = heads.picture_keys(
            heads.coefficients({"pooled": truth[:, :6], "features": truth[:, 6:]})
        )
    told = (parts["pooled"][:, 5], parts["features"][:, 0])
    for predicted, shown in zip(told, (truth[:, 5], truth[:, 6]), strict=True):
        assert np.corrcoef(predicted, shown)[0, 1] > 0.9
    # The direction that only features have is left out of the keys, and the other one is not.
    mixed = truth[:, 5:7].double() @ torch.linalg.lstsq(truth[:, 5:7].double(), z.double()).solution
    alone = truth[:, 5:6].double() @ torch.linalg.lstsq(truth[:, 5:6].double(), z.double()).solution
    assert np.corrcoef(keys[:, 0], alone[:, 0])[0, 1] ** 2 > 0.9
    assert abs(np.corrcoef(keys[:, 0], mixed[:, 0])[0, 1]) < 0.99
