"""The perception reconstructor of NeuroClips against the mathematics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from phosphene.checkpoints.converters.convert import convert_file
from phosphene.encoders.brain.published.neuroclips_perception import NeuroClipsPerception
from phosphene.pipelines.model_folder import load_model


def test_latents_of_frames(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = made.perception_weights()
    torch.save({"model_state_dict": weights}, tmp_path / "video_subj01_PR.pth")
    report = convert_file(tmp_path / "video_subj01_PR.pth", tmp_path / "model", subjects=["01"])
    assert report.family == "neuroclips"
    assert any("3 frames of 4 x 4 x 4" in line for line in report.lines)
    model, recording = load_model(str(tmp_path / "model")), made.voxel_recording(9)
    # In double precision: random attention and norms over few places magnify rounding.
    found = model.encoder.double().encode(recording).lowlevel
    double = {name: value.double() for name, value in weights.items()}
    wanted = maths.perception(double, torch.from_numpy(recording.data).double(), 3)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    # A clip does not depend on its company.
    alone = model.encoder.encode(recording.select(torch.tensor([1]).numpy())).lowlevel
    torch.testing.assert_close(alone, found[1:2], rtol=0, atol=1e-6)


def test_published_sizes() -> None:
    with torch.device("meta"):
        network = NeuroClipsPerception({"01": 13_447}, {"lowlevel": [24, 28, 28]})
    assert sum(one.numel() for one in network.ridge1.parameters()) == 13_447 * 4096 + 4096
    assert network.blin1.weight.shape == (3136, 4096)
