"""How well a model decodes fresh recordings of virtual subjects, beside every control.

    python examples/virtual_fmri.py --subject 01 --subject 02 --scenes 100 --seed 7

Recordings are simulated with a seed that no training used, of scenes no training showed; they
are never human data. With ``--recordings``, the training dataset of the recipe, two baselines
are added: ridge from voxels to pixels, and the training picture nearest to the prediction.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures
from phosphene.data.virtual import (
    Stimuli,
    VirtualSubject,
    choose_stimuli,
    ideal_identification,
)
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import UsageError
from phosphene.pipelines.generators.base import to_uint8
from phosphene.pipelines.metrics import (
    bootstrap_interval,
    brain_to_image_retrieval,
    identify_among,
    paired_bootstrap,
    picture_features,
    pixel_correlation,
)
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.training.materials import cached_targets
from phosphene.types import BrainEmbedding, Recording

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class Row:
    """Scores per picture of one way to make pictures, (n,) each; None where undefined.

    Two-way identification is by EfficientNet-Lite0, whose decoded features also find the pictures
    that lend detail, and by the tokens of the model's own target.
    """

    name: str
    retrieval: Array | None
    identification: Array
    by_target: Array
    pixel_correlation: Array

    def cell(self, scores: Array | None) -> str:
        """Return mean and 95 % interval over pictures."""
        if scores is None:
            return "–"
        low, high = bootstrap_interval(scores)
        return f"{scores.mean():.3f} ({low:.2f}–{high:.2f})"

    def line(self) -> str:
        """Return a row of a Markdown table."""
        columns = (
            self.retrieval,
            self.identification,
            self.by_target,
            self.pixel_correlation,
        )
        return f"| {self.name} | " + " | ".join(self.cell(scores) for scores in columns) + " |"


class VirtualTest:
    """One subject's fresh recording and what was shown.

    Parameters
    ----------
    subject : str
    scenes : int
    repetitions : int
    seed : int
        Of scenes, order and noise; training uses 1 and 2.
    holdout : str
        As for :func:`choose_stimuli`.
    preset : str
    target : StimulusEncoder
        Of the model that is tested.
    """

    def __init__(
        self,
        subject: str,
        target: StimulusEncoder,
        *,
        scenes: int = 100,
        repetitions: int = 3,
        seed: int = 7,
        holdout: str = "none",
        preset: str = "nsd-7t",
    ) -> None:
        if seed in (1, 2):
            raise UsageError(f"`seed` is {seed}", expected="one that no training used (not 1, 2)")
        self.subject = VirtualSubject(subject, preset=preset)
        self.stimuli: Stimuli = choose_stimuli(scenes, seed=seed, holdout=holdout)
        self.signal = self.subject.respond(self.stimuli.scenes, self.stimuli.images)
        self.repetitions = repetitions
        simulation = self.subject.simulate(self.signal, repetitions=repetitions, seed=seed)
        self.recording = simulation.recording(self.stimuli.ids, self.stimuli.splits)
        items = self.recording.average("stimulus_id")
        places = {name: row for row, name in enumerate(self.stimuli.ids)}
        self.order = [places[name] for name in items.trials["stimulus_id"]]
        self.truth: Pictures = self.stimuli.images[self.order]
        self.target, self.seed = target, seed
        self.features = picture_features(self.truth)
        self.tokens = self._tokens(self.truth)

    def ideal_top1(self) -> float:
        """Return the ideal observer's identification among the pictures."""
        scores = ideal_identification(self.subject, self.signal, repetitions=(self.repetitions,))
        return scores[0].top1

    def row(self, name: str, pictures: Pictures, retrieval: Array | None = None) -> Row:
        """Score pictures (n, H, W, 3) in the order of the truth."""
        return Row(
            name,
            retrieval,
            identify_among(picture_features(pictures), self.features).scores,
            identify_among(self._tokens(pictures), self.tokens).scores,
            pixel_correlation(pictures, self.truth),
        )

    def _tokens(self, pictures: Pictures) -> Array:
        found: Array = self.target.encode(pictures).flatten(1).numpy()
        return found


