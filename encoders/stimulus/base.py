"""What every stimulus encoder offers."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from phosphene.component import Component
from phosphene.data.pictures import Pictures
from phosphene.schemas import TargetSpec
from phosphene.storage import hash_bytes

if TYPE_CHECKING:
    import torch

__all__ = ["StimulusEncoder", "network_hash"]


class StimulusEncoder(Component, ABC):
    """Pictures to target embeddings and, where it can, back."""

    kind = "target"
    can_decode: bool = False
    # Of the pictures it learned from, at its own size; empty where nobody knows.
    training_picture_hashes: frozenset[str] = frozenset()

    @property
    @abstractmethod
    def spec(self) -> TargetSpec:
        """Name, version and hash of what :meth:`encode` returns."""

    @abstractmethod
    def encode(self, pictures: Iterable[Pictures]) -> torch.Tensor:
        """Return target embeddings.

        Parameters
        ----------
        pictures : iterable of ndarray (H, W, C)
            uint8, of any size; they are fitted to the encoder's own.

        Returns
        -------
        Tensor of shape (n, d) or (n, n_tokens, d)
            float32.
        """

    def encode_places(self, pictures: Iterable[Pictures]) -> torch.Tensor:
        """Return what each place of a picture adds to its pooled embedding, (n, h, w, d).

        Their mean is what :meth:`encode` returns; without a map there is one place.
        """
        return self.encode(pictures)[:, None, None]

    def decode(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return pictures (n, C, H, W) in 0..1 for embeddings, where :attr:`can_decode`."""
        raise TypeError(f"the target {self.name} has no decoder")


def network_hash(network: torch.nn.Module, architecture: Mapping[str, Any]) -> str:
    """Return the identity of weights and of what is not in them, such as numbers of heads."""
    weights = b"".join(
        name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes()
        for name, tensor in sorted(network.state_dict().items())
    )
    return hash_bytes(json.dumps(architecture, sort_keys=True).encode() + weights)[:16]
