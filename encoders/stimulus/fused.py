"""Several frozen networks as one target, for a learned map to fuse.

Encoders of EEG are held to a learned linear map of their target (the projection of pictures that
is trained with them): over the features of several networks set side by side, that map is their
fusion (Hierarchical visual embeddings, 2026). Every network's features are centred and scaled to
the same total variance over training pictures, so that none counts for its width or its unit.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from phosphene.component import CONFIG_NAME, WEIGHTS_NAME, check_tensors, record_config
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.nested import load_inner, save_inner
from phosphene.errors import InputError, UsageError
from phosphene.schemas import ComponentFile, TargetSpec
from phosphene.storage import hash_bytes, load_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["FusedTarget"]

PART = "part-{}"


class FusedTarget(StimulusEncoder):
    """The features of several targets in a row, each with a total variance of 1.

    Parameters
    ----------
    parts : sequence of StimulusEncoder
        Two or more, saved in folders ``part-0``, ``part-1``, ...; tokens and maps are flattened.
    """

    name = "fused"

    def __init__(self, parts: Sequence[StimulusEncoder]) -> None:
        import torch

        if len(parts) < 2:
            raise UsageError(f"{len(parts)} target to fuse", "two or more")
        self.parts = list(parts)
        self._settle(n_parts=len(self.parts))
        self.widths = [_width(part) for part in self.parts]
        self.mean = torch.zeros(sum(self.widths))
        self.scale = torch.ones(len(self.parts))
        self.fitted = False

    @record_config
    def _settle(self, n_parts: int) -> None:
        """Record how many parts there are."""

    def fit(self, pictures: Sequence[Pictures]) -> Self:
        """Measure mean and total variance of every part over training pictures.

        Parameters
        ----------
        pictures : sequence of ndarray (H, W, C)
            uint8, two or more; no test pictures.
        """
        import torch

        if len(pictures) < 2:
            raise InputError(f"{len(pictures)} picture to measure features on", "two or more")
        means, scales = [], []
        for part in self.parts:
            values = part.encode(pictures).flatten(1).double()
            means.append(values.mean(dim=0))
            total = float(values.var(dim=0).sum())
            if total <= 0:
                raise InputError(
                    f"features of {part.spec.name} that are the same for every picture",
                    expected="features that differ",
                    remedy="give other pictures, or leave that target out",
                )
            scales.append(total**-0.5)
        self.mean = torch.cat(means).float()
        self.scale = torch.tensor(scales, dtype=torch.float32)
        self.fitted = True
        return self

    @property
    def training_picture_hashes(self) -> frozenset[str]:  # type: ignore[override]
        """Pictures that any part learned from."""
        return frozenset().union(*(part.training_picture_hashes for part in self.parts))

    @property
    def spec(self) -> TargetSpec:
        known = "".join(part.spec.hash for part in self.parts).encode()
        measured = b"".join(tensor.numpy().tobytes() for tensor in (self.mean, self.scale))
        first = self.parts[0].spec
        return TargetSpec(
            name=self.name,
            layer=" + ".join(f"{part.spec.name} {part.spec.layer}" for part in self.parts),
            output="pooled",
            shape=(sum(self.widths),),
            preprocessing=dict(first.preprocessing),
            weights_hash=hash_bytes(known + measured)[:16],
        )

    def encode(self, pictures: Iterable[Pictures]) -> torch.Tensor:
        import torch

        if not self.fitted:
            raise UsageError(
                "a fused target that was not fitted",
                expected="`fit` on training pictures first",
                remedy="call FusedTarget(parts).fit(pictures) and save it",
            )
        shown = list(pictures)
        values = torch.cat([part.encode(shown).flatten(1).float() for part in self.parts], dim=1)
        return (values - self.mean) * self.scale.repeat_interleave(torch.tensor(self.widths))

    def tensors(self) -> dict[str, torch.Tensor]:
        return {"mean": self.mean, "scale": self.scale}

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        check_tensors(self.tensors(), tensors, owner="target fused")
        self.mean, self.scale, self.fitted = tensors["mean"], tensors["scale"], True

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the target and its parts."""
        super().save_pretrained(folder)
        for number, part in enumerate(self.parts):
            save_inner(part, Path(folder) / PART.format(number))

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        """Build the target that :meth:`save_pretrained` wrote."""
        source = Path(folder)
        stored = ComponentFile.load(source / CONFIG_NAME)
        count = stored.config.get("n_parts")
        if stored.name != cls.name or not isinstance(count, int):
            raise InputError(
                f"{source} holds the target {stored.name!r}",
                expected=f"the target {cls.name!r}",
                remedy="name the folder of the right part",
            )
        found = cls([load_inner(source / PART.format(number)) for number in range(count)])
        found.load_tensors(load_tensors(source / WEIGHTS_NAME))
        return found


def _width(part: StimulusEncoder) -> int:
    width = 1
    for size in part.spec.shape:
        width *= size
    return width
