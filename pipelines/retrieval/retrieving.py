"""``phosphene retrieve``: from a recording, a text or a picture to the nearest of an index."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.config import Config
from phosphene.data.pictures import (
    PICTURE_SUFFIXES,
    Pictures,
    read_picture,
    read_pictures,
    write_picture,
)
from phosphene.errors import UsageError
from phosphene.pipelines.retrieval.calibrating import confidence_table
from phosphene.pipelines.retrieval.found_pictures import found_pictures
from phosphene.pipelines.retrieval.index import Index
from phosphene.pipelines.retrieval.key_encoder import KeyEncoder, open_encoder
from phosphene.pipelines.retrieval.opening import lend_projector, open_index
from phosphene.pipelines.retrieval.page import MAX_QUERIES, render_retrieval
from phosphene.pipelines.retrieval.recording_queries import Decoded, decode_recording
from phosphene.pipelines.retrieval.search_result import SearchResult
from phosphene.pipelines.retrieval.sheet import retrieval_sheet
from phosphene.pipelines.versions import package_versions
from phosphene.schemas import RetrievalFile
from phosphene.storage import atomic_path, check_new_folder, new_folder, write_text

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.pipelines.retrieval.qdrant_index import QdrantIndex
    from phosphene.schemas import TargetSpec

    AnyIndex = Index | QdrantIndex

__all__ = ["Queries", "RetrieveConfig", "retrieve"]

Array = np.ndarray[Any, Any]
BATCH = 32


class RetrieveConfig(Config):
    """Settings of ``phosphene retrieve``; flags are names for these keys."""

    index: str
    output: str
    subject: str | None = None
    input: str | None = None
    text: tuple[str, ...] = ()
    image: str | None = None
    top: int = 10
    model: str | None = None
    trials: str | None = None
    average: Literal["none", "stimulus"] = "none"
    effort: int | None = None
    diversity: float = 0.0
    duplicates: float | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    stimuli: bool = True


@dataclass(frozen=True, eq=False)
class Queries:
    """What is searched for, all by one path.

    Attributes
    ----------
    names : list of str
    embeddings : ndarray or Tensor of shape (n, ...)
        Of ``target``, or search keys.
    target : TargetSpec
    pictures : sequence of ndarray or None
        To show beside what is found.
    origin : str
        What they are of.
    decoded : Decoded, optional
        Where they are of a recording.
    """

    names: list[str]
    embeddings: Any
    target: TargetSpec
    pictures: list[Pictures | None]
    origin: str
    decoded: Decoded | None = None


def retrieve(
    config: RetrieveConfig,
) -> tuple[Path, SearchResult, Queries, pd.DataFrame | None]:
    """Search an index and write results, contact sheet and report.

    Returns
    -------
    folder : Path
    result : SearchResult
    queries : Queries
    sure : DataFrame or None
        ``query k confidence``, where the index knows how sure it is of this model's predictions.
    """
    given = [config.input is not None, bool(config.text), config.image is not None]
    if sum(given) != 1:
        raise UsageError(
            f"{sum(given)} of --input, --text and --image are given",
            expected="exactly one of them",
            remedy="search with a recording (and --subject), a text, or a picture",
        )
    if config.top < 1:
        raise UsageError(f"`top` is {config.top}", expected="1 or more")
    check_new_folder(config.output)
    index = open_index(config.index)
    wider = (config.effort, config.duplicates, config.diversity or None)
    if not isinstance(index, Index) and wider != (None, None, None):
        raise UsageError(
            "--effort, --diversity or --duplicates for a collection of a server",
            expected="the folder of an index with these",
            remedy="leave them away: a server searches by its own settings",
        )
    queries = _queries(config, index)
    index.check_target(queries.target, f"{queries.origin} ({queries.target.name} "
                       f"{queries.target.hash})")  # fmt: skip
    if isinstance(index, Index):
        result = index.search(
            queries.embeddings,
            config.top,
            effort=config.effort,
            diversity=config.diversity,
            duplicates=config.duplicates,
        )
    else:
        result = index.search(queries.embeddings, config.top)
    sure = None
    if isinstance(index, Index) and queries.decoded is not None:
        sure = confidence_table(
            index,
            queries.decoded,
            config.top,
            subject=config.subject or "",
            average=config.average,
        )
    with new_folder(config.output) as folder:
        _write(folder, config, index, queries, result, sure)
    return Path(config.output), result, queries, sure


def _queries(config: RetrieveConfig, index: AnyIndex) -> Queries:
    if config.input is not None:
        return _of_recording(config, index)
    encoder = _own_encoder(config, index)
    if config.text:
        names = list(config.text)
        return Queries(
            names, encoder.texts(names), encoder.space.target, [None] * len(names), "a text"
        )
    return _of_pictures(str(config.image), encoder)


def _device(config: RetrieveConfig) -> str:
    from phosphene.pipelines.devices import choose_device

    return choose_device(config.device)


def _of_recording(config: RetrieveConfig, index: AnyIndex) -> Queries:
    if config.subject is None:
        raise UsageError(
            "--input without --subject",
            expected="the label of who was recorded",
            remedy="add --subject, such as --subject 01",
        )
    decoded = decode_recording(
        index,
        config.input or "",
        subject=config.subject,
        trials=config.trials,
        model=config.model,
        average=config.average,
        device=config.device,
    )
    parts = decoded.model.parts
    origin = f"the model {parts.name}"
    if parts.target.spec.hash == index.space.target.hash:
        lend_projector(index, parts.retrieval, origin)
    pictures: list[Pictures | None] = [None] * len(decoded.names)
    return Queries(decoded.names, decoded.embedding, parts.target.spec, pictures, origin, decoded)


def _own_encoder(config: RetrieveConfig, index: AnyIndex) -> KeyEncoder:
    """Return the index's target with the index's projection.

    A model that was trained again on the same target has another projection by now.
    """
    encoder = open_encoder(index.file.target_name, device=_device(config))
    if encoder.space.target.hash != index.space.target.hash:
        return encoder  # is refused with both names
    lend_projector(index, encoder.projector, encoder.name)
    if encoder.space.projector == index.space.projector:
        return encoder
    return KeyEncoder(encoder.name, encoder.target, index.projector)


def _of_pictures(image: str, encoder: KeyEncoder) -> Queries:
    path = Path(image)
    if path.is_dir():
        names, found = read_pictures(path)
        pictures = [np.asarray(one) for one in found]
    else:
        if path.suffix.lower() not in PICTURE_SUFFIXES and path.is_file():
            raise UsageError(
                f"--image is {path}",
                expected=f"a folder, or a file ending in {', '.join(PICTURE_SUFFIXES)}",
            )
        names, pictures = [path.stem], [read_picture(path)]
    keys = [
        encoder.pictures(pictures[start : start + BATCH])
        for start in range(0, len(pictures), BATCH)
    ]
    return Queries(
        names or [], np.concatenate(keys), encoder.space.target, list(pictures), "a picture"
    )


def _write(
    folder: Path,
    config: RetrieveConfig,
    index: AnyIndex,
    queries: Queries,
    result: SearchResult,
    sure: pd.DataFrame | None,
) -> None:
    table = result.table(queries.names)
    for name, rows in (("results.tsv", table), ("confidence.tsv", sure)):
        if rows is not None:
            with atomic_path(folder / name) as temporary:
                rows.to_csv(temporary, sep="\t", index=False, float_format="%.6f", na_rep="")
    found: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    counts = (result.rows >= 0).sum(axis=1)
    starts = np.cumsum([0, *counts])
    drawn = [found[a:b] for a, b in pairwise(starts[: MAX_QUERIES + 1])]
    for mine in drawn:
        pictures = found_pictures(str(one["path"]) for one in mine)
        for one, picture in zip(mine, pictures, strict=True):
            one["picture"] = picture
    shown = queries.pictures if config.stimuli else [None] * len(queries.names)
    asked = list(zip(queries.names, shown, strict=True))
    labelled = [
        [(f"{one['rank']}  {one['score']:.3f}", one["picture"]) for one in mine] for mine in drawn
    ]
    write_picture(folder / "contact_sheet.png", retrieval_sheet(asked, labelled))
    RetrievalFile(
        config=config.model_dump(exclude={"output", "device"}),
        index=index.file.hash,
        space=index.space,
        queries=queries.origin,
        n_queries=len(queries.names),
        versions=package_versions(),
    ).save(folder / "retrieval.json")
    provenance = [
        ("Queries", queries.origin),
        ("Index", f"{config.index} ({index.file.hash})"),
        ("Space", index.space.describe()),
        (
            "Search",
            f"{index.file.kind if isinstance(index, Index) else 'Qdrant'}, {index.file.metric}",
        ),
        ("Versions", ", ".join(f"{name} {v}" for name, v in package_versions().items())),
    ]
    write_text(
        folder / "report.html",
        render_retrieval(asked, drawn, n=len(index), provenance=provenance, sure=_words(sure)),
    )


def _words(sure: pd.DataFrame | None) -> dict[str, str]:
    """Return for each query how probable it is that the seen picture is among the first k."""
    words: dict[str, str] = {}
    for query, k, value in () if sure is None else sure.dropna().itertuples(index=False):
        words[query] = f"{words[query]}, " if query in words else "if it is indexed: "
        words[query] += f"first {value:.2f}" if k == 1 else f"among the first {k} {value:.2f}"
    return words
