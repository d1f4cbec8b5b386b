"""From a recording to pictures of a published generator, through a model folder and without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from phosphene.data.canonical import CanonicalDataset
from phosphene.encoders.stimulus.maps import EdgeTarget
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.choosing import open_generator
from phosphene.pipelines.generators.kandinsky22 import Kandinsky22
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.training.encoder import EncoderConfig, train_encoder

SMALL = {"steps": 2, "size": 16}


def test_a_model_on_a_published_generator(
    opened: Callable[..., tuple[Any, Any]],
    tiny_sources: Callable[[str], str],
    tiny_dataset: Path,
    tmp_path: Path,
) -> None:
    _, target = opened("kandinsky22")
    target.save_pretrained(tmp_path / "target")
    name = f"kandinsky22:{tiny_sources('kandinsky22')}"
    config = {"dataset": str(tiny_dataset), "subject": "01", "voxel_weights": "none"}
    settings = EncoderConfig(
        **config, target=f"local-dir:{tmp_path / 'target'}", output=str(tmp_path / "model"),
        generator=name, generator_options=SMALL,
    )  # fmt: skip
    folder, _ = train_encoder(settings)
    weights = sum(file.stat().st_size for file in (folder / "generator").rglob("*"))
    assert weights < 10_000  # names and settings, no copy of what others publish
    model = Reconstructor.from_pretrained(folder, device="cpu")
    assert isinstance(model.generator, Kandinsky22)
    assert model.settings["published"] == "kandinsky22"
    recording = CanonicalDataset.open(tiny_dataset).recording("01", splits=["validation"])
    found = model.reconstruct(recording, subject="01", average="stimulus", samples=2)
    assert found.images.shape[1:] == (2, 16, 16, 3)
    fewer = model.reconstruct(recording, subject="01", average="stimulus", samples=2, batch_size=3)
    assert np.array_equal(found.images, fewer.images)
    quick = Reconstructor.from_pretrained(folder, generator_options={"steps": 1}, device="cpu")
    assert (quick.generator.options.steps, quick.generator.options.size) == (1, 16)  # type: ignore[attr-defined]
    other = Reconstructor.from_pretrained(
        folder, generator=f"stable-unclip:{tiny_sources('stable-unclip')}",
        generator_options=SMALL, device="cpu",
    )  # fmt: skip
    changed = other.reconstruct(recording, subject="01", average="stimulus")
    assert (changed.images[:, 0] != found.images[:, 0]).any()
    with pytest.raises(InputError, match="for the generator ip-adapter-plus-sdxl"):
        Reconstructor.from_pretrained(
            folder, device="cpu",
            generator=f"ip-adapter-plus-sdxl:{tiny_sources('ip-adapter-plus-sdxl')}",
        )  # fmt: skip


def test_names_that_are_unknown_or_take_no_options(
    opened: Callable[..., tuple[Any, Any]], tmp_path: Path
) -> None:
    _, target = opened("kandinsky22")
    with pytest.raises(UsageError, match="did you mean 'stable-unclip'"):
        open_generator("stable-unclp", tmp_path, target)
    with pytest.raises(UsageError, match="options steps for the generator target-decoder"):
        open_generator("target-decoder", tmp_path, PixelTarget(8, 1), {"steps": 3})
    with pytest.raises(UsageError, match="local-dir:FOLDER"):
        open_generator("kandinsky22:somewhere", tmp_path, target)


def test_a_decoded_map_goes_with_the_model(
    opened: Callable[..., tuple[Any, Any]],
    tiny_sources: Callable[[str], str],
    tiny_dataset: Path,
    tmp_path: Path,
) -> None:
    _, target = opened("sd-controlnet-depth")
    target.save_pretrained(tmp_path / "target")
    dataset = CanonicalDataset.open(tiny_dataset)
    edges = EdgeTarget(size=8, reading=16)
    names = dataset.recording("01", splits=["train"]).trials["stimulus_id"].unique().tolist()
    edges.standardise(dataset.pictures(names[:12]))
    edges.save_pretrained(tmp_path / "edges")
    config: dict[str, Any] = {
        "dataset": str(tiny_dataset), "subject": "01", "voxel_weights": "none",
        "target": str(tmp_path / "target"), "generator_options": SMALL,
        "generator": f"sd-controlnet-depth:{tiny_sources('sd-controlnet-depth')}",
    }  # fmt: skip
    folder, summary = train_encoder(
        EncoderConfig(**config, control=str(tmp_path / "edges"), output=str(tmp_path / "model"))
    )
    assert "left_out_r2 of maps" in summary
    model = Reconstructor.from_pretrained(folder, device="cpu")
    items = dataset.recording("01", splits=["validation"]).average("stimulus_id")
    control = model.embed(items).control
    assert control is not None
    assert control.shape == (len(items), 1, 8, 8)
    assert 0 <= control.min() < control.max() <= 1
    with_map = model.reconstruct(items, subject="01").images
    model.parts.control_target.target_mean.fill_(0.9)  # another map: the pictures follow it
    assert (model.reconstruct(items, subject="01").images != with_map).any()
    with pytest.raises(UsageError, match="a target of maps"):
        train_encoder(
            EncoderConfig(**config, control=str(tmp_path / "target"), output=str(tmp_path / "no"))
        )
