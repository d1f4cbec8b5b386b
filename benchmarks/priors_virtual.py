"""When a prior helps over the plain prediction: virtual recordings at several noise levels.

Ridge predicts the tokens of pictures; each prior is trained on predictions of pictures that were
left out of the fit, and judged on validation pictures that nothing was fitted on. The levels differ
in how many repetitions are averaged, and in noise that is added to the voxels on top (in standard
deviations of a voxel), alike for training and for judging. Prints the table of ``docs/priors.md``.
Virtual subjects are arithmetic: what holds here need not hold for people.

    python benchmarks/priors_virtual.py --dataset DATASET --model virtual-fmri [--pictures 1500]

``DATASET`` is a canonical dataset with the split ``validation``, as the recipe
``python -m phosphene.checkpoints.recipes.virtual fmri --work DIR`` leaves in ``DIR/recordings``.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from phosphene.checkpoints.registry import model_folder
from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.pipelines.metrics.identification import two_way_identification
from phosphene.pipelines.metrics.intervals import paired_bootstrap
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.materials import load_target
from phosphene.pipelines.training.prior import train_prior
from phosphene.priors.diffusion import DiffusionPrior
from phosphene.priors.flow import FlowPrior
from phosphene.priors.identity import IdentityPrior
from phosphene.types import BrainEmbedding, Recording

# Name, repetitions that are averaged, noise on top.
LEVELS = (("3 averaged", 3, 0.0), ("single trials", 1, 0.0), ("single, noisier", 1, 2.0))
HEADS = ("cosine", "error", "two-way", "length", "nearest")


def streams(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(n)]


def items(recording: Recording, names: list[str], repetitions: int, noise: float) -> Recording:
    """Return one row per picture: the mean of its first repetitions, noise on top."""
    table = recording.trials
    kept = table["stimulus_id"].isin(names) & (table["repetition"] <= repetitions)
    found = recording.select(kept.to_numpy()).average("stimulus_id")
    drawn = np.random.default_rng(0).standard_normal(found.data.shape)
    spread = found.data.std(axis=0, dtype=np.float64)
    return replace(found, data=(found.data + noise * spread * drawn).astype(np.float32))


def scores(found: Tensor, truth: Tensor, known: Tensor) -> dict[str, np.ndarray]:
    """Return one number per picture of each kind.

    ``length`` is that of the embedding over that of the truth, ``nearest`` the cosine with the
    nearest training target: how much it looks like any picture at all.
    """
    flat, wanted = found.flatten(1), truth.flatten(1)
    unit = torch.nn.functional.normalize(known.flatten(1), dim=1)
    return {
        "cosine": torch.cosine_similarity(flat, wanted).numpy(),
        "error": (flat - wanted).square().mean(1).numpy(),
        "two-way": two_way_identification(flat.numpy(), wanted.numpy()).scores,
        "length": (flat.norm(dim=1) / wanted.norm(dim=1)).numpy(),
        "nearest": (torch.nn.functional.normalize(flat, dim=1) @ unit.T).amax(1).numpy(),
    }


def candidates(
    predicted: Tensor, truth: Tensor, asked: Tensor, options: argparse.Namespace
) -> dict[str, Tensor]:
    """Return what each prior makes of the predictions of validation pictures."""
    n_tokens, dim = truth.shape[1:]
    given, found = BrainEmbedding(tokens=asked), {"prediction": asked}
    identity = IdentityPrior(n_tokens).fit(predicted, truth)
    found["identity"] = identity.sample(given, generators=streams(len(asked))).main
    for name, kind, calls in (
        ("diffusion", DiffusionPrior, {"diffusion, 8 steps": 8, "diffusion, 1 step": 1}),
        ("flow", FlowPrior, {"flow, 4 steps": 4}),
    ):
        torch.manual_seed(0)
        prior = kind(dim, n_tokens, layers=options.layers, heads=4, head_dim=options.head_dim)
        config = EngineConfig(
            epochs=options.epochs, batch_size=64, learning_rate=1e-3, ema_decay=0.99
        )
        with tempfile.TemporaryDirectory(prefix=name) as folder:
            train_prior(prior, predicted, truth, config, folder=Path(folder))
        for label, steps in calls.items():
            sampled = prior.sample(given, generators=streams(len(asked)), num_inference_steps=steps)
            found[label] = sampled.main
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--model", default="virtual-fmri")
    parser.add_argument("--subject", default="01")
    parser.add_argument("--pictures", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--level", action="append", choices=[name for name, *_ in LEVELS])
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dataset = CanonicalDataset.open(options.dataset)
    target = load_target(str(model_folder(options.model) / "target"))
    train = dataset.recording(options.subject, splits=["train"])
    test = dataset.recording(options.subject, splits=["validation"])
    names = sorted(set(train.trials["stimulus_id"]))[: options.pictures]
    shown = sorted(set(test.trials["stimulus_id"]))
    known, truth = (target.encode(dataset.pictures(part)) for part in (names, shown))
    print(f"{len(names)} training and {len(shown)} validation pictures, subject {options.subject}")
    print(f"| level | embedding | {' | '.join(HEADS)} | two-way, against the prediction |")
    print("|---" * (len(HEADS) + 3) + "|")
    own = scores(truth, truth, known)
    print(f"| | truth | 1 | 0 | 1 | 1 | {own['nearest'].mean():.3f} | |")
    for level, repetitions, noise in LEVELS:
        if options.level and level not in options.level:
            continue
        preprocessor = Preprocessor(modality="fmri")
        fitted = items(train, names, repetitions, noise)
        preprocessor.fit(fitted)
        prepared = preprocessor.transform(fitted)
        order = prepared.trials["stimulus_id"].map({n: row for row, n in enumerate(names)})
        wanted = known[torch.tensor(order.to_numpy())]
        encoder = RidgeEncoder()
        encoder.fit(prepared, wanted, keep_left_out=True)
        judged = preprocessor.transform(items(test, shown, repetitions, noise))
        rows = judged.trials["stimulus_id"].map({n: row for row, n in enumerate(shown)})
        asked, right = encoder.encode(judged).main, truth[torch.tensor(rows.to_numpy())]
        found = candidates(encoder.left_out(options.subject).main, wanted, asked, options)
        plain = scores(asked, right, known)
        for name, embedding in found.items():
            mine = scores(embedding, right, known)
            gain, (low, high), _ = paired_bootstrap(mine["two-way"], plain["two-way"])
            means = " | ".join(f"{mine[head].mean():.3f}" for head in HEADS)
            interval = "" if name == "prediction" else f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"
            print(f"| {level} | {name} | {means} | {interval} |", flush=True)


if __name__ == "__main__":
    main()
