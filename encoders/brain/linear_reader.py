"""Networks whose subjects are a linear map each: what its voxels respond to is kept beside it.

With the response profiles of known voxels, the map of a new subject starts from the columns of
known voxels that respond alike, in place of nothing.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from phosphene.encoders.brain.base import NetworkEncoder, subject_key
from phosphene.encoders.brain.voxel_clusters import borrow_from_neighbours
from phosphene.encoders.brain.voxel_profiles import ProfileBasis
from phosphene.errors import InputError, UsageError

__all__ = ["LinearReader"]


class LinearReader(NetworkEncoder):
    """Keeps profiles where ``profile_size`` is not zero."""

    profile_size: int = 0
    profile_mean: Tensor
    profile_components: Tensor

    @property
    @abstractmethod
    def readers(self) -> nn.ModuleDict:
        """What reads the voxels of each subject: a linear map, and layers after it."""

    def linear_of(self, subject: str) -> nn.Linear:
        """Return the map from a subject's voxels."""
        modules = self.readers[subject_key(subject)].modules()
        return next(one for one in modules if isinstance(one, nn.Linear))

    def start_subject(self, subject: str) -> None:
        self._start_like_others(subject, self.readers)

    def read(self, subject: str, voxels: Tensor) -> Tensor:
        found: Tensor = self.readers[subject_key(subject)](voxels)
        return found

    def keep_profiles(self, size: int) -> None:
        """Make room for profiles of ``size`` numbers per voxel; none for zero."""
        if size < 0:
            raise UsageError(f"`profile_size` is {size}", expected="0 for none, or more")
        self.profile_size = size
        if size:
            targets = math.prod(self.main_shape)
            self.register_buffer("profile_mean", torch.zeros(targets))
            self.register_buffer("profile_components", torch.zeros(targets, size))
            self.voxel_profiles = nn.ModuleDict(
                {subject_key(one): _Profile(n, size) for one, n in self.voxels.items()}
            )

    def add_subject(self, subject: str, n_voxels: int) -> None:
        super().add_subject(subject, n_voxels)
        if self.profile_size:
            made = _Profile(n_voxels, self.profile_size)
            self.voxel_profiles[subject_key(subject)] = made.to(self.profile_mean)

    @property
    def profile_basis(self) -> ProfileBasis | None:
        """What profiles have to be found with; none where none are kept."""
        if not self.profile_size or not bool(self.profile_components.any()):
            return None
        return ProfileBasis(self.profile_mean, self.profile_components)

    @torch.no_grad()
    def align(self, profiles: Mapping[str, Tensor], basis: ProfileBasis) -> None:
        """Keep the profiles (n_voxels, profile_size) of subjects, and what they were found with."""
        for subject, profile in profiles.items():
            self._profile_of(subject, profile).copy_(profile)
        self.profile_mean.copy_(basis.mean)
        self.profile_components.copy_(basis.components)

    @torch.no_grad()
    def align_subject(self, subject: str, profile: Tensor, *, neighbours: int = 5) -> None:
        """Start a new subject's map from its voxels' nearest neighbours in other subjects.

        Parameters
        ----------
        subject : str
        profile : Tensor of shape (n_voxels, profile_size)
            Found with :attr:`profile_basis`.
        neighbours : int
            A voxel gets the mean of their columns, weaker where its profile is shorter.
        """
        own = self._profile_of(subject, profile)
        others = [label for label in self.subjects if label != subject]
        known = torch.cat([self._profile_of(label, None) for label in others])
        columns = torch.cat([self.linear_of(label).weight.T for label in others])
        found, _ = borrow_from_neighbours(profile, known, columns, neighbours)
        own.copy_(profile)
        self.linear_of(subject).weight.copy_(found.T)

    def _profile_of(self, subject: str, profile: Tensor | None) -> Tensor:
        kept = self.voxel_profiles[subject_key(self._check_subject(subject))].get_buffer("profile")
        if profile is not None and profile.shape != kept.shape:
            raise InputError(
                f"profiles of shape {tuple(profile.shape)} of sub-{subject}",
                expected=f"{tuple(kept.shape)}",
            )
        return kept


class _Profile(nn.Module):
    """Response profiles of one subject's voxels."""

    def __init__(self, n_voxels: int, size: int) -> None:
        super().__init__()
        self.register_buffer("profile", torch.zeros(n_voxels, size))
