"""What published networks compute, from plain functions: nothing here uses the package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

Weights = Mapping[str, Tensor]


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w.get(f"{name}.bias"))


def layer_norm(w: Weights, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (variance + eps).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def group_norm(w: Weights, name: str, x: Tensor, groups: int, eps: float) -> Tensor:
    n, c = x.shape[:2]
    parts = x.reshape(n, groups, -1)
    mean, variance = parts.mean(-1, keepdim=True), parts.var(-1, unbiased=False, keepdim=True)
    normed = ((parts - mean) / (variance + eps).sqrt()).reshape(x.shape)
    shape = (1, c, *[1] * (x.ndim - 2))
    return normed * w[f"{name}.weight"].view(shape) + w[f"{name}.bias"].view(shape)


def conv(w: Weights, name: str, x: Tensor, padding: int = 1) -> Tensor:
    return F.conv2d(x, w[f"{name}.weight"], w.get(f"{name}.bias"), padding=padding)


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def softmax_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    return (q @ k.transpose(-1, -2) * scale).softmax(-1) @ v


# The decoder half of an autoencoder -----------------------------------------------------------


def resnet(w: Weights, name: str, x: Tensor) -> Tensor:
    h = conv(w, f"{name}.conv1", silu(group_norm(w, f"{name}.norm1", x, 32, 1e-6)))
    h = conv(w, f"{name}.conv2", silu(group_norm(w, f"{name}.norm2", h, 32, 1e-6)))
    if f"{name}.conv_shortcut.weight" in w:
        x = conv(w, f"{name}.conv_shortcut", x, padding=0)
    return x + h


def spatial_attention(w: Weights, name: str, x: Tensor) -> Tensor:
    n, c, height, width = x.shape
    h = group_norm(w, f"{name}.group_norm", x, 32, 1e-6).reshape(n, c, -1).transpose(1, 2)
    q, k, v = (linear(w, f"{name}.{part}", h) for part in ("to_q", "to_k", "to_v"))
    h = linear(w, f"{name}.to_out.0", softmax_attention(q, k, v, 1 / math.sqrt(c)))
    return x + h.transpose(1, 2).reshape(n, c, height, width)


def decoder(w: Weights, prefix: str, x: Tensor) -> Tensor:
    h = conv(w, f"{prefix}conv_in", x)
    h = resnet(w, f"{prefix}mid_block.resnets.0", h)
    h = spatial_attention(w, f"{prefix}mid_block.attentions.0", h)
    h = resnet(w, f"{prefix}mid_block.resnets.1", h)
    for block in range(3):
        for layer in range(2):
            h = resnet(w, f"{prefix}up_blocks.{block}.resnets.{layer}", h)
        if block < 2:
            h = h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            h = conv(w, f"{prefix}up_blocks.{block}.upsamplers.0.conv", h)
    return conv(w, f"{prefix}conv_out", silu(group_norm(w, f"{prefix}conv_norm_out", h, 32, 1e-6)))


# The prior -------------------------------------------------------------------------------------


def gamma_norm(g: Tensor, x: Tensor, stable: bool = False) -> Tensor:
    if stable:
        x = x / x.amax(-1, keepdim=True)
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
    return (x - mean) / (variance + 1e-5).sqrt() * g


def rotary(x: Tensor, freqs: Tensor) -> Tensor:
    """Rotate pairs (2j, 2j + 1) of the first numbers by place times frequency."""
    out = x.clone()
    for place in range(x.shape[-2]):
        for j, freq in enumerate(freqs.tolist()):
            angle = place * freq
            a, b = x[..., place, 2 * j], x[..., place, 2 * j + 1]
            out[..., place, 2 * j] = a * math.cos(angle) - b * math.sin(angle)
            out[..., place, 2 * j + 1] = b * math.cos(angle) + a * math.sin(angle)
    return out


def relative_bucket(back: int) -> int:
    back = max(back, 0)
    if back < 16:
        return back
    return min(31, 16 + int(math.log(back / 16) / math.log(128 / 16) * 16))


def prior(w: Weights, noisy: Tensor, time: int, brain: Tensor) -> Tensor:
    """Return predicted clean tokens (n, t, d) of the DALL-E 2 style network."""
    n, t, d = noisy.shape
    rates = torch.exp(torch.arange(d // 2) * -(math.log(10_000) / (d // 2 - 1)))
    angles = time * rates
    clock = torch.cat([angles.sin(), angles.cos()])[None]
    for place in ("0.0", "1.0", "2"):
        clock = linear(w, f"to_time_embeds.0.1.net.{place}", clock)
        clock = clock if place == "2" else silu(clock)
    x = torch.cat([brain, clock.expand(n, 1, d), noisy + w["learned_query"]], 1)
    length = x.shape[1]
    table = w["causal_transformer.rel_pos_bias.relative_attention_bias.weight"]
    buckets = [[relative_bucket(q - k) for k in range(length + 1)] for q in range(length)]
    bias = table[torch.tensor(buckets)].permute(2, 0, 1)
    layer = 0
    while f"causal_transformer.layers.{layer}.0.to_q.weight" in w:
        name = f"causal_transformer.layers.{layer}."
        h = gamma_norm(w[f"{name}0.norm.g"], x)
        null_k, null_v = w[f"{name}0.null_kv"]
        heads = bias.shape[0]
        q = F.linear(h, w[f"{name}0.to_q.weight"]).unflatten(-1, (heads, -1)).transpose(1, 2)
        k, v = F.linear(h, w[f"{name}0.to_kv.weight"]).chunk(2, -1)
        freqs = w[f"{name}0.rotary_emb.freqs"]
        q, k = rotary(q, freqs), rotary(k, freqs)
        k = torch.cat([null_k.expand(n, 1, -1), k], 1)
        v = torch.cat([null_v.expand(n, 1, -1), v], 1)
        cosines = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1)[:, None].transpose(-1, -2)
        mixed = (16 * cosines + bias).softmax(-1) @ v[:, None]
        mixed = F.linear(mixed.transpose(1, 2).flatten(2), w[f"{name}0.to_out.0.weight"])
        x = x + gamma_norm(w[f"{name}0.to_out.1.g"], mixed)
        h, gate = F.linear(gamma_norm(w[f"{name}1.0.g"], x), w[f"{name}1.1.weight"]).chunk(2, -1)
        x = x + F.linear(h * silu(gate), w[f"{name}1.5.weight"])
        layer += 1
    x = gamma_norm(w["causal_transformer.norm.g"], x, stable=True)
    return F.linear(x, w["causal_transformer.project_out.weight"])[:, -t:]


def cosine_alphas(steps: int) -> Tensor:
    places = torch.arange(steps + 1, dtype=torch.float64) / steps
    shape = torch.cos((places + 0.008) / 1.008 * math.pi / 2) ** 2
    betas = (1 - shape[1:] / shape[:-1]).clamp(0, 0.999)
    return torch.cumprod(1 - betas, 0)


def ddim_prior(w: Weights, brain: Tensor, noise: Tensor, more: list[Tensor], steps: int) -> Tensor:
    """Sample as published: steps asked for are one call fewer, all of DDIM's noise is drawn.

    Shares of signal are those of one time earlier, except where noise is derived from clean tokens.
    """
    alphas = cosine_alphas(100)
    earlier = torch.cat([torch.ones(1, dtype=alphas.dtype), alphas[:-1]])
    times = torch.linspace(-1.0, 100, steps + 1)[:-1]
    times = list(reversed(times.int().tolist()))
    x, drawn = noise, iter(more)
    for time, after in pairwise(times):
        clean = prior(w, x, time, brain)
        if after < 0:
            return clean
        told = float(alphas[time])
        eps = (x - math.sqrt(told) * clean) / math.sqrt(1 - told)
        a, b = float(earlier[time]), float(earlier[after])
        sigma = math.sqrt((1 - a / b) * (1 - b) / (1 - a))
        x = math.sqrt(b) * clean + math.sqrt(1 - b - sigma**2) * eps + sigma * next(drawn)
    return x


# Encoders of MindEye ---------------------------------------------------------------------------


def projector(w: Weights, name: str, x: Tensor) -> Tensor:
    for number in (0, 3, 6):
        x = linear(w, f"{name}.{number + 2}", gelu(layer_norm(w, f"{name}.{number}", x)))
    return x


def mindeye2_trunk(w: Weights, x: Tensor) -> Tensor:
    """Mix (n, 1, h) along the width and along a sequence of one, as it was published."""
    x = x[:, None]
    first, second = x, x.transpose(1, 2)
    block = 0
    while f"backbone.mixer_blocks1.{block}.0.weight" in w:
        for prefix in ("mixer_blocks1", "mixer_blocks2"):
            name = f"backbone.{prefix}.{block}"
            h = linear(w, f"{name}.1.0", layer_norm(w, f"{name}.0", x))
            h = linear(w, f"{name}.1.3", gelu(h))
            if prefix == "mixer_blocks1":
                first = h + first
                x = first.transpose(1, 2)
            else:
                second = h + second
                x = second.transpose(1, 2)
        block += 1
    return x[:, 0]


def mindeye2(w: Weights, x: Tensor, subject: int = 0) -> dict[str, Tensor]:
    shared = mindeye2_trunk(w, linear(w, f"ridge.linears.{subject}", x))
    d = w["backbone.clip_proj.0.weight"].shape[0]
    tokens = linear(w, "backbone.backbone_linear", shared).unflatten(1, (-1, d))
    found = {"tokens": tokens, "retrieval": projector(w, "backbone.clip_proj", tokens)}
    if "backbone.blin1.weight" in w:
        low = linear(w, "backbone.blin1", shared)
        side = math.isqrt(low.shape[1] // 64)
        low = group_norm(w, "backbone.bnorm", low.unflatten(1, (64, side, side)), 1, 1e-5)
        found["lowlevel"] = decoder(w, "backbone.bupsampler.", low)
    return found


def mindeye1(w: Weights, x: Tensor) -> dict[str, Tensor]:
    v = {name.removeprefix("voxel2clip."): value for name, value in w.items()}
    x = gelu(layer_norm(v, "lin0.1", linear(v, "lin0.0", x)))
    block = 0
    while f"mlp.{block}.0.weight" in v:
        x = x + gelu(layer_norm(v, f"mlp.{block}.1", linear(v, f"mlp.{block}.0", x)))
        block += 1
    tokens = linear(v, "lin1", x).unflatten(1, (-1, v["projector.0.weight"].shape[0]))
    return {"tokens": tokens, "retrieval": projector(v, "projector", tokens)}


def mindeye1_latents(w: Weights, x: Tensor) -> Tensor:
    x = silu(layer_norm(w, "lin0.1", F.linear(x, w["lin0.0.weight"])))
    block = 0
    while f"mlp.{block}.0.weight" in w:
        x = x + silu(layer_norm(w, f"mlp.{block}.1", F.linear(x, w[f"mlp.{block}.0.weight"])))
        block += 1
    x = F.linear(x, w["lin1.weight"])
    side = math.isqrt(x.shape[1] // 64)
    x = group_norm(w, "norm", x.unflatten(1, (64, side, side)), 1, 1e-5)
    return decoder(w, "upsampler.", x)


def ancestral_prior(w: Weights, brain: Tensor, noise: Tensor, more: list[Tensor]) -> Tensor:
    """Sample at each of 100 times from the posterior of DDPM; the last one adds no noise."""
    alphas = cosine_alphas(100)
    x = noise
    for number, time in enumerate(reversed(range(100))):
        clean = prior(w, x, time, brain)
        a, b = float(alphas[time]), float(alphas[time - 1]) if time else 1.0
        beta = 1 - a / b
        mean = math.sqrt(b) * beta / (1 - a) * clean + math.sqrt(a / b) * (1 - b) / (1 - a) * x
        x = mean if time == 0 else mean + math.sqrt(beta * (1 - b) / (1 - a)) * more[number]
    return x


# Encoders of EEG -------------------------------------------------------------------------------


def batch_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    shape = (1, -1, 1, 1)
    mean, variance = w[f"{name}.running_mean"].view(shape), w[f"{name}.running_var"].view(shape)
    gain, offset = w[f"{name}.weight"].view(shape), w[f"{name}.bias"].view(shape)
    return (x - mean) / (variance + 1e-5).sqrt() * gain + offset


def tsconv(w: Weights, prefix: str, x: Tensor, pool: int, stride: int) -> Tensor:
    """Convolve in time, average, convolve over channels, mix: (n, C, T) to (n, frames * maps)."""
    x = conv(w, f"{prefix}tsconv.0", x[:, None], padding=0)
    frames = [x[..., at : at + pool].mean(-1) for at in range(0, x.shape[-1] - pool + 1, stride)]
    x = F.elu(batch_norm(w, f"{prefix}tsconv.2", torch.stack(frames, -1)))
    x = F.elu(batch_norm(w, f"{prefix}tsconv.5", conv(w, f"{prefix}tsconv.4", x, padding=0)))
    x = conv(w, f"{prefix}projection.0", x, padding=0)
    return x[:, :, 0].transpose(1, 2).flatten(1)


def residual_head(w: Weights, prefix: str, inner: str, x: Tensor) -> Tensor:
    x = linear(w, f"{prefix}0", x)
    return layer_norm(w, f"{prefix}2", x + linear(w, f"{prefix}1.{inner}", gelu(x)))


def atm(
    w: Weights, x: Tensor, subject: int, *, heads: int = 4, legacy: bool = True,
    positions: bool = True,
) -> Tensor:  # fmt: skip
    e, n_chans = "encoder.enc_embedding.", x.shape[1]
    x = linear(w, f"{e}value_embedding", x)
    if positions:
        x = x + w[f"{e}position_embedding.pe"][:, :n_chans]
    table = w[f"{e}subject_embedding.subject_embedding.weight"]
    shared = w[f"{e}subject_embedding.shared_embedding"][0]
    own = table[subject] if subject < len(table) else shared
    x = torch.cat([own.expand(len(x), 1, -1), x], 1)
    layer = "encoder.encoder.attn_layers.0."
    q, k, v = (
        linear(w, f"{layer}attention.{part}_projection", x)
        .unflatten(2, (heads, -1))
        .transpose(1, 2)
        for part in ("query", "key", "value")
    )
    mixed = softmax_attention(q, k, v, 1 / math.sqrt(q.shape[-1])).transpose(1, 2).flatten(2)
    x = layer_norm(w, f"{layer}norm1", x + linear(w, f"{layer}attention.out_projection", mixed))
    h = gelu(F.linear(x, w[f"{layer}conv1.weight"][..., 0], w[f"{layer}conv1.bias"]))
    h = F.linear(h, w[f"{layer}conv2.weight"][..., 0], w[f"{layer}conv2.bias"])
    x = layer_norm(w, "encoder.encoder.norm", layer_norm(w, f"{layer}norm2", x + h))
    x = x[:, :n_chans] if legacy else x[:, 1:]
    return residual_head(w, "proj_eeg.", "fn.1", tsconv(w, "enc_eeg.0.", x, 51, 5))


def cogcap(w: Weights, x: Tensor) -> Tensor:
    """Attention over samples, one head; the first subject's matrix over time."""
    tokens = x.transpose(1, 2) + w["attention_model.pos_encoder.pe"][: x.shape[2]]
    layer = "attention_model.transformer_encoder.layers.0."
    both = F.linear(
        tokens, w[f"{layer}self_attn.in_proj_weight"], w[f"{layer}self_attn.in_proj_bias"]
    )
    mixed = softmax_attention(*both.chunk(3, -1), 1 / math.sqrt(tokens.shape[-1]))
    tokens = layer_norm(w, f"{layer}norm1", tokens + linear(w, f"{layer}self_attn.out_proj", mixed))
    hidden = linear(w, f"{layer}linear2", linear(w, f"{layer}linear1", tokens).relu())
    x = layer_norm(w, f"{layer}norm2", tokens + hidden).transpose(1, 2)
    x = linear(w, "subject_wise_linear.0", x)
    return residual_head(w, "proj_eeg.", "fn.1", tsconv(w, "enc_eeg.0.", x, 51, 5))


