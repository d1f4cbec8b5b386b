"""Published generators: what is missing, refused, switched, kept, and what overflows."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from phosphene.checkpoints.registry import find_generator, known_generators
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.clip_vision import ClipVisionTarget
from phosphene.encoders.stimulus.open_clip import OpenClipTarget
from phosphene.errors import AssetError, InputError, PhospheneError, UsageError
from phosphene.pipelines.generators import GENERATORS
from phosphene.pipelines.generators.denoising import kept_signal
from phosphene.pipelines.generators.expected import at_own_length
from phosphene.pipelines.generators.kandinsky22 import Kandinsky22
from phosphene.pipelines.generators.pipeline_folder import weights_variant
from phosphene.pipelines.generators.stable_unclip import StableUnclip
from phosphene.types import BrainEmbedding

Opened = Callable[..., tuple[Any, Any]]
Sources = Callable[[str], str]


def streams(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(10 + row) for row in range(n)]


def pictures(generator: Any, target: Any, shown: Pictures, **more: Any) -> torch.Tensor:
    values = BrainEmbedding(**{target.spec.output: target.encode(shown)})
    found: torch.Tensor = generator.generate(
        values, generators=streams(len(shown)), output_type="pt", **more
    )
    return found


@pytest.mark.parametrize("name", sorted(known_generators()))
def test_what_is_missing_is_told_in_full(name: str, opened: Opened, tmp_path: Path) -> None:
    _, target = opened("kandinsky22")
    found = find_generator(name)
    assert found is not None
    entry = found[1]
    for source in (None, f"local-dir:{tmp_path}"):
        with pytest.raises(AssetError) as caught:
            GENERATORS.get(entry.generator).open(name, target, source=source)  # type: ignore[attr-defined]
        assert caught.value.exit_code == 4
        message = str(caught.value)
        part = entry.parts["pipeline"]
        assert part.repo in message
        assert f"{part.megabytes:.0f} MB" in message
        assert part.licence in message
        assert f"phosphene models fetch {name}" in message


def test_a_missing_part_of_a_pipeline_is_named(
    opened: Opened, tiny_sources: Sources, tmp_path: Path
) -> None:
    _, target = opened("kandinsky22")
    root = tiny_sources("kandinsky22").removeprefix("local-dir:")
    shutil.copytree(root, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "pipeline" / "movq")
    with pytest.raises(AssetError, match=re.escape("movq/*")):
        Kandinsky22.open("kandinsky22", target, source=f"local-dir:{tmp_path / 'copy'}")


def test_a_folder_with_the_only_part_serves_too(opened: Opened, tiny_sources: Sources) -> None:
    generator, target = opened("kandinsky22")
    plain = f"{tiny_sources('kandinsky22')}/pipeline"
    again = Kandinsky22.open("kandinsky22", target, source=plain)
    assert again.fingerprint == generator.fingerprint


def test_another_pipeline_is_refused(opened: Opened, tiny_sources: Sources) -> None:
    _, target = opened("stable-unclip")
    with pytest.raises(AssetError, match="is not in local-dir:"):
        StableUnclip.open("stable-unclip", target, source=tiny_sources("kandinsky22"))


def test_damaged_weights_are_one_message(
    opened: Opened, tiny_sources: Sources, tmp_path: Path
) -> None:
    _, target = opened("kandinsky22")
    root = tmp_path / "copy"
    shutil.copytree(tiny_sources("kandinsky22").removeprefix("local-dir:"), root)
    file = root / "pipeline" / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="could not be loaded"):
        Kandinsky22.open("kandinsky22", target, source=f"local-dir:{root}")


def test_half_precision_files_load(opened: Opened, tiny_sources: Sources, tmp_path: Path) -> None:
    import diffusers

    generator, target = opened("kandinsky22")
    folder = tiny_sources("kandinsky22").removeprefix("local-dir:") + "/pipeline"
    half = diffusers.KandinskyV22Pipeline.from_pretrained(folder, dtype=torch.float16)
    half.save_pretrained(tmp_path, variant="fp16")
    assert weights_variant(tmp_path / "unet") == "fp16"
    again = Kandinsky22.open("kandinsky22", target, source=f"local-dir:{tmp_path}")
    assert again.fingerprint == generator.fingerprint  # whatever precision they lie in
    assert again.unet.dtype == torch.float32


def test_other_weights_than_a_model_was_made_with_are_refused(
    opened: Opened, tmp_path: Path
) -> None:
    generator, target = opened("kandinsky22")
    generator.save(tmp_path)
    path = tmp_path / "config.json"
    text = path.read_text()
    path.write_text(text.replace(generator.fingerprint, "0" * 16))
    with pytest.raises(InputError, match="which the model in"):
        Kandinsky22.load(tmp_path, target)


def test_prompts_are_kept_and_their_encoders_are_not(opened: Opened, tmp_path: Path) -> None:
    generator, target = opened("ip-adapter-sdxl-turbo", prompt="a b")
    assert generator.pipeline.text_encoder is None
    assert set(generator.prompt) == {"prompt", "negative", "pooled_prompt", "pooled_negative"}
    generator.save(tmp_path)
    source = Path(generator.source.removeprefix("local-dir:"))
    bare = tmp_path / "bare"
    ignored = shutil.ignore_patterns("text_encoder*", "tokenizer*")
    shutil.copytree(source, bare, ignore=ignored)
    with pytest.raises(AssetError, match="text_encoder"):
        type(generator).open("ip-adapter-sdxl-turbo", target, source=f"local-dir:{bare}")


def test_a_prompt_changes_the_picture(opened: Opened, tiny_pictures: Pictures) -> None:
    found = []
    for prompt in ("", "a b a"):
        generator, target = opened("ip-adapter-sd15", prompt=prompt)
        found.append(pictures(generator, target, tiny_pictures[:1]))
    assert not torch.allclose(found[0], found[1], atol=1e-4)


# Which embeddings -----------------------------------------------------------------------------


def test_embeddings_of_another_size_are_refused(tiny_sources: Sources, opened: Opened) -> None:
    _, tokens = opened("ip-adapter-plus-sdxl")
    with pytest.raises(InputError, match=r"tokens embeddings .* for the generator kandinsky22"):
        Kandinsky22.open("kandinsky22", tokens, source=tiny_sources("kandinsky22"))


def test_another_network_of_the_same_size_is_refused(
    tiny_sources: Sources, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ViT-H with 1024 numbers, and any other network with 1024."""
    from phosphene.checkpoints import registry
    from phosphene.pipelines.generators import rendering

    _, target = opened("kandinsky22")
    entry = known_generators()["kandinsky22"]
    small = entry.embedding.model_copy(update={"size": 12, "width": 16, "layers": 3})
    changed = entry.model_copy(update={"embedding": small})
    monkeypatch.setattr(rendering, "find_generator", lambda name: (name, changed))
    with pytest.raises(InputError, match="has 2 layers of width 16") as caught:
        Kandinsky22.open("kandinsky22", target, source=tiny_sources("kandinsky22"))
    assert "ViT-bigG-14 (laion2b_s39b_b160k)" in str(caught.value)
    assert registry.known_generators()["kandinsky22"] is entry


