"""Tiny, randomly initialised, real video pipelines, written to disk as a hub model lies."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

spec = importlib.util.spec_from_file_location(
    "tiny_pipelines", Path(__file__).parents[1] / "tiny_pipelines.py"
)
assert spec is not None
assert spec.loader is not None
tiny = importlib.util.module_from_spec(spec)  # the suite's files are no package
spec.loader.exec_module(tiny)

DDIM = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
    "clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1,
}  # fmt: skip


def t5(width: int = 8, *, multilingual: bool = False) -> tuple[Any, Any]:
    """Return a text encoder of T5 and its tokeniser."""
    from transformers import (
        T5Config,
        T5EncoderModel,
        T5Tokenizer,
        UMT5Config,
        UMT5EncoderModel,
    )

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0)]
    pieces += [(letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0)
    settings = {
        "d_model": width, "d_ff": 8, "num_layers": 1, "num_heads": 2, "d_kv": 4,
        "vocab_size": len(pieces), "feed_forward_proj": "gated-gelu",
    }  # fmt: skip
    if multilingual:
        return UMT5EncoderModel(UMT5Config(**settings)).eval(), tokenizer
    return T5EncoderModel(T5Config(**settings)).eval(), tokenizer


def loud(network: Any) -> Any:
    """Return a network whose last layers do not begin near zero, so that conditions show."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.mul_(1.5)
    return network


def animatediff(root: Path, *, adapter: bool = False) -> Path:
    from diffusers import MotionAdapter, SparseControlNetModel

    file = "models/ip-adapter_sd15.safetensors"
    tiny.ip_adapter(root, file=file, large=False, plus=False)
    if not adapter:
        (root / "adapter" / file).unlink()
    torch.manual_seed(20)
    motion = MotionAdapter(
        block_out_channels=(8, 8), motion_layers_per_block=1, motion_norm_num_groups=2,
        motion_num_attention_heads=2, use_motion_mid_block=False, motion_max_seq_length=16,
    )  # fmt: skip
    loud(motion).save_pretrained(root / "motion")
    control = SparseControlNetModel(
        in_channels=4, conditioning_channels=4, block_out_channels=(8, 8), layers_per_block=1,
        norm_num_groups=2, attention_head_dim=2, cross_attention_dim=8,
        down_block_types=("DownBlockMotion", "CrossAttnDownBlockMotion"),
        motion_num_attention_heads=2, use_simplified_condition_embedding=True,
    )  # fmt: skip
    for module in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(module.weight, std=0.3)  # they start from zero: no effect at all
    torch.nn.init.normal_(control.controlnet_cond_embedding.weight, std=0.3)
    control.save_pretrained(root / "control")
    return root


def stable_video(root: Path) -> Path:
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
    )

    torch.manual_seed(21)
    network = UNetSpatioTemporalConditionModel(
        block_out_channels=(32, 64), num_attention_heads=4, cross_attention_dim=12,
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=24, layers_per_block=1,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        sample_size=8, num_frames=4,
    )  # fmt: skip
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2,
        latent_channels=4, layers_per_block=1, sample_size=16,
    )  # fmt: skip
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, projection_dim=12, num_hidden_layers=1,
            num_attention_heads=2, image_size=16, patch_size=8,
        )
    )  # fmt: skip
    pipeline = StableVideoDiffusionPipeline(
        vae=vae, image_encoder=encoder, unet=network,
        feature_extractor=CLIPImageProcessor(size=16, crop_size=16),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
            prediction_type="v_prediction", use_karras_sigmas=True, timestep_type="continuous",
            sigma_min=0.002, sigma_max=700.0, steps_offset=1, timestep_spacing="leading",
        ),
    )  # fmt: skip
    pipeline.save_pretrained(root / "pipeline")
    return root


