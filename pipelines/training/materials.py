"""What trainings of brain encoders share: targets, baselines, protocol, and what they refuse."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import fit_pictures, picture_hash
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, PhospheneError, UsageError
from phosphene.names import resolve_folder
from phosphene.pipelines.model_folder import load_component
from phosphene.schemas import Protocol, TargetSpec
from phosphene.storage import hash_bytes, load_tensors, read_json, save_tensors
from phosphene.types import Recording

if TYPE_CHECKING:
    import torch

__all__ = [
    "cached_targets",
    "keep_targets",
    "load_target",
    "mean_training_picture",
    "refuse_seen_by_target",
    "refuse_shared_pictures",
    "training_protocol",
]

logger = logging.getLogger(__name__)

ENCODED = 1000  # pictures at a time
HASH = 16  # characters of a picture's hash
LEFT_OUT = {"stimulus": "picture", "session": "session", "run": "run"}


def load_target(name: str) -> StimulusEncoder:
    """Return the target that ``local-dir:FOLDER``, ``hf-hub:ID`` or ``pixels:28x1`` names."""
    kind, _, size = name.partition(":")
    if kind == "pixels":
        side, _, channels = size.partition("x")
        if not (side.isdecimal() and int(side) > 0 and channels in ("1", "3")):
            raise UsageError(
                f"`target` is {name!r}",
                expected="pixels:SIZExCHANNELS, as 28x1",
                remedy="name a folder with local-dir:FOLDER, or a size such as pixels:28x1",
            )
        made: StimulusEncoder = STIMULUS_ENCODERS.get("pixels")(int(side), int(channels))
        return made
    folder = resolve_folder(name)
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} is not a target: it has no config.json",
            expected="a folder written by `phosphene train autoencoder`",
            remedy="check the path; an interrupted training is finished with --resume",
        )
    found: StimulusEncoder = load_component(folder, STIMULUS_ENCODERS)
    if (folder / "training.json").is_file():
        learned = read_json(folder / "training.json").get("picture_hashes", [])
        found.training_picture_hashes = frozenset(learned)
    return found


def cached_targets(
    dataset: CanonicalDataset, target: StimulusEncoder, stimulus_ids: list[str]
) -> torch.Tensor:
    """Return the target of each trial's stimulus, computed once per dataset and target.

    The cache is found by the hash of the target's spec and of the pictures' content; one of more
    pictures than are asked for serves as well.
    """
    table = dataset.stimuli
    names = sorted(set(stimulus_ids))
    hashes = dict(zip(table["stimulus_id"], table["hash"], strict=True))
    path = _cache(dataset, target, names)
    if path.is_file():
        values = load_tensors(path)["values"]
    elif (
        found := _within_cache(dataset, target, [hashes.get(name) for name in names])
    ) is not None:
        values = found
    else:
        values = _encoded(dataset, target, names)
        try:
            keep_targets(dataset, target, names, values)
        except PhospheneError as error:  # a cache that cannot be kept is no reason to stop
            logger.warning("targets are not cached: %s", error.found)
    rows = {name: row for row, name in enumerate(names)}
    return values[[rows[name] for name in stimulus_ids]]


def keep_targets(
    dataset: CanonicalDataset, target: StimulusEncoder, names: list[str], values: torch.Tensor
) -> None:
    """Keep the targets (n, ...) of a dataset's n pictures, whose names are sorted."""
    hashes = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
    path = _cache(dataset, target, names)
    save_tensors(path, {"values": values, "pictures": _as_bytes(names, hashes)})
    target.spec.save(path.with_name("target.json"))


def _cache(dataset: CanonicalDataset, target: StimulusEncoder, names: list[str]) -> Path:
    """Return where the targets of these pictures are kept."""
    hashes = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
    content = "".join(f"{name}={hashes.get(name)};" for name in names)
    key = hash_bytes(f"{target.spec.hash} {content}".encode())[:16]
    return dataset.root / "targets" / key / "values.safetensors"


def _encoded(dataset: CanonicalDataset, target: StimulusEncoder, names: list[str]) -> torch.Tensor:
    import torch

    from phosphene.progress import progress

    starts = range(0, len(names), ENCODED)
    parts = [
        target.encode(dataset.pictures(names[start : start + ENCODED]))
        for start in progress(starts, label=f"encoding {target.name}", total=len(starts))
    ]
    return torch.cat(parts)


def _as_bytes(names: list[str], hashes: dict[str, str]) -> torch.Tensor:
    """Return the hash of each picture as a row of bytes."""
    import torch

    rows = [list(str(hashes.get(name, "")).encode().ljust(HASH)[:HASH]) for name in names]
    return torch.tensor(rows, dtype=torch.uint8)


