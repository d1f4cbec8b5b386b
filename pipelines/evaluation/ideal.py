"""Scores of virtual subjects as a share of the way from chance to the ideal observer."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.errors import InputError
from phosphene.pipelines.evaluation.predictions import Item, bare_name
from phosphene.schemas import EvaluatedMetric, ShareOfIdeal
from phosphene.storage import load_array, read_json

if TYPE_CHECKING:
    from phosphene.data.virtual.ideal_observer import IdealIdentification

__all__ = ["ideal_of_simulations", "with_ideal"]

Array = np.ndarray[Any, Any]
TOP_1 = ("brain-to-image-top1/strict-v1",)


def ideal_of_simulations(
    folders: Sequence[str | os.PathLike[str]], items: Sequence[Item]
) -> dict[str, IdealIdentification] | str:
    """Return the ideal observer of each subject among the very pictures that were decoded.

    Parameters
    ----------
    folders : sequence of path
        Written by ``phosphene simulate fmri``, one per subject.
    items : sequence of Item

    Returns
    -------
    dict of subject label to IdealIdentification, or str
        The reason where it cannot be computed.

    Raises
    ------
    InputError
        If a folder is no simulation or did not show these pictures.
    """
    if not folders:
        return "the true signal is not known: give --simulation for virtual subjects"
    known = dict(_read(Path(folder)) for folder in folders)
    subjects = sorted({str(item.subject) for item in items})
    if lacking := [label for label in subjects if label not in known]:
        return f"no --simulation of subject {lacking[0]}"
    counts = {len(item.source_trials) for item in items}
    if len(counts) > 1 or 0 in counts:
        return "items differ in how many trials were averaged, or nobody says how many"
    (count,) = counts
    found = {}
    for label in subjects:
        pictures = sorted({item.picture for item in items if item.subject == label})
        if len(pictures) < 2:
            return "one picture: nothing to tell it from"
        found[label] = _ideal(*known[label], pictures, count)
    return found


def _read(folder: Path) -> tuple[str, tuple[Path, Mapping[str, Any]]]:
    settings = folder / "truth" / "simulation.json"
    if not settings.is_file():
        raise InputError(
            f"the folder {folder} holds no truth/simulation.json",
            expected="a folder written by `phosphene simulate fmri`",
            remedy="check the path (--simulation)",
        )
    content = read_json(settings)
    return str(content["subject"]), (folder, content)


def _ideal(
    folder: Path, settings: Mapping[str, Any], pictures: Sequence[str], count: int
) -> IdealIdentification:
    """Identify these pictures by maximum likelihood with the true signal and noise."""
    from phosphene.data.readers import read_trials
    from phosphene.data.virtual import VirtualSubject, ideal_identification

    if settings["estimator"] != "lsa":
        raise InputError(
            f"{folder} holds {settings['estimator']} betas",
            expected="lsa betas: the likelihood of others depends on the whole sequence",
            remedy="leave --simulation away",
        )
    names = [bare_name(str(name)) for name in read_trials(folder / "truth/factors.tsv").iloc[:, 0]]
    rows = {name: row for row, name in enumerate(names)}
    if lacking := [name for name in pictures if name not in rows]:
        raise InputError(
            f"{folder} showed no picture {lacking[0]!r}",
            expected="the simulation that the dataset was prepared from",
            remedy="give that folder with --simulation",
        )
    signal = load_array(folder / "truth" / "signal.npy")[[rows[name] for name in pictures]]
    subject = VirtualSubject(str(settings["subject"]), preset=str(settings["preset"]))
    (found,) = ideal_identification(subject, signal, repetitions=(count,))
    return found


def with_ideal(
    metrics: Sequence[EvaluatedMetric], ideal: Mapping[str, IdealIdentification]
) -> list[EvaluatedMetric]:
    """Return metrics with the share of the ideal; other metrics than identification have none."""
    return [one.model_copy(update={"share_of_ideal": _share(one, ideal)}) for one in metrics]


def _share(
    metric: EvaluatedMetric, ideal: Mapping[str, IdealIdentification]
) -> ShareOfIdeal | None:
    from phosphene.data.virtual import fraction_of_ideal

    spec, all_of = metric.spec, list(ideal.values())
    if metric.id in TOP_1:
        best, chance = [one.top1 for one in all_of], float(np.mean([one.chance for one in all_of]))
    elif spec.get("ways") == 2 and spec.get("ties") == "half" and spec.get("kind") == "picture":
        best, chance = [one.two_way for one in all_of], 0.5
    else:
        return None
    value = float(np.mean(best))
    if value <= chance:
        return None
    return ShareOfIdeal(
        share=fraction_of_ideal(metric.value, chance, value),
        ideal=value,
        chance=chance,
        repetitions=all_of[0].repetitions,
    )
