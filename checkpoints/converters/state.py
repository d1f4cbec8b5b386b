"""The tensors of a checkpoint by plain names: containers opened, prefixes of wrappers removed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from phosphene.checkpoints.converters.inert import InertRecord
from phosphene.checkpoints.converters.reading import Content
from phosphene.errors import InputError

__all__ = ["State", "state_of"]

# Where trainers keep the tensors of a network, the likeliest first.
CONTAINERS = ("model_state_dict", "state_dict", "model", "module", "network", "net", "ema")
WRAPPERS = ("module.", "_orig_mod.", "model.", "_forward_module.")
DEEPEST = 64
MOST_CONTAINERS = 1_000_000


@dataclass
class State:
    """Tensors of a file.

    Attributes
    ----------
    tensors : dict of str to Tensor
        By name, without what DataParallel, DeepSpeed, Lightning and torch.compile put before it.
    stripped : list of str
        The prefixes that were removed.
    container : str
        Where in the file they lay; empty where the file is nothing else.
    beside : list of str
        What else the file holds: optimisers, counters, settings.
    inert : list of str
        Classes that were not imported.
    record : InertRecord, optional
        The pickled network itself, where the file is one.
    values : dict of str to object
        What lies beside the tensors.
    """

    tensors: dict[str, Tensor]
    stripped: list[str]
    container: str
    beside: list[str]
    inert: list[str]
    record: InertRecord | None = None
    values: dict[str, Any] = field(default_factory=dict)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each tensor."""
        return {name: tuple(value.shape) for name, value in self.tensors.items()}


def state_of(content: Content) -> State:
    """Find the tensors of a file.

    Raises
    ------
    InputError
        If there are none.
    """
    value, container, values = content.value, "", {}
    if isinstance(value, Tensor):
        value = {"array": value}
    if isinstance(value, dict) and not _is_state(value):
        for name in CONTAINERS:
            inner = value.get(name)
            if isinstance(inner, InertRecord | dict) and _flat(inner):
                container = name
                values = {str(key): one for key, one in value.items() if key != name}
                value = inner
                break
    tensors = _flat(value)
    if not tensors:
        kind = type(content.value).__name__
        names = ", ".join(map(str, list(content.value)[:5])) if isinstance(value, dict) else ""
        raise InputError(
            f"{content.path} holds no tensors (a {kind}{': ' if names else ''}{names})",
            expected="a checkpoint with the weights of a network",
            remedy="name the file of weights; features and settings are published beside them",
        )
    tensors, stripped = _without_wrappers(tensors)
    record = value if isinstance(value, InertRecord) else None
    return State(tensors, stripped, container, sorted(values), content.inert, record, values)


def _is_state(value: dict[Any, Any]) -> bool:
    """Whether most of a dictionary's own values are tensors."""
    numbers = sum(_as_tensor(one) is not None for one in value.values())
    return numbers > 0 and numbers >= len(value) - numbers


def _as_tensor(value: Any) -> Tensor | None:
    import numpy as np

    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        return torch.from_numpy(np.ascontiguousarray(value))
    return None


def _flat(
    value: Any, prefix: str = "", depth: int = 0, seen: list[int] | None = None
) -> dict[str, Tensor]:
    """Return tensors of nested dictionaries and of pickled networks, by dotted names."""
    found: dict[str, Tensor] = {}
    seen = [0] if seen is None else seen
    seen[0] += 1
    if depth > DEEPEST or seen[0] > MOST_CONTAINERS:
        raise InputError(
            "a checkpoint that nests without end",
            expected="tensors in plain containers",
            remedy="get the file from its source",
        )
    if isinstance(value, InertRecord):
        value = _network_parts(value)
    if not isinstance(value, dict):
        return found
    for name, inner in value.items():
        tensor = _as_tensor(inner)
        if tensor is not None:
            found[f"{prefix}{name}"] = tensor
        elif isinstance(inner, dict | InertRecord):
            found |= _flat(inner, f"{prefix}{name}.", depth + 1, seen)
    return found


def _network_parts(record: InertRecord) -> dict[Any, Any]:
    """Return parameters, buffers and inner networks of a pickled network, by name."""
    state = record.state
    if not isinstance(state, dict):
        return {}
    parts: dict[Any, Any] = {}
    for kind in ("_parameters", "_buffers", "_modules"):
        inner = state.get(kind)
        if isinstance(inner, dict):
            parts |= {name: one for name, one in inner.items() if one is not None}
    return parts


def _without_wrappers(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Remove prefixes that every name has, and torch.compile's wherever it stands."""
    stripped: list[str] = []
    if any("_orig_mod." in name for name in tensors):
        tensors = {name.replace("_orig_mod.", ""): one for name, one in tensors.items()}
        stripped.append("_orig_mod.")
    again = True
    while again:
        again = False
        for prefix in WRAPPERS:
            if all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): one for name, one in tensors.items()}
                stripped.append(prefix)
                again = True
    return tensors, stripped
