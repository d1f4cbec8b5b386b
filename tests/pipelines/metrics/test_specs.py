from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from phosphene.errors import AssetError, UsageError
from phosphene.pipelines.metrics.specs import (
    METRICS,
    MetricSpec,
    create_metric,
    declare_metric,
    list_metrics,
    register_metric,
)


@pytest.fixture
def spec() -> MetricSpec:
    return MetricSpec(id="probe/strict-v1", title="Probe", kind="picture", source="this test")


def test_a_definition_is_frozen_and_strict(spec: MetricSpec) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        spec.chance = 0.5  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        MetricSpec(id="a/b", title="A", kind="picture", source="x", colour="red")  # type: ignore[call-arg]
    for wrong in ("ssim", "ssim/", "/strict", "SSIM/strict-v1", " a/b"):
        with pytest.raises(ValidationError, match="name/variant"):
            MetricSpec(id=wrong, title="A", kind="picture", source="x")


def test_listing_imports_nothing_heavy() -> None:
    script = (
        "import sys; from phosphene.pipelines.metrics.specs import list_metrics; "
        "assert len(list_metrics()) > 2; "
        "heavy = {'torch', 'torchmetrics', 'skimage', 'transformers'} & set(sys.modules); "
        "print(heavy or 'light')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "light"


def test_every_id_is_its_own_and_every_class_is_there() -> None:
    from torchmetrics import Metric

    assert {"pixcorr/strict-v1", "ssim/uniform7-v1", "mse/unit-range-v1"} <= set(METRICS)
    for name, entry in METRICS.items():
        assert entry.spec.id == name
        assert issubclass(entry.load(), Metric), name


def test_patterns_select() -> None:
    found = [one.id for one in list_metrics("ssim/*")]
    assert "ssim/uniform7-v1" in found
    assert all(name.startswith("ssim/") for name in found)
    assert list_metrics("nothing/*") == []


def test_what_cannot_be_made(spec: MetricSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="did you mean 'ssim/uniform7-v1'"):
        create_metric("ssim/uniform-v1")
    with pytest.raises(UsageError, match="the option 'measure'"):
        create_metric("ssim/uniform7-v1", measure="x:y")
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    absent = spec.model_copy(update={"modules": ("no_such_package",)})
    declare_metric(absent, "no.module:Class")
    assert "no_such_package is not installed" in (absent.availability() or "")
    with pytest.raises(AssetError, match=r'pip install "phosphene\[metrics\]"'):
        create_metric(absent.id)
    with pytest.raises(UsageError, match="two metrics are named"):
        declare_metric(spec, "other.module:Class")


def test_a_class_can_be_registered(spec: MetricSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    from phosphene.pipelines.metrics.base import PairMetric

    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))

    @register_metric(spec, measure="phosphene.pipelines.metrics.pictures:mean_squared_error")
    class Probe(PairMetric):
        """A metric of somebody else."""

    metric: Any = create_metric(spec.id)
    assert isinstance(metric, Probe)
    black = np.zeros((2, 4, 4, 3), np.uint8)
    metric.update(black, black + np.uint8(255), ["a", "b"])
    assert metric.compute().value == 1
