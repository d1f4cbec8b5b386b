"""How well moving pictures are decoded from a virtual subject, beside every control.

    python examples/virtual_video.py --subject 01 --movies 2 --seconds 60 --seed 4711

Runs are simulated with a seed that no training used, of movies no training showed; they are never
human data. Flow is compared with the true one of the renderer; clips are told apart by features of
EfficientNet-Lite0. Controls: no motion, keyframes held still, volumes that tell of another time of
the run (shuffled brain), and exchanged clips. The last line is
``identification 0.000 flow 0.000 zero 0.000 p 0.0000``.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.checkpoints.registry import default_model
from phosphene.data.movies.run import MovieClips, MovieRun
from phosphene.data.pictures import Pictures
from phosphene.data.scenes import RenderedMovie, render_movie
from phosphene.data.virtual.movies import MovieSubject, simulate_run
from phosphene.data.virtual.movies.writing import MoviePlan
from phosphene.pipelines.metrics import identify_among
from phosphene.pipelines.metrics.clips import frame_features
from phosphene.pipelines.video.model import VideoModel, load_video_model
from phosphene.seeds import item_seed
from phosphene.trials import complete_trials
from phosphene.types import Recording

Array = np.ndarray[Any, Any]
RATE = 2.0  # frames per second that are compared
WAYS = 10
N_PERMUTATIONS = 2000


@dataclass(frozen=True, eq=False)
class Material:
    """Clips of all runs: what was shown and what was decoded, with a scene each."""

    truth: Pictures
    shown_flow: Array
    cut: Array
    change: Array
    scenes: list[str]
    keys: list[str]
    decoded: dict[str, Tensor]
    frames: Pictures = field(default_factory=lambda: np.zeros(0, np.uint8))
    still: Pictures = field(default_factory=lambda: np.zeros(0, np.uint8))


def simulated(subject: MovieSubject, plan: MoviePlan) -> list[tuple[RenderedMovie, MovieRun]]:
    """Return rendered movies with one run each."""
    found = []
    for name, _, scene in plan.scenes():
        rendered = render_movie(scene)
        run = simulate_run(
            subject, subject.neural(scene, rendered.images), seed=plan.seed, name=name
        )
        trials = complete_trials(None, len(run.bold)).assign(stimulus_id=name)
        recording = Recording(run.bold, "fmri", subject.label, trials, subject.space)
        cuts = tuple(frame / plan.fps for frame in scene.cuts)
        found.append(
            (rendered, MovieRun(recording, name, subject.tr, run.onset, plan.seconds, cuts))
        )
    return found


def decoded_material(
    model: VideoModel, runs: list[tuple[RenderedMovie, MovieRun]], *, shuffled: bool
) -> Material:
    """Decode the clips of all runs; shuffled brains are half a run away."""
    parts = [_of_run(model, rendered, run, shuffled=shuffled) for rendered, run in runs]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("truth", "shown_flow", "cut", "change")
    }
    decoded = {k: torch.cat([part.decoded[k] for part in parts]) for k in parts[0].decoded}
    names = {
        name: [v for part in parts for v in getattr(part, name)] for name in ("scenes", "keys")
    }
    return Material(decoded=decoded, **names, **joined)


def _of_run(
    model: VideoModel, rendered: RenderedMovie, run: MovieRun, *, shuffled: bool
) -> Material:
    clips, told = model.clips(run), run
    if shuffled:
        recording = run.recording
        data = np.roll(recording.data, len(recording) // 2, axis=0)
        moved = Recording(data, "fmri", recording.subject, recording.trials, recording.space)
        told = MovieRun(moved, run.segment, run.tr, run.onset, run.duration, run.cuts)
    numbers = clips.frames(rendered.fps, round(clips.length * RATE))
    return Material(
        truth=rendered.images[numbers],
        shown_flow=_true_flow(rendered, clips, model),
        cut=_cuts(clips, run, model.timing.moments),
        change=_changes(rendered, clips),
        scenes=[str(name).split("-")[0] for name in clips.scene],
        keys=clips.keys,
        decoded=model.decode(told, clips),
    )


def rendered_material(model: VideoModel, part: Material) -> Material:
    """Render the clips that were decoded."""
    seeds = np.array([item_seed(0, "example", key, 0) for key in part.keys])
    frames, still = [], []
    for conditions in model.conditions(part.decoded, seeds):
        draws = [torch.Generator().manual_seed(0) for _ in range(len(conditions))]
        frames.append(model.generator.generate(conditions, generators=draws, fps=RATE))
        held = (conditions.keyframes.movedim(1, -1).numpy() * 255).round().astype(np.uint8)
        still.append(held)
    return replace(part, frames=np.concatenate(frames), still=np.concatenate(still))


def _true_flow(rendered: RenderedMovie, clips: MovieClips, model: VideoModel) -> Array:
    """Return the true flow (n, T, 2, g, g) where the decoder has its cells, in pixels per frame."""
    moments, grid = model.encoder.heads["flow"][0], model.encoder.heads["flow"][2]
    numbers = clips.frames(rendered.fps)
    size, (n, count) = rendered.flow.shape[1], numbers.shape
    cell = size // grid
    flow = rendered.flow[numbers].reshape(n, moments, count // moments, grid, cell, grid, cell, 2)
    return np.moveaxis(flow.mean(axis=(2, 4, 6)), -1, 2)


def _cuts(clips: MovieClips, run: MovieRun, moments: int) -> Array:
    edges = clips.start[:, None] + np.arange(moments + 1) * clips.length / moments
    edges[:, 0] += 1e-6
    return (np.diff(np.searchsorted(np.array(run.cuts), edges), axis=1) > 0).any(axis=1)


def _changes(rendered: RenderedMovie, clips: MovieClips) -> Array:
    light = rendered.images.astype(np.float32).mean(axis=-1) / 255
    step = np.sqrt((np.diff(light, axis=0) ** 2).mean(axis=(1, 2)))
    step = np.append(step, step[-1])
    return step[clips.frames(rendered.fps)].mean(axis=1)


def end_point_error(found: Array, shown: Array) -> Array:
    """Return the mean length of the difference of two flows, per clip (n,)."""
    return np.sqrt(((found - shown) ** 2).sum(axis=2)).mean(axis=(1, 2, 3))


def sign_flip(difference: Array, scenes: list[str], seed: int = 0) -> float:
    """Return the one-sided p that a mean above 0 comes from signs alone, scenes as the unit."""
    _, codes = np.unique(scenes, return_inverse=True)
    means = np.bincount(codes, difference) / np.bincount(codes)
    signs = np.random.default_rng(seed).choice((-1, 1), size=(N_PERMUTATIONS * 5, len(means)))
    return float((1 + ((signs * means).mean(axis=1) >= means.mean()).sum()) / (len(signs) + 1))


def auc(score: Array, label: Array) -> float:
    """Return the area under the curve, ties one half."""
    yes, no = score[label], score[~label]
    return float(((yes[:, None] > no) + 0.5 * (yes[:, None] == no)).mean())


def identification(features: Array, truth: Array) -> Array:
    """Return each clip's score among :data:`WAYS`, (n,)."""
    return identify_among(features, truth, ways=WAYS).scores


