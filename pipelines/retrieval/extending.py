"""More pictures for an index, and several indexes as one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.retrieval.assembling import (
    build_structure,
    describe_file,
    write_items,
)
from phosphene.pipelines.retrieval.building import (
    PLAN_NAME,
    IndexConfig,
    build_from,
    embed_parts,
    make_plan,
    same_plan,
    space_of,
)
from phosphene.pipelines.retrieval.choice import Choice, choose
from phosphene.pipelines.retrieval.exact_vectors import write_vectors
from phosphene.pipelines.retrieval.faiss_index import FaissIndex
from phosphene.pipelines.retrieval.index import INDEX_NAME, Index
from phosphene.pipelines.retrieval.parts import Parts
from phosphene.pipelines.retrieval.sources import EmbeddingSource, open_source, refuse_duplicates
from phosphene.schemas import IndexedFile
from phosphene.storage import hash_bytes

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["IndexSource", "add_pictures", "merge_indexes"]

Array = np.ndarray[Any, Any]
ADDING = ".adding"
ROWS = 1 << 14


class IndexSource(EmbeddingSource):
    """The keys of finished indexes, one after another."""

    def __init__(self, indexes: Sequence[Index]) -> None:
        self.indexes = list(indexes)
        self.name = " + ".join(str(index.folder.resolve()) for index in indexes)
        self.dimension = indexes[0].space.dimension
        self.starts = np.cumsum([0, *map(len, indexes)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def hash(self) -> str:
        return hash_bytes(" ".join(index.file.hash for index in self.indexes).encode())[:16]

    def read(self, start: int, stop: int) -> tuple[Array, pd.DataFrame]:
        import pandas as pd

        vectors, tables = [], []
        for index, first in zip(self.indexes, self.starts, strict=False):
            low, high = max(start - int(first), 0), min(stop - int(first), len(index))
            if low < high:
                rows = np.arange(low, high)
                vectors.append(index.vectors(rows))
                tables.append(index.metadata.between(low, high))
        return np.concatenate(vectors), pd.concat(tables, ignore_index=True)


def merge_indexes(
    folders: Sequence[str | os.PathLike[str]],
    output: str | os.PathLike[str],
    *,
    resume: bool = False,
    kind: str = "auto",
    memory: float | None = None,
) -> Index:
    """Write one index of several; nothing is embedded again.

    Raises
    ------
    InputError
        If they are not all of the same space and metric, or share identifiers.
    """
    if len(folders) < 2:
        raise UsageError(
            f"{len(folders)} index to merge",
            expected="two at least",
            remedy="name the others behind the first",
        )
    indexes = [Index.open(folder) for folder in folders]
    first = indexes[0]
    for other in indexes[1:]:
        if (other.space, other.file.metric) != (first.space, first.file.metric):
            raise InputError(
                f"the index {other.folder} in the space of {other.space.describe()} "
                f"({other.file.metric}) beside {first.folder} in that of "
                f"{first.space.describe()} ({first.file.metric})",
                expected="indexes of one space and one metric",
                remedy="build one of them again with the target of the other",
            )
    source = IndexSource(indexes)
    tables = (index.metadata.all() for index in indexes)
    _refuse_shared(list(tables), source.name)
    config = IndexConfig(
        pictures=source.name,
        target=first.file.target_name,
        output=os.fspath(output),
        metric=first.file.metric,
        kind=kind,  # type: ignore[arg-type]
        memory=memory,
    )
    return build_from(source, None, first.space, config, resume=resume, projector=first.projector)


def add_pictures(
    folder: str | os.PathLike[str],
    pictures: str,
    *,
    resume: bool = False,
    part_size: int = 512,
    batch_size: int = 32,
    memory: float | None = None,
    device: str = "auto",
) -> Index:
    """Embed more pictures and add them to an index, which stays usable until they are in.

    Parameters
    ----------
    folder : path
        The index; its target is opened by the name it was built with.
    pictures : str
        As for building.
    resume : bool
        Go on with an addition that was interrupted.
    """
    index = Index.open(folder)
    source = open_source(pictures)
    encoder, space = space_of(index.file.target_name, source, device=device)
    if space != index.space:
        raise InputError(
            f"the target {index.file.target_name} is {space.describe()} now",
            expected=f"{index.space.describe()}, as the index {folder} was built with",
            remedy="install the same weights, or build the index again",
        )
    config = IndexConfig(
        pictures=pictures,
        target=index.file.target_name,
        output=os.fspath(folder),
        metric=index.file.metric,
        part_size=part_size,
        batch_size=batch_size,
    )
    plan = make_plan(source, space, config)
    work = index.folder / ADDING
    if plan.hash in index.file.additions:
        shutil.rmtree(work, ignore_errors=True)  # killed while clearing up
        raise UsageError(
            f"{source.name} is in the index {folder} already",
            expected="other pictures",
            remedy="nothing is to be done",
        )
    if work.is_dir() and not resume:
        raise UsageError(
            f"{folder} holds an interrupted addition",
            expected="--resume with the same pictures",
            remedy=f"go on with --resume, or remove {work}",
        )
    same_plan(work / PLAN_NAME, plan, index.folder)
    parts = Parts(work / "parts", len(source), plan.part_size)
    embed_parts(source, encoder, parts, range(len(parts)), config)
    _put_in(index, parts, plan.hash, source.name, memory)
    shutil.rmtree(work, ignore_errors=True)
    return Index.open(folder)


def _put_in(index: Index, parts: Parts, plan: str, source: str, memory: float | None) -> None:
    """Write new files beside the old ones, then ``index.json``, then remove what is replaced."""
    import pandas as pd

    items, skipped = parts.items(), parts.skipped()
    before = index.metadata.all()
    _refuse_shared([before, items], str(index.folder))
    table = pd.concat([before, items], ignore_index=True)
    budget = None if memory is None else memory * 1e9
    wanted = "auto" if index.file.automatic else index.file.kind
    choice = choose(len(table), index.space.dimension, kind=wanted, memory=budget)
    number = len(index.file.additions)
    files = dict(index.file.files)
    if choice.kind == index.file.kind:
        choice = index.choice
        files |= _extended(index, parts, choice, number)
    else:  # more than this structure is meant for
        files |= build_structure(
            index.folder,
            choice,
            index.space,
            index.file.metric,
            len(table),
            lambda: _all_vectors(index, parts),
            stem=f"vectors-{number:04d}",
        )
    files["metadata"] = write_items(index.folder, table, stem=f"metadata-{number:04d}")
    if len(skipped):
        path = index.folder / f"skipped-{number:04d}.tsv"
        skipped.to_csv(path, sep="\t", index=False)
        files[path.stem] = describe_file(index.folder, path.name)
    index.file.model_copy(
        update={
            "kind": choice.kind,
            "parameters": choice.parameters,
            "n": len(table),
            "n_skipped": index.file.n_skipped + len(skipped),
            "sources": [*index.file.sources, source],
            "files": files,
            "additions": [*index.file.additions, plan],
        }
    ).save(index.folder / INDEX_NAME)
    kept = {known.name for known in files.values()}
    for known in index.file.files.values():
        if known.name not in kept:
            (index.folder / known.name).unlink(missing_ok=True)


def _extended(index: Index, parts: Parts, choice: Choice, number: int) -> dict[str, IndexedFile]:
    """Add to the structure that is there; IVF-PQ keeps what it learned from its first vectors."""
    old = index.folder / index.file.files["vectors"].name
    structure = FaissIndex.open(old, choice, index.file.metric, memory_map=False)
    for block in parts.vectors():
        structure.add(block)
    name = f"vectors-{number:04d}.faiss"
    structure.save(index.folder / name)
    found = {"vectors": describe_file(index.folder, name)}
    if choice.kind == "ivfpq":
        first = sum(role.startswith("exact-") for role in index.file.files)
        for exact in write_vectors(index.folder, parts.vectors(), first=first):
            found[exact.removesuffix(".npy")] = describe_file(index.folder, exact)
    return found


def _all_vectors(index: Index, parts: Parts) -> Iterator[Array]:
    for start in range(0, len(index), ROWS):
        rows = np.arange(start, min(start + ROWS, len(index)))
        yield index.vectors(rows).astype(np.float16)
    yield from parts.vectors()


def _refuse_shared(tables: list[pd.DataFrame], source: str) -> None:
    import pandas as pd

    refuse_duplicates(pd.concat([table["id"] for table in tables], ignore_index=True), source)
