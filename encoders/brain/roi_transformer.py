"""A transformer over regions of the brain: one token per region, readable by name.

Each region's voxels go through a linear map of their subject to one token; regions have the same
names in all subjects, so that everything after that is shared. Whole regions are left out in
training, so that the network has met what ``occlude_regions`` (see ``importance``) does to it,
region by region or network by network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.base import subject_key
from phosphene.encoders.brain.query_transformer import QueryTransformer
from phosphene.encoders.brain.voxel_regions import VoxelRegions
from phosphene.errors import InputError, UsageError

__all__ = ["RegionTransformerEncoder"]


class RegionTransformerEncoder(QueryTransformer):
    """Voxels to regions to output queries.

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`.
    regions : int or sequence of str
        Names of the regions, or their number. Which voxels they have is told with
        :meth:`assign_regions`; until then voxels are dealt out in turn.
    networks : mapping of str to sequence of str
        Regions that are occluded together, by the network's name.
    width, depth, heads : int
        Of the transformer.
    region_dropout : float
        Share of the regions that are left out of a sample in training.
    """

    name = "roi_transformer"

    @record_config
    def __init__(
        self,
        voxels: Mapping[str, int],
        targets: Mapping[str, Any],
        regions: int | Sequence[str] = 16,
        networks: Mapping[str, Sequence[str]] | None = None,
        width: int = 256,
        depth: int = 3,
        heads: int = 8,
        region_dropout: float = 0.1,
    ) -> None:
        super().__init__(voxels, targets)
        if not 0 <= region_dropout < 1:
            raise UsageError(f"`region_dropout` is {region_dropout}", "from 0 to below 1")
        if isinstance(regions, int):
            regions = [f"region-{number:02d}" for number in range(regions)]
        if not regions or len(set(regions)) != len(regions):
            raise UsageError(f"`regions` is {list(regions)}", "different names, at least one")
        self.regions = tuple(str(name) for name in regions)
        self.networks = _checked(networks or {}, self.regions)
        self.width, self.region_dropout = width, region_dropout
        self.region_tokens = nn.ModuleDict()
        for subject, n_voxels in self.voxels.items():
            self.make_subject(subject, n_voxels)
        self.region_embed = nn.Parameter(0.1 * torch.randn(len(self.regions), width))
        self.norm_regions = nn.LayerNorm(width)
        self.build_trunk(width, depth, heads)

    def make_subject(self, subject: str, n_voxels: int) -> None:
        self.region_tokens[subject_key(subject)] = _SubjectRegions(
            n_voxels, self.width, len(self.regions)
        )

    def _of(self, subject: str) -> _SubjectRegions:
        found = self.region_tokens[subject_key(self._check_subject(subject))]
        assert isinstance(found, _SubjectRegions)
        return found

    @torch.no_grad()
    def assign_regions(self, subject: str, regions: VoxelRegions) -> None:
        """Say which region each voxel of a subject is in, before its weights are trained.

        Voxels in no region, or in one that the encoder does not know, take no part.

        Raises
        ------
        InputError
            If there are not as many voxels, or no region is known.
        """
        found = regions.named(self.regions).region
        if len(found) != self.voxels[self._check_subject(subject)]:
            raise InputError(
                f"regions of {len(found)} voxels of sub-{subject}",
                expected=f"{self.voxels[subject]}",
                remedy="take the atlas on the grid of the recording",
            )
        self._of(subject).assign(torch.from_numpy(found))

    @torch.no_grad()
    def start_subject(self, subject: str) -> None:
        self._of(subject).weight.zero_()

    def read(self, subject: str, voxels: Tensor) -> Tensor:
        tokens = self._of(subject).forward(voxels)
        if self.training and self.region_dropout > 0:
            kept = torch.rand(tokens.shape[:2], device=tokens.device) >= self.region_dropout
            tokens = tokens * kept[..., None]
        return tokens

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        return self.read_nodes(self.norm_regions(shared + self.region_embed))

    def region_masks(self, subject: str) -> dict[str, np.ndarray[Any, Any]]:
        """Return the voxels (n_voxels,) bool of each region of a subject."""
        return VoxelRegions(self._of(subject).region.cpu().numpy(), self.regions).masks

    def network_masks(self, subject: str) -> dict[str, np.ndarray[Any, Any]]:
        """Return the voxels (n_voxels,) bool of each network of a subject."""
        masks, nobody = self.region_masks(subject), np.zeros(self.voxels[subject], dtype=bool)
        return {
            network: np.logical_or.reduce([nobody, *(masks[r] for r in names if r in masks)])
            for network, names in self.networks.items()
        }


class _SubjectRegions(nn.Module):
    """A linear map from each region's voxels to the region's token."""

    region: Tensor

    def __init__(self, n_voxels: int, width: int, n_regions: int) -> None:
        super().__init__()
        self.n_regions = n_regions
        self.weight = nn.Parameter(torch.randn(n_voxels, width) * (n_regions / n_voxels) ** 0.5)
        self.register_buffer("region", torch.arange(n_voxels) % n_regions)
        self._rows: list[Tensor] | None = None
        self.register_load_state_dict_post_hook(_forget_rows)  # type: ignore[no-untyped-call]

    def assign(self, region: Tensor) -> None:
        """Take over regions; weights are scaled so that tokens have about unit variance."""
        self.region.copy_(region)
        self._rows = None
        counts = torch.bincount(region[region >= 0], minlength=self.n_regions).clamp_min(1)
        typical = torch.where(region >= 0, counts[region.clamp_min(0)], 1)
        fresh = torch.randn(self.weight.shape, dtype=self.weight.dtype, device="cpu")
        self.weight.copy_(fresh / typical[:, None] ** 0.5)

    def forward(self, voxels: Tensor) -> Tensor:
        """Return tokens (n, n_regions, width); a region without voxels has a zero."""
        if self._rows is None or self._rows[0].device != voxels.device:
            self._rows = [
                (self.region == number).nonzero()[:, 0].to(voxels.device)
                for number in range(self.n_regions)
            ]
        tokens = [voxels[:, rows] @ self.weight[rows] for rows in self._rows]
        return torch.stack(tokens, dim=1)


def _forget_rows(module: nn.Module, _: Any) -> None:
    assert isinstance(module, _SubjectRegions)
    module._rows = None


def _checked(
    networks: Mapping[str, Sequence[str]], regions: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    found = {name: tuple(members) for name, members in networks.items()}
    unknown = sorted({one for members in found.values() for one in members} - set(regions))
    if unknown:
        raise UsageError(
            f"`networks` names the regions {', '.join(unknown)}",
            expected=f"regions among {', '.join(regions)}",
        )
    return found
