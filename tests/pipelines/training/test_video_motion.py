"""Training of layers over time, tiny."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from phosphene.errors import InputError
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.generators.video.motion_module import MotionModule, motion_places
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.video_motion import (
    ClipObjective,
    _shared,
    _window,
    train_motion_module,
)


def layers(generator: LatentDiffusion, window: int = 4) -> MotionModule:
    unet, channels = generator.unet, generator.latents.shape[0]
    torch.manual_seed(0)
    first = int(unet.conv_in.out_channels)
    return MotionModule(motion_places(unet), window, channels, first, heads=2, groups=2, hidden=8)


def clips(generator: LatentDiffusion, n: int = 10, frames: int = 4) -> dict[str, torch.Tensor]:
    """Return still clips, whose frames are whatever the first one is."""
    stream = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=stream)

    shape, width = generator.latents.shape, int(generator.unet.config.cross_attention_dim)
    latent, token, feature = normal(n, 1, *shape), normal(n, 4, width), normal(n, 6)
    return {
        "latent": latent.expand(-1, frames, -1, -1, -1).contiguous(),
        "flow": torch.zeros(n, frames, 2, 4, 4),
        "token": token,
        "feature": feature,
        "told_token": token + normal(n, 4, width),
        "told_feature": torch.zeros(n, 6),
        "drawn": latent[:, 0] + normal(n, *shape),
    }


def test_only_the_layers_over_time_learn(tiny_generator: LatentDiffusion, tmp_path: Path) -> None:
    motion = layers(tiny_generator)
    pictures = {name: value.clone() for name, value in tiny_generator.unet.state_dict().items()}
    before = {name: value.clone() for name, value in motion.state_dict().items()}
    config = EngineConfig(epochs=3, batch_size=4, learning_rate=5e-3)
    result = train_motion_module(
        tiny_generator, motion, clips(tiny_generator), config, folder=tmp_path, held_out=2
    )
    scores = [row["validation"] for row in result.history]
    assert len(scores) == 3
    assert min(scores[1:]) < scores[0]
    assert all(
        torch.equal(value, pictures[name])
        for name, value in tiny_generator.unet.state_dict().items()
    )
    assert any(not torch.equal(value, before[name]) for name, value in motion.state_dict().items())


def test_the_loss_counts_flicker(tiny_generator: LatentDiffusion) -> None:
    batch, noise = clips(tiny_generator), torch.Generator().manual_seed(2)
    found = ClipObjective(tiny_generator)(layers(tiny_generator), batch, noise, 0.0)
    assert set(found) == {"loss", "velocity", "change"}
    assert float(found["change"]) > 0
    assert float(found["loss"]) > 0


def test_windows_lie_around_the_keyframe() -> None:
    stream = torch.Generator().manual_seed(0)
    found = {tuple(_window(16, 16, stream)) for _ in range(60)}
    assert found == {tuple(range(16)), tuple(range(4, 12)), tuple(range(0, 16, 2))}
    assert all(rows[len(rows) // 2] == 8 for rows in found)


def test_noise_is_shared_by_an_amount_of_each_clip() -> None:
    noise = _shared(torch.zeros(6, 2, 3, 40, 40), torch.Generator().manual_seed(0))
    assert torch.allclose(noise.flatten(1).var(dim=1), torch.ones(6), atol=0.06)
    alike = (noise[:, 0] * noise[:, 1]).flatten(1).mean(1)
    assert (alike > 0.62).all()
    assert (alike < 1.06).all()
    assert alike.max() - alike.min() > 0.1


def test_clips_that_are_too_short_are_refused(
    tiny_generator: LatentDiffusion, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="latents of clips of shape") as error:
        train_motion_module(
            tiny_generator,
            layers(tiny_generator, window=8),
            clips(tiny_generator),
            EngineConfig(epochs=1),
            folder=tmp_path,
            held_out=2,
        )
    assert "8 frames and more" in str(error.value)
