"""Brain encoders side by side on virtual subjects, and what adapting them to a new one is worth.

    python examples/virtual_encoders.py table --dataset D --target local-dir:MODEL/target --output T
    python examples/virtual_encoders.py adapt --dataset D --target local-dir:MODEL/target --output A
    python examples/virtual_encoders.py pixels --dataset D --model MODEL --kept T --output P

``table`` trains every encoder on the first 1, 5 or all sessions of all subjects of a dataset that
the recipe of the default model made. Half of its validation pictures are test pictures here, and
nothing is chosen on them. ``adapt`` trains networks on the dataset's subjects, simulates new
subjects that have one session of pictures of their own, and adds them; beside that, the same
network from nothing and ridge, on that session alone. ``pixels`` renders what ``table --keep``
predicted. The unit of all intervals is the picture; virtual subjects are not people.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.base import NetworkEncoder
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.pipelines.metrics import (
    bootstrap_interval,
    brain_to_image_retrieval,
    image_to_brain_retrieval,
    paired_bootstrap,
    pixel_correlation,
    two_way_identification,
)
from phosphene.pipelines.training.adapt import add_subject, freeze_but
from phosphene.pipelines.training.brain_materials import Materials, NetworkTraining, gather
from phosphene.pipelines.training.brain_objective import LossConfig
from phosphene.pipelines.training.brain_validation import BrainValidation
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.materials import cached_targets, load_target
from phosphene.pipelines.training.network import make_encoder, train_encoder_on
from phosphene.pipelines.training.trial_items import VoxelStore, lazy_recording, make_items

Array = np.ndarray[Any, Any]
COLUMNS = ("r2", "identification", "brain to image", "image to brain")
OPTIONS: dict[str, dict[str, Any]] = {
    "mlp": {"width": 256, "depth": 1, "dropout": 0.5},
    "mindeye1": {"width": 256, "depth": 2, "projector_width": 256},
    "mindeye2": {"width": 256, "rank": 64, "dropout": 0.5},
    "bit": {"width": 64, "depth": 1, "heads": 4, "clusters": 48, "profile_size": 48},
    "roi_transformer": {"width": 64, "depth": 1, "heads": 4},
}
# Encoders whose tokens serve both errors and retrieval take less of the contrastive loss.
CONTRASTIVE = {"mindeye1": 0.05, "mindeye2": 0.05}


@dataclasses.dataclass
class Scores:
    """Scores per picture of one encoder and one subject, and what they cost."""

    what: str
    subject: str
    sessions: str
    seed: int
    pictures: list[str]
    r2: float
    identification: list[float]
    brain_to_image: list[float]
    image_to_brain: list[float]
    parameters: int = 0
    seconds: float = 0.0
    megabytes: float = 0.0


class Bench:
    """A dataset and how networks are trained on it.

    Validation pictures become test pictures, every second one or all of them.
    """

    def __init__(self, folder: str, target: StimulusEncoder, options: argparse.Namespace) -> None:
        dataset = CanonicalDataset.open(folder)
        table = dataset.table.copy()
        held = sorted(set(table.loc[table["split"] == "validation", "stimulus_id"]))
        table.loc[table["stimulus_id"].isin(held[::2]), "split"] = "test"
        self.dataset = dataclasses.replace(dataset, table=table)
        self.target, self.folder, self.part = target, folder, target.spec.output
        self.samples, self.keep = options.samples, getattr(options, "keep", None)

    def settings(
        self, name: str, sessions: Sequence[str], n_items: int, seed: int, **more: Any
    ) -> NetworkTraining:
        """Return the settings of a network: as many epochs as make about ``samples`` samples."""
        epochs = max(2, min(more.pop("most", 20), round(self.samples / max(1, n_items))))
        training = {
            "epochs": epochs, "batch_size": 128, "learning_rate": 1e-3, "weight_decay": 0.05,
            "warmup_steps": 50, "patience": 5,
        }  # fmt: skip
        return NetworkTraining(
            dataset=self.folder,
            output="",
            sessions=tuple(sessions),
            seed=seed,
            repetitions=more.pop("repetitions", "single"),
            losses=LossConfig(error=1.0, contrastive=CONTRASTIVE.get(name, 0.005)),
            training=EngineConfig.model_validate(training | more),
        )

    def materials(
        self, subjects: Sequence[str], preprocessor: Preprocessor, settings: NetworkTraining
    ) -> Materials:
        """Return training and validation; nothing of the test pictures is in either."""
        targets = {self.part: self.target}
        return gather(self.dataset, subjects, targets, preprocessor, settings)

    def test(
        self,
        what: str,
        encoder: Any,
        subjects: Sequence[str],
        preprocessor: Preprocessor,
        sessions: str,
        seed: int,
    ) -> list[Scores]:
        """Return the scores of every subject on test pictures, mean of their trials."""
        found = []
        for subject in subjects:
            shown = np.asarray(self.dataset.recording(subject).trials["split"] == "test")
            recording = lazy_recording(self.dataset, subject, shown)
            names = sorted(set(recording.trials["stimulus_id"]))
            truth = cached_targets(self.dataset, self.target, names)
            watched = BrainValidation(
                make_items([recording], {name: row for row, name in enumerate(names)}, "average"),
                VoxelStore([recording], preprocessor),
                {self.part: truth}, {self.part: 1.0}, LossConfig(),
            )  # fmt: skip
            encoder.eval()
            predicted, _ = watched.predict(encoder, 0)
            flat, wanted = predicted[self.part].flatten(1), truth.flatten(1)
            keys = predicted.get("retrieval", flat).flatten(1).numpy()
            error = (flat - wanted).square().mean() / (wanted - wanted.mean(0)).square().mean()
            pictures = wanted.numpy()
            found.append(
                Scores(
                    what, subject, sessions, seed, names, 1 - float(error),
                    two_way_identification(flat.numpy(), pictures).scores.tolist(),
                    brain_to_image_retrieval(keys, pictures).top_k(1).astype(float).tolist(),
                    image_to_brain_retrieval(keys, pictures).top_k(1).astype(float).tolist(),
                )
            )  # fmt: skip
            if self.keep:
                place = Path(self.keep) / f"{what}_{sessions}_{subject}.npz"
                place.parent.mkdir(parents=True, exist_ok=True)
                np.savez(place, values=predicted[self.part].numpy(), names=np.array(names))
        return found


class LinearReference:
    """Ridge under the name of a network, so that the same lines score it."""

    def __init__(self, ridge: RidgeEncoder, part: str) -> None:
        self.ridge, self.main_part = ridge, part

    def eval(self) -> None:
        """Do nothing: ridge has no other mode."""

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        rows = [self.ridge.respond(subject, voxels) for subject, voxels in batch.items()]
        return {self.main_part: torch.cat(rows)}


class Cost:
    """Processor seconds and peak memory of a block."""

    def __enter__(self) -> Cost:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # forget earlier peaks
        self.before, self.start = _memory("VmRSS"), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.process_time() - self.start
        self.megabytes = (_memory("VmHWM") - self.before) / 1024

    def note(self, found: Sequence[Scores], parameters: int) -> list[Scores]:
        """Return the scores with the cost beside them."""
        return [
            dataclasses.replace(
                one, parameters=parameters, seconds=self.seconds, megabytes=self.megabytes
            )
            for one in found
        ]


def _memory(key: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def run_ridge(
    bench: Bench, subjects: Sequence[str], sessions: Sequence[str], told: str
) -> list[Scores]:
    """Fit ridge on the mean of each picture's trials, each subject by itself."""
    preprocessor, settings = Preprocessor(), bench.settings("ridge", sessions, 1, 0)
    settings = settings.model_copy(update={"hold_gb": 0.0})  # each subject is read in turn
    materials = bench.materials(subjects, preprocessor, settings)
    ridge = RidgeEncoder()
    with Cost() as cost:
        for recording in materials.recordings:
            whole = recording.select(np.arange(len(recording)))
            averaged = preprocessor.transform(whole.average("stimulus_id"))
            names = averaged.trials["stimulus_id"].tolist()
            ridge.fit(averaged, cached_targets(bench.dataset, bench.target, names))
    size = sum(value.numel() for value in ridge.tensors().values())
    reference = LinearReference(ridge, bench.part)
    return cost.note(bench.test("ridge", reference, subjects, preprocessor, told, 0), size)


