"""What generators on published pipelines share beside rendering: opening, settings, saving."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from phosphene.checkpoints.fetching import generator_parts
from phosphene.checkpoints.registry import KnownGenerator
from phosphene.config import resolve_config
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError
from phosphene.pipelines.generators.options import PretrainedOptions, published_entry
from phosphene.pipelines.generators.pipeline_folder import load_pipeline, weights_fingerprint
from phosphene.pipelines.generators.prompts import drop_encoders
from phosphene.pipelines.generators.rendering import RenderingGenerator
from phosphene.schemas import ComponentFile
from phosphene.storage import load_tensors, save_tensors

__all__ = ["PretrainedGenerator"]

PROMPT_NAME = "prompt.safetensors"


class PretrainedGenerator(RenderingGenerator):
    """A generator of ``generators.yaml``: its weights stay where they were published."""

    options_class: ClassVar[type[PretrainedOptions]] = PretrainedOptions
    pipeline_class: ClassVar[str]

    @classmethod
    def encode_prompts(cls, pipeline: Any, options: PretrainedOptions) -> dict[str, Tensor]:
        """Encode both prompts once; nothing where the networks take none."""
        return {}

    @classmethod
    def open(
        cls,
        name: str,
        target: StimulusEncoder,
        *,
        source: str | None = None,
        options: dict[str, Any] | None = None,
        prompt: dict[str, Tensor] | None = None,
    ) -> Self:
        """Load a published generator by its name in ``generators.yaml``.

        Parameters
        ----------
        name : str
        target : StimulusEncoder
        source : str, optional
            ``local-dir:FOLDER``; the hub's cache by default. Nothing is downloaded.
        options : dict, optional
            Changes of the entry's own options.
        """
        entry_name, entry = published_entry(name, cls.name)
        folders = generator_parts(entry_name, entry, source)
        settings = cls.read_options({**entry.options, **(options or {})})
        pipeline = cls.read_pipeline(folders["pipeline"])
        pipeline = cls.add_parts(pipeline, folders, entry)
        if prompt is None:
            prompt = cls.encode_prompts(pipeline, settings)
        elif not settings.captions:
            drop_encoders(pipeline)
        return cls(pipeline, target, settings, entry_name=entry_name, source=source, prompt=prompt)

    @classmethod
    def read_pipeline(cls, folder: Path) -> Any:
        """Return the pipeline of its folder."""
        return load_pipeline(cls.pipeline_class, folder)

    @classmethod
    def add_parts(cls, pipeline: Any, folders: dict[str, Path], entry: KnownGenerator) -> Any:
        """Return the pipeline with what lies outside of its own repository."""
        return pipeline

    @classmethod
    def read_options(cls, values: dict[str, Any]) -> PretrainedOptions:
        """Return checked options."""
        return resolve_config(cls.options_class, flags=values)

    @classmethod
    def load(cls, folder: Path, target: StimulusEncoder) -> Self:
        stored = ComponentFile.load(folder / "config.json")
        expected = {"entry", "source", "condition", "weights", "options"}
        if stored.name != cls.name or set(stored.config) != expected:
            raise InputError(
                f"{folder} holds {stored.name!r} with {', '.join(sorted(stored.config))}",
                expected=f"the generator {cls.name!r} with {', '.join(sorted(expected))}",
                remedy="name the generator this model was saved with",
            )
        config = stored.config
        if config["condition"] != target.spec.hash:
            raise InputError(
                f"the generator in {folder} renders embeddings of {config['condition']}",
                expected=f"those of the target {target.name}, {target.spec.hash}",
                remedy="use a generator that was trained on this target",
            )
        path = folder / PROMPT_NAME
        prompt = load_tensors(path) if path.is_file() else {}
        made = cls.open(
            config["entry"],
            target,
            source=config["source"],
            options=config["options"],
            prompt=prompt,
        )
        if made.fingerprint != config["weights"]:
            raise InputError(
                f"the weights of {config['entry']} here are {made.fingerprint}",
                expected=f"{config['weights']}, which the model in {folder} was made with",
                remedy="fetch the same release of these weights",
            )
        return made

    def save(self, folder: Path) -> None:
        """Write names, settings and encoded prompts; published weights stay where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.prompt:
            save_tensors(folder / PROMPT_NAME, self.prompt)
        ComponentFile(
            kind="generator",
            name=self.name,
            config={
                "entry": self.entry_name,
                "source": self.source,
                "condition": self.target.spec.hash,
                "weights": self.fingerprint,
                "options": self.options.model_dump(mode="json"),
            },
        ).save(folder / "config.json")

    def with_options(self, options: dict[str, Any]) -> Self:
        changed = {**self.options.model_dump(), **options}
        same = not {"prompt", "negative_prompt", "captions"} & set(options)
        return self.open(
            self.entry_name,
            self.target,
            source=self.source,
            options=changed,
            prompt=self.prompt if same else None,
        )

    @property
    def settings(self) -> dict[str, str]:
        """What decides its pictures besides the model, for the record of a run."""
        return {
            "published": self.entry_name,
            "generator_weights": self.fingerprint,
            "options": self.options.model_dump_json(),
        }

    @property
    def fingerprint(self) -> str:
        """Identity of the UNet's weights."""
        return weights_fingerprint(self.unet)
