"""The loss of brain encoders with a network on one batch of several subjects.

Terms are weighed by the configuration: squared error and a contrastive loss of the main part
(BiMixCo on mixed voxels at first, SoftCLIP afterwards, as in MindEye), and the error of latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.config import Config
from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.pipelines.training.losses import (
    SOFT_TEMPERATURES,
    bi_mix_co,
    info_nce,
    same_picture,
    soft_clip,
    temperature_at,
)
from phosphene.pipelines.training.mixing import Mixing, draw_mixing
from phosphene.pipelines.training.trial_items import Items, VoxelStore, choose_repetitions

__all__ = ["BrainObjective", "LossConfig", "network_of"]

OWN_HEAD, SHARED_HEAD = 0.1, 0.005  # weights of the contrastive loss


class LossConfig(Config):
    """Weights and settings of the loss.

    ``contrastive`` is .1 where retrieval has a head of its own, and .005 where the tokens
    themselves are compared: it knows directions alone, and more of it spoils their size.

    Errors are relative to the variance of the training targets: predicting their mean has an
    error of 1. ``mixing_share`` is the share of the training in which voxels are mixed, with
    BiMixCo at ``mixing_temperature``; afterwards comes ``contrast``, whose temperature goes from
    the first to the second of ``temperatures``.
    """

    error: NonNegativeFloat = 1.0
    contrastive: NonNegativeFloat | None = None
    lowlevel: NonNegativeFloat = 0.5
    lowlevel_norm: Literal["l1", "l2"] = "l2"
    mixing_share: NonNegativeFloat = 1 / 3
    mixing_temperature: PositiveFloat = 0.006
    contrast: Literal["softclip", "infonce"] = "softclip"
    temperatures: tuple[PositiveFloat, PositiveFloat] = SOFT_TEMPERATURES


class BrainObjective:
    """Loss of one batch; the engine calls it at every step.

    Parameters
    ----------
    items : Items
        That batches are drawn from.
    store : VoxelStore
    targets : mapping of str to Tensor of shape (n_pictures, ...)
        Of the parts that are learned, by name; the main part and, with it or not, ``lowlevel``.
    losses : LossConfig
    repetitions : {"single", "average", "random"}
    """

    whole_batch = True  # items are compared with one another

    def __init__(
        self,
        items: Items,
        store: VoxelStore,
        targets: Mapping[str, Tensor],
        losses: LossConfig,
        repetitions: Literal["single", "average", "random"] = "single",
    ) -> None:
        self.items, self.store, self.losses = items, store, losses
        self.repetitions: Literal["single", "average", "random"] = repetitions
        self.targets = dict(targets)
        used = items.target.unique()
        self.variance = {part: _variance(values[used]) for part, values in targets.items()}

    def order(self, seed: int, epoch: int) -> Tensor | None:
        """Return the order of an epoch's items, where trials are streamed from shards."""
        return self.store.order(self.items, seed, epoch, _processes())

    def __call__(
        self,
        model: nn.Module,
        batch: Mapping[str, Tensor],
        generator: torch.Generator,
        done: float,
    ) -> dict[str, Tensor]:
        order = torch.argsort(batch["subject"], stable=True)
        subject, rows, target = (batch[name][order] for name in ("subject", "rows", "target"))
        kept = choose_repetitions(rows, self.repetitions, generator)
        mixed = self.losses.contrastive != 0 and done < self.losses.mixing_share
        mixing = draw_mixing(subject, generator) if mixed else None
        owner = order % _processes()
        own = _own_rows(owner)
        voxels = self._voxels(subject, rows, kept, mixing, own.to(subject.device))
        found = _gathered(model(voxels), own, owner)
        truth = {part: values[target.to(values.device)] for part, values in self.targets.items()}
        truth = {part: values.to(subject.device).float() for part, values in truth.items()}
        terms = self._terms(found, truth, mixing, target, done, network_of(model).main_part)
        if (count := _processes()) > 1:
            # Each has the gradient of its own rows alone, and the engine takes the mean over
            # processes, which also wait for a gradient of every head that was called.
            loss = terms["loss"]
            idle = sum(0 * values.sum() for values in found.values())
            terms["loss"] = loss.detach() + count * (loss - loss.detach()) + idle
        return terms

    def _voxels(
        self, subject: Tensor, rows: Tensor, kept: Tensor, mixing: Mixing | None, own: Tensor
    ) -> dict[str, Tensor]:
        """Return voxels by subject, mixed where they are, for this process's rows."""
        found: dict[str, Tensor] = {}
        mine = torch.zeros(len(subject), dtype=torch.bool, device=subject.device)
        mine[own] = True
        for number, label in enumerate(self.items.subjects):
            places = (subject == number).nonzero()[:, 0]
            chosen = mine[places].nonzero()[:, 0]
            if len(chosen) == 0:
                continue
            values = self.store.mean(label, rows[places], kept[places])
            if mixing is not None:
                within = Mixing(mixing.own[places], mixing.partner[places] - places[0])
                values = within.mix(values)
            found[label] = values[chosen.to(values.device)]
        return found

    def _terms(
        self,
        found: Mapping[str, Tensor],
        truth: Mapping[str, Tensor],
        mixing: Mixing | None,
        pictures: Tensor,
        done: float,
        main: str,
    ) -> dict[str, Tensor]:
        settings, terms = self.losses, {}
        wanted = {part: one if mixing is None else mixing.mix(one) for part, one in truth.items()}
        error = F.mse_loss(found[main], wanted[main]) / self.variance[main]
        terms["error"] = error
        loss = settings.error * error
        weight = settings.contrastive
        if weight is None:
            weight = OWN_HEAD if "retrieval" in found else SHARED_HEAD
        if weight > 0:
            keys = found.get("retrieval", found[main])
            terms["contrastive"] = self._contrastive(keys, truth[main], mixing, pictures, done)
            loss = loss + weight * terms["contrastive"]
        if "lowlevel" in truth and main != "lowlevel" and settings.lowlevel > 0:
            terms["lowlevel"] = self._latents(found["lowlevel"], wanted["lowlevel"])
            loss = loss + settings.lowlevel * terms["lowlevel"]
        return {"loss": loss, **terms}

    def _latents(self, found: Tensor, wanted: Tensor) -> Tensor:
        variance = self.variance["lowlevel"]
        error: Tensor
        if self.losses.lowlevel_norm == "l1":
            error = F.l1_loss(found, wanted) / variance**0.5
        else:
            error = F.mse_loss(found, wanted) / variance
        return error

    def _contrastive(
        self, keys: Tensor, truth: Tensor, mixing: Mixing | None, pictures: Tensor, done: float
    ) -> Tensor:
        settings = self.losses
        if mixing is not None:
            temperature = settings.mixing_temperature
            return bi_mix_co(keys, truth, temperature, mixing.shares, pictures)
        first = min(settings.mixing_share, 1.0)
        share = (done - first) / (1 - first) if first < 1 else 1.0
        temperature = temperature_at(min(max(share, 0.0), 1.0), *settings.temperatures)
        if settings.contrast == "softclip":
            return soft_clip(keys, truth, temperature)
        return info_nce(keys, truth, temperature, same_picture(pictures))


