"""The low-level structural branch: from predicted latents to the picture a generator starts from.

Blurry pictures from voxels fix where things are; a diffusion model that starts from them keeps
their layout (MindEye, Scotti et al. 2023; img2img, Meng et al. 2022). How much it may change is
the strength: 0 keeps the blurry picture, 1 ignores it. MindEye2 (Scotti et al. 2024) does without
a start, and mixes the blurry picture into the one that was rendered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from phosphene.component import Component, check_tensors, record_config
from phosphene.errors import InputError, UsageError
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    import torch

__all__ = ["StructureBranch"]


class StructureBranch(Component):
    """Turns the low-level part of an embedding into an init latent.

    Parameters
    ----------
    target : str
        Hash of the spec of the latents it was trained for.
    strength : float
        Share of the diffusion that is run on top of the init, chosen on validation pictures.
    blend : float
        Share of the decoded latents in the picture that is shown, mixed in after rendering.
    """

    kind = "branch"
    name = "latent"

    @record_config
    def __init__(self, target: str, strength: float, blend: float = 0.0) -> None:
        for name, share in (("strength", strength), ("blend", blend)):
            if not 0 <= share <= 1:
                raise UsageError(f"`{name}` is {share}", expected="from 0 to 1")
        self.target, self.strength, self.blend = target, strength, blend

    def init(self, embedding: BrainEmbedding) -> torch.Tensor:
        """Return the latents (n, c, h, w) a generator starts from.

        They are left as short as regression makes them: the expected latent is the picture with
        the smallest squared error, and the diffusion fills in what is missing.
        """
        if embedding.lowlevel is None:
            raise InputError(
                "an embedding without a low-level part",
                expected="what a model with a low-level encoder predicts",
                remedy="train one with `phosphene train`, or decode without the branch",
            )
        return embedding.lowlevel

    def tensors(self) -> dict[str, torch.Tensor]:
        return {}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        check_tensors({}, tensors, owner="branch latent")