def retrieval_scores(model: Reconstructor, embedding: BrainEmbedding, truth: Pictures) -> Array:
    """Return for each prediction whether its picture is the most similar of all shown."""
    shown = model.search_keys(model.parts.target.encode(truth)).numpy()
    return brain_to_image_retrieval(model.search_keys(embedding.main).numpy(), shown).top_k(1)


def decoded_rows(
    model: Reconstructor, test: VirtualTest, *, brief: bool = False
) -> tuple[list[Row], Pictures]:
    """Return the model's own row and those with a part left out, by the same random numbers.

    The model's own pictures (n, H, W, 3) come along.
    """
    ways = {"decoded": model} | ({} if brief else _without_parts(model))
    rows, decoded = [], np.empty(0, dtype=np.uint8)
    for name, way in ways.items():
        result = way.reconstruct(
            test.recording, subject=test.subject.label, seed=0, average="stimulus"
        )
        retrieval = None
        if name == "decoded":
            decoded = result.images[:, 0]
            embedding = way.embed(test.recording.average("stimulus_id"))
            retrieval = retrieval_scores(way, embedding, test.truth)
        rows.append(test.row(name, result.images[:, 0], retrieval))
    return rows, decoded


def _without_parts(model: Reconstructor) -> dict[str, Reconstructor]:
    """Return the model with one part left out, or the branch that is left out put in."""
    ways = {}
    if model.prior is not None:
        ways["without prior"] = Reconstructor(model.parts, prior="none")
    if model.detail is not None and model.detail.blur > 0:
        ways["without detail"] = Reconstructor(model.parts, detail=0)
    if model.parts.branch is not None:
        ways["with branch, strength 0.7"] = Reconstructor(model.parts, strength=0.7)
        ways["branch alone"] = Reconstructor(model.parts, strength=0.0)
    return ways


def control_rows(model: Reconstructor, test: VirtualTest, decoded: Pictures) -> list[Row]:
    """Return what scores nothing, and what bounds the scores from above."""
    n = len(test.truth)
    generator = np.random.default_rng(test.seed)
    wrong = (np.arange(n) + 1 + generator.integers(n - 1)) % n  # one cycle: no item stays
    mean = model.parts.baselines["mean_picture"].permute(1, 2, 0).numpy()
    mean_pictures = np.repeat(np.rint(mean * 255).astype(np.uint8)[None], n, axis=0)
    embedding = model.embed(test.recording.average("stimulus_id"))
    rows = [
        test.row(
            "shuffled brains",
            decoded[wrong],
            retrieval_scores(model, embedding[torch.as_tensor(wrong)], test.truth),
        ),
        test.row("mean picture", mean_pictures),
    ]
    noise = _noise_brains(test, generator)
    result = model.reconstruct(noise, subject=noise.subject, seed=0, average="stimulus")
    rows.append(
        test.row(
            "noise brains",
            result.images[:, 0],
            retrieval_scores(model, model.embed(noise.average("stimulus_id")), test.truth),
        )
    )
    rows.append(test.row("truth through the generator", _through_generator(model, test)))
    return rows


def _noise_brains(test: VirtualTest, generator: np.random.Generator) -> Recording:
    """Return a recording without signal: each voxel's trials in a random order of their own."""
    data = generator.permuted(np.asarray(test.recording.data), axis=0)
    return replace(test.recording, data=data)


def _through_generator(model: Reconstructor, test: VirtualTest) -> Pictures:
    """Render true tokens, latents and features; nothing is chosen, borrowed or rescaled."""
    parts, latents = model.parts, model.parts.generator.latents
    values = parts.target.encode(test.truth)
    truth = BrainEmbedding(
        tokens=values if values.ndim == 3 else None,
        pooled=None if values.ndim == 3 else values,
        lowlevel=None if latents is None or parts.branch is None else latents.encode(test.truth),
        features=None
        if parts.features_target is None
        else parts.features_target.encode(test.truth),
    )
    exact = replace(model.rendering, prior=None, detail=None)
    return exact.pictures(truth, list(range(len(values))))


