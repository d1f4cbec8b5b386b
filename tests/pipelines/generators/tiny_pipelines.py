"""Tiny, randomly initialised, real pipelines of diffusers, written to disk as a hub model lies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

WIDTH, PROJECTION, WORDS = 16, 12, 8


def clip_vision(output: str) -> Any:
    """Return a picture encoder as target; tokens are 5 of 16 numbers, pooled are 12."""
    from phosphene.encoders.stimulus.clip_vision import COLOURS, ClipVisionTarget

    torch.manual_seed(5)
    config = {
        "hidden_size": WIDTH, "intermediate_size": 16, "projection_dim": PROJECTION,
        "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 16, "patch_size": 8,
    }  # fmt: skip
    pale = COLOURS["mindeye2"] if output == "patches" else COLOURS["clip"]
    return ClipVisionTarget(config, output, *pale)  # type: ignore[arg-type]


def text_encoder(folder: Path, name: str, *, projected: bool = False) -> None:
    """Write a text encoder of CLIP and its tokeniser."""
    from transformers import (
        CLIPTextConfig,
        CLIPTextModel,
        CLIPTextModelWithProjection,
        CLIPTokenizer,
    )

    vocabulary = {"a</w>": 0, "b</w>": 1, "<|startoftext|>": 2, "<|endoftext|>": 3}
    number = name.removeprefix("text_encoder")
    tokenizer = CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=WORDS)  # type: ignore[call-arg]
    tokenizer.save_pretrained(folder / f"tokenizer{number}")
    config = CLIPTextConfig(
        vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=WORDS, projection_dim=8,
        bos_token_id=2, eos_token_id=3, pad_token_id=3,
    )  # fmt: skip
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    kind(config).save_pretrained(folder / name)


def autoencoder() -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(4, 8), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=2,
        layers_per_block=1, sample_size=16,
    )  # fmt: skip


def unet(**more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    settings = {
        "sample_size": 8, "layers_per_block": 1, "block_out_channels": (8, 8),
        "norm_num_groups": 2, "attention_head_dim": 2, "cross_attention_dim": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return UNet2DConditionModel(**(settings | more))


def write_index(folder: Path, kind: str, parts: dict[str, tuple[str, str]]) -> None:
    """Write ``model_index.json`` of parts that lie there already."""
    from phosphene.storage import write_json

    listed = {name: list(value) for name, value in parts.items()}
    write_json(folder / "model_index.json", {"_class_name": kind, **listed})


def kandinsky22(root: Path) -> Path:
    from diffusers import DDPMScheduler, KandinskyV22Pipeline, UNet2DConditionModel, VQModel

    torch.manual_seed(6)
    network = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=8, layers_per_block=1,
        block_out_channels=(32, 64), attention_head_dim=4, norm_num_groups=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"),
        up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", cross_attention_dim=8,
        encoder_hid_dim=PROJECTION, encoder_hid_dim_type="image_proj",
        addition_embed_type="image", resnet_time_scale_shift="scale_shift",
    )  # fmt: skip
    movq = VQModel(
        block_out_channels=(32, 32), layers_per_block=1, norm_type="spatial", latent_channels=4,
        vq_embed_dim=4, num_vq_embeddings=12, norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
    )  # fmt: skip
    scheduler = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, clip_sample=False, prediction_type="epsilon",
        variance_type="learned_range",
    )  # fmt: skip
    pipeline = KandinskyV22Pipeline(unet=network, scheduler=scheduler, movq=movq)
    pipeline.save_pretrained(root / "pipeline")
    return root


def stable_unclip(root: Path) -> Path:
    from diffusers import DDIMScheduler, DDPMScheduler
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import (
        StableUnCLIPImageNormalizer,
    )

    torch.manual_seed(7)
    folder = root / "pipeline"
    text_encoder(folder, "text_encoder")
    network = unet(
        class_embed_type="projection", projection_class_embeddings_input_dim=2 * PROJECTION
    )
    network.save_pretrained(folder / "unet")
    autoencoder().save_pretrained(folder / "vae")
    normaliser = StableUnCLIPImageNormalizer(PROJECTION)
    torch.nn.init.normal_(normaliser.mean)
    torch.nn.init.constant_(normaliser.std, 0.7)
    normaliser.save_pretrained(folder / "image_normalizer")
    scheduler = DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        set_alpha_to_one=False, prediction_type="v_prediction", steps_offset=1,
    )  # fmt: skip
    scheduler.save_pretrained(folder / "scheduler")
    noising = DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    noising.save_pretrained(folder / "image_noising_scheduler")
    write_index(
        folder,
        "StableUnCLIPImg2ImgPipeline",
        {
            "feature_extractor": ("transformers", "CLIPImageProcessor"),
            "image_encoder": ("transformers", "CLIPVisionModelWithProjection"),
            "image_normalizer": ("stable_diffusion", "StableUnCLIPImageNormalizer"),
            "image_noising_scheduler": ("diffusers", "DDPMScheduler"),
            "tokenizer": ("transformers", "CLIPTokenizer"),
            "text_encoder": ("transformers", "CLIPTextModel"),
            "unet": ("diffusers", "UNet2DConditionModel"),
            "scheduler": ("diffusers", "DDIMScheduler"),
            "vae": ("diffusers", "AutoencoderKL"),
        },
    )
    return root


def ip_adapter(root: Path, *, file: str, large: bool, plus: bool) -> Path:
    """Write a base pipeline of Stable Diffusion or SDXL, and an adapter beside it."""
    from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler

    torch.manual_seed(8)
    folder = root / "pipeline"
    text_encoder(folder, "text_encoder")
    parts = {
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
    }
    scheduler: Any
    if large:
        text_encoder(folder, "text_encoder_2", projected=True)
        parts["tokenizer_2"] = ("transformers", "CLIPTokenizer")
        parts["text_encoder_2"] = ("transformers", "CLIPTextModelWithProjection")
        network = unet(
            cross_attention_dim=16, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 8,
        )  # fmt: skip
        scheduler = EulerAncestralDiscreteScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
            timestep_spacing="trailing",
        )  # fmt: skip
        kind = "StableDiffusionXLPipeline"
    else:
        network = unet()
        parts["safety_checker"] = ("stable_diffusion", "StableDiffusionSafetyChecker")
        parts["feature_extractor"] = ("transformers", "CLIPImageProcessor")
        scheduler = DDIMScheduler(
            beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
            clip_sample=False, set_alpha_to_one=False, steps_offset=1,
        )  # fmt: skip
        kind = "StableDiffusionPipeline"
    parts["scheduler"] = ("diffusers", type(scheduler).__name__)
    network.save_pretrained(folder / "unet")
    autoencoder().save_pretrained(folder / "vae")
    scheduler.save_pretrained(folder / "scheduler")
    write_index(folder, kind, parts)
    path = root / "adapter" / file
    path.parent.mkdir(parents=True)
    save_file(adapter_weights(network, plus=plus), path)
    return root


def adapter_weights(network: Any, *, plus: bool) -> dict[str, torch.Tensor]:
    """Return an adapter of random weights, under the names of the published ones."""
    width = int(network.config.cross_attention_dim)
    numbers = [i for i, n in enumerate(network.attn_processors) if "attn2" in n]
    places = [n for n in network.attn_processors if "attn2" in n]
    modules = dict(network.named_modules())
    found = {}
    for number, place in zip(numbers, places, strict=True):
        inner = modules[place.removesuffix(".processor")].to_k.out_features
        for name in ("to_k_ip", "to_v_ip"):
            found[f"ip_adapter.{number}.{name}.weight"] = torch.randn(inner, width)
    if not plus:
        found["image_proj.proj.weight"] = torch.randn(4 * width, PROJECTION)
        found["image_proj.proj.bias"] = torch.randn(4 * width)
        found["image_proj.norm.weight"] = torch.ones(width)
        found["image_proj.norm.bias"] = torch.zeros(width)
        return found
    hidden = 64
    shapes: dict[str, tuple[int, ...]] = {
        "latents": (1, 4, hidden), "proj_in.weight": (hidden, WIDTH), "proj_in.bias": (hidden,),
        "proj_out.weight": (width, hidden), "proj_out.bias": (width,),
        "norm_out.weight": (width,), "norm_out.bias": (width,),
    }  # fmt: skip
    for layer in range(4):
        shapes |= {
            f"layers.{layer}.{name}": shape
            for name, shape in {
                "0.norm1.weight": (hidden,), "0.norm1.bias": (hidden,),
                "0.norm2.weight": (hidden,), "0.norm2.bias": (hidden,),
                "0.to_q.weight": (hidden, hidden), "0.to_kv.weight": (2 * hidden, hidden),
                "0.to_out.weight": (hidden, hidden), "1.0.weight": (hidden,),
                "1.0.bias": (hidden,), "1.1.weight": (4 * hidden, hidden),
                "1.3.weight": (hidden, 4 * hidden),
            }.items()
        }  # fmt: skip
    for name, shape in shapes.items():
        found[f"image_proj.{name}"] = torch.randn(shape) / 4
    return found


def controlnet(root: Path, *, file: str) -> Path:
    """Write Stable Diffusion, an adapter, and a ControlNet whose last layers are not zero."""
    from diffusers import ControlNetModel

    ip_adapter(root, file=file, large=False, plus=False)
    torch.manual_seed(10)
    network = ControlNetModel(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=2, attention_head_dim=2,
        cross_attention_dim=8, conditioning_embedding_out_channels=(4, 8),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
    )  # fmt: skip
    for module in (*network.controlnet_down_blocks, network.controlnet_mid_block):
        torch.nn.init.normal_(module.weight, std=0.3)  # they start from zero: no effect at all
    torch.nn.init.normal_(network.controlnet_cond_embedding.conv_out.weight, std=0.3)
    network.save_pretrained(root / "controlnet")
    return root


def versatile(root: Path) -> Path:
    """Write the picture flow, under the index of the whole pipeline."""
    from diffusers import DDIMScheduler

    torch.manual_seed(11)
    folder = root / "pipeline"
    unet(cross_attention_dim=PROJECTION).save_pretrained(folder / "image_unet")
    autoencoder().save_pretrained(folder / "vae")
    DDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        set_alpha_to_one=False, steps_offset=1,
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    write_index(
        folder,
        "VersatileDiffusionPipeline",
        {
            "image_encoder": ("transformers", "CLIPVisionModelWithProjection"),
            "image_feature_extractor": ("transformers", "CLIPImageProcessor"),
            "image_unet": ("diffusers", "UNet2DConditionModel"),
            "scheduler": ("diffusers", "DDIMScheduler"),
            "text_encoder": ("transformers", "CLIPTextModelWithProjection"),
            "text_unet": ("versatile_diffusion", "UNetFlatConditionModel"),
            "tokenizer": ("transformers", "CLIPTokenizer"),
            "vae": ("diffusers", "AutoencoderKL"),
        },
    )
    return root


def refine(root: Path) -> Path:
    """Write SDXL, without any adapter."""
    made = ip_adapter(root, file="unused.safetensors", large=True, plus=False)
    (made / "adapter" / "unused.safetensors").unlink()
    (made / "adapter").rmdir()
    return made


UNCLIP_UNET = {
    "sample_size": 8, "block_out_channels": [8, 8, 16], "layers_per_block": 2,
    "norm_num_groups": 2, "attention_head_dim": [1, 2, 4], "cross_attention_dim": WIDTH,
    "transformer_layers_per_block": [1, 1, 2], "use_linear_projection": True,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 4 * 8,
}  # fmt: skip
UNCLIP_AUTOENCODER = {
    "block_out_channels": [4, 8], "down_block_types": ["DownEncoderBlock2D"] * 2,
    "up_block_types": ["UpDecoderBlock2D"] * 2, "latent_channels": 4, "norm_num_groups": 2,
    "layers_per_block": 2, "sample_size": 16, "scaling_factor": 0.13025,
}  # fmt: skip


def sdxl_unclip(root: Path) -> Path:
    """Write a checkpoint under its publisher's names of tensors, and convert it."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from phosphene.pipelines.generators.unclip_checkpoint import convert_unclip_checkpoint

    torch.manual_seed(9)
    root.mkdir(parents=True)
    network = UNet2DConditionModel(**UNCLIP_UNET)
    vae = AutoencoderKL(**UNCLIP_AUTOENCODER)
    found = {
        f"model.diffusion_model.{published_unet_name(key, layers=2)}": value
        for key, value in network.state_dict().items()
    }
    for key, value in vae.state_dict().items():
        flat = "attentions" in key and key.endswith("weight") and "group_norm" not in key
        name = published_autoencoder_name(key, blocks=2)
        # The publisher's attention is made of convolutions over single pixels.
        found[f"first_stage_model.{name}"] = value[..., None, None] if flat else value
    found["conditioner.embedders.0.open_clip.model.visual.proj"] = torch.randn(4, 4)
    torch.save({"state_dict": found, "global_step": 110000}, root / "published.ckpt")
    convert_unclip_checkpoint(
        root / "published.ckpt", root / "pipeline", unet=UNCLIP_UNET,
        autoencoder=UNCLIP_AUTOENCODER,
    )  # fmt: skip
    return root