def network_of(model: nn.Module) -> NetworkEncoder:
    """Return the encoder itself, where processes wrap it."""
    found = model.module if hasattr(model, "module") else model
    assert isinstance(found, NetworkEncoder)
    return found


def _variance(values: Tensor) -> float:
    """Return the mean variance of targets over pictures; 1 where they do not vary."""
    flat: Tensor = values.float().flatten(1)
    found = float((flat - flat.mean(0)).square().mean())
    return found if found > 0 else 1.0


def _processes() -> int:
    running = torch.distributed.is_available() and torch.distributed.is_initialized()
    return torch.distributed.get_world_size() if running else 1


def _own_rows(owner: Tensor) -> Tensor:
    """Return the rows of a batch that this process computes; every process has at least one."""
    if _processes() == 1:
        return torch.arange(len(owner))
    own = (owner == torch.distributed.get_rank()).nonzero()[:, 0].cpu()
    return own if len(own) else torch.zeros(1, dtype=torch.long)


def _gathered(found: Mapping[str, Tensor], own: Tensor, owner: Tensor) -> dict[str, Tensor]:
    """Return the predictions of the whole batch; those of other processes have no gradient."""
    count, n, owner = _processes(), len(owner), owner.cpu()
    if count == 1:
        return dict(found)
    rank = torch.distributed.get_rank()
    most = -(-n // count)
    whole = {}
    for part in sorted(found):
        values = found[part]
        padded = values.detach().new_zeros(most, *values.shape[1:])
        padded[: len(values)] = values.detach()
        shares = [torch.empty_like(padded) for _ in range(count)]
        torch.distributed.all_gather(shares, padded)
        joined = values.new_zeros(n, *values.shape[1:])
        for other, share in enumerate(shares):
            theirs = (owner == other).nonzero()[:, 0]
            joined[theirs] = share[: len(theirs)]
        if (owner == rank).any():
            joined = joined.index_copy(0, own.to(values.device), values)
        else:  # more processes than rows: this one takes part without counting
            joined = joined + 0 * values.sum()
        whole[part] = joined
    return whole
