"""The checkpoint of a training: how far it is, and all that has a state, to go on bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from phosphene.errors import UsageError
from phosphene.schemas import TrainingState
from phosphene.storage import load_tensors, save_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["Checkpoint", "Progress"]


@dataclass
class Progress:
    """How far a training is.

    Attributes
    ----------
    step, epoch : int
        How many are done.
    best : float, optional
        The best validation score yet, lower is better.
    best_step : int
        Step that has it.
    best_state : dict of str to Tensor, optional
        Weights that have it.
    history : list of dict
        One row per epoch.
    sums : dict of str to float
        Every term of the loss, added up over items since the epoch began.
    """

    step: int = 0
    epoch: int = 0
    best: float | None = None
    best_step: int = 0
    best_state: dict[str, torch.Tensor] | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)


class Checkpoint:
    """One checkpoint in a folder, the latest.

    Parameters
    ----------
    folder : Path
    settings : str
        What tells the settings of the training; a checkpoint of others is refused.
    model : Module
        Unwrapped.
    optimizer : Optimizer
        Of the model's parameters.
    scheduler : LRScheduler
        Of the optimizer's rates.
    ema : EMAModel, optional
        Averages of the model's parameters.
    """

    def __init__(
        self,
        folder: Path,
        settings: str,
        *,
        model: torch.nn.Module,
        optimizer: Any,
        scheduler: Any,
        ema: Any = None,
    ) -> None:
        self.folder, self.settings = folder, settings
        self.model, self.optimizer, self.scheduler, self.ema = model, optimizer, scheduler, ema

    def save(self, progress: Progress) -> None:
        """Write the checkpoint under a new name, then let ``state.json`` point to it."""
        tensors = {f"model.{name}": t for name, t in self.model.state_dict().items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
        if self.ema is not None:
            tensors |= {f"ema.{i}": t for i, t in enumerate(self.ema.shadow_params)}
        if progress.best_state is not None:
            tensors |= {f"best.{name}": t for name, t in progress.best_state.items()}
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"step-{progress.step:08d}.safetensors"
        save_tensors(self.folder / name, {key: t.clone() for key, t in tensors.items()})
        TrainingState(
            config_hash=self.settings,
            weights=name,
            step=progress.step,
            epoch=progress.epoch,
            best_score=progress.best,
            best_step=progress.best_step,
            history=progress.history,
            sums=progress.sums,
            scheduler={
                key: value
                for key, value in self.scheduler.state_dict().items()
                if key != "lr_lambdas"
            },
            ema_steps=0 if self.ema is None else int(self.ema.optimization_step),
        ).save(self.folder / "state.json")
        for old in self.folder.glob("step-*.safetensors"):
            if old.name != name:
                old.unlink()

    def restore(self) -> Progress | None:
        """Go on from the checkpoint; return how far it is, None where there is none.

        Raises
        ------
        UsageError
            If it was made with other settings.
        """
        path = self.folder / "state.json"
        if not path.is_file():
            return None
        state = TrainingState.load(path)
        if state.config_hash != self.settings:
            raise UsageError(
                f"the checkpoint in {self.folder} was made with other training settings",
                expected="the same settings as the interrupted training",
                remedy="repeat the first command with --resume, or choose another --output",
            )
        parts: dict[str, dict[str, torch.Tensor]] = {}
        for key, value in load_tensors(self.folder / state.weights).items():
            part, _, name = key.partition(".")
            parts.setdefault(part, {})[name] = value
        self.model.load_state_dict(parts["model"])
        self._restore_rates(parts.get("optimizer", {}), state.scheduler)
        if self.ema is not None:
            averages = [parts["ema"][str(i)] for i in range(len(parts["ema"]))]
            device = self.ema.shadow_params[0].device
            self.ema.shadow_params = [one.to(device) for one in averages]
            self.ema.optimization_step = state.ema_steps
        return Progress(
            step=state.step,
            epoch=state.epoch,
            best=state.best_score,
            best_step=state.best_step,
            best_state=parts.get("best"),
            history=list(state.history),
            sums=dict(state.sums),
        )

    def _restore_rates(self, moments: dict[str, torch.Tensor], scheduler: dict[str, Any]) -> None:
        """Give the optimizer its moments, and the rates that the scheduler had come to."""
        optimizer = self.optimizer.state_dict()
        optimizer["state"] = {}
        for key, value in moments.items():
            index, _, name = key.partition(".")
            optimizer["state"].setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict(optimizer)
        self.scheduler.load_state_dict(scheduler | {"lr_lambdas": [None]})
        rates = self.scheduler.get_last_lr()
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
