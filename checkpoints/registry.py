"""Models that a name stands for: where they lie, under which licence, and their identity."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from phosphene.errors import AssetError, InputError, UsageError
from phosphene.names import resolve_folder
from phosphene.storage import hash_file

__all__ = ["KnownModel", "default_model", "known_models", "model_folder"]

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
