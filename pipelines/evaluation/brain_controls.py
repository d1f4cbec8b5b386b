"""Embeddings for the controls that go through a model: truth, noise, other brains, fewer trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import PictureFiles
from phosphene.errors import UsageError
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.types import BrainEmbedding, Recording

if TYPE_CHECKING:
    import torch

__all__ = [
    "ControlEmbedding",
    "control_embeddings",
    "fewer_repetitions",
    "nearest_training",
    "noise_brain",
    "other_brains",
    "repetition_counts",
    "true_embedding",
    "without_prior",
]

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, eq=False)
class ControlEmbedding:
    """What a control renders in place of predictions.

    Attributes
    ----------
    embedding : BrainEmbedding
    prior : bool
        Whether it goes through the prior; a true embedding is where that would bring it to.
    """

    embedding: BrainEmbedding
    prior: bool = True


def control_embeddings(
    model: Reconstructor,
    items: Recording,
    embedding: BrainEmbedding,
    truth: BrainEmbedding,
    pictures: Sequence[str],
    *,
    seed: int,
) -> dict[str, ControlEmbedding | str]:
    """Return what stands in for predicted embeddings, or why it cannot.

    Parameters
    ----------
    model : Reconstructor
    items : Recording
        One row per item, as it was decoded.
    embedding, truth : BrainEmbedding
        Predicted, and from :func:`true_embedding`.
    pictures : sequence of str
        What each item is of.
    seed : int

    Returns
    -------
    dict
        ``shuffled_brain`` and ``noise_brain``: what the generator invents;
        ``truth_through_generator``: true embedding and low-level latent, without the prior and
        borrowed detail;
        ``oracle_embedding``: true embedding, low-level latent from the brain.
    """
    found: dict[str, ControlEmbedding | str] = {}
    if len(set(pictures)) > 1:
        order = other_brains(pictures, seed=seed)
        found["shuffled_brain"] = ControlEmbedding(embedding[order])
    else:
        found["shuffled_brain"] = "one picture: there is no other brain to take"
    found["noise_brain"] = ControlEmbedding(model.embed(noise_brain(items, seed=seed)))
    found["truth_through_generator"] = ControlEmbedding(truth, prior=False)
    if model.parts.branch is None or model.strength == 1 or embedding.lowlevel is None:
        found["oracle_embedding"] = (
            "no low-level branch is used: the same as truth_through_generator"
        )
    else:
        oracle = replace(truth, lowlevel=embedding.lowlevel)
        found["oracle_embedding"] = ControlEmbedding(oracle, prior=False)
    return found


def true_embedding(model: Reconstructor, pictures: PictureFiles) -> BrainEmbedding:
    """Return what a perfect encoder would predict for these pictures.

    With a low-level branch its latents are the true ones as well: the ceiling of the whole.
    """
    target = model.parts.target
    values = target.encode(pictures)
    start = model.parts.start
    lowlevel = None
    if model.parts.branch is not None and start is not None:
        lowlevel = start.encode(pictures)
    second = model.parts.features_target
    features = None if second is None else second.encode(pictures)
    if target.spec.output == "tokens":
        return BrainEmbedding(tokens=values, lowlevel=lowlevel, features=features)
    return BrainEmbedding(pooled=values, lowlevel=lowlevel, features=features)


def without_prior(model: Reconstructor) -> Reconstructor:
    """Return the same model without its prior and borrowed detail.

    A true embedding needs no cleaning, and nothing but the generator is to be judged.
    """
    plain = Reconstructor(
        model.parts, prior="none", strength=model.strength, detail=0, device=model.device
    )
    plain.generator = model.generator
    return plain


def noise_brain(items: Recording, *, seed: int) -> Recording:
    """Return a recording of noise with each voxel's own mean and standard deviation.

    Voxels are drawn independently: nothing that a picture could have caused is left.
    """
    data = np.asarray(items.data, dtype=np.float64)
    generator = np.random.default_rng([seed, 1])
    noise = data.mean(axis=0) + data.std(axis=0) * generator.standard_normal(data.shape)
    return replace(items, data=noise.astype(np.float32))


def other_brains(pictures: Sequence[str], *, seed: int) -> torch.Tensor:
    """Return for each item the row of an item of another picture, (n,).

    Pictures are ordered at random and each takes the next one's recording, so that every
    recording is used where pictures have equally many items.

    Raises
    ------
    UsageError
        If there is only one picture.
    """
    import torch

    names = list(dict.fromkeys(pictures))
    if len(names) < 2:
        raise UsageError("items of one picture", "at least two pictures")
    order = np.random.default_rng([seed, 2]).permutation(len(names))
    following = {names[a]: names[b] for a, b in zip(order, np.roll(order, 1), strict=True)}
    rows: dict[str, list[int]] = {name: [] for name in names}
    for row, name in enumerate(pictures):
        rows[name].append(row)
    count: dict[str, int] = dict.fromkeys(names, 0)
    chosen = []
    for name in pictures:
        others = rows[following[name]]
        chosen.append(others[count[name] % len(others)])
        count[name] += 1
    return torch.tensor(chosen, dtype=torch.long)


def nearest_training(
    model: Reconstructor, dataset: CanonicalDataset, embedding: BrainEmbedding
) -> list[Path] | None:
    """Return the training picture nearest to each predicted embedding, by its cosine.

    Candidates are pictures of the dataset that trained the model and stand in no test trial;
    ``None`` where there are none.
    """
    import torch

    protocol, table = model.parts.protocol, dataset.stimuli
    trained = set(protocol.train_stimulus_ids) | set(protocol.train_picture_hashes)
    tested = set(dataset.table.loc[dataset.table["split"] == "test", "stimulus_id"])
    hashes = dict(zip(table["stimulus_id"], table["hash"], strict=True))
    tested_hashes = {hashes.get(name) for name in tested}
    names = [
        name
        for name, content in hashes.items()
        if (content in trained or name in trained)
        and name not in tested
        and content not in tested_hashes
    ]
    if not names:
        return None
    files = dataset.pictures(names)
    keys = model.search_keys(model.parts.target.encode(files).cpu())
    queries = model.query_keys(embedding).cpu()
    keys, queries = (torch.nn.functional.normalize(part.float(), dim=1) for part in (keys, queries))
    best = (queries @ keys.T).argmax(dim=1)
    return [files.files[int(row)] for row in best]


def repetition_counts(recording: Recording) -> list[int]:
    """Return how many repetitions to average for the curve: 1, 2, 4, ... below all there are.

    Every picture has at least as many, so that all points are of the same pictures.
    """
    fewest = int(recording.trials["stimulus_id"].value_counts().min())
    most = int(recording.trials["stimulus_id"].value_counts().max())
    counts, count = [], 1
    while count <= fewest and count < most:
        counts.append(count)
        count *= 2
    return counts


def fewer_repetitions(
    recording: Recording, pictures: Sequence[str], count: int, *, seed: int
) -> Recording:
    """Return the mean of ``count`` random repetitions of each picture, in the order given."""
    generator = np.random.default_rng([seed, 3])
    order = generator.permutation(len(recording))
    names = recording.trials["stimulus_id"].to_numpy()
    means = []
    for name in pictures:
        rows = order[names[order] == name][:count]
        means.append(recording.data[np.sort(rows)].mean(axis=0, dtype=np.float64))
    first = [int(np.flatnonzero(names == name)[0]) for name in pictures]
    part = recording.select(np.asarray(first))
    return replace(part, data=np.stack(means).astype(np.float32))
