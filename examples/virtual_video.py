"""How well moving pictures are decoded from a virtual subject, beside every control.

    python examples/virtual_video.py --subject 01 --movies 16 --seconds 60 --seed 7

Runs are simulated with a seed that no training used, of movies no training showed; they are never
human data. Every movie is shown ten times, as test movies of real recordings are, and its runs are
averaged (``--repetitions 1``: the first showing alone). Flow is compared with the true one of the
renderer; clips are told apart by features of EfficientNet-Lite0, and keyframes by the model's own
embedding. Controls: no motion, keyframes held still, volumes that tell of another time of the run
(shuffled brain), exchanged clips, and clips exchanged for those at least 20 s away in the same
movie. The unit of intervals and of p is the scene. Clips of the first four movies are rendered. The
last line is ``identification 0.000 flow 0.000 zero 0.000 p 0.0000``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.checkpoints.registry import default_model
from phosphene.data.movies import Movie, average_runs
from phosphene.data.movies.run import MovieClips, MovieRun
from phosphene.data.pictures import Pictures
from phosphene.data.scenes import RenderedMovie, movie_captions, render_movie
from phosphene.data.virtual.movies import MovieSubject, simulate_run
from phosphene.data.virtual.movies.writing import MoviePlan
from phosphene.pipelines.metrics import identify_among
from phosphene.pipelines.metrics.clips import frame_features
from phosphene.pipelines.training.video_targets import captions_of
from phosphene.pipelines.video.model import VideoModel, load_video_model
from phosphene.seeds import item_seed
from phosphene.trials import complete_trials
from phosphene.types import Recording

Array = np.ndarray[Any, Any]
Shown = list[tuple[RenderedMovie, list[MovieRun]]]
RATE = 2.0  # frames per second that are compared
WAYS = 10
N_PERMUTATIONS, N_SIGNS, N_BOOTSTRAP = 4999, 9999, 2000
APART = 20.0  # seconds: what is said of a clip tells of its neighbours


@dataclass(frozen=True, eq=False)
class Material:
    """Clips of all runs: what was shown and what was decoded, with a scene each."""

    truth: Pictures
    shown_flow: Array
    cut: Array
    change: Array
    scenes: list[str]
    keys: list[str]
    captions: list[str]
    decoded: dict[str, Tensor]
    frames: Pictures = field(default_factory=lambda: np.zeros(0, np.uint8))
    still: Pictures = field(default_factory=lambda: np.zeros(0, np.uint8))

    @property
    def movies(self) -> list[str]:
        """Movie of each clip."""
        return [scene.rpartition("/")[0] for scene in self.scenes]

    @property
    def named(self) -> list[str]:
        """All movies, in their order."""
        return list(dict.fromkeys(self.movies))

    def first(self, count: int) -> Material:
        """Return the first clips."""
        arrays = ("truth", "shown_flow", "cut", "change", "scenes", "keys", "captions")
        parts = {name: getattr(self, name)[:count] for name in arrays}
        return Material(decoded={k: part[:count] for k, part in self.decoded.items()}, **parts)


def simulated(subject: MovieSubject, plan: MoviePlan) -> Shown:
    """Return rendered movies with their runs."""
    found = []
    for name, _, scene in plan.scenes():
        rendered = render_movie(scene)
        neural = subject.neural(scene, rendered.images)
        cuts = tuple(frame / plan.fps for frame in scene.cuts)
        runs = []
        for repetition in range(1, plan.repetitions + 1):
            run = simulate_run(subject, neural, seed=plan.seed, name=f"{name}/{repetition}")
            trials = complete_trials(None, len(run.bold)).assign(stimulus_id=name)
            recording = Recording(run.bold, "fmri", subject.label, trials, subject.space)
            runs.append(
                MovieRun(recording, name, subject.tr, run.onset, plan.seconds, cuts, repetition)
            )
        found.append((rendered, runs))
    return found


def decoded_material(
    model: VideoModel, shown: Shown, told: Mapping[str, str], *, shuffled: bool
) -> Material:
    """Decode the clips of all movies from the mean of their runs; shuffled ones are half away.

    What is told of each movie, its scenes one after the other, gives clips their captions.
    """
    parts = [
        _of_run(model, rendered, average_runs(runs), told, shuffled=shuffled)
        for rendered, runs in shown
    ]
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("truth", "shown_flow", "cut", "change")
    }
    decoded = {k: torch.cat([part.decoded[k] for part in parts]) for k in parts[0].decoded}
    names = {
        name: [v for part in parts for v in getattr(part, name)]
        for name in ("scenes", "keys", "captions")
    }
    return Material(decoded=decoded, **names, **joined)


def _of_run(
    model: VideoModel,
    rendered: RenderedMovie,
    run: MovieRun,
    told: Mapping[str, str],
    *,
    shuffled: bool,
) -> Material:
    clips, seen = model.clips(run), run
    if shuffled:
        moved = np.roll(run.recording.data, len(run) // 2, axis=0)
        seen = replace(run, recording=replace(run.recording, data=moved))
    movie = Movie(run.segment, Path(run.segment), run.cuts, told[run.segment])
    numbers = clips.frames(rendered.fps, round(clips.length * RATE))
    return Material(
        truth=rendered.images[numbers],
        shown_flow=_true_flow(rendered, clips, model),
        cut=_cuts(clips, run, model.timing.moments),
        change=_changes(rendered, clips),
        scenes=[re.sub(r"-\d+$", "", str(name)) for name in clips.scene],
        keys=clips.keys,
        captions=captions_of(clips, movie),
        decoded=model.decode(seen, clips),
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


def sign_flip(difference: Array, scenes: Sequence[str], seed: int = 0) -> float:
    """Return the one-sided p that a mean above 0 comes from signs alone, scenes as the unit."""
    _, codes = np.unique(scenes, return_inverse=True)
    sums = np.bincount(codes, difference)
    signs = np.random.default_rng(seed).choice((-1, 1), size=(N_SIGNS, len(sums)))
    return float((1 + (signs @ sums >= sums.sum() - 1e-12).sum()) / (N_SIGNS + 1))


def interval(values: Array, scenes: Sequence[str], seed: int = 0) -> str:
    """Return the mean and its 95 % interval, all clips of a scene drawn together."""
    _, codes = np.unique(scenes, return_inverse=True)
    sums, counts = np.bincount(codes, values), np.bincount(codes)
    rows = np.random.default_rng(seed).integers(len(sums), size=(N_BOOTSTRAP, len(sums)))
    low, high = np.quantile(sums[rows].sum(axis=1) / counts[rows].sum(axis=1), [0.025, 0.975])
    return f"{values.mean():.3f} [{low:.3f}, {high:.3f}]"


def orders(movies: Sequence[str], length: float, *, shifted: bool) -> list[Array]:
    """Return orders of all clips: exchanged freely, or turned round within each movie.

    Turning keeps what neighbours share; it goes by 20 s at least.
    """
    draws, names = np.random.default_rng(1), np.array(movies)
    found = []
    for _ in range(N_PERMUTATIONS):
        if not shifted:
            found.append(draws.permutation(len(names)))
            continue
        order = np.arange(len(names))
        for movie in np.unique(names):
            rows = np.flatnonzero(names == movie)
            least = min(round(APART / length), len(rows) // 2)
            order[rows] = np.roll(rows, draws.integers(least, len(rows) - least + 1))
        found.append(order)
    return found


def permuted(score: Callable[[Array], float], own: Material) -> tuple[float, str]:
    """Return the mean score of exchanged clips, and in words the p of both ways to exchange."""
    n = len(own.scenes)
    true, told, mean = score(np.arange(n)), [], 0.0
    for name, shifted in (("exchanged", False), ("turned within movies", True)):
        null = np.array([score(order) for order in orders(own.movies, 2.0, shifted=shifted)])
        p = (1 + (null >= true - 1e-12).sum()) / (len(null) + 1)
        told.append(f"p {p:.4f} {name}")
        mean = mean if shifted else float(null.mean())
    return mean, ", ".join(told)


def auc(score: Array, label: Array) -> float:
    """Return the area under the curve, ties one half."""
    yes, no = score[label], score[~label]
    return float(((yes[:, None] > no) + 0.5 * (yes[:, None] == no)).mean())


def described(frames: Pictures) -> Array:
    """Return the features of all frames of each clip, in order (n, F * d)."""
    return np.asarray(frame_features(frames, "efficientnet-lite0")).reshape(len(frames), -1)


def report_flow(own: Material, other: Material, pixels: float) -> tuple[float, float, float]:
    """Print the flow table; return errors of decoded flow and of none, and p."""
    flows = {
        "decoded": own.decoded["flow"].numpy() * pixels,
        "shuffled brain": other.decoded["flow"].numpy() * pixels,
    }
    shown = own.shown_flow
    zero = end_point_error(np.zeros_like(shown), shown)
    errors = {name: end_point_error(flow, shown) for name, flow in flows.items()}
    # Error and correlation of every order of the clips need only what each pair of clips has.
    decoded = flows["decoded"]
    pairs = np.stack(
        [end_point_error(decoded, np.broadcast_to(one, decoded.shape)) for one in shown]
    )
    flat = [(x - x.mean()).reshape(len(x), -1) for x in (shown, decoded)]
    product = (flat[0] @ flat[1].T) / np.prod([np.linalg.norm(x) for x in flat])
    rows = np.arange(len(shown))
    exchanged, p_error = permuted(lambda order: -float(pairs[rows, order].mean()), own)
    null_r, p_r = permuted(lambda order: float(product[rows, order].sum()), own)
    print("| flow | error (pixels of 64 per frame) | below no motion | correlation |")
    print("|---|---|---|---|")
    for name, flow in flows.items():
        r = np.corrcoef(flow.ravel(), shown.ravel())[0, 1]
        less = interval(zero - errors[name], own.scenes)
        print(f"| {name} | {errors[name].mean():.4f} | {less} | {r:.3f} |")
    print(f"| no motion | {zero.mean():.4f} | 0 | – |")
    print(f"| exchanged clips | {-exchanged:.4f} | {zero.mean() + exchanged:.3f} | {null_r:.3f} |")
    p = sign_flip(zero - errors["decoded"], own.scenes)
    p_shuffled = sign_flip(zero - errors["shuffled brain"], own.scenes)
    print(f"p of less error than no motion: {p:.5f}; with shuffled brains {p_shuffled:.4f}")
    print(f"error less than of exchanged clips: {p_error}; correlation: {p_r}\n")
    for name, part in (("own", own), ("shuffled", other)):
        energy = part.decoded["motion_energy"].numpy().mean(axis=1)
        cut = 1 - np.prod(1 - part.decoded["cut"].numpy(), axis=1)
        print(
            f"{name} brain: change r {np.corrcoef(energy, own.change)[0, 1]:.3f}, "
            f"cut inside the clip AUC {auc(cut, own.cut):.3f}",
            flush=True,
        )
    return float(errors["decoded"].mean()), float(zero.mean()), p


def report_identification(model: VideoModel, own: Material, other: Material) -> float:
    """Print the table of identification; return the score of what was decoded."""
    truth, count = described(own.truth), own.truth.shape[1]
    middle = own.truth[:, count // 2]
    features = {
        "decoded": described(own.frames),
        "shuffled brain": described(other.frames),
        "its keyframe, still": np.tile(described(own.still[:, None]), (1, count)),
        "true middle frame, still": np.tile(described(middle[:, None]), (1, count)),
    }
    tokens = model.pictures.parts.target.encode(middle).flatten(1).numpy()
    heads = {"embedding of the keyframe": ("tokens", tokens)}
    if "features" in own.decoded:
        second = model.pictures.parts.features_target
        assert second is not None
        heads["features of the keyframe"] = ("features", second.encode(middle).numpy())
    if "caption" in own.decoded:
        words = model.pictures.parts.target.encode_text(own.captions).numpy()
        heads["embedding of the caption"] = ("caption", words)
    print(f"\n| identified among {WAYS} (chance {1 / WAYS:g}) | |\n|---|---|")
    for name, part in features.items():
        scores = identify_among(part, truth, ways=WAYS).scores
        print(f"| {name} | {interval(scores, own.scenes)} |")
    for name, (head, target) in heads.items():
        for label, material in ((name, own), (f"{name}, shuffled brain", other)):
            part = material.decoded[head].flatten(1).numpy()
            scores = identify_among(part, target, ways=WAYS).scores
            print(f"| {label} | {interval(scores, own.scenes)} |")
    for name, part, target in (
        ("decoded", features["decoded"], truth),
        *((name, own.decoded[head].flatten(1).numpy(), x) for name, (head, x) in heads.items()),
    ):
        mean, told = permuted(_among(part, target), own)
        print(f"| {name}, exchanged clips | {mean:.3f} |\np of identification ({name}): {told}")
    return float(identify_among(features["decoded"], truth, ways=WAYS).mean)


def _among(predicted: Array, truth: Array) -> Callable[[Array], float]:
    """Return the mean identification for any order of the predictions."""
    unit = [x - x.mean(axis=1, keepdims=True) for x in (truth.astype(np.float64), predicted)]
    one, two = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in unit)
    likeness, n = one @ two.T, len(truth)

    def score(order: Array) -> float:
        mine = likeness[:, order]
        better = (mine > np.diag(mine)).sum(axis=0)
        wins = np.ones(n)
        for step in range(WAYS - 1):  # none of the others that are drawn is better
            wins *= np.clip(n - 1 - better - step, 0, None) / (n - 1 - step)
        return float(wins.mean())

    return score


def main() -> None:
    """Simulate, decode, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", default="01")
    parser.add_argument("--model")
    parser.add_argument("--movies", type=int, default=16)
    parser.add_argument("--rendered", type=int, default=4, help="movies whose clips are rendered")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--seed", type=int, default=4711)
    options = parser.parse_args()
    model = load_video_model(options.model or default_model("fmri-video"))
    subject = MovieSubject(options.subject, tr=model.timing.tr)
    plan = MoviePlan(
        movies=options.movies,
        seconds=options.seconds,
        repetitions=options.repetitions,
        seed=options.seed,
    )
    shown = simulated(subject, plan)
    told = {name: movie_captions(scene, 1)[0] for name, _, scene in plan.scenes()}
    own, other = (
        decoded_material(model, shown, told, shuffled=shuffled) for shuffled in (False, True)
    )
    count = options.repetitions
    print(
        f"{len(own.scenes)} clips of {len(set(own.scenes))} scenes, subject {options.subject}, "
        f"{'one showing' if count == 1 else f'mean of {count} showings'}\n"
    )
    # Flow is decoded in picture widths per second.
    error, zero, p = report_flow(own, other, 64 / plan.fps)
    first = sum(movie in own.named[: options.rendered] for movie in own.movies)
    own, other = (rendered_material(model, part.first(first)) for part in (own, other))
    print(f"\n{first} clips rendered")
    identified = report_identification(model, own, other)
    print(f"identification {identified:.3f} flow {error:.3f} zero {zero:.3f} p {p:.4f}")


if __name__ == "__main__":
    main()