def unit_target(shown: Pictures) -> OpenClipTarget:
    torch.manual_seed(0)
    model = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1,
                       "head_width": 8},
        "text_cfg": {"context_length": 8, "width": 16, "heads": 2, "layers": 1},
    }  # fmt: skip
    target = OpenClipTarget(model, ["a"], output="pooled", grid=0)
    target.standardise(shown)
    return target


def test_unit_length_embeddings_need_the_length(
    tiny_sources: Sources, tiny_pictures: Pictures
) -> None:
    target = unit_target(tiny_pictures)
    source = tiny_sources("kandinsky22")
    settings = {"steps": 2, "size": 16}
    generator = Kandinsky22.open("kandinsky22", target, source=source, options=settings)
    with pytest.raises(UsageError, match="unit-length embeddings"):
        pictures(generator, target, tiny_pictures[:1])
    settings |= {"embedding_length": 7.0}
    longer = Kandinsky22.open("kandinsky22", target, source=source, options=settings)
    assert pictures(longer, target, tiny_pictures[:1]).isfinite().all()
    values = at_own_length(target, target.encode(tiny_pictures[:3]), 7.0)
    assert torch.allclose(values.norm(dim=-1), torch.tensor(7.0), atol=1e-3)


def test_stable_unclip_knows_the_length_from_its_statistics(
    tiny_sources: Sources, tiny_pictures: Pictures
) -> None:
    target = unit_target(tiny_pictures)
    generator = StableUnclip.open(
        "stable-unclip", target, source=tiny_sources("stable-unclip"),
        options={"steps": 2, "size": 16},
    )  # fmt: skip
    known = generator.pipeline.image_normalizer
    drawn = known.mean + known.std * torch.randn(20_000, 12)
    assert generator.length() == pytest.approx(float(drawn.square().sum(1).mean().sqrt()), rel=0.02)
    assert pictures(generator, target, tiny_pictures[:1]).isfinite().all()