def published_unet_name(key: str, *, layers: int) -> str:
    """Return how the code that SDXL was trained with names a tensor of the UNet."""
    for ours, theirs in (
        ("time_embedding.linear_1", "time_embed.0"), ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"), ("add_embedding.linear_2", "label_emb.0.2"),
        ("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2"),
        ("mid_block.resnets.0", "middle_block.0"), ("mid_block.attentions.0", "middle_block.1"),
        ("mid_block.resnets.1", "middle_block.2"), ("norm1", "in_layers.0"),
        ("conv1", "in_layers.2"), ("norm2", "out_layers.0"), ("conv2", "out_layers.3"),
        ("time_emb_proj", "emb_layers.1"), ("conv_shortcut", "skip_connection"),
    ):  # fmt: skip
        inner = ours[:5] in ("norm1", "norm2", "conv1", "conv2")
        if not (inner and "transformer_blocks" in key):
            key = key.replace(ours, theirs)
    parts = key.split(".")
    if parts[0] not in ("down_blocks", "up_blocks"):
        return key
    block, kind, layer, rest = int(parts[1]), parts[2], int(parts[3]), ".".join(parts[4:])
    first = block * (layers + 1)
    if kind == "downsamplers":
        return f"input_blocks.{first + layers + 1}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        return f"output_blocks.{first + layers}.2.{rest}"
    number = first + layer + (1 if parts[0] == "down_blocks" else 0)
    side = "input_blocks" if parts[0] == "down_blocks" else "output_blocks"
    return f"{side}.{number}.{0 if kind == 'resnets' else 1}.{rest}"


def published_autoencoder_name(key: str, *, blocks: int) -> str:
    """Return how the code that SDXL was trained with names a tensor of its autoencoder."""
    for ours, theirs in (
        ("mid_block.resnets.0", "mid.block_1"), ("mid_block.resnets.1", "mid.block_2"),
        ("mid_block.attentions.0", "mid.attn_1"), ("group_norm", "norm"), ("to_q", "q"),
        ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out"), ("conv_norm_out", "norm_out"),
        ("conv_shortcut", "nin_shortcut"), ("downsamplers.0", "downsample"),
        ("upsamplers.0", "upsample"), ("resnets", "block"), ("down_blocks", "down"),
    ):  # fmt: skip
        key = key.replace(ours, theirs)
    for block in range(blocks):
        key = key.replace(f"up_blocks.{block}.", f"up.{blocks - 1 - block}.")
    return key
