"""The prior of MindEye: a DALL-E 2 style transformer over tokens, with the published layout.

Scotti et al. 2023, *Reconstructing the mind's eye*; Scotti et al. 2024, *MindEye2*; Ramesh et al.
2022 (diffusion over CLIP embeddings); Shazeer 2019 (one key and value head for all queries); Su et
al. 2021 (rotary positions); Raffel et al. 2020 (relative position bias in buckets); Song et al.
2021 (DDIM). Every layer is that of the published checkpoints, so their weights can be loaded.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.component import record_config
from phosphene.errors import InputError
from phosphene.priors.learned import LearnedPrior

__all__ = ["MindEyePrior", "published_name"]

BUCKETS, FARTHEST = 32, 128
LOGIT_SCALE = 16.0
ROTARY = 32
COSINE_OFFSET = 0.008


class GammaNorm(nn.Module):
    """Layer norm with a gain and no offset; ``stable`` divides by the largest number first."""

    def __init__(self, dim: int, stable: bool = False) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))
        self.stable = stable

    def forward(self, values: Tensor) -> Tensor:
        if self.stable:
            values = values / values.amax(dim=-1, keepdim=True).detach()
        # The published code guards half precision by a larger constant, and so do its weights.
        eps = 1e-5 if values.dtype == torch.float32 else 1e-3
        centred = values - values.mean(-1, keepdim=True)
        return centred * (centred.square().mean(-1, keepdim=True) + eps).rsqrt() * self.gamma


class RelativeBias(nn.Module):
    """Bias of attention logits by how far back a key lies; keys ahead share bucket 0."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.table = nn.Embedding(BUCKETS, heads)

    def forward(self, n_queries: int, n_keys: int) -> Tensor:
        """Return biases (heads, n_queries, n_keys)."""
        device = self.table.weight.device
        places = torch.arange(n_queries, device=device)[:, None]
        back = (places - torch.arange(n_keys, device=device)).clamp_min(0)
        exact = BUCKETS // 2
        ratio = torch.log(back.clamp_min(1).float() / exact) / math.log(FARTHEST / exact)
        far = (exact + (ratio * (BUCKETS - exact)).long()).clamp_max(BUCKETS - 1)
        bias: Tensor = self.table(torch.where(back < exact, back, far))
        return bias.permute(2, 0, 1)


def rotate(values: Tensor, frequencies: Tensor) -> Tensor:
    """Turn neighbouring pairs of the first numbers of (..., n, d) by place times frequency."""
    size = 2 * len(frequencies)
    angles = torch.arange(values.shape[-2], device=values.device)[:, None] * frequencies
    angles = angles.repeat_interleave(2, dim=-1).to(values.dtype)
    turned, rest = values[..., :size], values[..., size:]
    first, second = turned.unflatten(-1, (-1, 2)).unbind(-1)
    quarter = torch.stack([-second, first], dim=-1).flatten(-2)
    return torch.cat([turned * angles.cos() + quarter * angles.sin(), rest], dim=-1)


