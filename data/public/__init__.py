"""Public fMRI datasets in their official layouts."""

from __future__ import annotations

from phosphene.data.catalogue import find_dataset
from phosphene.errors import AssetError

__all__ = ["not_here"]


def not_here(name: str, reason: str) -> AssetError:
    """Return the error that says how a dataset is obtained."""
    entry = find_dataset(name)
    return AssetError(
        f"{entry.title}: {reason}",
        expected=f"a local copy in its official layout ({entry.size}; licence: {entry.licence})",
        remedy=f"{entry.obtain}; then name its folder with --source",
    )
