from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.virtual import SUBJECT_HASH, VERSION, VirtualSubject, subject_hash

GOLDEN = Path(__file__).with_name("golden_responses.npz")


def test_subjects_are_frozen() -> None:
    """When this fails on purpose, raise VERSION: everything measured before is void."""
    assert VERSION == "1"
    assert subject_hash() == SUBJECT_HASH


def test_responses_are_frozen(subject: VirtualSubject, signal: np.ndarray[Any, Any]) -> None:
    with np.load(GOLDEN, allow_pickle=False) as golden:
        found = (signal / subject.amplitude)[:4, ::40]
        np.testing.assert_allclose(found, golden["signal"], atol=0.02)
        deviation = np.diag(subject.noise.covariance())[::40] ** 0.5
        np.testing.assert_allclose(deviation, golden["noise_sd"], rtol=1e-3)
