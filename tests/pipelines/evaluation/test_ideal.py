"""The ideal observer of a simulation beside what was decoded from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.data.virtual import VirtualSubject, choose_stimuli, ideal_identification
from phosphene.data.virtual.writing import write_experiment
from phosphene.errors import InputError
from phosphene.pipelines.evaluation.ideal import ideal_of_simulations, with_ideal
from phosphene.pipelines.evaluation.predictions import Item
from phosphene.storage import load_array

N = 5


def test_without_a_simulation_it_says_so() -> None:
    item = Item("a", "a", (), subject="01", source_trials=("x",))
    assert "--simulation" in ideal_of_simulations([], [item])


def test_other_folders_are_refused(tmp_path: Path) -> None:
    item = Item("a", "a", (), subject="01", source_trials=("x",))
    with pytest.raises(InputError, match=r"no truth/simulation.json"):
        ideal_of_simulations([tmp_path], [item])


@pytest.mark.slow
def test_it_is_that_of_the_pictures_that_were_decoded(tmp_path: Path, make_result: Any) -> None:
    subject, stimuli = VirtualSubject("01"), choose_stimuli(N, seed=3)
    write_experiment(tmp_path / "sim", subject, stimuli, repetitions=2, seed=3)
    names = [stimuli.ids[row] for row in (3, 0, 2, 1)]
    items = [Item(name, name, (), subject="01", source_trials=("one", "two")) for name in names]
    ideal = ideal_of_simulations([tmp_path / "sim"], items)
    assert isinstance(ideal, dict)
    rows = [stimuli.ids.index(name) for name in sorted(names)]
    signal = load_array(tmp_path / "sim/truth/signal.npy")[rows]
    (expected,) = ideal_identification(subject, signal, repetitions=(2,))
    assert ideal["01"] == expected
    assert (expected.n_pictures, expected.repetitions) == (4, 2)

    result = make_result("a", names, {"two-way-pixels/strict-v1": [0.7] * 4})
    (metric,) = with_ideal(result.metrics, ideal)
    assert metric.share_of_ideal is not None
    share = (0.7 - 0.5) / (expected.two_way - 0.5)
    assert metric.share_of_ideal.share == pytest.approx(share)
    other = make_result("a", names, {"pixcorr/strict-v1": [0.7] * 4})
    assert with_ideal(other.metrics, ideal)[0].share_of_ideal is None  # not an identification

    uneven = [dataclasses.replace(items[0], source_trials=("one",)), *items[1:]]
    assert "differ in how many trials" in ideal_of_simulations([tmp_path / "sim"], uneven)
    strangers = [dataclasses.replace(one, subject="02") for one in items]
    assert ideal_of_simulations([tmp_path / "sim"], strangers) == "no --simulation of subject 02"
    wrong = [dataclasses.replace(items[0], picture="nobody"), *items[1:]]
    with pytest.raises(InputError, match="showed no picture 'nobody'"):
        ideal_of_simulations([tmp_path / "sim"], wrong)
    assert np.isfinite(expected.two_way)
