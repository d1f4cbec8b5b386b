"""One contract over all priors, and what each promises by itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.prior import train_prior
from phosphene.priors import PRIORS
from phosphene.priors.base import Prior
from phosphene.priors.diffusion import DiffusionPrior
from phosphene.priors.identity import IdentityPrior
from phosphene.types import BrainEmbedding

N_TOKENS, DIM = 3, 8


def made(name: str) -> Prior:
    if name == "identity":
        prior = IdentityPrior(N_TOKENS)
        prior.scale = torch.tensor([[1.5], [2.0], [0.5]])
        return prior
    torch.manual_seed(3)
    return DiffusionPrior(DIM, N_TOKENS, layers=1, heads=2, head_dim=8, steps=4)


def predictions(n: int = 5) -> BrainEmbedding:
    values = torch.randn(n, N_TOKENS, DIM, generator=torch.Generator().manual_seed(0))
    return BrainEmbedding(tokens=values, lowlevel=values.sum(-1))


def streams(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + row) for row in range(n)]


@pytest.mark.parametrize("name", PRIORS.names())
def test_batch_equals_one_at_a_time_in_any_order(name: str) -> None:
    prior, given = made(name), predictions()
    together = prior.sample(given, generators=streams(5)).main
    for row in (3, 0):
        alone = prior.sample(given[row : row + 1], generators=streams(5)[row : row + 1]).main
        assert torch.equal(alone[0], together[row])
    order = torch.tensor([4, 1, 0, 3, 2])
    mixed = prior.sample(given[order], generators=[streams(5)[row] for row in order]).main
    assert torch.equal(mixed, together[order])


@pytest.mark.parametrize("name", PRIORS.names())
def test_save_and_load_are_exact(name: str, tmp_path: Path) -> None:
    prior = made(name)
    prior.save_pretrained(tmp_path)
    again = type(prior).from_pretrained(tmp_path)
    first, second = (p.sample(predictions(), generators=streams(5)).main for p in (prior, again))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", PRIORS.names())
def test_low_level_part_passes_through(name: str) -> None:
    given = predictions()
    found = made(name).sample(given, generators=streams(5))
    assert found.lowlevel is given.lowlevel
    assert found.main.shape == given.main.shape


@pytest.mark.parametrize("name", PRIORS.names())
def test_one_generator_per_item(name: str) -> None:
    with pytest.raises(UsageError, match="4 random generators for 5 items"):
        made(name).sample(predictions(), generators=streams(4))


def test_identity_brings_predictions_to_the_norms_of_training() -> None:
    truth = torch.randn(400, N_TOKENS, DIM, generator=torch.Generator().manual_seed(1))
    prior = IdentityPrior(N_TOKENS).fit(truth * 0.25, truth)
    assert torch.allclose(prior.scale, torch.full((N_TOKENS, 1), 4.0), atol=1e-5)
    cleaned = prior.sample(BrainEmbedding(tokens=truth * 0.25), generators=streams(400)).main
    assert torch.allclose(cleaned, truth, atol=1e-4)


def test_identity_takes_pooled_embeddings() -> None:
    truth = torch.randn(50, DIM, generator=torch.Generator().manual_seed(1))
    prior = IdentityPrior().fit(truth / 3, truth)
    found = prior.sample(BrainEmbedding(pooled=truth / 3), generators=streams(50)).pooled
    assert found is not None
    assert torch.allclose(found, truth, atol=1e-4)


def test_identity_refuses_other_shapes() -> None:
    with pytest.raises(InputError, match="predictions"):
        IdentityPrior().fit(torch.zeros(3, 4), torch.zeros(3, 5))


def test_diffusion_refuses_another_embedding() -> None:
    with pytest.raises(InputError, match="2 tokens of 8 numbers"):
        made("diffusion").sample(
            BrainEmbedding(tokens=torch.zeros(1, 2, DIM)), generators=streams(1)
        )


def test_one_diffusion_step_changes_every_parameter() -> None:
    prior = made("diffusion")
    assert isinstance(prior, DiffusionPrior)
    before = {name: p.detach().clone() for name, p in prior.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD(prior.parameters(), lr=1.0)
    noise = torch.Generator().manual_seed(0)
    truth = torch.randn(16, N_TOKENS, DIM, generator=noise)
    for _ in range(2):  # the first layers wait for the zero-initialised places
        optimizer.zero_grad()
        prior.training_loss(truth * 0.5, truth, noise, 0.0).backward()
        optimizer.step()
    for name, value in prior.named_parameters():
        # A bias of the keys shifts all scores of a query alike: softmax does not see it.
        if name in before and not name.endswith("to_k.bias"):
            assert not torch.equal(before[name], value), name


def test_diffusion_learns_the_posterior_of_gaussians(tmp_path: Path) -> None:
    """With truth ~ N(0, 1) and prediction = truth + noise, samples follow the known posterior."""
    noise = torch.Generator().manual_seed(5)
    truth = torch.randn(4096, 1, 2, generator=noise)
    predicted = truth + torch.randn(truth.shape, generator=noise)
    prior = DiffusionPrior(2, 1, layers=1, heads=2, head_dim=8, steps=20)
    config = EngineConfig(epochs=12, batch_size=256, learning_rate=5e-3, ema_decay=0.98)
    train_prior(prior, predicted, truth, config, folder=tmp_path)
    asked = torch.full((600, 1, 2), 1.0)
    found = prior.sample(BrainEmbedding(tokens=asked), generators=streams(600)).main.flatten()
    assert abs(float(found.mean()) - 0.5) < 0.2  # posterior mean: half of what was predicted
    assert abs(float(found.var()) - 0.5) < 0.25


def test_guidance_of_one_is_no_guidance() -> None:
    prior, given = made("diffusion"), predictions(2)
    plain = prior.sample(given, generators=streams(2)).main
    assert torch.equal(plain, prior.sample(given, generators=streams(2), guidance_scale=1).main)
    assert not torch.equal(plain, prior.sample(given, generators=streams(2), guidance_scale=3).main)
