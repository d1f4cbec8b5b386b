from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.brain_scores import score_responses
from phosphene.pipelines.metrics import two_way_identification
from phosphene.pipelines.metrics.brain import (
    pattern_ceiling,
    pattern_correlation,
)
from phosphene.pipelines.metrics.brain_encoding import fit_encoding_model, split_voxels
from phosphene.pipelines.metrics.specs import create_metric

Array = np.ndarray[Any, Any]
PIXELS = PixelTarget(size=4)
N_TRAINING, N_TEST, N_VOXELS = 120, 16, 80


def seen(pictures: Array) -> Array:
    """Return what the planted brain sees (n, 48): every pixel, in units of its deviation."""
    return (pictures.reshape(len(pictures), -1) - 127.5) / 74


@pytest.fixture(scope="module")
def pictures() -> Array:
    shape = (N_TRAINING + N_TEST, 4, 4, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def weights() -> Array:
    return np.random.default_rng(1).normal(size=(48, N_VOXELS)) / np.sqrt(48)


@pytest.fixture(scope="module")
def responses(pictures: Array, weights: Array) -> Array:
    """Return three repetitions of every picture (n, 3, n_voxels) on an offset of each voxel."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.8, (len(pictures), 3, N_VOXELS))
    offset = 5 * rng.normal(size=N_VOXELS)
    return (seen(pictures) @ weights)[:, None] + noise + offset


@pytest.fixture(scope="module")
def model(pictures: Array, responses: Array) -> Any:
    means = responses[:N_TRAINING].mean(axis=1)
    return fit_encoding_model(pictures[:N_TRAINING], means, network=PIXELS)


def test_correlations_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 6, 9))
    np.testing.assert_allclose(
        pattern_correlation(a, b), [np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]
    )
    assert pattern_correlation(np.ones((2, 5)), rng.normal(size=(2, 5))).tolist() == [0, 0]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_ceiling_is_what_perfect_predictions_reach(count: int) -> None:
    """Signal of variance 1 and noise of variance 2 per trial: root of 1 / (1 + 2 / n)."""
    rng = np.random.default_rng(count)
    signal = rng.normal(size=(40, 1, 800))
    trials = signal + np.sqrt(2) * rng.normal(size=(40, count, 800))
    expected = np.sqrt(1 / (1 + 2 / count))
    assert pattern_ceiling(trials) == pytest.approx(expected, abs=0.02)
    reached = pattern_correlation(signal[:, 0], trials.mean(axis=1)).mean()
    assert reached == pytest.approx(expected, abs=0.02)
    assert np.isnan(pattern_ceiling(trials[:, :1]))
    assert pattern_ceiling(rng.normal(size=trials.shape)) < 0.2


def test_voxels_are_divided_within_areas() -> None:
    areas = np.repeat(["V1", "V2", "V3"], [10, 7, 5])
    one, two = split_voxels(22, areas=areas, seed=3)
    assert (one ^ two).all()
    assert one.sum() == 11
    for area in ("V1", "V2", "V3"):
        assert abs(int(one[areas == area].sum()) - int(two[areas == area].sum())) <= 1
    again, _ = split_voxels(22, areas=areas, seed=3)
    np.testing.assert_array_equal(one, again)
    positions = np.random.default_rng(0).normal(size=(22, 3))
    left, right = split_voxels(22, areas=areas, positions=positions)
    for area in ("V1", "V2", "V3"):
        x = positions[areas == area, 0]
        assert x[left[areas == area]].max() < x[right[areas == area]].min()
    with pytest.raises(UsageError, match="one per voxel"):
        split_voxels(22, areas=areas[:3])


def test_predictions_are_those_of_scikit_learn(pictures: Array, responses: Array) -> None:
    from sklearn.linear_model import Ridge

    means = responses[:N_TRAINING].mean(axis=1)
    model = fit_encoding_model(
        pictures[:N_TRAINING], means, network=PIXELS, alphas=[0.3], least=-1.0
    )
    X = PIXELS.encode(pictures).numpy().astype(np.float64)
    X = (X - X[:N_TRAINING].mean(0)) / X[:N_TRAINING].std(0)
    Y = (means - means.mean(0)) / means.std(0)
    eigenvalues = np.linalg.eigvalsh(X[:N_TRAINING].T @ X[:N_TRAINING])
    ridge = Ridge(alpha=0.3 * eigenvalues.mean()).fit(X[:N_TRAINING], Y)
    np.testing.assert_allclose(model.predict(pictures), ridge.predict(X), atol=1e-6)
    np.testing.assert_allclose(model.standardise(means), Y, atol=1e-12)
    assert model.voxels.tolist() == list(range(N_VOXELS))


def test_the_truth_scores_best(model: Any, pictures: Array, responses: Array) -> None:
    shown, measured = pictures[N_TRAINING:], responses[N_TRAINING:]
    rng = np.random.default_rng(5)
    noise = rng.integers(0, 256, shown.shape)
    blend = (0.5 * shown + 0.5 * noise).astype(np.uint8)
    found = score_responses(
        model, blend, shown, measured, rivals={"other": np.roll(shown, 1, axis=0)}
    )
    assert found.controls["truth"] > 0.7
    assert found.controls["truth"] > found.value > 0.3
    assert found.interval[0] < found.value < found.interval[1]
    assert found.permuted.p_value == pytest.approx(1 / 1001)
    assert abs(found.permuted.chance) < 0.05
    for control in ("grey_picture", "other"):
        assert abs(found.controls[control]) < 0.25 < found.value
    assert found.share_of_truth == pytest.approx(found.value / found.controls["truth"])
    # Variance 1 of the signal, .64 / 3 of the noise of means.
    assert found.ceiling == pytest.approx(np.sqrt(1 / (1 + 0.64 / 3)), abs=0.04)
    assert found.controls["truth"] < found.ceiling
    assert found.identification.mean > 0.9
    shuffled = score_responses(model, np.roll(blend, 3, axis=0), shown, measured)
    assert shuffled.permuted.p_value > 0.05
    assert abs(shuffled.value) < 0.15


def test_a_pattern_that_all_pictures_share_is_no_agreement(
    model: Any, pictures: Array, responses: Array
) -> None:
    """Without the mean over training, the wrong picture agrees as well as the right one."""
    shown = pictures[N_TRAINING:]
    raw = responses[N_TRAINING:, :, model.voxels].mean(axis=1)
    mean, scale = model.response_moments
    wrong = np.roll(model.predict(shown), 1, axis=0)
    assert pattern_correlation(wrong * scale + mean, raw).mean() > 0.9
    assert abs(pattern_correlation(wrong, (raw - mean) / scale).mean()) < 0.15


def test_a_decoder_that_judges_itself_finds_its_own_noise(
    pictures: Array, responses: Array
) -> None:
    """Responses of noise alone: reconstructions agree with the noise they were made from, and
    not with the noise of voxels that the decoder did not read."""
    from sklearn.linear_model import Ridge

    training, shown = pictures[:N_TRAINING], pictures[N_TRAINING:]
    means = responses[:N_TRAINING].mean(axis=1)
    mean, scale = means.mean(0), means.std(0)
    read, judging = split_voxels(N_VOXELS)
    decoder = Ridge(alpha=20).fit(((means - mean) / scale)[:, read], seen(training))
    noise = np.random.default_rng(9).normal(size=(N_TEST, N_VOXELS)) * scale + mean
    decoded = decoder.predict(((noise - mean) / scale)[:, read])
    made = np.clip(decoded * 74 + 127.5, 0, 255).astype(np.uint8).reshape(shown.shape)
    values = {}
    for name, voxels in (("own", read), ("other", judging)):
        judge = fit_encoding_model(training, means, network=PIXELS, voxels=voxels)
        values[name] = score_responses(judge, made, shown, noise, n_permutations=500)
    assert values["own"].value > 0.3
    assert values["own"].permuted.p_value < 0.01
    assert abs(values["other"].value) < 0.15
    assert values["other"].permuted.p_value > 0.05
    with pytest.raises(UsageError, match="40 voxels that the decoder reads"):
        fit_encoding_model(training, means, network=PIXELS, voxels=read, decoder_voxels=read)
    fit_encoding_model(training, means, network=PIXELS, voxels=judging, decoder_voxels=read)


def test_the_judge_knows_no_test_picture(model: Any, pictures: Array, responses: Array) -> None:
    shown = pictures[N_TRAINING:].copy()
    shown[4] = pictures[7]
    with pytest.raises(InputError, match="1 of 16 test pictures, such as number 4"):
        score_responses(model, shown, shown, responses[N_TRAINING:])
    # A reconstruction may well be a training picture: retrieval makes such.
    assert (
        score_responses(
            model, shown, pictures[N_TRAINING:], responses[N_TRAINING:], n_permutations=10
        ).value
        > 0.5
    )


def test_what_cannot_be_fitted_or_judged(model: Any, pictures: Array, responses: Array) -> None:
    means = responses[:N_TRAINING].mean(axis=1)
    training = pictures[:N_TRAINING]
    with pytest.raises(UsageError, match="the decoder predicts pixels"):
        fit_encoding_model(
            training, means, network=PIXELS, decoder_target=PixelTarget(size=64).spec
        )
    with pytest.raises(InputError, match="10 or more"):
        fit_encoding_model(training[[0] * 20], means[:20], network=PIXELS)
    with pytest.raises(InputError, match="responses of shape"):
        fit_encoding_model(training, means[:5], network=PIXELS)
    noise = np.random.default_rng(0).normal(size=means.shape)
    with pytest.raises(InputError, match="of 80 voxels are predicted"):
        fit_encoding_model(training, noise, network=PIXELS, least=0.6)
    for wrong in (np.array([0, 80]), np.array([0.5]), np.ones(3, dtype=bool)):
        with pytest.raises(UsageError):
            fit_encoding_model(training, means, network=PIXELS, voxels=wrong)
    shown, measured = pictures[N_TRAINING:], responses[N_TRAINING:]
    with pytest.raises(InputError, match="as many of each"):
        score_responses(model, shown[:3], shown, measured)
    with pytest.raises(InputError, match="comes twice"):
        score_responses(model, shown[[0, 0]], shown[[0, 0]], measured[:2])


NAMES = ["brain-correlation/strict-v1", "brain-correlation/ceiling-v1",
         "brain-identification/strict-v1"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_batches_and_their_order_change_nothing(
    name: str, model: Any, pictures: Array, responses: Array
) -> None:
    predicted = model.predict(pictures[N_TRAINING:])
    measured = model.standardise(responses[N_TRAINING:])
    items = [f"item-{row:02d}" for row in range(N_TEST)]
    whole, parts = create_metric(name), create_metric(name)
    whole.update(predicted, measured, items)
    for rows in (np.arange(5, 16), np.array([], dtype=int), np.array([3, 0, 4, 1, 2])):
        parts.update(predicted[rows], measured[rows], [items[row] for row in rows])
    one, two = whole.compute(), parts.compute()
    assert one.items == two.items == tuple(items)
    assert one.value == two.value
    np.testing.assert_array_equal(one.scores, two.scores)
    correlation = pattern_correlation(predicted, measured.mean(axis=1))
    expected = {
        NAMES[0]: correlation,
        NAMES[1]: correlation / pattern_ceiling(measured),
        NAMES[2]: two_way_identification(predicted, measured.mean(axis=1)).scores,
    }
    np.testing.assert_allclose(one.scores, expected[name], rtol=1e-12)


def test_metrics_without_repetitions_or_rivals() -> None:
    rng = np.random.default_rng(0)
    predicted, measured = rng.normal(size=(2, 4, 30))
    plain, normalised, told = (create_metric(name) for name in NAMES)
    for metric in (plain, normalised):
        metric.update(predicted, measured, list("abcd"))
    assert plain.compute().details == {}
    assert normalised.compute().value is None
    assert "no repetitions" in normalised.compute().note
    told.update(predicted[:1], measured[:1], ["a"])
    assert told.compute().note == "a single picture"
    told.reset()
    told.update(np.zeros_like(predicted), measured, list("abcd"))
    assert told.compute().value == 0.5
    assert told.compute().collapsed
    with pytest.raises(InputError, match="beside measured"):
        plain.update(predicted, measured[:, :3], list("abcd"))
    with pytest.raises(InputError, match="not finite"):
        plain.update(predicted * np.nan, measured, list("abcd"))


@pytest.mark.slow
def test_a_virtual_subject_tells_the_shown_picture() -> None:
    """Half of its voxels judge: the truth is best, another picture and wrong pairings are not."""
    from phosphene.data.scenes import render, sample_scenes
    from phosphene.data.virtual import VirtualSubject

    subject = VirtualSubject("01")
    scenes = sample_scenes(0, 172, seed=11)
    images = render(scenes, 64).images
    signal = subject.respond(scenes, images)
    voxels, areas = np.arange(subject.n_voxels), subject.anatomy.area_names
    noise = np.random.default_rng(0).normal(size=signal.shape) * signal.std(axis=0)
    measured = signal + noise
    _, judging = split_voxels(len(voxels), areas=areas, positions=subject.anatomy.positions)
    network = PixelTarget(size=12)
    model = fit_encoding_model(
        images[:160], measured[:160], network=network, voxels=judging, alphas=[0.1, 1, 10, 100]
    )
    shown, other = images[160:], np.roll(images[160:], 1, axis=0)
    found = score_responses(
        model, shown, shown, measured[160:], rivals={"other": other}, n_permutations=200
    )
    assert judging[model.voxels].all()
    assert found.value == found.controls["truth"] > 0.15
    assert found.controls["other"] < found.value / 2
    assert found.permuted.p_value < 0.01
    assert found.identification.mean > 0.8
    wrong = score_responses(model, other, shown, measured[160:], n_permutations=200)
    assert wrong.permuted.p_value > 0.05
