"""Calibration without labels: definitions, planted maps, and what a result may be called."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from phosphene.errors import InputError, UsageError
from phosphene.pipelines.label_free import (
    SubjectWhitening,
    adaptive_neighbours,
    calibrate,
    csls,
    procrustes,
    recover_map,
    sinkhorn,
)


def unit(n: int, d: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(
        torch.randn(n, d, generator=generator, dtype=torch.float64), dim=1
    )


def accuracy(scores: Tensor) -> float:
    return (scores.argmax(dim=1) == torch.arange(len(scores))).double().mean().item()


def test_whitening_makes_a_subject_white_when_it_does_not_shrink() -> None:
    z = torch.randn(500, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    z = z @ torch.tensor([[2.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 3, 1], [0, 0, 0, 1]]).double() + 5
    fitted = SubjectWhitening.fit(z, shrinkage=1e-9)
    white = (z - fitted.mean) @ fitted.matrix
    torch.testing.assert_close(white.T @ white / 500, torch.eye(4).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(fitted.apply(z).norm(dim=1), torch.ones(500).double())
    for wrong in (0.0, 1.5):
        with pytest.raises(UsageError):
            SubjectWhitening.fit(z, wrong)
    with pytest.raises(InputError):
        SubjectWhitening.fit(z[:1])


def test_whitening_finds_pictures_again_under_an_offset_and_a_scale() -> None:
    pictures = unit(60, 16)
    brain = pictures * torch.linspace(0.2, 5, 16).double() + 3
    plain = accuracy(calibrate(brain, pictures).scores)
    whitened = accuracy(calibrate(brain, pictures, steps=("whitening",), shrinkage=0.05).scores)
    assert plain < 0.3
    assert whitened > 0.9


def test_local_scaling_is_its_definition() -> None:
    scores = unit(5, 8) @ unit(7, 8, 1).T
    ours = csls(scores, 3)
    for i in range(5):
        for j in range(7):
            own = scores[i].sort(descending=True).values[:3].mean()
            theirs = scores[:, j].sort(descending=True).values[:3].mean()
            torch.testing.assert_close(ours[i, j], 2 * scores[i, j] - own - theirs)
    counts = torch.tensor([1, 2, 3, 4, 5])
    torch.testing.assert_close(csls(scores, counts)[2], csls(scores, 3)[2])


def test_local_scaling_takes_the_lead_from_a_hub() -> None:
    pictures = unit(40, 24)
    queries = torch.nn.functional.normalize(pictures + unit(40, 24, 1), dim=1)
    scores = queries @ pictures.T + 0.6 * (torch.arange(40) == 0)  # near to everything
    assert accuracy(scores) < 0.8
    assert accuracy(csls(scores, 5)) > accuracy(scores) + 0.1


def test_a_block_makes_a_query_independent_of_the_other_queries() -> None:
    queries, pictures, block = unit(20, 8), unit(20, 8, 1), unit(50, 8, 2)
    steps = ("whitening", "csls")
    whole = calibrate(queries, pictures, steps=steps, block=block)
    part = calibrate(queries[3:4], pictures, steps=steps, block=block)
    torch.testing.assert_close(part.scores[0], whole.scores[3])
    assert whole.setting == "inductive (50 trials)"
    among = calibrate(queries, pictures, steps=steps)
    assert among.setting == "transductive"
    alone = calibrate(queries[3:7], pictures, steps=steps)
    assert not torch.allclose(alone.scores[0], among.scores[3])
    assert calibrate(queries, pictures).setting == "none"


def test_neighbours_are_few_where_one_picture_stands_out() -> None:
    flat = torch.zeros(1, 50).double() + 1e-3 * torch.randn(1, 50).double()
    peak = flat.clone()
    peak[0, 7] = 1.0
    assert adaptive_neighbours(peak).item() == 1
    assert adaptive_neighbours(flat).item() > 1
    assert adaptive_neighbours(flat, largest=2).item() <= 2


def test_procrustes_gives_a_planted_rotation_back() -> None:
    rotation = torch.linalg.qr(unit(12, 12, 3))[0]
    source = unit(40, 12)
    torch.testing.assert_close(procrustes(source, source @ rotation), rotation)


def test_a_soft_assignment_has_equal_rows_and_columns() -> None:
    plan = sinkhorn(unit(30, 8) @ unit(30, 8, 1).T, iterations=200)
    torch.testing.assert_close(plan.sum(dim=1), torch.ones(30).double())
    torch.testing.assert_close(plan.sum(dim=0), torch.ones(30).double(), atol=1e-4, rtol=0)


def test_a_small_planted_rotation_is_recovered_without_labels() -> None:
    pictures = unit(80, 10)
    turn = torch.linalg.matrix_exp(0.35 * (lambda a: a - a.T)(unit(10, 10, 5)))
    brain = torch.nn.functional.normalize(pictures @ turn.T + 0.02 * unit(80, 10, 6), dim=1)
    before = accuracy(brain @ pictures.T)
    rotation = recover_map(brain, pictures)
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(10).double(), atol=1e-6, rtol=0)
    assert accuracy(brain @ rotation @ pictures.T) > max(before, 0.95)


def test_wrong_steps_are_refused() -> None:
    with pytest.raises(UsageError, match="hungarian"):
        calibrate(unit(3, 4), unit(3, 4), steps=("hungarian",))
    with pytest.raises(UsageError, match="other pictures"):
        calibrate(unit(3, 4), unit(3, 4), steps=("procrustes",), block=unit(5, 4))