def run_network(
    bench: Bench,
    name: str,
    subjects: Sequence[str],
    sessions: Sequence[str],
    told: str,
    seed: int = 0,
    **more: Any,
) -> tuple[list[Scores], NetworkEncoder, Preprocessor]:
    """Train one network on all subjects together."""
    preprocessor = Preprocessor()
    with Cost() as cost:
        single = bench.settings(name, sessions, 1, seed, **dict(more))
        materials = bench.materials(subjects, preprocessor, single)
        n_items = len(materials.objective.items)
        settings = bench.settings(name, sessions, n_items, seed, **more)
        encoder = make_encoder(name, OPTIONS[name], materials, {bench.part: bench.target}, settings)
        with TemporaryDirectory() as folder:
            train_encoder_on(encoder, materials, settings, Path(folder))
    size = sum(one.numel() for one in encoder.parameters())
    scores = bench.test(name, encoder, subjects, preprocessor, told, seed)
    return cost.note(scores, size), encoder, preprocessor


def adapted(
    bench: Bench, encoder: NetworkEncoder, preprocessor: Preprocessor, new: str, seed: int
) -> list[Scores]:
    """Add a new subject with its first session to a copy of a trained network."""
    import copy

    encoder = copy.deepcopy(encoder)
    name, more = encoder.name, {"batch_size": 64, "patience": 8, "warmup_steps": 20, "most": 50}
    more |= {"learning_rate": 5e-4}
    with Cost() as cost:
        settings = bench.settings(name, ["01"], 1, seed, **more)
        materials = bench.materials([new], preprocessor, settings)
        add_subject(encoder, new, materials, settings)
        freeze_but(encoder, new)
        with TemporaryDirectory() as folder:
            train_encoder_on(encoder, materials, settings, Path(folder))
    size = sum(one.numel() for one in encoder.own_parameters(new).values())
    found = bench.test(f"{name}, adapted", encoder, [new], preprocessor, "1", seed)
    return cost.note(found, size)


