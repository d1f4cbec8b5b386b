"""Config plus save and load for every trained part (the diffusers habit, made strict).

A component records the arguments of its constructor, writes them to ``config.json`` beside
``model.safetensors``, and is built again from exactly those. Unknown or missing keys, in the
configuration or among the tensors, are errors: a model never changes silently.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

from phosphene.errors import InputError, UsageError
from phosphene.schemas import ComponentFile
from phosphene.storage import load_tensors, save_tensors

if TYPE_CHECKING:
    import torch

__all__ = ["Component", "record_config"]

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
Init = TypeVar("Init", bound=Callable[..., None])


def record_config(init: Init) -> Init:
    """Decorate ``__init__`` so that its arguments, defaults included, become ``self.config``.

    Arguments have to be JSON-safe: numbers, text, booleans, lists, dictionaries or None.
    """
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> None:
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        arguments.pop("self")
        # object.__setattr__: an nn.Module does not accept attributes before its own __init__.
        object.__setattr__(self, "_recorded_config", arguments)
        init(self, *args, **kwargs)

    return cast(Init, wrapped)


class Component:
    """Mixin of everything that is saved as one folder of a model.

    Subclasses set :attr:`kind` and :attr:`name`, decorate ``__init__`` with
    :func:`record_config`, and, where they are no ``nn.Module``, override :meth:`tensors` and
    :meth:`load_tensors`.
    """

    kind: ClassVar[str]
    name: ClassVar[str]

    @property
    def config(self) -> dict[str, Any]:
        """The constructor's arguments (a copy)."""
        recorded: Mapping[str, Any] = self.__dict__["_recorded_config"]
        return {key: list(v) if isinstance(v, tuple) else v for key, v in recorded.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return everything that was learned, by name."""
        state: dict[str, torch.Tensor] = cast(Any, self).state_dict()
        return state

    def load_tensors(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take over what :meth:`tensors` returned; names and shapes must be the same."""
        check_tensors(self.tensors(), tensors, owner=f"{self.kind} {self.name}")
        cast(Any, self).load_state_dict(tensors, strict=True)

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write ``config.json`` and ``model.safetensors``, each atomically."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        save_tensors(target / WEIGHTS_NAME, self.tensors())
        ComponentFile(kind=self.kind, name=self.name, config=self.config).save(target / CONFIG_NAME)

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        """Build the component that :meth:`save_pretrained` wrote."""
        source = Path(folder)
        stored = ComponentFile.load(source / CONFIG_NAME)
        if (stored.kind, stored.name) != (cls.kind, cls.name):
            raise InputError(
                f"{source} holds the {stored.kind} {stored.name!r}",
                expected=f"the {cls.kind} {cls.name!r}",
                remedy="name the folder of the right part",
            )
        component = cls.from_config(stored.config, source=str(source / CONFIG_NAME))
        component.load_tensors(load_tensors(source / WEIGHTS_NAME))
        return component

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, source: str = "the configuration") -> Self:
        """Build from the constructor's arguments; only those with a default may be missing."""
        signature = inspect.signature(cls.__init__).parameters
        known = [name for name in signature if name != "self"]
        # A part of an earlier release lacks arguments that came later; those have defaults.
        required = {n for n in known if signature[n].default is inspect.Parameter.empty}
        unknown, missing = sorted(set(config) - set(known)), sorted(required - set(config))
        if unknown or missing:
            raise InputError(
                f"{source} of {cls.name!r} has "
                + " and ".join(
                    part
                    for part in (
                        f"unknown keys {', '.join(unknown)}" if unknown else "",
                        f"no {', '.join(missing)}" if missing else "",
                    )
                    if part
                ),
                expected=f"the arguments {', '.join(known)}",
                remedy="use the release that wrote it",
            )
        try:
            return cls(**config)
        except (TypeError, ValueError, UsageError) as error:
            raise InputError(
                f"{source} does not build {cls.name!r} ({error})",
                expected="the arguments it was saved with",
                remedy="copy the folder again from its source",
            ) from error


def check_tensors(
    expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], *, owner: str
) -> None:
    """Compare names and shapes of tensors; any difference is one error."""
    problems = [f"{name} is missing" for name in sorted(set(expected) - set(found))]
    problems += [f"{name} is unknown" for name in sorted(set(found) - set(expected))]
    problems += [
        f"{name} is {tuple(found[name].shape)} instead of {tuple(expected[name].shape)}"
        for name in sorted(set(expected) & set(found))
        if found[name].shape != expected[name].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise InputError(
            f"the weights of {owner} do not fit: {'; '.join(problems[:3])}{more}",
            expected="the tensors that its configuration describes",
            remedy="config.json and model.safetensors must come from the same model",
        )
