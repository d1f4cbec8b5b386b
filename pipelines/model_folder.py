"""Model folders: everything `reconstruct` needs, verified file by file when loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import phosphene
from phosphene.checkpoints.registry import model_folder
from phosphene.component import Component
from phosphene.data.preprocessing import Preprocessor
from phosphene.data.sensor_preprocessing import SensorPreprocessor, load_preprocessor
from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.brain.electric import ELECTRIC_ENCODERS
from phosphene.encoders.brain.published import PUBLISHED_ENCODERS
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError
from phosphene.names import Registry
from phosphene.pipelines.borrowed_parts import borrow, find_borrowed
from phosphene.pipelines.generators import GENERATORS
from phosphene.pipelines.generators.base import Generator
from phosphene.priors import PRIORS
from phosphene.priors.base import Prior
from phosphene.priors.detail import BorrowedDetail
from phosphene.priors.retrieval import RetrievalProjector
from phosphene.priors.structure import StructureBranch
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

__all__ = ["ModelParts", "load_component", "load_model", "save_model", "write_model"]

INDEX_NAME = "model_index.json"
BASELINES_NAME = "baselines.safetensors"
ENCODERS = BRAIN_ENCODERS.joined(ELECTRIC_ENCODERS, PUBLISHED_ENCODERS)
ROLES: dict[str, Registry] = {
    "encoder": ENCODERS,
    "target": STIMULUS_ENCODERS,
    "prior": PRIORS,
    "structure": ENCODERS,
    "structure_target": STIMULUS_ENCODERS,
    "branch": Registry("branch", {"latent": "phosphene.priors.structure:StructureBranch"}),
    "retrieval": Registry(
        "retrieval", {"discriminant": "phosphene.priors.retrieval:RetrievalProjector"}
    ),
    "control": BRAIN_ENCODERS,
    "control_target": STIMULUS_ENCODERS,
    "features": BRAIN_ENCODERS,
    "features_target": STIMULUS_ENCODERS,
    "detail": Registry("detail", {"borrowed": "phosphene.priors.detail:BorrowedDetail"}),
}

# Means and scales of their features are few numbers, and known by their hash.
WHOLE = ("features_target", "structure_target", "control_target")


@dataclass(eq=False)
class ModelParts:
    """What a model folder holds.

    Attributes
    ----------
    encoder : brain encoder
        Recording to the target's embedding.
    target : StimulusEncoder
    preprocessor : Preprocessor or SensorPreprocessor
    protocol : Protocol
    generator : Generator
    prior : Prior, optional
        Cleans predicted embeddings before they are rendered.
    structure : brain encoder, optional
        Recording to what the branch starts pictures from.
    structure_target : StimulusEncoder, optional
        What that is, with a decoder; latents of the generator where there is none.
    branch : StructureBranch, optional
        Goes with ``structure``.
    control : brain encoder, optional
        Recording to a map that a generator draws along, such as depth.
    control_target : StimulusEncoder, optional
        What the map is of; brings decoded values back to 0..1.
    retrieval : RetrievalProjector, optional
        Where predicted embeddings are compared with those of pictures.
    features : brain encoder, optional
        Recording to the features of a second network, ``features_target``.
    features_target : StimulusEncoder, optional
    detail : BorrowedDetail, optional
        Training pictures that lend fine detail, found by these features.
    baselines : dict of str to Tensor
        ``mean_picture`` (C, H, W) of the training trials, in 0..1: the plainest rival.
    settings : dict
        The configuration it was trained with.
    borrowed : dict of str to str
        Parts, by role, that lie in the model of that name and are not written again.
    name, hash : str
        Where it came from and its identity.
    """

    encoder: Any
    target: StimulusEncoder
    preprocessor: Preprocessor | SensorPreprocessor
    protocol: Protocol
    generator: Generator
    baselines: dict[str, Any]
    prior: Prior | None = None
    structure: Any = None
    structure_target: StimulusEncoder | None = None
    branch: StructureBranch | None = None
    retrieval: RetrievalProjector | None = None
    control: Any = None
    control_target: StimulusEncoder | None = None
    features: Any = None
    features_target: StimulusEncoder | None = None
    detail: BorrowedDetail | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    borrowed: dict[str, str] = field(default_factory=dict)
    name: str = ""
    hash: str = ""
    folder: Path | None = None

    @property
    def start(self) -> StimulusEncoder | None:
        """What the low-level branch predicts: a target of its own, or the generator's latents."""
        return self.generator.latents if self.structure_target is None else self.structure_target

    @property
    def components(self) -> dict[str, Any]:
        """The parts that have a folder of their own, by role."""
        found = {role: getattr(self, role) for role in ROLES}
        return {role: part for role, part in found.items() if part is not None}


def save_model(
    folder: str | os.PathLike[str], parts: ModelParts, metrics: dict[str, float]
) -> Path:
    """Write a model folder; it appears under its name only when complete."""
    target = Path(folder)
    with new_folder(target) as building:
        write_model(building, parts, metrics, name=target.name)
    return target


