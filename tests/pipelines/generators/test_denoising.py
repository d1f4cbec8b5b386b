"""The denoising loop: what a start keeps, by the mathematics of its scheduler."""

from __future__ import annotations

import pytest
import torch
from diffusers import (
    CogVideoXDDIMScheduler,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

from phosphene.pipelines.generators.denoising import denoise, kept_signal

BETAS = {"beta_start": 0.00085, "beta_end": 0.012}


@pytest.mark.parametrize(
    ("schedule", "strength", "amplitude"),
    [
        ("linear", 0.2, 0.82), ("linear", 0.5, 0.40), ("linear", 0.961, 0.050),
        ("scaled_linear", 0.2, 0.87), ("scaled_linear", 0.5, 0.53), ("scaled_linear", 0.961, 0.085),
    ],
)  # fmt: skip
def test_kept_amplitudes_of_published_schedules(
    schedule: str, strength: float, amplitude: float
) -> None:
    scheduler = DDIMScheduler(beta_schedule=schedule, clip_sample=False, **BETAS)
    assert kept_signal(scheduler, 1000, strength) ** 0.5 == pytest.approx(amplitude, abs=0.006)


def test_a_flow_keeps_what_its_time_says() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler()
    for strength in (0.25, 0.5, 0.75):
        scheduler.set_timesteps(8)
        left = 1 - float(scheduler.sigmas[8 - round(8 * strength)])
        wanted = left**2 / (left**2 + (1 - left) ** 2)
        assert kept_signal(scheduler, 8, strength) == pytest.approx(wanted, abs=1e-4)
    shifted = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    more, less = (kept_signal(shifted, 8, 0.5, {"mu": mu}) for mu in (0.5, 1.5))
    assert more > less  # larger clips are noisier at the same step


@pytest.mark.parametrize(
    "scheduler",
    [
        DDIMScheduler(clip_sample=False, **BETAS),
        EulerDiscreteScheduler(prediction_type="v_prediction", use_karras_sigmas=True, **BETAS),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
        CogVideoXDDIMScheduler(prediction_type="v_prediction", rescale_betas_zero_snr=True),
    ],
    ids=lambda one: type(one).__name__,
)
def test_clips_start_where_the_strength_says(scheduler: object) -> None:
    shape = (2, 3, 4, 2, 2)  # of clips, not of pictures
    start = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    seen: list[torch.Tensor] = []

    def predict(noisy: torch.Tensor, time: torch.Tensor) -> torch.Tensor:
        seen.append(noisy)
        return torch.zeros_like(noisy)

    def run(strength: float) -> torch.Tensor:
        seen.clear()
        return denoise(
            scheduler, predict, noise, [torch.Generator(), torch.Generator()],
            steps=8, start=start, strength=strength,
        )  # fmt: skip

    assert torch.equal(run(0.0), start)
    assert not seen
    kept = []
    for strength in (0.25, 0.5, 0.75):
        run(strength)
        assert len(seen) == round(8 * strength)
        first = seen[0].flatten()
        parts = torch.linalg.lstsq(
            torch.stack([start.flatten(), noise.flatten()], 1), first[:, None]
        ).solution.flatten()
        power = parts[0] ** 2 / parts.square().sum()
        assert float(power) == pytest.approx(kept_signal(scheduler, 8, strength), abs=1e-3)
        kept.append(float(power))
    assert kept == sorted(kept, reverse=True)
    whole = run(1.0)
    assert torch.equal(whole, denoise(scheduler, predict, noise, [torch.Generator()] * 2, steps=8))
