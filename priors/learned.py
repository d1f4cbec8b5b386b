"""What priors with a network share: shapes, streams, blocks, lengths, and counted calls."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from phosphene.batches import in_equal_blocks
from phosphene.errors import InputError, UsageError
from phosphene.priors.base import Prior
from phosphene.seeds import item_seed
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    from diffusers import PriorTransformer

__all__ = ["LearnedPrior", "clean_of_noise", "token_transformer"]

LENGTH = "length_factor"
FARTHEST = 4.0  # standard deviations; targets are standardised


class LearnedPrior(nn.Module, Prior):
    """Samples clean tokens from noise and a condition, by calling a network step by step.

    Subclasses set ``dim``, ``n_tokens``, ``steps`` and ``guidance_scale``, and say how to train
    and how to denoise.
    """

    dim: int
    n_tokens: int
    steps: int
    guidance_scale: float
    block: int = 16  # items of the network at a time
    # Of each token, once `match_lengths` has measured it; see there.
    length_factor: Tensor | None = None

    @abstractmethod
    def training_loss(
        self, predicted: Tensor, truth: Tensor, generator: torch.Generator, drop: float
    ) -> Tensor:
        """Return the loss of one step.

        Parameters
        ----------
        predicted, truth : Tensor of shape (n, n_tokens, d)
        generator : torch.Generator
        drop : float
            Share of the conditions that is left out, for guidance.
        """

    @abstractmethod
    def denoise(
        self, noise: Tensor, condition: Tensor, more: Tensor, *, steps: int, guidance: float
    ) -> Tensor:
        """Return clean tokens.

        Parameters
        ----------
        noise, condition : Tensor of shape (n, n_tokens, d)
        more : Tensor of shape (n, k, n_tokens, d)
            Noise of the steps, as many as :meth:`step_noises` says.
        steps : int
        guidance : float
        """

    def step_noises(self, steps: int) -> int:
        """Return how many steps add noise of their own."""
        return 0

    def calls(self, steps: int) -> int:
        """Return how many steps call the network."""
        return steps

    def network_calls(
        self, num_inference_steps: int | None = None, guidance_scale: float | None = None
    ) -> int:
        """Return network calls per item; guidance doubles them."""
        steps, guidance = self._chosen(num_inference_steps, guidance_scale)
        return self.calls(steps) * (1 if guidance == 1 else 2)

    @torch.no_grad()
    def sample(
        self,
        embedding: BrainEmbedding,
        *,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> BrainEmbedding:
        self.check(embedding, generators)
        self.eval()
        main = embedding.main
        like = next(self.parameters())
        condition = main.reshape(len(main), -1, main.shape[-1]).to(like)
        if condition.shape[1:] != (self.n_tokens, self.dim):
            raise InputError(
                f"embeddings of {condition.shape[1]} tokens of {condition.shape[2]} numbers",
                expected=f"{self.n_tokens} of {self.dim}, as the prior was trained on",
            )
        steps, guidance = self._chosen(num_inference_steps, guidance_scale)
        noise = _draw((self.n_tokens, self.dim), generators).to(condition)
        shape = (self.step_noises(steps), self.n_tokens, self.dim)
        clean = in_equal_blocks(
            lambda *block: self.denoise(*block, steps=steps, guidance=guidance),
            noise,
            condition,
            _draw(shape, generators).to(condition),
            size=self.block,
        )
        if self.length_factor is not None:
            clean = clean * self.length_factor.to(clean)
        clean = clean.reshape(main.shape)
        if embedding.tokens is not None:
            return replace(embedding, tokens=clean)
        return replace(embedding, pooled=clean)

    def match_lengths(self, predicted: Tensor, truth: Tensor, *, pictures: int = 256) -> None:
        """Measure by how much samples are longer or shorter than training targets, per token.

        The factors are kept with the weights and applied to every sample from then on; items to
        be decoded have no part in them.

        Parameters
        ----------
        predicted, truth : Tensor of shape (n, n_tokens, d) or (n, d)
            Left-out predictions and targets of training pictures.
        pictures : int
            How many of them are sampled.
        """
        self.length_factor = None
        shape = (-1, self.n_tokens, self.dim)
        given = predicted.reshape(shape)[:pictures]
        streams = [
            torch.Generator().manual_seed(item_seed(0, "lengths", str(row), 0))
            for row in range(len(given))
        ]
        found = self.sample(BrainEmbedding(tokens=given), generators=streams).main
        length, wanted = (
            values.float().norm(dim=-1).mean(0) for values in (found, truth.reshape(shape))
        )
        self.length_factor = (wanted.to(length) / length.clamp_min(1e-12))[:, None]

    def tensors(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.state_dict()
        return state if self.length_factor is None else {**state, LENGTH: self.length_factor}

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        rest = dict(tensors)
        factor = rest.pop(LENGTH, None)
        if factor is not None and factor.shape != (self.n_tokens, 1):
            raise InputError(
                f"{LENGTH} of shape {tuple(factor.shape)}", expected=f"({self.n_tokens}, 1)"
            )
        self.length_factor = None
        super().load_tensors(rest)
        self.length_factor = None if factor is None else factor.float()

    def _chosen(self, steps: int | None, guidance: float | None) -> tuple[int, float]:
        steps = self.steps if steps is None else steps
        if steps < 1:
            raise UsageError(f"{steps} steps of the {self.name} prior", expected="at least 1")
        return steps, self.guidance_scale if guidance is None else guidance


def token_transformer(
    dim: int, n_tokens: int, *, heads: int, head_dim: int, layers: int
) -> PriorTransformer:
    """Return a transformer over noisy tokens (n, n_tokens, dim), the condition, and time."""
    from diffusers import PriorTransformer

    network = PriorTransformer(
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        num_layers=layers,
        embedding_dim=dim,
        # Condition and noisy tokens both have places; pooled condition and time beside them.
        num_embeddings=2 * n_tokens,
        additional_embeddings=2,
        added_emb_type=None,
    )
    # Moments that diffusers keeps for post-processing; targets here are standardised.
    network.clip_mean.requires_grad_(False)
    network.clip_std.requires_grad_(False)
    return network


def clean_of_noise(current: Tensor, noise: Tensor, alpha: Tensor) -> Tensor:
    """Return the clean values behind noisy ones, for a noise that a network predicted.

    Where hardly any signal is left, the smallest error of the noise becomes a huge one of the
    signal; standardised targets do not lie that far out.

    Parameters
    ----------
    current, noise : Tensor of shape (n, ...)
    alpha : Tensor
        The signal's share of power.
    """
    share = alpha.to(current)
    found = (current - (1 - share).sqrt() * noise) / share.sqrt()
    return found.clamp(-FARTHEST, FARTHEST)


def _draw(shape: tuple[int, ...], generators: Sequence[torch.Generator]) -> Tensor:
    """Return noise (n, *shape), drawn item by item and where the generator lives."""
    drawn = [torch.randn(shape, generator=one, device=one.device) for one in generators]
    return torch.stack([one.cpu() for one in drawn])
