"""From pictures to any voxel: what attention reads, and what of a planted brain is found."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from phosphene.encoders.brain.voxel_clusters import cluster_voxels
from phosphene.encoders.brain.voxel_readout import VoxelReadout
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.pipelines.training.trial_items import Items
from phosphene.pipelines.training.voxel_encoder import (
    VoxelEncoderConfig,
    fit_voxel_embeddings,
    voxel_correlations,
)

PLACES, DIM = 6, 5


def test_a_voxel_reads_by_its_written_formula() -> None:
    torch.manual_seed(0)
    readout = VoxelReadout(PLACES, DIM, size=4, channels=7, keys=3).double().eval()
    features, voxels = torch.randn(2, PLACES, DIM).double(), torch.randn(3, 4).double()
    found = readout(features, voxels)
    looks = readout.looks_at(features, voxels)
    assert found.shape == (2, 3)
    torch.testing.assert_close(looks.sum(-1), torch.ones(2, 3).double())
    for picture in range(2):
        values = readout.narrow(readout.norm(features[picture]))
        for voxel in range(3):
            query = readout.query.weight @ voxels[voxel]
            keys = values @ readout.key.weight.T + readout.place
            attention = torch.softmax(keys @ query, 0)
            torch.testing.assert_close(looks[picture, voxel], attention)
            read = readout.norm_read(attention @ values)
            read = read + readout.mlp(read)
            expected = read @ (readout.tuning.weight @ voxels[voxel])
            torch.testing.assert_close(found[picture, voxel], expected)


class Planted:
    """Two subjects whose voxels look at one place each, for one feature: stands for a store."""

    def __init__(self, n: int = 400) -> None:
        generator = torch.Generator().manual_seed(1)
        self.features = torch.randn(n, PLACES, DIM, generator=generator)
        self.kinds = {"01": torch.arange(24) % 4, "02": torch.arange(32) % 4}
        self.held = {}
        for label, kinds in self.kinds.items():
            signal = torch.stack([self.features[:, 2 * (k % 2) + 1, k] for k in kinds.tolist()], 1)
            noise = 0.5 * torch.randn(signal.shape, generator=generator)
            self.held[label] = (signal + noise) / 1.25**0.5

    def mean(self, subject: str, rows: Tensor, kept: Tensor) -> Tensor:
        return self.held[subject][rows[:, 0]]

    def items(self, *subjects: str) -> Items:
        n = len(self.features) - 100  # the last hundred are for testing
        number = torch.arange(len(subjects)).repeat_interleave(n)
        rows = torch.arange(n).repeat(len(subjects))
        return Items(number, rows[:, None], rows, subjects)


def test_a_planted_brain_is_found_and_a_new_subject_with_it(tmp_path: Path) -> None:
    planted = Planted()
    torch.manual_seed(0)
    readout = VoxelReadout(PLACES, DIM, size=8, channels=16, keys=8, dropout=0.0)
    training = EngineConfig(epochs=40, batch_size=50, learning_rate=1e-2)
    config = VoxelEncoderConfig(voxels_per_step=24, training=training)
    start = {"01": 0.3 * torch.randn(24, 8)}
    found = fit_voxel_embeddings(
        readout, start, planted.items("01"), planted,  # type: ignore[arg-type]
        planted.features, config, folder=tmp_path / "a",
    )  # fmt: skip
    held_out = slice(300, 400)
    features = planted.features[held_out]
    score = voxel_correlations(readout, found["01"], features, planted.held["01"][held_out])
    # The truth has a correlation of 1 / sqrt(1.25) = .89 with what was measured.
    assert np.median(score) > 0.65
    blind = voxel_correlations(readout, found["01"], features.flip(0), planted.held["01"][held_out])
    assert abs(np.median(blind)) < 0.2
    before = {name: value.clone() for name, value in readout.state_dict().items()}
    new = fit_voxel_embeddings(
        readout, {"02": 0.3 * torch.randn(32, 8)}, planted.items("02"), planted,  # type: ignore[arg-type]
        planted.features, config, folder=tmp_path / "b", frozen=True,
    )  # fmt: skip
    assert all(torch.equal(value, before[name]) for name, value in readout.state_dict().items())
    assert not any(one.requires_grad for one in readout.parameters())
    score = voxel_correlations(readout, new["02"], features, planted.held["02"][held_out])
    assert np.median(score) > 0.6
    clusters, _ = cluster_voxels({"01": found["01"], "02": new["02"]}, 4, seed=0)
    for subject, kinds in planted.kinds.items():  # voxels that respond alike are together
        same = clusters[subject][:, None] == clusters["01"][None]
        alike = kinds[:, None] == planted.kinds["01"][None]
        assert (same == alike).float().mean() > 0.9
    with pytest.raises(AttributeError):
        _ = readout.embedding  # voxels belong to subjects
