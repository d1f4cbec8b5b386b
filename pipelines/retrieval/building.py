"""A collection becomes an index: embedded part by part, resumable, on several processes.

Started by ``torchrun`` or ``accelerate launch``, process i of m embeds the parts i, i + m, and so
on; the first one assembles the index when all are done.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from phosphene.config import Config
from phosphene.data.pictures import Pictures
from phosphene.errors import InputError, UsageError, check_option
from phosphene.pipelines.retrieval.assembling import write_index
from phosphene.pipelines.retrieval.choice import choose
from phosphene.pipelines.retrieval.exact_vectors import as_stored
from phosphene.pipelines.retrieval.index import INDEX_NAME, Index
from phosphene.pipelines.retrieval.key_encoder import (
    GIVEN,
    KeyEncoder,
    absolute_name,
    open_encoder,
    unknown_space,
)
from phosphene.pipelines.retrieval.parts import Parts
from phosphene.pipelines.retrieval.sources import (
    METADATA_COLUMNS,
    EmbeddingSource,
    PictureSource,
    Source,
    open_source,
)
from phosphene.progress import progress
from phosphene.schemas import IndexPlan, SearchSpace
from phosphene.workfolder import WorkFolder

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "PLAN_NAME",
    "IndexConfig",
    "build_from",
    "build_index",
    "embed_parts",
    "make_plan",
    "same_plan",
    "space_of",
]

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
PLAN_NAME = "plan.json"
EMBEDDINGS_PER_PART = 1 << 16  # ready ones are only copied
METRICS = ("cosine", "dot", "euclidean")


class IndexConfig(Config):
    """Settings of ``phosphene index build``; flags are names for these keys."""

    pictures: str
    target: str
    output: str
    metric: Literal["cosine", "dot", "euclidean"] = "cosine"
    kind: Literal["auto", "flat", "hnsw", "ivfpq"] = "auto"
    memory: float | None = None  # gigabytes
    part_size: int = 512
    batch_size: int = 32
    device: Literal["auto", "cpu", "cuda"] = "auto"


def build_index(config: IndexConfig, *, resume: bool = False) -> Index:
    """Embed a collection and index it.

    Parameters
    ----------
    config : IndexConfig
    resume : bool
        Go on with an interrupted build of the same collection and target; finished parts are
        not computed again.
    """
    if config.part_size < 1 or config.batch_size < 1 or (config.memory or 1) <= 0:
        raise UsageError(
            f"parts of {config.part_size} in batches of {config.batch_size} with "
            f"{config.memory} GB",
            expected="numbers above zero",
        )
    if _processes(config).is_main_process:  # the others would find its work begun
        WorkFolder.find(config.output, last=INDEX_NAME, resume=resume)
    source = open_source(config.pictures)
    encoder, space = space_of(config.target, source, device=config.device)
    return build_from(source, encoder, space, config, resume=resume)


def build_from(
    source: Source,
    encoder: KeyEncoder | None,
    space: SearchSpace,
    config: IndexConfig,
    *,
    resume: bool = False,
    projector: Any = None,
) -> Index:
    """Build from an opened collection; ``projector`` where no encoder brings one."""
    plan = make_plan(source, space, config)
    choose(len(source), space.dimension, kind=config.kind)  # refuses before the long work
    state = _processes(config)
    if state.is_main_process:
        work = WorkFolder.open(config.output, last=INDEX_NAME, resume=resume)
        if not work.finished:
            same_plan(work.partial / PLAN_NAME, plan, work.root)
    state.wait_for_everyone()
    work = WorkFolder(Path(config.output), INDEX_NAME)
    if (work.root / INDEX_NAME).is_file():
        return _finished(work.root, plan)
    if not (work.partial / INDEX_NAME).is_file():
        parts = Parts(work.partial / "parts", len(source), plan.part_size)
        mine = range(state.process_index, len(parts), state.num_processes)
        embed_parts(source, encoder, parts, mine, config)
        state.wait_for_everyone()
        if state.is_main_process:
            _assemble(work.partial, parts, plan, space, encoder, config, projector)
    if state.is_main_process:
        shutil.rmtree(work.partial / "parts", ignore_errors=True)
        (work.partial / PLAN_NAME).unlink(missing_ok=True)
        work.finish()
    state.wait_for_everyone()
    return Index.open(work.root)


def space_of(
    name: str, source: Source, *, device: str = "auto"
) -> tuple[KeyEncoder | None, SearchSpace]:
    """Open the target for a collection, and say which space its keys live in.

    Ready embeddings are taken for those of the target; their number of dimensions has to fit.
    """
    from phosphene.pipelines.devices import choose_device

    if name.startswith(GIVEN) and isinstance(source, EmbeddingSource):
        if name == GIVEN:
            raise UsageError("`target` is 'given:' without a name", expected="given:NAME")
        return None, unknown_space(name, source.dimension)
    encoder = open_encoder(name, device=choose_device(device))
    if isinstance(source, EmbeddingSource):
        size = int(np.prod(encoder.space.target.shape))
        if source.dimension != size:
            raise InputError(
                f"the embeddings in {source.name} have {source.dimension} numbers",
                expected=f"{size}, as the target {encoder.space.describe()} has",
                remedy="name the target they were made with, or --target given:NAME",
            )
    return encoder, encoder.space


def make_plan(source: Source, space: SearchSpace, config: IndexConfig) -> IndexPlan:
    """Return what a resumed build has to agree with."""
    ready = isinstance(source, EmbeddingSource)
    return IndexPlan(
        space=space,
        metric=config.metric,
        kind=config.kind,
        source=source.name,
        source_hash=source.hash,
        n_items=len(source),
        part_size=EMBEDDINGS_PER_PART if ready else config.part_size,
    )


def same_plan(path: Path, plan: IndexPlan, root: Path) -> None:
    """Store the plan of a new build; refuse to resume one with another plan."""
    if not path.is_file():
        plan.save(path)
        return
    before = IndexPlan.load(path)
    if before == plan:
        return
    changed = [
        name for name in IndexPlan.model_fields if getattr(before, name) != getattr(plan, name)
    ]
    raise UsageError(
        f"the interrupted build in {root} has another {' and '.join(changed)}",
        expected="the same pictures, target and settings as before",
        remedy="repeat the first command with --resume, or choose another --output",
    )


def embed_parts(
    source: Source, encoder: KeyEncoder | None, parts: Parts, mine: range, config: IndexConfig
) -> None:
    """Embed the parts of this process that are not finished."""
    missing = [part for part in mine if not parts.finished(part)]
    for part in progress(missing, label="embedding", total=len(missing)):
        rows = parts.rows(part)
        if isinstance(source, PictureSource) and encoder is not None:
            keys, items, skipped = _embed(source, encoder, rows, config.batch_size)
            stored = as_stored(keys, config.metric, source=source.name) if len(keys) else keys
            parts.write(part, stored.astype(np.float16), items, skipped)
        elif isinstance(source, EmbeddingSource):
            values, items = source.read(rows.start, rows.stop)
            if encoder is not None and encoder.projector is not None:
                from phosphene.pipelines.retrieval.key_encoder import keys_of

                values = keys_of(values, encoder.projector)
            stored = as_stored(values, config.metric, source=source.name)
            parts.write(part, stored, items, _table([], ("id", "path", "reason")))


def _embed(
    source: PictureSource, encoder: KeyEncoder, rows: range, batch_size: int
) -> tuple[Array, pd.DataFrame, pd.DataFrame]:
    """Return keys of the readable pictures among rows, their items, and what was skipped."""
    items, skipped, keys = [], [], [np.empty((0, encoder.space.dimension), dtype=np.float32)]
    batch: list[Pictures] = []

    def flush() -> None:
        if batch:
            keys.append(encoder.pictures(batch))
            batch.clear()

    for row in rows:
        item = source.item(row)
        try:
            batch.append(source.read(row))
        except InputError as error:
            logger.warning("skipped: %s", error.found)
            skipped.append((item.id, item.path, error.found))
            continue
        items.append((item.id, item.path, item.caption))
        if len(batch) == batch_size:
            flush()
    flush()
    return (
        np.concatenate(keys),
        _table(items, METADATA_COLUMNS),
        _table(skipped, ("id", "path", "reason")),
    )


def _table(rows: Sequence[tuple[str, ...]], columns: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns), dtype=str)


def _assemble(
    folder: Path,
    parts: Parts,
    plan: IndexPlan,
    space: SearchSpace,
    encoder: KeyEncoder | None,
    config: IndexConfig,
    projector: Any,
) -> None:
    items, skipped = parts.items(), parts.skipped()
    if not len(items):
        raise InputError(
            f"none of the {len(skipped)} pictures in {plan.source} could be read; the first: "
            f"{skipped['reason'].iloc[0]}",
            expected="PNG or JPEG files",
            remedy="look at one of them in a viewer",
        )
    memory = None if config.memory is None else config.memory * 1e9
    choice = choose(len(items), space.dimension, kind=config.kind, memory=memory)
    if encoder is not None and projector is None:
        projector = encoder.projector
    write_index(
        folder,
        target_name=absolute_name(config.target),
        space=space,
        projector=projector,
        metric=check_option("metric", config.metric, METRICS),
        choice=choice,
        automatic=config.kind == "auto",
        items=items,
        skipped=skipped,
        sources=[plan.source],
        blocks=parts.vectors,
        additions=[plan.hash],
    )


def _finished(root: Path, plan: IndexPlan) -> Index:
    index = Index.open(root)
    if plan.hash not in index.file.additions:
        raise UsageError(
            f"the index {root} is complete, but was built of other pictures or settings",
            expected="the same build as before",
            remedy="choose another --output, or use `phosphene index add`",
        )
    return index


def _processes(config: IndexConfig) -> Any:
    import torch
    from accelerate import PartialState

    # Without a GPU, processes know of one another only where the CPU is asked for.
    return PartialState(cpu=config.device == "cpu" or not torch.cuda.is_available())
