"""One subject and a few scenes for all tests of this folder."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.data.scenes import Scene, render, sample_scenes
from phosphene.data.virtual import VirtualSubject


@pytest.fixture(scope="session")
def subject() -> VirtualSubject:
    return VirtualSubject("01")


@pytest.fixture(scope="session")
def scenes() -> list[Scene]:
    return sample_scenes(0, 12, seed=5, split="test")


@pytest.fixture(scope="session")
def images(scenes: list[Scene]) -> np.ndarray[Any, Any]:
    return render(scenes, 64).images


@pytest.fixture(scope="session")
def signal(subject: VirtualSubject, scenes: list[Scene], images: Any) -> np.ndarray[Any, Any]:
    return subject.respond(scenes, images)
