"""phosphene: reconstruct the pictures and videos a person saw from brain recordings.

Importing this package does nothing else; the main classes are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from phosphene.pipelines.reconstruction import Reconstruction
    from phosphene.pipelines.reconstructor import Reconstructor
    from phosphene.pipelines.retrieval.index import Index

__version__ = "0.1.0"
__all__ = ["Index", "Reconstruction", "Reconstructor", "__version__"]

_LAZY = {
    "Index": "phosphene.pipelines.retrieval.index",
    "Reconstructor": "phosphene.pipelines.reconstructor",
    "Reconstruction": "phosphene.pipelines.reconstruction",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'phosphene' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
