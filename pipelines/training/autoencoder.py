"""Train a picture autoencoder: pictures in, a target folder with a sample sheet out."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from phosphene.config import Config
from phosphene.data.pictures import (
    Pictures,
    fit_pictures,
    picture_hash,
    read_pictures,
    write_picture,
)
from phosphene.encoders.stimulus.autoencoder import PictureAutoencoder
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.base import to_uint8
from phosphene.pipelines.metrics import mean_squared_error, pixel_correlation
from phosphene.pipelines.training.augmentation import AugmentationConfig, augment
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train
from phosphene.seeds import item_seed
from phosphene.storage import read_json, write_json, write_text
from phosphene.workfolder import WorkFolder

__all__ = ["AutoencoderConfig", "train_autoencoder"]

SHEET_COLUMNS, SHEET_SIDE = 12, 84
SETTINGS = "settings.json"


class AutoencoderConfig(Config):
    """Settings of ``phosphene train autoencoder``.

    ``exclude`` names pictures that must not teach the model, such as the stimuli of a
    recording; with them goes whatever is closer to one than ``near_copy`` (mean squared error on
    the scale 0..1).
    """

    pictures: str
    output: str
    size: int = 64
    channels: int = 3
    latent: int = 12
    width: int = 16
    kl_weight: float = 1.0
    held_out: float = 0.1
    exclude: tuple[str, ...] = ()
    near_copy: float = 0.005
    augmentation: AugmentationConfig = AugmentationConfig()
    training: EngineConfig = EngineConfig(
        batch_size=64, learning_rate=2e-3, warmup_steps=100, ema_decay=0.99
    )


def train_autoencoder(
    config: AutoencoderConfig, *, resume: bool = False
) -> tuple[Path, dict[str, float]]:
    """Train, choose by held-out pictures, write the folder.

    Returns
    -------
    folder : Path
        ``config.json``, ``model.safetensors``, ``samples.png``, ``training.json``, ``README.md``.
    summary : dict of str to float
        Figures on held-out pictures.
    """
    if not 0 < config.held_out < 1:
        raise UsageError(f"`held_out` is {config.held_out}", expected="a share between 0 and 1")
    pictures, held_out, n_excluded = _split(config)
    PictureAutoencoder(config.size, config.channels, config.latent, config.width)  # checks these
    settings = config.model_dump(mode="json", exclude={"output"}) | {
        "picture_hashes": _hashes(pictures)
    }
    work = WorkFolder.find(config.output, last="config.json", resume=resume)
    _refuse_other_settings(work, settings)
    if work.finished:
        return work.root, cast(dict[str, float], read_json(work.root / "training.json")["summary"])
    work = WorkFolder.open(config.output, last="config.json", resume=resume)
    write_json(work.partial / SETTINGS, settings)
    # The weights start from their own stream, whatever was drawn before.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(item_seed(config.training.seed, "weights", "autoencoder", 0))
        model = PictureAutoencoder(config.size, config.channels, config.latent, config.width)
    model.to(memory_format=torch.channels_last)  # a quarter faster on processors

    def objective(
        network: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator, done: float
    ) -> dict[str, Tensor]:
        seen = augment(batch["pictures"], generator, config.augmentation)
        # The divergence is let in slowly, else latents are switched off before they are used.
        weight = config.kl_weight * min(1.0, done / 0.1)
        return cast(PictureAutoencoder, network).training_loss(seen.clamp(0, 1), generator, weight)

    result = train(
        model,
        {"pictures": pictures},
        objective,
        config.training,
        folder=work.partial,
        validate=lambda network: _held_out_loss(
            cast(PictureAutoencoder, network), held_out, config
        ),
        label="autoencoder",
    )
    model.cpu().load_state_dict(result.state)
    model.eval()
    model.standardise(pictures)
    return _write(work, config, settings, model, result, pictures, held_out, n_excluded)


def _hashes(pictures: Tensor) -> list[str]:
    rounded = (pictures * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return sorted({picture_hash(pixels) for pixels in rounded})


def _refuse_other_settings(work: WorkFolder, settings: dict[str, Any]) -> None:
    """Go on only with what was begun: the same pictures and the same settings."""
    if not (work.resumed or work.finished):
        return
    path = work.root / "training.json" if work.finished else work.partial / SETTINGS
    if not path.is_file():  # killed before the settings were written: nothing is lost
        return
    stored = read_json(path)
    differing = [key for key, value in settings.items() if stored.get(key) != value]
    if differing:
        raise UsageError(
            f"the training in {work.root} was begun with other {', '.join(differing)}",
            expected="the same pictures and settings as before",
            remedy="repeat the first command with --resume, or choose another --output",
        )


def _split(config: AutoencoderConfig) -> tuple[Tensor, Tensor, int]:
    """Return training and held-out pictures (n, C, H, W) in 0..1, and how many were excluded.

    Copies of a picture stay on one side.
    """
    _, found = read_pictures(config.pictures)
    fitted = fit_pictures(found, size=config.size, channels=config.channels)
    near = np.zeros(len(fitted), dtype=bool)
    for source in config.exclude:
        _, excluded = read_pictures(source)
        others = fit_pictures(excluded, size=config.size, channels=config.channels)
        near |= _distance(fitted, others) < config.near_copy
    fitted = fitted[~near]
    if not len(fitted):
        raise InputError(
            f"all {len(near)} pictures of {config.pictures} are near copies of excluded ones",
            expected="other pictures of the same kind",
        )
    hashes = np.array([picture_hash(pixels) for pixels in fitted])
    different = np.unique(hashes)
    n_held_out = round(config.held_out * len(different))
    if n_held_out < 1 or len(different) - n_held_out < 2:
        raise InputError(
            f"{config.pictures} holds {len(different)} different pictures",
            expected="enough to hold some out (at least about 20)",
        )
    seed = item_seed(config.training.seed, "held-out", "pictures", 0)
    order = np.random.default_rng(seed).permutation(different)
    held_out = np.isin(hashes, order[:n_held_out])
    tensor = torch.from_numpy(fitted).permute(0, 3, 1, 2).float() / 255  # channels last
    return tensor[~held_out], tensor[held_out], int(near.sum())


def _distance(pictures: Pictures, others: Pictures) -> np.ndarray[Any, Any]:
    """Return each picture's mean squared error to the nearest of the others, on 0..1."""
    a, b = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (pictures, others))
    squares = np.square(b).sum(axis=1)
    nearest = [
        (np.square(part).sum(axis=1)[:, None] + squares - 2 * part @ b.T).min(axis=1)
        for part in np.array_split(a, -(-len(a) // 1024))
    ]
    distance: np.ndarray[Any, Any] = np.concatenate(nearest) / a.shape[1]
    return distance


def _held_out_loss(model: PictureAutoencoder, pictures: Tensor, config: AutoencoderConfig) -> float:
    """Return the bound on held-out pictures, with the same noise each time."""
    device = model.latent_mean.device
    generator = torch.Generator(device=device).manual_seed(config.training.seed)
    total = 0.0
    for part in pictures.split(256):
        terms = model.training_loss(part.to(device), generator, config.kl_weight)
        total += float(terms["loss"]) * len(part)
    return total / len(pictures)


def _write(
    work: WorkFolder,
    config: AutoencoderConfig,
    settings: dict[str, Any],
    model: PictureAutoencoder,
    result: TrainingResult,
    pictures: Tensor,
    held_out: Tensor,
    n_excluded: int,
) -> tuple[Path, dict[str, float]]:
    shown, decoded = to_uint8(held_out), to_uint8(model.decode(_encode(model, held_out)))
    summary = {
        "excluded_near_copies": float(n_excluded),
        "held_out_pictures": float(len(held_out)),
        "held_out_r": float(pixel_correlation(decoded, shown).mean()),
        "held_out_mse": float(mean_squared_error(decoded, shown).mean()),
        "best_epoch": float(min(result.history, key=lambda row: row["validation"])["epoch"]),
    }
    shutil.rmtree(work.partial / "checkpoint", ignore_errors=True)
    model.save_pretrained(work.partial)
    write_picture(work.partial / "samples.png", _sheet(model, shown, decoded, config.training.seed))
    (work.partial / SETTINGS).unlink(missing_ok=True)
    write_json(
        work.partial / "training.json",
        settings | {"summary": summary, "history": result.history},
    )
    write_text(work.partial / "README.md", _card(config, summary, len(pictures)))
    return work.finish(), summary


def _encode(model: PictureAutoencoder, pictures: Tensor) -> Tensor:
    return model.encode(list(to_uint8(pictures)))


def _sheet(
    model: PictureAutoencoder,
    shown: np.ndarray,
    decoded: np.ndarray,
    seed: int,
) -> Pictures:
    """Return one picture: held-out ones, what the model makes of them, and pictures it invents."""
    n_columns = min(SHEET_COLUMNS, len(shown))
    # Evenly through the pictures: folders and arrays are often sorted by category.
    chosen = np.linspace(0, len(shown) - 1, n_columns).round().astype(int)
    noise = torch.randn(n_columns, model.latent, generator=torch.Generator().manual_seed(seed))
    rows = [shown[chosen], decoded[chosen], to_uint8(model.decode(noise))]
    zoom = max(1, SHEET_SIDE // model.size)
    tiles = [row.repeat(zoom, axis=1).repeat(zoom, axis=2) for row in rows]
    framed = [np.pad(row, ((0, 0), (2, 2), (2, 2), (0, 0)), constant_values=128) for row in tiles]
    return np.concatenate([np.concatenate(list(row), axis=1) for row in framed], axis=0)


def _card(config: AutoencoderConfig, summary: dict[str, float], n_pictures: int) -> str:
    return f"""# Picture autoencoder

A variational autoencoder of pictures.

| | |
|---|---|
| pictures | {config.size} x {config.size} pixels, {config.channels} channel(s) |
| latent | {config.latent} numbers per picture |
| trained on | {n_pictures} pictures, {summary["best_epoch"]:.0f} epochs |
| held-out pictures, which chose the training length | {summary["held_out_pictures"]:.0f} |
| Pearson r of held-out pictures through it | {summary["held_out_r"]:.3f} |
| their mean squared error (range 0 to 1) | {summary["held_out_mse"]:.4f} |

`samples.png`: held-out pictures, what the model makes of them, and pictures it invents.

Use it as a target: `phosphene train encoder --target local-dir:THIS_FOLDER ...`
"""
