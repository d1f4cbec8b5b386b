"""MindEye: prior, brain encoder and low-level model against the mathematics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from phosphene.checkpoints.converters.convert import convert_file
from phosphene.errors import InputError
from phosphene.pipelines.model_folder import load_model

CLOSE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture(scope="module")
def folder(made: Any, tmp_path_factory: Any) -> Path:
    place: Path = tmp_path_factory.mktemp("mindeye1")
    torch.save({"epoch": 239, "model_state_dict": made.mindeye1_weights()}, place / "last.pth")
    torch.save({"model_state_dict": made.mindeye1_latent_weights()}, place / "epoch120.pth")
    report = convert_file(
        place / "last.pth", place / "model", subjects=["01"],
        beside={"lowlevel": str(place / "epoch120.pth")},
    )  # fmt: skip
    assert report.family == "mindeye1"
    assert any("maps_projector" in line for line in report.lines)
    return place / "model"


def test_outputs_are_those_of_the_mathematics(folder: Path, made: Any, maths: Any) -> None:
    model, recording = load_model(str(folder)), made.voxel_recording(23)
    voxels = torch.from_numpy(recording.data)
    wanted = maths.mindeye1(made.mindeye1_weights(), voxels)
    torch.testing.assert_close(model.encoder.encode(recording).tokens, wanted["tokens"], **CLOSE)
    keys = model.encoder.search_keys(recording)
    torch.testing.assert_close(keys, wanted["retrieval"].flatten(1), **CLOSE)
    low = maths.mindeye1_latents(made.mindeye1_latent_weights(), voxels)
    torch.testing.assert_close(model.structure.encode(recording).lowlevel, low, **CLOSE)


def test_the_prior_samples_at_every_time(folder: Path, made: Any, maths: Any) -> None:
    prior: Any = load_model(str(folder)).prior
    assert prior.network_calls() == 100
    stream = torch.Generator().manual_seed(0)
    brain, noise = torch.randn(2, 2, 5, 16, generator=stream)
    more = torch.randn(2, 99, 5, 16, generator=stream)
    net = {
        name.removeprefix("net."): value
        for name, value in made.mindeye1_weights().items()
        if name.startswith("net.")
    }
    with torch.no_grad():
        found = prior.denoise(noise, brain, more, steps=100, guidance=1.0)
    wanted = maths.ancestral_prior(net, brain, noise, list(more.unbind(1)))
    wanted = wanted / wanted[:, :1].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_low_level_model_alone(folder: Path, made: Any, maths: Any) -> None:
    place = folder.parent
    convert_file(place / "epoch120.pth", place / "low", subjects=["01"])
    recording = made.voxel_recording(23)
    found = load_model(str(place / "low")).encoder.encode(recording).lowlevel
    wanted = maths.mindeye1_latents(
        made.mindeye1_latent_weights(), torch.from_numpy(recording.data)
    )
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_files_of_two_subjects_are_refused(folder: Path, made: Any, tmp_path: Path) -> None:
    torch.save({"model_state_dict": made.mindeye1_latent_weights(v=9)}, tmp_path / "low.pth")
    with pytest.raises(InputError, match="9 voxels"):
        convert_file(
            folder.parent / "last.pth", tmp_path / "model", subjects=["01"],
            beside={"lowlevel": str(tmp_path / "low.pth")},
        )  # fmt: skip
