"""Scores of one subject's test trials: averages of repetitions, with and without calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phosphene.data.alignment import calibration_rows
from phosphene.data.canonical import CanonicalDataset
from phosphene.errors import InputError
from phosphene.pipelines.label_free import calibrate
from phosphene.pipelines.training.subject_decoders import SubjectDecoder
from phosphene.pipelines.training.subject_table import BY_PICTURE, SCORES
from phosphene.types import Recording

__all__ = ["subject_rows"]

MOST_GROUPS = 8  # of repetitions that are averaged, each a result of its own
RANK = 5


def subject_rows(
    decoder: SubjectDecoder,
    dataset: CanonicalDataset,
    label: str,
    test: Recording,
    gallery: tuple[list[str], Tensor],
    *,
    variants: Mapping[str, tuple[str, ...]],
    repetitions: Sequence[int],
    calibration: int,
) -> list[dict[str, Any]]:
    """Return a row for every calibration and number of repetitions.

    Parameters
    ----------
    decoder : SubjectDecoder
    dataset : CanonicalDataset
        Whose other trials of the subject calibration may learn from.
    label : str
        Of the subject.
    test : Recording
        Its test trials.
    gallery : tuple of list of str, and Tensor of shape (n_pictures, D)
        Names and flat targets of the pictures that are told apart.
    variants : mapping of str to tuple of str
        Steps of calibration by the name of each way to calibrate.
    repetitions : sequence of int
        Numbers of trials that are averaged.
    calibration : int
        Unlabelled trials that calibration learns from; 0 takes the test itself.
    """
    shown, targets = gallery
    keys, block = decoder.keys(targets), None
    if calibration and len(variants) > 1:
        whole = dataset.recording(label)
        block = whole.select(calibration_rows(whole, calibration))
    groups = {count: _groups(test, count) for count in repetitions}
    # Preprocessing is linear: a mean is prepared as its trials would be, and only once.
    encoded = {
        aligned: _encoded(decoder, test, groups, block, aligned=aligned)
        for aligned in sorted({"alignment" in steps for steps in variants.values()})
    }
    rows = []
    for variant, steps in variants.items():
        embedded, others = encoded["alignment" in steps]
        source = block if "procrustes" not in steps else None
        for count, found in groups.items():
            scores = [
                _scores(z, items, shown, keys, steps, None if source is None else others)
                for z, items in zip(embedded[count], found, strict=True)
            ]
            if not scores:
                continue
            setting = "none" if not steps else scores[0][1]
            if "alignment" in steps and setting == "none":
                trials = "" if source is None else f" ({len(source)} trials)"
                setting = f"inductive{trials}" if source is not None else "transductive"
            rows.append(_row(variant, setting, count, [one for one, _ in scores], found, shown))
    return rows


def _encoded(
    decoder: SubjectDecoder,
    test: Recording,
    groups: dict[int, list[Recording]],
    block: Recording | None,
    *,
    aligned: bool,
) -> tuple[dict[int, list[Tensor]], Tensor | None]:
    """Return embeddings of every group and of the block."""
    preprocessor = decoder.preprocessor
    if aligned:
        preprocessor = preprocessor.adapted(test if block is None else block)

    def encode(recording: Recording) -> Tensor:
        return decoder.encode(preprocessor.transform(recording))

    found = {count: [encode(one) for one in parts] for count, parts in groups.items()}
    return found, None if block is None else encode(block)


def _row(
    variant: str,
    setting: str,
    count: int,
    scores: list[np.ndarray[Any, Any]],
    groups: list[Recording],
    shown: list[str],
) -> dict[str, Any]:
    """Return one row: means over groups, then over pictures, and the scores of each picture."""
    orders = [np.argsort(one.trials["stimulus_id"].to_numpy()) for one in groups]
    found = np.mean([s[:, order] for s, order in zip(scores, orders, strict=True)], axis=0)
    names = sorted(groups[0].trials["stimulus_id"])
    return {
        "calibration": variant,
        "setting": setting,
        "repetitions": count,
        **{score: float(values.mean()) for score, values in zip(SCORES, found, strict=True)},
        "pictures": found.shape[1],
        "pool": len(shown),
        "chance_top1": 1 / len(shown),
        "chance_top5": RANK / len(shown),
        BY_PICTURE: dict(zip(names, found.T.round(6).tolist(), strict=True)),
    }


def _groups(test: Recording, count: int) -> list[Recording]:
    """Return averages of so many repetitions of every picture, from disjoint trials."""
    trials = test.trials
    order = trials.groupby("stimulus_id").cumcount().to_numpy()
    least = int(trials.groupby("stimulus_id").size().min())
    found = []
    for number in range(min(least // count, MOST_GROUPS)):
        inside = (order >= number * count) & (order < (number + 1) * count)
        found.append(test.select(inside).average("stimulus_id"))
    return found


def _scores(
    embedded: Tensor,
    items: Recording,
    shown: list[str],
    keys: Tensor,
    steps: tuple[str, ...],
    block: Tensor | None,
) -> tuple[np.ndarray[Any, Any], str]:
    """Return top-1, top-5 and two-way identification of each item (3, n), and the setting."""
    places = {name: row for row, name in enumerate(shown)}
    own = torch.tensor([places[name] for name in items.trials["stimulus_id"]])
    known = [s for s in ("whitening", "csls", "procrustes") if s in steps]
    if "adaptive" in steps and "csls" not in known:
        known.append("csls")
    calibrated = calibrate(
        embedded,
        keys,
        steps=tuple(known),
        block=block if known else None,
        neighbours="adaptive" if "adaptive" in steps else 12,
    )
    scores = calibrated.scores
    mine = scores.gather(1, own[:, None])
    better = (scores > mine).sum(dim=1).double()
    ties = (scores == mine).sum(dim=1).double() - 1
    rank = better + ties / 2
    if len(shown) < 2:
        raise InputError(f"{len(shown)} test picture", expected="two or more to tell apart")
    # Ties count as the share of orders in which the own picture is among the first.
    first = ((1 - better) / (1 + ties)).clamp(0, 1)
    fifth = ((RANK - better) / (1 + ties)).clamp(0, 1)
    two_way = 1 - rank / (len(shown) - 1)
    return torch.stack([first, fifth, two_way]).numpy(), calibrated.setting
