"""Whether an index is what it says, down to the last byte."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from phosphene.errors import InputError
from phosphene.pipelines.retrieval.key_encoder import projector_hash
from phosphene.pipelines.retrieval.rerank import similarity
from phosphene.pipelines.retrieval.sources import refuse_duplicates
from phosphene.storage import hash_file

if TYPE_CHECKING:
    import pandas as pd

    from phosphene.pipelines.retrieval.index import Index

__all__ = ["verify_index"]

SAMPLE = 200  # rows that have to find themselves


def verify_index(index: Index) -> pd.DataFrame:
    """Return what was checked; anything wrong is an :class:`InputError`."""
    import pandas as pd

    for known in index.file.files.values():
        if hash_file(index.folder / known.name) != known.sha256:
            raise _wrong(index, f"the file {known.name} was changed or damaged")
    table = index.metadata.all()
    if len(table) != len(index):
        raise _wrong(index, f"the metadata has {len(table)} rows for {len(index)} vectors")
    refuse_duplicates(table["id"], f"the index {index.folder}")
    if index.projector is not None and projector_hash(index.projector) != index.space.projector:
        raise _wrong(index, "the projection is another than index.json says")
    rows = np.sort(
        np.random.default_rng(0).choice(len(index), min(SAMPLE, len(index)), replace=False)
    )
    stored = index.vectors(rows)
    if not np.isfinite(stored).all():
        raise _wrong(index, "stored vectors are not finite")
    found = index.search(stored, 1)
    # Of pictures that are equal, the first is found.
    own = similarity(stored, stored[:, None], index.file.metric)[:, 0]
    share = float((found.scores[:, 0] >= own - 1e-5).mean())
    return pd.DataFrame(
        {
            "check": ["files", "rows", "identifiers", f"{len(rows)} rows find themselves"],
            "found": [str(len(index.file.files)), str(len(index)), "unique", f"{share:.3f}"],
        }
    )


def _wrong(index: Index, what: str) -> InputError:
    return InputError(
        f"{what} in the index {index.folder}",
        expected="what index.json says",
        remedy="copy the index again from its source, or build it again",
    )
