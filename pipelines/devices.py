"""Which device computes."""

from __future__ import annotations

from phosphene.errors import InputError, UsageError

__all__ = ["choose_device"]


def choose_device(device: str) -> str:
    """Return ``cpu``, ``cuda`` or ``cuda:N`` for one of these or ``auto``, if it is there."""
    kind, colon, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (
        colon and (kind != "cuda" or not number.isdecimal())
    ):
        raise UsageError(
            f"`device` is {device!r}", expected="auto, cpu or cuda; cuda:1 is the second of several"
        )
    if kind == "cpu":
        return device
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "auto":
        return "cuda" if count else "cpu"
    if count == 0:
        raise InputError("no CUDA device is available", "a GPU", "use --device cpu")
    if colon and int(number) >= count:
        raise InputError(f"there is no {device}", f"cuda:0 to cuda:{count - 1}")
    return device
