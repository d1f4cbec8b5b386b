"""Means of some of an item's trials: the right ones, other ones in every epoch, in any batch."""

from __future__ import annotations

import pytest
import torch

from phosphene.errors import UsageError
from phosphene.pipelines.training.trial_means import TrialMeans


def test_random_means_are_of_trials_that_are_there() -> None:
    one = torch.tensor([1.0, 10.0, 100.0])
    trials = torch.cat([one.repeat(400), torch.tensor([1000.0])])[:, None, None].half()
    counts = torch.tensor([3] * 400 + [1])
    means = TrialMeans(trials, counts, seed=0)
    found = means.gather(torch.arange(401), {}, epoch=0)["x"].flatten()
    assert found[400] == 1000
    possible = torch.tensor([1, 10, 100, 5.5, 50.5, 55, 37.0])
    nearest = (found[:400, None] / possible - 1).abs()
    assert nearest.min(dim=1).values.max() < 2e-3  # float16
    counted = (nearest < 2e-3).sum(dim=0)
    assert (counted > 15).all()
    assert 90 < counted[-1] < 180  # a third of the draws take all three
    again = means.gather(torch.arange(401), {}, epoch=1)["x"].flatten()
    assert 0.2 < float((again != found).float().mean()) < 0.95


@pytest.mark.parametrize("shape", [(2, 3), (63, 9000)])  # the second goes block by block
def test_a_batch_equals_one_at_a_time_and_all_trials_make_the_mean(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    counts = torch.tensor([2, 1, 4, 3])
    trials = torch.randn(10, *shape, generator=generator).half()
    rows = torch.tensor([3, 0, 2, 2])
    for average in (True, False):
        means = TrialMeans(trials, counts, seed=3, average=average)
        together = means.gather(rows, {}, epoch=2)["x"]
        for place, row in enumerate(rows):
            alone = means.gather(row[None], {}, epoch=2)["x"]
            assert torch.equal(alone[0], together[place])
    expected = torch.stack([part.float().mean(dim=0) for part in trials.split([2, 1, 4, 3])])
    torch.testing.assert_close(together, expected[rows], atol=2e-3, rtol=1e-3)
    torch.testing.assert_close(means.mean(rows), expected[rows], atol=2e-3, rtol=1e-3)


def test_the_other_way_to_sum_gives_the_same() -> None:
    from phosphene.pipelines.training import trial_means

    trials = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).half()
    rows, number = torch.tensor([4, 0, 1, 1]), torch.tensor([3, 1])
    weights = torch.tensor([0.25, 0.25, 0.5, 1.0]).half()
    found = trial_means._sums(trials, rows, weights, number)
    elsewhere = trial_means._added(trials, rows, weights, number)  # devices without bags
    torch.testing.assert_close(found.float(), elsewhere, atol=1e-3, rtol=1e-3)


def test_counts_that_do_not_fit_are_refused() -> None:
    trials = torch.zeros(3, 1, 1, dtype=torch.float16)
    for counts in ([1, 1], [3, 0]):
        with pytest.raises(UsageError, match="at least 1"):
            TrialMeans(trials, torch.tensor(counts))
