"""Autoencoder latents as target, against diffusers itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from phosphene.data.pictures import Pictures, fit_pictures
from phosphene.data.scenes import render, sample_scenes
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.latents import BATCH, LatentTarget
from phosphene.errors import InputError, UsageError
from phosphene.storage import load_tensors, save_tensors

SIZE = 16
WEIGHTS = "diffusion_pytorch_model.safetensors"
OPTIONS: dict[str, dict[str, Any]] = {
    "AutoencoderKL": {
        "down_block_types": ["DownEncoderBlock2D"] * 2, "layers_per_block": 1,
        "up_block_types": ["UpDecoderBlock2D"] * 2, "block_out_channels": [8, 16],
        "latent_channels": 3, "norm_num_groups": 4,
    },
    "AutoencoderTiny": {
        "encoder_block_out_channels": [8, 8], "decoder_block_out_channels": [8, 8],
        "num_encoder_blocks": [1, 1], "num_decoder_blocks": [1, 1], "latent_channels": 3,
    },
}  # fmt: skip


def build(kind: str, seed: int = 0, size: int = SIZE) -> LatentTarget:
    torch.manual_seed(seed)
    return LatentTarget(kind, OPTIONS[kind], size)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return render(sample_scenes(0, 24), SIZE).images


@pytest.fixture(params=sorted(OPTIONS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def target(kind: str, pictures: Pictures) -> LatentTarget:
    made = build(kind)
    made.standardise(pictures)
    return made


def own_latents(vae: Any, pictures: Pictures) -> torch.Tensor:
    """Return the latents as diffusers gives them, of pictures in -1..1."""
    scaled = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255 * 2 - 1
    with torch.no_grad():
        encoded = vae.eval().encode(scaled)
        mean: torch.Tensor = (
            encoded.latent_dist.mean if "latent_dist" in encoded else encoded.latents
        )
    return mean


def test_shapes_and_ranges(target: LatentTarget, pictures: Pictures) -> None:
    latents = target.encode(pictures)
    assert latents.shape == (24, 3, 8, 8) == (24, *target.shape) == (24, *target.spec.shape)
    assert latents.dtype == torch.float32
    shown = target.decode(latents)
    assert shown.shape == (24, 3, SIZE, SIZE)
    assert target.can_decode
    assert 0 <= float(shown.min()) < float(shown.max()) <= 1
    assert float(target.decode(100 * latents).max()) <= 1


@pytest.mark.parametrize("size", [16, 24, 32])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_the_shape_follows_size_and_depth(kind: str, size: int, blocks: int) -> None:
    options = {
        name: (value * 2)[:blocks] if isinstance(value, list) else value
        for name, value in OPTIONS[kind].items()
    }
    made = LatentTarget(kind, options, size)  # type: ignore[arg-type]
    latents = made.encode(np.zeros((1, size, size, 3), np.uint8))
    assert latents.shape[1:] == made.shape
    assert made.decode(latents).shape == (1, 3, size, size)


def test_latents_are_those_of_diffusers_brought_to_mean_0_and_variance_1(
    target: LatentTarget, pictures: Pictures
) -> None:
    latents = target.encode(pictures)
    assert float(latents.mean()) == pytest.approx(0, abs=1e-5)
    assert float(latents.var()) == pytest.approx(1, abs=1e-4)
    own = own_latents(target.vae, pictures)
    assert target.mean == pytest.approx(float(own.mean()), abs=1e-5)
    assert target.scale == pytest.approx(float(own.std()), rel=1e-4)
    assert torch.allclose(latents, (own - own.mean()) / own.std(), atol=1e-4)
    assert (target.config["mean"], target.config["scale"]) == (target.mean, target.scale)
    before = target.spec.hash
    target.standardise(pictures)  # starts from what diffusers gives, not from its last result
    assert target.spec.hash == before


def test_decoding_takes_the_standardisation_back(kind: str, pictures: Pictures) -> None:
    made = build(kind)
    plain = made.decode(made.encode(pictures))
    made.standardise(pictures)
    assert abs(made.mean) > 1e-3
    assert abs(made.scale - 1) > 1e-2
    assert torch.allclose(made.decode(made.encode(pictures)), plain, atol=1e-5)
    with torch.no_grad():
        own = made.vae.decode(own_latents(made.vae, pictures)).sample / 2 + 0.5
    assert torch.allclose(plain, own.clamp(0, 1), atol=1e-5)


def test_batch_equals_one_at_a_time_in_any_order(target: LatentTarget) -> None:
    many = np.random.default_rng(0).integers(0, 256, (BATCH + 2, SIZE, SIZE, 3), dtype=np.uint8)
    latents = target.encode(many)
    shown = target.decode(latents)
    assert len(latents) == len(shown) == BATCH + 2
    for row in (0, BATCH - 1, BATCH, BATCH + 1):
        assert torch.allclose(target.encode(many[row : row + 1])[0], latents[row], atol=1e-4)
        assert torch.allclose(target.decode(latents[row : row + 1])[0], shown[row], atol=1e-5)
    order = np.random.default_rng(1).permutation(len(many))
    assert torch.allclose(target.encode(many[order]), latents[order], atol=1e-4)
    assert torch.allclose(target.decode(latents[order]), shown[order], atol=1e-5)
    assert torch.equal(target.encode(many), latents)  # the mean is taken, nothing is drawn


def test_saving_and_loading_are_exact(
    target: LatentTarget, pictures: Pictures, tmp_path: Path
) -> None:
    target.save_pretrained(tmp_path)
    again = STIMULUS_ENCODERS.get("latents").from_pretrained(tmp_path)
    assert again.spec == target.spec
    assert again.spec.hash == target.spec.hash
    assert again.config == target.config
    latents = target.encode(pictures)
    assert torch.equal(again.encode(pictures), latents)
    assert torch.equal(again.decode(latents), target.decode(latents))


def test_the_folder_is_diffusers_own(
    target: LatentTarget, kind: str, pictures: Pictures, tmp_path: Path
) -> None:
    target.save_pretrained(tmp_path)
    theirs = getattr(diffusers, kind).from_pretrained(tmp_path / "vae")
    latents = (own_latents(theirs, pictures) - target.mean) / target.scale
    assert torch.allclose(target.encode(pictures), latents, atol=1e-4)


def test_the_hash_tells_weights_statistics_and_size_apart(kind: str, pictures: Pictures) -> None:
    standardised, changed = build(kind), build(kind)
    standardised.standardise(pictures)
    with torch.no_grad():
        next(changed.vae.decoder.parameters()).add_(1e-3)
    others = [build(kind, 1), standardised, changed, build(kind, size=24)]
    assert build(kind).spec.hash == build(kind).spec.hash
    assert len({one.spec.hash for one in [build(kind), *others]}) == 1 + len(others)


def test_pictures_of_another_size_or_grey_are_fitted(
    target: LatentTarget, pictures: Pictures
) -> None:
    other = [render(sample_scenes(7, 8), 40).images[0][:, :30], pictures[0, ..., :1], pictures[1]]
    fitted = fit_pictures(other, size=SIZE, channels=3)
    assert torch.equal(target.encode(other), target.encode(fitted))


def test_damaged_folders_and_unknown_kinds_are_one_error(
    target: LatentTarget, kind: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="one of AutoencoderKL, AutoencoderTiny"):
        LatentTarget("VQModel", OPTIONS[kind], SIZE)  # type: ignore[arg-type]
    target.save_pretrained(tmp_path)
    file = tmp_path / "vae" / WEIGHTS
    tensors = load_tensors(file)
    save_tensors(file, tensors | {min(tensors): torch.zeros(9, 9)})
    with pytest.raises(InputError, match="do not fit"):
        LatentTarget.from_pretrained(tmp_path)
    file.write_bytes(b"cut off")
    with pytest.raises(InputError, match=WEIGHTS):
        LatentTarget.from_pretrained(tmp_path)
    file.unlink()
    with pytest.raises(InputError, match=WEIGHTS):
        LatentTarget.from_pretrained(tmp_path)


@pytest.mark.parametrize("change", ["missing", "unknown"])
def test_missing_and_unknown_tensors_are_one_error(
    target: LatentTarget, change: str, tmp_path: Path
) -> None:
    target.save_pretrained(tmp_path)
    file = tmp_path / "vae" / WEIGHTS
    tensors = load_tensors(file)
    first = min(tensors)
    rest = {name: value for name, value in tensors.items() if name != first}
    save_tensors(file, rest if change == "missing" else tensors | {"extra": torch.zeros(1)})
    with pytest.raises(InputError, match=first if change == "missing" else "extra"):
        LatentTarget.from_pretrained(tmp_path)


def test_latents_that_do_not_vary_stay_numbers(kind: str, pictures: Pictures) -> None:
    made = build(kind)
    with torch.no_grad():
        for parameter in made.vae.parameters():
            parameter.zero_()
    made.standardise(pictures)
    assert torch.isfinite(made.encode(pictures)).all()
