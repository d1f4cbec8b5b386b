"""Whatever saw a test picture is refused, under whatever name it saw it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.held_out import Choice, HeldOut
from phosphene.data.preprocessing import Preprocessor
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError
from phosphene.pipelines.model_folder import load_model
from phosphene.trials import complete_trials
from phosphene.types import Recording, VoxelSpace


def recording(names: list[str], split: str = "train") -> Recording:
    data = np.random.default_rng(0).normal(size=(len(names), 3)).astype(np.float32)
    table = complete_trials(pd.DataFrame({"stimulus_id": names, "split": split}), len(names))
    return Recording(data, "fmri", "01", table, VoxelSpace.columns(3))


def test_a_transform_that_saw_a_test_picture_is_refused() -> None:
    guard = HeldOut(frozenset({"p3"}))
    clean = Preprocessor().fit(recording(["p0", "p1", "p2"]))
    assert clean.training_ids == {"p0", "p1", "p2"}
    assert guard.check(clean)
    # marked as training trials, so that nothing else could notice
    dirty = Preprocessor().fit(recording(["p0", "p1", "p3"]))
    with pytest.raises(InputError, match="z-scoring saw 1 pictures of the test split, 'p3'"):
        guard.check(dirty, name="z-scoring")


def test_a_strength_chosen_on_test_pictures_is_refused() -> None:
    guard = HeldOut(frozenset({"p3"}))
    assert guard.check(Choice("strength", 0.4, frozenset({"p1"})))
    with pytest.raises(InputError, match="strength saw 1 pictures"):
        guard.check(Choice("strength", 0.4, frozenset({"p1", "p3"})))


def test_copies_under_another_name_count() -> None:
    guard = HeldOut(frozenset({"new"}), frozenset({"ab12"}))
    with pytest.raises(InputError, match="content ab12"):
        guard.refuse(["old"], purpose="the encoder", picture_hashes=["ab12"])
    target = PixelTarget(8, 1)
    assert not guard.check(target)  # it keeps no record: nothing can be said
    target.training_picture_hashes = frozenset({"ab12"})
    with pytest.raises(InputError, match="pixels saw 1 pictures"):
        guard.check(target)


def test_unknown_names_are_no_pictures() -> None:
    guard = HeldOut.of_trials(recording(["n/a", "p1"], split="test").trials)
    assert guard.stimulus_ids == {"p1"}
    guard.refuse(["n/a"], purpose="z-scoring")


def test_a_model_and_its_dataset(dataset: Path, model: Path) -> None:
    opened, parts = CanonicalDataset.open(dataset), load_model(str(model))
    guard = HeldOut.of_dataset(opened)
    assert len(guard.stimulus_ids) == len(guard.picture_hashes) == 9
    assert guard.check(parts.protocol)
    content = next(iter(guard.picture_hashes))
    for update in ({"train_stimulus_ids": ["scene-084"]}, {"train_picture_hashes": [content]}):
        with pytest.raises(InputError, match="the encoder saw 1 pictures"):
            guard.check(parts.protocol.model_copy(update=update), name="the encoder")
