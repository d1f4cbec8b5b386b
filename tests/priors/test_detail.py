"""Detail from training pictures: who lends, what is taken, and how it is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from phosphene.data.scenes import SCENES_VERSION, render, sample_scenes
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.training.detail import train_detail
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.priors.detail import BorrowedDetail
from phosphene.types import BrainEmbedding

LATENTS = torch.linspace(0, 1, 6).reshape(6, 1, 1, 1)
FEATURES = torch.randn(6, 10, generator=torch.Generator().manual_seed(1))


def decode(latents: torch.Tensor) -> torch.Tensor:
    """Return a picture of vertical stripes whose contrast is the latent."""
    stripes = torch.arange(8).remainder(2).float()
    return (latents * stripes / 2).expand(len(latents), 3, 8, 8)


def decoded(rows: torch.Tensor, *, shrunk: float = 1.0) -> BrainEmbedding:
    """Return predictions whose tokens hold all there is to know, and features a part of it."""
    return BrainEmbedding(tokens=rows[:, None] * shrunk, features=rows * shrunk)


@pytest.fixture(scope="module")
def lender(tmp_path_factory: pytest.TempPathFactory) -> BorrowedDetail:
    noise = torch.Generator().manual_seed(0)
    shown = torch.randn(600, 10, generator=noise)
    shown[:6] = FEATURES
    torch.manual_seed(0)
    found = BorrowedDetail(
        "hash",
        {"tokens": (10, 10), "features": (10, 5)},
        pictures=6,
        features=10,
        components=8,
        hidden=64,
        blur=2.0,
        latents=(1, 1, 1),
    )
    train_detail(
        found,
        decoded(shown + 0.3 * torch.randn(600, 10, generator=noise), shrunk=0.5),
        shown,
        FEATURES,
        EngineConfig(epochs=40, batch_size=50),
        folder=tmp_path_factory.mktemp("detail"),
        mean=torch.zeros(10),
        scale=torch.ones(10),
        latents=LATENTS,
    )
    return found


def test_the_picture_in_the_direction_of_what_is_decoded_lends(lender: BorrowedDetail) -> None:
    found = lender.find(lender.look_for(decoded(FEATURES, shrunk=0.5)))
    assert found[:, 0].tolist() == list(range(6))
    assert found.sort(dim=1).values.tolist() == [list(range(6))] * 6  # no more than there are


def test_a_part_that_is_missing_says_nothing(lender: BorrowedDetail) -> None:
    mean = lender.get_buffer("tokens_mean").expand(6, -1)
    rows = FEATURES * 0.5
    without = lender.look_for(BrainEmbedding(features=rows))
    known = lender.look_for(BrainEmbedding(tokens=mean[:, None], features=rows))
    assert torch.equal(without, known)


def test_coarse_stays_and_fine_is_borrowed(lender: BorrowedDetail) -> None:
    flat = np.full((2, 8, 8, 3), 128.0)
    found = lender.lend(flat, decoded(FEATURES[[5, 0]], shrunk=0.5), decode=decode).astype(float)
    assert abs(found[0].mean() - 128) < 2  # the level of the generator
    stripes = found[0, :, 1::2].mean() - found[0, :, ::2].mean()
    assert 100 < stripes < 128  # those of the lender, without their coarse part
    np.testing.assert_array_equal(found[1], flat[1])  # whose lender has none


def test_an_item_gets_the_same_in_any_company(lender: BorrowedDetail) -> None:
    rendered = np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3)).astype(float)
    together = lender.lend(rendered, decoded(FEATURES), decode=decode)
    for item in (0, 3):
        rows = slice(item, item + 1)
        alone = lender.lend(rendered[rows], decoded(FEATURES[rows]), decode=decode)
        np.testing.assert_array_equal(alone[0], together[item])


def test_the_candidate_whose_result_looks_most_like_what_was_decoded_lends(
    lender: BorrowedDetail,
) -> None:
    """However near a picture is: what counts is what its detail makes of the coarse picture."""
    flat = np.full((6, 8, 8, 3), 128.0)

    def describe(pictures: np.ndarray) -> torch.Tensor:
        contrast = np.ptp(np.asarray(pictures, dtype=float), axis=(1, 2, 3))
        least = torch.from_numpy(contrast).argmin()  # the picture without stripes
        sign = torch.where(torch.arange(len(pictures)) == least, 1.0, -1.0)
        return sign[:, None, None, None] * FEATURES[5]

    found = lender.lend(
        flat, decoded(FEATURES[[5] * 6], shrunk=0.5), decode=decode, describe=describe
    )
    assert (found == 128).all()


def test_a_hub_does_not_lend_to_everybody(lender: BorrowedDetail) -> None:
    """A picture near every prediction has to be nearer than usual."""
    again = BorrowedDetail.from_config(lender.config)
    again.load_tensors(lender.tensors())
    query = decoded(FEATURES, shrunk=0.5)
    hub = again.find(again.look_for(query))[2, 0]
    again.get_buffer("usual")[hub] += 1.0
    assert again.find(again.look_for(query))[2, 0] != hub


def test_scenes_are_drawn_when_they_are_needed(lender: BorrowedDetail) -> None:
    config = {**lender.config, "latents": [], "scenes": SCENES_VERSION}
    scenes = BorrowedDetail.from_config(config)
    kept = {name: value for name, value in lender.tensors().items() if name != "latents"}
    scenes.load_tensors(kept)
    shown = render(sample_scenes(2, 3), 32).images.astype(float)
    own, other = (decoded(FEATURES[[row]], shrunk=0.5) for row in (2, 3))
    assert (scenes.lend(shown, own, decode=decode) == shown).all()
    assert (scenes.lend(shown, other, decode=decode) != shown).any()


def test_saving_is_exact_and_damage_is_seen(lender: BorrowedDetail, tmp_path: Path) -> None:
    lender.save_pretrained(tmp_path / "detail")
    again = BorrowedDetail.from_pretrained(tmp_path / "detail")
    assert all(torch.equal(again.tensors()[n], value) for n, value in lender.tensors().items())
    assert again.with_blur(7).blur == 7
    with pytest.raises(InputError, match="step"):
        again.load_tensors({**lender.tensors(), "step": torch.ones(2)})


def test_bad_input_is_refused(lender: BorrowedDetail) -> None:
    with pytest.raises(UsageError, match="blur"):
        lender.with_blur(-1.0)
    with pytest.raises(UsageError, match="two kinds"):
        BorrowedDetail("hash", {}, 1, 1, scenes=SCENES_VERSION, latents=(1, 2, 2))
    with pytest.raises(InputError, match="version"):
        BorrowedDetail("hash", {}, 1, 1, scenes="of another time")


def test_without_a_network_decoded_features_find_the_lender(tmp_path: Path) -> None:
    """Every direction that is decoded, and none that is not; nothing is trained."""
    found = BorrowedDetail(
        "hash", {}, pictures=6, features=10, components=3, blur=2.0, latents=(1, 1, 1)
    )
    noise = torch.Generator().manual_seed(0)
    axes = torch.linalg.qr(torch.randn(10, 3, generator=noise)).Q
    shown = torch.randn(300, 10, generator=noise)
    part = BrainEmbedding(features=shown @ axes @ axes.T)
    units = {"mean": torch.zeros(10), "scale": torch.ones(10)}
    train_detail(found, part, shown, FEATURES, None, folder=tmp_path, latents=LATENTS, **units)
    told = BrainEmbedding(tokens=torch.zeros(6, 1, 4), features=0.1 * FEATURES @ axes @ axes.T)
    keys = torch.nn.functional.normalize(FEATURES, dim=1) @ axes @ axes.T
    expected = (FEATURES @ axes @ axes.T) @ keys.T
    candidates = found.find(found.look_for(told))
    assert candidates[:, 0].tolist() == expected.argmax(1).tolist()
    found.save_pretrained(tmp_path / "detail")
    same = BorrowedDetail.from_pretrained(tmp_path / "detail")
    assert same.find(same.look_for(told)).tolist() == candidates.tolist()
    assert not (tmp_path / "checkpoint").exists()
