"""Where to search: a projection in which errors of prediction are alike in all directions.

Predicted embeddings err most along the few directions in which targets vary most, and a cosine
listens to just these. Dividing by the covariance of left-out errors, as Fisher's discriminant
does, lets every direction speak as much as it can be trusted.
"""

from __future__ import annotations

import torch
from torch import Tensor

from phosphene.component import Component, check_tensors, record_config
from phosphene.errors import InputError

__all__ = ["RetrievalProjector"]


class RetrievalProjector(Component):
    """Projects predicted and true embeddings into one space for cosine similarity.

    Targets are reduced to their first principal components; there, ``W W'`` is the inverse of
    the covariance of left-out errors (Fisher 1936, *Annals of Eugenics* 7).

    Parameters
    ----------
    size : int
        Numbers of one flattened embedding.
    components : int
        Principal components that are kept.
    """

    kind = "retrieval"
    name = "discriminant"

    @record_config
    def __init__(self, size: int, components: int = 100) -> None:
        if not 1 <= components <= size:
            raise InputError(
                f"{components} components of {size} numbers", expected=f"from 1 to {size}"
            )
        self.mean = torch.zeros(size)
        self.weights = torch.zeros(size, components)

    @classmethod
    def of(cls, mean: Tensor, weights: Tensor) -> RetrievalProjector:
        """Return the projection ``(embedding - mean) @ weights`` that was learned elsewhere.

        Parameters
        ----------
        mean : Tensor of shape (size,)
        weights : Tensor of shape (size, components)
        """
        made = cls(*weights.shape)
        made.load_tensors({"mean": mean, "weights": weights})
        return made

    def fit(self, predicted: Tensor, truth: Tensor) -> RetrievalProjector:
        """Learn from left-out predictions and targets (n, ...) of training pictures.

        Raises
        ------
        InputError
            If shapes differ, or there are fewer pictures than components.
        """
        components = self.weights.shape[1]
        if predicted.shape != truth.shape or truth[0].numel() != len(self.mean):
            raise InputError(
                f"predictions {tuple(predicted.shape)} and targets {tuple(truth.shape)}",
                expected=f"both with {len(self.mean)} numbers per picture",
            )
        if len(truth) <= components:
            raise InputError(
                f"{len(truth)} pictures for {components} components",
                expected="more pictures than components",
                remedy="use fewer components",
            )
        values = truth.flatten(1).double()
        self.mean = values.mean(0).float()
        centred = values - values.mean(0)
        axes = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -components:].flip(1)
        error = (values - predicted.flatten(1).double()) @ axes
        covariance = error.T @ error / len(error)
        # Directions of no variance would be infinitely trusted; rounding alone keeps them apart.
        covariance.diagonal().add_(1e-6 * covariance.diagonal().mean())
        inverse = torch.linalg.inv(torch.linalg.cholesky(covariance)).T
        self.weights = (axes @ inverse).float()
        return self

    def project(self, embedding: Tensor) -> Tensor:
        """Return embeddings (n, ...) of brains or pictures in the search space, (n, components)."""
        flat = embedding.flatten(1)
        if flat.shape[1] != len(self.mean):
            raise InputError(
                f"embeddings of {flat.shape[1]} numbers", expected=f"{len(self.mean)} each"
            )
        return (flat - self.mean.to(flat)) @ self.weights.to(flat)

    def to(self, device: str | torch.device) -> RetrievalProjector:
        """Move the projection to a device."""
        self.mean, self.weights = self.mean.to(device), self.weights.to(device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        return {"mean": self.mean, "weights": self.weights}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        check_tensors(self.tensors(), tensors, owner="retrieval discriminant")
        self.mean, self.weights = tensors["mean"].float(), tensors["weights"].float()
