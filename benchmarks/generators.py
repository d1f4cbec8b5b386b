"""Published generators: pictures per second, alone and in blocks, from noise and from a start.

Tiny pipelines of random weights, those of the tests, time what is around the networks; on a GPU the
real architecture follows, SDXL at the size of SDXL-Turbo (512 pixels, 4 steps, no guidance), with
random weights and its memory.

    python benchmarks/generators.py [--pictures 8] [--repeats 3] [--threads 1]
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from phosphene.data.scenes import render, sample_scenes
from phosphene.encoders.stimulus.clip_vision import ClipVisionTarget
from phosphene.pipelines.generators import GENERATORS
from phosphene.pipelines.generators.sdxl_unclip import SdxlUnclip
from phosphene.pipelines.generators.unclip_checkpoint import AUTOENCODER, SCHEDULER, UNET
from phosphene.types import BrainEmbedding

TINY = Path(__file__).parents[1] / "tests/pipelines/generators/tiny_pipelines.py"
STEPS = 8


def tiny_pipelines() -> Any:
    spec = importlib.util.spec_from_file_location("tiny_pipelines", TINY)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of processor time, after one call to warm up."""
    run()
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        run()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def streams(n: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(row) for row in range(n)]


def print_tiny(pictures: int, repeats: int) -> None:
    tiny = tiny_pipelines()
    small = partial(tiny.ip_adapter, plus=False)
    sd15, sdxl = "models/ip-adapter_sd15.safetensors", "sdxl_models/ip-adapter_sdxl_vit-h"
    cases = {
        "kandinsky22": ("kandinsky22", "pooled", tiny.kandinsky22),
        "stable-unclip": ("stable-unclip", "pooled", tiny.stable_unclip),
        "sdxl-unclip": ("sdxl-unclip", "patches", tiny.sdxl_unclip),
        "versatile": ("versatile", "projected", tiny.versatile),
        "ip-adapter-sd15": ("ip-adapter", "pooled", partial(small, file=sd15, large=False)),
        "ip-adapter-sdxl": (
            "ip-adapter", "pooled", partial(small, file=f"{sdxl}.safetensors", large=True),
        ),
    }  # fmt: skip
    shown = render(sample_scenes(0, pictures), 16).images
    print(f"tiny pipelines, 16 pixels, {STEPS} steps, {pictures} pictures; per second of processor")
    print("| generator | 1 at a time | 8 at a time | start at .5, 8 at a time | at .25 |")
    print("|---|---|---|---|---|")
    for name, (kind, output, make) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder) / "made")
            target = tiny.clip_vision(output)
            values = BrainEmbedding(**{target.spec.output: target.encode(shown)})
            rates = []
            for batch, strength in ((1, 1.0), (8, 1.0), (8, 0.5), (8, 0.25)):
                generator: Any = GENERATORS.get(kind)
                made = generator.open(
                    name, target, source=f"local-dir:{folder}/made",
                    options={"steps": STEPS, "size": 16, "batch": batch},
                )  # fmt: skip
                start = torch.randn(pictures, *made.latent_shape, generator=streams(1)[0])
                more = {} if strength == 1 else {"init": start, "strength": strength}
                run = partial(made.generate, values, generators=streams(pictures), **more)
                rates.append(pictures / seconds(run, repeats))
        print(f"| `{name}` | " + " | ".join(f"{rate:.1f}" for rate in rates) + " |", flush=True)


def random_sdxl(
    unet: dict[str, Any], autoencoder: dict[str, Any], *, size: int, dtype: str
) -> tuple[SdxlUnclip, ClipVisionTarget]:
    """Return the architecture with random weights, and a target whose tokens it takes."""
    from diffusers import (
        AutoencoderKL,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )

    words = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipeline = StableDiffusionXLPipeline(
        unet=UNet2DConditionModel(**unet), vae=AutoencoderKL(**autoencoder),
        scheduler=EulerDiscreteScheduler(**SCHEDULER), add_watermarker=False, **words,
    )  # fmt: skip
    width = int(unet["cross_attention_dim"])
    config = {
        "hidden_size": width, "intermediate_size": 8, "projection_dim": 8, "num_hidden_layers": 1,
        "num_attention_heads": 2, "image_size": 32, "patch_size": 2,
    }  # fmt: skip
    target = ClipVisionTarget(config, "patches")  # 256 tokens
    values = {"steps": 4, "guidance_scale": 0.0, "size": size, "dtype": dtype}
    options = SdxlUnclip.read_options(values)
    return SdxlUnclip(pipeline, target, options, entry_name="random"), target  # type: ignore[arg-type]


def print_full_size(pictures: int, repeats: int) -> None:
    with torch.device("cuda"):
        generator, target = random_sdxl(UNET, AUTOENCODER, size=512, dtype="float16")
    target.to("cpu")
    generator.to("cuda")
    values = BrainEmbedding(tokens=torch.randn(pictures, *target.spec.shape))
    print(f"\n{torch.cuda.get_device_name()}: SDXL, 512 pixels, 4 steps, float16, random weights")
    print("| at a time | pictures per second | GB |")
    print("|---|---|---|")
    for batch in (1, 8):
        generator.options = generator.options.model_copy(update={"batch": batch})
        run = partial(generator.generate, values, generators=streams(pictures))
        run()
        torch.cuda.reset_peak_memory_stats()
        taken = []
        for _ in range(repeats):
            start = time.perf_counter()
            run()  # the pictures come back to the processor, which waits for the GPU
            taken.append(time.perf_counter() - start)
        memory = torch.cuda.max_memory_allocated() / 1e9
        print(f"| {batch} | {pictures / statistics.median(taken):.2f} | {memory:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print_tiny(options.pictures, options.repeats)
    if torch.cuda.is_available():
        print_full_size(options.pictures, options.repeats)
    else:
        print("\nno GPU here: the real architecture was not timed")


if __name__ == "__main__":
    main()