def differences(rows: list[Row], metric: Callable[[Row], Array]) -> list[str]:
    """Return the paired differences of the first row to the others, with intervals."""
    ours = metric(rows[0])
    lines = []
    for row in rows[1:]:
        mean, (low, high), p = paired_bootstrap(ours, metric(row))
        lines.append(f"{mean:+.3f} ({low:+.3f} to {high:+.3f}, p {p:.4f}) against {row.name}")
    return lines


def baseline_rows(model: Reconstructor, test: VirtualTest, dataset: CanonicalDataset) -> list[Row]:
    """Return ridge from voxels to pixels, and the training picture nearest to the prediction."""
    label = test.subject.label
    training = dataset.recording(label, splits=["train"]).average("stimulus_id")
    training = model.parts.preprocessor.transform(training)
    names = training.trials["stimulus_id"].tolist()
    items = model.parts.preprocessor.transform(test.recording.average("stimulus_id"))
    pixels = PixelTarget(64, 3)
    ridge = RidgeEncoder()
    ridge.fit(training, cached_targets(dataset, pixels, names))
    rows = [test.row("ridge to pixels", to_uint8(pixels.decode(ridge.encode(items).main)))]
    ways = {"tokens": (model.parts.encoder, model.parts.target)}
    if model.parts.features_target is not None:
        ways["features"] = (model.parts.features, model.parts.features_target)
    unit = torch.nn.functional.normalize
    for by, (encoder, target) in ways.items():
        seen = cached_targets(dataset, target, names).flatten(1)
        predicted = encoder.encode(items).main.flatten(1)
        nearest = (unit(predicted, dim=1) @ unit(seen, dim=1).T).argmax(dim=1)
        shown = dataset.pictures([names[row] for row in nearest])
        pictures = np.stack([np.asarray(one) for one in shown])
        rows.append(test.row(f"nearest training scene by {by}", pictures))
    return rows


def table(
    model: Reconstructor, test: VirtualTest, recordings: str | None, *, brief: bool = False
) -> list[str]:
    """Return the Markdown lines of one subject's test."""
    rows, decoded = decoded_rows(model, test, brief=brief)
    ideal = test.ideal_top1()
    rows += control_rows(model, test, decoded)
    if recordings is not None:
        rows += baseline_rows(model, test, CanonicalDataset.open(recordings))
    retrieval = rows[0].retrieval
    share = np.nan if retrieval is None else float(retrieval.mean()) / ideal
    return [
        f"| | retrieval of {len(test.truth)} | EfficientNet-Lite0 two-way | two-way by tokens "
        "| PixCorr |",
        "|---|---|---|---|---|",
        *(row.line() for row in rows),
        f"| chance | {1 / len(test.truth):.3f} | .5 | .5 | |",
        f"| ideal observer | {ideal:.3f} (model reaches {share:.2f} of it) | | | |",
        "",
        *("PixCorr " + line for line in differences(rows, lambda row: row.pixel_correlation)),
        *("two-way " + line for line in differences(rows, lambda row: row.identification)),
        *("by tokens " + line for line in differences(rows, lambda row: row.by_target)),
    ]


def main() -> None:
    """Print a table for every subject and hold-out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="virtual-fmri")
    parser.add_argument("--subject", action="append", help="may be repeated [all of the model]")
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--holdout", action="append", help="may be repeated [none]")
    parser.add_argument("--preset", default="nsd-7t")
    parser.add_argument("--brief", action="store_true", help="without leaving parts out")
    parser.add_argument("--recordings", help="training dataset of the recipe, for two baselines")
    options = parser.parse_args()
    model = Reconstructor.from_pretrained(options.model)
    for holdout in options.holdout or ["none"]:
        for subject in options.subject or model.subjects:
            start = time.perf_counter()
            test = VirtualTest(
                subject,
                model.parts.target,
                scenes=options.scenes,
                repetitions=options.repetitions,
                seed=options.seed,
                holdout=holdout,
                preset=options.preset,
            )
            lines = table(model, test, options.recordings, brief=options.brief)
            print(f"\n## Virtual subject {subject}, hold-out: {holdout}\n")
            print("\n".join(lines))
            print(f"\n{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
