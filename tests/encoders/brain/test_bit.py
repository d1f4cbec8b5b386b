"""The voxel-cluster transformer: folding, clusters, profiles, new subjects."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge
from torch import Tensor, nn

from phosphene.encoders.brain.bit import BITEncoder
from phosphene.encoders.brain.bit_blocks import CrossBlock, SelfBlock
from phosphene.encoders.brain.cluster_attention import ClusterAttention, cluster_slots
from phosphene.encoders.brain.voxel_clusters import cluster_voxels, nearest_voxels
from phosphene.encoders.brain.voxel_profiles import ProfileBasis, voxel_profiles
from phosphene.errors import InputError, UsageError


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_published_sizes() -> None:
    """What all subjects share: 35.2 M for the tokens of bigG, 38.1 M for 7,190 VGG tokens."""
    with torch.device("meta"):
        semantic = BITEncoder({"01": 10}, {"tokens": [256, 1664]})
        lowlevel = BITEncoder({"01": 10}, {"tokens": [7190, 512]})
        both = BITEncoder({"01": 40_000}, {"tokens": [256, 1664], "lowlevel": [4, 28, 28]})
    assert count(semantic) - 10 * 512 == 35_188_352
    assert count(lowlevel) - 10 * 512 == 38_147_584
    assert count(semantic.conv_centers) == 1_050_624
    assert count(semantic.blocks) == 15_754_240
    assert count(semantic.block_crosses) == 17_332_224
    assert count(both) == 35_188_352 + 40_000 * 512 + 196 * 512 + 512 * 16 + 16


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_folded_attention_is_plain_graph_attention(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    attention = ClusterAttention(32).to(dtype)
    centers, embedding = torch.randn(12, 32, dtype=dtype), torch.randn(500, 32, dtype=dtype)
    cluster = torch.randint(11, (500,))  # the last cluster has no voxel
    voxels = torch.randn(6, 500, dtype=dtype)
    folded = attention(voxels, embedding, centers, cluster_slots(cluster, 12))
    # In the published form an offset of the values reaches a cluster only with a message.
    plain = attention.plain(voxels, embedding, centers, cluster)
    assert (folded - plain).abs().max() < (1e-6 if dtype == torch.float32 else 1e-13)


def test_the_key_offset_cancels_and_gradients_are_the_same() -> None:
    torch.manual_seed(0)
    attention = ClusterAttention(8).double()
    centers, cluster = torch.randn(4, 8).double(), torch.randint(4, (30,))
    voxels = torch.randn(3, 30).double()
    gradients = []
    for folded in (True, False):
        embedding = torch.ones(30, 8).double().cumsum(0).sin().requires_grad_(True)
        where = cluster_slots(cluster, 4) if folded else cluster
        run = attention if folded else attention.plain
        run(voxels, embedding, centers, where).square().sum().backward()
        gradients.append(embedding.grad)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)
    before = attention(voxels, embedding, centers, cluster_slots(cluster, 4))
    with torch.no_grad():
        attention.lin_key.bias.fill_(3.0)
    after = attention(voxels, embedding, centers, cluster_slots(cluster, 4))
    assert torch.equal(before, after)
    plain = attention.plain(voxels, embedding, centers, cluster)
    torch.testing.assert_close(plain, after, rtol=1e-9, atol=1e-9)


def test_voxels_left_out_are_as_if_they_were_not_there() -> None:
    torch.manual_seed(0)
    attention = ClusterAttention(8).double()
    centers, embedding = torch.randn(4, 8).double(), torch.randn(30, 8).double()
    cluster, voxels = torch.arange(30) % 4, torch.randn(2, 30).double()
    kept = torch.rand(30) < 0.6
    kept[cluster == 2] = False
    masked = attention(
        voxels, embedding, centers, cluster_slots(cluster, 4), kept.expand(2, -1).clone()
    )
    alone = attention.plain(voxels[:, kept], embedding[kept], centers, cluster[kept])
    torch.testing.assert_close(masked, alone, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(masked[:, 2], attention.lin_skip(centers[2]).expand(2, -1))


def test_slots_hold_every_voxel_once() -> None:
    cluster = torch.tensor([2, 0, 2, 2, 0])
    expected = torch.tensor([[1, 4, -1], [-1, -1, -1], [0, 2, 3]])
    assert torch.equal(cluster_slots(cluster, 3), expected)


def test_blocks_against_torch() -> None:
    """Self-attention against torch's own layer; the cross block by its written formula."""
    torch.manual_seed(0)
    block = SelfBlock(8, 2).double()
    layer = nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    with torch.no_grad():
        layer.self_attn.in_proj_weight.copy_(block.attn.qkv.weight)
        layer.self_attn.in_proj_bias.zero_()
        layer.self_attn.out_proj.load_state_dict(block.attn.proj.state_dict())
        for mine, theirs in (("norm1", "norm1"), ("norm2", "norm2"), ("mlp.fc1", "linear1"),
                             ("mlp.fc2", "linear2")):  # fmt: skip
            layer.get_submodule(theirs).load_state_dict(block.get_submodule(mine).state_dict())
    nodes = torch.randn(3, 5, 8).double()
    torch.testing.assert_close(block(nodes), layer(nodes))

    cross = CrossBlock(8, 1).double()
    queries = torch.randn(3, 4, 8).double()
    key, value = cross.attn.kv(cross.norm1(nodes)).chunk(2, dim=-1)
    weights = (queries @ key.transpose(1, 2) / 8**0.5).softmax(-1)
    seen = cross.attn.proj(weights @ value)
    torch.testing.assert_close(cross(queries, nodes), queries + seen + cross.mlp(cross.norm2(seen)))


