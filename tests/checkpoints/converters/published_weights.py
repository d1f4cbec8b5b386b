"""Small randomly filled checkpoints under the published names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from phosphene.types import Recording, VoxelSpace

Shape = tuple[int, ...]


def random_weights(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, Tensor]:
    """Return tensors of moderate size for names and shapes."""
    stream = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes.items():
        fan = shape[1] if len(shape) > 1 else 4
        value = torch.randn(shape, generator=stream) / max(1, fan) ** 0.5
        last = name.rpartition(".")[2]
        # Gains stay near one, so that small networks neither vanish nor overflow.
        made[name] = 1 + 0.2 * value if last in ("g",) or _is_gain(name, shape) else value
    return made


def _is_gain(name: str, shape: Shape) -> bool:
    return name.endswith(".weight") and len(shape) == 1


def decoder_shapes(c1: int = 32, c2: int = 64, c3: int = 128, out: int = 4) -> dict[str, Shape]:
    """Names and shapes of a decoder with three levels, from the list of the published one."""
    shapes: dict[str, Shape] = {}

    def pair(name: str, *shape: int) -> None:
        shapes[f"{name}.weight"], shapes[f"{name}.bias"] = shape, (shape[0],)

    def resnet(name: str, before: int, after: int) -> None:
        pair(f"{name}.norm1", before)
        pair(f"{name}.conv1", after, before, 3, 3)
        pair(f"{name}.norm2", after)
        pair(f"{name}.conv2", after, after, 3, 3)
        if before != after:
            pair(f"{name}.conv_shortcut", after, before, 1, 1)

    pair("conv_in", c3, 64, 3, 3)
    pair("mid_block.attentions.0.group_norm", c3)
    for name in ("to_q", "to_k", "to_v", "to_out.0"):
        pair(f"mid_block.attentions.0.{name}", c3, c3)
    for number in (0, 1):
        resnet(f"mid_block.resnets.{number}", c3, c3)
    for block, (before, after) in enumerate(((c3, c3), (c3, c2), (c2, c1))):
        resnet(f"up_blocks.{block}.resnets.0", before, after)
        resnet(f"up_blocks.{block}.resnets.1", after, after)
        if block < 2:
            pair(f"up_blocks.{block}.upsamplers.0.conv", after, after, 3, 3)
    pair("conv_norm_out", c1)
    pair("conv_out", out, c1, 3, 3)
    return shapes


def prior_shapes(t: int, d: int, heads: int, e: int, layers: int) -> dict[str, Shape]:
    """Names and shapes of the net of a published prior."""
    shapes: dict[str, Shape] = {
        "learned_query": (t, d), "null_brain_embeds": (t, d), "null_image_embed": (t, d),
        "to_time_embeds.0.1.net.0.0.weight": (2 * d, d),
        "to_time_embeds.0.1.net.0.0.bias": (2 * d,),
        "to_time_embeds.0.1.net.1.0.weight": (2 * d, 2 * d),
        "to_time_embeds.0.1.net.1.0.bias": (2 * d,),
        "to_time_embeds.0.1.net.2.weight": (d, 2 * d), "to_time_embeds.0.1.net.2.bias": (d,),
        "causal_transformer.rel_pos_bias.relative_attention_bias.weight": (32, heads),
        "causal_transformer.norm.g": (d,), "causal_transformer.project_out.weight": (d, d),
    }  # fmt: skip
    for layer in range(layers):
        name = f"causal_transformer.layers.{layer}."
        shapes |= {
            f"{name}0.null_kv": (2, e), f"{name}0.norm.g": (d,),
            f"{name}0.to_q.weight": (heads * e, d), f"{name}0.to_kv.weight": (2 * e, d),
            f"{name}0.rotary_emb.freqs": (min(32, e) // 2,),
            f"{name}0.to_out.0.weight": (d, heads * e), f"{name}0.to_out.1.g": (d,),
            f"{name}1.0.g": (d,), f"{name}1.1.weight": (8 * d, d), f"{name}1.5.weight": (d, 4 * d),
        }  # fmt: skip
    return shapes


def prior_weights(
    prefix: str, t: int, d: int, heads: int, e: int, layers: int
) -> dict[str, Tensor]:
    """A random prior; its frequencies are one tensor in every layer, as they are published."""
    weights = random_weights(prior_shapes(t, d, heads, e, layers), seed=3)
    # Small steps: nineteen calls in a row would make the last digits of an expanding map grow.
    weights["causal_transformer.project_out.weight"] *= 0.03
    freqs = 10_000.0 ** -(torch.arange(0, min(32, e), 2).float() / min(32, e))
    for name in weights:
        if name.endswith("freqs"):
            weights[name] = freqs
    return {f"{prefix}{name}": value for name, value in weights.items()}


def projector_shapes(name: str, dim: int, width: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {}
    for number, before, after in ((0, dim, width), (3, width, width), (6, width, dim)):
        shapes[f"{name}.{number}.weight"] = shapes[f"{name}.{number}.bias"] = (before,)
        shapes[f"{name}.{number + 2}.weight"] = (after, before)
        shapes[f"{name}.{number + 2}.bias"] = (after,)
    return shapes


def mindeye2_weights(
    voxels: tuple[int, ...] = (23,),
    h: int = 12,
    t: int = 5,
    d: int = 16,
    lowlevel: bool = True,
    with_prior: bool = True,
) -> dict[str, Tensor]:
    """``model_state_dict`` of MindEye2."""
    shapes: dict[str, Shape] = {}
    for number, count in enumerate(voxels):
        shapes[f"ridge.linears.{number}.weight"] = (h, count)
        shapes[f"ridge.linears.{number}.bias"] = (h,)
    for block in range(4):
        for prefix, size in (("mixer_blocks1", h), ("mixer_blocks2", 1)):
            name = f"backbone.{prefix}.{block}."
            shapes |= {
                f"{name}0.weight": (size,), f"{name}0.bias": (size,),
                f"{name}1.0.weight": (size, size), f"{name}1.0.bias": (size,),
                f"{name}1.3.weight": (size, size), f"{name}1.3.bias": (size,),
            }  # fmt: skip
    shapes |= {
        "backbone.backbone_linear.weight": (t * d, h),
        "backbone.backbone_linear.bias": (t * d,),
    }
    shapes |= projector_shapes("backbone.clip_proj", d, d)
    if lowlevel:
        shapes |= {"backbone.blin1.weight": (64 * 4, h), "backbone.blin1.bias": (64 * 4,)}
        shapes |= {"backbone.bnorm.weight": (64,), "backbone.bnorm.bias": (64,)}
        shapes |= {f"backbone.bupsampler.{name}": one for name, one in decoder_shapes().items()}
        shapes |= {
            "backbone.b_maps_projector.0.weight": (512, 64, 1, 1),
            "backbone.b_maps_projector.1.weight": (512,),
            "backbone.b_maps_projector.1.bias": (512,),
            "backbone.b_maps_projector.3.weight": (512, 512, 1, 1),
            "backbone.b_maps_projector.4.weight": (512,),
            "backbone.b_maps_projector.4.bias": (512,),
            "backbone.b_maps_projector.6.weight": (512, 512, 1, 1),
            "backbone.b_maps_projector.6.bias": (512,),
        }  # fmt: skip
    weights = random_weights(shapes, seed=1)
    if with_prior:
        weights |= prior_weights("diffusion_prior.net.", t, d, heads=2, e=6, layers=2)
        for name in ("betas", "posterior_mean_coef1"):
            weights[f"diffusion_prior.noise_scheduler.{name}"] = torch.zeros(100)
    return weights


def voxel_recording(n_voxels: int, subject: str = "01", n: int = 3) -> Recording:
    data = np.random.default_rng(5).standard_normal((n, n_voxels)).astype(np.float32)
    table = pd.DataFrame({"stimulus_id": [f"s{row}" for row in range(n)]})
    from phosphene.trials import complete_trials

    return Recording(data, "fmri", subject, complete_trials(table, n), VoxelSpace.columns(n_voxels))


def mindeye1_weights(
    v: int = 23, h: int = 12, t: int = 5, d: int = 16, p: int = 10
) -> dict[str, Tensor]:
    """``model_state_dict`` of MindEye: the prior's object with the brain encoder in it."""
    shapes: dict[str, Shape] = {
        "lin0.0.weight": (h, v), "lin0.0.bias": (h,), "lin0.1.weight": (h,), "lin0.1.bias": (h,),
        "lin1.weight": (t * d, h), "lin1.bias": (t * d,),
    }  # fmt: skip
    for block in range(4):
        shapes |= {
            f"mlp.{block}.0.weight": (h, h), f"mlp.{block}.0.bias": (h,),
            f"mlp.{block}.1.weight": (h,), f"mlp.{block}.1.bias": (h,),
        }  # fmt: skip
    shapes |= projector_shapes("projector", d, p)
    weights = {f"voxel2clip.{n}": value for n, value in random_weights(shapes, seed=2).items()}
    weights |= prior_weights("net.", t, d, heads=2, e=6, layers=2)
    for name in ("betas", "posterior_mean_coef1", "p2_loss_weight"):
        weights[f"noise_scheduler.{name}"] = torch.zeros(100)
    return weights