def described(frames: Pictures) -> Array:
    """Return the features of all frames of each clip, in order (n, F * d)."""
    return np.asarray(frame_features(frames, "efficientnet-lite0")).reshape(len(frames), -1)


def report_flow(own: Material, other: Material, pixels: float) -> tuple[float, float, float]:
    """Print the flow table; return errors of decoded flow and of none, and p."""
    flows = {
        "decoded": own.decoded["flow"].numpy() * pixels,
        "shuffled brain": other.decoded["flow"].numpy() * pixels,
        "no motion": np.zeros_like(own.shown_flow),
    }
    errors = {name: end_point_error(flow, own.shown_flow) for name, flow in flows.items()}
    order = np.random.default_rng(0)
    errors["exchanged clips"] = np.mean(
        [
            end_point_error(flows["decoded"][order.permutation(len(own.scenes))], own.shown_flow)
            for _ in range(100)
        ],
        axis=0,
    )
    print("| flow | error (pixels of 64 per frame) | correlation |\n|---|---|---|")
    for name, scores in errors.items():
        told = "–"
        if name in ("decoded", "shuffled brain"):
            r = np.corrcoef(flows[name].ravel(), own.shown_flow.ravel())[0, 1]
            told = f"{r:.3f}"
        print(f"| {name} | {scores.mean():.4f} | {told} |")
    p = sign_flip(errors["no motion"] - errors["decoded"], own.scenes)
    p_shuffled = sign_flip(errors["no motion"] - errors["shuffled brain"], own.scenes)
    print(f"p of less error than no motion: {p:.4f}; with shuffled brains {p_shuffled:.4f}\n")
    for name, part in (("own", own), ("shuffled", other)):
        energy = part.decoded["motion_energy"].numpy().mean(axis=1)
        cut = 1 - np.prod(1 - part.decoded["cut"].numpy(), axis=1)
        print(
            f"{name} brain: change r {np.corrcoef(energy, own.change)[0, 1]:.3f}, "
            f"cut inside the clip AUC {auc(cut, own.cut):.3f}",
            flush=True,
        )
    return float(errors["decoded"].mean()), float(errors["no motion"].mean()), p


