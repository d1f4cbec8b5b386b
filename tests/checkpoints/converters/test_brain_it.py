"""Brain-IT, from a pickled network and from a checkpoint of its second stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.checkpoints.converters.convert import convert_file
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.model_folder import load_model

HEADS = 2


class Options:
    """What the published network keeps beside its tensors."""

    heads: int

    def __init__(self) -> None:
        self.heads = HEADS


class Network(torch.nn.Module):
    """Modules are made from the names of the tensors alone."""


def pickled(weights: dict[str, torch.Tensor], path: Path) -> None:
    network = Network()
    network.param = Options()  # type: ignore[assignment]
    for name, value in weights.items():
        *parts, last = name.split(".")
        inner: torch.nn.Module = network
        for part in parts:
            if part not in inner._modules:
                inner.add_module(part, Network())
            inner = inner._modules[part]  # type: ignore[assignment]
        inner.register_parameter(last, torch.nn.Parameter(value))
    torch.save(network, path)


@pytest.fixture
def files(made: Any, tmp_path: Path) -> Path:
    np.save(tmp_path / "v2c_5_mapping_gmm.npy", made.clusters()[1])
    np.save(tmp_path / "num_voxels.npy", np.array([[6, 5], [10, 9]]))
    return tmp_path


def test_a_pickled_network(files: Path, made: Any, maths: Any) -> None:
    weights = made.bit_weights()
    pickled(weights, files / "decoder.pth")
    report = convert_file(
        files / "decoder.pth", files / "model", subjects=["01", "02"],
        beside={"voxels": str(files / "num_voxels.npy")},
    )  # fmt: skip
    assert report.family == "brain-it"
    text = "\n".join(report.lines)
    assert "not imported" in text
    assert "8, 2, 2" in text  # width, blocks, and the heads of the pickled options
    model = load_model(str(files / "model"))
    for subject, rows in (("01", slice(0, 11)), ("02", slice(11, 30))):
        recording = made.voxel_recording(rows.stop - rows.start, subject)
        found = model.encoder.encode(recording).tokens
        wanted = maths.bit(
            weights, torch.from_numpy(recording.data), made.clusters()[0], rows, HEADS
        )
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_the_second_stage(files: Path, made: Any, maths: Any) -> None:
    weights = made.bit_weights()
    content = {
        "state_dict": {"diffusion_engine": {"unet.a": torch.zeros(2)}, "gnn_model": weights},
        "epoch": 3,
    }
    torch.save(content, files / "combined.ckpt")
    report = convert_file(
        files / "combined.ckpt", files / "model", subjects=["01"], settings={"heads": 2}
    )
    assert any("diffusion_engine.unet.a" in line for line in report.lines)
    recording = made.voxel_recording(30)
    found = load_model(str(files / "model")).encoder.encode(recording).tokens
    of = made.clusters()[0]
    wanted = maths.bit(weights, torch.from_numpy(recording.data), of, slice(0, 30), 2)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_arrays_that_are_missing_or_of_another_training(files: Path, made: Any) -> None:
    torch.save(made.bit_weights(), files / "weights.pth")
    with pytest.raises(UsageError, match="num_voxels_all_subjects"):
        convert_file(files / "weights.pth", files / "a", subjects=["01", "02"])
    np.save(files / "other.npy", np.array([10, 10]))
    with pytest.raises(InputError, match="counts 20 voxels"):
        convert_file(
            files / "weights.pth", files / "a", subjects=["01"],
            beside={"voxels": str(files / "other.npy")},
        )  # fmt: skip
    mapping = made.clusters()[1]
    mapping[0, 0] = -1
    np.save(files / "v2c_5_mapping_gmm.npy", mapping)
    with pytest.raises(InputError, match="29 voxels in clusters"):
        convert_file(files / "weights.pth", files / "a", subjects=["01"])
    (files / "v2c_5_mapping_gmm.npy").unlink()
    with pytest.raises(UsageError, match="clusters"):
        convert_file(files / "weights.pth", files / "a", subjects=["01"])
