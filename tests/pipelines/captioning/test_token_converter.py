"""The converter finds maps that are there, and stores them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from phosphene.errors import InputError
from phosphene.pipelines.captioning.token_converter import TokenConverter


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_it_finds_a_bilinear_map() -> None:
    x, left, right, offset = noise(200, 5, 7), noise(6, 5, seed=1), noise(7, 4, seed=2), noise(6, 4)
    y = left @ x @ right + offset
    made = TokenConverter((5, 7), (6, 4), "t")
    made.fit(x, y, penalty=1e-9, rounds=60)
    fresh = noise(20, 5, 7, seed=9)
    wanted = left @ fresh @ right + offset
    assert float((made(fresh) - wanted).square().mean() / wanted.var()) < 1e-3


def test_one_vector_is_one_token_and_then_it_is_ridge() -> None:
    """With one token in and out it has to be the ridge that scikit-learn fits."""
    from sklearn.linear_model import Ridge

    x, weights = noise(60, 7), noise(7, 4, seed=1)
    y = x @ weights + 0.3 * noise(60, 4, seed=2) + 2
    made = TokenConverter((1, 7), (1, 4), "t")
    made.fit(x, y[:, None], penalty=1e-12, rounds=1)
    found = made(x)[:, 0]
    wanted = torch.from_numpy(Ridge(alpha=1e-9).fit(x.numpy(), y.numpy()).predict(x.numpy()))
    assert torch.allclose(found, wanted.float(), atol=1e-3)


def test_more_rounds_are_never_worse() -> None:
    x = noise(80, 4, 6)
    y = noise(80, 5, 3, seed=1) + noise(5, 4, seed=2) @ x @ noise(6, 3, seed=3)
    errors = []
    for rounds in (1, 2, 4, 8):
        made = TokenConverter((4, 6), (5, 3), "t")
        made.fit(x, y, penalty=0.0, rounds=rounds)
        errors.append(float((made(x) - y).square().mean()))
    assert all(later <= earlier + 1e-6 for earlier, later in itertools.pairwise(errors))
    mean = float((y - y.mean(0)).square().mean())
    assert errors[-1] < mean


def test_saved_and_loaded(tmp_path: Path) -> None:
    made = TokenConverter((4, 6), (5, 3), "t")
    made.fit(noise(30, 4, 6), noise(30, 5, 3, seed=1))
    made.save_pretrained(tmp_path)
    again = TokenConverter.from_pretrained(tmp_path)
    assert torch.equal(again(noise(2, 4, 6)), made(noise(2, 4, 6)))
    assert again.target == "t"


def test_other_shapes_are_refused() -> None:
    made = TokenConverter((4, 6), (5, 3), "t")
    with pytest.raises(InputError, match=r"expected|Expected"):
        made(noise(2, 4, 5))
    with pytest.raises(InputError, match=r"tokens \(4, 5\)"):
        made.fit(noise(2, 4, 5), noise(2, 5, 3))
