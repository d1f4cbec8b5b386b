"""The one training loop: seeded, checkpointed, resumable bit for bit, on accelerate.

All randomness of step ``k``, dropout included, comes from a generator seeded by (seed, k), and the
order of epoch ``e`` from one seeded by (seed, e). So a checkpoint needs no random state, and a run
that was killed and resumed goes through exactly the same numbers as one that was not.

Several processes share each batch out among them. An objective is a mean over items, so that their
gradients average to that of the whole batch; one with ``whole_batch = True`` gets all of it
everywhere and shares it out by itself (losses that compare items with one another have to).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import PositiveFloat, PositiveInt

from phosphene.config import Config
from phosphene.errors import AssetError, UsageError, check_option
from phosphene.progress import progress
from phosphene.schemas import TrainingState
from phosphene.seeds import item_seed
from phosphene.storage import load_tensors, save_tensors

if TYPE_CHECKING:
    import torch
    from accelerate import PartialState

__all__ = ["EngineConfig", "TrainingResult", "processes", "train"]

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


Schedule = Literal[
    "constant", "constant_with_warmup", "cosine", "cosine_with_restarts", "linear", "polynomial"
]


class EngineConfig(Config):
    """Settings of every gradient training.

    ``schedule`` is one of diffusers. ``precision`` fp16 needs a GPU, bf16 does not. ``trackers``
    are those of accelerate, by name: ``tensorboard``, ``wandb``, ``mlflow`` and others. Without
    ``epochs``, as many are run as make about ``steps`` steps, and twenty at least. With
    ``patience``, a training ends after so many epochs without a better validation score. With
    ``accumulate``, each batch goes through the network in so many parts.
    """

    epochs: PositiveInt | None = None
    steps: PositiveInt = 1500
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 1e-3
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    warmup_steps: int = 0
    ema_decay: float = 0.0
    gradient_clip: float = 1.0
    precision: Literal["no", "bf16", "fp16"] = "no"
    checkpoint_every: PositiveInt = 200
    trackers: tuple[str, ...] = ()
    patience: PositiveInt | None = None
    accumulate: PositiveInt = 1
    seed: int = 0


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
    loop.restore()
    epochs = range(loop.epoch, loop.epochs)
    for _ in progress(epochs, label=label, total=len(epochs)):
        if loop.exhausted:
            break
        loop.run_epoch()
    for tracker in loop.accelerator.trackers:  # `end_training` would part the processes as well
        tracker.finish()
    return TrainingResult(state=loop.kept(), history=loop.history, best_step=loop.best_step)


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
        from accelerate import Accelerator, DistributedDataParallelKwargs
        from accelerate.state import AcceleratorState
        from diffusers.optimization import get_scheduler
        from diffusers.training_utils import EMAModel

        self.config, self.objective, self.validate = config, objective, validate
        self.checkpoint = folder / "checkpoint"
        self.n_items = len(next(iter(data.values())))
        if self.n_items == 0 or any(len(t) != self.n_items for t in data.values()):
            raise UsageError(f"training data of lengths {[len(t) for t in data.values()]}")
        self.steps_per_epoch = math.ceil(self.n_items / config.batch_size)
        self.epochs = config.epochs or max(20, round(config.steps / self.steps_per_epoch))
        self.total_steps = self.steps_per_epoch * self.epochs
        processes()
        # One training may follow another of a different precision; accelerate keeps the first.
        AcceleratorState._reset_state()
        _check_possible(config)
        self.accelerator = Accelerator(
            mixed_precision=config.precision,
            log_with=list(config.trackers) or None,
            project_dir=str(folder / "logs"),
            # Not every batch has every subject.
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
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
        if config.trackers:
            flat = {
                key: value
                for key, value in config.model_dump().items()
                if isinstance(value, int | float | str)
            }
            self.accelerator.init_trackers("phosphene", config=flat)
        self.step, self.epoch, self.best_step, self.saved_step = 0, 0, 0, 0
        self.best: float | None = None
        self.best_state: dict[str, Any] | None = None
        self.history: list[dict[str, float]] = []
        self.sums: dict[str, float] = {}

    def run_epoch(self) -> None:
        """Go through the rest of the current epoch, then validate."""
        from phosphene.pipelines.training.gathering import gathered

        order = self._order().to(self.accelerator.device)
        self.model.train()
        done = self.step - self.epoch * self.steps_per_epoch
        steps = order.split(self.config.batch_size)[done:]
        parts = (own for rows in steps for _, own, _ in self._parts(rows))
        more = getattr(self.objective, "gather", None)
        batches = gathered(self.data, parts, more and partial(more, epoch=self.epoch))
        for position, rows in enumerate(steps, start=done):
            self._one_step(rows, batches)
            inside = position + 1 < self.steps_per_epoch
            if inside and self.step - self.saved_step >= self.config.checkpoint_every:
                self.save()
        self._end_epoch()
        last = self.epoch == self.epochs or self.exhausted
        if last or self.step - self.saved_step >= self.config.checkpoint_every:
            self.save()

    def _order(self) -> torch.Tensor:
        """Return the items of this epoch, each once: by chance, or as the objective reads them."""
        import torch

        wanted = getattr(self.objective, "order", None)
        found: torch.Tensor | None = None
        if wanted is not None:
            found = wanted(self.config.seed, self.epoch)
        if found is not None:
            return found
        seed = item_seed(self.config.seed, "order", "epoch", self.epoch)
        return torch.randperm(self.n_items, generator=torch.Generator().manual_seed(seed))

    @property
    def exhausted(self) -> bool:
        """Whether validation has not become better for as long as is waited for."""
        if self.config.patience is None or self.validate is None:
            return False
        return self.epoch - self.best_step // self.steps_per_epoch >= self.config.patience

    def _one_step(self, rows: torch.Tensor, batches: Iterator[Mapping[str, torch.Tensor]]) -> None:
        import torch

        device, rank = self.accelerator.device, self.accelerator.process_index
        apart = rank > 0 and not self._whole_batch  # else all processes draw the same
        seed = item_seed(
            self.config.seed, "noise", f"step, process {rank}" if apart else "step", self.step
        )
        generator = torch.Generator(device=device).manual_seed(seed)
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(item_seed(self.config.seed, "dropout", f"process {rank}", self.step))
            self._accumulate(rows, batches, generator)
        if self.config.gradient_clip > 0:
            self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.gradient_clip)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.step(self.model.parameters())
        self.step += 1

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
        import contextlib

        parts = self._parts(rows)
        for number, (part, _, weight) in enumerate(parts):
            batch = next(batches)
            last = number + 1 == len(parts)
            with contextlib.nullcontext() if last else self.accelerator.no_sync(self.model):
                with self.accelerator.autocast():
                    share = self.step / self.total_steps
                    terms = self.objective(self.model, batch, generator, share)
                self._check_finite(terms["loss"])
                self.accelerator.backward(terms["loss"] * (weight * len(part) / len(rows)))
            for name, value in terms.items():
                self.sums[name] = self.sums.get(name, 0.0) + float(value.detach()) * len(part)

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
                f"the training loss is not finite at step {self.step}",
                expected="a loss that falls",
                remedy="use a smaller learning rate (--set training.learning_rate=...)",
            )

    def _end_epoch(self) -> None:
        row = {name: total / self.n_items for name, total in self.sums.items()}
        self.sums = {}
        self.epoch += 1
        if self.validate is not None:
            score = self._validated()
            row["validation"] = score
            if self.best is None or score < self.best:
                self.best, self.best_step, self.best_state = score, self.step, self._weights()
        else:
            self.best_step = self.step
        self.history.append({"epoch": float(self.epoch), **row})
        if self.config.trackers:
            self.accelerator.log(row, step=self.step)

    def _validated(self) -> float:
        import torch

        if self.validate is None:
            raise UsageError("validation was asked for without a function")
        self.model.eval()
        if self.ema is not None:
            self.ema.store(self.model.parameters())
            self.ema.copy_to(self.model.parameters())
        with torch.no_grad():
            score = self.validate(self.model)
        if self.ema is not None:
            self.ema.restore(self.model.parameters())
        self.model.train()
        return score

    def _weights(self) -> dict[str, torch.Tensor]:
        """Return a copy of the (averaged) weights."""
        if self.ema is not None:
            self.ema.store(self.model.parameters())
            self.ema.copy_to(self.model.parameters())
        plain = self.accelerator.unwrap_model(self.model)
        state = {name: t.detach().cpu().clone() for name, t in plain.state_dict().items()}
        if self.ema is not None:
            self.ema.restore(self.model.parameters())
        return state

    def kept(self) -> dict[str, torch.Tensor]:
        """Return the weights to keep: the best validated ones, or the last."""
        return self._weights() if self.best_state is None else self.best_state

    def save(self) -> None:
        """Write the checkpoint under a new name, then let ``state.json`` point to it."""
        if not self.accelerator.is_main_process:
            return
        plain = self.accelerator.unwrap_model(self.model)
        tensors = {f"model.{name}": t for name, t in plain.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        if self.ema is not None:
            tensors |= {f"ema.{i}": t for i, t in enumerate(self.ema.shadow_params)}
        if self.best_state is not None:
            tensors |= {f"best.{name}": t for name, t in self.best_state.items()}
        self.checkpoint.mkdir(parents=True, exist_ok=True)
        name = f"step-{self.step:08d}.safetensors"
        save_tensors(self.checkpoint / name, {key: t.clone() for key, t in tensors.items()})
        TrainingState(
            config_hash=_config_hash(self.config),
            weights=name,
            step=self.step,
            epoch=self.epoch,
            best_score=self.best,
            best_step=self.best_step,
            history=self.history,
            sums=self.sums,
            scheduler={
                key: value
                for key, value in self.scheduler.state_dict().items()
                if key != "lr_lambdas"
            },
            ema_steps=0 if self.ema is None else int(self.ema.optimization_step),
        ).save(self.checkpoint / "state.json")
        self.saved_step = self.step
        for old in self.checkpoint.glob("step-*.safetensors"):
            if old.name != name:
                old.unlink()

    def restore(self) -> None:
        """Go on from the checkpoint, if there is one of the same configuration."""
        path = self.checkpoint / "state.json"
        if not path.is_file():
            return
        state = TrainingState.load(path)
        if state.config_hash != _config_hash(self.config):
            raise UsageError(
                f"the checkpoint in {self.checkpoint} was made with other training settings",
                expected="the same settings as the interrupted training",
                remedy="repeat the first command with --resume, or choose another --output",
            )
        tensors = load_tensors(self.checkpoint / state.weights)
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = value
        self.accelerator.unwrap_model(self.model).load_state_dict(parts["model"])
        optimizer = self.optimizer.state_dict()
        optimizer["state"] = {}
        for key, value in parts.get("optimizer", {}).items():
            index, _, name = key.partition(".")
            optimizer["state"].setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(optimizer)
        self.scheduler.load_state_dict(state.scheduler | {"lr_lambdas": [None]})
        for group, rate in zip(
            self.optimizer.param_groups, self.scheduler.get_last_lr(), strict=True
        ):
            group["lr"] = rate
        if self.ema is not None:
            self.ema.shadow_params = [
                parts["ema"][str(i)].to(self.accelerator.device) for i in range(len(parts["ema"]))
            ]
            self.ema.optimization_step = state.ema_steps
        self.best_state = parts.get("best")
        self.step, self.epoch, self.best = state.step, state.epoch, state.best_score
        self.saved_step = state.step
        self.best_step, self.history = state.best_step, list(state.history)
        self.sums = dict(state.sums)


def _check_possible(config: EngineConfig) -> None:
    """Refuse a precision or a tracker that this machine does not have, before anything starts."""
    import torch
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    if config.precision == "fp16" and not torch.cuda.is_available():
        raise UsageError(
            "`precision` is fp16 on a machine without a GPU",
            expected="no or bf16",
            remedy="set training.precision=bf16, which needs no scaling of the loss",
        )
    available = {str(one) for one in get_available_trackers()} if config.trackers else set()
    for name in config.trackers:
        check_option("trackers", name, sorted(LOGGER_TYPE_TO_CLASS))
        if name not in available:
            raise AssetError(
                f"the tracker {name} is not installed",
                expected=f"one of {', '.join(sorted(available)) or 'none'}",
                remedy=f"pip install {name}, or leave training.trackers out",
            )


# Settings that came later. At their defaults they change nothing, and older checkpoints fit.
LATER: dict[str, Any] = {"patience": None, "accumulate": 1}


def _config_hash(config: EngineConfig) -> str:
    from phosphene.storage import hash_bytes

    unchanged = {name for name, default in LATER.items() if getattr(config, name) == default}
    return hash_bytes(config.model_dump_json(exclude=unchanged).encode())[:16]