def simulate_new(folder: str, subjects: Sequence[str], n_test: int) -> None:
    """Simulate one session of 706 new scenes per subject, and test scenes shown three times."""
    import pandas as pd

    from phosphene.data.prepare import write_subject
    from phosphene.data.scenes import render, sample_scenes
    from phosphene.data.virtual import VirtualSubject
    from phosphene.trials import complete_trials

    test = sample_scenes(0, n_test, split="test")
    shown_test = render(test, 64).images
    for number, label in enumerate(subjects):
        first, someone = 20_000 + 1000 * number, VirtualSubject(label)
        train = sample_scenes(first, first + 706)
        shown = np.concatenate([render(train, 64).images, shown_test])
        names = [f"n{first + row:06d}" for row in range(706)]
        tests = [f"t{row:06d}" for row in range(n_test)]
        parts = []
        for split, scenes, pictures, ids, sessions in (
            ("train", train, shown[:706], names, 1), ("test", test, shown[706:], tests, 3),
        ):  # fmt: skip
            simulation = someone.simulate(
                someone.respond(scenes, pictures), repetitions=sessions,
                seed=1 + len(parts), sessions=sessions,
            )  # fmt: skip
            recording = simulation.recording(ids, [split] * len(ids))
            trials = recording.trials.copy()
            trials["session"] = [f"{len(parts) + int(one):02d}" for one in trials["session"]]
            parts.append(dataclasses.replace(recording, trials=trials))
        table = pd.concat([part.trials for part in parts], ignore_index=True)
        data = np.concatenate([part.data for part in parts])
        whole = dataclasses.replace(parts[0], data=data, trials=complete_trials(table, len(table)))
        write_subject(folder, whole, ([*names, *tests], shown), dtype="float16")