def mindeye1_latent_weights(v: int = 23, h: int = 12) -> dict[str, Tensor]:
    """``autoencoder_subj01_4x_...``: voxels to latents of a small grid."""
    shapes: dict[str, Shape] = {
        "lin0.0.weight": (h, v), "lin0.1.weight": (h,), "lin0.1.bias": (h,),
        "lin1.weight": (64 * 4, h), "norm.weight": (64,), "norm.bias": (64,),
        "maps_projector.0.weight": (512, 64, 1, 1), "maps_projector.6.bias": (512,),
    }  # fmt: skip
    for block in range(4):
        shapes |= {
            f"mlp.{block}.0.weight": (h, h),
            f"mlp.{block}.1.weight": (h,), f"mlp.{block}.1.bias": (h,),
        }  # fmt: skip
    shapes |= {f"upsampler.{name}": one for name, one in decoder_shapes().items()}
    return random_weights(shapes, seed=4)


def tsconv_shapes(prefix: str, c: int, f: int, k: int, maps: int) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {
        f"{prefix}tsconv.0.weight": (f, 1, 1, k), f"{prefix}tsconv.0.bias": (f,),
        f"{prefix}tsconv.4.weight": (f, f, c, 1), f"{prefix}tsconv.4.bias": (f,),
        f"{prefix}projection.0.weight": (maps, f, 1, 1), f"{prefix}projection.0.bias": (maps,),
    }  # fmt: skip
    for number in (2, 5):
        for name in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{prefix}tsconv.{number}.{name}"] = (f,)
        shapes[f"{prefix}tsconv.{number}.num_batches_tracked"] = ()
    return shapes