class SharedAttention(nn.Module):
    """Cosine attention with many query heads, one key and value head, and a learned null key."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.null = nn.Parameter(torch.randn(2, head_dim))
        self.norm = GammaNorm(dim)
        self.query = nn.Linear(dim, heads * head_dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, dim, bias=False)
        self.out_norm = GammaNorm(dim)

    def forward(self, values: Tensor, bias: Tensor, frequencies: Tensor) -> Tensor:
        values = self.norm(values)
        query = self.query(values).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(values).chunk(2, dim=-1)
        query, key = rotate(query, frequencies), rotate(key, frequencies)
        null_key, null_value = (one.expand(len(values), 1, -1) for one in self.null)
        key = torch.cat([null_key.to(key), key], dim=1)
        value = torch.cat([null_value.to(value), value], dim=1)
        scale = math.sqrt(LOGIT_SCALE)
        logits = (F.normalize(query, dim=-1) * scale) @ (F.normalize(key, dim=-1) * scale)[
            :, None
        ].transpose(-1, -2)
        weights = (logits + bias).softmax(dim=-1, dtype=torch.float32).to(value.dtype)
        found = (weights @ value[:, None]).transpose(1, 2).flatten(-2)
        normed: Tensor = self.out_norm(self.out(found))
        return normed


class GatedForward(nn.Module):
    """Feed-forward with a swish gate, which is the second half of the first product."""

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = GammaNorm(dim)
        self.wide = nn.Linear(dim, 8 * dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.narrow = nn.Linear(4 * dim, dim, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        kept, gate = self.wide(self.norm(values)).chunk(2, dim=-1)
        found: Tensor = self.narrow(self.dropout(kept * F.silu(gate)))
        return found


class MindEyePrior(LearnedPrior):
    """Predicts clean tokens from noisy ones and from what a brain encoder predicted.

    Parameters
    ----------
    dim : int
        1664 for ViT-bigG tokens (MindEye2), 768 for ViT-L (MindEye).
    n_tokens : int
        256 and 257.
    depth : int
    heads, head_dim : int
        32 x 52 and 12 x 64.
    timesteps : int
        Of the diffusion.
    steps : int
        Asked for; one fewer calls the network, as in the published sampler. As many as
        ``timesteps`` is ancestral sampling with that many calls.
    guidance_scale : float
        1 is no guidance, as published.
    dropout : float
        Of the feed-forward.
    class_token_length : bool
        Divide what was sampled by the length of its first token, as MindEye does for a generator
        whose embeddings are.
    shifted : bool
        Take the signal's shares of a step from one time earlier than the network is told, as the
        published sampler does where it leaves times out.
    """

    name = "mindeye"
    block = 8
    alphas: Tensor

    @record_config
    def __init__(
        self,
        dim: int = 1664,
        n_tokens: int = 256,
        depth: int = 6,
        heads: int = 32,
        head_dim: int = 52,
        timesteps: int = 100,
        steps: int = 20,
        guidance_scale: float = 1.0,
        dropout: float = 0.0,
        class_token_length: bool = False,
        shifted: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.n_tokens, self.timesteps = dim, n_tokens, timesteps
        self.class_token_length, self.shifted = class_token_length, shifted
        self.steps, self.guidance_scale = steps, guidance_scale
        size = min(ROTARY, head_dim)
        self.frequencies = nn.Parameter(
            10_000.0 ** -(torch.arange(0, size, 2).float() / size), requires_grad=False
        )
        self.places = nn.Parameter(torch.randn(n_tokens, dim))
        self.no_brain = nn.Parameter(torch.randn(n_tokens, dim))
        self.no_picture = nn.Parameter(torch.randn(n_tokens, dim))
        self.time = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.SiLU(), nn.Linear(2 * dim, 2 * dim), nn.SiLU(),
            nn.Linear(2 * dim, dim),
        )  # fmt: skip
        self.bias = RelativeBias(heads)
        self.attention = nn.ModuleList(SharedAttention(dim, heads, head_dim) for _ in range(depth))
        self.forwards = nn.ModuleList(GatedForward(dim, dropout) for _ in range(depth))
        self.norm = GammaNorm(dim, stable=True)
        self.out = nn.Linear(dim, dim, bias=False)
        self.register_buffer("alphas", cosine_alphas(timesteps), persistent=False)

    def predict(
        self,
        noisy: Tensor,
        times: Tensor,
        condition: Tensor,
        keep_brain: Tensor | None = None,
        keep_picture: Tensor | None = None,
    ) -> Tensor:
        """Return the clean tokens (n, n_tokens, d) the network sees behind noisy ones.

        Parameters
        ----------
        noisy, condition : Tensor of shape (n, n_tokens, d)
        times : Tensor of shape (n,)
        keep_brain, keep_picture : Tensor of shape (n,), optional
            Where false, learned tokens stand in for all of an item.
        """
        if keep_brain is not None:
            condition = torch.where(keep_brain[:, None, None], condition, self.no_brain)
        if keep_picture is not None:
            noisy = torch.where(keep_picture[:, None, None], noisy, self.no_picture)
        time = self.time(_sinusoid(times, self.dim).to(noisy))[:, None]
        values = torch.cat([condition, time, noisy + self.places], dim=1)
        n = values.shape[1]
        bias = self.bias(n, n + 1)
        for attention, forward in zip(self.attention, self.forwards, strict=True):
            values = values + attention(values, bias, self.frequencies)
            values = values + forward(values)
        found: Tensor = self.out(self.norm(values[:, -self.n_tokens :]))
        return found

    def training_loss(
        self, predicted: Tensor, truth: Tensor, generator: torch.Generator, drop: float
    ) -> Tensor:
        """Return the squared error of x0; brain and picture tokens are dropped independently."""
        n, device = len(truth), truth.device
        times = torch.randint(self.timesteps, (n,), generator=generator, device=device)
        noise = torch.randn(truth.shape, generator=generator, device=device)
        alpha = self.alphas[times].to(truth)[:, None, None]
        noisy = alpha.sqrt() * truth + (1 - alpha).sqrt() * noise
        kept = torch.rand(2, n, generator=generator, device=device) >= drop
        return (self.predict(noisy, times, predicted, *kept) - truth).square().mean()

    def calls(self, steps: int) -> int:
        return len(self._pairs(steps))

    def step_noises(self, steps: int) -> int:
        return len(self._pairs(steps)) - 1

    def _pairs(self, steps: int) -> list[tuple[int, int]]:
        """Return (time, next time) of each network call; -1 is the end."""
        last = self.timesteps
        if steps >= last:
            return [(time, time - 1) for time in reversed(range(last))]
        times = torch.linspace(-1, last, steps + 1)[:-1].int().tolist()[::-1]
        # A single step would have no pair at all: it is one call at the noisiest time.
        return list(pairwise(times)) or [(last - 1, -1)]

    def denoise(
        self, noise: Tensor, condition: Tensor, more: Tensor, *, steps: int, guidance: float
    ) -> Tensor:
        """Run DDIM with all of its noise (eta 1), which at every time is ancestral sampling."""
        current = noise
        nobody = torch.zeros(len(noise), dtype=torch.bool, device=noise.device)
        for number, (time, after) in enumerate(self._pairs(steps)):
            times = torch.full((len(noise),), time, device=noise.device)
            clean = self.predict(current, times, condition)
            if guidance != 1:
                free = self.predict(current, times, condition, nobody)
                clean = free + guidance * (clean - free)
            if after < 0:
                break
            alpha, then = self.alphas[time].to(noise), self.alphas[after].to(noise)
            guess = (current - alpha.sqrt() * clean) / (1 - alpha).sqrt()
            if self.shifted and steps < self.timesteps:
                alpha, then = self._before(time).to(noise), self._before(after).to(noise)
            drawn = ((1 - alpha / then) * (1 - then) / (1 - alpha)).sqrt()
            left = (1 - then - drawn.square()).clamp_min(0).sqrt()
            current = then.sqrt() * clean + left * guess + drawn * more[:, number]
        if self.class_token_length:
            clean = clean / torch.linalg.vector_norm(clean[:, :1], dim=-1, keepdim=True)
        return clean

    def _before(self, time: int) -> Tensor:
        """Return the signal's share one time before."""
        return self.alphas[time - 1] if time else torch.ones_like(self.alphas[0])

    def load_published(self, weights: dict[str, Tensor]) -> None:
        """Take over weights under their published names, all of them and no others.

        Parameters
        ----------
        weights : dict of str to Tensor
            Names as in the ``net`` of a published ``diffusion_prior``, without prefix.
        """
        # One tensor that they repeat in every layer.
        first = published_name("frequencies")
        again = first.removeprefix("causal_transformer.layers.0")
        weights = {n: v for n, v in weights.items() if n == first or not n.endswith(again)}
        names = {published_name(name): name for name in self.state_dict()}
        unknown = sorted(set(weights) - set(names))
        if unknown or set(names) - set(weights):
            absent = sorted(set(names) - set(weights))
            raise InputError(
                f"published weights with {', '.join(unknown[:3]) or 'no unknown tensors'} and "
                f"without {', '.join(absent[:3]) or 'none missing'}",
                expected=f"{len(names)} tensors of a prior of {len(self.attention)} layers",
                remedy="give the part of the checkpoint that begins with diffusion_prior.net.",
            )
        self.load_tensors({names[name]: value.float() for name, value in weights.items()})


