"""Generators of moving pictures: what was decoded of a clip becomes its frames."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["VIDEO_GENERATORS"]

VIDEO_GENERATORS = Registry(
    "video generator",
    {
        "keyframe_flow": "phosphene.pipelines.generators.video.keyframe_flow:KeyframeFlow",
    },
)
