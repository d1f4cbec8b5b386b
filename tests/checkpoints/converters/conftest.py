"""Modules beside the tests, as fixtures: published weights, and what their networks compute."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def beside(name: str) -> ModuleType:
    unique = f"converters_{name}"
    if unique not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            unique, Path(__file__).with_name(f"{name}.py")
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules[unique] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[unique]


@pytest.fixture(scope="session")
def maths() -> ModuleType:
    """What published networks compute, from plain functions."""
    return beside("mathematics")


@pytest.fixture(scope="session")
def made() -> ModuleType:
    """Small randomly filled checkpoints under the published names."""
    return beside("published_weights")
