"""Decode the test trials of a dataset with a model, and everything that stands beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import write_picture
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.background import Background, audit_facts
from phosphene.pipelines.evaluation.brain_controls import (
    control_embeddings,
    fewer_repetitions,
    nearest_training,
    noise_brain,
    other_brains,
    repetition_counts,
    true_embedding,
    without_prior,
)
from phosphene.pipelines.evaluation.ceilings import noise_ceiling, signal_to_noise
from phosphene.pipelines.evaluation.collapse import check_collapse
from phosphene.pipelines.evaluation.predictions import Predictions, read_predictions
from phosphene.pipelines.evaluation.shown import Shown, read_shown
from phosphene.pipelines.evaluation.unseen import refuse_seen
from phosphene.pipelines.items import items_of, picture_seeds
from phosphene.pipelines.output import picture_name
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.progress import progress
from phosphene.storage import atomic_path, read_json, write_json
from phosphene.trials import UNKNOWN
from phosphene.types import BrainEmbedding, Recording

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.pipelines.evaluation.config import EvaluateConfig

__all__ = ["SETTINGS_NAME", "decode_dataset"]

Array = np.ndarray[Any, Any]
SETTINGS_NAME = "settings.json"  # of a run that is going on


@dataclass(eq=False)
class Decoded:
    """One subject's items while they are decoded.

    Attributes
    ----------
    recording : Recording
        All trials of the split.
    items : Recording
        One row per item.
    table : DataFrame
    seeds : ndarray of shape (n_items, n_samples)
    first : int
        Number of the subject's first item among those of all subjects.
    """

    model: Reconstructor
    dataset: CanonicalDataset
    config: EvaluateConfig
    recording: Recording
    items: Recording
    table: pd.DataFrame
    seeds: Array
    first: int
    folder: Path
    embedding: BrainEmbedding = field(init=False)

    def __post_init__(self) -> None:
        self.embedding = self.model.embed(self.items)

    @property
    def pictures(self) -> list[str]:
        """Identifier of what each item is of."""
        return [str(name) for name in self.table["stimulus_id"]]

    @cached_property
    def truth(self) -> BrainEmbedding:
        """What a perfect encoder would predict."""
        return true_embedding(self.model, self.dataset.pictures(self.pictures))

    def name(self, row: int, sample: int = 0) -> str:
        """Return an item's file name below the folder of predictions."""
        return picture_name(self.items.subject, self.first + row, sample)

    def render(
        self,
        embedding: BrainEmbedding,
        seeds: Array,
        folder: str,
        label: str,
        model: Reconstructor | None = None,
    ) -> None:
        """Render and write pictures batch by batch; no more than a batch is held.

        Items that an interrupted run has written are left as they are: an item's picture does not
        depend on what else is in its batch.
        """
        size = self.config.batch_size
        rows = [row for row in range(len(embedding)) if not self._written(folder, row, seeds)]
        if not rows:
            return
        import torch

        batches = (model or self.model).render(
            embedding[torch.tensor(rows)],
            seeds[rows],
            batch_size=size,
            num_inference_steps=self.config.steps,
        )
        words = f"subject {self.items.subject}: {label}"
        for start, rendered in progress(batches, label=words, total=-(-len(rows) // size)):
            for offset, samples in enumerate(rendered):
                for sample, pixels in enumerate(samples):
                    path = self.folder / folder / self.name(rows[start + offset], sample)
                    write_picture(path, pixels)

    def _written(self, folder: str, row: int, seeds: Array) -> bool:
        samples = range(seeds.shape[1])
        return all((self.folder / folder / self.name(row, one)).is_file() for one in samples)

    def rendered_control(
        self, name: str, embedding: BrainEmbedding, *, prior: bool = True
    ) -> dict[str, Path]:
        """Render one picture per item of another embedding, from the items' own seeds.

        A true embedding is where a prior would bring predictions to: it goes without one.
        """
        folder = f"controls/{name}"
        model = self.model if prior else without_prior(self.model)
        self.render(embedding, self.seeds[:, :1], folder, name.replace("_", " "), model)
        rows = range(len(self.items))
        return {self.name(row): self.folder / folder / self.name(row) for row in rows}


def decode_dataset(config: EvaluateConfig, building: Path) -> tuple[Predictions, Shown, Background]:
    """Reconstruct every item of a split, and render the controls that need the model.

    Parameters
    ----------
    config : EvaluateConfig
        With ``model`` and ``dataset``.
    building : Path
        Where ``predictions/`` and ``controls/`` are written.

    Raises
    ------
    InputError
        If model and dataset have no subject in common, or pictures are not known.
    """
    dataset = CanonicalDataset.open(str(config.dataset))
    model = Reconstructor.from_pretrained(str(config.model), device=config.device)
    _check_settings(building, config, model, dataset)
    subjects = _subjects(config.subjects, model, dataset)
    judged = config.split == "test" and not config.allow_seen
    unseen = refuse_seen(model, dataset) if judged else "not refused: pictures may have been seen"
    shown = read_shown(str(config.dataset), split=config.split, subjects=subjects)
    background = _background(config, model, dataset)
    if background.audit is not None:
        background.audit["held_out"] = unseen
    rivals: dict[str | int, dict[str, Path]] = {}
    tables: list[pd.DataFrame] = []
    for subject in subjects:
        decoded = _decode(config, model, dataset, subject, building, first=sum(map(len, tables)))
        decoded.render(decoded.embedding, decoded.seeds, "predictions", "predictions")
        for name, files in _controls(decoded, background.reasons).items():
            rivals.setdefault(name, {}).update(files)
        background.keys |= _keys(decoded)
        if background.audit is not None:
            background.audit |= _collapse(decoded)
        tables.append(_rows(decoded))
    _write_table(building / "predictions" / "trials.tsv", tables)
    n_items = sum(table["item"].nunique() for table in tables)
    for name, files in rivals.items():
        if len(files) < n_items:  # a control that one subject lacks is absent for all
            continue
        if isinstance(name, int):
            background.fewer[name] = files
        else:
            background.rivals[name] = files
    background.noise_ceiling = _noise_ceilings(dataset, subjects, config)
    if not background.noise_ceiling:
        background.reasons["noise_ceiling"] = "fewer than two pictures were shown repeatedly"
    return read_predictions(building / "predictions"), shown, background


def _check_settings(
    building: Path, config: EvaluateConfig, model: Reconstructor, dataset: CanonicalDataset
) -> None:
    """Write what a run was started with, or refuse to go on with something else."""
    settings = config.model_dump(mode="json", exclude={"output", "cache", "device"})
    settings |= {"model_hash": model.parts.hash, "dataset_hash": dataset.file.hash}
    path = building / SETTINGS_NAME
    if not path.is_file():
        write_json(path, settings)
        return
    known = read_json(path)
    if differing := [key for key in settings if known.get(key) != settings[key]]:
        raise UsageError(
            f"the interrupted run in {building.parent} was started with other settings: "
            + ", ".join(f"{key} was {known.get(key)!r}" for key in differing),
            expected="the same settings, model and dataset",
            remedy="repeat the first command with --resume, or choose another --output",
        )


def _subjects(wanted: Sequence[str], model: Reconstructor, dataset: CanonicalDataset) -> list[str]:
    both = sorted(set(model.subjects) & set(dataset.file.subjects))
    for subject in wanted:
        dataset.check_subject(subject)
        if dataset.file.modality == "fmri":
            model.parts.preprocessor.space(subject)
    if not both:
        raise InputError(
            f"the model knows the subjects {', '.join(model.subjects)}, the dataset "
            f"{', '.join(sorted(dataset.file.subjects))}",
            expected="at least one subject in both",
            remedy="train a model on this dataset, or name the right one",
        )
    return list(dict.fromkeys(wanted)) or both


def _background(
    config: EvaluateConfig, model: Reconstructor, dataset: CanonicalDataset
) -> Background:
    from phosphene.pipelines.generators.base import to_uint8

    words = "mean of all repetitions" if config.average == "stimulus" else "single trials"
    kept = model.parts.baselines.get("mean_picture")
    return Background(
        name=model.parts.name,
        averaging=words,
        model=model.parts.name,
        model_hash=model.parts.hash,
        training=model.parts.protocol.model_copy(update={"averaging_test": words}),
        dataset=dataset,
        mean=None if kept is None else to_uint8(kept[None])[0],
        audit=audit_facts(dataset, [model.parts.name, model.generator.name]),
    )


def _decode(
    config: EvaluateConfig,
    model: Reconstructor,
    dataset: CanonicalDataset,
    subject: str,
    building: Path,
    *,
    first: int,
) -> Decoded:
    splits = None if config.split == "all" else [config.split]
    recording = dataset.recording(subject, splits=splits)
    unknown = int((recording.trials["stimulus_id"] == UNKNOWN).sum())
    if unknown:
        raise InputError(
            f"nobody says what was shown in {unknown} of {len(recording)} trials of {subject}",
            expected="a stimulus_id for every trial that is evaluated",
            remedy="complete the trials table and prepare the dataset again",
        )
    items, table = items_of(recording, config.average)
    seeds = picture_seeds(
        items, table, average=config.average, seed=config.seed, samples=config.samples
    )
    return Decoded(model, dataset, config, recording, items, table, seeds, first, building)


def _controls(decoded: Decoded, reasons: dict[str, str]) -> dict[str | int, dict[str, Path]]:
    """Render what stands beside the predictions; what cannot be made leaves its reason.

    Averages over fewer repetitions are named by how many.
    """
    model, found = decoded.model, dict[str | int, dict[str, Path]]()
    embedding, config = decoded.embedding, decoded.config
    stand_ins = control_embeddings(
        model, decoded.items, embedding, decoded.truth, decoded.pictures, seed=config.seed
    )
    for name, one in stand_ins.items():
        if isinstance(one, str):
            reasons[name] = one
        else:
            found[name] = decoded.rendered_control(name, one.embedding, prior=one.prior)
    nearest = nearest_training(model, decoded.dataset, embedding)
    if nearest is None:
        reasons["nearest_training"] = "the dataset holds none of the model's training pictures"
    else:
        found["nearest_training"] = {decoded.name(row): path for row, path in enumerate(nearest)}
    counts = repetition_counts(decoded.recording) if config.average == "stimulus" else []
    if not counts:
        reasons["repetition_curve"] = "no picture's repetitions were averaged"
    for count in counts:
        fewer = fewer_repetitions(decoded.recording, decoded.pictures, count, seed=config.seed)
        found[count] = decoded.rendered_control(f"repetitions_{count}", model.embed(fewer))
    return found


def _collapse(decoded: Decoded) -> dict[str, str]:
    """Return in words whether predicted embeddings vary as true ones do."""
    keys = [
        decoded.model.query_keys(decoded.embedding).cpu().float().numpy(),
        decoded.model.search_keys(decoded.truth.main.cpu()).float().numpy(),
    ]
    if len(keys[0]) < 3:
        return {}
    found = check_collapse(keys[0], keys[1])
    words = "collapsed: " if found.collapsed else ""
    return {f"embedding_collapse_sub-{decoded.items.subject}": words + found.finding().summary}


def _keys(decoded: Decoded) -> dict[str, dict[str, Array]]:
    """Return embeddings as they are compared: predicted, true, grey, of noise, of other brains."""
    model, pictures = decoded.model, decoded.pictures
    size = int(model.parts.target.spec.preprocessing.get("size", 64))
    grey = model.parts.target.encode([np.full((size, size, 3), 128, dtype=np.uint8)])
    predicted = model.query_keys(decoded.embedding)
    noise = model.embed(noise_brain(decoded.items, seed=decoded.config.seed))
    found = {
        "predicted": predicted,
        "truth": model.search_keys(decoded.truth.main),
        "grey_picture": model.search_keys(grey.expand(len(pictures), *grey.shape[1:])),
        "noise_brain": model.query_keys(noise),
    }
    if len(set(pictures)) > 1:
        order = other_brains(pictures, seed=decoded.config.seed)
        found["shuffled_brain"] = predicted[order]
    arrays = {name: values.cpu().float().numpy() for name, values in found.items()}
    return {
        decoded.name(row): {name: values[row] for name, values in arrays.items()}
        for row in range(len(pictures))
    }


def _rows(decoded: Decoded) -> pd.DataFrame:
    """Return one row per picture file, as the table of an output folder has them."""
    import pandas as pd

    rows = []
    for row, trial in enumerate(decoded.table.to_dict("records")):
        for sample in range(decoded.seeds.shape[1]):
            rows.append(
                {
                    "item": decoded.first + row,
                    "sample": sample,
                    "stimulus_id": trial["stimulus_id"],
                    "file": decoded.name(row, sample),
                    "source_trials": trial["source_trials"],
                    "seed": int(decoded.seeds[row, sample]),
                    "truth": UNKNOWN,
                    "session": trial["session"],
                    "run": trial["run"],
                    "trial": trial["trial"],
                    "repetition": trial["repetition"],
                }
            )
    return pd.DataFrame(rows)


def _write_table(path: Path, tables: Sequence[pd.DataFrame]) -> None:
    import pandas as pd

    with atomic_path(path) as temporary:
        pd.concat(tables).to_csv(temporary, sep="\t", index=False, na_rep=UNKNOWN)


def _noise_ceilings(
    dataset: CanonicalDataset, subjects: Sequence[str], config: EvaluateConfig
) -> dict[str, float]:
    """Return the share of variance that is signal in the items decoded, median over voxels."""
    found: dict[str, float] = {}
    for subject in subjects:
        recording = dataset.recording(
            subject, splits=None if config.split == "all" else [config.split]
        )
        counts = recording.trials["stimulus_id"].value_counts()
        if (counts > 1).sum() < 2:
            continue
        trials = int(counts.median()) if config.average == "stimulus" else 1
        share = noise_ceiling(signal_to_noise(recording), trials)
        found[f"sub-{subject}: signal in the recording, {trials} trials"] = float(np.median(share))
    return found
