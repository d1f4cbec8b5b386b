"""Encoders on virtual EEG or MEG: within subjects and left out, from one trial to averages.

    python examples/virtual_eeg.py --work DIR

Simulates training and test recordings, trains every encoder by the scheme and prints, beside chance
and the ideal observer, how often the shown picture is the first, or among the first five, of the
test pictures. Nothing here is human data. What was trained is kept in the working folder; the
command goes on where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from phosphene.checkpoints.recipes.virtual_electric import TEST_SEED, electric_recordings
from phosphene.data.scenes import sample_scenes
from phosphene.data.virtual.electric import VirtualHead, ideal_electric
from phosphene.pipelines.training.electric_subjects import SubjectsConfig, compare_subjects


def run(options: argparse.Namespace) -> None:
    """Simulate, train, print."""
    options.work.mkdir(parents=True, exist_ok=True)
    dataset = electric_recordings(
        options.work / options.preset, options.subjects, options.preset,
        scenes=options.scenes, repetitions=options.repetitions,
        test_scenes=options.test_scenes, test_repetitions=options.test_repetitions,
    )  # fmt: skip
    print(
        f"{options.preset}: {len(options.subjects)} virtual subjects, {options.scenes} training "
        f"pictures x {options.repetitions}, {options.test_scenes} test pictures x "
        f"{options.test_repetitions} in other sessions"
    )
    counts = [n for n in options.averages if n <= options.test_repetitions]
    print_ideal(options, counts)
    for scheme in options.schemes:
        config = SubjectsConfig(
            dataset=str(dataset.root), output=str(options.work / f"{options.preset}-{scheme}"),
            scheme=scheme, encoders=tuple(options.encoders), subjects=tuple(options.subjects),
            seeds=tuple(options.seeds), repetitions=tuple(counts), alignment=True, whitening=True,
            csls=True, adaptive=True, procrustes=options.procrustes,
        )  # fmt: skip
        _, _, summary = compare_subjects(config, resume=True)
        print_summary(scheme, summary)


def print_ideal(options: argparse.Namespace, counts: list[int]) -> None:
    """Print what the best decoder could reach for the first subject, and chance."""
    head = VirtualHead(options.subjects[0], options.preset)
    scenes = sample_scenes(0, options.test_scenes, seed=TEST_SEED, split="test")
    scores = ideal_electric(head, head.respond(head.drives(scenes)), repetitions=tuple(counts))
    print(f"\nchance: top-1 {1 / options.test_scenes:.3f}, top-5 {5 / options.test_scenes:.3f}")
    told = ", ".join(f"{s.top1:.3f} ({n})" for s, n in zip(scores, counts, strict=True))
    print(f"ideal observer of sub-{options.subjects[0]}, top-1 (repetitions): {told}")


def print_summary(scheme: str, summary: pd.DataFrame) -> None:
    """Print means over subjects with intervals, and what calibration adds."""
    print(f"\n{scheme}, mean over subjects [95 % interval over subjects]\n")
    print("| encoder | calibration | repetitions | top-1 | top-5 | two-way | two-way gain |")
    print("|---|---|---|---|---|---|---|")
    for row in summary.to_dict("records"):
        cells = [
            f"{row[name]:.3f} [{row[f'{name}_low']:.3f}, {row[f'{name}_high']:.3f}]"
            for name in ("top1", "top5", "two_way", "two_way_gain")
        ]
        named = row["calibration"]
        if named != "none":
            named += f", {row['setting']}"
        print(f"| {row['encoder']} | {named} | {row['repetitions']} | " + " | ".join(cells) + " |")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--preset", default="eeg-17", choices=["eeg-17", "eeg-63", "meg-271"])
    parser.add_argument("--subjects", nargs="+", default=["01", "02", "03", "04", "05"])
    parser.add_argument("--scenes", type=int, default=2500)
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--test-scenes", type=int, default=200)
    parser.add_argument("--test-repetitions", type=int, default=80)
    parser.add_argument("--averages", type=int, nargs="+", default=[1, 5, 20, 40, 80])
    parser.add_argument("--encoders", nargs="+", default=["ridge", "flat_mlp", "tsconv"])
    parser.add_argument("--schemes", nargs="+", default=["within", "loso"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--procrustes", action="store_true")
    run(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
