"""Low-level pictures of converted models: MindEye starts from them, MindEye2 mixes them in."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from phosphene.checkpoints.converters.convert import convert_file
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.model_folder import load_model
from phosphene.pipelines.reconstructor import Reconstructor

PIPELINES = Path(__file__).parents[2] / "pipelines" / "generators" / "tiny_pipelines.py"
PLAIN = {"steps": 3, "size": 16, "guidance_scale": 1.0}


@pytest.fixture(scope="module")
def tiny() -> Any:
    spec = importlib.util.spec_from_file_location("tiny_pipelines_of_converters", PIPELINES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def versatile(tiny: Any, tmp_path_factory: Any) -> Path:
    folder: Path = tiny.versatile(tmp_path_factory.mktemp("versatile"))
    return folder


@pytest.fixture(scope="module")
def unclip(tiny: Any, tmp_path_factory: Any) -> Path:
    folder: Path = tiny.sdxl_unclip(tmp_path_factory.mktemp("unclip") / "made")
    return folder


def autoencoder(**more: Any) -> Any:
    from diffusers import AutoencoderKL

    torch.manual_seed(2)
    return AutoencoderKL(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, layers_per_block=2, **more,
    ).eval()  # fmt: skip


def decoded(network: Any, latents: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        shown = network.decode(latents / 0.18215).sample
    return (shown / 2 + 0.5).clamp(0, 1)


def mindeye1(made: Any, place: Path, tokens: int = 5, **beside: object) -> Path:
    torch.save({"model_state_dict": made.mindeye1_weights(d=12, t=tokens)}, place / "last.pth")
    torch.save({"model_state_dict": made.mindeye1_latent_weights()}, place / "low.pth")
    files = {"lowlevel": str(place / "low.pth"), **{n: str(one) for n, one in beside.items()}}
    convert_file(place / "last.pth", place / "model", subjects=["01"], beside=files)
    return place / "model"


def low_of_mindeye1(made: Any, maths: Any) -> torch.Tensor:
    voxels = torch.from_numpy(made.voxel_recording(23).data)
    found: torch.Tensor = maths.mindeye1_latents(made.mindeye1_latent_weights(), voxels)
    return found


def shown_by(folder: Path, name: str, recording: Any, **how: Any) -> np.ndarray[Any, Any]:
    options = {**PLAIN, **how.pop("options", {})}
    model = Reconstructor.from_pretrained(
        folder, generator=name, generator_options=options, prior="none", **how
    )
    return model.reconstruct(recording, subject="01", seed=3).images[:, 0]


def test_pictures_start_from_latents_of_the_generators_autoencoder(
    made: Any, maths: Any, versatile: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    from diffusers import AutoencoderKL

    folder, recording = mindeye1(made, tmp_path), made.voxel_recording(23)
    assert load_model(str(folder)).branch.strength == 0.85
    card = (folder / "README.md").read_text()
    assert "at strength 0.85" in card
    assert "colours of CLIP" in card
    name = f"versatile:local-dir:{versatile}"
    # At strength 0 the start is all there is: latents decoded by the library itself.
    network = AutoencoderKL.from_pretrained(versatile / "pipeline" / "vae").eval()
    wanted = decoded(network, low_of_mindeye1(made, maths)).permute(0, 2, 3, 1) * 255
    found = shown_by(folder, name, recording, strength=0.0)
    assert np.abs(found - wanted.numpy()).max() <= 0.51
    np.save(tmp_path / "voxels.npy", recording.data[:1])
    options = {**PLAIN, "steps": 8}  # of three steps, 0.85 are all three
    for place, more in (("own", ()), ("noise", ("--strength", "1"))):
        cli(
            "reconstruct", "--subject", "01", "--input", tmp_path / "voxels.npy", "--model", folder,
            "--output", tmp_path / place, "--generator", name, "--prior", "none", *more,
            *(f"--set=generator_options.{key}={value}" for key, value in options.items()),
        ).succeeds()  # fmt: skip
    pictures = {}
    for place in ("own", "noise"):
        files = [Image.open(path) for path in sorted((tmp_path / place).rglob("*.png"))]
        pictures[place] = np.stack([np.asarray(one) for one in files if one.size == (16, 16)])
    assert '"strength": 0.85' in (tmp_path / "own" / "run.json").read_text()
    assert not np.array_equal(pictures["own"], pictures["noise"])


def test_a_generator_of_other_latents_renders_from_noise(
    made: Any, versatile: Path, tmp_path: Path
) -> None:
    folder = mindeye1(made, tmp_path)
    name = f"versatile:local-dir:{versatile}"
    other = {"options": {"size": 32}}
    assert (
        Reconstructor.from_pretrained(
            folder, generator=name, generator_options={**PLAIN, "size": 32}
        ).strength
        == 1.0
    )
    with pytest.raises(UsageError, match=r"a strength of 0\.5 with the generator versatile"):
        shown_by(folder, name, made.voxel_recording(23), strength=0.5, **other)
    with pytest.raises(UsageError, match="no low-level pictures of its own"):
        shown_by(folder, name, made.voxel_recording(23), blend=0.5)


@pytest.mark.parametrize("as_file", [False, True])
def test_with_the_autoencoder_any_generator_starts(
    as_file: bool, made: Any, maths: Any, tmp_path: Path
) -> None:
    network = autoencoder(norm_num_groups=32)
    place = tmp_path / ("sd_image_var_autoenc.pth" if as_file else "folder")
    if as_file:
        older = {
            name.replace("to_q", "query").replace("to_k", "key").replace("to_v", "value")
            .replace("to_out.0", "proj_attn"): value
            for name, value in network.state_dict().items()
        }  # fmt: skip
        torch.save(older, place)
    else:
        network.save_pretrained(place / "vae")
    folder = mindeye1(made, tmp_path, autoencoder=place)
    model = Reconstructor(load_model(str(folder)))
    assert model.rendering.start is not None
    start = model.rendering.start(model.embed(made.voxel_recording(23)))
    wanted = decoded(network, low_of_mindeye1(made, maths))
    torch.testing.assert_close(start, wanted, rtol=0.0, atol=1e-5)


def test_a_quarter_of_mindeye2_is_its_low_level_picture(
    made: Any, maths: Any, unclip: Path, tmp_path: Path, cli: Callable[..., Any]
) -> None:
    network, weights = autoencoder(norm_num_groups=32), made.mindeye2_weights()
    torch.save(network.state_dict(), tmp_path / "sd_image_var_autoenc.pth")
    torch.save({"model_state_dict": weights}, tmp_path / "last.pth")
    cli(
        "convert", tmp_path / "last.pth", "--subject", "01", "--output", tmp_path / "model",
        "--with", f"autoencoder={tmp_path / 'sd_image_var_autoenc.pth'}",
    ).succeeds()  # fmt: skip
    recording, name = made.voxel_recording(23), f"sdxl-unclip:local-dir:{unclip}"
    found = shown_by(tmp_path / "model", name, recording)
    rendered = shown_by(tmp_path / "model", name, recording, blend=0.0)
    low = maths.mindeye2(weights, torch.from_numpy(recording.data))["lowlevel"]
    blurry = decoded(network, low).permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(found - (0.75 * rendered + 0.25 * blurry)).max() <= 0.51
    assert "a quarter of what is shown" in (tmp_path / "model" / "README.md").read_text()
    with pytest.raises(UsageError, match="`blend` is 2"):
        shown_by(tmp_path / "model", name, recording, blend=2.0)


def test_the_pooled_form_starts_from_decoded_pictures_alone(made: Any, tmp_path: Path) -> None:
    """Its generator has another autoencoder."""
    autoencoder(norm_num_groups=32).save_pretrained(tmp_path / "vae")
    for name, beside in (("a", {}), ("b", {"autoencoder": tmp_path / "vae"})):
        (tmp_path / name).mkdir()
        model = load_model(str(mindeye1(made, tmp_path / name, tokens=1, **beside)))
        assert model.generator.entry == "stable-unclip-small"
        assert (model.branch is not None) == bool(beside)


def test_other_autoencoders_are_refused(made: Any, tmp_path: Path) -> None:
    autoencoder(scaling_factor=0.13025).save_pretrained(tmp_path / "sdxl")
    (tmp_path / "empty").mkdir()
    torch.save({"a.weight": torch.zeros(2)}, tmp_path / "other.pth")
    for name, words in (
        ("sdxl", "scale 0.13025"), ("empty", r"no config\.json"), ("none", "no file"),
        ("other.pth", "holds no autoencoder"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            mindeye1(made, tmp_path, autoencoder=tmp_path / name)
    assert not (tmp_path / "model").exists()
    weights = made.mindeye2_weights(lowlevel=False)
    torch.save({"model_state_dict": weights}, tmp_path / "light.pth")
    for path, words in (("last.pth", "without a low-level model"),
                        ("light.pth", "without a low-level head")):  # fmt: skip
        with pytest.raises(UsageError, match=words):
            convert_file(
                tmp_path / path, tmp_path / "model", subjects=["01"],
                beside={"autoencoder": str(tmp_path / "sdxl")},
            )  # fmt: skip
