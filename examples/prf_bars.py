"""See what moved over a screen from V1: bars decoded volume by volume (real fMRI).

    python examples/prf_bars.py --data FOLDER --train 0:72 --test 80:100
    python examples/prf_bars.py --data FOLDER --folds 5 --gap 8

FOLDER holds ``bars.npz``: ``bold`` (n, n_voxels), ``video`` (n, height, width) with the frame on
the screen during each volume, ``tr`` in seconds; and ``grid_coordinates.tsv`` with the degrees of
every pixel. Ranges are half-open and may be several (``0:52,88:100``). Receptive fields, the
response of the blood, noise, width and speed of bars are estimated in the training block; a table
of receptive fields in the folder is not looked at. Volumes read for a test block are its own and
those right beside it that nothing was trained on.

The motion prior knows that bars cross the screen, in eight directions that are equally likely,
with unknown onset. Rivals: the same without that prior, ridge, the mean frame, and two clocks
that continue the timing of training frames without any brain. The control is the decoder on
volumes shifted in time by at least 20 s. Frames with a bar are scored with the fixation mark
masked, blank ones by how well they are told apart.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.data.movies import write_movie
from phosphene.data.splits import BlockFolds
from phosphene.errors import PhospheneError, UsageError
from phosphene.pipelines.retinotopy import (
    BarRecording,
    SplitResult,
    evaluate_split,
    parse_ranges,
)
from phosphene.pipelines.retinotopy.bar_evaluation import (
    MIRRORED,
    MOVING,
    RIDGE,
    SCHEDULED,
    shift_values,
)
from phosphene.pipelines.retinotopy.frame_scores import pooled
from phosphene.priors.motion import MOTION_PRIOR

Array = np.ndarray[Any, Any]
SECONDS_PER_FRAME = 0.25  # of the movie; the recording's own pace is five times slower


def number(value: float) -> str:
    """Return a number as tables show it."""
    return "   - " if np.isnan(value) else f"{value:.3f}"


def describe(result: SplitResult, recording: BarRecording, train: Array) -> str:
    """Return what a split was, in a line or two."""
    test, decoder = result.test, result.decoder
    gap = int(np.abs(train[:, None] - test).min()) - 1
    return (
        f"test {test[0]}:{test[-1] + 1} ({len(test)} volumes, {recording.has_bar[test].sum()} with "
        f"a bar), {len(train)} training volumes, gap {gap}\n"
        f"  blood peaks after {decoder.responses.mean_peak:.1f} s (mean of "
        f"{len(decoder.responses.peaks)} candidates), {len(decoder.voxels)} of "
        f"{recording.bold.shape[1]} voxels read, bars {decoder.geometry.width:.2f} wide, "
        f"{decoder.geometry.speed:.2f} per volume, ridge lag {result.lag}"
    )


def table(results: list[SplitResult]) -> list[str]:
    """Return the rows of the table, all test blocks together."""
    rows = [f"{'method':<42} {'r':>6} {'pairwise':>9} {'blank AUC':>10}"]
    for name in results[0].scores:
        r, identified, blank = pooled([one.scores[name] for one in results])
        rows.append(f"{name:<42} {number(r):>6} {number(identified):>9} {number(blank):>10}")
    controls = [pooled(list(blocks)) for blocks in zip(*(r.shifted for r in results), strict=True)]
    if controls:
        values = np.array(controls)
        r, identified, blank = values.mean(axis=0)
        name = f"BOLD shifted in time (mean of {len(controls)})"
        rows.append(f"{name:<42} {number(r):>6} {number(identified):>9} {number(blank):>10}")
        own = pooled([one.scores[MOVING] for one in results])[0]
        above = int((values[:, 0] >= own).sum())
        rows.append(
            f"  shifted r up to {values[:, 0].max():.3f}; p {(above + 1) / (len(controls) + 1):.3f}"
        )
    return rows


def last_line(results: list[SplitResult]) -> str:
    """Return r of decoder, ridge and the better clock."""
    r = {
        name: pooled([one.scores[name] for one in results])[0]
        for name in (MOVING, RIDGE, SCHEDULED, MIRRORED)
    }
    return f"r {r[MOVING]:.3f} ridge {r[RIDGE]:.3f} clock {max(r[SCHEDULED], r[MIRRORED]):.3f}"


def movie_frames(result: SplitResult, recording: BarRecording) -> list[Array]:
    """Return pictures of truth (left) and reconstruction (right)."""
    height, width = recording.video.shape[1:]
    scale = max(1, 320 // width)
    pictures = []
    for row, decoded in zip(result.test, result.decoded, strict=True):
        true = recording.video[row].astype(float)
        pair = [true, decoded.reshape(height, width)]
        grey = [np.kron(np.clip(one, 0, 1) * 255, np.ones((scale, scale))) for one in pair]
        line = np.full((height * scale, 8), 96.0)
        whole = np.concatenate([grey[0], line, grey[1]], axis=1)
        whole = np.pad(whole, ((0, whole.shape[0] % 2), (0, whole.shape[1] % 2)))
        pictures.append(np.repeat(whole.round().astype(np.uint8)[:, :, None], 3, axis=2))
    return pictures


def splits_of(options: argparse.Namespace, n: int) -> list[tuple[Array, Array]]:
    """Return the splits that were asked for."""
    if options.folds is not None:
        if options.train or options.test:
            raise UsageError("--folds with --train or --test", "one or the other")
        return list(BlockFolds(options.folds, gap=options.gap).split(np.arange(n)))
    if not options.train or not options.test:
        raise UsageError(
            "--train or --test is not given",
            expected="both, such as --train 0:72 --test 80:100, or --folds 5",
        )
    return [(parse_ranges(options.train, n, "--train"), parse_ranges(options.test, n, "--test"))]


def main() -> None:
    """Decode and print a table; the last line is for programs."""
    parser = argparse.ArgumentParser(description="Moving bars from V1, volume by volume.")
    parser.add_argument("--data", type=Path, required=True, help="folder with bars.npz")
    parser.add_argument("--train", help="half-open ranges of volumes, such as 0:72")
    parser.add_argument("--test", help="half-open ranges of volumes, such as 80:100")
    parser.add_argument("--folds", type=int, help="contiguous folds, in place of both")
    parser.add_argument("--gap", type=int, default=8, help="volumes left out around a fold")
    parser.add_argument("--shifts", type=int, default=12, help="shifts of the control")
    parser.add_argument("--output", type=Path, help="folder for the MP4 and the decoded frames")
    options = parser.parse_args()
    try:
        recording = BarRecording.read(options.data)
        shifts = shift_values(len(recording), recording.tr, options.shifts)
        results = []
        for train, test in splits_of(options, len(recording)):
            results.append(evaluate_split(recording, train, test, shifts))
            print(describe(results[-1], recording, train), flush=True)
            if options.folds is not None:
                print(f"  {last_line(results[-1:])}", flush=True)
        print(f"motion prior: {MOTION_PRIOR}")
        print("\n".join(table(results)))
        if options.output is not None:
            write_outputs(options.output, results, recording)
    except PhospheneError as error:
        parser.exit(error.exit_code, f"{error}\n")
    print(last_line(results))


def write_outputs(folder: Path, results: list[SplitResult], recording: BarRecording) -> None:
    """Write truth beside reconstruction as MP4, and the decoded frames."""
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [picture for result in results for picture in movie_frames(result, recording)]
    write_movie(folder / "truth_and_decoded.mp4", pictures, 1 / SECONDS_PER_FRAME)
    height, width = recording.video.shape[1:]
    np.savez_compressed(
        folder / "decoded.npz",
        volume=np.concatenate([result.test for result in results]),
        frames=np.concatenate([result.decoded for result in results])
        .reshape(-1, height, width)
        .astype(np.float32),
    )
    print(f"movie: {folder / 'truth_and_decoded.mp4'}")


if __name__ == "__main__":
    main()
