"""Models that a name stands for: where they lie, under which licence, and their identity.

``models.yaml`` lists whole decoders; its entries are written by the recipes that train them.
``generators.yaml`` and ``video_generators.yaml`` list published generators, which are facts that
people wrote down.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from phosphene.errors import AssetError, InputError, UsageError
from phosphene.names import resolve_folder
from phosphene.storage import hash_file

__all__ = [
    "ExpectedEmbedding",
    "GeneratorPart",
    "KnownGenerator",
    "KnownModel",
    "default_model",
    "embedded_video_generators",
    "find_generator",
    "find_video_generator",
    "known_generators",
    "known_models",
    "known_video_generators",
    "model_folder",
]

HERE = Path(__file__).parent


class KnownModel(BaseModel):
    """One entry of ``models.yaml``.

    Attributes
    ----------
    modality : str
    source : str
        ``package:FOLDER`` beside this file, ``hf-hub:ID`` or ``local-dir:PATH``.
    licence, description : str
    sha256 : str
        Of ``model_index.json``, which in turn has that of every other file.
    megabytes : float
        Size of all files.
    default : bool
        Whether it is used for its modality when no model is named.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    modality: str
    source: str
    licence: str
    description: str
    sha256: str
    megabytes: float
    default: bool = False


class GeneratorPart(BaseModel):
    """One repository of which a published generator takes files.

    Attributes
    ----------
    repo : str
        On the hub.
    files : list of str
        Patterns of what is needed; of weights in two precisions the smaller ones are taken.
    megabytes : float
    licence : str
    kind : {"model", "dataset"}
        Of the repository.
    single_file : str, optional
        What is published: one file, from which ``files`` are made here.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    repo: str
    files: list[str]
    megabytes: float
    licence: str
    kind: Literal["model", "dataset"] = "model"
    single_file: str | None = None


class ExpectedEmbedding(BaseModel):
    """What a published generator takes as condition.

    Attributes
    ----------
    model, weights : str
        In open_clip's names.
    output : {"pooled", "tokens", "patches", "projected"}
        As for :class:`~phosphene.encoders.stimulus.clip_vision.ClipVisionTarget`.
    size, tokens : int
        Numbers per vector, and of vectors.
    colours : {"clip", "mindeye2"}
        How pictures were normalised.
    width, layers : int
        Of the picture tower; another tower gives another embedding, whatever its size.
    encoder : str
        Where this picture encoder is published.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    model: str
    weights: str
    output: str
    size: int
    tokens: int = 1
    width: int
    layers: int
    encoder: str
    colours: Literal["clip", "mindeye2"] = "clip"


class KnownGenerator(BaseModel):
    """One entry of ``generators.yaml``; without an embedding it takes that of another generator."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    generator: str
    description: str
    parts: dict[str, GeneratorPart]
    embedding: ExpectedEmbedding | None = None
    options: dict[str, Any]
    memory_gb: float
    quirks: list[str]
    unconfirmed: list[str] = Field(default_factory=list)
    default: bool = False

    @property
    def megabytes(self) -> float:
        """Size of everything that is fetched."""
        return sum(part.megabytes for part in self.parts.values())


@cache
def known_generators() -> dict[str, KnownGenerator]:
    """Return the entries of ``generators.yaml`` by name."""
    return _entries("generators.yaml")


@cache
def known_video_generators() -> dict[str, KnownGenerator]:
    """Return the entries of ``video_generators.yaml`` by name."""
    return _entries("video_generators.yaml")


def embedded_video_generators() -> dict[str, tuple[float, str]]:
    """Return megabytes and description of the video generators that come with the package."""
    files = (HERE / "weights" / "default_video").rglob("*")
    size = sum(file.stat().st_size for file in files if file.is_file())
    return {
        "keyframe_flow": (0.0, "moves the keyframe by decoded flow; no network of its own"),
        "default_video": (
            size / 1e6,
            "layers over time for the picture generator of virtual-fmri, trained on rendered "
            "moving scenes; never human data",
        ),
    }


def _entries(file: str) -> dict[str, KnownGenerator]:
    import yaml

    content = yaml.safe_load((HERE / file).read_text(encoding="utf-8"))
    return {name: KnownGenerator.model_validate(entry) for name, entry in content.items()}


def find_generator(name: str) -> tuple[str, KnownGenerator] | None:
    """Return name and entry of a published generator; its kind stands for the default entry."""
    return _find(name, known_generators())


def find_video_generator(name: str) -> tuple[str, KnownGenerator] | None:
    """Return name and entry of a published video generator; its kind stands for the default one."""
    return _find(name, known_video_generators())


def _find(name: str, known: dict[str, KnownGenerator]) -> tuple[str, KnownGenerator] | None:
    if name in known:
        return name, known[name]
    return next(
        ((key, entry) for key, entry in known.items() if entry.default and entry.generator == name),
        None,
    )


@cache
def known_models() -> dict[str, KnownModel]:
    """Return the entries of ``models.yaml`` by name."""
    import yaml

    content = yaml.safe_load((HERE / "models.yaml").read_text(encoding="utf-8")) or {}
    return {name: KnownModel.model_validate(entry) for name, entry in content.items()}


def default_model(modality: str) -> str:
    """Return the name of the model that is used where none is named."""
    for name, entry in known_models().items():
        if entry.default and entry.modality == modality:
            return name
    raise UsageError(
        f"no model is named, and none comes with the package for {modality}",
        expected="--model with a known name, a folder, local-dir:PATH or hf-hub:ID",
        remedy="train one with `phosphene train`",
    )


def model_folder(name: str) -> Path:
    """Return the local folder of a known model, or what :func:`resolve_folder` finds.

    Raises
    ------
    AssetError
        If it is not there.
    InputError
        If a known model is not the one the registry describes.
    """
    entry = known_models().get(name)
    if entry is None:
        return resolve_folder(name)
    kind, _, place = entry.source.partition(":")
    folder = HERE / place if kind == "package" else resolve_folder(entry.source)
    index = folder / "model_index.json"
    if not index.is_file():
        raise AssetError(
            f"the files of the model {name} are not at {folder}",
            expected=f"{entry.megabytes:.0f} MB of weights that come with the package",
            remedy="install the package again, or train them: "
            "python -m phosphene.checkpoints.recipes.virtual fmri",
        )
    if hash_file(index) != entry.sha256:
        raise InputError(
            f"the model {name} at {folder} has another identity than the registry says",
            expected=f"a model_index.json with the SHA-256 {entry.sha256[:16]}...",
            remedy="install the package again",
        )
    return folder
