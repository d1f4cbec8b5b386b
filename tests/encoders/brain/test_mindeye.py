"""The published encoders: sizes, names, and what of them is alive."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from phosphene.encoders.brain.latent_head import LatentHead
from phosphene.encoders.brain.mindeye1 import MindEye1Encoder
from phosphene.encoders.brain.mindeye2 import FactorisedHead, MindEye2Encoder
from phosphene.errors import InputError, UsageError

VOXELS = 15_724  # of NSD subject 1 in nsdgeneral
BIGG: dict[str, Any] = {"tokens": [256, 1664]}
LATENTS: dict[str, Any] = {"lowlevel": [4, 28, 28]}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes() -> None:
    with torch.device("meta"):
        assert count(MindEye1Encoder({"01": VOXELS}, {"tokens": [257, 768]})) == 947_579_904
        full = MindEye2Encoder({"01": VOXELS}, BIGG | LATENTS, 4096, faithful=True)
        assert count(full) == 1_967_429_628
        assert count(full.ridge) == 64_409_600
        assert count(MindEye2Encoder({"01": VOXELS}, BIGG, 1024, faithful=True)) == 469_462_680
        assert count(LatentHead(1, (4, 28, 28), groups=32).bupsampler) == 1_750_692
        assert count(LatentHead(1, (4, 64, 64), (64, 128, 256)).bupsampler) == 6_841_668


def test_sizes_of_the_default_form() -> None:
    """Without dead parts and with the factorised head: an eighth of the parameters."""
    with torch.device("meta"):
        light = MindEye2Encoder({"01": VOXELS}, BIGG, 1024)
        full = MindEye2Encoder({"01": VOXELS}, BIGG | LATENTS, 4096)
    assert count(light) == 58_650_240
    assert count(full) == 222_219_748
    assert full.backbone.lowlevel.b_maps_projector is None


def published(encoder: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Return weights by the names that a published checkpoint of one subject gives them."""
    names = {}
    for name, value in encoder.state_dict().items():
        plain = name.replace("linears.sub-01", "linears.0").replace("lin0.sub-01", "lin0")
        names[prefix + plain.replace("backbone.lowlevel.", "backbone.")] = value.clone()
    return names


@pytest.fixture
def faithful() -> MindEye2Encoder:
    torch.manual_seed(0)
    targets = {"tokens": [3, 16], "lowlevel": [4, 8, 8]}
    encoder = MindEye2Encoder(
        {"01": 20}, targets, 24, faithful=True, latent_channels=(8, 8, 16)
    ).eval()
    with torch.no_grad():
        for block in encoder.backbone.mixer_blocks2:
            block[0].bias.normal_()
    return encoder


def test_the_published_trunk_only_adds_a_number(faithful: MindEye2Encoder) -> None:
    """Its weights have no effect: the way to the tokens is affine in the voxels."""
    backbone, voxels = faithful.backbone, torch.randn(7, 20)
    with torch.no_grad():
        tokens = faithful({"01": voxels})["tokens"]
        for block in backbone.mixer_blocks1:
            for parameter in block.parameters():
                parameter.normal_()
        assert torch.equal(faithful({"01": voxels})["tokens"], tokens)
        number = torch.zeros(1)
        for norm, mixer in backbone.mixer_blocks2:
            number = number + mixer(norm.bias)
        ridge = faithful.ridge["linears"]["sub-01"]
        affine = backbone.backbone_linear(ridge(voxels) + number).unflatten(1, (3, 16))
    torch.testing.assert_close(tokens, affine, rtol=1e-5, atol=1e-5)
    dead = [p for block in backbone.mixer_blocks1 for p in block.parameters()]
    faithful({"01": voxels})["tokens"].square().sum().backward()
    assert all(p.grad is None or not p.grad.any() for p in dead)


def test_published_weights_go_in_by_their_names(faithful: MindEye2Encoder) -> None:
    weights = published(faithful)
    assert weights["ridge.linears.0.weight"].shape == (24, 20)
    assert weights["backbone.mixer_blocks1.3.1.3.weight"].shape == (24, 24)
    assert weights["backbone.mixer_blocks2.0.1.0.weight"].shape == (1, 1)
    assert weights["backbone.clip_proj.8.weight"].shape == (16, 16)
    assert weights["backbone.blin1.weight"].shape == (64 * 2 * 2, 24)
    for name in ("bnorm.weight", "bupsampler.conv_in.weight", "b_maps_projector.6.bias"):
        assert f"backbone.{name}" in weights
    weights |= {"diffusion_prior.net.learned_query": torch.zeros(3, 16)}
    weights |= {"ridge.linears.1.weight": torch.zeros(24, 9)}  # of another subject
    torch.manual_seed(5)
    other = MindEye2Encoder(**faithful.config).eval()
    voxels = torch.randn(4, 20)
    assert not torch.equal(other({"01": voxels})["tokens"], faithful({"01": voxels})["tokens"])
    other.load_published(weights, ["01"])
    for part, values in faithful({"01": voxels}).items():
        assert torch.equal(other({"01": voxels})[part], values)
    with pytest.raises(InputError, match="02"):
        other.load_published(weights, ["02"])
    weights.pop("backbone.blin1.weight")
    with pytest.raises(InputError, match="blin1"):
        other.load_published(weights, ["01"])


def test_mindeye1_takes_published_weights() -> None:
    torch.manual_seed(0)
    encoder = MindEye1Encoder(
        {"01": 20}, {"tokens": [3, 6]}, width=8, depth=2, projector_width=10
    ).eval()
    weights = published(encoder, "voxel2clip.")
    assert weights["voxel2clip.lin0.0.weight"].shape == (8, 20)
    assert weights["voxel2clip.mlp.1.1.weight"].shape == (8,)
    assert weights["voxel2clip.projector.5.weight"].shape == (10, 10)
    weights["net.learned_query"] = torch.zeros(3, 6)
    other = MindEye1Encoder(**encoder.config).eval()
    other.load_published(weights)
    voxels = torch.randn(4, 20)
    for part, values in encoder({"01": voxels}).items():
        assert torch.equal(other({"01": voxels})[part], values)
    encoder.add_subject("02", 5)
    with pytest.raises(InputError, match="2 subjects"):
        encoder.load_published(weights)


def test_the_faithful_form_predicts_tokens_alone() -> None:
    with pytest.raises(UsageError, match="faithful"):
        MindEye2Encoder({"01": 5}, {"pooled": [4]}, 8, faithful=True)


def test_the_factorised_head_is_a_dense_head_of_low_rank() -> None:
    torch.manual_seed(0)
    head = FactorisedHead(width=12, n_tokens=4, dim=10, rank=3)
    vectors = torch.randn(5, 12)
    shared, codes = head.shared.weight, head.codes
    dense = torch.einsum("dr,trw->tdw", shared, codes.weight.unflatten(0, (4, 3)))
    offset = codes.bias.unflatten(0, (4, 3)) @ shared.T + head.offset
    expected = torch.einsum("tdw,nw->ntd", dense, vectors) + offset
    torch.testing.assert_close(head(vectors), expected, rtol=1e-5, atol=1e-5)
    assert torch.linalg.matrix_rank(dense.flatten(0, 1)) <= 12
    assert all(torch.linalg.matrix_rank(one) == 3 for one in dense)
