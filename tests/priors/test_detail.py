"""Detail from training pictures: who lends, what is taken, and how it is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.data.scenes import SCENES_VERSION, render, sample_scenes
from phosphene.errors import InputError, UsageError
from phosphene.priors.detail import BorrowedDetail

LATENTS = torch.linspace(0, 1, 6).reshape(6, 1, 1, 1)


def decode(latents: torch.Tensor) -> torch.Tensor:
    """Return a picture of vertical stripes whose level is the latent."""
    stripes = torch.arange(8).remainder(2).float()
    return (latents * stripes / 2).expand(len(latents), 3, 8, 8)


@pytest.fixture
def features() -> torch.Tensor:
    return torch.randn(6, 10, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def lender(features: torch.Tensor) -> BorrowedDetail:
    return BorrowedDetail("hash", 2.0).fit(features, features, components=6, latents=LATENTS)


def test_the_picture_in_the_direction_of_the_decoded_features_lends(
    lender: BorrowedDetail, features: torch.Tensor
) -> None:
    assert lender.find(features).tolist() == list(range(6))
    assert lender.find(0.01 * features[[4]]).tolist() == [4]  # regression shrinks


def test_a_hub_does_not_lend_to_everybody() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(200, 3, generator=generator) * 0.3 + torch.tensor([1.0, 0.0, 0.0])
    hub, own = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.4, 1.0, 0.0])
    lender = BorrowedDetail("hash").fit(
        torch.stack([hub, own]), predicted, components=3, latents=LATENTS[:2]
    )
    towards_own = torch.tensor([[1.0, 0.4, 0.0]])
    assert torch.cosine_similarity(towards_own, hub, dim=1) > torch.cosine_similarity(
        towards_own, own, dim=1
    )
    assert lender.find(towards_own).tolist() == [1]


def test_coarse_stays_and_fine_is_borrowed(lender: BorrowedDetail, features: torch.Tensor) -> None:
    flat = np.full((2, 8, 8, 3), 128, dtype=np.uint8)
    found = lender.lend(flat, features[[5, 0]], decode=decode).astype(float)
    assert abs(found[0].mean() - 128) < 2  # the level of the generator
    stripes = found[0, :, 1::2].mean() - found[0, :, ::2].mean()
    assert 100 < stripes < 128  # those of the lender, without their coarse part
    np.testing.assert_array_equal(found[1], flat[1])  # whose lender has none


def test_an_item_gets_the_same_in_any_company(
    lender: BorrowedDetail, features: torch.Tensor
) -> None:
    rendered = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3), dtype=np.uint8)
    together = lender.lend(rendered, features, decode=decode)
    for item in (0, 3):
        rows = slice(item, item + 1)
        alone = lender.lend(rendered[rows], features[rows], decode=decode)
        np.testing.assert_array_equal(alone[0], together[item])


def test_scenes_are_drawn_when_they_are_needed(features: torch.Tensor) -> None:
    lender = BorrowedDetail("hash", 1e-6, SCENES_VERSION).fit(features, features, components=6)
    shown = render(sample_scenes(2, 3), 32).images
    brighter = (shown // 2 + 20).astype(np.uint8)
    assert (lender.lend(brighter, features[[2]], decode=decode) == brighter).all()
    soft = lender.with_blur(2.0)
    assert (soft.lend(shown, features[[2]], decode=decode) == shown).all()
    assert (soft.lend(shown, features[[3]], decode=decode) != shown).any()


def test_saving_is_exact_and_damage_is_seen(lender: BorrowedDetail, tmp_path: Path) -> None:
    lender.save_pretrained(tmp_path / "detail")
    again = BorrowedDetail.from_pretrained(tmp_path / "detail")
    assert (again.blur, len(again)) == (2.0, 6)
    assert all(torch.equal(again.tensors()[n], value) for n, value in lender.tensors().items())
    with pytest.raises(InputError, match="go together"):
        again.load_tensors({**lender.tensors(), "step": torch.ones(2)})


def test_bad_input_is_refused(features: torch.Tensor) -> None:
    with pytest.raises(UsageError, match="blur"):
        BorrowedDetail("hash", -1.0)
    with pytest.raises(InputError, match="version"):
        BorrowedDetail("hash", 1.0, "of another time")
    with pytest.raises(InputError, match="two kinds"):
        BorrowedDetail("hash", 1.0, SCENES_VERSION).fit(features, features, latents=LATENTS)
    with pytest.raises(InputError, match="without pictures"):
        BorrowedDetail("hash", 1.0).fit(features, features)