def head_shapes(prefix: str, inner: str, width: int, z: int) -> dict[str, Shape]:
    return {
        f"{prefix}0.weight": (z, width), f"{prefix}0.bias": (z,),
        f"{prefix}1.{inner}.weight": (z, z), f"{prefix}1.{inner}.bias": (z,),
        f"{prefix}2.weight": (z,), f"{prefix}2.bias": (z,),
    }  # fmt: skip


def electric_weights(shapes: Mapping[str, Shape], seed: int) -> dict[str, Tensor]:
    """Random tensors with variances above zero and counts as whole numbers."""
    weights = random_weights(shapes, seed)
    for name in weights:
        if name.endswith("running_var"):
            weights[name] = weights[name].abs() + 0.5
        elif name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(7)
    return weights


def atm_weights(c: int = 6, n: int = 90, z: int = 8, f: int = 4) -> dict[str, Tensor]:
    """A bare state_dict of ATM-S."""
    e, layer, inner = "encoder.enc_embedding.", "encoder.encoder.attn_layers.0.", n // 4 * 4
    shapes: dict[str, Shape] = {
        f"{e}value_embedding.weight": (n, n), f"{e}value_embedding.bias": (n,),
        f"{e}position_embedding.pe": (1, 5000, n), f"{e}temporal_embedding.embed.weight": (n, 4),
        f"{e}subject_embedding.subject_embedding.weight": (10, n),
        f"{e}subject_embedding.shared_embedding": (1, n),
        f"{e}subject_embedding.mask_embedding": (1, n), f"{e}mask_token": (1, n),
        f"{layer}conv1.weight": (12, n, 1), f"{layer}conv1.bias": (12,),
        f"{layer}conv2.weight": (n, 12, 1), f"{layer}conv2.bias": (n,),
        f"{layer}attention.out_projection.weight": (n, inner),
        f"{layer}attention.out_projection.bias": (n,), "logit_scale": (),
    }  # fmt: skip
    for name in ("query", "key", "value"):
        shapes[f"{layer}attention.{name}_projection.weight"] = (inner, n)
        shapes[f"{layer}attention.{name}_projection.bias"] = (inner,)
    for name in (f"{layer}norm1", f"{layer}norm2", "encoder.encoder.norm"):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (n,)
    for number in range(2):
        shapes[f"subject_wise_linear.{number}.weight"] = (n, n)
        shapes[f"subject_wise_linear.{number}.bias"] = (n,)
    shapes |= tsconv_shapes("enc_eeg.0.", c, f, 25, f)
    frames = (n - 25 + 1 - 51) // 5 + 1
    shapes |= head_shapes("proj_eeg.", "fn.1", frames * f, z)
    return electric_weights(shapes, seed=6)


