from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from phosphene.pipelines.evaluation.predictions import Item
from phosphene.pipelines.evaluation.reading import PairReader
from phosphene.pipelines.evaluation.rivals import grey_rival
from phosphene.pipelines.evaluation.scoring import Scorer, SubjectScores
from phosphene.pipelines.metrics import specs
from phosphene.pipelines.metrics.feature_metrics import FeatureIdentification
from phosphene.pipelines.metrics.specs import create_metric

PIXCORR, SSIM, TWO_WAY = "pixcorr/strict-v1", "ssim/uniform7-v1", "two-way-pixels/strict-v1"
METRICS = (PIXCORR, SSIM, TWO_WAY)
N, SIDE = 10, 12
Array = np.ndarray[Any, Any]


def save(path: Path, pixels: Array) -> Path:
    Image.fromarray(pixels).save(path)
    return path


class Made:
    """Truths, and predictions that are half of their truth and half noise."""

    def __init__(self, root: Path, *, repeats: int = 1, samples: int = 1) -> None:
        rng = np.random.default_rng(3)
        shown = rng.integers(0, 256, size=(N, SIDE, SIDE, 3), dtype=np.uint8)
        self.truth = {f"{row}": save(root / f"t{row}.png", one) for row, one in enumerate(shown)}
        self.items = []
        for row, one in enumerate(shown):
            for repeat in range(repeats):
                files = []
                for sample in range(samples):
                    noise = rng.integers(0, 256, size=one.shape)
                    pixels = (0.3 * one + 0.7 * noise).astype(np.uint8)
                    files.append(save(root / f"p{row}-{repeat}-{sample}.png", pixels))
                self.items.append(Item(f"{row} {repeat}", f"{row}", tuple(files)))
        self.categories = {f"{row}": "ab"[row % 2] for row in range(N)}

    def score(
        self, items: list[Item] | None = None, *, names: tuple[str, ...] = METRICS, **options: Any
    ) -> SubjectScores:
        reader = PairReader(self.items if items is None else items, self.truth)
        scorer = Scorer(
            reader,
            {name: create_metric(name) for name in names},
            [grey_rival(reader)],
            categories=self.categories,
            **options,
        )
        return scorer.score(range(len(reader.items)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("pictures"))


def test_batches_change_no_number(made: Made) -> None:
    one, many = (made.score(batch_size=size) for size in (1, 64))
    for name in METRICS:
        a, b = one.metrics[name], many.metrics[name]
        np.testing.assert_allclose(a.per_item, b.per_item, atol=1e-6)
        assert a.controls == pytest.approx(b.controls, abs=1e-6)
        assert a.wrong == pytest.approx(b.wrong, abs=1e-6)
        assert a.test is not None
        assert b.test is not None
        assert a.test.p_value == b.test.p_value


def test_another_order_of_items_gives_the_same_scores_in_that_order(made: Made) -> None:
    order = np.random.default_rng(0).permutation(N)
    plain, mixed = made.score(), made.score([made.items[row] for row in order])
    for name in METRICS:
        expected = np.asarray(plain.metrics[name].per_item)[order]
        np.testing.assert_allclose(mixed.metrics[name].per_item, expected, atol=1e-6)
        assert mixed.metrics[name].value == pytest.approx(plain.metrics[name].value, abs=1e-6)


def test_an_item_scores_the_mean_of_its_samples(tmp_path: Path) -> None:
    made = Made(tmp_path, samples=2)
    both = made.score()
    alone = [
        made.score([Item(i.key, i.picture, i.files[k : k + 1]) for i in made.items])
        for k in range(2)
    ]
    for name in METRICS:
        expected = np.mean([one.metrics[name].per_item for one in alone], axis=0)
        np.testing.assert_allclose(both.metrics[name].per_item, expected, atol=1e-6)


def test_repetitions_of_a_picture_are_no_rivals_of_it(tmp_path: Path) -> None:
    """With its repetitions among the candidates a perfect prediction would tie with them."""
    made = Made(tmp_path)
    shown = [Item(f"{k} {r}", k, (path,)) for k, path in made.truth.items() for r in range(3)]
    found = made.score(shown).metrics[TWO_WAY]
    assert found.value == 1.0
    uneven = made.score(shown[2:]).metrics[TWO_WAY]  # one of the first picture, three of others
    assert uneven.value == 1.0
    assert uneven.per_item is not None
    assert np.isfinite(uneven.per_item).all()


def test_right_pairs_beat_permuted_ones_and_noise_does_not(made: Made, tmp_path: Path) -> None:
    found = made.score()
    for name in METRICS:
        test = found.metrics[name].test
        assert test is not None
        assert test.p_value < 0.01
        assert test.observed == pytest.approx(found.metrics[name].value, abs=1e-6)
    rng = np.random.default_rng(0)
    noise = [
        Item(i.key, i.picture, (save(tmp_path / f"{i.picture}.png", one),))
        for i, one in zip(
            made.items, rng.integers(0, 256, (N, SIDE, SIDE, 3), dtype=np.uint8), strict=True
        )
    ]
    for name in METRICS:
        test = made.score(noise).metrics[name].test
        assert test is not None
        assert test.p_value > 0.05


def ways(count: int) -> FeatureIdentification:
    """Return identification of pixels among so many."""
    spec = specs.METRICS["50-way-pixels/strict-v1"].spec
    return FeatureIdentification(
        spec.model_copy(update={"ways": count, "chance": 1 / count}), ways=count
    )


@pytest.mark.parametrize(
    "name", [TWO_WAY, "two-way-pixels/takagi", "two-way-pixels/strict-less",
             "two-way-pixels/enigma", "4 ways"],
)  # fmt: skip
@pytest.mark.parametrize("flat", [False, True])
def test_wrong_pairings_stand_on_the_scale_of_the_score(
    name: str, flat: bool, made: Made, tmp_path: Path
) -> None:
    """Among four the wrong pairing is worth a quarter, not the half that it is among two."""
    items = made.items
    if flat:
        path = save(tmp_path / "flat.png", np.full((SIDE, SIDE, 3), 128, dtype=np.uint8))
        items = [Item(i.key, i.picture, (path,)) for i in items]
    reader = PairReader(items, made.truth)
    metric = ways(4) if name == "4 ways" else create_metric(name)
    scorer = Scorer(
        reader, {name: metric}, [grey_rival(reader)], categories=made.categories, n_permutations=99
    )
    found = scorer.score(range(N)).metrics[name]
    assert found.test is not None
    assert found.test.observed == pytest.approx(found.value, abs=1e-6)
    assert found.within is not None  # of two ways in all of them
    assert found.shuffled is not None
    assert found.shuffled.observed == pytest.approx(found.value, abs=1e-6)
    guessing = 0 if flat and name.endswith("strict-less") else found.chance
    assert found.wrong == pytest.approx(guessing, abs=1e-9)
    assert found.wrong == pytest.approx(found.test.chance, abs=0.05)
    assert (found.test.p_value == 1) if flat else (found.test.p_value == 0.01)


def test_a_constant_prediction_is_at_chance_collapsed_and_never_significant(
    made: Made, tmp_path: Path
) -> None:
    flat = save(tmp_path / "flat.png", np.full((SIDE, SIDE, 3), 128, dtype=np.uint8))
    found = made.score([Item(i.key, i.picture, (flat,)) for i in made.items]).metrics[TWO_WAY]
    assert found.value == 0.5
    assert found.collapsed
    assert found.wrong == 0.5
    assert found.test is not None
    assert found.test.p_value == 1.0
    assert found.within is not None
    np.testing.assert_array_equal(found.within, 0.5)


def test_within_categories_only_their_own_pictures_count(tmp_path: Path) -> None:
    """Predictions that are another picture of the category: above chance, below it within."""
    made = Made(tmp_path)
    light = np.random.default_rng(0).integers(0, 60, size=(N, SIDE, SIDE, 3))
    ramp = np.linspace(0, 190, SIDE)
    for row in range(N):  # two categories: bright to the right, bright to the bottom
        shape = ramp[None, :, None] if row % 2 else ramp[:, None, None]
        save(made.truth[f"{row}"], (light[row] + shape).astype(np.uint8))
    swapped = [Item(f"{row}", f"{row}", (made.truth[f"{(row + 2) % N}"],)) for row in range(N)]
    found = made.score(swapped).metrics[TWO_WAY]
    assert found.value > 0.55
    assert found.within is not None
    assert found.within.mean() < 0.5
    assert found.within.shape == (N,)


def test_a_metric_that_cannot_take_the_pictures_leaves_with_its_reason(tmp_path: Path) -> None:
    made = Made(tmp_path)
    tiny = np.random.default_rng(0).integers(0, 256, size=(N, 5, 5, 3), dtype=np.uint8)
    for row, pixels in enumerate(tiny):
        save(made.truth[f"{row}"], pixels)
    found = made.score()
    assert set(found.metrics) == {PIXCORR, TWO_WAY}
    assert "at least 7 x 7" in found.absent[SSIM]


def test_one_picture_has_nothing_to_be_told_from(made: Made) -> None:
    found = made.score(made.items[:1])
    assert TWO_WAY in found.absent
    assert found.metrics[PIXCORR].test is None
    assert found.metrics[PIXCORR].controls["grey_picture"] == 0.0


def test_memory_does_not_hold_all_pictures(tmp_path: Path) -> None:
    side, n = 256, 12
    shown = np.zeros((side, side, 3), dtype=np.uint8)
    items, truth = [], {}
    for row in range(n):
        shown[:] = row
        shown[row : row + 200, :100, 1] = 255 - row
        truth[f"{row}"] = save(tmp_path / f"t{row}.png", shown)
        items.append(Item(f"{row}", f"{row}", (save(tmp_path / f"p{row}.png", shown // 2),)))
    reader = PairReader(items, truth)
    metrics = {PIXCORR: create_metric(PIXCORR)}
    scorer = Scorer(reader, metrics, [grey_rival(reader)], batch_size=1, n_permutations=20)
    tracemalloc.start()
    found = scorer.score(range(n))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.metrics[PIXCORR].value > 0.99
    in_floats = 2 * n * side * side * 3 * 8  # what holding all pairs as floats would take
    assert peak < in_floats / 3
