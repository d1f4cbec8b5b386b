"""The ridge decoder of clips against scikit-learn, and what it promises about company."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from phosphene.encoders.brain.flow_network import best_gain, end_point_error
from phosphene.encoders.brain.scene_cuts import agreement, cut_probability, fit_cut_weights
from phosphene.encoders.brain.video import VideoRidge
from phosphene.encoders.brain.volume_map import VolumeMap
from phosphene.encoders.brain.voxel_weights import voxel_weights
from phosphene.errors import InputError, UsageError

HEADS = {"tokens": [2, 3], "lowlevel": [2, 1, 2, 2], "flow": [2, 2, 2, 2], "cut": [2]}


def planted(
    n: int = 120, voxels: int = 6, volumes: int = 2, noise: float = 0.3
) -> tuple[np.ndarray, dict[str, torch.Tensor], list[str]]:
    """Return windows, targets that a linear map makes of them, and the movie of each clip."""
    draw = np.random.default_rng(0)
    windows = draw.normal(size=(n, volumes, voxels)).astype(np.float32)
    flat = windows.reshape(n, -1)
    targets = {}
    for head, shape in HEADS.items():
        size = int(np.prod(shape))
        signal = flat @ draw.normal(size=(flat.shape[1], size)) + noise * draw.normal(
            size=(n, size)
        )
        values = (signal > 1.5).astype(np.float32) if head == "cut" else signal
        targets[head] = torch.from_numpy(values.astype(np.float32)).reshape(n, *shape)
    return windows, targets, [f"movie-{row // 20}" for row in range(n)]


def test_with_one_alpha_and_full_rank_it_is_the_ridge_of_scikit_learn() -> None:
    windows, targets, groups = planted()
    encoder = VideoRidge(HEADS, 2, rank=100, alphas=[0.1], weigh=False)
    encoder.fit("01", windows, targets, groups)
    flat = windows.reshape(len(windows), -1).astype(np.float64)
    unit = np.linalg.svd(flat - flat.mean(0), compute_uv=False) ** 2
    decoded = encoder.encode("01", windows)
    for head in ("tokens", "lowlevel", "flow"):
        expected = Ridge(alpha=0.1 * unit.mean()).fit(flat, targets[head].flatten(1)).predict(flat)
        np.testing.assert_allclose(decoded[head].flatten(1), expected, atol=2e-3)
        assert decoded[head].shape[1:] == tuple(HEADS[head])


def test_voxels_that_tell_of_a_head_weigh_more() -> None:
    draw = np.random.default_rng(0)
    windows = draw.normal(size=(200, 2, 50)).astype(np.float32)
    flow = torch.from_numpy(windows[:, 0, :3] @ draw.normal(size=(3, 8)).astype(np.float32))
    groups = [row // 20 for row in range(200)]
    X = torch.from_numpy(windows).flatten(1)
    weight = voxel_weights(X, flow, groups, 2)
    assert torch.equal(weight[:50], weight[50:])  # one per voxel, for all its volumes
    assert weight[:3].min() > 3 * weight[3:50].mean()
    noisy = flow.view(200, 2, 2, 2, 1) + 4 * torch.randn(200, 2, 2, 2, 1)
    scores = []
    for weigh in (False, True):
        encoder = VideoRidge({"tokens": [8], "flow": [2, 2, 2, 1]}, 2, weigh=weigh)
        fresh = draw.normal(size=(200, 2, 50)).astype(np.float32)
        encoder.fit("01", windows, {"tokens": flow, "flow": noisy}, groups)
        truth = fresh[:, 0, :3] @ np.linalg.lstsq(windows[:, 0, :3], flow.numpy(), rcond=None)[0]
        found = encoder.encode("01", fresh)["flow"].flatten(1).numpy()
        scores.append(np.corrcoef(found.ravel(), truth.ravel())[0, 1])
    assert scores[1] > scores[0] + 0.02


def test_a_head_of_noise_takes_nothing_from_the_others() -> None:
    windows, targets, groups = planted()
    noisy = targets | {"flow": torch.randn((120, 2, 2, 2, 2), generator=torch.manual_seed(1))}
    scores = []
    for given in (targets, noisy):
        encoder = VideoRidge(HEADS, 2, rank=12)
        scores.append(encoder.fit("01", windows, given, groups))
    assert scores[1]["flow_left_out_r2"] < 0.05
    assert scores[0]["flow_left_out_r2"] > 0.9
    assert scores[1]["tokens_left_out_r2"] == pytest.approx(scores[0]["tokens_left_out_r2"])


def test_reduced_rank_keeps_what_varies_most() -> None:
    windows, targets, groups = planted(noise=0.05)
    one = torch.from_numpy(windows.reshape(120, -1)[:, :1])
    shared = {
        "tokens": one[:, :, None] * torch.ones(1, 2, 3),
        "lowlevel": one[:, :, None, None, None] * torch.ones(1, 2, 1, 2, 2),
        "flow": -one[:, :, None, None, None] * torch.ones(1, 2, 2, 2, 2),
        "cut": targets["cut"] * 0 + (one > 0),
    }
    encoder = VideoRidge(HEADS, 2, rank=1)
    encoder.fit("01", windows, shared, groups)
    decoded = encoder.encode("01", windows)
    assert np.corrcoef(decoded["flow"].flatten(), shared["flow"].flatten())[0, 1] > 0.99
    assert np.corrcoef(decoded["tokens"].flatten(), shared["tokens"].flatten())[0, 1] > 0.99


def scenes(n: int, noise: float, seed: int) -> tuple[np.ndarray, torch.Tensor, torch.Tensor]:
    """Return windows of four volumes of a scene each, or of two where a cut lies between them."""
    draw = np.random.default_rng(seed)
    weights = np.random.default_rng(99).normal(size=(6, 30))
    first, other = draw.normal(size=(2, n, 6))
    cut = draw.random(n) < 0.4
    second = np.where(cut[:, None], other, first)
    windows = np.stack([first, first, second, second], axis=1) @ weights
    windows = windows + noise * draw.normal(size=windows.shape)
    shown = torch.zeros(n, 2)
    shown[:, 1] = torch.from_numpy(cut.astype(np.float32))
    tokens = torch.from_numpy((first + second).astype(np.float32)).view(n, 2, 3)
    return windows.astype(np.float32), tokens, shown


def test_cuts_are_told_by_halves_that_disagree() -> None:
    windows, tokens, cut = scenes(400, 0.5, 0)
    encoder = VideoRidge({"tokens": [2, 3], "cut": [2]}, 4)
    encoder.fit("01", windows, {"tokens": tokens, "cut": cut}, [row // 20 for row in range(400)])
    found = {}
    for noise in (0.5, 3.0):
        fresh, _, shown = scenes(400, noise, 1)
        encoder.calibrate("01", {1: fresh}, {"cut": shown})
        fresh, _, shown = scenes(400, noise, 2)
        probability = encoder.encode("01", fresh)["cut"]
        assert torch.equal(probability[:, 0], probability[:, 1])  # where in the clip is not known
        any_cut = 1 - (1 - probability).prod(1)
        truth = shown.amax(1)
        assert abs(float(any_cut.mean() - truth.mean())) < 0.06
        found[noise] = roc_auc_score(truth, any_cut)
    assert found[0.5] > 0.95
    assert 0.6 < found[3.0] < found[0.5]


def test_weights_of_cuts_are_those_of_logistic_regression() -> None:
    draws = torch.Generator().manual_seed(0)
    agreements = torch.rand(300, 3, generator=draws)
    cut = (torch.rand(300, generator=draws) > agreements[:, 0]).float()
    found = fit_cut_weights(agreements, cut).numpy()
    scale = agreements.numpy().std(0)
    reference = LogisticRegression(C=1.0, tol=1e-8).fit(agreements.numpy() / scale, cut.numpy())
    np.testing.assert_allclose(found[:-1] * scale, reference.coef_[0], atol=1e-3)
    np.testing.assert_allclose(found[-1], reference.intercept_[0], atol=1e-3)
    probability = cut_probability(agreements, torch.from_numpy(found), 4)
    expected = reference.predict_proba(agreements.numpy() / scale)[:, 1]
    np.testing.assert_allclose(1 - (1 - probability.numpy()).prod(1), expected, atol=1e-3)


def test_agreement_is_the_correlation_of_what_both_halves_say() -> None:
    draws = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 5, 4, generator=draws)
    basis = torch.randn(4, 9, generator=draws)
    a, b = first @ basis, second @ basis
    expected = torch.nn.functional.cosine_similarity(a, b, dim=1)
    torch.testing.assert_close(agreement(first, second, basis), expected)


def test_no_clip_looks_at_its_neighbours(tmp_path: Path) -> None:
    windows, targets, groups = planted()
    encoder = VideoRidge(HEADS, 2, rank=8)
    encoder.fit("01", windows, targets, groups)
    encoder.save_pretrained(tmp_path)
    loaded = VideoRidge.from_pretrained(tmp_path)
    whole = loaded.encode("01", windows)
    order = np.random.default_rng(1).permutation(len(windows))
    turned = loaded.encode("01", windows[order])
    for head, values in whole.items():
        assert torch.equal(turned[head], values[order])
        assert torch.equal(loaded.encode("01", windows[7:8])[head][0], values[7])
        assert torch.equal(encoder.encode("01", windows)[head], values)


def test_what_does_not_fit_is_one_message() -> None:
    windows, targets, groups = planted()
    encoder = VideoRidge(HEADS, 2, rank=8)
    with pytest.raises(InputError, match="does not know subject '02'"):
        encoder.encode("02", windows)
    encoder.fit("01", windows, targets, groups)
    with pytest.raises(InputError, match="windows of shape"):
        encoder.encode("01", windows[:, :1])
    with pytest.raises(InputError, match="head flow"):
        encoder.fit("01", windows, targets | {"flow": targets["flow"][:, :1]}, groups)
    with pytest.raises(UsageError, match="tokens"):
        VideoRidge({"flow": [2, 2, 2, 2]}, 2)
    with pytest.raises(UsageError, match="one volume"):
        VideoRidge({"tokens": [2, 3], "cut": [2]}, 1)


def test_a_decoder_of_pictures_is_where_the_ridge_starts() -> None:
    draw = np.random.default_rng(0)
    response, basis = draw.normal(size=(60, 5)), draw.normal(size=(5, 12))
    answers = np.array([0.1, 0.6, 0.3])  # how much of a picture each volume shows

    def shown(n: int, noise: float) -> tuple[np.ndarray, torch.Tensor]:
        scores = draw.normal(size=(n, 5))
        windows = answers[None, :, None] * (scores @ np.linalg.pinv(response))[:, None]
        windows = windows + noise * draw.normal(size=windows.shape)
        tokens = (scores @ basis).reshape(n, 4, 3)
        return windows.astype(np.float32), torch.from_numpy(tokens.astype(np.float32))

    told = VolumeMap(torch.from_numpy(response).float(), torch.from_numpy(basis).float())
    windows, tokens = shown(60, 0.03)
    fresh, truth = shown(200, 0.03)
    errors = {}
    for name, towards in (("none", None), ("pictures", {"tokens": told})):
        encoder = VideoRidge({"tokens": [4, 3]}, 3, weigh=False)
        groups = [row // 6 for row in range(60)]
        encoder.fit("01", windows, {"tokens": tokens}, groups, towards=towards)
        errors[name] = float((encoder.encode("01", fresh)["tokens"] - truth).square().mean())
    assert errors["pictures"] < 0.7 * errors["none"]
    # Alone it is least squares on what the map says of each volume.
    scores = told.scores(torch.from_numpy(windows - windows.mean(0)))
    target = (tokens - tokens.mean(0)).flatten(1)
    design = np.stack([(scores[:, k] @ told.basis).flatten() for k in range(3)], axis=1)
    expected = np.linalg.lstsq(design, target.flatten().numpy(), rcond=None)[0]
    weights = told.weigh(scores, target)
    np.testing.assert_allclose(weights[:, 0], expected, rtol=1e-3, atol=1e-4)
    # Folded into one matrix it says the same.
    directions = torch.linalg.qr(torch.randn(12, 12, generator=torch.manual_seed(0)))[0]
    folded = torch.from_numpy(windows - windows.mean(0)).flatten(1) @ told.trunk(
        weights, directions
    )
    torch.testing.assert_close(folded @ directions, told.values(scores, weights), atol=1e-4, rtol=0)


def test_many_clips_are_thinned_for_the_ridge_and_cuts_see_all() -> None:
    windows, targets, groups = planted()
    encoder = VideoRidge(HEADS, 2, most_clips=50)
    encoder.fit("01", windows, targets, groups)
    assert encoder.fitted_on_.tolist() == list(range(0, 120, 3))
    assert len(encoder.left_out_["tokens"]) == 40
    alone = VideoRidge(HEADS, 2)
    alone.fit("01", windows[::3], {k: v[::3] for k, v in targets.items()}, groups[::3])
    for head in ("tokens", "lowlevel", "flow"):
        whole, thin = (each.encode("01", windows)[head] for each in (encoder, alone))
        torch.testing.assert_close(whole, thin, atol=2e-3, rtol=0)


def moving(n: int, voxels: int = 40, noise: float = 0.3) -> tuple[np.ndarray, torch.Tensor]:
    """Return windows whose first eight voxels answer motion to one side each, compressed."""
    draw = np.random.default_rng(n)
    speed = draw.standard_t(2, size=(n, 2)).clip(-8, 8)  # most clips hardly move, a few a lot
    sides = np.concatenate([np.maximum(speed, 0), np.maximum(-speed, 0)], axis=1) ** 0.25
    windows = noise * draw.normal(size=(n, 2, voxels))
    windows[:, :, :8] += np.tile(sides, 2)[:, None]
    flow = np.broadcast_to(speed[:, None, :, None, None], (n, 2, 2, 2, 2))
    return windows.astype(np.float32), torch.from_numpy(flow.astype(np.float32).copy())


def test_networks_read_flow_from_the_voxels_that_tell_of_it(tmp_path: Path) -> None:
    windows, flow = moving(900)
    fresh, shown = moving(400)
    heads = {"tokens": [1], "flow": [2, 2, 2, 2]}
    encoder = VideoRidge(heads, 2, flow_voxels=8, flow_epochs=25)
    groups = [row // 50 for row in range(900)]
    encoder.fit("01", windows, {"tokens": flow[:, 0, 0, 0, :1], "flow": flow}, groups)
    network = encoder.subjects_["01"].flow
    assert network is not None
    assert network.voxels.tolist() == list(range(8))
    by_runs = {
        runs: np.concatenate([fresh[:, :, :8] + extra, fresh[:, :, 8:]], axis=2).astype(np.float32)
        for runs, extra in (
            (1, np.random.default_rng(1).normal(size=(400, 2, 8))),
            (10, np.zeros((400, 2, 8))),
        )
    }
    found = encoder.calibrate("01", by_runs, {"flow": shown})
    error, linear, none = (found[f"validation_flow_error{k}"] for k in ("", "_linear", "_none"))
    assert error < 0.95 * linear  # a median of a compressed answer is no linear map
    assert linear <= none
    # More noise, shorter flow; between what is known it is interpolated in 1 / n.
    assert network.gain(1) < network.gain(10)
    assert network.gain(1) <= network.gain(2) <= network.gain(4) <= network.gain(1000)
    encoder.save_pretrained(tmp_path)
    loaded = VideoRidge.from_pretrained(tmp_path)
    whole = encoder.encode("01", by_runs[10], averaged=10)["flow"]
    assert torch.equal(loaded.encode("01", by_runs[10], averaged=10)["flow"], whole)
    assert torch.equal(loaded.encode("01", by_runs[10][5:6], averaged=10)["flow"][0], whole[5])
    alone = loaded.encode("01", by_runs[10])["flow"]
    torch.testing.assert_close(alone * network.gain(10), whole * network.gain(1))
    again = VideoRidge(heads, 2, flow_voxels=8, flow_epochs=25)
    again.fit("01", windows, {"tokens": flow[:, 0, 0, 0, :1], "flow": flow}, groups)
    again.calibrate("01", by_runs, {"flow": shown})
    assert torch.equal(again.encode("01", by_runs[10], averaged=10)["flow"], whole)


def test_the_best_length_of_noise_is_none_and_of_the_truth_is_its_own() -> None:
    draws = torch.Generator().manual_seed(0)
    shown = torch.randn(50, 2, 2, 3, 3, generator=draws)
    noise = torch.randn(50, 2, 2, 3, 3, generator=draws)
    assert best_gain(noise, shown) == 0
    assert best_gain(shown / 1.2, shown) == pytest.approx(1.2)
    expected = np.linalg.norm(noise.numpy() - shown.numpy(), axis=2).mean()
    assert end_point_error(noise, shown) == pytest.approx(expected)
