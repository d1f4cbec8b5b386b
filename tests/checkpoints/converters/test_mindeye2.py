"""MindEye2: converted, loaded and compared with the mathematics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from phosphene.checkpoints.converters.convert import convert_file, write_back
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.model_folder import load_model

CLOSE = {"rtol": 0.0, "atol": 1e-5}


@pytest.fixture(scope="module")
def weights(made: Any) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = made.mindeye2_weights()
    return found


@pytest.fixture(scope="module")
def folder(weights: Any, tmp_path_factory: Any) -> Path:
    place: Path = tmp_path_factory.mktemp("mindeye2")
    content = {
        "epoch": 149, "model_state_dict": {f"module.{name}": v for name, v in weights.items()},
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []},
        "lr_scheduler": {"last_epoch": 3}, "train_losses": [1.0], "test_losses": [], "lrs": [],
    }  # fmt: skip
    torch.save(content, place / "last.pth")
    report = convert_file(place / "last.pth", place / "model", subjects=["01"])
    assert report.family == "mindeye2"
    text = "\n".join(report.lines)
    assert "tokens: 5 x 16" in text
    assert "voxels: 23" in text
    assert "optimizer_state_dict" in text
    assert "noise_scheduler.betas" in text
    return place / "model"


def test_outputs_are_those_of_the_mathematics(
    folder: Path, weights: Any, made: Any, maths: Any
) -> None:
    model = load_model(str(folder))
    recording = made.voxel_recording(23)
    found = model.encoder.encode(recording)
    wanted = maths.mindeye2(weights, torch.from_numpy(recording.data))
    torch.testing.assert_close(found.tokens, wanted["tokens"], **CLOSE)
    torch.testing.assert_close(found.lowlevel, wanted["lowlevel"], **CLOSE)
    keys = model.encoder.search_keys(recording)
    torch.testing.assert_close(keys, wanted["retrieval"].flatten(1), **CLOSE)


def test_the_prior_samples_as_published(folder: Path, weights: Any, maths: Any) -> None:
    prior = load_model(str(folder)).prior
    assert prior is not None
    stream = torch.Generator().manual_seed(0)
    brain, noise = torch.randn(2, 2, 5, 16, generator=stream)
    more = torch.randn(2, 18, 5, 16, generator=stream)
    net = {
        name.removeprefix("diffusion_prior.net."): value
        for name, value in weights.items()
        if name.startswith("diffusion_prior.net.")
    }
    with torch.no_grad():
        found = prior.denoise(noise, brain, more, steps=prior.steps, guidance=1.0)  # type: ignore[attr-defined]
    wanted = maths.ddim_prior(net, brain, noise, list(more.unbind(1)), 20)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_the_folded_form_is_the_same(folder: Path, made: Any) -> None:
    place = folder.parent
    report = convert_file(place / "last.pth", place / "folded", subjects=["01"], corrected=True)
    assert not any("mixer" in line for line in report.lines)
    recording = made.voxel_recording(23)
    full, folded = (load_model(str(place / name)).encoder for name in ("model", "folded"))
    assert not any("mixer" in name for name in folded.state_dict())
    for part in ("tokens", "lowlevel"):
        torch.testing.assert_close(
            getattr(folded.encode(recording), part), getattr(full.encode(recording), part), **CLOSE
        )


def test_written_back_and_converted_again(folder: Path, weights: Any, made: Any) -> None:
    place = folder.parent
    again = torch.load(write_back(folder, place / "again.pth", to="mindeye2"), weights_only=True)
    found = again["model_state_dict"]
    schedule = {name for name in found if "noise_scheduler" in name}
    assert len(schedule) == 13
    assert set(found) - schedule == {n for n in weights if "noise_scheduler" not in n}
    for name, value in weights.items():
        if "noise_scheduler" not in name:
            assert torch.equal(found[name], value), name
    convert_file(place / "again.pth", place / "twice", subjects=["01"])
    recording = made.voxel_recording(23)
    one, two = (load_model(str(place / name)).encoder for name in ("model", "twice"))
    assert torch.equal(one.encode(recording).tokens, two.encode(recording).tokens)
    write_back(place / "folded", place / "flat.pth", to="mindeye2")
    convert_file(place / "flat.pth", place / "flat", subjects=["01"])
    flat = load_model(str(place / "flat")).encoder.encode(recording)
    torch.testing.assert_close(flat.tokens, one.encode(recording).tokens, **CLOSE)


def test_voxels_of_another_subject_are_refused(made: Any, tmp_path: Path, cli: Any) -> None:
    weights = made.mindeye2_weights((13039,), h=2, lowlevel=False, with_prior=False)
    torch.save({"model_state_dict": weights}, tmp_path / "last.pth")
    output = tmp_path / "model"
    cli("convert", tmp_path / "last.pth", "--subject", "01", "--output", output).refuses(
        3, "Dataset subject 05", "15724 voxels for --subject 01", "--subject 05"
    )
    assert not output.exists()
    cli("convert", tmp_path / "last.pth", "--subject", "05", "--output", output).succeeds()


def test_several_subjects_in_the_order_of_the_file(made: Any, maths: Any, tmp_path: Path) -> None:
    weights = made.mindeye2_weights((11, 7), lowlevel=False, with_prior=False)
    torch.save({"model_state_dict": weights}, tmp_path / "last.pth")
    convert_file(tmp_path / "last.pth", tmp_path / "model", subjects=["05", "02"])
    encoder = load_model(str(tmp_path / "model")).encoder
    assert encoder.voxels == {"05": 11, "02": 7}
    for place, (subject, voxels) in enumerate((("05", 11), ("02", 7))):
        recording = made.voxel_recording(voxels, subject)
        wanted = maths.mindeye2(weights, torch.from_numpy(recording.data), place)
        torch.testing.assert_close(encoder.encode(recording).tokens, wanted["tokens"], **CLOSE)
    with pytest.raises(UsageError, match="2 linear maps, of 11, 7 voxels"):
        convert_file(tmp_path / "last.pth", tmp_path / "one", subjects=["05"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("backbone.blin1.weight"), "without backbone.blin1.weight"),
        (lambda w: w.update({"backbone.more.weight": torch.zeros(2)}), "backbone.more.weight"),
        (lambda w: w.update({"backbone.bnorm.bias": torch.zeros(63)}), "backbone.bnorm.bias"),
        (
            lambda w: w.update({"backbone.clip_proj.2.weight": torch.zeros(16, 15)}),
            "clip_proj.2.weight",
        ),
    ],
)
def test_what_is_missing_left_over_or_misshapen(
    change: Any, words: str, weights: Any, tmp_path: Path
) -> None:
    changed = dict(weights)
    change(changed)
    torch.save({"model_state_dict": changed}, tmp_path / "last.pth")
    with pytest.raises(InputError, match=words):
        convert_file(tmp_path / "last.pth", tmp_path / "model", subjects=["01"])
    assert not (tmp_path / "model").exists()


def test_half_precision_becomes_single(weights: Any, tmp_path: Path) -> None:
    half = {name: value.half() for name, value in weights.items()}
    torch.save({"model_state_dict": half}, tmp_path / "last.pth")
    convert_file(tmp_path / "last.pth", tmp_path / "model", subjects=["01"])
    encoder = load_model(str(tmp_path / "model")).encoder
    assert {value.dtype for value in encoder.state_dict().values()} == {torch.float32}


def test_a_low_level_head_without_what_only_training_uses(
    made: Any, maths: Any, tmp_path: Path
) -> None:
    weights = {n: v for n, v in made.mindeye2_weights().items() if "b_maps_projector" not in n}
    torch.save({"model_state_dict": weights}, tmp_path / "last.pth")
    convert_file(tmp_path / "last.pth", tmp_path / "model", subjects=["01"])
    recording = made.voxel_recording(23)
    found = load_model(str(tmp_path / "model")).encoder.encode(recording).lowlevel
    wanted = maths.mindeye2(weights, torch.from_numpy(recording.data))["lowlevel"]
    torch.testing.assert_close(found, wanted, **CLOSE)


def test_another_subject_of_nsd_is_refused(made: Any, tmp_path: Path) -> None:
    weights = made.mindeye2_weights((14_278,), lowlevel=False, with_prior=False)
    torch.save({"model_state_dict": weights}, tmp_path / "last.pth")
    with pytest.raises(InputError, match="subject 02"):
        convert_file(tmp_path / "last.pth", tmp_path / "model", subjects=["01"])
    convert_file(tmp_path / "last.pth", tmp_path / "model", subjects=["02"])


def test_a_recording_of_other_voxels_is_refused(folder: Path, made: Any) -> None:
    with pytest.raises(InputError, match="22 columns"):
        load_model(str(folder)).preprocessor.transform(made.voxel_recording(22))
