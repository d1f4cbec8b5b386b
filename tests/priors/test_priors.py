"""One contract over all priors, and what each promises by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.prior import train_prior
from phosphene.priors import PRIORS
from phosphene.priors.base import Prior
from phosphene.priors.diffusion import DiffusionPrior
from phosphene.priors.flow import FlowPrior
from phosphene.priors.identity import IdentityPrior
from phosphene.priors.learned import LearnedPrior
from phosphene.priors.mindeye import MindEyePrior
from phosphene.priors.mlp_unet import MLPUNetPrior
from phosphene.seeds import item_seed
from phosphene.types import BrainEmbedding

N_TOKENS, DIM = 3, 8
LEARNED = ["diffusion", "flow", "mindeye", "mlp-unet"]


def made(name: str, n_tokens: int | None = None) -> Prior:
    torch.manual_seed(3)
    n = n_tokens or tokens_of(name)
    if name == "identity":
        prior = IdentityPrior(n)
        prior.scale = torch.tensor([[1.5], [2.0], [0.5]])[:n]
        return prior
    if name == "mlp-unet":
        return MLPUNetPrior(DIM, (16, 12, 8), time_dim=16, steps=4, guidance_scale=2.0)
    if name == "mindeye":
        return MindEyePrior(DIM, n, depth=2, heads=2, head_dim=6, steps=5)
    kind = FlowPrior if name == "flow" else DiffusionPrior
    return kind(DIM, n, layers=1, heads=2, head_dim=8, steps=4)


def tokens_of(name: str) -> int:
    return 1 if name == "mlp-unet" else N_TOKENS


def predictions(name: str = "diffusion", n: int = 5) -> BrainEmbedding:
    shape = (n, tokens_of(name), DIM)
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    return BrainEmbedding(tokens=values, lowlevel=values.sum(-1))


def streams(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(100 + row) for row in range(n)]


@pytest.mark.parametrize("name", PRIORS.names())
def test_batch_equals_one_at_a_time_in_any_order(name: str) -> None:
    prior, given = made(name), predictions(name)
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
    first, second = (
        p.sample(predictions(name), generators=streams(5)).main for p in (prior, again)
    )
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", PRIORS.names())
def test_low_level_part_passes_through(name: str) -> None:
    given = predictions(name)
    found = made(name).sample(given, generators=streams(5))
    assert found.lowlevel is given.lowlevel
    assert found.main.shape == given.main.shape


@pytest.mark.parametrize("name", PRIORS.names())
def test_one_generator_per_item(name: str) -> None:
    with pytest.raises(UsageError, match="4 random generators for 5 items"):
        made(name).sample(predictions(name), generators=streams(4))


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


@pytest.mark.parametrize("name", LEARNED)
def test_another_embedding_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="2 tokens of 8 numbers"):
        made(name).sample(BrainEmbedding(tokens=torch.zeros(1, 2, DIM)), generators=streams(1))


@pytest.mark.parametrize("name", LEARNED)
def test_training_reaches_every_parameter(name: str) -> None:
    prior = made(name)
    assert isinstance(prior, LearnedPrior)
    before = {key: p.detach().clone() for key, p in prior.named_parameters() if p.requires_grad}
    optimizer = torch.optim.SGD([p for p in prior.parameters() if p.requires_grad], lr=1.0)
    noise = torch.Generator().manual_seed(0)
    truth = torch.randn(32, tokens_of(name), DIM, generator=noise)
    for _ in range(2):  # the first layers wait for the zero-initialised places
        optimizer.zero_grad()
        prior.training_loss(truth * 0.5, truth, noise, 0.3).backward()
        optimizer.step()
    for key, value in prior.named_parameters():
        # The softmax does not see what is added to all keys alike.
        if key in before and not key.endswith("to_k.bias"):
            assert not torch.equal(before[key], value), key


def clean_mean(noisy: torch.Tensor, signal: float, told: torch.Tensor) -> torch.Tensor:
    """Return E[x | noisy, told] of x ~ N(told / 2, 1/2) behind power ``signal`` and its noise."""
    variance = 0.5
    weight = signal / max(1 - signal, 1e-12)
    mean = told / 2 / variance + signal**0.5 * noisy / max(1 - signal, 1e-12)
    return mean / (1 / variance + weight)


def with_perfect_network(name: str) -> tuple[LearnedPrior, int]:
    """Return a prior whose network is the closed form, and how many steps it is given.

    Truth is N(0, 1) and the prediction is truth plus N(0, 1), so that truth given the prediction
    c is N(c / 2, 1 / 2); samplers have to find just that.
    """
    if name == "flow":
        flow = FlowPrior(2, 1, layers=1, heads=2, head_dim=8)

        def velocity(noisy: Any, times: Any, told: Any) -> Any:
            share = float(times[0])
            power = share**2 / (share**2 + (1 - share) ** 2)
            scaled = noisy / (share**2 + (1 - share) ** 2) ** 0.5
            return (clean_mean(scaled, power, told) - noisy) / (1 - share)

        flow.velocity = velocity  # type: ignore[method-assign]
        return flow, 200
    if name == "mindeye":
        mind = MindEyePrior(2, 1, depth=1, heads=2, head_dim=4)
        mind.predict = lambda noisy, times, told: clean_mean(  # type: ignore[method-assign]
            noisy, float(mind.alphas[int(times[0])]), told
        )
        return mind, 100
    prior: Any
    if name == "mlp-unet":
        prior = MLPUNetPrior(2, (8, 4), time_dim=8, guidance_scale=1.0)
    else:
        _, prediction, solver = name.split()
        prior = DiffusionPrior(
            2,
            1,
            layers=1,
            heads=2,
            head_dim=8,
            prediction=prediction,
            solver=solver,  # type: ignore[arg-type]
        )
    alphas = prior.scheduler.alphas_cumprod

    def predict(noisy: Any, times: Any, told: Any) -> Any:
        signal = float(alphas[int(times[0])])
        clean = clean_mean(noisy, signal, told)
        if "sample" in name:
            return clean
        return (noisy - signal**0.5 * clean) / (1 - signal) ** 0.5

    prior.predict = predict
    return prior, 30 if "dpm" in name else 200


@pytest.mark.parametrize(
    "name",
    [
        "diffusion sample ddim", "diffusion sample dpm-solver", "diffusion epsilon ddim",
        "diffusion epsilon dpm-solver", "flow", "mindeye", "mlp-unet",
    ],
)  # fmt: skip
def test_samplers_find_the_posterior_of_gaussians(name: str) -> None:
    prior, steps = with_perfect_network(name)
    prior.block = 500
    asked = torch.full((500, 1, 2), 1.0)
    found = prior.sample(
        BrainEmbedding(tokens=asked), generators=streams(500), num_inference_steps=steps
    ).main
    assert abs(float(found.mean()) - 0.5) < 0.06
    assert abs(float(found.var()) - 0.5) < 0.08


def test_diffusion_learns_the_posterior_of_gaussians(tmp_path: Path) -> None:
    noise = torch.Generator().manual_seed(5)
    truth = torch.randn(4096, 1, 2, generator=noise)
    predicted = truth + torch.randn(truth.shape, generator=noise)
    torch.manual_seed(0)
    prior = DiffusionPrior(2, 1, layers=1, heads=2, head_dim=8, steps=20)
    config = EngineConfig(epochs=12, batch_size=256, learning_rate=5e-3, ema_decay=0.98)
    train_prior(prior, predicted, truth, config, folder=tmp_path)
    asked = torch.full((600, 1, 2), 1.0)
    prior.block = 600
    found = prior.sample(BrainEmbedding(tokens=asked), generators=streams(600)).main.flatten()
    assert abs(float(found.mean()) - 0.5) < 0.2  # posterior mean: half of what was predicted
    assert abs(float(found.var()) - 0.5) < 0.25


@pytest.mark.parametrize("name", ["flow", "mindeye", "mlp-unet"])
def test_training_lowers_the_loss(name: str, tmp_path: Path) -> None:
    noise = torch.Generator().manual_seed(5)
    truth = torch.randn(256, tokens_of(name), DIM, generator=noise)
    prior = made(name)
    assert isinstance(prior, LearnedPrior)
    config = EngineConfig(epochs=30, batch_size=64, learning_rate=6e-3)
    result = train_prior(
        prior, truth * 0.5, truth, config, folder=tmp_path, validation=(truth * 0.5, truth)
    )
    losses = [row["validation"] for row in result.history]
    assert min(losses) < 0.9 * losses[0]


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_network_calls_are_those_that_happen(name: str, steps: int) -> None:
    prior = made(name)
    assert isinstance(prior, LearnedPrior)
    seen = []
    for guidance in (1.0, 2.0):
        part = {"mindeye": "out", "mlp-unet": "last"}.get(name, "network")
        hook = getattr(prior, part).register_forward_hook(lambda *given: seen.append(1))
        prior.sample(
            predictions(name, 2), generators=streams(2), num_inference_steps=steps,
            guidance_scale=guidance,
        )  # fmt: skip
        hook.remove()
        assert len(seen) == prior.network_calls(steps, guidance)
        seen.clear()
    assert made("identity").network_calls() == 0


@pytest.mark.parametrize("name", LEARNED)
def test_lengths_of_samples_are_brought_to_those_of_training(name: str, tmp_path: Path) -> None:
    prior = made(name)
    assert isinstance(prior, LearnedPrior)
    truth = (
        torch.randn(64, tokens_of(name), DIM, generator=torch.Generator().manual_seed(1))
        * torch.tensor([1.0, 3.0, 0.2])[: tokens_of(name), None]
    )
    prior.match_lengths(truth * 0.5, truth)
    streams_of_fit = [
        torch.Generator().manual_seed(item_seed(0, "lengths", str(row), 0)) for row in range(64)
    ]
    found = prior.sample(BrainEmbedding(tokens=truth * 0.5), generators=streams_of_fit).main
    length, wanted = (values.norm(dim=-1).mean(0) for values in (found, truth))
    assert torch.allclose(length, wanted, rtol=1e-4)
    prior.save_pretrained(tmp_path)
    again = type(prior).from_pretrained(tmp_path)
    assert again.length_factor is not None
    assert torch.allclose(again.length_factor, prior.length_factor)  # type: ignore[arg-type]
    other = prior.sample(predictions(name), generators=streams(5)).main
    assert torch.equal(again.sample(predictions(name), generators=streams(5)).main, other)


def test_weights_of_earlier_releases_still_load(tmp_path: Path) -> None:
    """Neither new options nor length factors may be asked of what was trained before them."""
    prior = made("diffusion")
    prior.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for key in ("prediction", "solver"):
        del config["config"][key]
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = DiffusionPrior.from_pretrained(tmp_path)
    assert again.length_factor is None
    first, second = (p.sample(predictions(), generators=streams(5)).main for p in (prior, again))
    assert torch.equal(first, second)
    assert all(name.startswith("network.") for name in again.tensors())


def test_pictures_alone_can_begin_a_training(tmp_path: Path) -> None:
    """Then samples follow the targets whatever is predicted."""
    truth = 2 + 0.3 * torch.randn(1024, 1, 2, generator=torch.Generator().manual_seed(5))
    torch.manual_seed(1)
    prior = FlowPrior(2, 1, layers=1, heads=2, head_dim=8, steps=10)
    config = EngineConfig(epochs=12, batch_size=256, learning_rate=5e-3, ema_decay=0.98)
    train_prior(prior, None, truth, config, folder=tmp_path)
    found = prior.sample(BrainEmbedding(tokens=torch.zeros(200, 1, 2)), generators=streams(200))
    assert abs(float(found.main.mean()) - 2) < 0.2
    with pytest.raises(UsageError, match="on pictures alone"):
        train_prior(prior, None, truth, config, folder=tmp_path, match_lengths=True)


@pytest.mark.parametrize("solver", ["ddim", "dpm-solver"])
def test_one_step_of_a_clean_prediction_is_that_prediction(solver: str) -> None:
    torch.manual_seed(3)
    prior = DiffusionPrior(DIM, N_TOKENS, layers=1, heads=2, head_dim=8, solver=solver)  # type: ignore[arg-type]
    given = predictions(n=2).main
    noise = torch.stack([torch.randn(N_TOKENS, DIM, generator=one) for one in streams(2)])
    with torch.no_grad():
        wanted = prior.eval().predict(noise, torch.full((2,), 999), given)
    found = prior.sample(
        BrainEmbedding(tokens=given), generators=streams(2), num_inference_steps=1
    ).main
    assert torch.allclose(found, wanted, atol=1e-4)


def test_guidance_of_one_is_no_guidance() -> None:
    prior, given = made("diffusion"), predictions(n=2)
    plain = prior.sample(given, generators=streams(2)).main
    assert torch.equal(plain, prior.sample(given, generators=streams(2), guidance_scale=1).main)
    assert not torch.equal(plain, prior.sample(given, generators=streams(2), guidance_scale=3).main)
