"""What the pipeline offers beside pictures: precision, what happens on the way, and a way out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.data.canonical import CanonicalDataset
from phosphene.errors import AssetError, UsageError
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.pipelines.generators.target_decoder import TargetDecoder
from phosphene.pipelines.reconstructor import Reconstructor
from phosphene.pipelines.training.decoder import DecoderConfig, train_decoder
from phosphene.types import Recording


@pytest.fixture(scope="module")
def folder(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    settings = {
        "dataset": str(tiny_dataset), "subjects": ("01",), "prior": "identity",
        "target": str(tiny_parts_folder / "target"), "token_rank": 10, "latent_rank": 10,
        "generator": str(tiny_parts_folder / "generator"), "strengths": (1.0,),
        "output": str(tmp_path_factory.mktemp("model") / "tiny"),
    }  # fmt: skip
    return train_decoder(DecoderConfig.model_validate(settings))[0]


@pytest.fixture
def model(folder: Path) -> Reconstructor:
    return Reconstructor.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def items(tiny_dataset: Path) -> Recording:
    recording = CanonicalDataset.open(tiny_dataset).recording("01", splits=["validation"])
    return recording.average("stimulus_id").select(np.arange(3))


def test_another_precision_is_close_and_comes_back(model: Reconstructor, items: Recording) -> None:
    exact = model.reconstruct(items, subject="01").images
    assert model.to(dtype=torch.bfloat16) is model
    assert isinstance(model.generator, LatentDiffusion)
    assert model.generator.unet.dtype == torch.bfloat16
    coarse = model.reconstruct(items, subject="01").images
    assert 0 < np.abs(coarse.astype(float) - exact).mean() < 8
    model.to("cpu", torch.float32)
    assert model.generator.unet.dtype == torch.float32


def test_steps_are_told(model: Reconstructor, items: Recording) -> None:
    seen: list[tuple[int, float, tuple[int, ...]]] = []
    model.reconstruct(
        items,
        subject="01",
        num_inference_steps=3,
        callback_on_step_end=lambda number, time, latents: seen.append(
            (number, float(time), tuple(latents.shape))
        ),
    )
    assert [number for number, _, _ in seen] == [0, 1, 2]
    assert seen[0][1] > seen[1][1] > seen[2][1]
    assert isinstance(model.generator, LatentDiffusion)
    assert seen[0][2][1:] == model.generator.latents.shape
    model.set_progress_bar_config(disable=True)
    model.generator = TargetDecoder.__new__(TargetDecoder)
    with pytest.raises(UsageError, match="takes steps"):
        model.reconstruct(items, subject="01", callback_on_step_end=lambda *_: None)


def test_pictures_in_other_forms(model: Reconstructor, items: Recording) -> None:
    result = model.reconstruct(items, subject="01", samples=2)
    pt = result.convert("pt")
    assert pt.shape == (3, 2, 3, 16, 16)
    np.testing.assert_array_equal((pt * 255).round().movedim(-3, -1).numpy(), result.images)
    np.testing.assert_array_equal(np.asarray(result.convert("pil")[1][0]), result.images[1, 0])
    assert result.convert("np") is result.images
    with pytest.raises(UsageError, match="output_type"):
        result.convert("latent")  # type: ignore[arg-type]


def test_a_model_is_uploaded_whole_and_never_offline(
    model: Reconstructor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub cannot stand here: its client is replaced by one that looks at what it is given."""
    import huggingface_hub

    given: dict[str, Any] = {}

    class Client:
        def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> str:
            if repo_id.startswith("nobody/"):
                raise ValueError("401 Unauthorized")
            given.update(repo=repo_id, private=private)
            return f"https://hub.example/{repo_id}"

        def upload_folder(self, *, repo_id: str, folder_path: Path) -> None:
            given["again"] = Reconstructor.from_pretrained(folder_path, device="cpu")
            given["card"] = (folder_path / "README.md").read_text(encoding="utf-8")

    monkeypatch.setattr(huggingface_hub, "HfApi", Client)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    assert model.push_to_hub("laboratory/decoder") == "https://hub.example/laboratory/decoder"
    assert given["private"]
    assert given["again"].parts.hash  # every file was verified
    assert given["again"].subjects == ["01"]
    assert "library_name: phosphene" in given["card"]
    with pytest.raises(AssetError, match="401"):
        model.push_to_hub("nobody/decoder")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(AssetError, match="is off"):
        model.push_to_hub("laboratory/decoder")