def test_clip_vision_target_keeps_the_length_and_survives_saving(
    opened: Opened, tiny_pictures: Pictures, tmp_path: Path
) -> None:
    for entry in ("kandinsky22", "ip-adapter-plus-sdxl"):
        _, target = opened(entry)
        values = target.encode(tiny_pictures)
        assert torch.allclose(values.mean(0), torch.zeros(()), atol=1e-4)
        raw = values * target.target_scale + target.target_mean
        scaled = torch.from_numpy(tiny_pictures).permute(0, 3, 1, 2).float() / 255
        mean, std = target.mean, target.std
        out = target.network((scaled - mean) / std, output_hidden_states=True)
        wanted = out.image_embeds if target.output == "pooled" else out.hidden_states[-2]
        assert torch.allclose(raw, wanted, atol=1e-4)
        target.save_pretrained(tmp_path / entry)
        again = ClipVisionTarget.from_pretrained(tmp_path / entry)
        assert again.spec.hash == target.spec.hash
        target.network.save_pretrained(tmp_path / f"{entry}-encoder")
        published = ClipVisionTarget.from_transformers(
            str(tmp_path / f"{entry}-encoder"), output=target.output
        )
        assert torch.equal(published.zero_embedding(), target.zero_embedding())


def test_a_folder_without_an_encoder_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="could not be loaded"):
        ClipVisionTarget.from_transformers(str(tmp_path))


# Switches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scheduler", [
        "UniPCMultistepScheduler", "DPMSolverMultistepScheduler", "EulerDiscreteScheduler",
        "HeunDiscreteScheduler", "LCMScheduler",
    ],
)  # fmt: skip
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_schedulers_are_swappable(
    opened: Opened, tiny_pictures: Pictures, scheduler: str, strength: float
) -> None:
    generator, target = opened("ip-adapter-sd15", scheduler=scheduler, steps=4)
    shown = tiny_pictures[:3]
    start = torch.from_numpy(shown).permute(0, 3, 1, 2) / 255
    more = {} if strength == 1 else {"init": start, "strength": strength}
    together = pictures(generator, target, shown, **more)
    assert together.isfinite().all()
    values = BrainEmbedding(pooled=target.encode(shown[2:]))
    more = {} if strength == 1 else {"init": start[2:], "strength": strength}
    alone = generator.generate(values, generators=streams(3)[2:], output_type="pt", **more)
    assert torch.allclose(alone[0], together[2], atol=1e-5)


@pytest.mark.parametrize("scheduler", ["DDIMScheduler", "DPMSolverMultistepScheduler"])
def test_a_predicted_variance_is_only_for_schedulers_that_use_it(
    opened: Opened, tiny_pictures: Pictures, scheduler: str
) -> None:
    generator, target = opened("kandinsky22", scheduler=scheduler)
    assert pictures(generator, target, tiny_pictures[:1]).isfinite().all()


def test_an_unknown_scheduler_is_named(opened: Opened) -> None:
    with pytest.raises(UsageError, match="EulerDiscreteScheduler"):
        opened("kandinsky22", scheduler="EulerDiscretScheduler")


def test_attention_is_judged_by_running_it(opened: Opened) -> None:
    opened("ip-adapter-sd15", attention="native")
    with pytest.raises(UsageError, match="'flex' does not work here"):
        opened("ip-adapter-sd15", attention="flex")  # these layers would go on as before
    with pytest.raises(UsageError, match="'xformers' does not work here"):
        opened("ip-adapter-sd15", attention="xformers")
    with pytest.raises(UsageError, match="one of flex, native, xformers"):
        opened("ip-adapter-sd15", attention="fast")


@pytest.mark.parametrize("name", ["kandinsky22", "stable-unclip", "ip-adapter-plus-sdxl"])
def test_bfloat16_renders_almost_the_same(
    opened: Opened, tiny_pictures: Pictures, name: str
) -> None:
    found = []
    for dtype in ("float32", "bfloat16"):
        generator, target = opened(name, dtype=dtype)
        generator.to("cpu")
        assert generator.unet.dtype == getattr(torch, dtype)
        found.append(pictures(generator, target, tiny_pictures[:2]))
    assert found[1].dtype == torch.float32
    assert (found[0] - found[1]).abs().mean() < 0.03


