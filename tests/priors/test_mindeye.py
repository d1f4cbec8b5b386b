"""The published prior: sizes, schedule, sampler and layers, each against plain mathematics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from phosphene.errors import InputError
from phosphene.priors.mindeye import (
    GammaNorm,
    MindEyePrior,
    RelativeBias,
    SharedAttention,
    cosine_alphas,
    published_name,
    rotate,
)
from phosphene.priors.mlp_unet import MLPUNetPrior


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("dim", "n_tokens", "heads", "head_dim", "wanted"),
    [(1664, 256, 32, 52, 259_865_216), (768, 257, 12, 64, 56_055_184)],
)
def test_published_sizes(dim: int, n_tokens: int, heads: int, head_dim: int, wanted: int) -> None:
    with torch.device("meta"):
        assert count(MindEyePrior(dim, n_tokens, heads=heads, head_dim=head_dim)) == wanted


def test_atm_has_its_published_size() -> None:
    with torch.device("meta"):
        assert count(MLPUNetPrior()) == 9_675_648


@pytest.fixture
def prior() -> MindEyePrior:
    torch.manual_seed(2)
    return MindEyePrior(16, 4, depth=2, heads=2, head_dim=6).eval()


def test_twenty_steps_are_nineteen_calls_from_94(prior: MindEyePrior) -> None:
    pairs = prior._pairs(20)
    assert len(pairs) == prior.network_calls(20) == 19
    assert pairs[0] == (94, 89)
    assert pairs[-1] == (4, -1)
    assert prior.network_calls(100) == prior.network_calls(250) == 100
    assert prior._pairs(100)[0] == (99, 98)
    assert prior.network_calls(1) == prior.network_calls(2) == 1
    assert prior.network_calls(20, 3.0) == 38


def test_schedule_is_the_cosine_with_its_offset() -> None:
    alphas = cosine_alphas(100)
    assert alphas.shape == (100,)

    def power(place: float) -> float:
        return math.cos((place / 100 + 0.008) / 1.008 * math.pi / 2) ** 2

    for time in (0, 50, 98):
        assert float(alphas[time]) == pytest.approx(power(time + 1) / power(0), rel=1e-5)
    assert float(alphas[99] / alphas[98]) == pytest.approx(0.001, rel=1e-3)  # betas end at .999


def test_the_last_jump_returns_what_the_network_says(prior: MindEyePrior) -> None:
    said = []
    prior.out.register_forward_hook(lambda module, given, found: said.append(found))
    noise = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    more = torch.randn(2, 18, 4, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = prior.denoise(noise, noise, more, steps=20, guidance=1.0)
    assert torch.equal(found, said[-1])


def test_a_step_of_ancestral_sampling_has_the_moments_of_the_posterior(prior: MindEyePrior) -> None:
    """DDPM's q(x_{t-1} | x_t, x_0), from its own formula."""
    clean = torch.zeros(1, 4, 16)
    prior.predict = lambda *given, **named: clean.expand(len(given[0]), -1, -1)  # type: ignore[method-assign]
    draws = 4000
    noise = torch.full((draws, 4, 16), 0.7)
    more = torch.randn(draws, 99, 4, 16, generator=torch.Generator().manual_seed(0))
    alphas = prior.alphas
    prior._pairs = lambda steps: [(60, 59), (59, -1)]  # type: ignore[method-assign]
    kept: list[torch.Tensor] = []
    usual = prior.predict
    prior.predict = lambda current, *rest: kept.append(current) or usual(current)  # type: ignore[func-returns-value,method-assign]
    prior.denoise(noise, clean, more, steps=100, guidance=1.0)
    now, then = float(alphas[60]), float(alphas[59])
    beta = 1 - now / then
    mean = math.sqrt(now / then) * (1 - then) / (1 - now) * 0.7
    assert float(kept[1].mean()) == pytest.approx(mean, abs=2e-3)
    assert float(kept[1].var()) == pytest.approx(beta * (1 - then) / (1 - now), rel=0.02)


def test_layer_norm_is_torchs_and_softer_in_half_precision() -> None:
    values = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    norm = GammaNorm(16)
    assert torch.allclose(norm(values), F.layer_norm(values, (16,), eps=1e-5), atol=1e-6)
    half = norm.to(torch.bfloat16)(values.to(torch.bfloat16)).float()
    assert torch.allclose(half, F.layer_norm(values, (16,), eps=1e-3), atol=0.05)
    stable = GammaNorm(16, stable=True)
    large = stable(values * 1e4)
    assert torch.allclose(large, stable(values), atol=1e-4)


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    frequencies = 10_000.0 ** -(torch.arange(0, 8, 2) / 8)
    one = torch.randn(1, 1, 10, generator=torch.Generator().manual_seed(0)).expand(1, 7, 10)
    turned = rotate(one, frequencies)
    assert torch.allclose(turned.norm(dim=-1), one.norm(dim=-1), atol=1e-5)
    products = turned[0] @ turned[0].T
    for distance in range(1, 6):
        diagonal = products.diagonal(distance)
        assert torch.allclose(diagonal, diagonal[:1].expand_as(diagonal), atol=1e-4)
    assert torch.equal(turned[..., 8:], one[..., 8:])  # beyond the rotary part nothing turns
    assert torch.equal(turned[:, 0], one[:, 0])


