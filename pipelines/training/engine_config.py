"""Settings of every gradient training, and whether this machine can do what they ask for."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import PositiveFloat, PositiveInt

from phosphene.config import Config
from phosphene.errors import AssetError, UsageError, check_option
from phosphene.storage import hash_bytes

__all__ = ["EngineConfig", "Schedule", "check_possible", "config_hash"]

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


# Settings that came later. At their defaults they change nothing, and older checkpoints fit.
LATER: dict[str, Any] = {"patience": None, "accumulate": 1}


def config_hash(config: EngineConfig) -> str:
    """Return what tells settings apart that a checkpoint cannot be shared between."""
    unchanged = {name for name, default in LATER.items() if getattr(config, name) == default}
    return hash_bytes(config.model_dump_json(exclude=unchanged).encode())[:16]


def check_possible(config: EngineConfig) -> None:
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
