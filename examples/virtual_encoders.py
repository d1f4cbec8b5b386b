"""Brain encoders side by side on virtual subjects, and what adapting them to a new one is worth.

    python examples/virtual_encoders.py table --dataset D --target T --keep K --output S
    python examples/virtual_encoders.py adapt --dataset D --target T --new-dataset N --output A
    python examples/virtual_encoders.py pixels --dataset D --model MODEL --kept K --output P
    python examples/virtual_encoders.py summary --output S

with ``T`` the target of the default model, ``local-dir:MODEL/target``.

``table`` trains every encoder on the first 1, 5 or all sessions of all subjects of a dataset that
the recipe of the default model made. Half of its validation pictures are test pictures here, and
nothing is chosen on them. ``adapt`` trains networks on the dataset's subjects, simulates new
subjects that have one session of pictures of their own, and adds them; beside that, the same
network from nothing and ridge, on that session alone. ``pixels`` renders what ``table --keep``
predicted, ``summary`` prints the table of a file of scores. The unit of all intervals is the
picture; virtual subjects are not people.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from encoder_comparison.bench import Bench
from encoder_comparison.fits import adapted, run_network, run_ridge
from encoder_comparison.new_subjects import simulate_new
from encoder_comparison.pixels import render_kept
from encoder_comparison.scores import Scores, summarise

from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.pipelines.training.materials import load_target


def arguments() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=["table", "adapt", "pixels", "summary"])
    parser.add_argument("--dataset")
    parser.add_argument("--target")
    parser.add_argument("--encoders", nargs="+", default=["ridge", "mlp", "mindeye2", "bit"])
    parser.add_argument("--subjects", nargs="+", help="of the table [all of the dataset]")
    parser.add_argument("--sessions", nargs="+", default=["1", "5", "all"])
    parser.add_argument("--samples", type=int, default=60_000, help="seen by a network, about")
    parser.add_argument("--new", nargs="+", default=["05", "06", "07"])
    parser.add_argument("--new-dataset", help="where new subjects are, or are simulated to")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--ways", nargs="+", default=["ridge", "adapted", "nothing"])
    parser.add_argument("--keep", help="folder for predictions of test pictures")
    parser.add_argument("--kept", help="that folder")
    parser.add_argument("--only", default="*_01.npz", help="which of them are rendered")
    parser.add_argument("--pictures", type=int, default=48)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--model", default="virtual-fmri")
    parser.add_argument("--output", required=True, help="scores, a JSON object per line")
    return parser.parse_args()


def run_table(options: argparse.Namespace, note: Callable[[Sequence[Scores]], None]) -> None:
    """Train every encoder on the first sessions of all subjects."""
    bench = Bench(options.dataset, load_target(options.target), options)
    subjects = options.subjects or sorted(bench.dataset.file.subjects)
    training = bench.dataset.table[bench.dataset.table["split"] == "train"]
    known = sorted(set(training["session"]))
    for count in options.sessions:
        chosen = [] if count == "all" else known[: int(count)]
        for name in options.encoders:
            if BRAIN_ENCODERS.get(name) is RidgeEncoder:
                note(run_ridge(bench, subjects, chosen, count))
                continue
            more = {"repetitions": "average"} if count == "all" else {}
            note(run_network(bench, name, subjects, chosen, count, **more)[0])


def run_adaptation(options: argparse.Namespace, note: Callable[[Sequence[Scores]], None]) -> None:
    """Train on the dataset's subjects, then add each new one with its first session."""
    target = load_target(options.target)
    if not (Path(options.new_dataset) / "dataset.json").is_file():
        simulate_new(options.new_dataset, options.new, 200)
    known, new = (
        Bench(options.dataset, target, options),
        Bench(options.new_dataset, target, options),
    )
    if "ridge" in options.ways:
        note(run_ridge(new, options.new, ["01"], "1"))
    first = ["01", "02", "03"]
    for name in (one for one in options.encoders if one != "ridge"):
        for seed in options.seeds if "adapted" in options.ways else ():
            _, encoder, preprocessor = run_network(
                known, name, sorted(known.dataset.file.subjects), first, "3", seed
            )
            for subject in options.new:
                note(adapted(new, encoder, preprocessor, subject, seed))
        for seed in options.seeds if "nothing" in options.ways else ():
            for subject in options.new:
                scores, _, _ = run_network(
                    new, name, [subject], ["01"], "1", seed, most=60, patience=15,
                )  # fmt: skip
                told = f"{name}, from nothing"
                note([dataclasses.replace(one, what=told) for one in scores])


def main() -> None:
    """Run a job; scores are added to the output as they come."""
    options = arguments()
    torch.set_num_threads(1)
    if options.job == "summary":
        print(summarise(options.output))
        return
    if options.job == "pixels":
        render_kept(options)
        return

    def note(found: Sequence[Scores]) -> None:
        with Path(options.output).open("a", encoding="utf-8") as out:
            for one in found:
                out.write(json.dumps(dataclasses.asdict(one)) + "\n")
        mean = np.mean([np.mean(one.identification) for one in found])
        print(found[0].what, found[0].sessions, f"{mean:.3f} {found[0].seconds:.0f} s", flush=True)

    {"table": run_table, "adapt": run_adaptation}[options.job](options, note)


if __name__ == "__main__":
    main()
