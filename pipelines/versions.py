"""Versions of what a result was made with."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["package_versions"]

PACKAGES = ("phosphene", "torch", "numpy", "scipy", "diffusers", "nibabel", "Pillow")


def package_versions() -> dict[str, str]:
    """Return versions of Python and of the packages that results depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "absent"
    return found
