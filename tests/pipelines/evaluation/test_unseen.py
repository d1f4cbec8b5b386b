"""A model is held against what it says it learned from, by content and by names that agree."""

from __future__ import annotations

from pathlib import Path

import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.unseen import refuse_seen
from phosphene.pipelines.reconstructor import Reconstructor

GOLDEN = Path(__file__).parents[2] / "golden" / "version-1"


@pytest.fixture
def dataset() -> CanonicalDataset:
    return CanonicalDataset.open(GOLDEN / "dataset")


@pytest.fixture
def model() -> Reconstructor:
    return Reconstructor.from_pretrained(GOLDEN / "model")


def told(model: Reconstructor, **changes: object) -> Reconstructor:
    model.parts.protocol = model.parts.protocol.model_copy(update=changes)
    return model


def test_a_clean_model_passes(model: Reconstructor, dataset: CanonicalDataset) -> None:
    words = refuse_seen(model, dataset)
    assert words.startswith("training saw no test picture")
    assert "keep no record" in words


def test_names_of_the_same_dataset_count(model: Reconstructor, dataset: CanonicalDataset) -> None:
    with pytest.raises(InputError, match="training saw 1 pictures of the test split, 'golden-13'"):
        refuse_seen(told(model, train_stimulus_ids=["golden-13"]), dataset)


def test_names_of_another_dataset_do_not(model: Reconstructor, dataset: CanonicalDataset) -> None:
    stranger = told(model, dataset="another", train_stimulus_ids=["golden-13"])
    assert refuse_seen(stranger, dataset)
    told(stranger, train_picture_hashes=[])  # nothing but names is known
    with pytest.raises(InputError, match="saw 1 pictures"):
        refuse_seen(stranger, dataset)


def test_contents_count_everywhere(model: Reconstructor, dataset: CanonicalDataset) -> None:
    known = dict(zip(dataset.stimuli["stimulus_id"], dataset.stimuli["hash"], strict=True))
    copied = told(model, dataset="another", train_picture_hashes=[known["golden-14"]])
    with pytest.raises(InputError) as error:
        refuse_seen(copied, dataset)
    assert f"content {known['golden-14']}" in error.value.found
    assert "--allow-seen" in error.value.remedy
