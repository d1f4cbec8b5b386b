"""Edges against scikit-image, depth against the network alone; both come back from storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.filters import sobel

from phosphene.data.pictures import Pictures
from phosphene.data.scenes import render, sample_scenes
from phosphene.encoders.stimulus.maps import DepthTarget, EdgeTarget
from phosphene.errors import AssetError, UsageError

SIZE = 28
DPT: dict[str, Any] = {
    "model_type": "dpt", "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 4,
    "num_attention_heads": 2, "image_size": SIZE, "patch_size": 14, "backbone_out_indices": [
        0, 1, 2, 3], "neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8,
    "is_hybrid": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return render(sample_scenes(0, 10), 32).images


@pytest.fixture(scope="module")
def depth() -> DepthTarget:
    torch.manual_seed(0)
    return DepthTarget(DPT, size=8, reading=SIZE)


def test_edges_are_those_of_scikit_image(pictures: Pictures) -> None:
    target = EdgeTarget(size=32, reading=32)
    found = target.encode(pictures)[:, 0].numpy()
    for row, picture in enumerate(pictures):
        grey = picture / 255 @ np.array([0.2125, 0.7154, 0.0721])
        wanted = sobel(grey, mode="nearest")
        assert np.abs(found[row] - wanted / wanted.max()).max() < 1e-4
    coarse = EdgeTarget(size=8, reading=32).encode(pictures)[:, 0]
    pooled = torch.from_numpy(found).unflatten(1, (8, 4)).unflatten(3, (8, 4)).mean((2, 4))
    assert torch.allclose(coarse, pooled, atol=1e-5)


def test_a_plain_picture_has_no_edges() -> None:
    plain = np.full((1, 32, 32, 3), 90, dtype=np.uint8)
    assert float(EdgeTarget(8, 32).encode(plain).abs().max()) < 1e-3


def test_depth_is_the_networks_within_each_picture(depth: DepthTarget, pictures: Pictures) -> None:
    shown = np.stack([picture[:SIZE, :SIZE] for picture in pictures])
    found = depth.encode(shown)
    assert found.shape == (10, 1, 8, 8)
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    mean = torch.tensor((0.485, 0.456, 0.406)).view(3, 1, 1)
    std = torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    one = (torch.from_numpy(shown[2]).permute(2, 0, 1) / 255 - mean) / std
    with torch.no_grad():
        near = depth.network(one[None]).predicted_depth[0]
    scaled = (near - near.min()) / (near.max() - near.min())
    side = scaled.shape[0] // 8
    wanted = scaled.unflatten(0, (8, side)).unflatten(2, (8, side)).mean((1, 3))
    assert torch.allclose(found[2, 0], wanted, atol=1e-5)
    assert torch.equal(depth.encode(shown[2:3])[0], found[2])  # company changes nothing


@pytest.mark.parametrize("kind", ["edges", "depth"])
def test_maps_come_back_and_are_stored(
    kind: str, depth: DepthTarget, pictures: Pictures, tmp_path: Path
) -> None:
    target: Any = EdgeTarget(8, 32) if kind == "edges" else depth
    plain = target.encode(pictures)
    before = target.spec.hash
    target.standardise(pictures)
    values = target.encode(pictures)
    assert torch.allclose(target.decode(values), plain, atol=1e-5)
    assert float(target.decode(values * 100).max()) <= 1
    assert target.spec.hash != before
    target.save_pretrained(tmp_path / kind)
    again = type(target).from_pretrained(tmp_path / kind)
    assert again.spec == target.spec
    assert torch.equal(again.encode(pictures), values)


def test_published_networks_load_from_their_folder(pictures: Pictures, tmp_path: Path) -> None:
    from transformers import DPTConfig, DPTForDepthEstimation

    torch.manual_seed(1)
    settings = {key: value for key, value in DPT.items() if key != "model_type"}
    network = DPTForDepthEstimation(DPTConfig(**settings))
    network.save_pretrained(tmp_path / "dpt")
    made = DepthTarget.from_transformers(f"local-dir:{tmp_path / 'dpt'}", size=8, reading=SIZE)
    for key, value in network.state_dict().items():
        assert torch.equal(made.network.state_dict()[key], value)
    made.save_pretrained(tmp_path / "target")
    again = DepthTarget.from_pretrained(tmp_path / "target")
    assert torch.equal(again.encode(pictures[:1]), made.encode(pictures[:1]))


def test_wrong_use_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="maps of 30 from pictures of 128"):
        EdgeTarget(30)
    with pytest.raises(UsageError, match="one of depth_anything, dpt"):
        DepthTarget({"model_type": "zoedepth"})
    with pytest.raises(AssetError, match="could not be loaded"):
        DepthTarget.from_transformers(f"local-dir:{tmp_path}")
