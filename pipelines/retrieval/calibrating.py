"""An index learns how sure its answers to a model's predictions are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.config import Config
from phosphene.errors import InputError
from phosphene.pipelines.retrieval.confidence import FETCHED, confidence, fit_confidence
from phosphene.pipelines.retrieval.index import Index
from phosphene.pipelines.retrieval.recording_queries import Decoded, decode_recording
from phosphene.schemas import ConfidenceFile

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CONFIDENCE_NAME", "CalibrateConfig", "calibrate_index", "confidence_table"]

Array = np.ndarray[Any, Any]
CONFIDENCE_NAME = "confidence.json"
SIZES = (10, 100, 1000, 10_000, 100_000)  # of pools; a curve between the smallest and the largest
RIVALS = 1000  # drawn from the index to stand for what was not fetched
KS = (1, 5, 10)


class CalibrateConfig(Config):
    """Settings of ``phosphene index calibrate``; flags are names for these keys."""

    index: str
    subject: str
    input: str
    trials: str | None = None
    model: str | None = None
    average: Literal["none", "stimulus"] = "stimulus"
    device: Literal["auto", "cpu", "cuda"] = "auto"


def calibrate_index(config: CalibrateConfig) -> ConfidenceFile:
    """Fit the confidence on a recording of indexed pictures, and keep it in the index's folder.

    The stimulus of each trial has to be the identifier of a picture in the index; pictures the
    model was trained on are refused, and those of the test should not be among them either.

    Raises
    ------
    InputError
        If a seen picture is not in the index, was trained on, or there are too few.
    """
    index = Index.open(config.index)
    if index.file.metric != "cosine":
        raise InputError(
            f"the index {config.index} compares by {index.file.metric}",
            expected="an index of cosines, whose scores the confidence is computed from",
            remedy="build it with --metric cosine",
        )
    decoded = decode_recording(
        index,
        config.input,
        subject=config.subject,
        trials=config.trials,
        model=config.model,
        average=config.average,
        device=config.device,
    )
    model = decoded.model
    index.check_target(model.parts.target.spec, f"the model {model.parts.name}")
    # Of several trials of a picture the first one counts: pictures are what is independent.
    names, first = np.unique(decoded.stimuli, return_index=True)
    pictures = [str(name) for name in names]
    rows = _rows_of(index, pictures)
    others = np.setdiff1d(np.arange(len(index)), rows)
    most = min(len(others), max(SIZES) - 1)
    drawn = np.sort(np.random.default_rng(0).choice(others, most, replace=False))
    sizes = [size for size in SIZES if size < most + 1] + [most + 1]
    fitted = fit_confidence(
        index.keys(decoded.embedding)[first],
        index.vectors(rows),
        index.vectors(drawn),
        pictures=pictures,
        refused=model.parts.protocol.train_stimulus_ids,
        sizes=sizes,
        ks=KS,
        space=index.space.hash,
    ).model_copy(
        update={
            "model": model.parts.hash,
            "subject": config.subject,
            "average": config.average,
            "pictures": pictures,
        }
    )
    fitted.save(index.folder / CONFIDENCE_NAME)
    return fitted


def confidence_table(
    index: Index, decoded: Decoded, top: int, *, subject: str, average: str
) -> pd.DataFrame | None:
    """Return the columns ``query k confidence`` for k of 1 and ``top``.

    Pictures that taught the confidence are given none. The result is None where it was not fitted
    for this model, subject and averaging.
    """
    import pandas as pd

    path = index.folder / CONFIDENCE_NAME
    if not path.is_file():
        return None
    fitted = ConfidenceFile.load(path)
    asked = (decoded.model.parts.hash, index.space.hash, subject, average)
    if (fitted.model, fitted.space, fitted.subject, fitted.average) != asked:
        return None
    keys = index.keys(decoded.embedding)
    scores = index.search(keys, FETCHED).scores
    drawn = np.random.default_rng(0).choice(len(index), min(RIVALS, len(index)), replace=False)
    rivals = _unit(keys) @ _unit(index.vectors(np.sort(drawn))).T
    known = set(fitted.pictures)
    rows = []
    for k in sorted({1, min(top, scores.shape[1])}):
        sure = confidence(fitted, scores, rivals, size=len(index), k=k)
        rows += [
            (place, name, k, np.nan if stimulus in known else value)
            for place, (name, stimulus, value) in enumerate(
                zip(decoded.names, decoded.stimuli, sure, strict=True)
            )
        ]
    table = pd.DataFrame(rows, columns=["place", "query", "k", "confidence"])
    return table.sort_values(["place", "k"], ignore_index=True).drop(columns="place")


def _rows_of(index: Index, pictures: list[str]) -> Array:
    """Return the row of each picture."""
    places = {str(name): row for row, name in enumerate(index.metadata.all()["id"])}
    missing = [name for name in pictures if name not in places]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(pictures)} seen pictures are not in the index "
            f"{index.folder}, such as {missing[0]!r}",
            expected="a trials table whose stimulus_id are identifiers of indexed pictures",
            remedy="add these pictures to the index, or name the trials' pictures as it does",
        )
    return np.array([places[name] for name in pictures], dtype=np.int64)


def _unit(values: Array) -> Array:
    norms = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(norms, 1e-12), dtype=np.float64)
