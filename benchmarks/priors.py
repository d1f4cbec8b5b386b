"""Priors: batched against one at a time, few steps against a hundred, and what they buy.

Prints items per second of every prior on embeddings of one size, then, on made-up embeddings (a
mixture of clusters, which is what makes a prior worth having), cosine and distance to the truth of
the plain prediction, of the posterior mean that ridge gives, and of samples, at several noise
levels. Made-up embeddings are arithmetic, not brains.

    python benchmarks/priors.py [--quick] [--threads 1]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.prior import train_prior
from phosphene.priors.base import Prior
from phosphene.priors.diffusion import DiffusionPrior
from phosphene.priors.flow import FlowPrior
from phosphene.priors.identity import IdentityPrior
from phosphene.priors.learned import LearnedPrior
from phosphene.priors.mindeye import MindEyePrior
from phosphene.priors.mlp_unet import MLPUNetPrior
from phosphene.types import BrainEmbedding

DIM, CLUSTERS = 64, 12


def streams(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(n)]


def per_second(run: Callable[[], object], items: int) -> float:
    """Return items per second of processor time, after one call to warm up."""
    run()
    start = time.process_time()
    run()
    return items / (time.process_time() - start)


def print_speed(quick: bool) -> None:
    n = 16 if quick else 64
    small = {"layers": 2, "heads": 4, "head_dim": 32}
    priors: dict[str, LearnedPrior] = {
        "diffusion, 16 tokens of 160": DiffusionPrior(160, 16, **small),
        "flow, 16 tokens of 160": FlowPrior(160, 16, **small),
        "mindeye, 16 tokens of 160": MindEyePrior(160, 16, depth=2, heads=4, head_dim=32),
        "mlp-unet, pooled 1024": MLPUNetPrior(),
    }
    print(f"{'prior':30} {'calls':>5} {'batched/s':>10} {'one by one/s':>13} {'100 steps/s':>12}")
    for name, prior in priors.items():
        values = torch.randn(n, prior.n_tokens, prior.dim, generator=streams(1)[0])

        def batched(steps: int | None = None, p: Prior = prior, v: Tensor = values) -> object:
            return p.sample(
                BrainEmbedding(tokens=v), generators=streams(len(v)), num_inference_steps=steps
            )

        def singly(p: LearnedPrior = prior, v: Tensor = values[:4]) -> None:
            p.block = 1  # as peers do it, no filling up
            for row in range(len(v)):
                p.sample(BrainEmbedding(tokens=v[row : row + 1]), generators=streams(1))

        block = prior.block
        fast, slow = per_second(batched, n), per_second(singly, 4)
        prior.block = block
        hundred = per_second(lambda run=batched: run(100), n)
        print(f"{name:30} {prior.network_calls():5d} {fast:10.1f} {slow:13.1f} {hundred:12.1f}")


def made_up(n: int, seed: int) -> Tensor:
    """Return standardised embeddings (n, 1, DIM) that lie in clusters."""
    centres = torch.randn(CLUSTERS, DIM, generator=torch.Generator().manual_seed(99))
    noise = torch.Generator().manual_seed(seed)
    chosen = torch.randint(CLUSTERS, (n,), generator=noise)
    values = centres[chosen] * 0.95 + 0.3 * torch.randn(n, DIM, generator=noise)
    return values[:, None]


def print_quality(quick: bool) -> None:
    epochs = 4 if quick else 25
    train, test = made_up(2048, 1), made_up(200, 2)
    print("\ncosine to the truth | squared error, per number; 200 held-out made-up embeddings")
    print(f"{'noise':>5} {'prediction':>16} {'identity':>16} {'diffusion':>16} {'flow':>16}")
    for level in (0.5, 1.0, 2.0, 4.0):
        noise = torch.Generator().manual_seed(int(level * 10))

        def predict(truth: Tensor, level: float = level, noise: torch.Generator = noise) -> Tensor:
            # What ridge gives: shrunk by what it cannot know.
            seen = truth + level * torch.randn(truth.shape, generator=noise)
            return seen / (1 + level**2)

        predicted, asked = predict(train), predict(test)
        given = BrainEmbedding(tokens=asked)
        priors: list[Prior] = [IdentityPrior(1).fit(predicted, train)]
        for kind in (DiffusionPrior, FlowPrior):
            torch.manual_seed(0)
            made = kind(DIM, 1, layers=2, heads=4, head_dim=16)
            config = EngineConfig(epochs=epochs, batch_size=256, learning_rate=2e-3, ema_decay=0.99)
            with tempfile.TemporaryDirectory() as folder:
                train_prior(made, predicted, train, config, folder=Path(folder))
            priors.append(made)
        found = [asked, *(p.sample(given, generators=streams(200)).main for p in priors)]
        print(f"{level:5.1f} " + " ".join(f"{_scores(one, test):>16}" for one in found))


def _scores(found: Tensor, truth: Tensor) -> str:
    cosine = torch.cosine_similarity(found, truth, dim=-1).mean()
    return f"{float(cosine):.3f} | {float((found - truth).square().mean()):.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_speed(options.quick)
    print_quality(options.quick)


if __name__ == "__main__":
    main()
