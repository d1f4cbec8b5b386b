"""Training of EEG and MEG encoders: contrastive, all of it on the device, for one or more subjects.

An item is a picture as one subject saw it, with all its repetitions. Every epoch averages a random
number of them, so that one network serves single trials and averages. A batch of several subjects
holds a picture several times: all of these count as right (multi-positive InfoNCE).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.config import Config
from phosphene.data.preprocessing import refuse_test_trials
from phosphene.encoders.brain.electric.base import ElectricEncoder
from phosphene.errors import InputError
from phosphene.pipelines.training.engine import EngineConfig, TrainingResult, train
from phosphene.pipelines.training.losses import info_nce, same_picture
from phosphene.pipelines.training.trial_means import TrialMeans
from phosphene.types import Recording

__all__ = ["ElectricTraining", "augment", "mean_reciprocal_rank", "train_electric"]


class ElectricTraining(Config):
    """Settings of :func:`train_electric`.

    ``regression`` weighs the squared error to the target beside the contrastive loss, where an
    encoder has a head for either, each its own. The rest is
    augmentation: ``smooth`` is how often a channel is replaced by its moving average over
    ``smooth_width`` samples, ``shift`` the largest shift in samples, ``drop`` how often a channel
    is silenced.
    """

    engine: EngineConfig = EngineConfig(
        batch_size=1024, learning_rate=3e-4, weight_decay=0.05, epochs=25
    )
    regression: NonNegativeFloat = 0.0
    average: bool = True
    smooth: float = Field(default=0.0, ge=0, le=1)
    smooth_width: int = Field(default=5, ge=1)
    shift: NonNegativeInt = 0
    drop: float = Field(default=0.0, ge=0, lt=1)


def train_electric(
    encoder: ElectricEncoder,
    recordings: Mapping[str, Recording],
    targets: Tensor,
    picture_ids: Sequence[str],
    config: ElectricTraining,
    *,
    folder: Path,
) -> TrainingResult:
    """Train ``encoder`` in place and leave it with the weights that are kept.

    Trials marked ``validation`` stop the choice of weights: those of the epoch with the best mean
    reciprocal rank among validation pictures, averaged over repetitions. Without such trials the
    last weights are kept. For leave-one-subject-out give the recordings of the others.

    Parameters
    ----------
    encoder : ElectricEncoder
    recordings : mapping of str to Recording
        Of each subject by label, train and validation trials alone.
    targets : Tensor of shape (n_pictures, n_targets)
    picture_ids : sequence of n_pictures str
        The ``stimulus_id`` of each target.
    config : ElectricTraining
    folder : Path
        For checkpoints; a run that was interrupted goes on from there.

    Raises
    ------
    InputError
        If there are test trials, pictures without a target, a picture both in training and
        validation, or other shapes than the encoder's.
    """
    numbers = {name: number for number, name in enumerate(picture_ids)}
    if len(numbers) != len(targets) or targets.shape[1:] != (encoder.n_targets,):
        raise InputError(
            f"targets of shape {tuple(targets.shape)} for {len(numbers)} pictures",
            expected=f"({len(numbers)}, {encoder.n_targets}), every picture once",
        )
    made = {
        split: _items(encoder, recordings, numbers, split, config)
        for split in ("train", "validation")
    }
    if made["train"] is None:
        raise InputError("no training trial", "trials with the split train")
    items, means = made["train"]
    data = {**items, "target": targets[items["picture"]].float()}
    places = _places(recordings)
    held_out = made["validation"]
    if held_out is not None:
        both = set(held_out[0]["picture"].tolist()) & set(data["picture"].tolist())
        if both:
            raise InputError(
                f"{len(both)} pictures both in training and in validation",
                expected="validation pictures that training never shows",
                remedy="hold out pictures or concepts, not trials",
            )

    def validate(model: nn.Module) -> float:
        held, trials = cast("tuple[dict[str, Tensor], TrialMeans]", held_out)
        device = next(model.parameters()).device
        rows = []
        for part in torch.arange(len(held["picture"])).split(256):
            x = trials.mean(part).to(device)
            rows.append(model(x, held["subject"][part].to(device), places_on(device)).cpu())
        with torch.no_grad():
            keys = plain(model).picture_keys(targets.to(device)).cpu()
        return 1 - mean_reciprocal_rank(torch.cat(rows), keys, held["picture"])

    def places_on(device: torch.device) -> Tensor | None:
        return None if places is None else places.to(device)

    result = train(
        encoder,
        data,
        _Objective(config, places, means),
        config.engine,
        folder=folder,
        validate=None if held_out is None else validate,
        label=f"encoder {encoder.name}",
    )
    encoder.load_state_dict(result.state)
    return result


class _Objective:
    """Contrastive loss of one batch, over all of it."""

    whole_batch = True

    def __init__(self, config: ElectricTraining, places: Tensor | None, means: TrialMeans) -> None:
        self.config, self.places = config, places
        self.gather = means.gather

    def __call__(
        self, model: nn.Module, batch: Mapping[str, Tensor], generator: torch.Generator, done: float
    ) -> dict[str, Tensor]:
        x = augment(batch["x"], self.config, generator)
        places = None if self.places is None else self.places.to(x.device)
        embedded = model(x, batch["subject"], places)
        encoder, target = plain(model), batch["target"]
        keys = encoder.picture_keys(target)
        labels = same_picture(batch["picture"])
        contrastive = info_nce(embedded, keys, cast(float, 1 / encoder.scale), labels)
        terms = {"contrastive": contrastive}
        loss = contrastive
        if self.config.regression > 0:
            terms["regression"] = F.mse_loss(encoder.regress(embedded), target)
            loss = loss + self.config.regression * terms["regression"]
        return {"loss": loss, **terms}


def plain(model: nn.Module) -> ElectricEncoder:
    """Return the encoder itself, where processes wrap it."""
    return cast(ElectricEncoder, getattr(model, "module", model))


def augment(x: Tensor, config: ElectricTraining, generator: torch.Generator) -> Tensor:
    """Return trials (n, C, T) smoothed, shifted and with channels silenced at random.

    A shift repeats the first or last sample; every trial has its own, every channel its own
    smoothing and silence.
    """
    n, n_chans, n_times = x.shape
    if config.smooth > 0 and config.smooth_width > 1:
        width = config.smooth_width
        padded = F.pad(x, (width // 2, width - 1 - width // 2), mode="replicate")
        smooth = F.avg_pool1d(padded, width, stride=1)
        chosen = torch.rand((n, n_chans, 1), generator=generator, device=x.device) < config.smooth
        x = torch.where(chosen, smooth, x)
    if config.shift > 0:
        by = torch.randint(
            -config.shift, config.shift + 1, (n, 1), generator=generator, device=x.device
        )
        places = (torch.arange(n_times, device=x.device) + by).clamp(0, n_times - 1)
        x = x.gather(2, places[:, None].expand(n, n_chans, n_times))
    if config.drop > 0:
        kept = torch.rand((n, n_chans, 1), generator=generator, device=x.device) >= config.drop
        x = x * kept / (1 - config.drop)
    return x


def mean_reciprocal_rank(embedded: Tensor, targets: Tensor, picture: Tensor) -> float:
    """Return the mean of 1 / rank of each item's picture among the pictures of all items.

    Parameters
    ----------
    embedded : Tensor of shape (n, d)
    targets : Tensor of shape (n_pictures, d)
    picture : Tensor of shape (n,)
        Row of each item's target. Ties count one half.
    """
    pool, own = picture.unique(return_inverse=True)
    scores = F.normalize(embedded.float(), dim=1) @ F.normalize(targets[pool].float(), dim=1).T
    mine = scores.gather(1, own[:, None])
    better, equal = (scores > mine).sum(dim=1), (scores == mine).sum(dim=1) - 1
    return float((1 / (1 + better + equal / 2)).mean())


def _items(
    encoder: ElectricEncoder,
    recordings: Mapping[str, Recording],
    numbers: Mapping[str, int],
    split: str,
    config: ElectricTraining,
) -> tuple[dict[str, Tensor], TrialMeans] | None:
    """Return picture and subject of each item, and its trials in float16."""
    rows: list[tuple[Recording, str, Any]] = []
    for label, recording in recordings.items():
        refuse_test_trials(recording, purpose="training")
        encoder.check(recording)
        trials = recording.trials
        chosen = trials[trials["split"] == split]
        unknown = sorted(set(chosen["stimulus_id"]) - set(numbers))
        if unknown:
            raise InputError(
                f"{len(unknown)} pictures of subject {label} have no target, {unknown[0]!r} for "
                "example",
                expected="a target per picture",
            )
        groups = chosen.groupby("stimulus_id", sort=True).indices
        places = chosen.index.to_numpy()
        rows += [(recording, str(name), places[where]) for name, where in groups.items()]
    if not rows:
        return None
    counts = torch.tensor([len(where) for _, _, where in rows])
    x = torch.empty((int(counts.sum()), *rows[0][0].data.shape[1:]), dtype=torch.float16)
    start = 0
    for recording, _, where in rows:
        values = np.asarray(recording.data[where], dtype=np.float16)
        if not np.isfinite(values).all() or not values.any():
            raise InputError(
                f"values of subject {recording.subject} that float16 cannot hold",
                expected="whitened or standardised trials",
                remedy="whiten the recording, or give microvolts",
            )
        x[start : start + len(where)] = torch.from_numpy(values)
        start += len(where)
    items = {
        "picture": torch.tensor([numbers[name] for _, name, _ in rows]),
        "subject": torch.tensor([encoder.index_of(recording.subject) for recording, _, _ in rows]),
    }
    return items, TrialMeans(x, counts, seed=config.engine.seed, average=config.average)


def _places(recordings: Mapping[str, Recording]) -> Tensor | None:
    """Return the sensor positions that all recordings share, None where they have none."""
    found = [None if r.info is None else r.info.positions for r in recordings.values()]
    if any(place is None for place in found):
        return None
    first = cast("np.ndarray[Any, Any]", found[0])
    for label, place in zip(recordings, found, strict=True):
        if place is None or place.shape != first.shape or np.abs(place - first).max() > 0.02:
            raise InputError(
                f"the sensors of subject {label} stand elsewhere than those of the first subject",
                expected="one set of sensors in one training, within 20 mm",
                remedy="train on recordings of one cap, or without positions",
            )
    return torch.from_numpy(first).float()
