"""Model folders: everything `reconstruct` needs, verified file by file when loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import phosphene
from phosphene.component import Component
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError
from phosphene.names import Registry, resolve_folder
from phosphene.pipelines.generators import GENERATORS
from phosphene.schemas import ComponentFile, ModelIndex, Protocol
from phosphene.storage import (
    hash_file,
    load_tensors,
    new_folder,
    read_json,
    save_tensors,
    write_json,
    write_text,
)

__all__ = ["ModelParts", "load_component", "load_model", "save_model"]

INDEX_NAME = "model_index.json"
BASELINES_NAME = "baselines.safetensors"


@dataclass(eq=False)
class ModelParts:
    """What a model folder holds.

    Attributes
    ----------
    encoder : brain encoder
    target : StimulusEncoder
    preprocessor : Preprocessor
    protocol : Protocol
    generator : str
        Name of the default generator.
    baselines : dict of str to Tensor
        ``mean_picture`` (C, H, W) of the training trials, in 0..1: the plainest rival.
    settings : dict
        The configuration it was trained with.
    name, hash : str
        Where it came from and its identity.
    """

    encoder: Any
    target: StimulusEncoder
    preprocessor: Preprocessor
    protocol: Protocol
    generator: str
    baselines: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    hash: str = ""


def save_model(
    folder: str | os.PathLike[str], parts: ModelParts, metrics: dict[str, float]
) -> Path:
    """Write a model folder; it appears under its name only when complete."""
    target = Path(folder)
    with new_folder(target) as building:
        parts.encoder.save_pretrained(building / "encoder")
        parts.target.save_pretrained(building / "target")
        parts.preprocessor.save(building)
        parts.protocol.save(building / "protocol.json")
        save_tensors(building / BASELINES_NAME, parts.baselines)
        write_json(building / "training.json", parts.settings)
        write_text(building / "README.md", _model_card(target.name, parts, metrics))
        # The card is for people, who may add to it.
        files = sorted(f for f in building.rglob("*") if f.is_file() and f.name != "README.md")
        ModelIndex(
            name=target.name,
            modality=parts.preprocessor.modality,  # type: ignore[arg-type]
            subjects=parts.preprocessor.subjects,
            components={"encoder": parts.encoder.name, "target": parts.target.name},
            generator=parts.generator,
            target=parts.target.spec,
            files={file.relative_to(building).as_posix(): hash_file(file) for file in files},
            created_with=f"phosphene {phosphene.__version__}",
            metrics=metrics,
        ).save(building / INDEX_NAME)
    return target


def load_model(name: str) -> ModelParts:
    """Load a model by path, ``local-dir:PATH`` or ``hf-hub:ID``; every file is verified."""
    folder = resolve_folder(name)
    if not (folder / INDEX_NAME).is_file():
        raise InputError(
            f"{folder} is not a model folder: it has no {INDEX_NAME}",
            expected="a folder written by `phosphene train`",
            remedy="check the path; an interrupted training leaves no model folder",
        )
    index = ModelIndex.load(folder / INDEX_NAME)
    _verify(folder, index)
    if index.generator not in GENERATORS.names():
        raise InputError(
            f"{folder / INDEX_NAME} names the generator {index.generator!r}",
            expected=f"one of {', '.join(GENERATORS.names())}",
            remedy="use the release that wrote it, or copy the model again from its source",
        )
    encoder = load_component(folder / "encoder", BRAIN_ENCODERS)
    target = load_component(folder / "target", STIMULUS_ENCODERS)
    if target.spec.hash != index.target.hash:
        raise InputError(
            f"the target in {folder} has the hash {target.spec.hash}",
            expected=f"{index.target.hash}, as {INDEX_NAME} says",
            remedy="copy the model again from its source",
        )
    return ModelParts(
        encoder=encoder,
        target=target,
        preprocessor=Preprocessor.load(folder),
        protocol=Protocol.load(folder / "protocol.json"),
        generator=index.generator,
        baselines=load_tensors(folder / BASELINES_NAME),
        settings=read_json(folder / "training.json"),
        name=index.name,
        hash=index.hash,
    )


def load_component(folder: Path, registry: Registry) -> Any:
    """Load one component of any class that the registry knows."""
    stored = ComponentFile.load(folder / "config.json")
    found: type[Component] = registry.get(stored.name)
    return found.from_pretrained(folder)


def _verify(folder: Path, index: ModelIndex) -> None:
    for name, expected in index.files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(
                f"the model folder {folder} has lost the file {name}",
                expected="every file that model_index.json lists",
                remedy="copy the model again from its source",
            )
        if hash_file(path) != expected:
            raise InputError(
                f"the file {name} of the model folder {folder} was changed or damaged",
                expected=f"content with the SHA-256 {expected[:16]}...",
                remedy="copy the model again from its source, or train it again",
            )


def _model_card(name: str, parts: ModelParts, metrics: dict[str, float]) -> str:
    protocol = parts.protocol
    trials = ", ".join(f"sub-{s}: {n} trials" for s, n in protocol.n_train_trials.items())
    numbers = "\n".join(f"| {key} | {value:.4f} |" for key, value in metrics.items())
    shape = " x ".join(map(str, parts.target.spec.shape))
    return f"""---
library_name: phosphene
tags: [brain-decoding, {parts.preprocessor.modality}]
---
# {name}

Brain encoder `{parts.encoder.name}` to the target `{parts.target.name}` ({shape}), rendered by
`{parts.generator}`.

| | |
|---|---|
| dataset | {protocol.dataset} ({protocol.dataset_hash}) |
| trained on | {trials} |
| normalisation | {protocol.normalisation}, fitted on {protocol.normalisation_fitted_on} |
| repetitions in training | {protocol.averaging_train} |
| chosen by | {protocol.selection_rule} |
| transductive | {"yes" if protocol.transductive else "no"} |

Found on training pictures alone (left-out pictures, never test ones):

| | |
|---|---|
{numbers}

```
reconstruct --subject {parts.preprocessor.subjects[0]} --input SCAN --model {name} --output OUT
```
"""
