"""A published generator that a model names: opened when the first picture is rendered.

A model whose weights were published elsewhere is of use without its generator: for retrieval, for
captions, for the embeddings themselves. So the generator is a name in the model, and is opened, or
found missing, when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from phosphene.checkpoints.registry import find_generator
from phosphene.data.pictures import Pictures
from phosphene.encoders.stimulus.base import StimulusEncoder
from phosphene.errors import InputError, UsageError
from phosphene.pipelines.generators.base import Generator
from phosphene.schemas import ComponentFile
from phosphene.types import BrainEmbedding

if TYPE_CHECKING:
    import torch

__all__ = ["OnDemand"]


class OnDemand(Generator):
    """Renders by a generator of ``generators.yaml``.

    Parameters
    ----------
    entry : str
        Its name there; empty where no published generator takes these embeddings.
    target : StimulusEncoder
    options : dict, optional
        Changes of the entry's own options.
    """

    name: ClassVar[str] = "on-demand"

    def __init__(
        self, entry: str, target: StimulusEncoder, options: dict[str, Any] | None = None
    ) -> None:
        if entry and find_generator(entry) is None:
            raise InputError(
                f"the generator {entry!r} of a model",
                expected="a published one of `phosphene models list`",
                remedy="use the release that wrote the model",
            )
        self.entry, self.target, self.options = entry, target, options or {}
        self._opened: Generator | None = None
        self._device: Any = "cpu"
        self._by_memory = False

    @classmethod
    def load(cls, folder: Path, target: StimulusEncoder) -> Self:
        stored = ComponentFile.load(folder / "config.json")
        config = stored.config
        if stored.name != cls.name or set(config) != {"entry", "condition", "options"}:
            raise InputError(
                f"{folder} holds {stored.name!r} with {', '.join(sorted(config))}",
                expected="the generator 'on-demand' with entry, condition and options",
                remedy="copy the model again from its source",
            )
        if config["condition"] != target.spec.hash:
            raise InputError(
                f"the generator in {folder} renders embeddings of {config['condition']}",
                expected=f"those of the target {target.name}, {target.spec.hash}",
                remedy="copy the model again from its source",
            )
        return cls(config["entry"], target, config["options"])

    def save(self, folder: Path) -> None:
        """Write name and options."""
        folder.mkdir(parents=True, exist_ok=True)
        ComponentFile(
            kind="generator",
            name=self.name,
            config={
                "entry": self.entry,
                "condition": self.target.spec.hash,
                "options": self.options,
            },
        ).save(folder / "config.json")

    @property
    def settings(self) -> dict[str, str]:
        if self._opened is not None:
            return self._opened.settings
        return {"published": self.entry or "none"}

    def with_options(self, options: dict[str, Any]) -> OnDemand:
        made = OnDemand(self.entry, self.target, {**self.options, **options})
        made._device = self._device
        return made

    def to(self, device: str | torch.device, dtype: torch.dtype | None = None) -> Self:
        self._device = device
        if self._opened is not None:
            self._opened.to(device, dtype)
        return self

    def batch_by_memory(self) -> bool:
        self._by_memory = True
        return True

    def opened(self) -> Generator:
        """Return the generator itself.

        Raises
        ------
        UsageError
            If no published generator takes these embeddings.
        AssetError
            If its files are not here: what they are, and how to get them.
        InputError
            If it takes other embeddings.
        """
        if not self.entry:
            shape = " x ".join(map(str, self.target.spec.shape))
            raise UsageError(
                f"no published generator takes the {shape} numbers that this model predicts",
                expected="retrieval, or a generator that was trained on them",
                remedy="reconstruct --generator retrieval:INDEX, or phosphene retrieve",
            )
        if self._opened is None:
            from phosphene.pipelines.generators.choosing import open_generator

            made = open_generator(self.entry, Path(), self.target, self.options or None)
            made.captioner = self.captioner
            self._opened = made.to(self._device)
            if self._by_memory:
                made.batch_by_memory()
        return self._opened

    def generate(
        self,
        condition: BrainEmbedding,
        *,
        init: torch.Tensor | None = None,
        strength: float = 1.0,
        generators: Sequence[torch.Generator],
        num_inference_steps: int | None = None,
        output_type: Literal["np", "pt"] = "np",
    ) -> Pictures | torch.Tensor:
        self.check(condition, generators)
        return self.opened().generate(
            condition,
            init=init,
            strength=strength,
            generators=generators,
            num_inference_steps=num_inference_steps,
            output_type=output_type,
        )