def test_parts_read_the_same_trunk_without_seeing_one_another() -> None:
    torch.manual_seed(0)
    both = BITEncoder(
        {"01": 20}, {"tokens": [3, 10], "lowlevel": [2, 4, 6]}, width=16, depth=1, heads=2,
        clusters=4,
    ).eval()  # fmt: skip
    alone = BITEncoder({"01": 20}, {"tokens": [3, 10]}, 16, 1, 2, 4).eval()
    state = {k: v for k, v in both.state_dict().items() if not k.startswith("more_")}
    alone.load_state_dict(state)
    voxels = torch.randn(5, 20)
    torch.testing.assert_close(both({"01": voxels})["tokens"], alone({"01": voxels})["tokens"])
    assert both({"01": voxels})["lowlevel"].shape == (5, 2, 4, 6)


def test_drawing_with_replacement_keeps_the_share_that_is_known() -> None:
    """Of 15,000 draws from 40,000 voxels 12,505 take part: 16.6 % are wasted on copies."""
    encoder = BITEncoder({"01": 5}, {"pooled": [3]}, 8, 1, 1, 2, sampled_voxels=15_000).train()
    torch.manual_seed(0)
    kept = encoder._kept(torch.zeros(4, 40_000))
    assert kept is not None
    assert kept.sum(1).float().mean() == pytest.approx(12_505, rel=0.005)
    dropped = BITEncoder({"01": 5}, {"pooled": [3]}, 8, 1, 1, 2, voxel_dropout=0.3).train()
    kept = dropped._kept(torch.zeros(4, 40_000))
    assert kept is not None
    assert kept.float().mean() == pytest.approx(0.7, abs=0.01)
    assert dropped.eval()._kept(torch.zeros(4, 9)) is None


def groups(n_subjects: int = 2, spread: float = 0.15) -> tuple[dict[str, Tensor], Tensor]:
    """Return profiles of subjects around 6 directions, and the directions."""
    generator = torch.Generator().manual_seed(4)
    directions = torch.randn(6, 10, generator=generator)
    found = {}
    for number in range(n_subjects):
        places = torch.arange(60 + 6 * number) % 6
        noise = torch.randn(len(places), 10, generator=generator)
        length = 1 + torch.rand(len(places), 1, generator=generator)
        found[f"{number + 1:02d}"] = (directions[places] + spread * noise) * length
    return found, directions


def test_clusters_are_seeded_balanced_and_shared() -> None:
    profiles, _ = groups()
    found, centres = cluster_voxels(profiles, 6, seed=1)
    again, _ = cluster_voxels(profiles, 6, seed=1)
    assert all(torch.equal(found[s], again[s]) for s in found)
    assert centres.shape == (6, 10)
    for subject, cluster in found.items():  # planted groups are found, the same in both subjects
        first = found["01"][:6]
        assert len(set(first.tolist())) == 6
        assert torch.equal(cluster, first[torch.arange(len(cluster)) % 6]), subject
    _, uneven = cluster_voxels({"01": torch.randn(90, 3)}, 9)
    assert uneven.isfinite().all()
    one_kind, _ = cluster_voxels({"01": torch.ones(80, 3) + 1e-3 * torch.randn(80, 3)}, 8)
    assert torch.bincount(one_kind["01"], minlength=8).max() <= 13  # 1.25 times the mean
    with pytest.raises(InputError, match="fewer clusters"):
        cluster_voxels({"01": torch.randn(4, 3)}, 5)


