"""The voxel-cluster transformer of Brain-IT: voxels to functional clusters to output tokens.

Beliy et al. 2025, *Brain-IT: image reconstruction from fMRI via brain-interaction transformer*. All
that knows a subject is one embedding per voxel and its cluster; attention gathers voxels into
clusters that all subjects share, a transformer lets clusters interact, and learned queries read
the output from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from phosphene.component import record_config
from phosphene.encoders.brain.base import subject_key
from phosphene.encoders.brain.cluster_attention import ClusterAttention, cluster_slots
from phosphene.encoders.brain.query_transformer import QueryTransformer
from phosphene.encoders.brain.voxel_clusters import borrow_from_neighbours, cluster_voxels
from phosphene.encoders.brain.voxel_profiles import ProfileBasis
from phosphene.encoders.brain.voxel_readout import VoxelReadout
from phosphene.errors import InputError, UsageError, check_option

__all__ = ["BITEncoder"]


class BITEncoder(QueryTransformer):
    """Modules that the original has carry its names.

    The original trains a second model for its low-level features; here they share the trunk.

    Parameters
    ----------
    voxels, targets
        See :class:`~phosphene.encoders.brain.base.NetworkEncoder`.
    width, depth, heads : int
        Of the transformer.
    clusters : int
    voxel_dropout : float
        Share of a sample's voxels that are left out in training.
    sampled_voxels : int, optional
        In place of that, draw so many voxels with replacement, as the original does; a voxel
        that is drawn twice counts once, as it does there.
    profile_size : int
        Numbers in the response profile of a voxel.
    profiles : {"closed-form", "universal"}
        Where profiles come from: a regression on the leading components of the pictures' target,
        or the embeddings of a picture-to-voxel encoder that is trained on all subjects, as in the
        original. Clusters are made of them, and new subjects start by them.
    """

    name = "bit"
    profile_mean: Tensor
    profile_components: Tensor
    profile_length: Tensor  # typical of closed-form profiles; universal ones alone need it

    @record_config
    def __init__(
        self,
        voxels: Mapping[str, int],
        targets: Mapping[str, Any],
        width: int = 512,
        depth: int = 5,
        heads: int = 8,
        clusters: int = 128,
        voxel_dropout: float = 0.2,
        sampled_voxels: int | None = None,
        profile_size: int = 64,
        profiles: Literal["closed-form", "universal"] = "closed-form",
    ) -> None:
        super().__init__(voxels, targets)
        check_option("profiles", profiles, ("closed-form", "universal"))
        if not 0 <= voxel_dropout < 1:
            raise UsageError(f"`voxel_dropout` is {voxel_dropout}", expected="from 0 to below 1")
        self.width, self.clusters, self.profile_size = width, clusters, profile_size
        self.voxel_dropout, self.sampled_voxels = voxel_dropout, sampled_voxels
        self.voxel_embed = nn.ModuleDict()
        for subject, n_voxels in self.voxels.items():
            self.make_subject(subject, n_voxels)
        self.register_buffer("profile_mean", torch.zeros(math.prod(self.main_shape)))
        self.register_buffer(
            "profile_components", torch.zeros(math.prod(self.main_shape), profile_size)
        )
        self.centers = nn.Parameter(torch.randn(clusters, width))
        self.conv_centers = ClusterAttention(width)
        self.norm_centers = nn.LayerNorm(width)
        self.build_trunk(width, depth, heads)
        # It stays as it was trained beforehand; new subjects need it.
        self.readout: VoxelReadout | None = None
        if profiles == "universal":
            self.readout = VoxelReadout(*self.main_shape, profile_size).requires_grad_(False)
            self.register_buffer("profile_length", torch.ones(()))

    def make_subject(self, subject: str, n_voxels: int) -> None:
        self.voxel_embed[subject_key(subject)] = _SubjectVoxels(
            n_voxels, self.width, self.clusters, self.profile_size
        )

    def _of(self, subject: str) -> _SubjectVoxels:
        found = self.voxel_embed[subject_key(subject)]
        assert isinstance(found, _SubjectVoxels)
        return found

    def read(self, subject: str, voxels: Tensor) -> Tensor:
        own = self._of(subject)
        return self.conv_centers.forward(
            voxels, own.embedding, self.centers, own.slots(), self._kept(voxels)
        )

    def _kept(self, voxels: Tensor) -> Tensor | None:
        """Return which voxels of each sample take part in this step of training."""
        if not self.training:
            return None
        if self.sampled_voxels is not None:
            shape = (len(voxels), self.sampled_voxels)
            drawn = torch.randint(voxels.shape[1], shape, device=voxels.device)
            nobody = torch.zeros(voxels.shape, dtype=torch.bool, device=voxels.device)
            return nobody.scatter(1, drawn, torch.ones_like(drawn, dtype=torch.bool))
        if self.voxel_dropout == 0:
            return None
        return torch.rand(voxels.shape, device=voxels.device) >= self.voxel_dropout

    def predict(self, shared: Tensor) -> dict[str, Tensor]:
        return self.read_nodes(self.norm_centers(F.relu(shared)))

    @torch.no_grad()
    def align(self, profiles: Mapping[str, Tensor], basis: ProfileBasis, *, seed: int = 0) -> None:
        """Start all subjects from the response profiles of their voxels.

        Voxels are clustered over subjects, and embeddings are a random map of profiles, so that
        voxels that respond alike begin alike.

        Parameters
        ----------
        profiles : mapping of str to Tensor of shape (n_voxels, profile_size)
            Of every subject.
        basis : ProfileBasis
            That the profiles were found with; kept, so that subjects can be added.
        seed : int
        """
        if sorted(profiles) != self.subjects:
            raise InputError(
                f"profiles of the subjects {', '.join(sorted(profiles))}",
                expected=f"all of {', '.join(self.subjects)}",
            )
        found, _ = cluster_voxels(profiles, self.clusters, seed=seed)
        generator = torch.Generator().manual_seed(seed)
        mixing = torch.randn(self.profile_size, self.width, generator=generator)
        typical = torch.cat([one.norm(dim=1) for one in profiles.values()]).square().mean().sqrt()
        for subject, profile in profiles.items():
            own = self._of(subject)
            self._check_profile(subject, profile)
            own.profile.copy_(profile)
            own.embedding.copy_(profile @ mixing / typical.clamp_min(1e-12))
            own.assign(found[subject])
        self.profile_mean.copy_(basis.mean)
        self.profile_components.copy_(basis.components)

    @property
    def profile_basis(self) -> ProfileBasis:
        """What profiles of a new subject have to be found with.

        Raises
        ------
        UsageError
            If the encoder was never aligned.
        """
        if not bool(self.profile_components.any()):
            raise UsageError(
                "the encoder bit was trained without response profiles of its voxels",
                expected="one that `align` was called on",
                remedy="train it with `phosphene train encoder`",
            )
        return ProfileBasis(self.profile_mean, self.profile_components)

    @torch.no_grad()
    def align_subject(self, subject: str, profile: Tensor, *, neighbours: int = 5) -> None:
        """Start a new subject from its voxels' nearest neighbours among those of the others.

        Parameters
        ----------
        subject : str
        profile : Tensor of shape (n_voxels, profile_size)
            Found with :attr:`profile_basis`.
        neighbours : int
            A voxel gets the mean of their embeddings, as long as its profile is beside theirs,
            and the cluster of the nearest.
        """
        self._check_profile(subject, profile)
        others = [self._of(label) for label in self.subjects if label != subject]
        if not others:
            raise UsageError("no other subject to take neighbours from", "at least one")
        known = torch.cat([one.profile for one in others])
        embeddings = torch.cat([one.embedding for one in others])
        clusters = torch.cat([one.cluster for one in others])
        found, nearest = borrow_from_neighbours(profile, known, embeddings, neighbours)
        own = self._of(subject)
        own.profile.copy_(profile)
        own.embedding.copy_(found)
        own.assign(clusters[nearest])

    def _check_profile(self, subject: str, profile: Tensor) -> None:
        wanted = (self.voxels[self._check_subject(subject)], self.profile_size)
        if tuple(profile.shape) != wanted:
            raise InputError(
                f"profiles of shape {tuple(profile.shape)} of sub-{subject}", expected=f"{wanted}"
            )


class _SubjectVoxels(nn.Module):
    """What belongs to one subject: an embedding, a cluster and a profile per voxel."""

    cluster: Tensor
    profile: Tensor

    def __init__(self, n_voxels: int, width: int, clusters: int, profile_size: int) -> None:
        super().__init__()
        self.clusters = clusters
        self.embedding = nn.Parameter(torch.randn(n_voxels, width))
        self.register_buffer("cluster", torch.arange(n_voxels) % clusters)
        self.register_buffer("profile", torch.zeros(n_voxels, profile_size))
        self._slots: Tensor | None = None
        self.register_load_state_dict_post_hook(_forget_slots)  # type: ignore[no-untyped-call]

    def assign(self, cluster: Tensor) -> None:
        self.cluster.copy_(cluster)
        self._slots = None

    def slots(self) -> Tensor:
        """Return voxels by cluster; found once, for clusters do not change in training."""
        if self._slots is None or self._slots.device != self.cluster.device:
            self._slots = cluster_slots(self.cluster, self.clusters)
        return self._slots


def _forget_slots(module: nn.Module, _: Any) -> None:
    assert isinstance(module, _SubjectVoxels)
    module._slots = None
