"""A whole decoder with tiny, random, real parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.data.prepare import write_subject
from phosphene.data.scenes import render, sample_scenes
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.encoders.stimulus.open_clip import OpenClipTarget
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.storage import save_array
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

SIZE, N_PICTURES, N_VOXELS = 16, 40, 30


@pytest.fixture(scope="session")
def tiny_pictures() -> Pictures:
    return render(sample_scenes(0, N_PICTURES), SIZE).images


@pytest.fixture(scope="session")
def tiny_target(tiny_pictures: Pictures) -> OpenClipTarget:
    torch.manual_seed(0)
    model = {
        "embed_dim": 8,
        "vision_cfg": {
            "image_size": SIZE, "patch_size": 4, "width": 16, "layers": 1, "head_width": 8,
            "pool_type": "avg",
        },
        "text_cfg": {"context_length": 8, "width": 16, "heads": 2, "layers": 1},
    }  # fmt: skip
    target = OpenClipTarget(model, ["a", "red", "cube"], grid=2)
    target.standardise(tiny_pictures)
    target.half().float()
    return target


@pytest.fixture(scope="session")
def tiny_latents(tiny_pictures: Pictures) -> LatentTarget:
    torch.manual_seed(1)
    options = {
        "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
        "block_out_channels": [4, 8], "layers_per_block": 1, "latent_channels": 2,
        "norm_num_groups": 2, "sample_size": SIZE, "mid_block_add_attention": False,
    }  # fmt: skip
    latents = LatentTarget("AutoencoderKL", options, SIZE)
    latents.standardise(tiny_pictures)
    latents.half().float()
    return latents


def latent_diffusion(
    target: OpenClipTarget, latents: LatentTarget, *, with_map: bool = True
) -> LatentDiffusion:
    """Return one that has the map of tokens beside its latents, or attends to tokens alone."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(2)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=2 + 16 if with_map else 2, out_channels=2, layers_per_block=1,
        block_out_channels=(8, 8), cross_attention_dim=16, attention_head_dim=4,
        norm_num_groups=4, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    unet.half().float()
    return LatentDiffusion(unet, latents, condition=target.spec.hash, steps=4)


@pytest.fixture(scope="session")
def tiny_generator(tiny_target: OpenClipTarget, tiny_latents: LatentTarget) -> LatentDiffusion:
    return latent_diffusion(tiny_target, tiny_latents)


@pytest.fixture(scope="session", params=["attention", "map"])
def tiny_generators(
    request: pytest.FixtureRequest, tiny_target: OpenClipTarget, tiny_latents: LatentTarget
) -> LatentDiffusion:
    return latent_diffusion(tiny_target, tiny_latents, with_map=request.param == "map")


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory, tiny_pictures: Pictures) -> Path:
    """Two subjects whose voxels are a noisy linear map of the pictures; last pictures validate."""
    root = tmp_path_factory.mktemp("dataset")
    save_array(root / "stimuli.npy", tiny_pictures)
    flat = tiny_pictures.reshape(N_PICTURES, -1) / 255.0
    for number, subject in enumerate(("01", "02")):
        generator = np.random.default_rng(number)
        weights = generator.standard_normal((flat.shape[1], N_VOXELS))
        order = np.tile(np.arange(N_PICTURES), 2)
        data = (flat - flat.mean(0)) @ weights / 5
        data = data[order] + generator.standard_normal((len(order), N_VOXELS)) * 0.3
        table = pd.DataFrame({"stimulus_id": [f"{row:03d}" for row in order]})
        table["split"] = np.where(order >= N_PICTURES - 8, "validation", "train")
        recording = Recording(
            data.astype(np.float32),
            "fmri",
            subject,
            complete_trials(table, len(table)),
            VoxelSpace.columns(N_VOXELS),
        )
        write_subject(root / "data", recording, root / "stimuli.npy")
    return root / "data"


@pytest.fixture(scope="session")
def tiny_parts_folder(
    tmp_path_factory: pytest.TempPathFactory,
    tiny_target: OpenClipTarget,
    tiny_generator: LatentDiffusion,
) -> Path:
    """``target/`` and ``generator/`` as `phosphene train` takes them."""
    root = tmp_path_factory.mktemp("parts")
    tiny_target.save_pretrained(root / "target")
    tiny_generator.save(root / "generator")
    return root
