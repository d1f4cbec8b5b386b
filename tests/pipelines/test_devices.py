"""Names of devices, as torch spells them too."""

from __future__ import annotations

import pytest
import torch

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.devices import choose_device

THERE = torch.cuda.is_available()


def test_names_of_what_is_there() -> None:
    assert choose_device("cpu") == str(torch.device("cpu")) == "cpu"
    assert choose_device("auto") == ("cuda" if THERE else "cpu")


@pytest.mark.parametrize("name", ["cuda", str(torch.device("cuda", 0))])
def test_a_gpu_is_taken_or_missed_by_either_name(name: str) -> None:
    if THERE:
        assert choose_device(name) == name
    else:
        with pytest.raises(InputError, match="no CUDA device is available"):
            choose_device(name)


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:one", "cpu:0", "auto:1", ""])
def test_other_names_are_one_message(name: str) -> None:
    with pytest.raises(UsageError, match="auto, cpu or cuda"):
        choose_device(name)
