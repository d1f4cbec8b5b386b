"""Noise that frames share: as strong as any, and as alike as it says."""

from __future__ import annotations

import pytest
import torch

from phosphene.pipelines.generators.video.shared_noise import mixed_noise


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_variance_is_1_and_frames_correlate_by_the_share(share: float) -> None:
    stream = torch.Generator().manual_seed(0)
    common = torch.randn((1, 40_000), generator=stream)
    noise = mixed_noise(common, torch.randn((3, 40_000), generator=stream), share)
    assert torch.allclose(noise.var(dim=1), torch.ones(3), atol=0.03)
    found = torch.corrcoef(noise)[~torch.eye(3, dtype=torch.bool)]
    assert torch.allclose(found, torch.full((6,), share), atol=0.03)


def test_each_clip_may_share_another_amount() -> None:
    common, own = torch.ones(2, 1, 3), torch.zeros(2, 4, 3)
    noise = mixed_noise(common, own, torch.tensor([0.25, 1.0]).view(2, 1, 1))
    assert noise.shape == own.shape
    assert torch.equal(noise[:, 0, 0], torch.tensor([0.5, 1.0]))
