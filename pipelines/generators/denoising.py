"""The denoising loop that all published generators share: one stream per item, any start.

Meng et al. 2022 (starting from a picture); Ho and Salimans 2022 (guidance).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from phosphene.errors import check_option

__all__ = [
    "choose_scheduler",
    "denoise",
    "draw",
    "guide",
    "in_precision",
    "kept_signal",
    "padded",
    "takes_variance",
]


def draw(shape: Sequence[int], generators: Sequence[torch.Generator]) -> Tensor:
    """Return standard normal noise (n, *shape), each item from its own stream."""
    return torch.stack(
        [torch.randn(tuple(shape), generator=g, device=g.device).cpu() for g in generators]
    )


def padded(generators: Sequence[torch.Generator], size: int) -> list[torch.Generator]:
    """Return ``size`` streams; those that are missing are copies of the last one.

    A filled-up block draws noise for its filling as well, and must not advance a real stream.
    """
    found = list(generators)
    for _ in range(size - len(generators)):
        copy = torch.Generator(device=generators[-1].device)
        found.append(copy.set_state(generators[-1].get_state()))
    return found


def first_step(steps: int, strength: float) -> int:
    """Return how many steps are left out; at least one is run unless strength is 0."""
    run = round(steps * strength)
    return steps - (max(run, 1) if strength > 0 else 0)


def denoise(
    scheduler: Any,
    predict: Callable[[Tensor, Tensor], Tensor],
    noise: Tensor,
    generators: Sequence[torch.Generator],
    *,
    steps: int,
    start: Tensor | None = None,
    strength: float = 1.0,
    watch: Callable[[int, int, Tensor, Tensor], None] | None = None,
    spacing: Mapping[str, Any] | None = None,
) -> Tensor:
    """Run a scheduler from noise, or from ``start`` with noise on it, to clean latents.

    Parameters
    ----------
    scheduler : diffusers scheduler
        Its configuration is used, never its state.
    predict : callable
        ``(latents as the network takes them, time) -> prediction``.
    noise : Tensor of shape (n, C, H, W), or (n, C, F, H, W) of clips
    generators : sequence of torch.Generator
        For the noise that some schedulers add at every step.
    steps : int
    start : Tensor of the shape of ``noise``, optional
    strength : float
        0 returns ``start``; 1 ignores it.
    watch : callable, optional
        ``(step, of how many, time, latents)`` after every step.
    spacing : mapping, optional
        What the scheduler is told about its times beside how many they are, such as the shift
        of a flow that depends on the size of clips.
    """
    fresh = _at_times(scheduler, steps, spacing, noise.device)
    skipped = 0 if start is None or strength == 1 else first_step(steps, strength)
    if start is not None and skipped == steps:
        return start
    skipped *= getattr(fresh, "order", 1)
    times = fresh.timesteps[skipped:]
    if hasattr(fresh, "set_begin_index"):
        fresh.set_begin_index(skipped)
    if start is not None and skipped:
        current = _noised(fresh, start, noise, times[:1])
    else:
        current = noise * getattr(fresh, "init_noise_sigma", 1.0)
    scale = getattr(fresh, "scale_model_input", None)  # flows take latents as they are
    takes_noise = "generator" in inspect.signature(fresh.step).parameters
    more = {"generator": list(generators)} if takes_noise else {}
    for number, time in enumerate(times):
        found = predict(current if scale is None else scale(current, time), time)
        current = fresh.step(found, time, current, **more, return_dict=False)[0]
        if watch is not None:
            watch(number, len(times), time, current)
    result: Tensor = current
    return result


def _at_times(
    scheduler: Any, steps: int, spacing: Mapping[str, Any] | None, device: Any = None
) -> Any:
    """Return a scheduler of the same configuration that has its times."""
    fresh: Any = type(scheduler).from_config(scheduler.config)
    told = dict(spacing or {})
    if "sigmas" not in told:  # these say how many, too
        told["num_inference_steps"] = steps
    fresh.set_timesteps(**told, **({} if device is None else {"device": device}))
    return fresh


def _noised(scheduler: Any, clean: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    """Return clean latents as they are at a time: schedulers of flows say it otherwise."""
    found: Tensor = (
        scheduler.add_noise(clean, noise, times)
        if hasattr(scheduler, "add_noise")
        else scheduler.scale_noise(clean, times, noise)
    )
    return found


def kept_signal(
    scheduler: Any, steps: int, strength: float, spacing: Mapping[str, Any] | None = None
) -> float:
    """Return the share of the start, in power, in what the first network call sees (0..1)."""
    skipped = first_step(steps, strength)
    if skipped == 0:
        return 0.0
    if skipped == steps:
        return 1.0
    fresh = _at_times(scheduler, steps, spacing)
    skipped *= getattr(fresh, "order", 1)
    times = fresh.timesteps[skipped : skipped + 1]
    if hasattr(fresh, "set_begin_index"):
        fresh.set_begin_index(skipped)
    one, none = torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 1)
    signal = float(_noised(fresh, one, none, times).square())
    noise = float(_noised(fresh, none, one, times).square())
    return signal / (signal + noise)


def guide(found: Tensor, scale: float, channels: int) -> Tensor:
    """Join the halves without and with condition; a variance beside the noise is not guided.

    Parameters
    ----------
    found : Tensor of shape (2n, C or 2C, H, W)
        Without a condition first.
    scale : float
    channels : int
        C.
    """
    free, told = found.chunk(2)
    noise = free[:, :channels] + scale * (told[:, :channels] - free[:, :channels])
    return torch.cat([noise, told[:, channels:]], dim=1)


def choose_scheduler(own: Any, name: str | None) -> Any:
    """Return the pipeline's scheduler, or another class with its configuration."""
    if name is None:
        return own
    import diffusers

    known = [key for key in dir(diffusers) if key.endswith("Scheduler")]
    check_option("scheduler", name, known)
    config = dict(own.config)
    if not name.startswith("DDPM"):
        config["variance_type"] = None  # others cannot use a predicted variance, or misread it
    return getattr(diffusers, name).from_config(config)


def takes_variance(scheduler: Any) -> bool:
    """Return whether a scheduler uses a variance that is predicted beside the noise."""
    return str(scheduler.config.get("variance_type") or "").startswith("learned")


def in_precision(inputs: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """Return inputs with every tensor of real numbers in ``dtype``."""

    def one(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(dtype) if value.is_floating_point() else value
        if isinstance(value, dict):
            return {key: one(part) for key, part in value.items()}
        return [one(part) for part in value] if isinstance(value, list) else value

    return {key: one(value) for key, value in inputs.items()}
