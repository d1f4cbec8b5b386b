"""Results as `phosphene evaluate` writes them, made of scores that a test chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from phosphene.pipelines.metrics.specs import METRICS
from phosphene.schemas import (
    EvaluatedItem,
    EvaluatedMetric,
    EvaluationFile,
    EvaluationProtocol,
    PermutedPairing,
)

MakeResult = Callable[..., EvaluationFile]


@pytest.fixture(scope="session")
def make_result() -> MakeResult:
    """Return ``make(name, pictures, {metric id: scores}, **changes)``.

    Changes name fields of the file, of its protocol (``averaging="..."``), or, as ``spec``, keys
    of every metric's definition.
    """
    return made_result


def made_result(
    name: str,
    pictures: Sequence[str],
    scores: Mapping[str, Sequence[float]],
    *,
    spec: Mapping[str, Any] | None = None,
    contents: Mapping[str, str] | None = None,
    **changes: Any,
) -> EvaluationFile:
    protocol: dict[str, Any] = {
        "truth": "shown",
        "truth_hash": "t" * 16,
        "split": "test",
        "pictures_hash": "-".join(sorted(set(pictures))),
        "averaging": "single trials",
        "subjects": [],
        "n_pictures": len(set(pictures)),
        "n_items": len(pictures),
        "n_samples": 1,
        "n_missing": 0,
        "size_rule": "as they are",
        "transductive": None,
        "training": None,
    }
    file = {key: value for key, value in changes.items() if key not in protocol}
    protocol |= {key: value for key, value in changes.items() if key in protocol}
    content = {
        "name": name,
        "predictions": name,
        "suite": "quick",
        "config": {},
        "model": None,
        "model_hash": None,
        "protocol": EvaluationProtocol(**protocol),
        "items": [
            EvaluatedItem(
                key=f"{picture} {row}",
                picture=picture,
                picture_hash=(contents or {}).get(picture, picture),
                subject=None,
                category=None,
                files=[f"{picture}.png"],
                source_trials=[],
            )
            for row, picture in enumerate(pictures)
        ],
        "metrics": [_metric(key, values, spec or {}) for key, values in scores.items()],
        "absent": [],
        "controls": [],
        "audit": None,
        "n_seen_in_training": None,
        "seeds": {"seed": 0},
        "interval_rule": "none",
        "versions": {},
        "started": "2026-01-01T00:00:00+00:00",
    }
    return EvaluationFile(**(content | file))


def _metric(name: str, values: Sequence[float], spec: Mapping[str, Any]) -> EvaluatedMetric:
    definition = METRICS[name].spec
    return EvaluatedMetric(
        id=name,
        spec=definition.model_dump(mode="json") | dict(spec),
        value=float(np.mean(values)),
        interval=(float(np.min(values)), float(np.max(values))),
        chance=0.5,
        permuted=PermutedPairing(mean=0.1, p_value=0.01, n_permutations=99, rule="exchanged"),
        controls={"grey_picture": 0.0, "mean_picture": 0.2},
        per_subject={},
        per_item=[float(value) for value in values],
        n_items=len(values),
        n_pictures=len(values),
        higher_is_better=definition.higher_is_better,
    )
