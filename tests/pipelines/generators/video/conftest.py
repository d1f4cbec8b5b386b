"""What every video generator promises, as a check that each adapter's test calls."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from phosphene.pipelines.generators.video.base import VideoConditions, VideoGenerator
from phosphene.types import BrainEmbedding

Contract = Callable[..., np.ndarray]


@pytest.fixture
def video_conditions() -> Callable[..., VideoConditions]:
    """Return a maker of random conditions: ``video_conditions(n, size=16, latent=(2, 8, 8))``."""

    def make(
        n: int = 3,
        *,
        size: int = 16,
        latent: tuple[int, int, int] = (2, 8, 8),
        tokens: tuple[int, int] = (4, 8),
        moments: int = 4,
        seconds: float = 1.0,
    ) -> VideoConditions:
        draw = torch.Generator().manual_seed(5)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(shape, generator=draw)

        return VideoConditions(
            seconds=seconds,
            keyframes=torch.rand((n, 3, size, size), generator=draw),
            embedding=BrainEmbedding(tokens=normal(n, *tokens), lowlevel=normal(n, *latent)),
            lowlevel=normal(n, moments, *latent),
            flow=0.3 * normal(n, moments, 2, 4, 4),
            motion_energy=normal(n, moments).square(),
            cut=torch.rand((n, moments), generator=draw) ** 2,
            captions=tuple(f"clip {row}" for row in range(n)),
        )

    return make


@pytest.fixture
def video_contract() -> Contract:
    """Return the check; it gives back the clips (n, F, H, W, 3) of the whole batch."""

    def check(
        generator: VideoGenerator,
        conditions: VideoConditions,
        *,
        fps: float = 8.0,
        tolerance: int = 0,
        **options: object,
    ) -> np.ndarray:
        def render(rows: list[int]) -> np.ndarray:
            seeds = [torch.Generator().manual_seed(100 + row) for row in rows]
            init = options.get("init")
            chosen = {} if init is None else {"init": init[rows]}  # type: ignore[index]
            return generator.generate(
                conditions[torch.tensor(rows)],
                generators=seeds,
                fps=fps,
                **{**options, **chosen},  # type: ignore[arg-type]
            )

        def same(found: np.ndarray, expected: np.ndarray) -> None:
            difference = np.abs(found.astype(int) - expected.astype(int))
            assert difference.max() <= tolerance

        everyone = list(range(len(conditions)))
        whole = render(everyone)
        n_frames = conditions.n_frames(fps)
        assert whole.dtype == np.uint8
        assert whole.shape[:2] == (len(conditions), n_frames)
        assert whole.shape[4] == 3
        assert len({clip.tobytes() for clip in whole}) == len(everyone)
        for row in everyone:
            same(render([row])[0], whole[row])
        turned = everyone[::-1]
        same(render(turned), whole[turned])
        same(render(everyone), whole)
        return whole

    return check
