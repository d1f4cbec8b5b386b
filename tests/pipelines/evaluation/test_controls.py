"""Controls stand beside every score, mean what they say, or say why they are absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.evaluation.control_pictures import (
    Absent,
    TrainingSet,
    model_controls,
    plain_controls,
)
from phosphene.pipelines.evaluation.controls import control_identification, control_score
from phosphene.pipelines.evaluation.repetition_curve import repetition_curve
from phosphene.pipelines.metrics import pixel_correlation, two_way_identification
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace

Array = np.ndarray[Any, Any]
SIDE, N_KINDS = 12, 5


def smooth(n: int, seed: int) -> Array:
    """Pictures with structure, as floats about 0."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(n, 4, 4, 3))
    return coarse.repeat(3, axis=1).repeat(3, axis=2)


def as_pictures(values: Array) -> Array:
    return np.clip(128 + 40 * values, 0, 255).astype(np.uint8)


class World:
    """Pictures of five kinds; predictions that know the picture, or only its kind."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        kinds = 1.2 * smooth(N_KINDS, 1)
        self.categories = np.tile(np.arange(N_KINDS), 6)
        self.trained = np.tile(np.arange(N_KINDS), 8)
        own = smooth(len(self.categories), 2)
        self.truth = as_pictures(kinds[self.categories] + own)
        self.training = TrainingSet(
            as_pictures(kinds[self.trained] + smooth(len(self.trained), 3)),
            self.trained,
            rng.normal(size=(len(self.trained), 9)),
        )
        noise = rng.normal(size=self.truth.shape)
        self.decoded = as_pictures(0.7 * (kinds[self.categories] + own) + 0.5 * noise)
        self.category_only = as_pictures(kinds[self.categories] + 0.5 * noise)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_controls_that_take_no_brain(world: World) -> None:
    predicted = np.concatenate([world.training.embeddings[[7]] * 2.0, np.zeros((29, 9))])
    found = plain_controls(
        world.truth, training=world.training, categories=world.categories, predicted=predicted
    )
    assert list(found) == ["grey_picture", "mean_picture", "class_mean_picture", "nearest_training"]
    assert all(rival.shape == world.truth.shape for rival in found.values())
    assert (found["grey_picture"] == 128).all()
    mean = world.training.pictures.mean(axis=0)
    assert np.abs(found["mean_picture"][3] - mean).max() <= 0.5
    kind = world.training.pictures[world.trained == world.categories[2]].mean(axis=0)
    assert np.abs(found["class_mean_picture"][2] - kind).max() <= 0.5
    assert (found["nearest_training"][0] == world.training.pictures[7]).all()


def test_what_is_not_known_is_absent_with_a_reason(world: World) -> None:
    found = plain_controls(world.truth)
    assert isinstance(found["mean_picture"], Absent)
    bare = plain_controls(world.truth, training=TrainingSet(world.training.pictures))
    assert isinstance(bare["mean_picture"], np.ndarray)
    assert "categories" in bare["class_mean_picture"].reason
    assert "embeddings" in bare["nearest_training"].reason
    unseen = plain_controls(world.truth, training=world.training, categories=world.categories + 1)
    assert unseen["class_mean_picture"] == Absent(
        "1 categories are not in training, '5' for example"
    )
    with pytest.raises(InputError, match="8 categories for 40"):
        TrainingSet(world.training.pictures, list("abcdefgh"))
    with pytest.raises(InputError, match="of 4 numbers"):
        plain_controls(world.truth, training=world.training, predicted=np.zeros((30, 4)))


def test_a_decoder_of_pictures_beats_all_controls(world: World) -> None:
    rivals = plain_controls(world.truth, training=world.training, categories=world.categories)
    found = control_score(
        "pixcorr", pixel_correlation, world.decoded, world.truth, rivals,
        categories=world.categories, n_permutations=500,
    )  # fmt: skip
    decoded = found["decoded"]
    assert decoded.value == pytest.approx(pixel_correlation(world.decoded, world.truth).mean())
    assert decoded.p_value == 1 / 501
    assert decoded.interval is not None
    assert decoded.interval[0] < decoded.value < decoded.interval[1]
    assert found["permuted_pairing"].value == pytest.approx(0.12, abs=0.08)  # of one kind at times
    assert found["grey_picture"].value == 0  # nothing can be said of a flat picture
    shuffled = found["within_class_shuffle"]
    assert found["permuted_pairing"].value < shuffled.value < decoded.value
    assert shuffled.p_value is not None
    assert shuffled.p_value <= 0.004
    for name in ("grey_picture", "mean_picture", "class_mean_picture"):
        assert found[name].value < decoded.value
        assert found[name].p_value <= 0.01
    assert found["nearest_training"].value is None
    assert found["nearest_training"].note


def test_decoding_the_category_alone_shows(world: World) -> None:
    found = control_identification(
        "two-way", world.category_only, world.truth, {}, categories=world.categories,
        n_permutations=500,
    )  # fmt: skip
    assert found["decoded"].value > 0.8
    assert found["decoded"].p_value < 0.01
    assert found["within_category"].value == pytest.approx(0.5, abs=0.12)
    assert found["within_category"].p_value > 0.02
    assert found["within_class_shuffle"].p_value > 0.02
    rivals = {"category": world.category_only, "none": Absent("x")}
    good = control_identification(
        "two-way", world.decoded, world.truth, rivals,
        categories=world.categories, n_permutations=500,
    )  # fmt: skip
    assert good["within_category"].value > 0.9
    assert good["within_category"].p_value < 0.01
    assert good["category"].p_value < 0.01
    assert (good["none"].value, good["none"].note) == (None, "x")
    expected = two_way_identification(world.decoded, world.truth)
    assert good["decoded"].value == pytest.approx(expected.mean)


def test_a_constant_prediction_scores_chance_exactly(world: World) -> None:
    grey = np.full_like(world.truth, 128)
    found = control_identification("two-way", grey, world.truth, {}, categories=world.categories)
    for name in ("decoded", "permuted_pairing", "within_class_shuffle", "within_category"):
        assert found[name].value == 0.5, name
    assert found["decoded"].p_value == 1.0
    assert found["within_category"].p_value == 1.0


def test_repetitions_add_no_pictures(world: World) -> None:
    names = np.repeat(np.arange(30), 2)
    once = control_identification("two-way", world.decoded, world.truth, {})
    twice = control_identification(
        "two-way", world.decoded.repeat(2, 0), world.truth.repeat(2, 0), {}, pictures=names
    )
    assert twice["decoded"] == once["decoded"]
    assert twice["permuted_pairing"] == once["permuted_pairing"]
    scored = control_score(
        "r", pixel_correlation, world.decoded.repeat(2, 0), world.truth.repeat(2, 0), {},
        pictures=names, most_pairs=400,
    )  # fmt: skip
    assert scored["decoded"].n_pictures == 30
    assert scored["permuted_pairing"].n_pictures == 10  # 20 items make 400 pairs
    assert "among 10 random pictures" in scored["permuted_pairing"].note


def test_tables_say_everything(world: World) -> None:
    one = control_score("r", pixel_correlation, world.decoded[:1], world.truth[:1], {})
    assert one["permuted_pairing"].value is None
    assert one["decoded"].interval is None
    table = control_score("r", pixel_correlation, world.decoded, world.truth, {"x": Absent("why")})
    lines = table.lines()
    assert lines[0].startswith("| r |")
    assert lines[-1] == "| x | absent |  |  | why |"
    assert table.to_dict()["rows"][0]["name"] == "decoded"
    with pytest.raises(UsageError, match="no control 'y'"):
        table["y"]
    with pytest.raises(InputError, match="the control x of shape"):
        control_score("r", pixel_correlation, world.decoded, world.truth, {"x": world.truth[:4]})


def repeated(n_pictures: int, counts: Array, noise: float = 2.0) -> Recording:
    rng = np.random.default_rng(5)
    shown = rng.permutation(np.repeat(np.arange(n_pictures), counts))
    data = np.eye(n_pictures)[shown] + noise * rng.normal(size=(len(shown), n_pictures)) / 3
    table = pd.DataFrame({"stimulus_id": [f"p{k}" for k in shown]})
    table["session"] = np.where(np.arange(len(shown)) % 2, "01", "02")
    return Recording(
        data.astype(np.float32), "fmri", "01", complete_trials(table, len(shown)),
        VoxelSpace.columns(n_pictures),
    )  # fmt: skip


def identified(items: Recording) -> Array:
    places = [int(name.removeprefix("p")) for name in items.trials["stimulus_id"]]
    own = np.asarray(items.data)[np.arange(len(items)), places]
    return (np.asarray(items.data) <= own[:, None]).mean(axis=1)


def test_the_curve_rises_with_repetitions() -> None:
    counts = np.array([8] * 30 + [2] * 10)
    found = repetition_curve(repeated(40, counts), identified, counts=[1, 2, 4, 8], draws=3)
    assert [row.name for row in found] == [f"repetitions_{k}" for k in (1, 2, 4, 8)]
    values = [row.value for row in found]
    assert values == sorted(values)
    assert values[-1] - values[0] > 0.1
    assert {row.n_pictures for row in found} == {30}  # the same pictures at every point
    by_default = repetition_curve(repeated(6, np.full(6, 4)), identified)
    assert [row.name for row in by_default] == ["repetitions_1", "repetitions_2", "repetitions_4"]
    with pytest.raises(InputError, match="no picture was shown 9 times"):
        repetition_curve(repeated(40, counts), identified, counts=[9])


def test_what_a_model_makes_of_no_brain(model: Path, dataset: Path, toy: Any) -> None:
    from phosphene.data.canonical import CanonicalDataset

    loaded = Reconstructor.from_pretrained(str(model))
    items = CanonicalDataset.open(dataset).recording("01", ["test"]).average()
    names = items.trials["stimulus_id"].str.removeprefix("scene-").astype(int)
    truth = np.repeat(toy.pictures[names], 3, axis=-1)
    decoded = loaded.reconstruct(items, subject="01").images[:, 0]
    found = model_controls(loaded, items, truth, seed=0)
    table = control_score("r", pixel_correlation, decoded, truth, found)
    assert table["decoded"].value > 0.99
    assert table["truth_through_generator"].value > 0.999
    assert abs(table["noise_brain"].value) < 0.3
    assert abs(table["shuffled_brain"].value) < 0.3
    shuffled = found["shuffled_brain"]
    assert isinstance(shuffled, np.ndarray)
    for row, picture in enumerate(shuffled):  # a picture of another brain, never its own
        same = [
            k for k in range(len(decoded)) if np.abs(picture.astype(int) - decoded[k]).max() <= 1
        ]
        assert same
        assert row not in same
    assert "no low-level branch" in table["oracle_embedding"].note
    again = model_controls(loaded, items, truth, seed=0)
    np.testing.assert_array_equal(again["noise_brain"], found["noise_brain"])
    with pytest.raises(InputError, match="3 pictures for 9 items"):
        model_controls(loaded, items, truth[:3])
    alone = model_controls(loaded, items.select(np.array([0])), truth[:1])
    assert isinstance(alone["shuffled_brain"], Absent)
