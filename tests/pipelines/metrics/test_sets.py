from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from phosphene.errors import AssetError
from phosphene.pipelines.metrics import networks
from phosphene.pipelines.metrics.networks import NETWORKS
from phosphene.pipelines.metrics.set_metrics import FrechetDistance, KernelDistance
from phosphene.pipelines.metrics.specs import METRICS, MetricSpec, create_metric
from phosphene.storage import hash_file

Array = np.ndarray[Any, Any]
SPEC = MetricSpec(id="fid-pixels/probe", title="FID", kind="set", source="this test")
SIDE = 3  # pixels as features: 27 numbers


class Passed(torch.nn.Module):
    """What torchmetrics takes for its network."""

    num_features = 27

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return rows


def names(n: int) -> list[str]:
    return [f"item-{number:03d}" for number in range(n)]


@pytest.fixture
def sets() -> tuple[Array, Array]:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 256, (60, SIDE, SIDE, 3), dtype=np.uint8)
    return (0.7 * truth[::-1] + 40).astype(np.uint8), truth


def test_frechet_distance_is_its_formula(sets: tuple[Array, Array]) -> None:
    metric = FrechetDistance(SPEC, sizes=(SIDE,))
    metric.update(*sets, names(60))
    a, b = (x.reshape(60, -1) / 255 for x in sets)
    root = sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(
        np.cov(a.T) + np.cov(b.T) - 2 * root
    )
    found = metric.compute()
    assert found.value == pytest.approx(expected, rel=1e-6)
    assert found.scores is None
    assert "biased upward" in found.note
    equal = FrechetDistance(SPEC, sizes=(SIDE,))
    equal.update(sets[1], sets[1][::-1], names(60))
    assert equal.compute().value == pytest.approx(0, abs=1e-4)


def test_frechet_distance_is_that_of_torchmetrics_and_of_its_formula_for_few_pictures(
    sets: tuple[Array, Array],
) -> None:
    metric = FrechetDistance(SPEC, sizes=(SIDE,))
    metric.update(*sets, names(60))
    reference = FrechetInceptionDistance(feature=Passed(), normalize=False).set_dtype(torch.float64)
    for real, x in enumerate(sets):
        reference.update(torch.tensor(x.reshape(60, -1) / 255), real=bool(real))
    assert metric.compute().value == pytest.approx(float(reference.compute()), rel=1e-5)
    # Two pictures each: the covariances are u u' and v v', and the root's trace is |u . v|.
    few = FrechetDistance(SPEC, sizes=(SIDE,))
    few.update(sets[0][:2], sets[1][:2], names(2))
    a, b = (x[:2].reshape(2, -1) / 255 for x in sets)
    u, v = ((x[0] - x[1]) / np.sqrt(2) for x in (a, b))
    expected = np.square(a.mean(0) - b.mean(0)).sum() + u @ u + v @ v - 2 * abs(u @ v)
    assert few.compute().value == pytest.approx(expected, rel=1e-6)


def test_kernel_distance_is_that_of_torchmetrics(sets: tuple[Array, Array]) -> None:
    """One subset of all pictures, whose order does not matter."""
    metric = KernelDistance(SPEC, sizes=(SIDE,))
    for rows in (slice(0, 7), slice(7, 60)):
        metric.update(sets[0][rows], sets[1][rows], names(60)[rows])

    reference = KernelInceptionDistance(feature=Passed(), subsets=1, subset_size=60)
    features = [torch.tensor(x.reshape(60, -1) / 255) for x in sets]
    reference.update(features[1], real=True)
    reference.update(features[0], real=False)
    assert metric.compute().value == pytest.approx(float(reference.compute()[0]), rel=1e-4)


def test_sets_do_not_see_which_is_which(sets: tuple[Array, Array]) -> None:
    values = []
    for order in (np.arange(60), np.random.default_rng(0).permutation(60)):
        metric = KernelDistance(SPEC, sizes=(SIDE,))
        metric.update(sets[0][order], sets[1], names(60))
        values.append(metric.compute().value)
    assert values[0] == pytest.approx(values[1], rel=1e-9)
    one = KernelDistance(SPEC, sizes=(SIDE,))
    one.update(sets[0][:1], sets[1][:1], ["a"])
    assert one.compute().value is None


