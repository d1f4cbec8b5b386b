"""Video generators: what the radial mask saves, and clips one at a time against several together.

The floor of attention is its products: 4 L L d operations per head for a clip of L tokens; the
mask's share of blocks is the share of these that is left. Tiny pipelines of random weights, those
of the tests, time what is around the networks.

    python benchmarks/video_generators.py [--tokens 256] [--heads 2] [--threads 1] [--repeats 2]
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from phosphene.checkpoints.registry import find_video_generator
from phosphene.pipelines.generators.video import VIDEO_GENERATORS
from phosphene.pipelines.generators.video.base import VideoConditions
from phosphene.pipelines.generators.video.radial import RadialLayout, radial_blocks
from phosphene.pipelines.generators.video.radial_attention import radial_attention

TINY = Path(__file__).parents[1] / "tests/pipelines/generators/video/tiny_video_pipelines.py"
FULL = 1560  # tokens per latent frame of Wan 2.1 at 480 x 832
WIDTH = 64


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of processor time, after one call to warm up."""
    run()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def print_radial(tokens: int, heads: int, repeats: int, *, full: bool) -> None:
    size = 128
    print(f"radial attention, {tokens} tokens per latent frame, {heads} heads of {WIDTH}, float32")
    print(
        "| latent frames | blocks kept | dense, s | radial, s | dense / radial | mask made in, s |"
    )
    print("|---|---|---|---|---|---|")
    for frames in (5, 21, 81):
        layout = RadialLayout(frames, tokens, block=size, sink=True)
        start = time.process_time()
        density = float(radial_blocks(layout).mean())
        made = time.process_time() - start
        stream = torch.Generator().manual_seed(0)
        parts = [torch.randn(1, heads, layout.length, WIDTH, generator=stream) for _ in range(3)]
        dense = seconds(partial(F.scaled_dot_product_attention, *parts), repeats)
        radial = seconds(partial(radial_attention, *parts, layout), repeats)
        print(
            f"| {frames} | {density:.3f} | {dense:.2f} | {radial:.2f} | {dense / radial:.2f} "
            f"| {made:.2f} |",
            flush=True,
        )
    if full:
        kept = [
            f"{frames} frames {radial_blocks(RadialLayout(frames, FULL, sink=True)).mean():.3f}"
            for frames in (5, 21, 81)
        ]
        print(f"blocks kept at {FULL} tokens (Wan 2.1, 480 x 832): {', '.join(kept)}")


def tiny_pipelines() -> Any:
    spec = importlib.util.spec_from_file_location("tiny_video_pipelines", TINY)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def print_batches(clips: int, repeats: int) -> None:
    tiny = tiny_pipelines()
    print(
        f"\ntiny pipelines, 9 frames of 16 pixels, 4 steps; clips per second of processor, {clips}"
    )
    print("| video generator | 1 at a time | 4 at a time |")
    print("|---|---|---|")
    for name in ("animatediff", "stable-video-diffusion", "wan", "cogvideox", "ltx"):
        with tempfile.TemporaryDirectory() as folder:
            tiny.MAKERS[name](Path(folder) / "made")
            entry = find_video_generator(name)
            assert entry is not None
            kind: Any = VIDEO_GENERATORS.get(entry[1].generator)
            rates = []
            for batch in (1, 4):
                made = kind.open(
                    name, None, source=f"local-dir:{folder}/made",
                    options={"steps": 4, **tiny.OPTIONS[name], "batch": batch},
                )  # fmt: skip
                conditions = VideoConditions(9 / 8, torch.rand(clips, 3, 16, 16))
                streams = [torch.Generator().manual_seed(row) for row in range(clips)]
                run = partial(made.generate, conditions, generators=streams)
                rates.append(clips / seconds(run, repeats))
        print(f"| `{name}` | " + " | ".join(f"{rate:.1f}" for rate in rates) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--full", action="store_true", help="also densities at full size")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with torch.no_grad():
        print_radial(options.tokens, options.heads, options.repeats, full=options.full)
    print_batches(options.clips, options.repeats)


if __name__ == "__main__":
    main()