def report_identification(own: Material, other: Material) -> float:
    """Print the table of identification; return the score of what was decoded."""
    truth, count = described(own.truth), own.truth.shape[1]
    middle = own.truth[:, count // 2 : count // 2 + 1]
    features = {
        "decoded": described(own.frames),
        "its keyframe, still": np.tile(described(own.still[:, None]), (1, count)),
        "shuffled brain": described(other.frames),
        "true middle frame, still": np.tile(described(middle), (1, count)),
    }
    found = {name: identification(part, truth) for name, part in features.items()}
    draws = np.random.default_rng(1)
    null = [
        float(identification(features["decoded"], truth[draws.permutation(len(truth))]).mean())
        for _ in range(N_PERMUTATIONS // 10)
    ]
    print(f"\n| identification of {WAYS} (chance {1 / WAYS:g}) | |\n|---|---|")
    for name, scores in found.items():
        print(f"| {name} | {scores.mean():.3f} |")
    print(f"| exchanged clips | {np.mean(null):.3f} |")
    p = (1 + np.sum(np.array(null) >= found["decoded"].mean())) / (len(null) + 1)
    print(f"p of identification, clips exchanged: {p:.4f}")
    return float(found["decoded"].mean())


def main() -> None:
    """Simulate, decode, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", default="01")
    parser.add_argument("--model")
    parser.add_argument("--movies", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=4711)
    options = parser.parse_args()
    model = load_video_model(options.model or default_model("fmri-video"))
    subject = MovieSubject(options.subject, tr=model.timing.tr)
    runs = simulated(
        subject, MoviePlan(movies=options.movies, seconds=options.seconds, seed=options.seed)
    )
    own, other = (decoded_material(model, runs, shuffled=shuffled) for shuffled in (False, True))
    print(f"{len(own.scenes)} clips of {len(set(own.scenes))} scenes, subject {options.subject}")
    # Flow is decoded in picture widths per second.
    error, zero, p = report_flow(own, other, 64 / runs[0][0].fps)
    own, other = (rendered_material(model, part) for part in (own, other))
    identified = report_identification(own, other)
    print(f"identification {identified:.3f} flow {error:.3f} zero {zero:.3f} p {p:.4f}")


if __name__ == "__main__":
    main()
