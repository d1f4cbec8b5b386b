"""Encoders on virtual EEG or MEG: within subjects, together and left out, one trial to averages.

    python examples/virtual_eeg.py --work DIR

Simulates training and test recordings, trains every encoder by the schemes and prints, beside
chance and the ideal observer, how often the shown picture is the first, or among the first five, of
the test pictures. Nothing here is human data. What was trained is kept in the working folder, by
sensors, scheme and encoder: the command goes on where it stopped, and another one adds to the
table. Other sizes or settings need another folder.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import pandas as pd

from phosphene.checkpoints.recipes.virtual_electric import TEST_SEED, electric_recordings
from phosphene.config import resolve_config
from phosphene.data.scenes import sample_scenes
from phosphene.data.virtual.electric import VirtualHead, ideal_electric
from phosphene.encoders.brain.electric import ELECTRIC_ENCODERS
from phosphene.pipelines.training.electric_subjects import SubjectsConfig, compare_subjects

ENCODERS = ("ridge", *(name for name in ELECTRIC_ENCODERS.names() if name != "adapted"))
SETS = (
    "network.window=[0,0.5]",  # what comes later is other pictures' noise
    "network.training.engine.batch_size=128",  # few pictures: more steps in an epoch
)
SMALLER = {
    # 3.7 million numbers as published, 25 times as slow as the next: too much for a CPU.
    "conv_attention": ("network.options={n_virtual: 64, n_features: 512, hidden: 64}",),
}
FEW = 5  # subjects; below, intervals are over pictures


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
    if options.ideal:
        print_ideal(options, counts)
    for scheme in options.schemes:
        found = []
        for encoder in options.encoders:
            flags = {
                "dataset": str(dataset.root), "scheme": scheme, "encoders": (encoder,),
                "output": str(options.work / f"{options.preset}-{scheme}-{encoder}"),
                "subjects": tuple(options.subjects), "seeds": tuple(options.seeds),
                "repetitions": tuple(counts), "alignment": True, "whitening": True, "csls": True,
                "adaptive": True, "procrustes": options.procrustes,
            }  # fmt: skip
            sets = [*SETS, *SMALLER.get(encoder, ()), *options.set]
            config = resolve_config(SubjectsConfig, sets=sets, flags=flags)
            found.append(compare_subjects(config, resume=True)[2])
        print_summary(scheme, pd.concat(found, ignore_index=True), counts)


def print_ideal(options: argparse.Namespace, counts: list[int]) -> None:
    """Print what the best decoder could reach for the first subject, and chance."""
    head = VirtualHead(options.subjects[0], options.preset)
    scenes = sample_scenes(0, options.test_scenes, seed=TEST_SEED, split="test")
    scores = ideal_electric(head, head.respond(head.drives(scenes)), repetitions=tuple(counts))
    print(f"\nchance: top-1 {1 / options.test_scenes:.3f}, top-5 {5 / options.test_scenes:.3f}")
    told = ", ".join(f"{s.top1:.3f} ({n})" for s, n in zip(scores, counts, strict=True))
    print(f"ideal observer of sub-{options.subjects[0]}, top-1 (repetitions): {told}")


def print_summary(scheme: str, summary: pd.DataFrame, counts: list[int]) -> None:
    """Print scores against the number of trials averaged, and what calibration adds."""
    few = int(summary["subjects"].min()) < FEW
    over = "pictures" if few else "subjects"
    plain = summary[summary["calibration"] == "none"]
    for score, title in (("two_way", "two-way, chance .5"), ("top5", "top-5"), ("top1", "top-1")):
        print(f"\n{scheme}, {title} by trials averaged [95 % interval over {over}]\n")
        print("| encoder | " + " | ".join(map(str, counts)) + " | numbers | processor s |")
        print("|---|" + "---|" * (len(counts) + 2))
        for encoder, rows in plain.groupby("encoder", sort=False):
            by_count = rows.set_index("repetitions").to_dict("index")
            cells = [cell(by_count[n], score, few=few) for n in counts if n in by_count]
            first = rows.iloc[0]
            cost = f"{first['parameters']:,.0f} | {first['processor_seconds']:.0f}"
            print(f"| `{encoder}` | " + " | ".join(cells) + f" | {cost} |")
    most = max(counts)
    print(f"\n{scheme}, gain in two-way of {most} trials [95 % interval over {over}]\n")
    steps = summary[(summary["calibration"] != "none") & (summary["repetitions"] == most)]
    print("| encoder | calibration | setting | gain |\n|---|---|---|---|")
    for row in steps.to_dict("records"):
        gain = cell(row, "two_way_gain", few=few)
        print(f"| `{row['encoder']}` | {row['calibration']} | {row['setting']} | {gain} |")


def cell(row: dict[str, Any], score: str, *, few: bool) -> str:
    """Return a score with its interval, without the zero before the point."""
    between = "_pictures" if few else ""
    values = [row[score], row[f"{score}{between}_low"], row[f"{score}{between}_high"]]
    mean, low, high = (
        "n/a" if math.isnan(value) else f"{value:.3f}".replace("0.", ".") for value in values
    )
    return f"{mean} [{low}, {high}]"


def main(arguments: list[str] | None = None) -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--preset", default="eeg-17", choices=["eeg-17", "eeg-63", "meg-271"])
    parser.add_argument("--subjects", nargs="+", default=["01", "02", "03"])
    parser.add_argument("--scenes", type=int, default=2000)
    parser.add_argument("--repetitions", type=int, default=4)
    parser.add_argument("--test-scenes", type=int, default=200)
    parser.add_argument("--test-repetitions", type=int, default=80)
    parser.add_argument("--averages", type=int, nargs="+", default=[1, 4, 10, 40, 80])
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS), choices=ENCODERS)
    parser.add_argument("--schemes", nargs="+", default=["within", "joint", "loso"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--procrustes", action="store_true")
    parser.add_argument("--ideal", action="store_true", help="print the ideal observer's top-1")
    parser.add_argument("--set", nargs="+", default=[], help="as for `phosphene train subjects`")
    run(parser.parse_args(arguments))


if __name__ == "__main__":
    main()
