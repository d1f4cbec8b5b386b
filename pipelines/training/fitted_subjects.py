"""The closed-form part of a decoder: every subject's ridge encoders, and what they leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.preprocessing import Preprocessor
from phosphene.data.sensor_preprocessing import SensorPreprocessor
from phosphene.encoders.brain.ridge import RidgeEncoder
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.training.materials import cached_targets, refuse_shared_pictures
from phosphene.seeds import item_seed
from phosphene.types import BrainEmbedding, Recording

__all__ = ["Base", "FittedSubjects", "joined"]

HELD_OUT = 0.05  # share of training pictures, where a dataset has no validation split


@dataclass(eq=False)
class Base:
    """What brains are decoded to, and what renders it.

    Attributes
    ----------
    target : StimulusEncoder
    generator : LatentDiffusion
        Its latents are decoded too.
    features : StimulusEncoder, optional
        A second network, by whose features candidate pictures are compared.
    structure : StimulusEncoder, optional
        With a decoder, whose pictures the generator may start from; its latents by default.
    """

    target: StimulusEncoder
    generator: LatentDiffusion
    features: StimulusEncoder | None = None
    structure: StimulusEncoder | None = None

    @property
    def start(self) -> StimulusEncoder:
        """What the low-level branch predicts."""
        return self.generator.latents if self.structure is None else self.structure

    def begin(self, embedding: BrainEmbedding) -> Tensor:
        """Return what the generator starts from: predicted latents, or decoded pictures."""
        assert embedding.lowlevel is not None
        if self.structure is None:
            return embedding.lowlevel
        return self.structure.decode(embedding.lowlevel)


@dataclass(eq=False)
class FittedSubjects:
    """Ridge encoders of several subjects, and predictions that are honest.

    Attributes
    ----------
    preprocessor : Preprocessor or SensorPreprocessor
    encoder, structure, features : RidgeEncoder
        To embeddings, latents and features.
    summary : dict of str to float
        Explained variance of left-out pictures.
    recordings : list of Recording
        Training trials of each subject.
    names : list of str
        Stimulus of each training item, of all subjects.
    left_out : list of BrainEmbedding
        Per subject, predictions of its training items by fits without them.
    truth : list of BrainEmbedding
        Per subject, what these should have been.
    validation : list of (BrainEmbedding, list of str)
        Per subject, predictions of its share of the validation pictures, and their names.
    lenders : (list of n str, Tensor of shape (n, d)), optional
        Training pictures that may lend detail, and their features; those of ``names`` by default.
    """

    preprocessor: Preprocessor | SensorPreprocessor
    encoder: RidgeEncoder
    structure: RidgeEncoder
    features: RidgeEncoder
    summary: dict[str, float] = field(default_factory=dict)
    recordings: list[Recording] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    left_out: list[BrainEmbedding] = field(default_factory=list)
    truth: list[BrainEmbedding] = field(default_factory=list)
    validation: list[tuple[BrainEmbedding, list[str]]] = field(default_factory=list)
    lenders: tuple[list[str], Tensor] | None = None

    def add(
        self,
        dataset: CanonicalDataset,
        subject: str,
        base: Base,
        *,
        share: tuple[int, int],
        validation_pictures: int,
        seed: int,
    ) -> None:
        """Fit one subject, keep its left-out predictions and those of validation pictures.

        Parameters
        ----------
        dataset : CanonicalDataset
        subject : str
        base : Base
        share : (int, int)
            Which of how many shares of the validation pictures, so that none is judged twice.
        validation_pictures : int
            Of all shares together.
        seed : int
            For holding pictures out where the dataset marks none as validation.
        """
        recording, validation = _splits(dataset, subject, seed)
        refuse_shared_pictures(dataset, recording)
        self.preprocessor.fit(recording)
        averaged = self.preprocessor.transform(recording.average("stimulus_id"))
        names = averaged.trials["stimulus_id"].tolist()
        shown = sorted(validation.trials["stimulus_id"].unique())[share[0] :: share[1]]
        kept = shown[: max(2, validation_pictures // share[1])]
        items = validation.select(validation.trials["stimulus_id"].isin(kept).to_numpy())
        prepared = self.preprocessor.transform(items.average("stimulus_id"))
        truth, left_out, predicted = dict[str, Tensor](), dict[str, Tensor](), dict[str, Tensor]()
        for part, (encoder, target, label) in self._encoders(base).items():
            truth[part] = cached_targets(dataset, target, names)
            found = encoder.fit(averaged, truth[part], keep_left_out=True)
            self.summary[f"sub-{subject} left_out_r2{label}"] = found["left_out_r2"]
            left_out[part] = _only_part(encoder.left_out(subject))
            predicted[part] = _only_part(encoder.encode(prepared))
        self.recordings.append(recording)
        self.names += names
        self.truth.append(BrainEmbedding(**truth))
        self.left_out.append(BrainEmbedding(**left_out))
        shown = prepared.trials["stimulus_id"].tolist()
        self.validation.append((BrainEmbedding(**predicted), shown))

    def _encoders(self, base: Base) -> dict[str, tuple[RidgeEncoder, StimulusEncoder, str]]:
        """Return what predicts each part of an embedding, its target, and its name."""
        found: dict[str, tuple[RidgeEncoder, StimulusEncoder, str]] = {
            base.target.spec.output: (self.encoder, base.target, ""),
            "lowlevel": (self.structure, base.start, " of latents"),
        }
        if base.features is not None:
            found["features"] = (self.features, base.features, " of features")
        return found


def joined(embeddings: Sequence[BrainEmbedding]) -> BrainEmbedding:
    """Return the items of several embeddings, which have the same parts, as one."""
    return BrainEmbedding(
        **{
            name: torch.cat([embedding.parts[name] for embedding in embeddings])
            for name in embeddings[0].parts
        }
    )


def _only_part(embedding: BrainEmbedding) -> Tensor:
    return next(iter(embedding.parts.values()))


def _splits(dataset: CanonicalDataset, subject: str, seed: int) -> tuple[Recording, Recording]:
    """Return training and validation trials; pictures are held out where none are marked.

    They are held out of all subjects alike: one that is judged by one brain trains no other.
    """
    table = dataset.table
    mine = table[table["subject"] == subject] if "subject" in table else table
    if (mine["split"] == "validation").any():
        return (
            dataset.recording(subject, splits=["train"]),
            dataset.recording(subject, splits=["validation"]),
        )
    recording = dataset.recording(subject, splits=["train"])
    names = recording.trials["stimulus_id"]
    shown = set(table.loc[table["split"] == "train", "stimulus_id"])
    order = sorted(shown, key=lambda name: item_seed(seed, "held out", name, 0))
    held_out = names.isin(order[: max(2, round(HELD_OUT * len(order)))]).to_numpy()
    if held_out.all() or not held_out.any():
        raise InputError(
            f"{names.nunique()} training pictures of subject {subject}",
            expected="enough to hold some out for choosing prior and strength",
            remedy="mark more trials as train, or some as validation",
        )
    return recording.select(~held_out), recording.select(held_out)
