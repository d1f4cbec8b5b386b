"""What every family of published weights says of itself, and how its parts become a model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from phosphene.checkpoints.converters.key_map import Matched
from phosphene.checkpoints.converters.reading import read_content
from phosphene.checkpoints.converters.state import State, state_of
from phosphene.component import Component, check_tensors
from phosphene.errors import InputError, UsageError, check_option
from phosphene.pipelines.model_folder import ModelParts
from phosphene.schemas import Protocol

__all__ = ["Converted", "Family", "Request", "filled", "published_protocol"]

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Request:
    """What a user asks for.

    Attributes
    ----------
    path : Path
        Of the file.
    subjects : tuple of str
        Labels, in the order of the file's own subjects.
    settings : dict
        From ``--set``.
    beside : dict of str to str
        Further files by what they are, from ``--with``.
    corrected : bool
        Whether the equivalent form without published defects is wanted.
    """

    path: Path
    subjects: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)
    corrected: bool = False

    @property
    def subject(self) -> str:
        """The only subject.

        Raises
        ------
        UsageError
            If several are named.
        """
        if len(self.subjects) != 1:
            raise UsageError(
                f"{len(self.subjects)} subjects for weights of one",
                expected="--subject once",
                remedy="leave the other labels away",
            )
        return self.subjects[0]

    def file(self, name: str, *candidates: Path) -> Path | None:
        """Return a further file: as named with ``--with``, or one that lies beside the first."""
        if name in self.beside:
            return Path(self.beside[name])
        return next((one for one in candidates if one.is_file()), None)


@dataclass
class Converted:
    """The parts of a model, and what became of the file.

    Attributes
    ----------
    parts : ModelParts
    sizes : dict of str to str
        What was found, in words.
    dropped : dict of str to str
        Published tensors that were left out, each with the reason.
    quirks : list of str
        What of the original computation is kept although it is a defect.
    notes : list of str
        What the user should know.
    """

    parts: ModelParts
    sizes: dict[str, str]
    dropped: dict[str, str]
    quirks: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Family(ABC):
    """One family of published weights.

    Attributes
    ----------
    name : str
        As ``--from`` has it.
    title, paper, source, licence : str
        For people; the licence is that of the weights, as far as it is known.
    marks : tuple of str
        Names of tensors, all of which only this family has.
    settings : dict of str to object
        What ``--set`` can change, and the defaults.
    files : dict of str to str
        Further files that ``--with`` can name, and what they are.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    paper: ClassVar[str]
    source: ClassVar[str]
    licence: ClassVar[str]
    marks: ClassVar[tuple[str, ...]] = ()
    settings: ClassVar[dict[str, Any]] = {}
    files: ClassVar[dict[str, str]] = {}
    correctable: ClassVar[bool] = False

    def recognises(self, shapes: Shapes) -> bool:
        """Return whether names and shapes are those of this family."""
        return bool(self.marks) and all(mark in shapes for mark in self.marks)

    def suits(self, shapes: Shapes, path: Path) -> bool:
        """Return whether files of this family have such a name, where tensors tell too little."""
        return True

    @abstractmethod
    def convert(self, state: State, request: Request) -> Converted:
        """Make the parts of a model.

        Raises
        ------
        InputError
            If tensors are missing, left over or misshapen.
        """

    def write(self, parts: ModelParts) -> Any:
        """Return what the originals read, for ``torch.save``."""
        raise UsageError(
            f"writing files of {self.name}",
            expected="--to mindeye2 or --to atm",
            remedy="name one of them",
        )

    def setting(self, request: Request, name: str) -> Any:
        """Return a setting of the request, or its default."""
        return request.settings.get(name, self.settings[name])

    def check(self, request: Request) -> None:
        """Refuse settings, files and forms that this family does not have."""
        for key in request.settings:
            check_option("set", key, self.settings)
        for key in request.beside:
            check_option("with", key, self.files)
        if request.corrected and not self.correctable:
            raise UsageError(
                f"a corrected form of {self.name}",
                expected="a family with defects that can be taken out without changing outputs",
                remedy="leave --corrected out",
            )


def filled(kind: type[Component], config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    """Return a component that holds these tensors, all of its own and no others.

    Nothing is allocated for it: the tensors of the file become its own. Half-precision numbers
    become single ones, as every computation here expects.
    """
    with torch.device("meta"):
        made: Any = kind(**config)
    own: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, value in tensors.items():
        kept = value.float() if value.is_floating_point() else value
        kept = kept.contiguous()
        # A sum is finite where all numbers are, but for numbers that no network has.
        if not kept.is_meta and not bool(torch.isfinite(kept.sum())):
            raise InputError(
                f"the tensor {name} holds numbers that are not finite",
                expected="weights of a training that ended well",
                remedy="get the file from its source, or an earlier checkpoint of the training",
            )
        # Files repeat tensors under several names; here each has memory of its own.
        if kept.numel() and kept.data_ptr() in seen:
            kept = kept.clone()
        seen.add(kept.data_ptr())
        own[name] = kept
    check_tensors(made.state_dict(), own, owner=f"{kind.kind} {kind.name}")
    made.load_state_dict(own, strict=True, assign=True)
    return made


def tensors_of(path: Path) -> State:
    """Return the tensors of a further file."""
    return state_of(read_content(path))


def under(matched: Matched, prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names here begin with a prefix, without it."""
    return {
        name.removeprefix(prefix): value
        for name, value in matched.tensors.items()
        if name.startswith(prefix)
    }


def published_protocol(
    *,
    dataset: str,
    subjects: Sequence[str],
    mask: str,
    normalisation: str,
    fitted_on: str,
    averaging: tuple[str, str],
    selection: str,
    validation: str = "as published: see the paper",
) -> Protocol:
    """Return the protocol of published weights, as far as it is known.

    Parameters
    ----------
    averaging : tuple of 2 str
        Of repetitions, in training and at test.
    """
    return Protocol(
        dataset=dataset,
        dataset_hash="not known: trained elsewhere",
        subjects=list(subjects),
        mask=mask,
        normalisation=normalisation,
        normalisation_fitted_on=fitted_on,
        averaging_train=averaging[0],
        averaging_test=averaging[1],
        n_train_trials={},
        train_stimulus_ids=[],
        train_picture_hashes=[],
        validation_rule=validation,
        selection_rule=selection,
    )


NSD_VOXELS = {
    15724: "01", 14278: "02", 15226: "03", 13153: "04",
    13039: "05", 17907: "06", 12682: "07", 14386: "08",
}  # fmt: skip
CC2017_VOXELS = {13447: "01", 14828: "02", 9114: "03"}


def check_voxels(subject: str, voxels: int, known: Mapping[int, str], dataset: str) -> None:
    """Refuse another subject's label for a number of voxels that only one subject has."""
    other = known.get(voxels)
    number = {label: count for count, label in known.items()}
    if other is not None and other != subject and subject in number:
        raise InputError(
            f"weights for {voxels} voxels, which are those of {dataset} subject {other}",
            expected=f"{number[subject]} voxels for --subject {subject}",
            remedy=f"--subject {other}, or the file of subject {subject}",
        )
