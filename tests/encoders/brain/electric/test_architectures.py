"""Published sizes, the exact fold, and what each architecture is known for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from phosphene.encoders.brain.electric.atm import ATMEncoder
from phosphene.encoders.brain.electric.base import count_parameters
from phosphene.encoders.brain.electric.conformer import ConformerEncoder, TimeSpaceConv
from phosphene.encoders.brain.electric.conv_attention import (
    ConvAttentionEncoder,
    SensorAttention,
    flat_positions,
)
from phosphene.encoders.brain.electric.dual_branch import DualBranchEncoder
from phosphene.encoders.brain.electric.eegnet import EEGNetEncoder
from phosphene.encoders.brain.electric.enigma import EnigmaEncoder
from phosphene.encoders.brain.electric.flat_mlp import FlatMLPEncoder
from phosphene.encoders.brain.electric.folded import FoldedConvPool
from phosphene.encoders.brain.electric.tsconv import (
    ChannelAttention,
    ChannelGraph,
    TSConv,
    TSConvEncoder,
)
from phosphene.errors import UsageError

TEMPERATURE = 1  # counted beside what is published


def test_published_sizes() -> None:
    assert count_parameters(TSConv(63, 250)) == 103_680  # Li et al. 2024, table of parameters
    assert count_parameters(ATMEncoder(1024, 63, 250).projector) == 2_527_232  # the same
    nice = TSConvEncoder(768, 63, 250)
    assert count_parameters(nice) - TEMPERATURE == 1_802_496
    assert count_parameters(FlatMLPEncoder(1024, 17, 250)) - TEMPERATURE == 5_404_672
    assert count_parameters(FlatMLPEncoder(1024, 271, 201)) == pytest.approx(56.8e6, rel=1e-3)


@pytest.mark.parametrize(("filters", "count"), [(4, 1_066), (8, 2_258)])
def test_the_published_sizes_of_eegnet(filters: int, count: int) -> None:
    """EEGNet-4,2 and EEGNet-8,2 for 64 channels, 128 samples and two classes (Lawhern 2018)."""
    assert count_parameters(EEGNetEncoder(2, 64, 128, filters=filters, head="published")) == (
        count + TEMPERATURE
    )


def test_the_published_sizes_of_conformers() -> None:
    """For 22 channels and 1,000 samples; the table of DBConformer leaves its pooling out."""
    conformer = ConformerEncoder(4, 22, 1000, head="published")
    assert count_parameters(conformer) - TEMPERATURE == 789_572
    dual = DualBranchEncoder(2, 22, 1000, patch=125, head="published")
    pooling = count_parameters(dual.space.pool)
    assert pooling == 40 * 40 + 40
    assert count_parameters(dual) - pooling - TEMPERATURE == 92_066


def test_a_convolution_in_time_and_one_over_channels_are_one() -> None:
    torch.manual_seed(0)
    joined = TimeSpaceConv(5, 6, 9).double()
    x = torch.randn(3, 5, 40, dtype=torch.float64)
    usual = joined.spatial(joined.temporal(x.unsqueeze(1))).squeeze(2)
    torch.testing.assert_close(joined(x), usual, rtol=1e-12, atol=1e-12)
    toward, weights = torch.randn_like(usual), list(joined.parameters())
    mine = torch.autograd.grad((joined(x) * toward).sum(), weights)
    other = torch.autograd.grad((usual * toward).sum(), weights)
    torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


def test_channels_are_summed_up_by_a_convolution_averaged_over_time() -> None:
    torch.manual_seed(1)
    branch = DualBranchEncoder(4, 3, 60).space.double().eval()
    x, seen = torch.randn(2, 3, 60, dtype=torch.float64), []
    branch.embed.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    branch(x)
    usual = nn.functional.conv1d(
        x.reshape(6, 1, 60), branch.filter.weight, branch.filter.bias, stride=5
    )
    torch.testing.assert_close(seen[0], usual.mean(dim=2).reshape(2, 3, 16))


def test_filters_of_eegnet_over_channels_stay_within_their_norm() -> None:
    torch.manual_seed(2)
    encoder, x = EEGNetEncoder(4, 5, 64).eval(), torch.randn(2, 5, 64)
    with torch.no_grad():
        encoder.spatial.weight.mul_(100)
        far = encoder(x)
        encoder.spatial.weight.mul_(3)
    torch.testing.assert_close(encoder(x), far)


@pytest.mark.parametrize(
    ("kind", "n_times"), [(EEGNetEncoder, 31), (ConformerEncoder, 98), (DualBranchEncoder, 24)]
)
def test_windows_that_are_too_short_are_refused(kind: type, n_times: int) -> None:
    with pytest.raises(UsageError, match="at least"):
        kind(4, 5, n_times)
    assert kind(4, 5, n_times + 1)(torch.randn(3, 5, n_times + 1)).shape == (3, 4)


def test_shapes_of_the_published_weights_of_atm() -> None:
    state = {k: tuple(v.shape) for k, v in ATMEncoder(faithful=True, n_chans=63, n_times=250)
             .state_dict().items()}  # fmt: skip
    assert state["embed.weight"] == (250, 250)
    assert state["subject_tokens.weight"] == (10, 250)
    for part in ("query", "key", "value"):
        assert state[f"layer.attention.{part}.weight"] == (248, 250)
    assert state["layer.attention.out.weight"] == (250, 248)
    assert (state["layer.first.weight"], state["layer.second.weight"]) == ((256, 250), (250, 256))
    assert state["tsconv.temporal.weight"] == (40, 1, 1, 25)
    assert state["tsconv.spatial.weight"] == (40, 40, 63, 1)
    assert state["tsconv.mix.weight"] == (40, 40, 1, 1)
    assert state["projector.0.weight"] == (1024, 1440)


def test_shapes_of_the_published_weights_of_enigma() -> None:
    """Names as published; a subject adds 62,750 numbers, one subject and 63 channels 1.41 M."""
    one = EnigmaEncoder(1024, 63, 250, subjects=["01"], unknown="mean")
    state = {k: tuple(v.shape) for k, v in one.state_dict().items() if v.ndim}
    common = {
        "subject_wise_linear.sub-01.weight": (250, 250), "subject_wise_linear.sub-01.bias": (250,),
        "tsencoder.tsconv.0.weight": (40, 1, 1, 5), "tsencoder.tsconv.0.bias": (40,),
        "tsencoder.tsconv.4.weight": (40, 40, 63, 1), "tsencoder.tsconv.4.bias": (40,),
        "tsencoder.projection.0.weight": (4, 40, 1, 1), "tsencoder.projection.0.bias": (4,),
        "mlp_proj.0.weight": (1024, 184), "mlp_proj.0.bias": (1024,),
        "mlp_proj.1.fn.1.weight": (1024, 1024), "mlp_proj.1.fn.1.bias": (1024,),
        "mlp_proj.2.weight": (1024,), "mlp_proj.2.bias": (1024,),
    }  # fmt: skip
    for norm in (2, 5):
        for part in ("weight", "bias", "running_mean", "running_var"):
            common[f"tsencoder.tsconv.{norm}.{part}"] = (40,)
    assert state == common
    assert count_parameters(one) - TEMPERATURE == 1_405_242
    ten = EnigmaEncoder(1024, 63, 250, subjects=[f"{k:02d}" for k in range(10)], unknown="mean")
    assert count_parameters(ten) - count_parameters(one) == 9 * 62_750


def test_a_mixed_batch_of_enigma_goes_row_by_row_through_its_own_layer() -> None:
    torch.manual_seed(0)
    encoder = EnigmaEncoder(8, 4, 60, subjects=["01", "02"], unknown="mean").eval()
    for layer in encoder.subject_wise_linear.values():
        nn.init.normal_(layer.weight, std=0.1)
        nn.init.normal_(layer.bias)
    x, subject = torch.randn(7, 4, 60), torch.tensor([2, 0, 1, 1, 0, 2, 2])
    found = encoder(x, subject)
    for number in (0, 1, 2):
        rows = subject == number
        alone = encoder(x[rows], subject[rows])
        torch.testing.assert_close(found[rows], alone)
    one, two = (encoder._of_subject(k, x) for k in (1, 2))
    torch.testing.assert_close(encoder._of_subject(0, x), (one + two) / 2)
    with pytest.raises(UsageError, match="mean"):
        EnigmaEncoder(8, 4, 60, unknown="mean")


@pytest.mark.parametrize(("n_times", "width"), [(250, 1440), (201, 1040), (75, 40)])
def test_width_follows_the_number_of_samples(n_times: int, width: int) -> None:
    assert TSConv(5, n_times).width == width
    assert TSConv(5, n_times).eval()(torch.randn(2, 5, n_times)).shape == (2, width)
    with pytest.raises(UsageError, match="at least 75 samples"):
        TSConv(5, 74)


@pytest.mark.parametrize(
    ("kernel", "pool", "stride", "n_times"), [(25, 51, 5, 250), (5, 17, 5, 250), (9, 4, 3, 60),
                                              (4, 9, 2, 61), (3, 1, 1, 20), (1, 6, 6, 36)],
)  # fmt: skip
def test_the_folded_kernel_is_convolution_then_pooling(
    kernel: int, pool: int, stride: int, n_times: int
) -> None:
    folded = FoldedConvPool(7, kernel, pool, stride).double()
    plain = nn.Conv2d(1, 7, (1, kernel)).double()
    plain.load_state_dict(folded.state_dict())
    usual = nn.Sequential(plain, nn.AvgPool2d((1, pool), (1, stride)))
    x = torch.randn(3, 1, 4, n_times, dtype=torch.float64)
    ours, theirs = folded(x), usual(x)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    assert ours.shape[-1] == folded.frames(n_times)
    toward = torch.randn_like(ours)
    mine = torch.autograd.grad((ours * toward).sum(), [folded.weight, folded.bias])
    other = torch.autograd.grad((theirs * toward).sum(), [plain.weight, plain.bias])
    torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


def test_the_faithful_atm_loses_the_last_channel_and_the_corrected_one_does_not() -> None:
    torch.manual_seed(0)
    faithful = ATMEncoder(8, 6, 80, subjects=["01"], faithful=True).eval()
    corrected = ATMEncoder(8, 6, 80, subjects=["01"]).eval()
    shared = {k: v for k, v in faithful.state_dict().items() if k in corrected.state_dict()}
    shared["subject_tokens.weight"] = faithful.subject_tokens.weight[:2].detach()
    corrected.load_state_dict(shared)
    seen: list[torch.Tensor] = []
    for encoder in (faithful, corrected):
        encoder.tsconv.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        encoder(torch.ones(2, 6, 80).cumsum(2) / 80 + torch.arange(6.0)[:, None],
                torch.tensor([1, 1]))  # fmt: skip
    torch.testing.assert_close(seen[0][:, 1:], seen[1][:, :-1])


def test_numbers_beyond_the_published_table_share_one_token() -> None:
    encoder = ATMEncoder(8, 4, 80, faithful=True).eval()
    assert (encoder.index_of("08"), encoder.index_of("10")) == (8, 10)
    x = torch.randn(2, 4, 80)
    beyond, unknown = (encoder(x, torch.full((2,), number)) for number in (10, 37))
    torch.testing.assert_close(beyond, unknown)
    assert not torch.allclose(beyond, encoder(x, torch.full((2,), 8)))


def test_graph_attention_is_that_of_its_definition() -> None:
    """Edge by edge: softmax over neighbours j of leaky(a_t h_i + a_s h_j)."""
    torch.manual_seed(1)
    graph, x = ChannelGraph(6).double(), torch.randn(1, 4, 6, dtype=torch.float64)
    h = x[0] @ graph.transform.weight.T
    expected = torch.empty(4, 6, dtype=torch.float64)
    for i in range(4):
        scores = torch.stack([h[i] @ graph.target + h[j] @ graph.source for j in range(4)])
        weights = torch.where(scores > 0, scores, 0.2 * scores).softmax(0)
        expected[i] = x[0, i] + sum(weights[j] * h[j] for j in range(4)) + graph.bias
    torch.testing.assert_close(graph(x)[0], expected)


def test_attention_between_channels_does_not_know_their_order() -> None:
    torch.manual_seed(2)
    for layer in (ChannelAttention(20), ChannelGraph(20)):
        x, order = torch.randn(2, 5, 20), torch.tensor([3, 1, 4, 0, 2])
        torch.testing.assert_close(layer(x)[:, order], layer(x[:, order]))
    for variant in ("self", "graph"):
        encoder = TSConvEncoder(8, 5, 90, variant=variant).eval()
        assert encoder(torch.randn(2, 5, 90)).shape == (2, 8)
    with pytest.raises(UsageError, match="variant"):
        TSConvEncoder(8, 5, 90, variant="gat")


def positions(n: int) -> torch.Tensor:
    unit = np.random.default_rng(n).normal(size=(n, 3))
    unit[:, 2] = np.abs(unit[:, 2])
    return torch.from_numpy(0.09 * unit / np.linalg.norm(unit, axis=1, keepdims=True)).float()


def test_one_network_reads_17_32_63_and_271_sensors_in_any_order() -> None:
    torch.manual_seed(3)
    encoder = ConvAttentionEncoder(
        8, n_times=60, n_virtual=10, n_features=128, hidden=16, depth=1
    ).eval()
    for n in (17, 32, 63, 271):
        x, where = torch.randn(3, n, 60), positions(n)
        found = encoder(x, None, where)
        assert found.shape == (3, 8)
        order = torch.randperm(n)
        torch.testing.assert_close(encoder(x[:, order], None, where[order]), found)


def test_sensors_are_weighed_by_place_and_not_by_size_of_the_head() -> None:
    where = positions(30)
    torch.testing.assert_close(flat_positions(where), flat_positions(1.3 * where))
    flat = flat_positions(where)
    assert ((flat >= 0) & (flat <= 1)).all()
    vertex = flat_positions(torch.tensor([[0.0, 0.0, 0.09]]))
    torch.testing.assert_close(vertex, torch.tensor([[0.5, 0.5]]))
    merge = SensorAttention(4, 32, 0.0)
    weights = merge(torch.eye(30)[None], flat)[0]
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(4))


def test_sensors_are_dropped_in_training_alone_and_never_all() -> None:
    torch.manual_seed(0)
    merge, flat = SensorAttention(4, 32, 0.3), flat_positions(positions(40))
    dropped = [(merge(torch.eye(40)[None], flat)[0] == 0).any() for _ in range(20)]
    assert any(dropped)
    assert not (merge.eval()(torch.eye(40)[None], flat)[0] == 0).any()
    everything = SensorAttention(4, 32, 9.0)
    assert everything(torch.eye(40)[None], flat).isfinite().all()


def test_a_recording_has_to_say_where_its_sensors_are() -> None:
    from phosphene.trials import complete_trials
    from phosphene.types import Recording

    encoder = ConvAttentionEncoder(8, n_times=60, n_virtual=10, n_features=32, hidden=16, depth=1)
    bare = Recording(np.ones((2, 5, 60), np.float32), "eeg", "01", complete_trials(None, 2))
    with pytest.raises(UsageError, match="where they are"):
        encoder.encode(bare)


@pytest.mark.parametrize("aggregation", ["attention", "linear", "mean"])
def test_time_is_aggregated_in_three_ways(aggregation: str) -> None:
    encoder = ConvAttentionEncoder(
        8, n_times=60, n_virtual=10, n_features=32, hidden=16, depth=1, aggregation=aggregation
    )
    assert encoder.eval()(torch.randn(2, 9, 60), None, positions(9)).shape == (2, 8)
