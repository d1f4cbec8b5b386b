"""The low-level branch on photographs, with a real pretrained autoencoder (TAEF2, MIT).

Neither is part of this project: where they do not lie beside it, these tests say so and skip. The
brain is made up: voxels are noisy mixtures of latents.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from phosphene.data.pictures import Pictures
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.pipelines.metrics import pixel_correlation
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

ROOT = Path(os.environ.get("PHOSPHENE_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))
PHOTOS, WEIGHTS = ROOT / "photos" / "photos_96px.npz", ROOT / "weights"
SIZE, N_TRAIN, N_TEST, N_VOXELS = 64, 300, 60, 900

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (PHOTOS.is_file() and (WEIGHTS / "taef2_encoder.safetensors").is_file()),
        reason=f"no photographs and autoencoder in {ROOT}; PHOSPHENE_TEST_DATA names them",
    ),
]


class Block(nn.Module):
    """Three convolutions beside the identity; in the middle of the network, a mix of channels."""

    def __init__(self, pooled: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(3):
            layers += [nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()]
        self.conv = nn.Sequential(*layers[:-1])
        if pooled:
            self.pool = nn.Sequential(
                nn.Conv2d(64, 256, 1, bias=False), nn.GroupNorm(4, 256), nn.ReLU(),
                nn.Conv2d(256, 64, 1, bias=False),
            )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pool(x) if hasattr(self, "pool") else x
        return torch.relu(self.conv(x) + x)


class Bounded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class TinyAutoencoder(nn.Module):
    """TAEF2, with the interface of an autoencoder of diffusers: pictures in -1..1."""

    def __init__(self) -> None:
        super().__init__()

        def half(channels: int) -> nn.Module:
            return nn.Conv2d(64, channels, 3, stride=2, padding=1, bias=False)

        def double() -> list[nn.Module]:
            return [nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, padding=1, bias=False)]

        plain = [Block(False) for _ in range(12)]
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1), plain[0], half(64), *plain[1:4], half(64),
            *plain[4:7], half(64), Block(True), Block(True), Block(True),
            nn.Conv2d(64, 32, 3, padding=1),
        )  # fmt: skip
        rest = [Block(False) for _ in range(7)]
        self.decoder = nn.Sequential(
            Bounded(), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), Block(True), Block(True),
            Block(True), *double(), *rest[:3], *double(), *rest[3:6], *double(), rest[6],
            nn.Conv2d(64, 3, 3, padding=1),
        )  # fmt: skip
        for part in ("encoder", "decoder"):
            tensors = load_file(WEIGHTS / f"taef2_{part}.safetensors")
            getattr(self, part).load_state_dict({k: v.float() for k, v in tensors.items()})
        self.config = {"latent_channels": 32}

    def encode(self, pictures: Tensor) -> Any:
        return {"latents": self.encoder(pictures / 2 + 0.5)}

    def decode(self, latents: Tensor) -> Any:
        return type("Shown", (), {"sample": self.decoder(latents).clamp(0, 1) * 2 - 1})()


class NaturalLatents(LatentTarget):
    """Latents of that autoencoder, 1/8 of the picture's side."""

    def __init__(self) -> None:
        options = {
            "latent_channels": 32, "encoder_block_out_channels": (64,) * 4,
            "decoder_block_out_channels": (64,) * 4,
        }  # fmt: skip
        with torch.device("meta"):
            super().__init__("AutoencoderTiny", options, SIZE)
        config, self.vae = self.vae.config, TinyAutoencoder().eval().requires_grad_(False)
        self.vae.config = config

    def to_latents(self, pictures: Tensor) -> Tensor:
        found: Tensor = (self.vae.encode(pictures)["latents"] - self.mean) / self.scale
        return found


@pytest.fixture(scope="module")
def photos() -> Pictures:
    from phosphene.data.pictures import fit_pictures

    with np.load(PHOTOS, allow_pickle=False) as archive:
        shown = archive["images"][: N_TRAIN + N_TEST]
    return fit_pictures(shown, size=SIZE, channels=3)


@pytest.fixture(scope="module")
def target(photos: Pictures) -> NaturalLatents:
    made = NaturalLatents()
    made.standardise(photos[:N_TRAIN])
    return made


@pytest.fixture(scope="module")
def latents(target: NaturalLatents, photos: Pictures) -> Tensor:
    return target.encode(photos)


def shown(pictures: Tensor) -> Pictures:
    array: Pictures = (pictures * 255).round().byte().permute(0, 2, 3, 1).numpy()
    return array


def test_the_autoencoder_is_as_good_as_its_makers_say(
    target: NaturalLatents, latents: Tensor, photos: Pictures
) -> None:
    """26.0 dB at 64 pixels is written beside it; a wrong layer anywhere would cost far more."""
    back = shown(target.decode(latents)).astype(float)
    errors = ((back - photos) ** 2).mean((1, 2, 3))
    assert 10 * np.log10(255**2 / errors).mean() > 26.0


def test_latents_from_a_brain_show_where_things_are(
    target: NaturalLatents, latents: Tensor, photos: Pictures
) -> None:
    """Better than the mean picture, than another photograph's, and never than the autoencoder."""
    noise = np.random.default_rng(0)
    flat = latents.flatten(1).numpy()
    voxels = flat @ noise.standard_normal((flat.shape[1], N_VOXELS)) / np.sqrt(flat.shape[1])
    voxels += 0.3 * noise.standard_normal(voxels.shape)
    names = pd.DataFrame({"stimulus_id": [f"photo-{row}" for row in range(len(voxels))]})
    table = complete_trials(names, len(voxels))
    recording = Recording(
        voxels.astype(np.float32), "fmri", "01", table, VoxelSpace.columns(N_VOXELS)
    )
    train, test = np.arange(N_TRAIN), np.arange(N_TRAIN, N_TRAIN + N_TEST)
    encoder = RidgeEncoder()
    encoder.fit(recording.select(train), latents[:N_TRAIN])
    predicted = encoder.encode(recording.select(test)).lowlevel
    assert predicted is not None
    assert predicted.shape == (N_TEST, 32, 8, 8)
    decoded = shown(target.decode(predicted))
    truth = photos[test]

    def score(pictures: Pictures) -> float:
        return float(np.mean(pixel_correlation(pictures, truth)))

    mean = np.repeat(photos[:N_TRAIN].mean(0, keepdims=True).astype(np.uint8), N_TEST, axis=0)
    best = score(shown(target.decode(latents[N_TRAIN:])))
    found, wrong, plain = score(decoded), score(np.roll(decoded, 1, axis=0)), score(mean)
    assert best > 0.9
    assert max(wrong, plain) + 0.2 < found < best