def test_nearest_voxels_by_direction() -> None:
    known = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]])
    near = nearest_voxels(torch.tensor([[9.0, 8.0], [0.1, 3.0]]), known, 2)
    assert near[0, 0] == 2
    assert near[1, 0] == 1


def test_profiles_are_ridge_coefficients_on_principal_components() -> None:
    generator = np.random.default_rng(0)
    values = generator.normal(size=(200, 12)) @ np.diag(0.5 ** np.arange(12))
    values = (values @ generator.normal(size=(12, 12)) + 3).astype(np.float32)
    basis = ProfileBasis.fit(torch.from_numpy(values), 4)
    reference = PCA(4, whiten=True, svd_solver="full").fit(values)
    found, expected = basis.reduce(torch.from_numpy(values)).numpy(), reference.transform(values)
    signs = np.sign((found * expected).sum(0))
    np.testing.assert_allclose(found * signs, expected * np.sqrt(200 / 199), rtol=1e-3, atol=1e-3)

    voxels = generator.normal(size=(200, 7)).astype(np.float32)

    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, 200, 64):
            part = slice(start, start + 64)
            yield torch.from_numpy(voxels[part]), torch.from_numpy(values[part])

    profile = voxel_profiles(basis, blocks, penalty=0.01)
    fit = Ridge(alpha=2.0, fit_intercept=False).fit(found, voxels)
    np.testing.assert_allclose(profile.numpy(), fit.coef_, rtol=1e-3, atol=1e-4)
    with pytest.raises(InputError, match="4 pictures"):
        ProfileBasis.fit(torch.zeros(4, 3), 4)
    with pytest.raises(InputError, match="same for every picture"):
        ProfileBasis.fit(torch.ones(9, 3), 2)


def aligned() -> tuple[BITEncoder, dict[str, Tensor], ProfileBasis]:
    profiles, _ = groups(3)
    new = {"03": profiles.pop("03")}
    basis = ProfileBasis(torch.zeros(30), torch.randn(30, 10))
    encoder = BITEncoder(
        {s: len(p) for s, p in profiles.items()}, {"tokens": [3, 10]}, width=16, depth=1, heads=2,
        clusters=6, profile_size=10,
    ).eval()  # fmt: skip
    with pytest.raises(UsageError, match="profiles"):
        _ = encoder.profile_basis
    encoder.align(profiles, basis, seed=2)
    return encoder, new, basis


def test_alignment_makes_voxels_that_respond_alike_begin_alike() -> None:
    encoder, _, basis = aligned()
    first, second = (encoder._of(subject) for subject in ("01", "02"))
    assert torch.equal(first.cluster[:6], second.cluster[:6])
    similarity = nn.functional.cosine_similarity(first.embedding[:6], second.embedding[:6])
    assert similarity.min() > 0.8
    assert torch.equal(encoder.profile_basis.components, basis.components)


def test_a_new_subject_starts_from_its_nearest_neighbours() -> None:
    encoder, new, _ = aligned()
    encoder.add_subject("03", len(new["03"]))
    shared = {name: value.clone() for name, value in encoder.shared_parameters().items()}
    encoder.align_subject("03", new["03"])
    own, known = encoder._of("03"), encoder._of("01")
    assert torch.equal(own.cluster[:6], known.cluster[:6])
    similarity = nn.functional.cosine_similarity(own.embedding[:6], known.embedding[:6])
    assert similarity.min() > 0.8
    assert set(encoder.own_parameters("03")) == {"voxel_embed.sub-03.embedding"}
    assert all(torch.equal(v, shared[n]) for n, v in encoder.shared_parameters().items())
    with pytest.raises(InputError, match="profiles of shape"):
        encoder.align_subject("03", new["03"][1:])


def test_clusters_are_kept_with_the_weights(tmp_path: object) -> None:
    encoder, _, _ = aligned()
    voxels = torch.randn(4, 60)
    other = BITEncoder(**encoder.config).eval()
    assert not torch.equal(other({"01": voxels})["tokens"], encoder({"01": voxels})["tokens"])
    other.load_tensors(encoder.tensors())
    assert torch.equal(other({"01": voxels})["tokens"], encoder({"01": voxels})["tokens"])
