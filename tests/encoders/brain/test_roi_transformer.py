"""Tokens by region: which voxels they read, and what silencing does."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from phosphene.data.readers.atlas import read_atlas
from phosphene.encoders.brain.importance import occlude_regions
from phosphene.encoders.brain.roi_transformer import RegionTransformerEncoder
from phosphene.encoders.brain.voxel_regions import VoxelRegions, joined_names, positional_parcels
from phosphene.errors import InputError, UsageError
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

NAMES = ("V1", "V2", "LO")


def encoder(**more: object) -> RegionTransformerEncoder:
    torch.manual_seed(0)
    made = RegionTransformerEncoder(
        {"01": 12, "02": 9}, {"tokens": [3, 10]}, regions=NAMES,
        networks={"early": ["V1", "V2"]}, width=16, depth=1, heads=2, **more,
    ).eval()  # type: ignore[arg-type]  # fmt: skip
    made.assign_regions("01", VoxelRegions(np.array([0] * 5 + [1] * 4 + [2] * 2 + [-1]), NAMES))
    made.assign_regions("02", VoxelRegions(np.array([1, 0, 1] * 3), ("LO", "V1")))
    return made


def test_a_token_reads_its_region_alone() -> None:
    made, voxels = encoder(), torch.randn(4, 12)
    tokens = made.read("01", voxels)
    assert tokens.shape == (4, 3, 16)
    for region, columns in ((0, slice(0, 5)), (1, slice(5, 9)), (2, slice(9, 11))):
        changed = voxels.clone()
        changed[:, columns] += 1
        moved = (made.read("01", changed) - tokens).abs().amax((0, 2)) > 1e-6
        assert moved.tolist() == [number == region for number in range(3)]
    outside = voxels.clone()
    outside[:, 11] += 1
    assert torch.equal(made.read("01", outside), tokens)  # in no region
    assert not made.read("02", torch.randn(4, 9))[:, 1].any()  # no voxels in V2


def test_regions_and_networks_are_occluded_by_name() -> None:
    made = encoder()
    data = np.random.default_rng(0).normal(size=(20, 12)).astype(np.float32)
    items = Recording(data, "fmri", "01", complete_trials(None, 20))
    masks = made.region_masks("01") | made.network_masks("01")
    assert [int(masks[name].sum()) for name in (*NAMES, "early")] == [5, 4, 2, 9]
    effects = {one.region: one for one in occlude_regions(made, items, masks)}
    assert all(one.change > 0 for one in effects.values())
    outside = np.arange(12) == 11
    assert occlude_regions(made, items, {"none": outside})[0].change == 0
    assert "V2" not in made.region_masks("02")
    assert made.network_masks("02")["early"].tolist() == [True, False, True] * 3


def test_whole_regions_are_left_out_in_training() -> None:
    made = encoder(region_dropout=0.5).train()
    torch.manual_seed(1)
    tokens = made.read("01", torch.randn(200, 12))
    silent = ~tokens.any(-1)
    assert silent.float().mean(0).sub(0.5).abs().max() < 0.15
    assert not (~made.eval().read("01", torch.randn(200, 12)).any(-1)).any()


def test_regions_are_kept_with_the_weights() -> None:
    made, voxels = encoder(), torch.randn(4, 12)
    made({"01": voxels})
    other = RegionTransformerEncoder(**made.config).eval()
    other({"01": voxels})  # has looked its voxels up before they changed
    other.load_tensors(made.tensors())
    assert torch.equal(other({"01": voxels})["tokens"], made({"01": voxels})["tokens"])


def test_wrong_regions_are_refused() -> None:
    made = encoder()
    with pytest.raises(InputError, match="regions of 3 voxels"):
        made.assign_regions("01", VoxelRegions(np.zeros(3, dtype=int), NAMES))
    with pytest.raises(InputError, match="IPS"):
        made.assign_regions("01", VoxelRegions(np.zeros(12, dtype=int), ("IPS",)))
    with pytest.raises(UsageError, match="hMT"):
        RegionTransformerEncoder(
            {"01": 4}, {"pooled": [3]}, regions=NAMES, networks={"x": ["hMT"]}, width=8, heads=2
        )
    for wrong in ({"regions": ["a", "a"]}, {"region_dropout": 1.0}, {"heads": 3}):
        with pytest.raises(UsageError):
            RegionTransformerEncoder({"01": 4}, {"pooled": [3]}, width=8, **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="from 0 to 3"):
        VoxelRegions(np.array([0, 3]), NAMES)


def test_parcels_are_equal_halves_by_position() -> None:
    grid = (8, 6, 4)
    space = VoxelSpace(grid, np.arange(192), np.diag([2.0, 3.0, 4.0, 1.0]))
    parcels = positional_parcels(space, 8)
    assert np.bincount(parcels.region).tolist() == [24] * 8
    where = np.stack(np.unravel_index(np.arange(192), grid), 1)
    expected = (where >= np.array([4, 3, 2])) @ np.array([4, 2, 1])
    assert np.array_equal(parcels.region, expected)
    columns = positional_parcels(VoxelSpace.columns(10), 4)
    assert (np.diff(columns.region) >= 0).all()
    # A head that is moved and turned to another grid has the same parcels.
    moved = VoxelSpace(grid, np.arange(192), np.diag([2.0, 3.0, 4.0, 1.0]) + np.eye(4, k=3) * 50)
    assert np.array_equal(positional_parcels(moved, 8).region, parcels.region)
    with pytest.raises(UsageError, match="power of two"):
        positional_parcels(space, 12)
    with pytest.raises(InputError, match="fewer parcels"):
        positional_parcels(VoxelSpace.columns(3), 4)


def test_an_atlas_names_the_regions_of_voxels(tmp_path: Path) -> None:
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    labels = np.zeros((4, 3, 2), dtype=np.int16)
    labels[0], labels[1], labels[3] = 2, 7, 4
    nibabel.save(nibabel.Nifti1Image(labels, affine), tmp_path / "sub_dseg.nii.gz")
    space = VoxelSpace((4, 3, 2), np.arange(3, 15), affine)
    region, names = read_atlas(str(tmp_path / "sub_dseg.nii.gz"), space)
    assert names == ("region-2", "region-7")  # 4 lies outside
    assert region.tolist() == [0] * 3 + [1] * 6 + [-1] * 3
    (tmp_path / "sub_dseg.tsv").write_text("index\tname\tmore\n2\tV2\ta\n7\tIPS\tb\n")
    assert read_atlas(str(tmp_path / "sub_dseg.nii.gz"), space)[1] == ("V2", "IPS")
    np.save(tmp_path / "atlas.npy", labels.reshape(-1))
    with pytest.raises(InputError):  # columns of another recording
        read_atlas(str(tmp_path / "atlas.npy"), VoxelSpace.columns(9))
    assert read_atlas(str(tmp_path / "atlas.npy"), VoxelSpace.columns(24))[0][:7].tolist() == [
        0, 0, 0, 0, 0, 0, 2,
    ]  # fmt: skip
    shifted = VoxelSpace((4, 3, 2), np.arange(3, 15), affine + np.eye(4, k=3))
    with pytest.raises(InputError):
        read_atlas(str(tmp_path / "sub_dseg.nii.gz"), shifted)
    nibabel.save(
        nibabel.Nifti1Image(np.full((4, 3, 2), 0.4, np.float32), affine), tmp_path / "p.nii"
    )
    with pytest.raises(InputError, match="between"):
        read_atlas(str(tmp_path / "p.nii"), space)
    (tmp_path / "sub_dseg.tsv").write_text("number\tname\n1\tV1\n")
    with pytest.raises(InputError, match="index and name"):
        read_atlas(str(tmp_path / "sub_dseg.nii.gz"), space)


def test_names_of_all_subjects_are_joined_in_order() -> None:
    first = VoxelRegions(np.array([0, 2]), NAMES)
    second = VoxelRegions(np.array([0, 1]), ("LO", "MT"))
    assert joined_names({"01": first, "02": second}) == ("V1", "LO", "MT")
