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
from phosphene.pipelines.retrieval.found_pictures import found_pictures
from phosphene.pipelines.retrieval.index import Index
from phosphene.pipelines.retrieval.key_encoder import KeyEncoder, open_encoder
from phosphene.pipelines.retrieval.page import MAX_QUERIES, render_retrieval
from phosphene.pipelines.retrieval.search_result import SearchResult
from phosphene.pipelines.retrieval.sheet import retrieval_sheet
from phosphene.pipelines.versions import package_versions
from phosphene.schemas import RetrievalFile
from phosphene.storage import atomic_path, check_new_folder, new_folder, write_text
from phosphene.trials import UNKNOWN

if TYPE_CHECKING:
    from phosphene.schemas import TargetSpec

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
    """

    names: list[str]
    embeddings: Any
    target: TargetSpec
    pictures: list[Pictures | None]
    origin: str


def retrieve(config: RetrieveConfig) -> tuple[Path, SearchResult, Queries]:
    """Search an index and write results, contact sheet and report."""
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
    index = Index.open(config.index)
    queries = _queries(config, index)
    index.check_target(queries.target, f"{queries.origin} ({queries.target.name} "
                       f"{queries.target.hash})")  # fmt: skip
    result = index.search(
        queries.embeddings,
        config.top,
        effort=config.effort,
        diversity=config.diversity,
        duplicates=config.duplicates,
    )
    with new_folder(config.output) as folder:
        _write(folder, config, index, queries, result)
    return Path(config.output), result, queries


def _queries(config: RetrieveConfig, index: Index) -> Queries:
    if config.input is not None:
        return _of_recording(config, index)
    encoder = open_encoder(index.file.target_name, device=_device(config))
    if config.text:
        names = list(config.text)
        return Queries(
            names, encoder.texts(names), encoder.space.target, [None] * len(names), "a text"
        )
    return _of_pictures(str(config.image), encoder)


def _device(config: RetrieveConfig) -> str:
    from phosphene.pipelines.reconstructor import _choose_device

    return _choose_device(config.device)


def _of_recording(config: RetrieveConfig, index: Index) -> Queries:
    from phosphene.checkpoints.registry import default_model, known_models
    from phosphene.pipelines.reconstructor import Reconstructor, items_of

    if config.subject is None:
        raise UsageError(
            "--input without --subject",
            expected="the label of who was recorded",
            remedy="add --subject, such as --subject 01",
        )
    name = index.file.target_name
    own = name if index.space.projector or name in known_models() else None
    model = Reconstructor.from_pretrained(
        config.model or own or default_model("fmri"), device=config.device
    )
    recording = model.read(config.input or "", subject=config.subject, trials=config.trials)
    items, table = items_of(recording, config.average)
    names = [
        f"item {row}" if stimulus == UNKNOWN else str(stimulus)
        for row, stimulus in enumerate(table["stimulus_id"])
    ]
    if config.average == "none":
        names = [f"{name} {trial}" for name, trial in zip(names, table["source_trials"],
                                                          strict=True)]  # fmt: skip
    embedding = model.embed(items)
    return Queries(
        names,
        embedding.main,
        model.parts.target.spec,
        [None] * len(names),
        f"the model {model.parts.name}",
    )


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
    folder: Path, config: RetrieveConfig, index: Index, queries: Queries, result: SearchResult
) -> None:
    table = result.table(queries.names)
    with atomic_path(folder / "results.tsv") as temporary:
        table.to_csv(temporary, sep="\t", index=False, float_format="%.6f", na_rep="")
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    counts = (result.rows >= 0).sum(axis=1)
    starts = np.cumsum([0, *counts])
    drawn = [rows[a:b] for a, b in pairwise(starts[: MAX_QUERIES + 1])]
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
        ("Search", ", ".join([index.file.kind, index.file.metric])),
        ("Versions", ", ".join(f"{name} {v}" for name, v in package_versions().items())),
    ]
    write_text(
        folder / "report.html",
        render_retrieval(asked, drawn, n=len(index), provenance=provenance),
    )
