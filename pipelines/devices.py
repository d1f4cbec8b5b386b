"""Which device computes."""

from __future__ import annotations

from phosphene.errors import InputError, UsageError

__all__ = ["choose_device"]


def choose_device(device: str) -> str:
    """Return ``cpu`` or ``cuda`` for ``auto``, ``cpu`` or ``cuda``, as far as it is there."""
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"`device` is {device!r}", expected="auto, cpu or cuda")
    if device == "cpu":
        return device
    import torch

    available = torch.cuda.is_available()
    if device == "cuda" and not available:
        raise InputError("no CUDA device is available", "a GPU", "use --device cpu")
    return "cuda" if available else "cpu"