def published_name(name: str) -> str:
    """Return what the published checkpoints call a tensor.

    Examples
    --------
    >>> published_name("attention.2.query.weight")
    'causal_transformer.layers.2.0.to_q.weight'
    """
    exact = {
        "places": "learned_query",
        "no_brain": "null_brain_embeds",
        "no_picture": "null_image_embed",
        "bias.table.weight": "causal_transformer.rel_pos_bias.relative_attention_bias.weight",
        "norm.gamma": "causal_transformer.norm.g",
        "out.weight": "causal_transformer.project_out.weight",
        "frequencies": "causal_transformer.layers.0.0.rotary_emb.freqs",
    }
    if name in exact:
        return exact[name]
    part, number, *rest = name.split(".")
    inner = ".".join(rest)
    if part == "time":
        place = {"0": "0.0", "2": "1.0", "4": "2"}[number]
        return f"to_time_embeds.0.1.net.{place}.{inner}"
    attention = {
        "null": "null_kv", "norm.gamma": "norm.g", "query.weight": "to_q.weight",
        "key_value.weight": "to_kv.weight", "out.weight": "to_out.0.weight",
        "out_norm.gamma": "to_out.1.g",
    }  # fmt: skip
    forward = {"norm.gamma": "0.g", "wide.weight": "1.weight", "narrow.weight": "5.weight"}
    where, names = ("0", attention) if part == "attention" else ("1", forward)
    return f"causal_transformer.layers.{number}.{where}.{names[inner]}"


def cosine_alphas(timesteps: int) -> Tensor:
    """Return the signal's share of power at each time (Nichol and Dhariwal 2021)."""
    places = torch.linspace(0, timesteps, timesteps + 1, dtype=torch.float64) / timesteps
    shape = ((places + COSINE_OFFSET) / (1 + COSINE_OFFSET) * math.pi / 2).cos().square()
    betas = (1 - shape[1:] / shape[:-1]).clamp(0, 0.999)
    return (1 - betas).cumprod(0).float()


def _sinusoid(times: Tensor, dim: int) -> Tensor:
    """Return sines, then cosines, of times at geometrically spaced frequencies (n, dim)."""
    half = dim // 2
    rates = torch.exp(torch.arange(half, device=times.device) * -(math.log(10_000) / (half - 1)))
    angles = times[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
