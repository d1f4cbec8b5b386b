"""Attention from voxels to functional clusters, folded.

Every cluster has a learned node, every voxel a learned embedding, and a voxel's message is its
activation times its embedding (the graph attention of Brain-IT, one head, edges from each voxel to
its cluster). The queries do not depend on the recording, so keys and values fold onto the
clusters: with ``u_k = W_key' q_k`` the logit of voxel i is ``x_i <e_i, u_k> / sqrt(d)``, and a
cluster receives ``W_value (sum_i a_i x_i e_i) + b_value``. That is one number per voxel and one
weighted sum of embeddings, about ``4 N d`` operations a sample in place of ``8 N d**2``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["ClusterAttention", "cluster_slots"]


def cluster_slots(cluster: Tensor, n_clusters: int) -> Tensor:
    """Return the voxels of each cluster side by side, (n_clusters, m), filled up with -1.

    Parameters
    ----------
    cluster : Tensor of shape (n_voxels,)
        Number of each voxel's cluster.
    n_clusters : int

    Returns
    -------
    Tensor of shape (n_clusters, m)
        m is the size of the largest cluster; voxels of a cluster are in increasing order.
    """
    counts = torch.bincount(cluster, minlength=n_clusters)
    order = torch.argsort(cluster, stable=True)
    first = counts.cumsum(0) - counts
    places = torch.arange(len(cluster), device=cluster.device) - first[cluster[order]]
    slots = cluster.new_full((n_clusters, int(counts.max())), -1)
    slots[cluster[order], places] = order
    return slots


class ClusterAttention(nn.Module):
    """One head from voxels to the nodes of their clusters.

    Parameters
    ----------
    width : int
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.lin_key = nn.Linear(width, width)
        self.lin_query = nn.Linear(width, width)
        self.lin_value = nn.Linear(width, width)
        self.lin_skip = nn.Linear(width, width)

    def forward(
        self,
        voxels: Tensor,
        embedding: Tensor,
        centers: Tensor,
        slots: Tensor,
        kept: Tensor | None = None,
    ) -> Tensor:
        """Return the nodes of the clusters, (n, n_clusters, width).

        Parameters
        ----------
        voxels : Tensor of shape (n, n_voxels)
            Activations.
        embedding : Tensor of shape (n_voxels, width)
        centers : Tensor of shape (n_clusters, width)
        slots : Tensor of shape (n_clusters, m)
            From :func:`cluster_slots`.
        kept : Tensor of bool of shape (n, n_voxels), optional
            Voxels that take part; those left out are as if they were not there. A cluster that
            is left with none receives nothing.
        """
        there = slots >= 0
        places = slots.clamp_min(0)
        # Places that are filled up hold some voxel, whose weight is zero below.
        sorted_embedding = embedding[places]  # (k, m, d)
        folded = self.lin_query(centers) @ self.lin_key.weight
        scale = (sorted_embedding @ folded[:, :, None])[..., 0] / math.sqrt(self.width)
        activations = voxels[:, places]  # (n, k, m)
        logits = activations * scale
        present = there if kept is None else there & kept[:, places]
        logits = logits.masked_fill(~present, -torch.inf)
        highest = logits.amax(-1, keepdim=True).detach()
        weights = (logits - highest.clamp_min(torch.finfo(logits.dtype).min)).exp()
        total = weights.sum(-1, keepdim=True)
        weights = weights / total.clamp_min(torch.finfo(logits.dtype).tiny)
        messages = (weights * activations).transpose(0, 1) @ sorted_embedding  # (k, n, d)
        received: Tensor = self.lin_value(messages.transpose(0, 1))
        reached = present.any(-1).to(received)[..., None]
        nodes: Tensor = received * reached + self.lin_skip(centers)
        return nodes

    def plain(self, voxels: Tensor, embedding: Tensor, centers: Tensor, cluster: Tensor) -> Tensor:
        """Return the same by keys and values of every voxel of every sample, as it was published.

        For comparison; parameters as in :meth:`forward`, with the cluster (n_voxels,) of each
        voxel.
        """
        sent = voxels[..., None] * embedding
        key, value = self.lin_key(sent), self.lin_value(sent)
        query = self.lin_query(centers)[cluster]
        logits = (key * query).sum(-1) / math.sqrt(self.width)
        rows = cluster.expand_as(logits)
        highest = logits.new_full((len(voxels), len(centers)), -torch.inf)
        highest = highest.scatter_reduce(1, rows, logits, "amax")
        weights = (logits - highest.gather(1, rows)).exp()
        total = torch.zeros_like(highest).scatter_add(1, rows, weights)
        weights = weights / total.gather(1, rows)
        found = value.new_zeros(len(voxels), len(centers), self.width)
        found = found.index_add(1, cluster, weights[..., None] * value)
        nodes: Tensor = found + self.lin_skip(centers)
        return nodes
