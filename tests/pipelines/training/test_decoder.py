"""`phosphene train`: the whole of it on tiny parts, through the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from typer.testing import CliRunner

from phosphene.cli.app import app
from phosphene.data.canonical import CanonicalDataset
from phosphene.encoders.stimulus.efficientnet import EfficientNetTarget
from phosphene.encoders.stimulus.open_clip import OpenClipTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.model_folder import load_model
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.training.decoder import DecoderConfig, train_decoder
from phosphene.pipelines.training.engine import EngineConfig
from phosphene.priors.detail import BorrowedDetail

SETTINGS = {
    "token_rank": 10,
    "latent_rank": 10,
    "prior_options": {"layers": 1, "heads": 2, "head_dim": 4, "steps": 2},
    "prior_training": EngineConfig(epochs=2),
    "strengths": (0.5, 1.0),
}


def config(dataset: Path, parts: Path, output: Path, **more: object) -> DecoderConfig:
    places = {"target": str(parts / "target"), "generator": str(parts / "generator")}
    return DecoderConfig.model_validate(
        {"dataset": str(dataset), "output": str(output), **places, **SETTINGS, **more}
    )


@pytest.fixture(scope="module")
def model(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder = tmp_path_factory.mktemp("model") / "decoder"
    train_decoder(config(tiny_dataset, tiny_parts_folder, folder, half=True))
    return folder


def test_every_part_is_in_one_folder(model: Path) -> None:
    parts = load_model(str(model))
    assert parts.preprocessor.subjects == ["01", "02"]
    assert not list(model.glob(".*"))  # nothing of the work is left
    table = parts.settings["validation"]
    assert {row["prior"] for row in table} == {"none", "identity", "diffusion"}
    best = max(table, key=lambda row: row["identification"] + row["pixel_correlation"])
    assert ("none" if parts.prior is None else parts.prior.name) == best["prior"]
    assert (1.0 if parts.branch is None else parts.branch.strength) == best["strength"]


def total(row: dict[str, float]) -> float:
    return row["identification"] + row["pixel_correlation"] + row["by_features"]


@pytest.fixture(scope="module")
def tuned(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra metrics")
    folder = tmp_path_factory.mktemp("tuned")
    features = EfficientNetTarget(size=32)
    dataset = CanonicalDataset.open(tiny_dataset)
    names = dataset.recording("01", splits=["train"]).trials["stimulus_id"].unique().tolist()
    features.standardise(dataset.pictures(names[:8]))
    features.save_pretrained(folder / "features")
    settings = config(
        tiny_dataset,
        tiny_parts_folder,
        folder / "model",
        prior="identity",
        features=str(folder / "features"),
        feature_rank=5,
        draws=2,
        blurs=(1.0,),
        guidance_scales=(1.0, 3.0),
        detail_training=EngineConfig(epochs=2),
        half=True,
        tuning=EngineConfig(epochs=1, batch_size=8, precision="bf16"),
    )
    return train_decoder(settings)[0]


def test_a_generator_learns_from_what_is_decoded(tuned: Path, tiny_parts_folder: Path) -> None:
    parts = load_model(str(tuned))
    assert isinstance(parts.generator, LatentDiffusion)
    assert parts.structure is not None  # the layout can be asked for at any strength
    assert parts.features_target is not None
    table = parts.settings["validation"]
    assert [row["blur"] for row in table] == [0.0] * 4 + [1.0]
    assert [row["guidance_scale"] for row in table] == [
        1.5,
        1.5,
        1.0,
        3.0,
        parts.generator.guidance_scale,
    ]
    assert parts.generator.guidance_scale == max(table[2:4], key=total)["guidance_scale"]
    lent = total(table[-1]) > max(map(total, table[2:4]))
    assert (parts.detail is not None) == lent
    assert parts.detail is None or parts.detail.target == parts.features_target.spec.hash
    before = UNet2DConditionModel.from_pretrained(tiny_parts_folder / "generator" / "unet")
    shared = "mid_block.resnets.0.conv1.weight"
    after = parts.generator.unet.state_dict()
    assert not torch.equal(after[shared], before.state_dict()[shared])
    assert after["class_embedding.weight"].abs().sum() > 0


def test_pictures_start_from_inverted_features_where_a_target_has_a_way_back(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite_pytorch", reason="needs the extra metrics")
    from phosphene.encoders.stimulus.levels import LevelsTarget

    dataset = CanonicalDataset.open(tiny_dataset)
    names = dataset.recording("01", splits=["train"]).trials["stimulus_id"].unique().tolist()
    levels = LevelsTarget(size=64, shown=16, width=16)
    levels.standardise(dataset.pictures(names[:8]))
    levels.save_pretrained(tmp_path / "levels")
    settings = config(
        tiny_dataset, tiny_parts_folder, tmp_path / "model", prior="identity", subjects=("01",),
        structure=str(tmp_path / "levels"), strengths=(0.5,), half=True,
    )  # fmt: skip
    parts = load_model(str(train_decoder(settings)[0]))
    assert parts.branch is not None
    assert parts.structure_target is not None
    assert parts.branch.target == levels.spec.hash
    model = Reconstructor(parts)
    items = dataset.recording("01", splits=["validation"]).average("stimulus_id")
    decoded = model.embed(items)
    assert decoded.lowlevel is not None
    assert decoded.lowlevel.shape[1:] == levels.spec.shape
    begun = Reconstructor(parts, strength=0.0).reconstruct(items, subject="01").images[:, 0]
    inverted = levels.decode(decoded.lowlevel)
    through = parts.generator.latents.decode(parts.generator.latents.to_latents(inverted * 2 - 1))
    expected = (through * 255).round().permute(0, 2, 3, 1).detach().numpy()
    assert np.abs(begun.astype(float) - expected).max() <= 1
    no_way_back = config(
        tiny_dataset, tiny_parts_folder, tmp_path / "other",
        structure=str(tiny_parts_folder / "target"),
    )  # fmt: skip
    with pytest.raises(UsageError, match="without a decoder"):
        train_decoder(no_way_back)
    unread = config(
        tiny_dataset, tiny_parts_folder, tmp_path / "tuned", tuning=EngineConfig(epochs=1)
    )
    with pytest.raises(UsageError, match=r"tuning. without features"):
        train_decoder(unread)


def test_detail_is_borrowed_for_an_item_whatever_its_company(
    tuned: Path, tiny_dataset: Path
) -> None:
    recording = CanonicalDataset.open(tiny_dataset).recording("01", splits=["validation"])
    recording = recording.select(np.arange(4))
    parts = load_model(str(tuned))
    decoded = Reconstructor(parts).embed(recording)
    sizes = {name: (part[0].numel(), 3) for name, part in decoded.parts.items()}
    pictures = np.random.default_rng(0).integers(0, 255, (9, 16, 16, 3), dtype=np.uint8)
    latents = parts.generator.latents.encode(pictures)
    parts.detail = BorrowedDetail(
        "hash", sizes, 9, 1280, 5, 8, 1.0, 2, 3, latents=tuple(latents.shape[1:])
    )
    features = parts.features_target.encode(pictures)
    parts.detail.measure(decoded)
    parts.detail.remember(
        features,
        parts.detail.reduce(decoded),
        mean=parts.features_target.target_mean,
        scale=parts.features_target.target_scale,
        latents=latents,
    )
    model = Reconstructor(parts)
    assert model.settings["detail"] == 1.0
    whole = model.reconstruct(recording, subject="01").images[:, 0]
    for batch_size in (1, 3):
        small = model.reconstruct(recording, subject="01", batch_size=batch_size).images[:, 0]
        np.testing.assert_array_equal(whole, small)
    alone = model.reconstruct(recording.select([2]), subject="01").images[:, 0]
    np.testing.assert_array_equal(whole[2], alone[0])
    plain = Reconstructor(parts, detail=0).reconstruct(recording, subject="01").images[:, 0]
    assert (whole != plain).any()


def test_a_model_without_features_has_no_detail_to_lend(model: Path) -> None:
    with pytest.raises(UsageError, match="detail of 2 pixels"):
        Reconstructor.from_pretrained(model, detail=2)
    assert Reconstructor.from_pretrained(model, detail=0).detail is None


def test_half_precision_on_disk_and_exact_identity(
    model: Path, tiny_target: OpenClipTarget
) -> None:
    from phosphene.storage import load_tensors

    weights = load_tensors(model / "target" / "open_clip_model.safetensors")
    assert all(value.dtype == torch.float16 for value in weights.values())
    assert load_model(str(model)).target.spec.hash == tiny_target.spec.hash


def test_same_pictures_at_any_batch_size_subset_and_order(model: Path, tiny_dataset: Path) -> None:
    reconstructor = Reconstructor.from_pretrained(model)
    recording = CanonicalDataset.open(tiny_dataset).recording("01", splits=["validation"])
    whole = reconstructor.reconstruct(recording, subject="01", average="stimulus", samples=2)
    small = reconstructor.reconstruct(
        recording, subject="01", average="stimulus", samples=2, batch_size=3
    )
    assert np.abs(whole.images.astype(int) - small.images.astype(int)).max() <= 1
    kept = whole.trials["stimulus_id"].tolist()[::-2]
    rows = recording.trials["stimulus_id"].isin(kept).to_numpy().nonzero()[0][::-1]
    part = reconstructor.reconstruct(
        recording.select(rows), subject="01", average="stimulus", samples=2
    )
    places = [whole.trials["stimulus_id"].tolist().index(n) for n in part.trials["stimulus_id"]]
    assert np.abs(whole.images[places].astype(int) - part.images.astype(int)).max() <= 1


def test_parts_can_be_left_out(model: Path, tiny_dataset: Path) -> None:
    recording = CanonicalDataset.open(tiny_dataset).recording("02", splits=["validation"])
    parts = load_model(str(model))
    alone = Reconstructor(parts, prior="none", strength=1.0)
    assert (alone.prior, alone.strength) == (None, 1.0)
    result = alone.reconstruct(recording, subject="02")
    assert result.provenance.config["prior"] == "none"
    with pytest.raises(UsageError, match="the prior 'flow'"):
        Reconstructor(parts, prior="flow")
    with pytest.raises(UsageError, match="strength"):
        Reconstructor(parts, strength=2)


def test_resume_goes_on_and_refuses_other_settings(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    first = config(tiny_dataset, tiny_parts_folder, tmp_path / "m", prior="identity")
    folder, summary = train_decoder(first)
    again, same = train_decoder(first, resume=True)
    assert (again, same) == (folder, summary)
    shutil.move(folder / "model_index.json", tmp_path / "aside.json")  # as if killed at the end
    (folder / ".partial").mkdir()
    resumed, _ = train_decoder(first, resume=True)
    assert (resumed / "model_index.json").read_text() == (tmp_path / "aside.json").read_text()
    with pytest.raises(UsageError, match="not empty"):
        train_decoder(first)


def test_a_dataset_without_validation_split_holds_pictures_out(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(tiny_dataset, copy)
    dataset = CanonicalDataset.open(copy)
    table = dataset.table.assign(split="train")
    table.to_parquet(copy / "trials.parquet", index=False)
    folder, _ = train_decoder(
        config(copy, tiny_parts_folder, tmp_path / "m", prior="none", subjects=("01",))
    )
    protocol = load_model(str(folder)).protocol
    assert len(protocol.train_stimulus_ids) == 38  # a twentieth of 40 pictures is held out


def test_latents_are_no_target_of_the_encoder(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path
) -> None:
    wrong = config(tiny_dataset, tiny_parts_folder, tmp_path / "m")
    wrong = wrong.model_copy(update={"target": str(tiny_parts_folder / "generator" / "latents")})
    with pytest.raises((UsageError, InputError)):
        train_decoder(wrong)


def test_command_line(tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path) -> None:
    options = [
        "--dataset", str(tiny_dataset), "--subject", "01", "--prior", "identity",
        "--target", str(tiny_parts_folder / "target"),
        "--generator", str(tiny_parts_folder / "generator"),
        "--set", "strengths=[0.5]", "--output", str(tmp_path / "model"),
    ]  # fmt: skip
    result = CliRunner().invoke(app, ["train", *options])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1] == f"model: {tmp_path / 'model'}"
