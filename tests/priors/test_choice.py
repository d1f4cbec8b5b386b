"""The choice among candidate pictures, on numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from phosphene.errors import InputError, UsageError
from phosphene.priors.choice import PictureChoice


def test_direction_counts_and_length_does_not() -> None:
    decoded = torch.tensor([[1.0, 0.0], [0.0, -0.1]])
    found = torch.tensor([[[0.0, 1.0], [9.0, 1.0]], [[0.0, -5.0], [1.0, -1.0]]])
    choice = PictureChoice("hash", 2)
    assert choice.best(decoded, found).tolist() == [1, 0]
    assert choice.best(decoded * 7, found).tolist() == [1, 0]


def test_the_first_of_equal_candidates_is_kept() -> None:
    assert PictureChoice("hash", 3).best(torch.ones(1, 4), torch.ones(1, 3, 4)).tolist() == [0]


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="candidates"):
        PictureChoice("hash", 0)
    with pytest.raises(InputError, match="n_candidates"):
        PictureChoice("hash", 2).best(torch.ones(2, 3), torch.ones(1, 2, 3))
    PictureChoice("hash", 4).save_pretrained(tmp_path / "choice")
    assert PictureChoice.from_pretrained(tmp_path / "choice").candidates == 4
