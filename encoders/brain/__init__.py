"""Brain encoders: recording to embedding, one architecture per file."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["BRAIN_ENCODERS"]

BRAIN_ENCODERS = Registry("encoder", {"ridge": "phosphene.encoders.brain.ridge:RidgeEncoder"})
