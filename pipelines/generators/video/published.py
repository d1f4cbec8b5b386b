"""What published video generators share beside rendering: opening, settings, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from phosphene.checkpoints.fetching import generator_parts
from phosphene.checkpoints.registry import KnownGenerator
from phosphene.config import resolve_config
from phosphene.errors import InputError
from phosphene.pipelines.generators.base import Generator
from phosphene.pipelines.generators.pipeline_folder import load_pipeline, weights_fingerprint
from phosphene.pipelines.generators.prompts import drop_encoders
from phosphene.pipelines.generators.video.options import VideoOptions, published_video_entry
from phosphene.pipelines.generators.video.rendering import RenderingVideo
from phosphene.schemas import ComponentFile
from phosphene.storage import load_tensors, save_tensors

__all__ = ["PublishedVideo"]

PROMPT_NAME = "prompt.safetensors"


class PublishedVideo(RenderingVideo):
    """A generator of ``video_generators.yaml``: its weights stay where they were published."""

    options_class: ClassVar[type[VideoOptions]] = VideoOptions
    pipeline_class: ClassVar[str]
    keep: ClassVar[tuple[str, ...]] = ()  # encoders of pictures that are needed

    @classmethod
    def open(
        cls,
        name: str,
        pictures: Generator | None,
        *,
        source: str | None = None,
        options: dict[str, Any] | None = None,
        prompt: dict[str, Tensor] | None = None,
    ) -> Self:
        """Load a published generator by its name in ``video_generators.yaml``.

        Parameters
        ----------
        name : str
        pictures : Generator, optional
        source : str, optional
            ``local-dir:FOLDER``; the hub's cache by default. Nothing is downloaded.
        options : dict, optional
            Changes of the entry's own options.
        """
        entry_name, entry = published_video_entry(name, cls.name)
        folders = generator_parts(entry_name, entry, source)
        settings = resolve_config(cls.options_class, flags={**entry.options, **(options or {})})
        pipeline = cls.read_pipeline(folders, entry)
        if prompt is None:
            prompt = cls.encode_prompts(pipeline, settings)
        if not settings.captions:
            drop_encoders(pipeline)
        return cls(
            pipeline, pictures, settings, entry_name=entry_name, source=source, prompt=prompt
        )

    @classmethod
    def read_pipeline(cls, folders: dict[str, Path], entry: KnownGenerator) -> Any:
        """Return the pipeline of its folders."""
        return load_pipeline(
            cls.pipeline_class, folders["pipeline"], network=cls.network_part, keep=cls.keep
        )

    @classmethod
    @torch.no_grad()
    def encode_prompts(cls, pipeline: Any, options: VideoOptions) -> dict[str, Tensor]:
        """Return both prompts encoded, one row each, the negative one's under its own names."""
        here = torch.device("cpu")
        told = cls.encode_words(pipeline, [options.prompt], here)
        free = cls.encode_words(pipeline, [options.negative_prompt], here)
        return told | {f"negative_{name}": value for name, value in free.items()}

    @classmethod
    def load(cls, folder: Path, pictures: Generator | None) -> Self:
        path = Path(folder) / "config.json"
        if not path.is_file():
            return cls.open(cls.name, pictures)
        stored = ComponentFile.load(path)
        expected = {"entry", "source", "weights", "options"}
        if stored.name != cls.name or set(stored.config) != expected:
            raise InputError(
                f"{folder} holds {stored.name!r} with {', '.join(sorted(stored.config))}",
                expected=f"the video generator {cls.name!r} with {', '.join(sorted(expected))}",
                remedy="name the generator this model was saved with",
            )
        words = path.with_name(PROMPT_NAME)
        made = cls.open(
            stored.config["entry"],
            pictures,
            source=stored.config["source"],
            options=stored.config["options"],
            prompt=load_tensors(words) if words.is_file() else {},
        )
        if made.fingerprint != stored.config["weights"]:
            raise InputError(
                f"the weights of {made.entry_name} here are {made.fingerprint}",
                expected=f"{stored.config['weights']}, which {folder} was saved with",
                remedy="fetch the same release of these weights",
            )
        return made

    def save(self, folder: Path) -> None:
        """Write names, settings and encoded prompts; published weights stay where they are."""
        Path(folder).mkdir(parents=True, exist_ok=True)
        if self.prompt:
            kept = {name: value.contiguous().cpu() for name, value in self.prompt.items()}
            save_tensors(Path(folder) / PROMPT_NAME, kept)
        ComponentFile(
            kind="video generator",
            name=self.name,
            config={
                "entry": self.entry_name,
                "source": self.source,
                "weights": self.fingerprint,
                "options": self.options.model_dump(mode="json"),
            },
        ).save(Path(folder) / "config.json")

    @property
    def fingerprint(self) -> str:
        """Identity of the weights that denoise."""
        return weights_fingerprint(self.network)

    @property
    def settings(self) -> dict[str, str]:
        return {
            "published": self.entry_name,
            "video_generator_weights": self.fingerprint,
            "options": self.options.model_dump_json(),
        }
