"""Every definition has a test against something independent; a variant also one of its quirk.

What no other file compares under its own name is compared here.
"""

from __future__ import annotations

import ast
from fnmatch import fnmatchcase
from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import rankdata

from phosphene.pipelines.metrics.specs import METRICS, create_metric, list_metrics

Array = np.ndarray[Any, Any]
HERE = "test_every_definition"
NETWORKS = (
    "test_networks:test_layers_of_alexnet", "test_networks:test_pooled_features_of_torchvision",
    "test_networks:test_clip_from_a_folder", "test_networks:test_dinov2_from_a_folder",
)  # fmt: skip
# Pattern of ids: tests against another library, a closed form, or numbers worked out by hand.
REFERENCES: dict[str, tuple[str, ...]] = {
    "pixcorr/*": ("test_pictures:test_correlation_is_that_of_numpy",),
    "ssim/uniform7-v1": ("test_pictures:test_ssim_is_that_of_scikit_image",),
    "ssim/strict-v1": ("test_pictures:test_gaussian_ssim_is_that_of_torchmetrics",),
    "ssim/mindeye2": ("test_legacy:test_ssim_of_the_chain_is_not_ssim_of_the_pictures",),
    "ssim/brain-diffuser": ("test_legacy:test_ssim_with_columns_for_channels",),
    "psnr/*": ("test_pictures:test_psnr_is_that_of_scikit_image",),
    "mse/*": ("test_pictures:test_closed_forms_of_the_squared_error",),
    "colour/*": ("test_opponents:test_colours_at_the_size_they_are_compared_in_are_a_plain_sum",),
    "edges/*": (f"{HERE}:test_edges_are_those_of_scipy",),
    "two-way-pixels/*": ("test_feature_metrics:test_the_golden_direction",),
    "50-way-*/*": (f"{HERE}:test_fifty_ways_from_ranks",),
    "alexnet[25]*/*": ("test_feature_metrics:test_the_golden_direction", *NETWORKS[:1]),
    "inception*/*": ("test_feature_metrics:test_the_golden_direction", *NETWORKS[1:2]),
    "efficientnet-b1*/*": ("test_feature_metrics:test_the_golden_direction", *NETWORKS[1:2]),
    "swav*/*": ("test_feature_metrics:test_the_golden_direction", *NETWORKS[1:2]),
    "clip/*": ("test_feature_metrics:test_the_golden_direction", *NETWORKS[2:3]),
    "clip-distance/*": (f"{HERE}:test_distance_is_that_of_scipy", *NETWORKS[2:3]),
    "dinov2*/*": ("test_feature_metrics:test_the_golden_direction", *NETWORKS[3:]),
    "*-distance/*": (f"{HERE}:test_distance_is_that_of_scipy",),
    "efficientnet-lite0/*": ("test_feature_metrics:test_the_offline_network_gives_real_numbers",),
    "fid-*/*": ("test_sets:test_frechet_distance_is_its_formula",),
    "kid-*/*": ("test_sets:test_kernel_distance_is_that_of_torchmetrics",),
    "lpips-alex/*": ("test_sets:test_lpips_is_its_formula",),
    "dists/*": ("test_sets:test_dists_of_random_weights",),
    "*-top[15]/strict-v1": ("test_retrieval_metrics:test_top_k_is_the_hit_rate_of_torchmetrics",),
    "*-top1-of-*/strict-v1": (f"{HERE}:test_pools_and_ranks_of_both_directions",),
    "*-rank/strict-v1": (f"{HERE}:test_pools_and_ranks_of_both_directions",),
    "*-top1/csls10-v1": (f"{HERE}:test_csls_of_both_directions",),
    "*-retrieval/mindeye2": (
        "test_retrieval_metrics:test_peers_names_stand_for_the_other_direction",
    ),
    "*-way-retrieval/atm": (f"{HERE}:test_drawn_rivals_of_every_number",),
    "bleu-*/*": ("test_captions:test_bleu_is_that_of_two_other_libraries",),
    "rouge-1/*": (f"{HERE}:test_rouge_1_by_hand",),
    "rouge-l/strict-v1": ("test_captions:test_rouge_l_by_hand",),
    "rouge-l/coco": ("test_captions:test_rouge_of_coco_joins_two_references",),
    "cider/*": ("test_captions:test_cider_by_hand",),
    "meteor/coco-v1": ("test_captions:test_meteor_runs_offline",),
    "sentence-similarity/*": ("test_captions:test_embeddings_are_those_of_transformers",),
    "caption-*/*": ("test_captions:test_the_true_caption_is_found_among_all",),
    "video-identification/*": (
        "test_video_identification:test_identification_of_clips_is_identification_of_features",
    ),
    "frame-*way/*": ("test_video_identification:test_expectation_equals_drawing",),
    "video-*way/*": ("test_video_identification:test_expectation_equals_drawing",),
    "video-ssim/mind-video": ("test_video_frames:test_uniform_window_is_that_of_the_pictures",),
    "video-ssim/*": ("test_video_frames:test_the_strict_form_is_that_of_torchmetrics",),
    "video-psnr/*": ("test_video_frames:test_ratio_is_that_of_scikit_image",),
    "temporal-consistency/*": ("test_temporal:test_cosines_by_hand",),
    "clip-pcc/*": ("test_temporal:test_the_two_legacy_forms_differ",),
    "flow-epe/*": ("test_optical_flow:test_end_point_error_by_hand",),
    "hue-correlation/*": ("test_hue:test_known_value",),
    "hue-pcc/*": ("test_hue:test_by_hand",),
    "brain-correlation/strict-v1": ("test_brain:test_correlations_are_those_of_numpy",),
    "brain-correlation/ceiling-v1": (
        "test_brain:test_the_ceiling_is_what_perfect_predictions_reach",
    ),
    "brain-identification/*": ("test_feature_metrics:test_the_golden_direction",),
}  # fmt: skip
QUIRKS: dict[str, str] = {
    "pixcorr/mindeye2": "test_legacy:test_pixcorr_without_averaging",
    "pixcorr/brain-diffuser": (
        "test_legacy:test_pixcorr_of_brain_diffuser_is_bicubic_in_whole_levels"
    ),
    "ssim/mindeye2": "test_legacy:test_ssim_of_the_chain_is_not_ssim_of_the_pictures",
    "ssim/brain-diffuser": "test_legacy:test_ssim_with_columns_for_channels",
    "ssim/uniform7-v1": "test_pictures:test_ssim_rewards_what_says_nothing",
    "efficientnet-b1/*": "test_legacy:test_network_chains_are_those_of_the_papers",
    "swav/*": "test_legacy:test_network_chains_are_those_of_the_papers",
    "*-retrieval/mindeye2": "test_retrieval_metrics:test_peers_names_stand_for_the_other_direction",
    "*/mindeye2": f"{HERE}:test_networks_of_peers_lose_ties",
    "*/brain-diffuser": f"{HERE}:test_networks_of_peers_lose_ties",
    "*/strict-less": "test_legacy:test_ties_that_lose",
    "*/takagi": "test_legacy:test_takagi_asks_the_other_way_round",
    "*/enigma": "test_legacy:test_one_win_too_many_is_subtracted",
    "*/atm": f"{HERE}:test_drawn_rivals_of_every_number",
    "*/csls10-v1": (
        "test_retrieval_metrics:test_csls_undoes_a_hub_and_says_that_it_is_transductive"
    ),
    "rouge-l/coco": "test_captions:test_rouge_of_coco_joins_two_references",
    "video-ssim/neurons": (
        "test_video_frames:test_similarity_of_columns_is_higher_for_what_is_not_similar"
    ),
    "video-ssim/mind-video": "test_video_frames:test_uniform_window_is_that_of_the_pictures",
    "*way/mind-video": "test_video_identification:test_an_ordinary_answer_passes_the_legacy_form",
    "*way/eeg2video": "test_video_identification:test_an_ordinary_answer_passes_the_legacy_form",
    "*way/legacy-lite0-v1": (
        "test_video_identification:test_an_ordinary_answer_passes_the_legacy_form"
    ),
    "clip-pcc/*": "test_temporal:test_legacy_prefers_what_stands_still",
    "hue-pcc/*": (
        "test_hue:test_independent_hues_correlate_nowhere_and_score_three_quarters_in_the_legacy_form"
    ),
}
# What nothing can compute where no package carries its weights, models or word lists.
ABSENT = {"dreamsim/strict-v1", "spice/coco-v1", "meteor/mindeye2"}
STRICT = {"strict-v1", "uniform7-v1", "unit-range-v1", "coco-v1", "minilm-v1", "ceiling-v1"}
STRICT |= {"strict-lite0-v1", "strict-10way-v1", "strict-50way-v1"}


