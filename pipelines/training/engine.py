"""The one training loop: seeded, checkpointed, resumable bit for bit, on accelerate.

All randomness of step ``k``, dropout included, comes from a generator seeded by (seed, k), and the
order of epoch ``e`` from one seeded by (seed, e). So a checkpoint needs no random state, and a run
that was killed and resumed goes through exactly the same numbers as one that was not.

Several processes share each batch out among them. An objective is a mean over items, so that their
gradients average to that of the whole batch; one with ``whole_batch = True`` gets all of it
everywhere and shares it out by itself (losses that compare items with one another have to).
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from phosphene.errors import UsageError
from phosphene.pipelines.training.checkpoint import Checkpoint, Progress
from phosphene.pipelines.training.engine_config import (
    EngineConfig,
    Schedule,
    check_possible,
    config_hash,
)
from phosphene.progress import progress
from phosphene.seeds import item_seed

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator, PartialState

__all__ = ["EngineConfig", "Schedule", "TrainingResult", "processes", "train"]

# (model, batch, generator, share of training done 0..1) -> named scalars with "loss" among them
Objective = Callable[
    ["torch.nn.Module", Mapping[str, "torch.Tensor"], "torch.Generator", float],
    Mapping[str, "torch.Tensor"],
]


def processes() -> PartialState:
    """Return which of several processes this one is; it makes them find one another."""
    import torch
    from accelerate import PartialState

    # Without a GPU they do so only where the CPU is asked for; alone, a process may choose.
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return PartialState(cpu=several and not torch.cuda.is_available())


@dataclass
class TrainingResult:
    """What a training leaves behind.

    Attributes
    ----------
    state : dict of str to Tensor
        Weights of the best validation score (of the last step without validation), averaged
        by EMA where that is on.
    history : list of dict
        One row per epoch.
    best_step : int
    """

    state: dict[str, torch.Tensor]
    history: list[dict[str, float]] = field(default_factory=list)
    best_step: int = 0


def train(
    model: torch.nn.Module,
    data: Mapping[str, torch.Tensor],
    objective: Objective,
    config: EngineConfig,
    *,
    folder: Path,
    validate: Callable[[torch.nn.Module], float] | None = None,
    label: str = "training",
) -> TrainingResult:
    """Train ``model`` on tensors that stay on the device; resume from ``folder`` if it can.

    Parameters
    ----------
    model : Module
        Changed in place; the result's ``state`` holds what to keep.
    data : mapping of str to Tensor
        Equal first axes; each item is seen once per epoch.
    objective : callable
        ``(model, batch, generator, share_done) -> {"loss": ..., ...}``.
    config : EngineConfig
    folder : Path
        Holds ``checkpoint/`` and, where trackers are on, their logs.
    validate : callable, optional
        Returns a score of the (averaged) model on held-out items, lower is better; called
        after each epoch.
    """
    loop = _Loop(model, data, objective, config, folder, validate)
    epochs = range(loop.now.epoch, loop.epochs)
    for _ in progress(epochs, label=label, total=len(epochs)):
        if loop.exhausted:
            break
        loop.run_epoch()
    for tracker in loop.accelerator.trackers:  # `end_training` would part the processes as well
        tracker.finish()
    now = loop.now
    return TrainingResult(state=loop.kept(), history=now.history, best_step=now.best_step)


def _accelerator(config: EngineConfig, folder: Path) -> Accelerator:
    """Return an accelerator of the precision and with the trackers that are asked for."""
    from accelerate import Accelerator, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState

    processes()
    # One training may follow another of a different precision; accelerate keeps the first.
    AcceleratorState._reset_state()
    check_possible(config)
    accelerator = Accelerator(
        mixed_precision=config.precision,
        log_with=list(config.trackers) or None,
        project_dir=str(folder / "logs"),
        # Not every batch has every subject.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if config.trackers:
        flat = {
            key: value
            for key, value in config.model_dump().items()
            if isinstance(value, int | float | str)
        }
        accelerator.init_trackers("phosphene", config=flat)
    return accelerator


class _Loop:
    """State of one training run."""

    def __init__(
        self,
        model: torch.nn.Module,
        data: Mapping[str, torch.Tensor],
        objective: Objective,
        config: EngineConfig,
        folder: Path,
        validate: Callable[[torch.nn.Module], float] | None,
    ) -> None:
        import torch
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        self.config, self.objective, self.validate = config, objective, validate
        self.n_items = len(next(iter(data.values())))
        if self.n_items == 0 or any(len(t) != self.n_items for t in data.values()):
            raise UsageError(f"training data of lengths {[len(t) for t in data.values()]}")
        self.steps_per_epoch = math.ceil(self.n_items / config.batch_size)
        self.epochs = config.epochs or max(20, round(config.steps / self.steps_per_epoch))
        self.total_steps = self.steps_per_epoch * self.epochs
        self.accelerator = _accelerator(config, folder)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.model, self.optimizer = self.accelerator.prepare(model, optimizer)
        self.scheduler = get_scheduler(
            config.schedule,
            self.optimizer,
            num_warmup_steps=config.warmup_steps,
            num_training_steps=self.total_steps,
        )
        self.ema = (
            EMAModel(model.parameters(), decay=config.ema_decay) if config.ema_decay > 0 else None
        )
        self.data = {name: t.to(self.accelerator.device) for name, t in data.items()}
        self.checkpoint = Checkpoint(
            folder / "checkpoint", config_hash(config),
            model=self.accelerator.unwrap_model(self.model), optimizer=self.optimizer,
            scheduler=self.scheduler, ema=self.ema,
        )  # fmt: skip
        self.now = self.checkpoint.restore() or Progress()
        self.saved_step = self.now.step

    def run_epoch(self) -> None:
        """Go through the rest of the current epoch, then validate."""
        from phosphene.pipelines.training.gathering import gathered

        order = self._order().to(self.accelerator.device)
        self.model.train()
        done = self.now.step - self.now.epoch * self.steps_per_epoch
        steps = order.split(self.config.batch_size)[done:]
        parts = (own for rows in steps for _, own, _ in self._parts(rows))
        more = getattr(self.objective, "gather", None)
        batches = gathered(self.data, parts, more and partial(more, epoch=self.now.epoch))
        for position, rows in enumerate(steps, start=done):
            self._one_step(rows, batches)
            inside = position + 1 < self.steps_per_epoch
            if inside and self.now.step - self.saved_step >= self.config.checkpoint_every:
                self.save()
        self._end_epoch()
        last = self.now.epoch == self.epochs or self.exhausted
        if last or self.now.step - self.saved_step >= self.config.checkpoint_every:
            self.save()

    def _order(self) -> torch.Tensor:
        """Return the items of this epoch, each once: by chance, or as the objective reads them."""
        import torch

        wanted = getattr(self.objective, "order", None)
        found: torch.Tensor | None = None
        if wanted is not None:
            found = wanted(self.config.seed, self.now.epoch)
        if found is not None:
            return found
        seed = item_seed(self.config.seed, "order", "epoch", self.now.epoch)
        return torch.randperm(self.n_items, generator=torch.Generator().manual_seed(seed))

    @property
    def exhausted(self) -> bool:
        """Whether validation has not become better for as long as is waited for."""
        if self.config.patience is None or self.validate is None:
            return False
        return self.now.epoch - self.now.best_step // self.steps_per_epoch >= self.config.patience

    def _one_step(self, rows: torch.Tensor, batches: Iterator[Mapping[str, torch.Tensor]]) -> None:
        import torch

        device, rank = self.accelerator.device, self.accelerator.process_index
        step = self.now.step
        apart = rank > 0 and not self._whole_batch  # else all processes draw the same
        seed = item_seed(
            self.config.seed, "noise", f"step, process {rank}" if apart else "step", step
        )
        generator = torch.Generator(device=device).manual_seed(seed)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(item_seed(self.config.seed, "dropout", f"process {rank}", step))
            self._accumulate(rows, batches, generator)
        if self.config.gradient_clip > 0:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.step(self.model.parameters())
        self.now.step += 1

    def _parts(self, rows: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor, float]]:
        """Return the parts of a batch, of each this process's own rows and their weight."""
        return [(part, *self._own_rows(part)) for part in rows.chunk(self.config.accumulate)]

    def _accumulate(
        self,
        rows: torch.Tensor,
        batches: Iterator[Mapping[str, torch.Tensor]],
        generator: torch.Generator,
    ) -> None:
        """Add up the gradient of one batch, part by part."""
        parts = self._parts(rows)
        for number, (part, _, weight) in enumerate(parts):
            batch = next(batches)
            last = number + 1 == len(parts)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    share = self.now.step / self.total_steps
                    terms = self.objective(self.model, batch, generator, share)
                self._check_finite(terms["loss"])
                self.accelerator.backward(terms["loss"] * (weight * len(part) / len(rows)))
            sums = self.now.sums
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) * len(part)

    @property
    def _whole_batch(self) -> bool:
        return bool(getattr(self.objective, "whole_batch", False))

    def _own_rows(self, part: torch.Tensor) -> tuple[torch.Tensor, float]:
        """Return this process's rows, and what its mean counts beside those of the others."""
        count, rank = self.accelerator.num_processes, self.accelerator.process_index
        if count == 1 or self._whole_batch:
            return part, 1.0
        own = part[rank::count]
        if len(own) == 0:  # more processes than rows: one that is not counted
            return part[:1], 0.0
        return own, len(own) * count / len(part)

    def _check_finite(self, loss: torch.Tensor) -> None:
        import torch

        if not torch.isfinite(loss):
            raise UsageError(
                f"the training loss is not finite at step {self.now.step}",
                expected="a loss that falls",
                remedy="use a smaller learning rate (--set training.learning_rate=...)",
            )

    def _end_epoch(self) -> None:
        now = self.now
        row = {name: total / self.n_items for name, total in now.sums.items()}
        now.sums = {}
        now.epoch += 1
        if self.validate is not None:
            score = self._validated(self.validate)
            row["validation"] = score
            if now.best is None or score < now.best:
                now.best, now.best_step, now.best_state = score, now.step, self._weights()
        else:
            now.best_step = now.step
        now.history.append({"epoch": float(now.epoch), **row})
        if self.config.trackers:
            self.accelerator.log(row, step=now.step)

    @contextlib.contextmanager
    def _averaged(self) -> Iterator[None]:
        """Let the model have its averaged weights for a while, where there are any."""
        if self.ema is None:
            yield
            return
        self.ema.store(self.model.parameters())
        self.ema.copy_to(self.model.parameters())
        yield
        self.ema.restore(self.model.parameters())

    def _validated(self, validate: Callable[[torch.nn.Module], float]) -> float:
        import torch

        self.model.eval()
        with self._averaged(), torch.no_grad():
            score = validate(self.model)
        self.model.train()
        return score

    def _weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of the (averaged) weights."""
        with self._averaged():
            plain = self.accelerator.unwrap_model(self.model)
            return {name: t.detach().cpu().clone() for name, t in plain.state_dict().items()}

    def kept(self) -> dict[str, torch.Tensor]:
        """Return the weights to keep: the best validated ones, or the last."""
        return self._weights() if self.now.best_state is None else self.now.best_state

    def save(self) -> None:
        """Write the checkpoint; of several processes one does."""
        if self.accelerator.is_main_process:
            self.checkpoint.save(self.now)
            self.saved_step = self.now.step