def render_kept(options: argparse.Namespace) -> None:
    """Write PixCorr of rendered predictions, and of the same with another picture.

    Tokens go to the generator as they are, without a prior or a low-level start.
    """
    from phosphene.pipelines.model_folder import load_model
    from phosphene.types import BrainEmbedding

    parts = load_model(options.model)
    dataset = CanonicalDataset.open(options.dataset)
    with Path(options.output).open("a", encoding="utf-8") as out:
        for path in sorted(Path(options.kept).glob(options.only)):
            with np.load(path, allow_pickle=False) as stored:
                values, names = stored["values"], stored["names"].tolist()
            chosen = list(range(0, len(names), max(1, len(names) // options.pictures)))
            chosen = chosen[: options.pictures]
            seeds = [torch.Generator().manual_seed(row) for row in chosen]
            made = parts.generator.generate(
                BrainEmbedding(tokens=torch.from_numpy(values[chosen])),
                generators=seeds, num_inference_steps=options.steps,
            )  # fmt: skip
            truth = np.stack(list(dataset.pictures([names[row] for row in chosen])))
            own = pixel_correlation(np.asarray(made), truth).tolist()
            other = pixel_correlation(np.asarray(made), np.roll(truth, 1, 0)).tolist()
            line = {"file": path.stem, "pixcorr": own, "another picture": other}
            out.write(json.dumps(line) + "\n")
            print(path.stem, f"{np.mean(own):.3f}", f"{np.mean(other):.3f}", flush=True)


def summarise(path: str) -> str:
    """Return a table of all scores in a file, one line per encoder and number of sessions."""
    rows = [
        Scores(**json.loads(line)) for line in Path(path).read_text(encoding="utf-8").splitlines()
    ]
    lines = ["| encoder | sessions | " + " | ".join(COLUMNS) + " | parameters | seconds | MB |"]
    lines.append("|" + "---|" * 9)
    groups: dict[tuple[str, str], list[Scores]] = {}
    for one in rows:
        groups.setdefault((one.what, one.sessions), []).append(one)
    for (what, sessions), some in groups.items():
        cells = [f"{np.mean([one.r2 for one in some]):.3f}"]
        for column in ("identification", "brain_to_image", "image_to_brain"):
            scores, pictures = _joined(some, column)
            low, high = bootstrap_interval(scores, pictures=pictures)
            cells.append(f"{scores.mean():.3f} ({low:.3f} to {high:.3f})")
        last = some[-1]
        lines.append(
            f"| {what} | {sessions} | " + " | ".join(cells)
            + f" | {last.parameters:,} | {last.seconds:.0f} | {last.megabytes:.0f} |"
        )  # fmt: skip
    for (what, sessions), some in groups.items():
        if "adapted" in what:
            for other in (what.replace("adapted", "from nothing"), "ridge"):
                lines += _difference(what, some, other, groups.get((other, sessions), []))
    return "\n".join(lines)


def _joined(some: Sequence[Scores], column: str) -> tuple[Array, Array]:
    scores = np.concatenate([np.array(getattr(one, column)) for one in some])
    return scores, np.concatenate([np.array(one.pictures) for one in some])


def _difference(
    what: str, ours: Sequence[Scores], other: str, theirs: Sequence[Scores]
) -> list[str]:
    """Compare two ways subject by subject and seed by seed, with pictures as the unit."""
    known = {(one.subject, one.seed): one for one in theirs}
    pairs = [(one, known.get((one.subject, one.seed), known.get((one.subject, 0)))) for one in ours]
    pairs = [pair for pair in pairs if pair[1] is not None]
    lines = []
    for column in ("identification", "brain_to_image", "image_to_brain") if pairs else ():
        first, pictures = _joined([pair[0] for pair in pairs], column)
        second, _ = _joined([pair[1] for pair in pairs if pair[1] is not None], column)
        value, (low, high), _ = paired_bootstrap(first, second, pictures=pictures)
        lines.append(f"\n{what} less {other}, {column}: {value:+.3f} ({low:+.3f} to {high:+.3f})")
    return lines


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