def _within_cache(
    dataset: CanonicalDataset, target: StimulusEncoder, wanted: list[str | None]
) -> torch.Tensor | None:
    """Return targets of pictures that were computed together with others; none otherwise."""
    from safetensors import SafetensorError, safe_open

    for told in sorted((dataset.root / "targets").glob("*/target.json")):
        path = told.with_name("values.safetensors")
        try:
            if TargetSpec.load(told).hash != target.spec.hash:
                continue
            with safe_open(str(path), framework="pt") as stored:
                if "pictures" not in stored.keys():  # noqa: SIM118 - it is no mapping
                    continue
                known = stored.get_tensor("pictures").numpy()
                rows = {bytes(one).decode().strip(): row for row, one in enumerate(known)}
                if all(one in rows for one in wanted):
                    found: torch.Tensor = stored.get_tensor("values")
                    return found[[rows[str(one)] for one in wanted]]
        except (PhospheneError, SafetensorError, OSError, ValueError):
            continue  # a cache that cannot be read is no reason to stop
    return None


def refuse_shared_pictures(dataset: CanonicalDataset, recording: Recording) -> None:
    """No trial of a test picture may train anything, under whatever name it stands."""
    hashes = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
    test = dataset.table.loc[dataset.table["split"] == "test", "stimulus_id"]
    known = {hashes.get(name, name) for name in test}
    mine = recording.trials["stimulus_id"]
    shared = sorted({name for name in mine if hashes.get(name, name) in known})
    if shared:
        raise InputError(
            f"{len(shared)} pictures of the test split are also in the training trials, "
            f"{shared[0]!r} for example",
            expected="test pictures that training never sees",
            remedy="give all trials of a picture the same split, and prepare the dataset again",
        )


def refuse_seen_by_target(dataset: CanonicalDataset, target: StimulusEncoder, name: str) -> None:
    """A target that was trained on test pictures knows what it is to be tested on."""
    learned = target.training_picture_hashes
    test = dataset.table.loc[dataset.table["split"] == "test", "stimulus_id"].unique().tolist()
    if not learned or not test or dataset.file.stimulus_kind == "none":
        return
    size, channels = (int(target.spec.preprocessing[key]) for key in ("size", "channels"))
    fitted = fit_pictures(dataset.pictures(test), size=size, channels=channels)
    seen = [
        stimulus for stimulus, one in zip(test, fitted, strict=True) if picture_hash(one) in learned
    ]
    if seen:
        raise InputError(
            f"the target {name} was trained on {len(seen)} pictures of the test split, "
            f"{seen[0]!r} for example",
            expected="a target that has not seen what it is tested on",
            remedy="train it again with --exclude and the stimuli",
        )


def mean_training_picture(
    dataset: CanonicalDataset, recordings: Sequence[Recording]
) -> torch.Tensor:
    """Return the mean training picture (C, H, W) in 0..1; other sizes are fitted first."""
    import torch

    names = sorted({name for one in recordings for name in one.trials["stimulus_id"]})
    pictures = dataset.pictures(names)
    table = dataset.stimuli[dataset.stimuli["stimulus_id"].isin(names)]
    sizes = table[["height", "width", "channels"]].drop_duplicates()
    side, channels = int(sizes[["height", "width"]].to_numpy().min()), int(sizes["channels"].max())
    total: Any = 0.0
    for pixels in pictures:
        one = pixels if len(sizes) == 1 else fit_pictures([pixels], size=side, channels=channels)[0]
        total = total + one.astype(np.float64)
    mean = torch.from_numpy((total / len(pictures) / 255).astype(np.float32))
    return mean.permute(2, 0, 1).contiguous()


def training_protocol(
    dataset: CanonicalDataset,
    recordings: Sequence[Recording],
    *,
    groups: Literal["stimulus", "session", "run"],
    average: str,
    weighted: bool,
    selection: str,
) -> Protocol:
    """Return which trials trained a model of one or more subjects, and by which rules."""
    spaces = [
        "all columns" if one.space is None else f"{one.space.describe()} (voxels {one.space.hash})"
        for one in recordings
    ]
    names = sorted({name for one in recordings for name in one.trials["stimulus_id"]})
    hashes = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
    left_out = LEFT_OUT[groups]
    return Protocol(
        dataset=dataset.file.name,
        dataset_hash=dataset.file.hash,
        subjects=[one.subject for one in recordings],
        mask="; ".join(dict.fromkeys(spaces)),
        normalisation="z-score per voxel"
        + (", scaled by the root of its explained variance" if weighted else ""),
        normalisation_fitted_on="training trials",
        averaging_train="mean of repetitions" if average == "stimulus" else "single trials",
        averaging_test="not run yet",
        n_train_trials={one.subject: len(one) for one in recordings},
        train_stimulus_ids=names,
        train_picture_hashes=sorted({hashes[name] for name in names if name in hashes}),
        validation_rule=f"closed-form leave-one-{left_out}-out on training trials",
        selection_rule=f"regularisation by leave-one-{left_out}-out error on training trials"
        + selection,
        transductive=False,
    )
