"""Stimulus encoders: pictures to the embedding that brain encoders predict."""

from __future__ import annotations

from phosphene.names import Registry

__all__ = ["STIMULUS_ENCODERS"]

STIMULUS_ENCODERS = Registry(
    "target",
    {
        "autoencoder": "phosphene.encoders.stimulus.autoencoder:PictureAutoencoder",
        "pixels": "phosphene.encoders.stimulus.pixels:PixelTarget",
    },
)