def test_relative_bias_is_one_sided_exact_near_and_logarithmic_far() -> None:
    bias = RelativeBias(1)
    with torch.no_grad():
        bias.table.weight[:, 0] = torch.arange(32.0)
        found = bias(300, 301)[0]
    assert float(found[0, 1:].max()) == 0  # keys ahead
    assert [int(found[20, 20 - back]) for back in (0, 1, 15)] == [0, 1, 15]
    assert int(found[299, 299 - 64]) == 16 + int(math.log(64 / 16) / math.log(128 / 16) * 16)
    assert int(found[299, 0]) == 31


def test_attention_is_cosine_attention_with_one_key_for_all_heads() -> None:
    torch.manual_seed(0)
    attention = SharedAttention(16, 2, 6).eval()
    values = torch.randn(2, 5, 16)
    nothing_turns = torch.zeros(3)
    found = attention(values, torch.zeros(2, 5, 6), nothing_turns)
    normed = F.layer_norm(values, (16,), eps=1e-5)
    query = attention.query(normed).view(2, 5, 2, 6)
    key, value = attention.key_value(normed).split(6, dim=-1)
    wanted = torch.zeros(2, 5, 12)
    for item in range(2):
        keys = torch.cat([attention.null[:1], key[item]])
        values_ = torch.cat([attention.null[1:], value[item]])
        for place in range(5):
            for head in range(2):
                cosines = F.cosine_similarity(query[item, place, head][None], keys, dim=-1)
                mixed = (16 * cosines).softmax(0) @ values_
                wanted[item, place, 6 * head : 6 * head + 6] = mixed
    wanted = F.layer_norm(attention.out(wanted), (16,), eps=1e-5)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_dropped_parts_are_replaced_as_a_whole(prior: MindEyePrior) -> None:
    values = torch.randn(3, 4, 16, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([3, 50, 99])
    keep = torch.tensor([True, False, True])
    with torch.no_grad():
        found = prior.predict(values, times, values, keep_brain=keep)
        other = prior.predict(values, times, values + torch.tensor([0, 9.0, 0])[:, None, None],
                              keep_brain=keep)  # fmt: skip
        plain = prior.predict(values, times, values)
    assert torch.equal(found, other)
    assert torch.allclose(found[[0, 2]], plain[[0, 2]], atol=1e-5)
    assert not torch.allclose(found[1], plain[1], atol=1e-3)


def test_published_weights_are_taken_by_their_names(prior: MindEyePrior) -> None:
    shapes = {
        "learned_query": (4, 16), "null_brain_embeds": (4, 16), "null_image_embed": (4, 16),
        "causal_transformer.rel_pos_bias.relative_attention_bias.weight": (32, 2),
        "causal_transformer.norm.g": (16,), "causal_transformer.project_out.weight": (16, 16),
        "to_time_embeds.0.1.net.0.0.weight": (32, 16), "to_time_embeds.0.1.net.0.0.bias": (32,),
        "to_time_embeds.0.1.net.1.0.weight": (32, 32), "to_time_embeds.0.1.net.1.0.bias": (32,),
        "to_time_embeds.0.1.net.2.weight": (16, 32), "to_time_embeds.0.1.net.2.bias": (16,),
    }  # fmt: skip
    for layer in range(2):
        shapes |= {
            f"causal_transformer.layers.{layer}.{name}": shape
            for name, shape in {
                "0.null_kv": (2, 6), "0.norm.g": (16,), "0.to_q.weight": (12, 16),
                "0.to_kv.weight": (12, 16), "0.rotary_emb.freqs": (3,),
                "0.to_out.0.weight": (16, 12), "0.to_out.1.g": (16,), "1.0.g": (16,),
                "1.1.weight": (128, 16), "1.5.weight": (16, 64),
            }.items()
        }  # fmt: skip
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    freqs = [name for name in weights if name.endswith("freqs")]
    weights[freqs[1]] = weights[freqs[0]]  # the same tensor in every layer
    prior.load_published(weights)
    for name, value in prior.state_dict().items():
        assert torch.equal(value, weights[published_name(name)])
    weights.pop("learned_query")
    with pytest.raises(InputError, match="without learned_query"):
        prior.load_published(weights)
