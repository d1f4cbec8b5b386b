"""Captioners: an embedding becomes a sentence."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["CAPTIONERS"]

CAPTIONERS = Registry(
    "caption",
    {
        "git": "phosphene.pipelines.captioning.git:GitCaptioner",
        "nearest": "phosphene.pipelines.captioning.nearest:NearestCaptioner",
    },
)
