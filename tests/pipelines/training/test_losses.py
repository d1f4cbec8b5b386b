"""Losses in closed form, and the defects of the published ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from open_clip import ClipLoss
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from phosphene.errors import InputError
from phosphene.pipelines.training.losses import (
    bi_mix_co,
    info_nce,
    same_picture,
    soft_clip,
    temperature_at,
)
from phosphene.pipelines.training.mixing import Mixing, draw_mixing


def embeddings(n: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(n, 3, 4, generator=generator)
    return first, first + torch.randn(n, 3, 4, generator=generator)


def test_info_nce_of_orthogonal_pictures_in_closed_form() -> None:
    """Perfect predictions of n orthogonal pictures: log(1 + (n - 1) exp(-1/T))."""
    n, temperature = 5, 0.4
    value = info_nce(torch.eye(n), torch.eye(n), temperature)
    assert float(value) == pytest.approx(math.log(1 + (n - 1) * math.exp(-1 / temperature)))


def test_info_nce_is_the_loss_of_clip() -> None:
    predicted, truth = embeddings()
    normal = [F.normalize(one.flatten(1), dim=1) for one in (predicted, truth)]
    expected = ClipLoss()(*normal, torch.tensor(1 / 0.07))
    torch.testing.assert_close(info_nce(predicted, truth, 0.07), expected)


def test_repeated_pictures_are_all_right() -> None:
    """Without this, the second trial of a picture is pushed away from it."""
    pictures = torch.tensor([0, 1, 0, 2])
    truth = torch.eye(3)[pictures]
    labels = same_picture(pictures)
    torch.testing.assert_close(labels.sum(1), torch.ones(4))
    perfect = info_nce(truth, truth, 0.01, labels)
    # Two right answers of equal similarity: a cross-entropy of log 2 for two rows of four.
    assert float(perfect) == pytest.approx(math.log(2) / 2, rel=1e-4)
    leaf = truth.clone().requires_grad_(True)
    info_nce(leaf, truth, 0.5, labels).backward()
    assert leaf.grad is not None
    torch.testing.assert_close(leaf.grad[0], leaf.grad[2])


def test_soft_clip_by_its_formula_and_at_its_minimum() -> None:
    predicted, truth = embeddings()
    p, t = (F.normalize(one.flatten(1), dim=1).double() for one in (predicted, truth))
    labels = torch.softmax(t @ t.T / 0.1, 1)
    there = -(labels * torch.log_softmax(p @ t.T / 0.1, 1)).sum(1).mean()
    back = -(labels * torch.log_softmax(t @ p.T / 0.1, 1)).sum(1).mean()
    found = soft_clip(predicted, truth, 0.1)
    assert float(found) == pytest.approx(float((there + back) / 2), rel=1e-5)
    entropy = -(labels * labels.log()).sum(1).mean()
    assert float(soft_clip(truth, truth, 0.1)) == pytest.approx(float(entropy), rel=1e-5)
    assert found > entropy


def test_bi_mix_co_by_its_formula() -> None:
    predicted, truth = embeddings(4)
    mixing = Mixing(torch.tensor([0.7, 1.0, 0.2, 0.5]), torch.tensor([2, 0, 3, 1]))
    p, t = (F.normalize(one.flatten(1), dim=1).double() for one in (predicted, truth))
    there = torch.log_softmax(p @ t.T / 0.2, 1)
    back = torch.log_softmax(t @ p.T / 0.2, 1)
    total = 0.0
    weights = np.zeros((4, 4))
    for row, (own, other) in enumerate(zip([0.7, 1.0, 0.2, 0.5], [2, 0, 3, 1], strict=True)):
        total -= float(own * there[row, row] + (1 - own) * there[row, other]) / 4
        weights[row, row] += own
        weights[row, other] += 1 - own
    columns = weights / weights.sum(0)
    total -= float((torch.from_numpy(columns.T) * back).sum()) / 4
    found = bi_mix_co(predicted, truth, 0.2, mixing.shares)
    assert float(found) == pytest.approx(total / 2, rel=1e-5)


def test_without_mixing_it_is_info_nce() -> None:
    predicted, truth = embeddings()
    nothing = Mixing(torch.ones(6), torch.tensor([1, 2, 3, 4, 5, 0]))
    torch.testing.assert_close(
        bi_mix_co(predicted, truth, 0.1, nothing.shares), info_nce(predicted, truth, 0.1)
    )


@pytest.mark.parametrize("sizes", [(3,), (9,), (24,), (3, 3, 3), (1, 8, 2)])
def test_labels_always_sum_to_one(sizes: tuple[int, ...]) -> None:
    """The published labels do not in 31 % of rows at three items per subject."""
    subjects = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    fixed = published_wrong = 0
    for seed in range(200):
        mixing = draw_mixing(subjects, torch.Generator().manual_seed(seed))
        shares = mixing.shares
        torch.testing.assert_close(shares.sum(1), torch.ones(len(subjects)))
        assert (shares >= 0).all()
        itself = mixing.partner == torch.arange(len(subjects))
        fixed += int(itself.sum())
        torch.testing.assert_close(shares.diagonal()[itself], torch.ones(int(itself.sum())))
        overwritten = torch.diag(mixing.own)
        overwritten[torch.arange(len(subjects)), mixing.partner] = 1 - mixing.own
        published_wrong += int((overwritten.sum(1) - 1).abs().gt(1e-6).sum())
    assert fixed
    assert published_wrong
    if sizes == (3,):
        assert published_wrong / 600 == pytest.approx(0.31, abs=0.06)


def test_partners_are_of_the_same_subject() -> None:
    """In the published code those of every subject point at rows of the first one."""
    subjects = torch.tensor([2, 0, 1, 0, 2, 1, 1, 0, 2, 2])
    seen = set()
    for seed in range(100):
        mixing = draw_mixing(subjects, torch.Generator().manual_seed(seed))
        assert torch.equal(subjects[mixing.partner], subjects)
        assert sorted(mixing.partner.tolist()) == list(range(10))
        seen.add(tuple(mixing.partner.tolist()))
    assert len(seen) > 50


def test_targets_are_mixed_as_voxels_are() -> None:
    """For a linear brain the mixed target is what the mixed voxels stand for."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(8, 2, 3, 3, generator=generator).double()
    brain = torch.randn(18, 11, generator=generator).double()
    mixing = draw_mixing(torch.zeros(8), generator, probability=1.0)
    voxels = latents.flatten(1) @ brain
    assert not torch.allclose(mixing.mix(latents), latents)
    torch.testing.assert_close(
        mixing.mix(voxels), mixing.mix(latents).flatten(1) @ brain, check_dtype=False
    )
    chosen = torch.tensor([5, 1])
    torch.testing.assert_close(mixing.rows(chosen, voxels), mixing.mix(voxels)[chosen])


