"""The plainest prior: the prediction itself, re-scaled to the norms of training targets.

Regression shrinks what it cannot predict towards the mean, so predicted embeddings are shorter
than true ones. The factor is learned from left-out predictions of training pictures, never from
the items to be decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from phosphene.component import check_tensors, record_config
from phosphene.errors import InputError
from phosphene.priors.base import Prior
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    import torch

__all__ = ["IdentityPrior"]


class IdentityPrior(Prior):
    """Multiplies each token, or the pooled vector, by one factor of its own.

    Parameters
    ----------
    n_tokens : int
        1 for pooled embeddings.
    """

    name = "identity"

    @record_config
    def __init__(self, n_tokens: int = 1) -> None:
        import torch

        self.scale = torch.ones(n_tokens, 1)

    def fit(self, predicted: torch.Tensor, truth: torch.Tensor) -> IdentityPrior:
        """Learn the factors from left-out predictions and targets (n, [n_tokens,] d)."""
        if predicted.shape != truth.shape or predicted.ndim not in (2, 3):
            raise InputError(
                f"predictions {tuple(predicted.shape)} and targets {tuple(truth.shape)}",
                expected="both (n, d) or (n, n_tokens, d)",
            )
        length, wanted = (values.norm(dim=-1).mean(0) for values in (predicted, truth))
        self.scale = (wanted / length.clamp_min(1e-12)).reshape(-1, 1)
        if len(self.scale) != self.config["n_tokens"]:
            raise InputError(
                f"{len(self.scale)} tokens", expected=f"{self.config['n_tokens']}, as configured"
            )
        return self

    def sample(
        self,
        embedding: BrainEmbedding,
        *,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> BrainEmbedding:
        self.check(embedding, generators)
        if embedding.tokens is not None:
            return replace(embedding, tokens=embedding.tokens * self.scale.to(embedding.tokens))
        main = embedding.main
        return replace(embedding, pooled=main * self.scale[0].to(main))

    def to(self, device: str | torch.device) -> IdentityPrior:
        """Move the factors to a device."""
        self.scale = self.scale.to(device)
        return self

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"scale": self.scale}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        check_tensors(self.tensors(), tensors, owner="prior identity")
        self.scale = tensors["scale"].float()
