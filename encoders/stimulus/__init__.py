"""Stimulus encoders: pictures to the embedding that brain encoders predict."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["STIMULUS_ENCODERS"]

STIMULUS_ENCODERS = Registry(
    "target",
    {
        "autoencoder": "phosphene.encoders.stimulus.autoencoder:PictureAutoencoder",
        "clip-vision": "phosphene.encoders.stimulus.clip_vision:ClipVisionTarget",
        "depth": "phosphene.encoders.stimulus.maps:DepthTarget",
        "edges": "phosphene.encoders.stimulus.maps:EdgeTarget",
        "efficientnet-levels": "phosphene.encoders.stimulus.levels:LevelsTarget",
        "efficientnet-lite0": "phosphene.encoders.stimulus.efficientnet:EfficientNetTarget",
        "foveated": "phosphene.encoders.stimulus.foveated:FoveatedTarget",
        "fused": "phosphene.encoders.stimulus.fused:FusedTarget",
        "latents": "phosphene.encoders.stimulus.latents:LatentTarget",
        "open-clip": "phosphene.encoders.stimulus.open_clip:OpenClipTarget",
        "pixels": "phosphene.encoders.stimulus.pixels:PixelTarget",
        "published": "phosphene.encoders.stimulus.published:PublishedTarget",
        "responses": "phosphene.encoders.stimulus.responses:ResponseTarget",
    },
)
