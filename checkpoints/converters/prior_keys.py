"""Key map of the DALL-E 2 style prior that MindEye, MindEye2 and NeuroClips publish."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from phosphene.checkpoints.converters.key_map import Drop, Key, KeyMap, Matched
from phosphene.priors.mindeye import cosine_alphas

__all__ = [
    "PRIOR",
    "prior_config",
    "prior_tensors",
    "schedule_buffers",
    "schedule_length",
    "schedule_note",
    "with_repeats",
]

LAYER = "causal_transformer.layers.{l}."
NET = (
    Key("learned_query", "places", ("t", "d")),
    Key("null_brain_embeds", "no_brain", ("t", "d")),
    Key("null_image_embed", "no_picture", ("t", "d")),
    Key("to_time_embeds.0.1.net.0.0.weight", "time.0.weight", ("2*d", "d")),
    Key("to_time_embeds.0.1.net.0.0.bias", "time.0.bias", ("2*d",)),
    Key("to_time_embeds.0.1.net.1.0.weight", "time.2.weight", ("2*d", "2*d")),
    Key("to_time_embeds.0.1.net.1.0.bias", "time.2.bias", ("2*d",)),
    Key("to_time_embeds.0.1.net.2.weight", "time.4.weight", ("d", "2*d")),
    Key("to_time_embeds.0.1.net.2.bias", "time.4.bias", ("d",)),
    Key(
        "causal_transformer.rel_pos_bias.relative_attention_bias.weight",
        "bias.table.weight",
        (32, "heads"),
    ),
    Key(f"{LAYER}0.null_kv", "attention.{l}.null", (2, "e")),
    Key(f"{LAYER}0.norm.g", "attention.{l}.norm.gamma", ("d",)),
    Key(f"{LAYER}0.to_q.weight", "attention.{l}.query.weight", ("heads*e", "d")),
    Key(f"{LAYER}0.to_kv.weight", "attention.{l}.key_value.weight", ("2*e", "d")),
    # One tensor, which the checkpoints repeat in every layer.
    Key(f"{LAYER}0.rotary_emb.freqs", "frequencies.{l}", ("f",)),
    Key(f"{LAYER}0.to_out.0.weight", "attention.{l}.out.weight", ("d", "heads*e")),
    Key(f"{LAYER}0.to_out.1.g", "attention.{l}.out_norm.gamma", ("d",)),
    Key(f"{LAYER}1.0.g", "forwards.{l}.norm.gamma", ("d",)),
    Key(f"{LAYER}1.1.weight", "forwards.{l}.wide.weight", ("8*d", "d")),
    Key(f"{LAYER}1.5.weight", "forwards.{l}.narrow.weight", ("d", "4*d")),
    Key("causal_transformer.norm.g", "norm.gamma", ("d",)),
    Key("causal_transformer.project_out.weight", "out.weight", ("d", "d")),
)
SCHEDULE = (
    "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod", "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped",
    "posterior_mean_coef1", "posterior_mean_coef2", "p2_loss_weight",
)  # fmt: skip
PRIOR = KeyMap(
    "the MindEye prior",
    tuple(Key("net." + key.published, key.own, key.shape, "prior") for key in NET),
    (Drop("noise_scheduler.*", "recomputed from the cosine schedule"),),
)


def prior_config(matched: Matched, timesteps: int, steps: int) -> dict[str, Any]:
    """Return the arguments of a prior from the sizes of its tensors.

    Parameters
    ----------
    matched : Matched
    timesteps : int
        Of the diffusion.
    steps : int
        Asked of the sampler.
    """
    sizes = matched.sizes
    return {
        "dim": sizes["d"], "n_tokens": sizes["t"], "depth": sizes["#l"], "heads": sizes["heads"],
        "head_dim": sizes["e"], "timesteps": timesteps, "steps": steps,
        "shifted": True,
    }  # fmt: skip


def schedule_length(tensors: Mapping[str, Tensor], prefix: str, usual: int = 100) -> int:
    """Return how many times the diffusion of a file has; its schedule says so."""
    stored = tensors.get(f"{prefix}noise_scheduler.alphas_cumprod")
    return usual if stored is None else len(stored)


def prior_tensors(matched: Matched, prefix: str) -> dict[str, Tensor]:
    """Return the tensors of the prior; of repeated frequencies the last, as loading leaves it."""
    last = matched.sizes["#l"] - 1
    found = {}
    for name, value in matched.tensors.items():
        plain = name.removeprefix(prefix)
        if not name.startswith(prefix):
            continue
        if plain.startswith("frequencies."):
            if plain == f"frequencies.{last}":
                found["frequencies"] = value
        else:
            found[plain] = value
    return found


def with_repeats(tensors: Mapping[str, Tensor], depth: int) -> dict[str, Tensor]:
    """Return tensors of a prior with its frequencies in every layer, as they are published."""
    rest = {name: value for name, value in tensors.items() if name != "frequencies"}
    return rest | {f"frequencies.{layer}": tensors["frequencies"] for layer in range(depth)}


def schedule_note(tensors: Mapping[str, Tensor], prefix: str) -> list[str]:
    """Say where a file's noise schedule is another than the cosine one of its length."""
    stored = tensors.get(f"{prefix}noise_scheduler.alphas_cumprod")
    if stored is None:
        return []
    if torch.allclose(stored.float(), cosine_alphas(len(stored)), atol=1e-4):
        return []
    return [
        f"the noise schedule in the file ({len(stored)} times) is not the cosine one that the "
        "prior was published with; that one is used"
    ]


def schedule_buffers(timesteps: int = 100) -> dict[str, Tensor]:
    """Return the buffers of the published noise scheduler (Nichol and Dhariwal 2021)."""
    alphas = cosine_alphas(timesteps).double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), alphas[:-1]])
    betas = 1 - alphas / before
    variance = betas * (1 - before) / (1 - alphas)
    values = (
        betas, alphas, before, alphas.sqrt(), (1 - alphas).sqrt(), (1 - alphas).log(),
        (1 / alphas).sqrt(), (1 / alphas - 1).sqrt(), variance, variance.clamp_min(1e-20).log(),
        betas * before.sqrt() / (1 - alphas), (1 - before) * (1 - betas).sqrt() / (1 - alphas),
        torch.ones(timesteps, dtype=torch.float64),
    )  # fmt: skip
    return {name: value.float() for name, value in zip(SCHEDULE, values, strict=True)}