def enigma(w: Weights, x: Tensor, label: str) -> Tensor:
    x = linear(w, f"subject_wise_linear.sub-{label}", x)
    return residual_head(w, "mlp_proj.", "fn.1", tsconv(w, "tsencoder.", x, 17, 5))


def hive(w: Weights, x: Tensor) -> Tensor:
    name = "brain_model.backbone."
    x = linear(w, f"{name}proj_in", x.flatten(1))
    layer = 0
    while f"{name}block.layers.{layer}.ff.w1.weight" in w:
        inner = f"{name}block.layers.{layer}."
        h = F.linear(gelu(F.linear(x, w[f"{inner}ff.w1.weight"])), w[f"{inner}ff.w2.weight"])
        x = layer_norm(w, f"{inner}norm", x + h, eps=1e-6)
        layer += 1
    return x


# The prior of ATM ------------------------------------------------------------------------------


def unet_noise(w: Weights, x: Tensor, time: float, told: Tensor | None) -> Tensor:
    """Return the noise that the U-shaped perceptron sees at a time."""
    size = w["encode_time_embedding.0.linear_1.weight"].shape[1]
    rates = torch.exp(-math.log(10_000) * torch.arange(size // 2) / (size // 2))
    clock = torch.cat([(time * rates).cos(), (time * rates).sin()])[None]
    x = silu(layer_norm(w, "input_layer.1", linear(w, "input_layer.0", x)))
    kept = []
    for half in ("encode", "decode"):
        level = 0
        while f"{half}_layers.{level}.0.weight" in w:
            if half == "encode":
                kept.append(x)
            t = linear(w, f"{half}_time_embedding.{level}.linear_1", clock)
            x = x + linear(w, f"{half}_time_embedding.{level}.linear_2", silu(t))
            if told is not None:
                x = x + linear(w, f"{half}_cond_embedding.{level}", told)
            name = f"{half}_layers.{level}"
            x = silu(layer_norm(w, f"{name}.1", linear(w, f"{name}.0", x)))
            if half == "decode":
                x = x + kept.pop()
            level += 1
    return linear(w, "output_layer", x)


def unet_prior(
    w: Weights, told: Tensor, noise: Tensor, more: list[Tensor], steps: int, guidance: float
) -> Tensor:
    """DDPM of a linear schedule over 1000 times; clean values are cut to -1..1 at every step."""
    betas = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    alphas = torch.cumprod(1 - betas, 0)
    x, pace = noise, 1000 // steps
    for number, time in enumerate(range(pace * (steps - 1), -1, -pace)):
        free = unet_noise(w, x, float(time), None)
        eps = free + guidance * (unet_noise(w, x, float(time), told) - free)
        a = float(alphas[time])
        b = float(alphas[time - pace]) if time >= pace else 1.0
        clean = ((x - math.sqrt(1 - a) * eps) / math.sqrt(a)).clamp(-1, 1)
        mean = math.sqrt(b) * (1 - a / b) / (1 - a) * clean
        mean = mean + math.sqrt(a / b) * (1 - b) / (1 - a) * x
        x = mean if time == 0 else mean + math.sqrt((1 - a / b) * (1 - b) / (1 - a)) * more[number]
    return x


# Brain-IT --------------------------------------------------------------------------------------


def bit(w: Weights, x: Tensor, cluster: Tensor, rows: slice, heads: int) -> Tensor:
    """Graph attention with an edge from each voxel to its cluster, then blocks of a transformer."""
    messages = x[..., None] * w["voxel_embed"][rows]
    query = linear(w, "conv_centers.lin_query", w["centers"])
    nodes = linear(w, "conv_centers.lin_skip", w["centers"]).expand(len(x), -1, -1).clone()
    for number in range(len(query)):
        own = messages[:, cluster[rows] == number]
        if own.shape[1]:
            key, value = (linear(w, f"conv_centers.lin_{part}", own) for part in ("key", "value"))
            weight = (key @ query[number] / math.sqrt(key.shape[-1])).softmax(-1)
            nodes[:, number] += (weight[..., None] * value).sum(1)
    nodes = layer_norm(w, "norm_centers", nodes.relu())
    queries = w["pred_tokens"].expand(len(x), -1, -1)

    def split(values: Tensor) -> Tensor:
        return values.unflatten(-1, (heads, -1)).transpose(1, 2)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        parts = (split(q), split(k), split(v))
        mixed = softmax_attention(*parts, 1 / math.sqrt(parts[0].shape[-1]))
        return mixed.transpose(1, 2).flatten(2)

    def perceptron(name: str, values: Tensor) -> Tensor:
        inner = layer_norm(w, f"{name}.norm2", values)
        return linear(w, f"{name}.mlp.fc2", gelu(linear(w, f"{name}.mlp.fc1", inner)))

    def look(number: int) -> Tensor:
        name = f"block_crosses.{number}"
        k, v = linear(w, f"{name}.attn.kv", layer_norm(w, f"{name}.norm1", nodes)).chunk(2, -1)
        seen = linear(w, f"{name}.attn.proj", attend(queries, k, v))
        return seen + perceptron(name, seen)

    queries = queries + look(0)
    number = 0
    while f"blocks.{number}.attn.qkv.weight" in w:
        name = f"blocks.{number}"
        q, k, v = linear(w, f"{name}.attn.qkv", layer_norm(w, f"{name}.norm1", nodes)).chunk(3, -1)
        nodes = nodes + linear(w, f"{name}.attn.proj", attend(q, k, v))
        nodes = nodes + perceptron(name, nodes)
        queries = queries + look(number + 1)
        number += 1
    return linear(w, "proj", queries)


# The perception reconstructor of NeuroClips ----------------------------------------------------


def attention_over(w: Weights, name: str, x: Tensor) -> Tensor:
    """One head over the middle axis of (n, places, c), group norm over places and channels."""
    h = group_norm(w, f"{name}.group_norm", x.transpose(1, 2), 32, 1e-6).transpose(1, 2)
    q, k, v = (linear(w, f"{name}.{part}", h) for part in ("to_q", "to_k", "to_v"))
    return x + linear(w, f"{name}.to_out.0", softmax_attention(q, k, v, 1 / math.sqrt(x.shape[-1])))


def places_and_frames(w: Weights, block: str, number: int, x: Tensor, frames: int) -> Tensor:
    """Attend over places of each frame, then over frames of each place of one clip; mix both."""
    n, c, height, width = x.shape
    h = attention_over(w, f"{block}.attentions.{number}", x.flatten(2).transpose(1, 2))
    later = torch.zeros_like(h)
    for clip in range(n // frames):
        rows = slice(clip * frames, (clip + 1) * frames)
        over = attention_over(w, f"{block}.temp_attentions.{number}", h[rows].transpose(0, 1))
        later[rows] = over.transpose(0, 1)
    weight = w[f"{block}.weights.{number}"]
    h = weight * h + (1 - weight) * later
    return h.transpose(1, 2).reshape(n, c, height, width)


def one_layer_mixer(w: Weights, prefix: str, x: Tensor) -> Tensor:
    x = x[:, None]
    first, second = x, x.transpose(1, 2)
    block = 0
    while f"{prefix}mixer_blocks1.{block}.0.weight" in w:
        name = f"{prefix}mixer_blocks1.{block}"
        first = gelu(linear(w, f"{name}.1.0", layer_norm(w, f"{name}.0", x))) + first
        name, turned = f"{prefix}mixer_blocks2.{block}", first.transpose(1, 2)
        second = gelu(linear(w, f"{name}.1.0", layer_norm(w, f"{name}.0", turned))) + second
        x = second.transpose(1, 2)
        block += 1
    return x[:, 0]


def perception(w: Weights, x: Tensor, frames: int) -> Tensor:
    """Return latents (n, frames * 4, h, w) of volumes."""
    x = one_layer_mixer(w, "fmri.", gelu(linear(w, "fmri.lin0.0", x)))
    x = gelu(linear(w, "fmri.lin1.0", x)).reshape(len(x) * frames, -1)
    x = linear(w, "backbone.blin1", mindeye2_trunk(w, linear(w, "ridge1.linears.0", x)))
    side = math.isqrt(x.shape[1] // 64)
    up = "backbone.bupsampler."
    h = group_norm(w, "backbone.bnorm", x.unflatten(1, (64, side, side)), 1, 1e-5)
    h = resnet(w, f"{up}mid_block.resnets.0", conv(w, f"{up}conv_in", h))
    h = places_and_frames(w, f"{up}mid_block", 0, h, frames)
    h = resnet(w, f"{up}mid_block.resnets.1", h)
    for block in range(3):
        name = f"{up}up_blocks.{block}"
        for layer in range(2):
            h = resnet(w, f"{name}.resnets.{layer}", h)
            h = places_and_frames(w, name, layer, h, frames)
        if block < 2:
            h = h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            h = conv(w, f"{name}.upsamplers.0.conv", h)
    h = conv(w, f"{up}conv_out", silu(group_norm(w, f"{up}conv_norm_out", h, 32, 1e-6)))
    return h.unflatten(0, (-1, frames)).flatten(1, 2)
