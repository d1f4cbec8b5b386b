"""Functional clusters of voxels, shared by all subjects: balanced k-means on their profiles.

Brain-IT groups voxels by a mixture of Gaussians over embeddings that a picture-to-voxel encoder
learned. Here a profile is what predicts the voxel in closed form (see ``voxel_profiles``), and
clusters are kept of nearly equal size, so that none dwarfs the others.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from phosphene.errors import InputError
from phosphene.seeds import item_seed

__all__ = ["borrow_from_neighbours", "cluster_voxels", "nearest_voxels"]

BLOCK = 4096
SLACK = 1.25  # largest cluster over the mean


def cluster_voxels(
    profiles: Mapping[str, Tensor], n_clusters: int, *, seed: int = 0, rounds: int = 25
) -> tuple[dict[str, Tensor], Tensor]:
    """Group the voxels of all subjects together.

    Parameters
    ----------
    profiles : mapping of str to Tensor of shape (n_voxels, p)
        By subject; directions count, lengths do not.
    n_clusters : int
    seed : int
        Of the first centres.
    rounds : int
        At most.

    Returns
    -------
    clusters : dict of str to Tensor of shape (n_voxels,)
        Number of each voxel's cluster.
    centres : Tensor of shape (n_clusters, p)
        Unit vectors.
    """
    points = F.normalize(torch.cat(list(profiles.values())).double(), dim=1)
    if len(points) < n_clusters:
        raise InputError(
            f"{len(points)} voxels for {n_clusters} clusters",
            expected="at least one voxel per cluster",
            remedy="choose fewer clusters (--set options.clusters=...)",
        )
    capacity = max(1, int(SLACK * len(points) / n_clusters + 0.999))
    centres = _first_centres(points, n_clusters, seed)
    found = torch.full((len(points),), -1)
    for _ in range(rounds):
        assigned = _assign(points, centres, capacity)
        if torch.equal(assigned, found):
            break
        found = assigned
        sums = torch.zeros_like(centres).index_add_(0, found, points)
        # A cluster that nobody is in keeps its centre.
        filled = torch.bincount(found, minlength=n_clusters) > 0
        centres = torch.where(filled[:, None], F.normalize(sums, dim=1), centres)
    sizes = [len(one) for one in profiles.values()]
    return dict(zip(profiles, found.split(sizes), strict=True)), centres.float()


def _first_centres(points: Tensor, n_clusters: int, seed: int) -> Tensor:
    """Choose points far from one another: k-means++ (Arthur and Vassilvitskii 2007)."""
    generator = torch.Generator().manual_seed(item_seed(seed, "clusters", "centres", 0))
    chosen = [int(torch.randint(len(points), (1,), generator=generator))]
    far = torch.full((len(points),), torch.inf, dtype=points.dtype)
    for _ in range(n_clusters - 1):
        far = torch.minimum(far, (2 - 2 * points @ points[chosen[-1]]).clamp_min(0))
        odds = far if far.sum() > 0 else torch.ones_like(far)
        chosen.append(int(torch.multinomial(odds, 1, generator=generator)))
    return points[chosen]


def _assign(points: Tensor, centres: Tensor, capacity: int) -> Tensor:
    """Give each point its nearest centre; where a cluster is full, those least sure go on.

    A voxel is surer the more it prefers its cluster to the next best one that has room.
    """
    similarity = torch.cat([block @ centres.T for block in points.split(BLOCK)])
    found = torch.full((len(points),), -1)
    room = torch.full((len(centres),), capacity)
    waiting = torch.arange(len(points))
    while len(waiting):
        open_ones = similarity[waiting].masked_fill(room == 0, -torch.inf)
        best = open_ones.topk(min(2, len(centres)), dim=1)
        wish, margin = best.indices[:, 0], best.values[:, 0] - best.values[:, -1]
        order = torch.argsort(margin, descending=True, stable=True)
        ranked = wish[order]
        by_wish = torch.argsort(ranked, stable=True)
        counts = torch.bincount(ranked, minlength=len(centres))
        place = torch.empty_like(ranked)
        place[by_wish] = torch.arange(len(ranked)) - (counts.cumsum(0) - counts)[ranked[by_wish]]
        taken = place < room[ranked]
        found[waiting[order[taken]]] = ranked[taken]
        room = room - torch.bincount(ranked[taken], minlength=len(centres))
        waiting = waiting[order[~taken]]
    return found


def nearest_voxels(profiles: Tensor, known: Tensor, k: int) -> Tensor:
    """Return the places (n, k) of the known voxels with the most similar profiles.

    Parameters
    ----------
    profiles : Tensor of shape (n, p)
    known : Tensor of shape (m, p)
    k : int
    """
    rows, columns = F.normalize(profiles, dim=1), F.normalize(known, dim=1)
    k = min(k, len(known))
    return torch.cat([(block @ columns.T).topk(k, dim=1).indices for block in rows.split(BLOCK)])


def borrow_from_neighbours(
    profiles: Tensor, known: Tensor, values: Tensor, k: int
) -> tuple[Tensor, Tensor]:
    """Return what known voxels with similar profiles have, on average.

    Parameters
    ----------
    profiles : Tensor of shape (n, p)
    known : Tensor of shape (m, p)
    values : Tensor of shape (m, d)
    k : int
        Neighbours of each.

    Returns
    -------
    values : Tensor of shape (n, d)
        Weaker where a profile is shorter than its neighbours' on average.
    nearest : Tensor of shape (n,)
        Place of the nearest.
    """
    profiles = profiles.to(known)
    near = nearest_voxels(profiles, known, k)
    length = known.norm(dim=1)[near].mean(1).clamp_min(1e-12)
    relative = (profiles.norm(dim=1) / length).clamp_max(1)
    return values[near].mean(1) * relative[:, None], near[:, 0]
