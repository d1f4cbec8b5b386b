"""One network, two heads: where pictures are looked for, and what pictures are made of.

The network's embedding is compared with a learned projection of the target (contrastive); a second
head predicts the target itself, features of a second network and the latents a generator starts
from, with their true norms (regression). Targets are kept as their first principal components.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.electric import ELECTRIC_ENCODERS
from phosphene.encoders.brain.electric.base import ElectricEncoder
from phosphene.errors import InputError, UsageError, check_option
from phosphene.types import BrainEmbedding, Recording

__all__ = ["ElectricHeads"]

PARTS = ("tokens", "pooled", "features", "lowlevel")


class ElectricHeads(ElectricEncoder):
    """An encoder of EEG or MEG with a head for retrieval and one for generation.

    Parameters
    ----------
    encoder : str
        Name among the encoders of EEG and MEG.
    options : dict
        Its arguments; its ``n_outputs`` is the width of the space pictures are looked for in.
    targets : dict of str to list of int
        Shape of each part that is predicted: ``{"tokens": [64, 160], "lowlevel": [4, 16, 16]}``.
    components : dict of str to int
        Principal components kept of each.
    """

    name = "electric"

    @record_config
    def __init__(
        self,
        encoder: str,
        options: Mapping[str, Any],
        targets: Mapping[str, Sequence[int]],
        components: Mapping[str, int],
    ) -> None:
        backbone: ElectricEncoder = ELECTRIC_ENCODERS.get(encoder)(**options)
        super().__init__(backbone.signal, backbone.subjects)
        for part in targets:
            check_option("targets", part, PARTS)
        if not targets or set(components) != set(targets) or min(components.values()) < 1:
            raise UsageError(
                f"components {dict(components)} of the targets {', '.join(targets)}",
                expected="at least one component of each",
            )
        self.backbone = backbone
        del self.logit_scale  # the backbone's own temperature is the one that learns
        self.targets = {name: tuple(int(n) for n in targets[name]) for name in PARTS
                        if name in targets}  # fmt: skip
        self.components = {name: int(components[name]) for name in self.targets}
        for name, shape in self.targets.items():
            size = int(torch.tensor(shape).prod())
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_axes", torch.zeros(self.components[name], size))
        main = next(iter(self.targets))
        self.project = nn.Linear(self.components[main], backbone.signal.n_outputs, bias=False)
        self.generate = nn.Linear(backbone.signal.n_outputs, self.n_targets)

    @property
    def scale(self) -> Tensor:
        return self.backbone.scale

    @property
    def n_targets(self) -> int:
        """Components of all parts together."""
        return sum(self.components.values())

    def fit_targets(self, values: Mapping[str, Tensor]) -> Tensor:
        """Find the principal components of training targets; return their coefficients.

        Parameters
        ----------
        values : mapping of str to Tensor of shape (n, *shape)
            Each part of the target, of training pictures.

        Returns
        -------
        Tensor of shape (n, n_targets)
            Each with a standard deviation of 1: what electrodes pick up, such as contrast, may
            be a small part of an embedding, and has to be found all the same.
        """
        for name, count in self.components.items():
            flat = values[name].flatten(1).float()
            if len(flat) <= count:
                raise InputError(
                    f"{len(flat)} training pictures for {count} components of {name}",
                    expected="more pictures than components",
                    remedy="use fewer: --set components.tokens=16",
                )
            mean = flat.mean(dim=0)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                _, sizes, axes = torch.pca_lowrank(
                    flat - mean, q=min(count + 10, *flat.shape), center=False, niter=4
                )
            scale = (sizes[:count] / len(flat) ** 0.5).clamp_min(1e-6 * sizes[0])
            self.get_buffer(f"{name}_mean").copy_(mean)
            self.get_buffer(f"{name}_axes").copy_(axes.T[:count] * scale[:, None])
        return self.coefficients(values)

    def coefficients(self, values: Mapping[str, Tensor]) -> Tensor:
        """Return targets (n, *shape) of all parts as coefficients (n, n_targets)."""
        return torch.cat([self._reduce(name, values[name]) for name in self.targets], dim=1)

    def _reduce(self, name: str, values: Tensor) -> Tensor:
        axes, mean = self.get_buffer(f"{name}_axes"), self.get_buffer(f"{name}_mean")
        return (values.flatten(1).to(mean) - mean) @ _inverse(axes)

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        """Return where pictures are looked for (n, n_outputs)."""
        embedded: Tensor = self.backbone(x, subject, positions)
        return embedded

    def picture_keys(self, coefficients: Tensor) -> Tensor:
        """Return where pictures of these coefficients (n, n_targets) lie in that space."""
        main = next(iter(self.components.values()))
        keys: Tensor = self.project(coefficients[:, :main])
        return keys

    def regress(self, embedded: Tensor) -> Tensor:
        """Return predicted coefficients (n, n_targets), with their true norm."""
        predicted: Tensor = self.generate(embedded)
        return predicted

    def parts_of(self, coefficients: Tensor) -> dict[str, Tensor]:
        """Return each part (n, *shape) that coefficients stand for."""
        found, start = {}, 0
        for name, shape in self.targets.items():
            columns = coefficients[:, start : start + self.components[name]]
            flat = columns @ self.get_buffer(f"{name}_axes") + self.get_buffer(f"{name}_mean")
            found[name] = flat.unflatten(1, shape)
            start += self.components[name]
        return found

    def search_matrix(self) -> tuple[Tensor, Tensor]:
        """Return mean (size,) and map (size, n_outputs) from the main target to that space."""
        main = next(iter(self.components))
        axes, mean = self.get_buffer(f"{main}_axes"), self.get_buffer(f"{main}_mean")
        return mean, _inverse(axes) @ self.project.weight.detach().T

    def index_of(self, subject: str) -> int:
        return self.backbone.index_of(subject)

    def check(self, recording: Recording) -> None:
        self.backbone.check(recording)

    def encode(self, recording: Recording) -> BrainEmbedding:
        """Predict every part of each trial's target, and where its picture is looked for."""
        found = super().encode(recording).main
        with torch.no_grad():
            return BrainEmbedding(**self.parts_of(self.regress(found)), retrieval=found)


def _inverse(axes: Tensor) -> Tensor:
    """Return what turns centred targets into coefficients (size, count) of orthogonal axes."""
    return (axes / axes.square().sum(dim=1, keepdim=True).clamp_min(1e-20)).T
