"""Every generator of the registry, small, with embeddings it takes."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.encoders.stimulus.open_clip import OpenClipTarget
from phosphene.encoders.stimulus.pixels import PixelTarget
from phosphene.pipelines.generators import GENERATORS
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.generators.latent_diffusion import LatentDiffusion
from phosphene.types import BrainEmbedding

spec = importlib.util.spec_from_file_location(
    "tiny_pipelines", Path(__file__).with_name("tiny_pipelines.py")
)
assert spec is not None
assert spec.loader is not None
tiny = importlib.util.module_from_spec(spec)  # the suite's files are no package
spec.loader.exec_module(tiny)

N = 5
PRETRAINED = {
    "kandinsky22": ("kandinsky22", "pooled", tiny.kandinsky22),
    "stable-unclip": ("stable-unclip", "pooled", tiny.stable_unclip),
    "sdxl-unclip": ("sdxl-unclip", "patches", tiny.sdxl_unclip),
    "ip-adapter-sd15": (
        "ip-adapter", "pooled",
        partial(
            tiny.ip_adapter, file="models/ip-adapter_sd15.safetensors", large=False, plus=False
        ),
    ),
    "ip-adapter-sdxl-turbo": (
        "ip-adapter", "pooled",
        partial(
            tiny.ip_adapter, file="sdxl_models/ip-adapter_sdxl_vit-h.safetensors", large=True,
            plus=False,
        ),
    ),
    "ip-adapter-plus-sdxl": (
        "ip-adapter", "tokens",
        partial(
            tiny.ip_adapter, file="sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors", large=True,
            plus=True,
        ),
    ),
    "sd-controlnet-depth": (
        "sd-controlnet-depth", "pooled",
        partial(tiny.controlnet, file="models/ip-adapter_sd15.safetensors"),
    ),
    "versatile": ("versatile", "projected", tiny.versatile),
    "refine": ("refine", "pooled", tiny.refine),
}  # fmt: skip
CASES = ["latent-diffusion", "target-decoder", *PRETRAINED]


@dataclass
class Case:
    """A generator, its target, embeddings of N pictures, and how to load it again."""

    generator: Any
    target: StimulusEncoder
    embeddings: torch.Tensor
    starts: bool = True
    maps: bool = False

    @property
    def part(self) -> str:
        """Which part of an embedding it takes."""
        return "tokens" if self.target.spec.output == "tokens" else "pooled"

    def condition(
        self, embeddings: torch.Tensor | None = None, rows: list[int] | None = None
    ) -> BrainEmbedding:
        """Return embeddings of some items, with maps where the generator keeps to any."""
        values = self.embeddings if embeddings is None else embeddings
        parts = {self.part: values}
        if self.maps:
            parts["control"] = torch.rand(N, 1, 8, 8, generator=torch.Generator().manual_seed(2))[
                : len(values)
            ]
        found = BrainEmbedding(**parts)
        return found if rows is None else found[torch.tensor(rows)]

    def streams(self, n: int = N) -> list[torch.Generator]:
        return [torch.Generator().manual_seed(10 + row) for row in range(n)]

    def load(self, folder: Path, target: StimulusEncoder | None = None) -> Generator:
        kind: type[Generator] = GENERATORS.get(self.generator.name)
        return kind.load(folder, target or self.target)

    def latents(self) -> torch.Tensor:
        """Return random latents of N pictures."""
        one = getattr(self.generator, "inner", self.generator)
        if isinstance(one, LatentDiffusion):
            shape: tuple[int, ...] = one.latents.shape
        else:
            side = one.size // one.reduction
            shape = (one.unet.config.in_channels, side, side)
        return torch.randn(N, *shape, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="session")
def tiny_sources(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Where the tiny pipeline of an entry lies: written on first use."""
    root = tmp_path_factory.mktemp("pipelines")

    def source(name: str) -> str:
        if not (root / name).is_dir():
            PRETRAINED[name][2](root / name)
        return f"local-dir:{root / name}"

    return source


@pytest.fixture(scope="session")
def opened(
    tiny_sources: Callable[[str], str], tiny_pictures: Pictures
) -> Callable[..., tuple[Any, StimulusEncoder]]:
    """``opened(entry, **options)`` gives a published generator with its target."""

    def make(name: str, **options: Any) -> tuple[Any, StimulusEncoder]:
        kind, output, _ = PRETRAINED[name]
        target = tiny.clip_vision(output)
        target.standardise(tiny_pictures)
        settings = {"steps": 3, "size": 16, **options}
        if kind == "refine":
            inner = {"of": f"kandinsky22:{tiny_sources('kandinsky22')}",
                     "of_options": {"steps": 3, "size": 16}}  # fmt: skip
            settings = {"change": 0.7, **inner, **settings}
        generator: Any = GENERATORS.get(kind)
        return generator.open(name, target, source=tiny_sources(name), options=settings), target

    return make


@pytest.fixture(scope="session", params=CASES)
def case(
    request: pytest.FixtureRequest,
    opened: Callable[..., tuple[Any, StimulusEncoder]],
    tiny_target: OpenClipTarget,
    tiny_generator: LatentDiffusion,
    tiny_pictures: Pictures,
) -> Case:
    name = request.param
    if name == "latent-diffusion":
        return Case(tiny_generator, tiny_target, tiny_target.encode(tiny_pictures[:N]))
    if name == "target-decoder":
        pixels = PixelTarget(16, 3)
        decoder = GENERATORS.get(name)(pixels)  # type: ignore[call-arg]
        return Case(decoder, pixels, pixels.encode(tiny_pictures[:N]), starts=False)
    generator, target = opened(name)
    maps = name == "sd-controlnet-depth"
    return Case(generator, target, target.encode(tiny_pictures[:N]), maps=maps)


@pytest.fixture(scope="session")
def kinds() -> set[str]:
    """Names of the generators that have a case."""
    return {PRETRAINED[name][0] if name in PRETRAINED else name for name in CASES}
