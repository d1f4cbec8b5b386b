"""What brain encoders with a network share: subjects, parts of the output, blocks, new subjects.

A network has two halves. :meth:`NetworkEncoder.read` maps one subject's voxels into a space that
all subjects share; :meth:`NetworkEncoder.predict` maps that space to the target. Only the first
knows subjects, and every tensor of one subject has ``sub-LABEL`` in its name: what has to be
learned for a new subject is found by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phosphene.batches import in_equal_blocks
from phosphene.component import Component
from phosphene.errors import InputError, UsageError, check_option
from phosphene.names import check_subject
from phosphene.types import BrainEmbedding, Recording

__all__ = ["NetworkEncoder", "subject_key"]

AXES = {"pooled": 1, "tokens": 2, "lowlevel": 3}
ROWS = 1024  # rows that are read at a time


def subject_key(subject: str) -> str:
    """Return what the tensors of one subject have in their names."""
    return f"sub-{subject}"


class NetworkEncoder(nn.Module, Component, ABC):
    """Recording to embedding by a network, for any number of subjects and voxels.

    Parameters
    ----------
    voxels : mapping of str to int
        Number of voxels (or channels by times) of each subject, by label.
    targets : mapping of str to sequence of int
        Shape of each part that is predicted: ``{"tokens": [256, 1664], "lowlevel": [4, 28, 28]}``;
        names are ``pooled``, ``tokens`` and ``lowlevel``.
    """

    kind = "encoder"
    block: int = 32  # rows of the network at a time

    def __init__(self, voxels: Mapping[str, int], targets: Mapping[str, Any]) -> None:
        super().__init__()
        if not voxels or min(voxels.values()) < 1:
            raise UsageError(
                f"`voxels` is {dict(voxels)}",
                expected="a number of voxels for at least one subject, as {'01': 15724}",
            )
        if not targets:
            raise UsageError("`targets` is empty", expected="a part, as {'tokens': [256, 1664]}")
        for part, shape in targets.items():
            check_option("targets", part, AXES)
            if len(shape) != AXES[part] or min(shape) < 1:
                raise UsageError(
                    f"`targets` gives {part} the shape {tuple(shape)}",
                    expected=f"{AXES[part]} numbers of at least 1",
                )
        self.voxels = {check_subject(label): int(number) for label, number in voxels.items()}
        self.targets = {
            part: tuple(int(n) for n in targets[part]) for part in AXES if part in targets
        }

    @property
    def subjects(self) -> list[str]:
        """Labels of the subjects it has voxels for."""
        return sorted(self.voxels)

    @property
    def main_part(self) -> str:
        """Name of the part that is decoded: tokens, else the pooled vector, else latents."""
        return next(part for part in ("tokens", "pooled", "lowlevel") if part in self.targets)

    @property
    def main_shape(self) -> tuple[int, int]:
        """Tokens and numbers per token of the main part; a pooled vector is one token."""
        shape = self.targets[self.main_part]
        return (shape[0], shape[1]) if len(shape) == 2 else (1, int(np.prod(shape)))

    @abstractmethod
    def read(self, subject: str, voxels: Tensor) -> Tensor:
        """Return the shared space (n, ...) of one subject's voxels (n, n_voxels)."""

    @abstractmethod
    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        """Return each part (n, *shape), and ``retrieval`` where another head serves retrieval."""

    @abstractmethod
    def make_subject(self, subject: str, n_voxels: int) -> None:
        """Make the tensors of one subject."""

    def start_subject(self, subject: str) -> None:
        """Start a subject that was added to a trained network, where random is not the best."""

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the parts for rows of several subjects, in the order of the mapping.

        Parameters
        ----------
        batch : mapping of str to Tensor of shape (n_subject, n_voxels)
            By subject label.
        """
        return self.predict(torch.cat([self.read(label, rows) for label, rows in batch.items()]))

    def respond(self, subject: str, voxels: Tensor) -> Tensor:
        """Return the main part, differentiable with respect to the voxels (n, n_voxels)."""
        self._check_subject(subject)
        return self.predict(self.read(subject, voxels))[self.main_part]

    def encode(self, recording: Recording) -> BrainEmbedding:
        """Predict the embedding of each trial; a batch gives what its rows give alone.

        Raises
        ------
        UsageError
            If the subject is unknown.
        InputError
            If the recording has another number of voxels.
        """
        found = self._run(recording)
        return BrainEmbedding(**{part: found[part] for part in self.targets})

    def search_keys(self, recording: Recording) -> Tensor:
        """Return what trials are compared by when pictures are looked for, (n, d)."""
        found = self._run(recording)
        return found.get("retrieval", found[self.main_part]).flatten(1)

    @torch.no_grad()
    def _run(self, recording: Recording) -> dict[str, Tensor]:
        subject = self._check_subject(recording.subject)
        data = recording.data.reshape(len(recording), -1)
        if data.shape[1] != self.voxels[subject]:
            raise InputError(
                f"{data.shape[1]} values per trial in the recording of sub-{subject}",
                expected=f"{self.voxels[subject]}, as in its training",
                remedy="apply the preprocessing the encoder was trained with",
            )
        shapes: dict[str, torch.Size] = {}

        def packed(rows: Tensor) -> Tensor:
            found = self.predict(self.read(subject, rows))
            shapes.update({part: values.shape[1:] for part, values in found.items()})
            return torch.cat([values.flatten(1) for values in found.values()], dim=1)

        like, training = next(self.parameters()), self.training
        self.eval()
        try:
            together = torch.cat(
                [
                    in_equal_blocks(
                        packed,
                        torch.from_numpy(np.array(data[start : start + ROWS])).to(like),
                        size=self.block,
                    )
                    for start in range(0, len(data), ROWS)
                ]
            )
        finally:
            self.train(training)
        columns = together.split([shape.numel() for shape in shapes.values()], dim=1)
        return {
            part: values.unflatten(1, shape)
            for (part, shape), values in zip(shapes.items(), columns, strict=True)
        }

    def _check_subject(self, subject: str) -> str:
        if subject not in self.voxels:
            known = ", ".join(f"sub-{label}" for label in self.subjects)
            raise UsageError(
                f"the encoder {self.name} has not been trained for sub-{subject}",
                expected=f"a subject it knows ({known})",
                remedy=f"add one with `phosphene train adapt --subject {subject}`",
            )
        return subject

    def add_subject(self, subject: str, n_voxels: int) -> None:
        """Make room for one more subject, which nothing is known of until it is trained.

        Raises
        ------
        UsageError
            If it knows the subject already.
        """
        label = self.check_new(subject)
        like = next(self.parameters())
        self.voxels[label] = int(n_voxels)
        self.__dict__["_recorded_config"]["voxels"] = dict(self.voxels)
        self.make_subject(label, int(n_voxels))
        self.start_subject(label)
        self.to(device=like.device, dtype=like.dtype).train(self.training)

    def check_new(self, subject: str) -> str:
        """Return the label of a subject that it does not know yet."""
        label = check_subject(subject)
        if label in self.voxels:
            raise UsageError(
                f"the encoder {self.name} knows sub-{label} already",
                expected="a new subject",
                remedy="give the new recording a label of its own",
            )
        return label

    def own_parameters(self, subject: str) -> dict[str, nn.Parameter]:
        """Return the parameters that belong to one subject alone, by name."""
        key = subject_key(self._check_subject(subject))
        return {n: p for n, p in self.named_parameters() if key in n.split(".")}

    @torch.no_grad()
    def _start_like_others(self, subject: str, readers: nn.ModuleDict) -> None:
        """Let a linear map say nothing of its voxels yet, and the rest be as in other subjects.

        Random weights would be noise on top of what a short training finds.
        """
        own = readers[subject_key(subject)]
        others = [one for key, one in readers.items() if key != subject_key(subject)]
        first = next(module for module in own.modules() if isinstance(module, nn.Linear))
        for name, parameter in own.named_parameters():
            if parameter is first.weight:
                parameter.zero_()
            elif others:
                known: list[Tensor] = [one.get_parameter(name) for one in others]
                parameter.copy_(torch.stack(known).mean(0))

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """Return the parameters that all subjects share, by name."""
        keys = {subject_key(label) for label in self.voxels}
        return {n: p for n, p in self.named_parameters() if keys.isdisjoint(n.split("."))}