def names(n: int) -> list[str]:
    return [f"item-{number:03d}" for number in range(n)]


def outcome(metric: str, made: Any, shown: Any, **more: Any) -> Any:
    measure = create_metric(metric)
    measure.update(made, shown, names(len(shown)), **more)
    return measure.compute()


def found_tests() -> set[str]:
    """Return file:function of every test beside this one."""
    found = set()
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found.add(f"{path.stem}:{node.name}")
    return found


def test_every_definition_has_a_reference_test() -> None:
    known = found_tests()
    for pattern, tests in REFERENCES.items():
        assert list_metrics(pattern), f"{pattern} is no metric any more"
        assert set(tests) <= known, set(tests) - known
    for name in METRICS:
        if name not in ABSENT:
            assert any(fnmatchcase(name, pattern) for pattern in REFERENCES), name
    for name in ABSENT:
        assert name in METRICS
        assert METRICS[name].spec.availability(), f"{name} runs: it needs a reference test"


def test_every_variant_has_a_test_of_its_quirk() -> None:
    known = found_tests()
    assert set(QUIRKS.values()) <= known, set(QUIRKS.values()) - known
    for pattern in QUIRKS:
        assert list_metrics(pattern), f"{pattern} is no metric any more"
    for name, entry in METRICS.items():
        if name.partition("/")[2] not in STRICT and name not in ABSENT:
            assert any(fnmatchcase(name, pattern) for pattern in QUIRKS), name
            assert entry.spec.note, name


