"""The low-level branch: what it hands to a generator, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from phosphene.errors import InputError, UsageError
from phosphene.priors.structure import StructureBranch
from phosphene.types import BrainEmbedding


def test_init_is_the_predicted_latent() -> None:
    latents = torch.randn(2, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    embedding = BrainEmbedding(pooled=torch.zeros(2, 5), lowlevel=latents)
    assert torch.equal(StructureBranch("hash", 0.5).init(embedding), latents)


def test_save_and_load_are_exact(tmp_path: Path) -> None:
    StructureBranch("0123", 0.7).save_pretrained(tmp_path)
    again = StructureBranch.from_pretrained(tmp_path)
    assert (again.target, again.strength) == ("0123", 0.7)


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_strength_is_a_share(strength: float) -> None:
    with pytest.raises(UsageError, match="strength"):
        StructureBranch("hash", strength)


def test_an_embedding_without_low_level_part_is_refused() -> None:
    with pytest.raises(InputError, match="without a low-level part"):
        StructureBranch("hash", 0.5).init(BrainEmbedding(pooled=torch.zeros(2, 5)))
