"""Choose among candidate pictures by features that were decoded from the same recording.

A diffusion model draws one of the many pictures a prediction allows. Features of a second
network, decoded on their own, tell which of several draws agrees best with the recording
(selection of samples: Scotti et al. 2023, MindEye; Kneeland et al. 2023, *Second sight*).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phosphene.component import Component, check_tensors, record_config
from phosphene.errors import InputError, UsageError

if TYPE_CHECKING:
    import torch

__all__ = ["PictureChoice"]


class PictureChoice(Component):
    """Keeps the candidate whose features are most similar to the decoded ones.

    Similarity is the cosine of standardised features: how far from the mean picture, and where
    to. Lengths do not count, since regression shrinks predictions.

    Parameters
    ----------
    target : str
        Hash of the spec of the features.
    candidates : int
        Pictures that are rendered for each one that is kept.
    """

    kind = "choice"
    name = "features"

    @record_config
    def __init__(self, target: str, candidates: int) -> None:
        if candidates < 1:
            raise UsageError(f"`candidates` is {candidates}", expected="at least 1")
        self.target, self.candidates = target, candidates

    def best(self, decoded: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """Return which candidate to keep, (n,).

        Parameters
        ----------
        decoded : Tensor of shape (n, d)
        found : Tensor of shape (n, n_candidates, d)
            Features of the pictures.
        """
        from torch.nn.functional import cosine_similarity

        if found.ndim != 3 or (len(found), found.shape[2]) != tuple(decoded.shape):
            raise InputError(
                f"features {tuple(found.shape)} of candidates for decoded {tuple(decoded.shape)}",
                expected="(n, n_candidates, d) and (n, d)",
            )
        return cosine_similarity(found.double(), decoded.double()[:, None], dim=2).argmax(1)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        check_tensors({}, tensors, owner="choice features")
