"""Training of autoencoders: its losses in closed form, and that it learns and resumes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.data.scenes import render, sample_scenes
from phosphene.encoders.stimulus.latents import LatentTarget
from phosphene.errors import PhospheneError
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult
from phosphene.pipelines.training.latents import (
    CROP,
    EDGE_WEIGHT,
    KL_WEIGHT,
    _objective,
    train_latents,
)

SIZE, N, WATCHED = 16, 20, 4
CONFIG = EngineConfig(epochs=25, batch_size=5, learning_rate=1e-2, ema_decay=0.8)
OPTIONS: dict[str, Any] = {
    "down_block_types": ["DownEncoderBlock2D"] * 2, "up_block_types": ["UpDecoderBlock2D"] * 2,
    "block_out_channels": [8, 16], "layers_per_block": 1, "latent_channels": 3,
    "norm_num_groups": 4, "mid_block_add_attention": False,
}  # fmt: skip


def build(seed: int = 0) -> LatentTarget:
    torch.manual_seed(seed)
    return LatentTarget("AutoencoderKL", OPTIONS, SIZE)


def silenced() -> Any:
    """Return an autoencoder of zeros: the posterior is standard normal, every picture grey."""
    vae = build().vae
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
    return vae


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return render(sample_scenes(0, N + WATCHED), SIZE).images


@pytest.fixture(scope="module")
def trained(
    pictures: Pictures, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LatentTarget, TrainingResult, Path]:
    folder, target = tmp_path_factory.mktemp("latents"), build()
    result = train_latents(target, pictures, CONFIG, folder=folder, held_out=WATCHED)
    return target, result, folder


def error(target: LatentTarget, pictures: Pictures) -> float:
    """Return the mean squared error in 0..1 of pictures that went through the target."""
    shown = target.decode(target.encode(pictures)).permute(0, 2, 3, 1).double().numpy()
    return float(np.square(shown - pictures / 255).mean())


def test_it_learns_and_keeps_the_weights_of_its_history(
    trained: tuple[LatentTarget, TrainingResult, Path], pictures: Pictures
) -> None:
    target, result, _ = trained
    scores = [row["validation"] for row in result.history]
    assert result.history[-1]["loss"] < 0.7 * result.history[0]["loss"]
    assert result.best_step == N // CONFIG.batch_size * (1 + int(np.argmin(scores)))
    # The history is a mean squared error in 0..1, of the weights that the target now has.
    assert error(target, pictures[-WATCHED:]) == pytest.approx(min(scores), rel=1e-3)
    # Better than what knows each picture's mean colour alone.
    flat = np.square((pictures - pictures.mean((1, 2), keepdims=True)) / 255).mean()
    assert error(target, pictures) < 0.9 * flat
    assert error(build(), pictures) > flat


def test_the_latents_are_standardised(
    trained: tuple[LatentTarget, TrainingResult, Path], pictures: Pictures
) -> None:
    latents = trained[0].encode(pictures)
    assert float(latents.mean()) == pytest.approx(0, abs=1e-5)
    assert float(latents.var()) == pytest.approx(1, abs=1e-4)


def test_a_trained_target_saves_and_loads_exactly(
    trained: tuple[LatentTarget, TrainingResult, Path], pictures: Pictures, tmp_path: Path
) -> None:
    trained[0].save_pretrained(tmp_path)
    again = LatentTarget.from_pretrained(tmp_path)
    assert again.spec.hash == trained[0].spec.hash
    # Training orders memory by channels last, which changes the order of sums but no weight.
    assert torch.allclose(again.encode(pictures), trained[0].encode(pictures), atol=1e-4)


def test_a_finished_training_is_taken_from_its_folder(
    trained: tuple[LatentTarget, TrainingResult, Path], pictures: Pictures
) -> None:
    target, result, folder = trained
    written = {path: path.stat().st_mtime_ns for path in (folder / "checkpoint").iterdir()}
    again = build(seed=9)
    repeated = train_latents(again, pictures, CONFIG, folder=folder, held_out=WATCHED)
    assert again.spec.hash == target.spec.hash
    assert torch.equal(again.encode(pictures), target.encode(pictures))
    assert (repeated.history, repeated.best_step) == (result.history, result.best_step)
    assert written == {p: p.stat().st_mtime_ns for p in (folder / "checkpoint").iterdir()}


def test_the_loss_of_a_grey_answer_has_a_closed_form() -> None:
    images = torch.randint(
        0, 256, (3, 3, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    vae, mean, variance = silenced(), 0.7, 1.9
    with torch.no_grad():
        vae.quant_conv.bias[:3] = mean
        vae.quant_conv.bias[3:] = math.log(variance)
    with torch.no_grad():
        terms = _objective(vae, {"image": images}, torch.Generator().manual_seed(1), 0.0)
    shown = images.double().numpy() / 127.5 - 1
    pixels = np.abs(shown).mean()
    edges = np.abs(np.diff(shown, axis=-1)).mean() + np.abs(np.diff(shown, axis=-2)).mean()
    divergence = 3 * 8 * 8 * (mean**2 + variance - 1 - math.log(variance)) / 2
    assert float(terms["pixels"]) == pytest.approx(pixels, rel=1e-5)
    assert float(terms["divergence"]) == pytest.approx(divergence, rel=1e-5)
    expected = pixels + EDGE_WEIGHT * edges + KL_WEIGHT * divergence
    assert float(terms["loss"]) == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_noise_has_the_posteriors_spread_and_comes_from_the_generator() -> None:
    images = torch.zeros(4, 3, SIZE, SIZE, dtype=torch.uint8)
    vae = build().vae
    drawn = [
        float(_objective(vae, {"image": images}, torch.Generator().manual_seed(s), 0.0)["loss"])
        for s in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    vae.quant_conv.weight[3:] = 0
    vae.quant_conv.bias[3:] = -100  # cut off at -30: the spread is exp(-15)
    sure = [
        float(_objective(vae, {"image": images}, torch.Generator().manual_seed(s), 0.0)["pixels"])
        for s in (0, 1)
    ]
    assert sure[0] == pytest.approx(sure[1], rel=1e-5)


@torch.no_grad()
def test_large_pictures_are_seen_in_crops() -> None:
    """The error of a grey answer names the crop: that of one of the 9 x 9 there are."""
    side = CROP + 8
    images = torch.randint(
        0, 256, (1, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    sizes = (images.double() / 127.5 - 1).abs().mean((0, 1))
    crops = sizes.unfold(0, CROP, 1).unfold(1, CROP, 1).mean((-1, -2)).flatten()
    assert len(crops) == 81
    vae, found = silenced(), set()
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        pixels = float(_objective(vae, {"image": images}, generator, 0.0)["pixels"])
        gaps = (crops - pixels).abs()
        assert float(gaps.min()) < 1e-6
        found.add(int(gaps.argmin()))
    assert len({place // 9 for place in found}) > 3
    assert len({place % 9 for place in found}) > 3
    assert any(place // 9 != place % 9 for place in found)  # two draws, not one for both


def test_pictures_of_another_size_and_too_few_are_refused(
    pictures: Pictures, tmp_path: Path
) -> None:
    for wrong, held_out in ((pictures[:, ::2], 2), (pictures[..., :1], 2), (pictures[:4], 4)):
        with pytest.raises(PhospheneError, match="of 16 x 16 x 3") as caught:
            train_latents(build(), wrong, CONFIG, folder=tmp_path, held_out=held_out)
        assert str(wrong.shape) in caught.value.found
    assert not list(tmp_path.iterdir())


def test_without_held_out_pictures_the_last_weights_are_kept(
    pictures: Pictures, tmp_path: Path
) -> None:
    quick = CONFIG.model_copy(update={"epochs": 2})
    result = train_latents(build(), pictures[:N], quick, folder=tmp_path, held_out=0)
    assert result.best_step == 2 * N // CONFIG.batch_size


def test_autoencoders_without_posterior_are_refused(pictures: Pictures, tmp_path: Path) -> None:
    options = {
        "encoder_block_out_channels": [8, 8], "decoder_block_out_channels": [8, 8],
        "num_encoder_blocks": [1, 1], "num_decoder_blocks": [1, 1], "latent_channels": 3,
    }  # fmt: skip
    with pytest.raises(PhospheneError, match="AutoencoderTiny"):
        train_latents(
            LatentTarget("AutoencoderTiny", options, SIZE), pictures, CONFIG, folder=tmp_path,
            held_out=WATCHED,
        )  # fmt: skip