def backbone(
    monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, architecture: str
) -> dict[str, torch.Tensor]:
    """Write a random backbone; large classifiers are one number, which a file stores once."""
    from torchvision import models

    torch.manual_seed(0)
    with torch.device("meta"):
        network = models.get_model(architecture, weights=None)
    state = {}
    for key, value in network.state_dict().items():
        if key.startswith("features"):
            fan = value[0].numel() if value.ndim > 1 else 1
            state[key] = torch.randn(value.shape) * (2 / fan) ** 0.5 * (value.ndim > 1)
        else:
            state[key] = torch.zeros(1).expand(value.shape)
    path = folder / NETWORKS[name].file
    torch.save(state, path)
    known = dataclasses.replace(NETWORKS[name], sha256=hash_file(path)[:8])
    monkeypatch.setitem(networks.NETWORKS, name, known)
    return state


@pytest.fixture
def photographs() -> Array:
    from skimage import data

    from phosphene.data.pictures import fit_pictures

    return fit_pictures([data.coffee(), data.astronaut()], size=256, channels=3)


@pytest.mark.slow
def test_lpips_is_its_formula(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photographs: Array
) -> None:
    """Unit features of five layers, squared differences weighted by the library's heads."""
    import torchmetrics.functional.image as library
    from torch.nn import functional as F
    from torchvision import models

    state = backbone(monkeypatch, tmp_path, "alexnet", "alexnet")
    metric = create_metric("lpips-alex/strict-v1", weights_folder=tmp_path)
    noisy = np.clip(
        photographs + np.random.default_rng(0).normal(0, 30, photographs.shape), 0, 255
    ).astype(np.uint8)
    metric.update(noisy, photographs, ["a", "b"])
    features = models.alexnet().features.eval()
    features.load_state_dict({k[9:]: v for k, v in state.items() if k.startswith("features.")})
    heads = torch.load(
        Path(library.__file__).parent / "lpips_models" / "alex.pth",
        map_location="cpu",
        weights_only=True,
    )
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(3, 1, 1)
    expected = torch.zeros(2)
    x, y = ((torch.tensor(p).permute(0, 3, 1, 2) / 127.5 - 1 - shift) / scale
            for p in (noisy, photographs))  # fmt: skip
    level = 0
    with torch.no_grad():
        for place, layer in enumerate(features):
            x, y = layer(x), layer(y)
            if place in (1, 4, 7, 9, 11):
                difference = (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square()
                weights = heads[f"lin{level}.model.1.weight"]
                expected += (difference * weights).sum(1).mean((1, 2))
                level += 1
    np.testing.assert_allclose(metric.compute().scores, expected.numpy(), rtol=1e-3)
    same = create_metric("lpips-alex/strict-v1", weights_folder=tmp_path)
    same.update(photographs, photographs, ["a", "b"])
    np.testing.assert_allclose(same.compute().scores, 0, atol=1e-6)


@pytest.mark.slow
def test_dists_of_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photographs: Array
) -> None:
    """0 for equal pictures, symmetric, larger for what differs more; torch's hub is left alone."""
    backbone(monkeypatch, tmp_path, "vgg16", "vgg16")
    before = torch.hub.get_dir()
    metric = create_metric("dists/strict-v1", weights_folder=tmp_path)
    assert torch.hub.get_dir() == before
    made = np.stack([photographs[0], photographs[0], 255 - photographs[0] // 2])
    shown = np.stack([photographs[0], photographs[1], photographs[0]])
    metric.update(made, shown, ["equal", "other", "z-inverted"])
    equal, other, inverted = metric.compute().scores
    assert equal == pytest.approx(0, abs=1e-5)
    assert other > 0.01
    assert inverted > 0.01
    metric.reset()
    metric.update(shown[1:2], made[1:2], ["back"])
    assert metric.compute().value == pytest.approx(other, rel=1e-4)


def test_what_needs_weights_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.delenv("PHOSPHENE_METRIC_WEIGHTS", raising=False)
    for name in ("lpips-alex/strict-v1", "dists/strict-v1", "fid-inception/strict-v1"):
        assert "MB, under the licence" in (METRICS[name].spec.availability() or "")
        with pytest.raises(AssetError, match="cannot run here"):
            create_metric(name)
    assert METRICS["fid-efficientnet-lite0/strict-v1"].spec.availability() is None
    assert "dreamsim is not installed" in (METRICS["dreamsim/strict-v1"].spec.availability() or "")
