"""Settings of the command ``phosphene evaluate``."""

from __future__ import annotations

from typing import Literal

from phosphene.config import Config
from phosphene.errors import UsageError

__all__ = ["EvaluateConfig", "check_config"]


class EvaluateConfig(Config):
    """What is evaluated and how; flags are names for these keys."""

    output: str
    predictions: str | None = None
    truth: str | None = None
    model: str | None = None
    dataset: str | None = None
    suite: str = "quick"
    metrics: tuple[str, ...] = ()
    name: str | None = None
    subjects: tuple[str, ...] = ()
    split: Literal["train", "validation", "test", "all"] = "test"
    average: Literal["none", "stimulus"] = "stimulus"
    samples: int = 1
    steps: int | None = None
    category: str | None = None
    scenes: str | None = None
    simulations: tuple[str, ...] = ()
    size: int | None = None
    allow_missing: bool = False
    allow_seen: bool = False
    network: str | None = None
    cache: str | None = None
    batch_size: int = 32
    n_permutations: int = 1000
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = 0


def check_config(config: EvaluateConfig) -> None:
    """Refuse settings that cannot go together.

    Raises
    ------
    UsageError
        If neither or both of predictions and model are given, or a number is out of range.
    """
    if (config.predictions is None) == (config.model is None):
        raise UsageError(
            "--predictions and --model are both given" if config.model else "nothing to evaluate",
            expected="either --predictions (and --truth), or --model and --dataset",
            remedy="give one of the two",
        )
    if config.model is not None and config.dataset is None:
        raise UsageError(
            f"--model {config.model} without a dataset",
            expected="--dataset FOLDER, whose test trials are decoded",
            remedy="prepare one with `phosphene prepare`, or give --predictions",
        )
    if config.model is not None and config.truth is not None:
        raise UsageError(
            "--truth together with --model",
            expected="--dataset alone: it holds what was shown",
            remedy="leave --truth away",
        )
    numbers = (config.batch_size, config.samples, config.n_permutations, config.size or 1)
    if min(numbers) < 1:
        raise UsageError(
            "a batch size, a size or a number of samples or permutations below 1",
            expected="at least 1",
            remedy="leave the flag away",
        )
