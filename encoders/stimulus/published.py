"""The target of published weights: which embedding they predict, without the network that makes it.

A decoder that was trained elsewhere comes without its picture encoder. What it was trained on is
part of it all the same: a generator of another embedding would render noise, so this target says
which network, which layer and which normalisation of colours, and generators compare it with what
they take. Pictures are embedded by the network itself, once it is at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from phosphene.component import check_tensors, record_config
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import AssetError, UsageError, check_option
from phosphene.schemas import TargetSpec

__all__ = ["PublishedTarget"]

OUTPUTS = {
    "pooled": "projected class token",
    "tokens": "all tokens before the last layer",
    "patches": "patch tokens of the last layer before its norm",
    "projected": "all tokens normed, projected, over the class token's length",
    "features": "features",
    "lowlevel": "latents",
}


class PublishedTarget(StimulusEncoder):
    """Says what published weights predict.

    Parameters
    ----------
    model, weights : str
        The picture network and its weights, in open_clip's names where it has any.
    output : {"pooled", "tokens", "patches", "projected", "features", "lowlevel"}
        The first four as for :class:`~phosphene.encoders.stimulus.clip_vision.ClipVisionTarget`;
        ``features`` of other networks, ``lowlevel`` latents of an autoencoder.
    shape : sequence of int
        Of one embedding.
    colours : {"clip", "mindeye2", "own"}
        How pictures were normalised; see
        :data:`~phosphene.encoders.stimulus.clip_vision.COLOURS`.
    width, layers : int
        Of the picture network, where they are known; 0 otherwise.
    note : str
        What else has to be the same: resizing, a scale, an autoencoder.
    """

    name = "published"

    @record_config
    def __init__(
        self,
        model: str,
        weights: str,
        output: str,
        shape: Sequence[int],
        colours: str = "clip",
        width: int = 0,
        layers: int = 0,
        note: str = "",
    ) -> None:
        check_option("output", output, OUTPUTS)
        check_option("colours", colours, ("clip", "mindeye2", "own"))
        if not shape or min(shape) < 1:
            raise UsageError(
                f"`shape` is {list(shape)}",
                expected="numbers of at least 1",
                remedy="give the shape of one embedding",
            )
        self.model, self.weights, self.output, self.colours = model, weights, output, colours
        self.shape = tuple(int(n) for n in shape)
        self.width, self.layers, self.note = width, layers, note
        # Embeddings are at the network's own length, neither centred nor scaled.
        self.target_mean, self.target_scale = torch.zeros(()), torch.ones(())

    @property
    def spec(self) -> TargetSpec:
        kind: Any = {1: "pooled", 2: "tokens", 3: "lowlevel"}[len(self.shape)]
        return TargetSpec(
            name=self.name,
            layer=OUTPUTS[self.output],
            output=kind,
            shape=self.shape,
            preprocessing={
                "network": f"{self.model} ({self.weights})",
                "colours": self.colours,
                "note": self.note,
            },
        )

    def encode(self, pictures: Iterable[Pictures]) -> Tensor:
        """Refuse: the network is not part of published decoders."""
        raise self._absent("embeddings of pictures")

    def plain_embedding(self, colour: Tensor | float) -> Tensor:
        """Refuse: the embedding of a picture of one colour takes the network."""
        raise self._absent("the embedding of a plain picture, which this generator needs")

    def _absent(self, wanted: str) -> AssetError:
        return AssetError(
            f"{wanted} without the network {self.model} ({self.weights})",
            expected=f"{OUTPUTS[self.output]} of it, colours as in {self.colours}",
            remedy="convert again with --with autoencoder=FOLDER"
            if self.output == "lowlevel"
            else "save it as a clip-vision target and convert again with --target "
            "local-dir:TARGET; docs/generators.md says how to make one",
        )

    def tensors(self) -> dict[str, Tensor]:
        return {}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        check_tensors({}, tensors, owner="target published")