def nice_weights(
    c: int = 6, n: int = 250, z: int = 8, f: int = 4
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The two files of NICE that matter."""
    frames = (n - 25 + 1 - 51) // 5 + 1
    encoder = electric_weights(tsconv_shapes("0.", c, f, 25, f), seed=7)
    return encoder, random_weights(head_shapes("", "fn.1", frames * f, z), seed=8)


def nice_attention_weights(c: int = 6, n: int = 250, earlier: bool = False) -> dict[str, Tensor]:
    """Encoder of NICE-SA; in the earlier program convolutions are layers of their own."""
    shapes: dict[str, Shape] = {"0.fn.0.weight": (n,), "0.fn.0.bias": (n,)}
    for name in ("query", "key", "projection"):
        shapes |= {f"0.fn.1.{name}.0.weight": (c, c), f"0.fn.1.{name}.0.bias": (c,)}
        shapes |= {f"0.fn.1.{name}.1.weight": (c,), f"0.fn.1.{name}.1.bias": (c,)}
    weights = electric_weights(shapes | tsconv_shapes("1.", c, 4, 25, 4), seed=11)
    if not earlier:
        return weights
    places = {"1.tsconv.0": "1.tempconv.0", "1.tsconv.2": "1.tempconv.2",
              "1.tsconv.4": "2.spatconv.0", "1.tsconv.5": "2.spatconv.1",
              "1.projection.0": "2.projection.0"}  # fmt: skip
    found = {}
    for name, value in weights.items():
        layer, _, kind = name.rpartition(".")
        found[f"{places.get(layer, layer)}.{kind}"] = value
    return found


def nice_graph_weights(c: int = 6, n: int = 250, linear: str = "lin") -> dict[str, Tensor]:
    """Encoder of NICE-GA; older releases of its library call the linear map otherwise."""
    shapes: dict[str, Shape] = {
        "0.fn.0.conv1.att_src": (1, 1, n), "0.fn.0.conv1.att_dst": (1, 1, n),
        "0.fn.0.conv1.bias": (n,), f"0.fn.0.conv1.{linear}.weight": (n, n),
    }  # fmt: skip
    weights = electric_weights(shapes | tsconv_shapes("1.", c, 4, 25, 4), seed=12)
    if linear == "lin_src":
        weights["0.fn.0.conv1.lin_dst.weight"] = weights["0.fn.0.conv1.lin_src.weight"]
    return weights


def enigma_weights(
    labels: tuple[str, ...] = ("01", "08"), c: int = 6, n: int = 60, z: int = 8
) -> dict[str, Tensor]:
    """``last.pth`` of ENIGMA, without a temperature."""
    shapes: dict[str, Shape] = {}
    for label in labels:
        shapes[f"subject_wise_linear.sub-{label}.weight"] = (n, n)
        shapes[f"subject_wise_linear.sub-{label}.bias"] = (n,)
    shapes |= tsconv_shapes("tsencoder.", c, 5, 5, 4)
    frames = (n - 5 + 1 - 17) // 5 + 1
    shapes |= head_shapes("mlp_proj.", "fn.1", frames * 4, z)
    return electric_weights(shapes, seed=9)


def cogcap_weights(c: int = 6, n: int = 90, z: int = 8, f: int = 4) -> dict[str, Tensor]:
    """One of the three encoders of CognitionCapturer."""
    a = "attention_model."
    shapes: dict[str, Shape] = {f"{a}pos_encoder.pe": (5000, c), "logit_scale": ()}
    for layer in (f"{a}encoder_layer.", f"{a}transformer_encoder.layers.0."):
        shapes |= {
            f"{layer}self_attn.in_proj_weight": (3 * c, c),
            f"{layer}self_attn.in_proj_bias": (3 * c,),
            f"{layer}self_attn.out_proj.weight": (c, c), f"{layer}self_attn.out_proj.bias": (c,),
            f"{layer}linear1.weight": (20, c), f"{layer}linear1.bias": (20,),
            f"{layer}linear2.weight": (c, 20), f"{layer}linear2.bias": (c,),
            f"{layer}norm1.weight": (c,), f"{layer}norm1.bias": (c,),
            f"{layer}norm2.weight": (c,), f"{layer}norm2.bias": (c,),
        }  # fmt: skip
    for number in range(3):
        shapes[f"subject_wise_linear.{number}.weight"] = (n, n)
        shapes[f"subject_wise_linear.{number}.bias"] = (n,)
    shapes |= tsconv_shapes("enc_eeg.0.", c, f, 25, f)
    frames = (n - 25 + 1 - 51) // 5 + 1
    shapes |= head_shapes("proj_eeg.", "fn.1", frames * f, z)
    return electric_weights(shapes, seed=14)


def all_cogcap_weights() -> dict[str, Tensor]:
    """The state_dict of its Lightning checkpoint."""
    found = {f"EEGmodel_img.{name}": value for name, value in cogcap_weights().items()}
    found |= {"EEGmodel_text.logit_scale": torch.zeros(()), "logit_scale": torch.zeros(())}
    return found | {"imagemodel.0.weight": torch.zeros(8, 8)}


def eeg2video_weights() -> dict[str, Tensor]:
    """The semantic predictor of EEG2Video, 7 tokens of 3 numbers."""
    widths = (10, 8, 9, 7, 6, 21)
    shapes: dict[str, Shape] = {}
    for number, place in enumerate((0, 2, 4, 6, 8)):
        shapes[f"mlp.{place}.weight"] = (widths[number + 1], widths[number])
        shapes[f"mlp.{place}.bias"] = (widths[number + 1],)
    return random_weights(shapes, seed=15)


def ubp_weights(row: int = 750, z: int = 8) -> dict[str, Tensor]:
    """The state_dict of UBP's Lightning checkpoint."""
    shapes = {f"brain.model.{n}": s for n, s in head_shapes("", "f.1", row, z).items()}
    return random_weights({**shapes, "brain.logit_scale": ()}, seed=10)


def hive_weights(row: int = 750, z: int = 8) -> dict[str, Tensor]:
    """``model.safetensors`` of Brain-HIVE, fusion of two picture networks beside it."""
    b, v = "brain_model.backbone.", "vision_model."
    shapes: dict[str, Shape] = {
        f"{b}proj_in.weight": (z, row), f"{b}proj_in.bias": (z,),
        f"{v}proj_maps.synclr.weight": (z, 6), f"{v}proj_maps.synclr.bias": (z,),
        f"{v}proj_maps.vae.weight": (z, 4), f"{v}proj_maps.vae.bias": (z,), "logit_scale": (),
    }  # fmt: skip
    for prefix in (b, v):
        name = f"{prefix}block.layers.0."
        shapes |= {
            f"{name}ff.w1.weight": (z, z), f"{name}ff.w2.weight": (z, z),
            f"{name}norm.weight": (z,), f"{name}norm.bias": (z,),
        }  # fmt: skip
    return random_weights(shapes, seed=11)


def atm_prior_weights(
    d: int = 12, widths: tuple[int, ...] = (10, 8, 6), clock: int = 16
) -> dict[str, Tensor]:
    """``diffusion_prior.pt`` of ATM."""
    shapes: dict[str, Shape] = {
        "input_layer.0.weight": (widths[0], d), "input_layer.0.bias": (widths[0],),
        "input_layer.1.weight": (widths[0],), "input_layer.1.bias": (widths[0],),
        "output_layer.weight": (d, widths[0]), "output_layer.bias": (d,),
    }  # fmt: skip
    for half, levels in (("encode", widths), ("decode", widths[::-1])):
        for level in range(len(widths) - 1):
            here, there = levels[level], levels[level + 1]
            shapes |= {
                f"{half}_time_embedding.{level}.linear_1.weight": (here, clock),
                f"{half}_time_embedding.{level}.linear_1.bias": (here,),
                f"{half}_time_embedding.{level}.linear_2.weight": (here, here),
                f"{half}_time_embedding.{level}.linear_2.bias": (here,),
                f"{half}_cond_embedding.{level}.weight": (here, d),
                f"{half}_cond_embedding.{level}.bias": (here,),
                f"{half}_layers.{level}.0.weight": (there, here),
                f"{half}_layers.{level}.0.bias": (there,),
                f"{half}_layers.{level}.1.weight": (there,),
                f"{half}_layers.{level}.1.bias": (there,),
            }
    return random_weights(shapes, seed=12)


def sensor_recording(model: object, subject: str, n: int = 3) -> Recording:
    """Random trials on the sensors of a converted model."""
    protocol = model.preprocessor.protocol  # type: ignore[attr-defined]
    shape = (n, len(protocol.info.ch_names), protocol.n_times)
    data = np.random.default_rng(6).standard_normal(shape).astype(np.float32)
    table = pd.DataFrame({"stimulus_id": [f"s{row}" for row in range(n)]})
    from phosphene.trials import complete_trials

    return Recording(
        data, protocol.modality, subject, complete_trials(table, n), info=protocol.info
    )


def bit_weights(
    n: int = 30, w: int = 8, k: int = 5, t: int = 4, d: int = 6, blocks: int = 2
) -> dict[str, Tensor]:
    """The state_dict of a decoder of Brain-IT for all subjects."""
    shapes: dict[str, Shape] = {
        "voxel_embed": (n, w), "centers": (k, w), "pred_tokens": (t, w), "proj.weight": (d, w),
        "proj.bias": (d,), "norm_centers.weight": (w,), "norm_centers.bias": (w,),
    }  # fmt: skip
    for name in ("key", "query", "value", "skip"):
        shapes[f"conv_centers.lin_{name}.weight"] = (w, w)
        shapes[f"conv_centers.lin_{name}.bias"] = (w,)
    for kind, count, maps, times in (
        ("blocks", blocks, "qkv", 3),
        ("block_crosses", blocks + 1, "kv", 2),
    ):
        for number in range(count):
            name = f"{kind}.{number}."
            shapes |= {
                f"{name}norm1.weight": (w,), f"{name}norm1.bias": (w,),
                f"{name}attn.{maps}.weight": (times * w, w),
                f"{name}attn.proj.weight": (w, w), f"{name}attn.proj.bias": (w,),
                f"{name}norm2.weight": (w,), f"{name}norm2.bias": (w,),
                f"{name}mlp.fc1.weight": (4 * w, w), f"{name}mlp.fc1.bias": (4 * w,),
                f"{name}mlp.fc2.weight": (w, 4 * w), f"{name}mlp.fc2.bias": (w,),
            }  # fmt: skip
    return random_weights(shapes, seed=13)


def clusters(n: int = 30, k: int = 5) -> tuple[Tensor, np.ndarray]:
    """Cluster of each voxel, and the same as the programs write it: rows filled up with -1."""
    of = torch.arange(n) * 7 % (k - 1)  # the last cluster has no voxel
    rows = [torch.nonzero(of == number)[:, 0] for number in range(k)]
    mapping = -np.ones((k, max(map(len, rows))), dtype=int)
    for number, row in enumerate(rows):
        mapping[number, : len(row)] = row
    return of, mapping


def perception_weights(v: int = 9, h: int = 12, s: int = 6, frames: int = 3) -> dict[str, Tensor]:
    """``video_subj0X_PR.pth`` of NeuroClips, with fewer frames."""
    shapes: dict[str, Shape] = {
        "ridge1.linears.0.weight": (h, v), "ridge1.linears.0.bias": (h,),
        "fmri.lin0.0.weight": (s, v), "fmri.lin0.0.bias": (s,),
        "fmri.lin1.0.weight": (v * frames, s), "fmri.lin1.0.bias": (v * frames,),
        "backbone.blin1.weight": (64, h), "backbone.blin1.bias": (64,),
        "backbone.bnorm.weight": (64,), "backbone.bnorm.bias": (64,),
        "backbone.b_maps_projector.6.bias": (512,),
    }  # fmt: skip
    for prefix, width, layers, blocks in (("fmri.", s, (0,), 1), ("backbone.", h, (0, 3), 2)):
        for block in range(blocks):
            for kind, size in (("mixer_blocks1", width), ("mixer_blocks2", 1)):
                name = f"{prefix}{kind}.{block}."
                shapes[f"{name}0.weight"] = shapes[f"{name}0.bias"] = (size,)
                for layer in layers:
                    shapes[f"{name}1.{layer}.weight"] = (size, size)
                    shapes[f"{name}1.{layer}.bias"] = (size,)
    up = "backbone.bupsampler."
    shapes |= {f"{up}{name}": one for name, one in decoder_shapes(32, 64, 96).items()}
    places = [("mid_block", "0", 96)]
    places += [(f"up_blocks.{b}", n, (96, 64, 32)[b]) for b in range(3) for n in "01"]
    for block, number, size in places:
        shapes[f"{up}{block}.weights.{number}"] = (1,)
        for kind in ("attentions", "temp_attentions"):
            name = f"{up}{block}.{kind}.{number}."
            shapes |= {f"{name}group_norm.weight": (size,), f"{name}group_norm.bias": (size,)}
            for part in ("to_q", "to_k", "to_v", "to_out.0"):
                shapes |= {f"{name}{part}.weight": (size, size), f"{name}{part}.bias": (size,)}
    return random_weights(shapes, seed=16)
