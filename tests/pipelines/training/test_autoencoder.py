from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.data.pictures import read_picture
from phosphene.encoders.stimulus.autoencoder import PictureAutoencoder
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.metrics import pixel_correlation
from phosphene.pipelines.training.augmentation import AugmentationConfig, augment
from phosphene.pipelines.training.autoencoder import AutoencoderConfig, train_autoencoder
from phosphene.pipelines.training.engine import EngineConfig


def bars(n: int = 200, size: int = 12) -> np.ndarray:
    """White bars at 12 places in two directions: few numbers describe them."""
    generator = np.random.default_rng(0)
    pictures = np.zeros((n, size, size), np.uint8)
    for picture in pictures:
        place, width = generator.integers(0, size - 3), generator.integers(2, 4)
        picture[place : place + width] = generator.integers(120, 255)
    return pictures


def config(folder: Path, **changes: object) -> AutoencoderConfig:
    np.save(folder / "p.npy", bars())
    settings = {
        "pictures": str(folder / "p.npy"), "output": str(folder / "AE"), "size": 12, "channels": 1,
        "latent": 3, "width": 8,
        "training": EngineConfig(epochs=60, batch_size=20, learning_rate=4e-3, ema_decay=0.9),
        "augmentation": AugmentationConfig(rotation=0, scale=0, shear=0, elastic=0),
    }  # fmt: skip
    return AutoencoderConfig.model_validate(settings | changes)


@pytest.mark.slow
def test_it_learns_pictures_it_has_not_seen(tmp_path: Path) -> None:
    folder, summary = train_autoencoder(config(tmp_path))
    assert summary["held_out_r"] > 0.8
    model = PictureAutoencoder.from_pretrained(folder)
    pictures = bars()[..., None]
    latent = model.encode(pictures)
    assert latent.shape == (200, 3)
    assert torch.allclose(latent.mean(0), torch.zeros(3), atol=0.3)
    decoded = model.decode(latent).permute(0, 2, 3, 1).numpy()
    assert pixel_correlation(decoded, pictures / 255).mean() > 0.8
    assert read_picture(folder / "samples.png").shape == (3 * 88, 12 * 88, 3)
    assert "held-out" in (folder / "README.md").read_text().lower()


def test_saving_and_loading_are_exact_and_batches_equal_single_items(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = PictureAutoencoder(13, 3, latent=4, width=8)
    model.standardise(torch.rand(9, 3, 13, 13))
    model.save_pretrained(tmp_path)
    again = PictureAutoencoder.from_pretrained(tmp_path)
    assert again.spec == model.spec
    pictures = np.random.default_rng(0).integers(0, 255, (5, 13, 13, 3), dtype=np.uint8)
    latent = model.encode(pictures)
    assert torch.equal(latent, again.encode(pictures))
    one_by_one = torch.cat([model.encode(pictures[i : i + 1]) for i in range(5)])
    assert torch.allclose(latent, one_by_one, atol=1e-6)
    assert torch.allclose(
        model.decode(latent), torch.cat([model.decode(row[None]) for row in latent]), atol=1e-6
    )


def test_its_hash_changes_with_its_weights() -> None:
    model = PictureAutoencoder(8, 1, latent=2, width=8)
    before = model.spec.hash
    with torch.no_grad():
        next(model.parameters()).add_(1e-3)
    assert model.spec.hash != before


@pytest.mark.parametrize("size", [8, 11, 28, 33])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_comes_back_in_that_size(size: int, channels: int) -> None:
    model = PictureAutoencoder(size, channels, latent=5, width=4)
    assert model.decode(torch.zeros(2, 5)).shape == (2, channels, size, size)
    assert model.decode(torch.zeros(2, 5)).min() >= 0


def test_the_loss_is_the_evidence_bound() -> None:
    """With one-pixel-like statistics the two parts have closed forms."""
    model = PictureAutoencoder(8, 1, latent=2, width=4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    pictures = torch.rand(3, 1, 8, 8)
    terms = model.training_loss(pictures, torch.Generator().manual_seed(0), kl_weight=1.0)
    # All weights zero: logits 0, posterior standard normal.
    assert float(terms["reconstruction"].detach()) == pytest.approx(64 * np.log(2), rel=1e-5)
    assert float(terms["divergence"].detach()) == pytest.approx(0.0, abs=1e-6)


def test_too_few_pictures_and_nonsense_sizes_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "few.npy", bars(200)[:1].repeat(30, axis=0))
    with pytest.raises(InputError, match="1 different pictures"):
        train_autoencoder(
            config(tmp_path).model_copy(update={"pictures": str(tmp_path / "few.npy")})
        )
    with pytest.raises(UsageError, match="size >= 8"):
        PictureAutoencoder(4)


def test_augmentation_is_seeded_per_item_and_can_be_turned_off() -> None:
    pictures = torch.rand(4, 1, 9, 9)
    settings = AugmentationConfig()
    first, again = (augment(pictures, torch.Generator().manual_seed(3), settings) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.allclose(first, pictures, atol=1e-2)
    off = AugmentationConfig(rotation=0, scale=0, shear=0, elastic=0)
    unchanged = augment(pictures, torch.Generator().manual_seed(3), off)
    assert torch.allclose(unchanged, pictures, atol=1e-5)


def test_stimuli_and_near_copies_of_them_do_not_teach_it(tmp_path: Path) -> None:
    pictures = bars()
    pictures[0] = 255 - pictures[1]  # unlike any bar
    near = pictures[:1].copy()
    near[0, 0, 0] = 255 - near[0, 0, 0]  # one of 144 pixels differs
    np.save(tmp_path / "stimuli.npy", near)
    settings = config(tmp_path, exclude=(str(tmp_path / "stimuli.npy"),))
    np.save(tmp_path / "p.npy", pictures)
    quick = settings.training.model_copy(update={"epochs": 1})
    changed = settings.model_copy(update={"training": quick, "near_copy": 1.1 / 144})
    _, summary = train_autoencoder(changed)
    assert summary["excluded_near_copies"] == 1