def test_shares_follow_their_distribution() -> None:
    places = np.array([0.01, 0.2, 0.5, 0.8, 0.99])  # single precision rounds the ends
    for concentration, probability in ((0.15, 1.0), (2.0, 0.5)):
        own = draw_mixing(
            torch.zeros(4000), torch.Generator().manual_seed(0), concentration=concentration,
            probability=probability,
        ).own.numpy()  # fmt: skip
        expected = probability * stats.beta(concentration, concentration).cdf(places)
        np.testing.assert_allclose((own[:, None] <= places).mean(0), expected, atol=0.025)


def test_temperatures_follow_half_a_cosine() -> None:
    n = 100
    found = [temperature_at(i / (n - 1)) for i in range(n)]
    assert found[0] == pytest.approx(0.004)
    assert found[-1] == pytest.approx(0.0075)
    assert found == sorted(found)
    assert temperature_at(0.5, 1.0, 3.0) == pytest.approx(2.0)


def test_labels_that_are_no_distribution_are_refused() -> None:
    predicted, truth = embeddings()
    with pytest.raises(InputError, match="sum to one"):
        info_nce(predicted, truth, 0.1, torch.full((6, 6), 0.1))
    with pytest.raises(InputError, match="same shape"):
        info_nce(predicted[:5], truth, 0.1)
