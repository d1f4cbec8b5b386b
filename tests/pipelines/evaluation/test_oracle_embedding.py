"""With a low-level branch, a perfect embedding and a perfect everything are two controls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.data.pictures import Pictures
from phosphene.pipelines.evaluation.control_pictures import model_controls
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.training.decoder import DecoderConfig, train_decoder
from phosphene.pipelines.training.engine import EngineConfig


@pytest.mark.slow
def test_oracle_and_truth_differ_by_the_low_level_branch(
    tiny_dataset: Path, tiny_parts_folder: Path, tiny_pictures: Pictures, tmp_path: Path
) -> None:
    settings = {
        "dataset": str(tiny_dataset), "subjects": ("01",), "output": str(tmp_path / "model"),
        "target": str(tiny_parts_folder / "target"),
        "generator": str(tiny_parts_folder / "generator"), "token_rank": 10, "latent_rank": 10,
        "prior": "identity", "strengths": (0.5,), "prior_training": EngineConfig(epochs=1),
    }  # fmt: skip
    train_decoder(DecoderConfig.model_validate(settings))
    model = Reconstructor.from_pretrained(str(tmp_path / "model"))
    assert model.strength == 0.5
    items = CanonicalDataset.open(tiny_dataset).recording("01", ["validation"]).average()
    truth = tiny_pictures[[int(name) for name in items.trials["stimulus_id"]]]
    found = model_controls(model, items, truth, seed=0)
    assert set(found) == {
        "noise_brain", "shuffled_brain", "truth_through_generator", "oracle_embedding",
    }  # fmt: skip
    pictures = {name: rival for name, rival in found.items() if isinstance(rival, np.ndarray)}
    assert len(pictures) == 4
    assert all(rival.shape == truth.shape for rival in pictures.values())
    assert (pictures["oracle_embedding"] != pictures["truth_through_generator"]).any()
    no_branch = Reconstructor(model.parts, prior="none", strength=1.0)
    left_out = model_controls(no_branch, items, truth)["oracle_embedding"]
    assert "no low-level branch is used" in left_out.reason
