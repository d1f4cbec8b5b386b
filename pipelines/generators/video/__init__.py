"""Generators of moving pictures: what was decoded of a clip becomes its frames."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["VIDEO_GENERATORS"]

VIDEO_GENERATORS = Registry(
    "video generator",
    {
        "animatediff": "phosphene.pipelines.generators.video.animatediff:AnimateDiff",
        "cogvideox": "phosphene.pipelines.generators.video.cogvideox:CogVideoX",
        "default_video": "phosphene.pipelines.generators.video.default_video:DefaultVideo",
        "keyframe_flow": "phosphene.pipelines.generators.video.keyframe_flow:KeyframeFlow",
        "ltx": "phosphene.pipelines.generators.video.ltx:LTX",
        "stable-video-diffusion": (
            "phosphene.pipelines.generators.video.stable_video:StableVideoDiffusion"
        ),
        "wan": "phosphene.pipelines.generators.video.wan:Wan",
    },
)
