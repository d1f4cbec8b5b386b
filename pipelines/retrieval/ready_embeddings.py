"""Embeddings that somebody computed: clip-retrieval's folders, or parquet with an embedding column.

Public sets (LAION among them) come in this form, so that they can be indexed without pictures.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from phosphene.data.readers.damage import reading
from phosphene.errors import InputError
from phosphene.pipelines.retrieval.sources import (
    METADATA_COLUMNS,
    EmbeddingSource,
    refuse_duplicates,
)
from phosphene.storage import hash_bytes, load_array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ReadyEmbeddings"]

Array = np.ndarray[Any, Any]
KIND = "a parquet file of embeddings or their metadata"
# The first of these columns that there is, is taken.
NAMES = {
    "id": ("id", "key", "image_path", "path", "url", "URL"),
    "path": ("path", "image_path", "url", "URL"),
    "caption": ("caption", "text", "TEXT"),
}
EMBEDDING = ("embedding", "image_embedding", "img_emb", "vector")


class ReadyEmbeddings(EmbeddingSource):
    """Ready embeddings in one of two layouts.

    ``FOLDER/img_emb/img_emb_0.npy`` with ``FOLDER/metadata/metadata_0.parquet``, matched by
    number; or parquet files with a column ``embedding`` of equally long lists.
    """

    def __init__(self, path: str) -> None:
        root = Path(path)
        self.name = str(root.resolve())
        if (root / "img_emb").is_dir():
            self.blocks = _numbered(root)
        else:
            files = [root] if root.is_file() else sorted(root.glob("*.parquet"))
            self.blocks = [(file, file) for file in files]
        shapes = [_shape(vectors) for vectors, _ in self.blocks]
        widths = sorted({shape[1] for shape in shapes})
        if len(widths) != 1 or widths[0] < 1:
            raise InputError(
                f"the embeddings in {root} have {' and '.join(map(str, widths)) or 'no'} numbers",
                expected="equally many in every row of every file",
                remedy="index each kind by itself",
            )
        self.dimension = widths[0]
        self.starts = np.cumsum([0, *(shape[0] for shape in shapes)])
        self.columns = _columns(self.blocks[0][1])
        self.refuse_bad_metadata(shapes)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def hash(self) -> str:
        lines = (
            f"{file.name}\t{file.stat().st_size}"
            for block in self.blocks
            for file in dict.fromkeys(block)
        )
        return hash_bytes("\n".join(lines).encode())[:16]

    def refuse_bad_metadata(self, shapes: list[tuple[int, int]]) -> None:
        """Compare numbers of rows, and look for identifiers that stand twice."""
        import pandas as pd

        ids = []
        for number, ((vectors, metadata), shape) in enumerate(
            zip(self.blocks, shapes, strict=True)
        ):
            table = self._metadata(number)
            if len(table) != shape[0]:
                raise InputError(
                    f"{metadata} has {len(table)} rows for {shape[0]} embeddings in {vectors.name}",
                    expected="one row per embedding",
                    remedy="copy both again from their source",
                )
            ids.append(table["id"])
        refuse_duplicates(pd.concat(ids, ignore_index=True), self.name)

    def read(self, start: int, stop: int) -> tuple[Array, pd.DataFrame]:
        import pandas as pd

        vectors, tables = [], []
        for number, (file, _) in enumerate(self.blocks):
            first, last = (int(self.starts[number + k]) for k in (0, 1))
            low, high = max(start, first) - first, min(stop, last) - first
            if low < high:
                vectors.append(_vectors(file)[low:high].astype(np.float32))
                tables.append(self._metadata(number).iloc[low:high])
                _refuse_not_finite(vectors[-1], file, low)
        return np.concatenate(vectors), pd.concat(tables, ignore_index=True)

    def _metadata(self, number: int) -> pd.DataFrame:
        import pandas as pd

        file = self.blocks[number][1]
        with reading(file, KIND):
            wanted = sorted(set(self.columns.values()))
            table = pd.read_parquet(file, columns=wanted)
        first = int(self.starts[number])
        found = {
            name: table[self.columns[name]].astype("string").fillna("").astype(str)
            if name in self.columns
            else pd.Series([""] * len(table), dtype=str)
            for name in METADATA_COLUMNS
        }
        if "id" not in self.columns:
            found["id"] = pd.Series([f"{first + row:09d}" for row in range(len(table))], dtype=str)
        return pd.DataFrame(found)


def _numbered(root: Path) -> list[tuple[Path, Path]]:
    """Pair arrays and metadata by the number in their names, in the order of numbers."""
    arrays = {_number(file): file for file in (root / "img_emb").glob("*.npy")}
    tables = {_number(file): file for file in (root / "metadata").glob("*.parquet")}
    if not arrays or set(arrays) != set(tables):
        odd = sorted(set(arrays) ^ set(tables))
        raise InputError(
            f"{root} has {len(arrays)} files in img_emb and {len(tables)} in metadata"
            + (f"; number {odd[0]} is alone" if odd else ""),
            expected="img_emb/img_emb_N.npy and metadata/metadata_N.parquet for every N",
            remedy="copy what is missing from its source",
        )
    return [(arrays[number], tables[number]) for number in sorted(arrays)]


def _number(file: Path) -> int:
    digits = re.findall(r"\d+", file.stem)
    if not digits:
        raise InputError(
            f"{file} has no number in its name", "img_emb_N.npy and metadata_N.parquet"
        )
    return int(digits[-1])


def _shape(file: Path) -> tuple[int, int]:
    if file.suffix == ".npy":
        array = load_array(file)
        if array.ndim != 2 or array.dtype.kind != "f":
            raise InputError(
                f"{file} holds {array.dtype} of shape {array.shape}",
                expected="float embeddings (n, d)",
            )
        return len(array), array.shape[1]
    import pyarrow.parquet as pq

    with reading(file, KIND):
        count = int(pq.ParquetFile(file).metadata.num_rows)
    return count, _vectors(file).shape[1] if count else 0


def _vectors(file: Path) -> Array:
    """Return embeddings (n, d); memory-mapped where they are an array of their own."""
    if file.suffix == ".npy":
        return load_array(file)
    import pyarrow.parquet as pq

    with reading(file, KIND):
        names = pq.ParquetFile(file).schema_arrow.names
        column = next((name for name in EMBEDDING if name in names), None)
        if column is None:
            raise InputError(
                f"{file} has the columns {', '.join(names)}",
                expected=f"one of {', '.join(EMBEDDING)} with lists of numbers",
                remedy="rename the column of embeddings",
            )
        values = pq.read_table(file, columns=[column])[column].combine_chunks()
        lengths = np.unique(values.value_lengths().to_numpy(zero_copy_only=False))
        if len(lengths) != 1 or not np.isfinite(lengths[0]):
            raise InputError(
                f"column {column!r} of {file} holds lists of different length",
                expected="equally many numbers in every row",
            )
        flat = values.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat, dtype=np.float32).reshape(len(values), int(lengths[0]))


def _columns(file: Path) -> dict[str, str]:
    import pyarrow.parquet as pq

    with reading(file, KIND):
        names = pq.ParquetFile(file).schema_arrow.names
    found = {
        role: next((name for name in choices if name in names), "")
        for role, choices in NAMES.items()
    }
    return {role: name for role, name in found.items() if name}


def _refuse_not_finite(values: Array, file: Path, first: int) -> None:
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise InputError(
            f"row {first + bad[0]} of {file} is not finite, and {len(bad) - 1} others near it",
            expected="numbers in every place",
            remedy="leave out rows with NaN or infinity, with their metadata",
        )