def wan(root: Path) -> Path:
    from diffusers import (
        AutoencoderKLWan,
        UniPCMultistepScheduler,
        WanImageToVideoPipeline,
        WanTransformer3DModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(22)
    encoder, tokenizer = t5(multilingual=True)
    pipeline = WanImageToVideoPipeline(
        tokenizer=tokenizer, text_encoder=encoder,
        transformer=WanTransformer3DModel(
            patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=36,
            out_channels=16, text_dim=8, freq_dim=16, ffn_dim=16, num_layers=2, image_dim=16,
            cross_attn_norm=True, qk_norm="rms_norm_across_heads", rope_max_seq_len=64,
            added_kv_proj_dim=24,
        ),
        vae=AutoencoderKLWan(
            base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1,
            temperal_downsample=[False, True, True],
        ),
        scheduler=UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        image_encoder=CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=16, intermediate_size=16, num_hidden_layers=2,
                num_attention_heads=2, image_size=16, patch_size=8,
            )
        ),
        image_processor=CLIPImageProcessor(size=16, crop_size=16),
    )  # fmt: skip
    pipeline.save_pretrained(root / "pipeline")
    return root


def cogvideox(root: Path) -> Path:
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDPMScheduler,
        CogVideoXImageToVideoPipeline,
        CogVideoXTransformer3DModel,
    )

    torch.manual_seed(23)
    encoder, tokenizer = t5(16)
    pipeline = CogVideoXImageToVideoPipeline(
        tokenizer=tokenizer, text_encoder=encoder,
        transformer=CogVideoXTransformer3DModel(
            num_attention_heads=2, attention_head_dim=16, in_channels=8, out_channels=4,
            time_embed_dim=2, text_embed_dim=16, num_layers=2, sample_width=2, sample_height=2,
            sample_frames=9, patch_size=2, temporal_compression_ratio=4, max_text_seq_length=8,
            use_rotary_positional_embeddings=True, use_learned_positional_embeddings=True,
        ),
        vae=AutoencoderKLCogVideoX(
            down_block_types=("CogVideoXDownBlock3D",) * 4,
            up_block_types=("CogVideoXUpBlock3D",) * 4, block_out_channels=(8, 8, 8, 8),
            latent_channels=4, layers_per_block=1, norm_num_groups=2, temporal_compression_ratio=4,
        ),
        scheduler=CogVideoXDPMScheduler(
            prediction_type="v_prediction", timestep_spacing="trailing", snr_shift_scale=1.0,
            rescale_betas_zero_snr=True,
        ),
    )  # fmt: skip
    pipeline.save_pretrained(root / "pipeline")
    return root


def ltx(root: Path) -> Path:
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )

    torch.manual_seed(24)
    encoder, tokenizer = t5(16)
    vae = AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5, upsample_residual=(False,) * 4, upsample_factor=(1,) * 4,
        timestep_conditioning=False, patch_size=1, patch_size_t=1, encoder_causal=True,
        decoder_causal=False,
    )  # fmt: skip
    # As it is published: under the pipeline from words alone, with the very same parts.
    pipeline = LTXPipeline(
        tokenizer=tokenizer, text_encoder=encoder, vae=vae,
        transformer=LTXVideoTransformer3DModel(
            in_channels=8, out_channels=8, patch_size=1, patch_size_t=1, num_attention_heads=2,
            attention_head_dim=8, cross_attention_dim=16, num_layers=2, caption_channels=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )  # fmt: skip
    pipeline.save_pretrained(root / "pipeline")
    return root


MAKERS: dict[str, Any] = {
    "animatediff": animatediff,
    "animatediff-ip-adapter": lambda root: animatediff(root, adapter=True),
    "stable-video-diffusion": stable_video,
    "wan": wan,
    "cogvideox": cogvideox,
    "ltx": ltx,
}
# Sizes that the tiny networks take, and few steps.
OPTIONS: dict[str, dict[str, Any]] = {
    "animatediff": {"height": 16, "width": 16},
    "animatediff-ip-adapter": {"height": 16, "width": 16},
    "stable-video-diffusion": {"height": 16, "width": 16, "decode_frames": 3},
    "wan": {"height": 16, "width": 16, "rate": 8.0},
    "cogvideox": {"height": 16, "width": 16, "frames": 9},
    "ltx": {"height": 32, "width": 32, "rate": 8.0},
}
__all__ = ["MAKERS", "OPTIONS", "save_file", "tiny"]