def test_what_a_definition_says_of_chance_is_true_of_its_ways() -> None:
    for spec in list_metrics():
        if spec.ways is None:
            continue
        if spec.id.endswith("/enigma"):  # depends on how many items there are
            assert spec.chance is None
        elif spec.id.split("/")[1] in ("mind-video", "eeg2video", "legacy-lite0-v1"):
            assert spec.chance == 3 / (spec.ways + 2), spec.id
        else:
            assert spec.chance == 1 / spec.ways, spec.id
        assert spec.ties != "none", spec.id


def test_fifty_ways_from_ranks() -> None:
    """Of 59 others, w of which are worse, 49 are drawn: C(w, 49) / C(59, 49)."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (60, 6, 6, 3), dtype=np.uint8)
    made = (0.12 * truth + 0.88 * rng.integers(0, 256, truth.shape)).astype(np.uint8)
    found = outcome("50-way-pixels/strict-v1", made, truth)
    r = np.corrcoef(truth.reshape(60, -1), made.reshape(60, -1))[:60, 60:]
    worse = (r < np.diag(r)[None]).sum(axis=0)
    expected = [comb(int(w), 49) / comb(59, 49) for w in worse]
    np.testing.assert_allclose(found.scores, expected, rtol=1e-9)
    assert 0.02 < found.value < 1
    grey = outcome("50-way-pixels/strict-v1", np.full_like(truth, 128), truth)
    np.testing.assert_allclose(grey.scores, 1 / 50)
    assert grey.collapsed


def test_distance_is_that_of_scipy() -> None:
    from scipy.spatial.distance import correlation
    from skimage import data

    from phosphene.data.pictures import fit_pictures
    from phosphene.pipelines.metrics import picture_features

    shown = fit_pictures([data.coffee(), data.astronaut()], size=224, channels=3)
    made = np.ascontiguousarray(shown[:, ::-1])
    found = outcome("efficientnet-lite0-distance/strict-v1", made, shown)
    features = picture_features(np.concatenate([made, shown]))
    expected = [correlation(features[row], features[row + 2]) for row in range(2)]
    np.testing.assert_allclose(found.scores, expected, atol=2e-4)
    assert (found.scores > 0.05).all()


def test_edges_are_those_of_scipy() -> None:
    from scipy import ndimage

    rng = np.random.default_rng(1)
    truth, made = rng.integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8)
    found = outcome("edges/strict-v1", made, truth)

    def edges(picture: Array) -> Array:
        grey = picture / 255 @ [0.2125, 0.7154, 0.0721]
        along = [ndimage.sobel(grey, axis=axis, mode="reflect") for axis in (0, 1)]
        return ndimage.gaussian_filter(np.hypot(*along), 1, mode="nearest").ravel()

    expected = [np.corrcoef(edges(a), edges(b))[0, 1] for a, b in zip(made, truth, strict=True)]
    np.testing.assert_allclose(found.scores, expected, atol=1e-6)


@pytest.fixture(scope="module")
def embeddings() -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    truth = rng.normal(size=(310, 24)).astype(np.float32)
    return (truth + 1.2 * rng.normal(size=truth.shape)).astype(np.float32), truth


def cosines(queries: Array, candidates: Array) -> Array:
    a, b = (x.astype(float) for x in (queries, candidates))
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return a @ b.T


@pytest.mark.parametrize("direction", ["brain-to-image", "image-to-brain"])
def test_pools_and_ranks_of_both_directions(
    direction: str, embeddings: tuple[Array, Array]
) -> None:
    predicted, truth = embeddings
    pair = embeddings if direction == "brain-to-image" else embeddings[::-1]
    similarity = cosines(*pair)
    ranks = np.array([rankdata(-row)[k] for k, row in enumerate(similarity)])
    found = outcome(f"{direction}-rank/strict-v1", predicted, truth)
    np.testing.assert_array_equal(found.scores, ranks)
    assert found.chance == pytest.approx((310 + 1) / 2)
    for pool in (2, 10, 50, 300):
        found = outcome(f"{direction}-top1-of-{pool}/strict-v1", predicted, truth)
        expected = [comb(310 - int(r), pool - 1) / comb(309, pool - 1) for r in ranks]
        np.testing.assert_allclose(found.scores, expected, rtol=1e-9)
        assert found.chance == 1 / pool
        same = outcome(f"{direction}-top1-of-{pool}/strict-v1", np.ones_like(truth), truth)
        assert same.value == pytest.approx(1 / pool)


@pytest.mark.parametrize("direction", ["brain-to-image", "image-to-brain"])
def test_csls_of_both_directions(direction: str, embeddings: tuple[Array, Array]) -> None:
    predicted, truth = (one[:40] for one in embeddings)
    pair = (predicted, truth) if direction == "brain-to-image" else (truth, predicted)
    s = cosines(*pair)
    rows, columns = (np.sort(s, axis=a).take(range(-10, 0), axis=a).mean(axis=a) for a in (1, 0))
    expected = (2 * s - rows[:, None] - columns[None]).argmax(axis=1) == np.arange(40)
    found = outcome(f"{direction}-top1/csls10-v1", predicted, truth)
    np.testing.assert_array_equal(found.scores, expected)
    assert 0 < found.value < 1


@pytest.mark.parametrize("ways", [2, 4, 10])
def test_drawn_rivals_of_every_number(ways: int, embeddings: tuple[Array, Array]) -> None:
    """One draw per item: near the closed form and not equal to it; ties are lost."""
    predicted, truth = embeddings
    drawn = outcome(f"{ways}-way-retrieval/atm", predicted, truth)
    ranks = outcome("brain-to-image-rank/strict-v1", predicted, truth).scores
    closed = np.array([comb(310 - int(r), ways - 1) / comb(309, ways - 1) for r in ranks])
    error = np.sqrt((closed * (1 - closed)).sum()) / 310
    assert 0 < abs(drawn.value - closed.mean()) < 5 * error
    assert outcome(f"{ways}-way-retrieval/atm", np.zeros_like(truth), truth).value == 0


def test_first_of_a_tie_is_taken_by_the_draws_of_300(embeddings: tuple[Array, Array]) -> None:
    """The published code neither shares nor loses ties: of equal ones the first is found."""
    _, truth = embeddings
    same = np.ones_like(truth)
    for name in ("image-retrieval/mindeye2", "brain-retrieval/mindeye2"):
        assert METRICS[name].spec.ties == "first"
    assert outcome("brain-retrieval/mindeye2", same, truth).value == pytest.approx(1 / 300)


def test_rouge_1_by_hand() -> None:
    """Three of five words found, three of four said: F1 of 3/5 and 3/4 is 2/3."""
    found = outcome("rouge-1/strict-v1", ["a red big bus"], [["the bus is a red"]])
    assert found.value == pytest.approx(2 * 0.6 * 0.75 / (0.6 + 0.75))


def test_networks_of_peers_lose_ties() -> None:
    """Their chains are a table in `test_legacy`; identification loses ties in all of them."""
    for variant in ("mindeye2", "brain-diffuser"):
        for spec in list_metrics(f"*/{variant}"):
            if spec.kind == "picture" and spec.ways is not None:
                assert METRICS[spec.id].options["ties"] == spec.ties == "lose"
                assert "a tie is lost" in spec.note
                assert spec.chance == 0.5