def write_model(
    building: Path,
    parts: ModelParts,
    metrics: dict[str, float],
    *,
    name: str,
    half: bool = False,
) -> None:
    """Write the files of a model into a folder, the index last.

    Parameters
    ----------
    building : Path
    parts : ModelParts
    metrics : dict of str to float
        Figures found on training or validation pictures.
    name : str
        Of the model.
    half : bool
        Whether weights are stored in half precision.
    """
    for role, part in parts.components.items():
        if role not in parts.borrowed:
            part.save_pretrained(building / role)
    if "generator" not in parts.borrowed:
        parts.generator.save(building / "generator")
    if half:
        _halve(building)
    parts.preprocessor.save(building)
    parts.protocol.save(building / "protocol.json")
    save_tensors(building / BASELINES_NAME, parts.baselines)
    write_json(building / "training.json", parts.settings)
    write_text(building / "README.md", _model_card(name, parts, metrics))
    # The card is for people, who may add to it.
    files = sorted(f for f in building.rglob("*") if f.is_file() and f.name != "README.md")
    ModelIndex(
        name=name,
        modality=parts.preprocessor.modality,  # type: ignore[arg-type]
        subjects=parts.preprocessor.subjects,
        components={role: part.name for role, part in parts.components.items()},
        generator=parts.generator.name,
        target=parts.target.spec,
        files={file.relative_to(building).as_posix(): hash_file(file) for file in files},
        created_with=f"phosphene {phosphene.__version__}",
        metrics=metrics,
        borrowed={role: borrow(model, role) for role, model in parts.borrowed.items()},
    ).save(building / INDEX_NAME)


def load_model(name: str) -> ModelParts:
    """Load a model by path, ``local-dir:PATH`` or ``hf-hub:ID``; every file is verified."""
    folder = model_folder(name)
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
    unknown = sorted(set(index.components) - set(ROLES))
    absent = sorted({"encoder", "target"} - set(index.components))
    if unknown or absent:
        raise InputError(
            f"{folder / INDEX_NAME} lists the parts {', '.join(sorted(index.components))}",
            expected=f"encoder and target at least, and others among {', '.join(ROLES)}",
            remedy="use the release that wrote it",
        )
    borrowed = {role: find_borrowed(part, role) for role, part in index.borrowed.items()}
    loaded = {
        role: load_component(borrowed.get(role, folder / role), registry)
        for role, registry in ROLES.items()
        if role in index.components
    }
    target: StimulusEncoder = loaded["target"]
    if target.spec.hash != index.target.hash:
        raise InputError(
            f"the target in {folder} has the hash {target.spec.hash}",
            expected=f"{index.target.hash}, as {INDEX_NAME} says",
            remedy="copy the model again from its source",
        )
    place = borrowed.get("generator", folder / "generator")
    generator: Generator = GENERATORS.get(index.generator).load(place, target)
    _check_branch(folder, loaded, generator)
    _check_detail(folder, loaded.get("detail"), loaded.get("features_target"))
    return ModelParts(
        **loaded,
        preprocessor=load_preprocessor(folder),
        protocol=Protocol.load(folder / "protocol.json"),
        generator=generator,
        baselines=load_tensors(folder / BASELINES_NAME),
        settings=read_json(folder / "training.json"),
        borrowed={role: part.model for role, part in index.borrowed.items()},
        name=index.name,
        hash=index.hash,
        folder=folder,
    )


def _halve(folder: Path) -> None:
    """Store the weights of every part but of second targets in half precision."""
    import torch

    for path in sorted(folder.rglob("*.safetensors")):
        if any(path.is_relative_to(folder / role) for role in WHOLE):
            continue
        tensors = {
            name: value.half() if value.dtype == torch.float32 else value
            for name, value in load_tensors(path).items()
        }
        save_tensors(path, tensors)


def _check_branch(folder: Path, loaded: dict[str, Any], generator: Generator) -> None:
    branch: StructureBranch | None = loaded.get("branch")
    start: StimulusEncoder | None = loaded.get("structure_target", generator.latents)
    found = "none" if start is None else start.spec.hash
    if branch is not None and branch.target != found:
        raise InputError(
            f"the low-level branch in {folder} predicts the target {branch.target}",
            expected=f"what pictures of {generator.name} start from here: {found}",
            remedy="copy the model again from its source",
        )


def _check_detail(
    folder: Path, detail: BorrowedDetail | None, target: StimulusEncoder | None
) -> None:
    found = "none" if target is None else target.spec.hash
    if detail is not None and detail.target != found:
        raise InputError(
            f"the detail in {folder} is found by the features {detail.target}",
            expected=f"those of the second target: {found}",
            remedy="copy the model again from its source",
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


def _beside(parts: ModelParts) -> str:
    prior = "" if parts.prior is None else f", cleaned by the prior `{parts.prior.name}`"
    if parts.detail is not None and parts.detail.blur > 0:
        prior += f", with detail finer than {parts.detail.blur:g} pixels of a training picture"
    if parts.branch is None:
        return prior
    if parts.branch.blend > 0:
        prior += f", with {parts.branch.blend:g} of the decoded latents mixed in"
    if parts.branch.strength == 1:
        return prior
    return f"{prior}, started from predicted latents at strength {parts.branch.strength:g}"


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
`{parts.generator.name}`{_beside(parts)}.

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
