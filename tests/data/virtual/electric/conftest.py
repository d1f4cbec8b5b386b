"""One virtual head of each kind, with drives of scenes that every test shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.data.virtual.electric import VirtualHead


@pytest.fixture(scope="session")
def head() -> VirtualHead:
    return VirtualHead("01", "eeg-63")


@pytest.fixture(scope="session")
def drives(head: VirtualHead) -> np.ndarray[Any, Any]:
    """Drives of the 256 reference scenes (256, 2, V)."""
    return head.reference_drives


@pytest.fixture(scope="session")
def like(head: VirtualHead, drives: np.ndarray[Any, Any]) -> Any:
    """Return the same subject under other sensors, without seeing the scenes again."""

    def other(preset: str) -> VirtualHead:
        made = VirtualHead(head.label, preset)
        made.__dict__["cortex"] = head.cortex
        made.__dict__["reference_drives"] = drives
        return made

    return other