def test_the_autoencoder_stays_in_float32(opened: Opened) -> None:
    generator, _ = opened("ip-adapter-sdxl-turbo", dtype="float16")
    generator.to("cpu")
    assert generator.unet.dtype == torch.float16
    assert generator.pipeline.vae.dtype == torch.float32


def test_tiles_and_blocks(opened: Opened, tiny_pictures: Pictures) -> None:
    plain, target = opened("ip-adapter-sd15")
    tiled, _ = opened("ip-adapter-sd15", tiling=True, batch=2)
    assert tiled.pipeline.vae.use_tiling
    first, second = (pictures(one, target, tiny_pictures[:3]) for one in (plain, tiled))
    assert torch.allclose(first, second, atol=1e-4)


def test_a_block_leaves_the_streams_as_one_by_one_would(
    opened: Opened, tiny_pictures: Pictures
) -> None:
    """Also with a scheduler that draws at every step, and a block that is filled up."""
    generator, target = opened("ip-adapter-sdxl-turbo", batch=4)
    used = streams(3)
    values = BrainEmbedding(pooled=target.encode(tiny_pictures[:3]))
    generator.generate(values, generators=used)
    alone = streams(3)
    for row in range(3):
        generator.generate(values[row : row + 1], generators=alone[row : row + 1])
    for one, other in zip(used, alone, strict=True):
        assert torch.equal(one.get_state(), other.get_state())


def test_offload_needs_a_gpu(opened: Opened) -> None:
    generator, _ = opened("kandinsky22", offload=True)
    with pytest.raises(UsageError, match="without a GPU"):
        generator.to("cpu")


def test_an_unknown_option_is_named(opened: Opened) -> None:
    with pytest.raises(UsageError, match="guidance"):
        opened("kandinsky22", guidance=3)


# Numbers ---------------------------------------------------------------------------------------


def test_overflow_is_an_error_and_black_is_told(
    opened: Opened, tiny_pictures: Pictures, caplog: pytest.LogCaptureFixture
) -> None:
    generator, target = opened("ip-adapter-sd15")
    bias = generator.pipeline.vae.decoder.conv_out.bias
    with torch.no_grad():
        before = bias.clone()
        bias.fill_(float("nan"))
        with pytest.raises(PhospheneError, match="1 of 1 pictures would be black"):
            pictures(generator, target, tiny_pictures[:2])
        bias.fill_(-100.0)
        with caplog.at_level(logging.WARNING):
            found = pictures(generator, target, tiny_pictures[:2])
        bias.copy_(before)
    assert float(found.max()) == 0
    assert "black all over" in caplog.text


def test_kept_signal_is_that_of_the_schedule(opened: Opened) -> None:
    generator, _ = opened("stable-unclip")
    scheduler = generator.scheduler  # DDIM: signal power is the product of alphas
    fresh = type(scheduler).from_config(scheduler.config)
    fresh.set_timesteps(10)
    wanted = float(fresh.alphas_cumprod[fresh.timesteps[4]])
    assert kept_signal(scheduler, 10, 0.6) == pytest.approx(wanted, abs=1e-6)
    assert kept_signal(scheduler, 10, 0.0) == 1
    assert kept_signal(scheduler, 10, 1.0) == 0
    kept = [kept_signal(scheduler, 10, strength) for strength in (0.2, 0.4, 0.8)]
    assert kept == sorted(kept, reverse=True)


def test_a_small_strength_runs_one_step_at_least(opened: Opened, tiny_pictures: Pictures) -> None:
    """SDXL-Turbo with 4 steps: a strength of 0.1 would otherwise silently return the start."""
    generator, target = opened("ip-adapter-sdxl-turbo", steps=4)
    init = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    kept, changed = (
        pictures(generator, target, tiny_pictures[:1], init=init, strength=strength)
        for strength in (0.0, 0.1)
    )
    assert not torch.allclose(kept, changed, atol=1e-3)


def test_starts_of_another_size_are_resized(opened: Opened, tiny_pictures: Pictures) -> None:
    generator, target = opened("stable-unclip")
    small = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    large = torch.nn.functional.interpolate(small, (16, 16), mode="bilinear", antialias=True)
    found = [
        np.asarray(pictures(generator, target, tiny_pictures[:1], init=init, strength=0.5))
        for init in (small, large)
    ]
    assert np.allclose(found[0], found[1], atol=1e-5)
