"""Networks of other makers in the place of an encoder: those that speak braindecode's six words.

A network is an ``nn.Module`` whose constructor takes some of ``n_outputs``, ``n_chans``,
``chs_info``, ``n_times``, ``input_window_seconds`` and ``sfreq`` and whose ``forward`` maps
(n, n_chans, n_times) to (n, n_outputs). It is named, never imported from a path in a model
folder: the running program plugs it in, or it is one of ``braindecode.models`` where braindecode
is installed.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import Tensor, nn

from phosphene.component import record_config
from phosphene.encoders.brain.electric.base import ElectricEncoder, Signal, signal_words
from phosphene.errors import UsageError

__all__ = ["AdaptedEncoder", "plug_in"]

PLUGGED: dict[str, type[nn.Module]] = {}
# The six words under the names they had before braindecode 1.0.
FORMER = {"n_outputs": "n_classes", "n_chans": "in_chans", "n_times": "input_window_samples"}


def plug_in(name: str, architecture: type[nn.Module]) -> None:
    """Make a network known by a name, to be trained, saved and loaded under it.

    Parameters
    ----------
    name : str
        A Python identifier; not one of another network.
    architecture : subclass of nn.Module

    Raises
    ------
    UsageError
        If it is no network, or the name is taken.

    Examples
    --------
    >>> class Flat(nn.Module):
    ...     def __init__(self, n_outputs: int, n_chans: int, n_times: int) -> None:
    ...         super().__init__()
    ...         self.layer = nn.Linear(n_chans * n_times, n_outputs)
    ...
    ...     def forward(self, x):
    ...         return self.layer(x.flatten(1))
    >>> plug_in("Flat", Flat)
    >>> encoder = AdaptedEncoder("Flat", n_outputs=8, n_chans=3, n_times=20)
    """
    if not (isinstance(architecture, type) and issubclass(architecture, nn.Module)):
        raise UsageError(f"{architecture!r} is no network", "a subclass of torch.nn.Module")
    if not name.isidentifier() or PLUGGED.get(name, architecture) is not architecture:
        raise UsageError(
            f"the name {name!r} for a network",
            expected="an identifier that no other network has",
            remedy="choose another name",
        )
    PLUGGED[name] = architecture


class AdaptedEncoder(ElectricEncoder):
    """A network of another maker as an encoder.

    Parameters
    ----------
    architecture : str
        A name given to :func:`plug_in`, else that of a class of ``braindecode.models``.
    n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        Words of the signal, see :func:`~phosphene.encoders.brain.electric.base.signal_words`;
        the network gets those that its constructor takes.
    subjects : sequence of str
        Kept for the record; the network does not hear of subjects.
    options : mapping, optional
        Further arguments of the network's constructor.
    """

    name = "adapted"

    @record_config
    def __init__(
        self,
        architecture: str,
        n_outputs: int = 1024,
        n_chans: int | None = None,
        n_times: int | None = None,
        sfreq: float | None = None,
        input_window_seconds: float | None = None,
        ch_names: Sequence[str] | None = None,
        chs_info: Sequence[Mapping[str, Any]] | None = None,
        subjects: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
    ) -> None:
        words = signal_words(
            n_outputs, n_chans, n_times, sfreq, input_window_seconds, ch_names, chs_info
        )
        super().__init__(words, subjects)
        kind = _known(architecture)
        self.network = kind(**_arguments(kind, words, chs_info, dict(options or {})))

    def forward(
        self, x: Tensor, subject: Tensor | None = None, positions: Tensor | None = None
    ) -> Tensor:
        found = self.network(x)
        if not isinstance(found, Tensor) or found.numel() != len(x) * self.signal.n_outputs:
            shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise UsageError(
                f"{type(self.network).__name__} returns {shape}",
                expected=f"one tensor ({len(x)}, {self.signal.n_outputs})",
                remedy="wrap it in a module that returns the embedding alone",
            )
        return found.reshape(len(x), self.signal.n_outputs)


def _known(name: str) -> type[nn.Module]:
    if name in PLUGGED:
        return PLUGGED[name]
    found = None
    if name.isidentifier():
        try:
            found = getattr(import_module("braindecode.models"), name, None)
        except (ImportError, OSError) as error:
            raise UsageError(
                f"the network {name!r} is not known here ({type(error).__name__})",
                expected=f"one that was plugged in ({', '.join(sorted(PLUGGED)) or 'none so far'})"
                ", or braindecode with a model of that name",
                remedy="call plug_in(name, class) before, or install braindecode",
            ) from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UsageError(
            f"braindecode has no network {name!r}",
            expected="the name of one of its models, or of one that was plugged in",
        )
    return found


def _arguments(
    kind: type[nn.Module],
    words: Signal,
    chs_info: Sequence[Mapping[str, Any]] | None,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Return what the constructor takes of the six words, and the options."""
    if chs_info is None and words.ch_names:
        chs_info = [{"ch_name": name} for name in words.ch_names]
    values = {
        "n_outputs": words.n_outputs,
        "n_chans": words.n_chans,
        "chs_info": chs_info,
        "n_times": words.n_times,
        "input_window_seconds": None if not words.sfreq else words.n_times / words.sfreq,
        "sfreq": words.sfreq,
    }
    parameters = inspect.signature(kind).parameters
    anything = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    given: dict[str, Any] = {}
    for word, value in values.items():
        taken = next((n for n in (word, FORMER.get(word)) if n is not None and n in parameters), "")
        if value is not None and (taken or anything):
            given[taken or word] = value
    unknown = sorted(set(options) - set(parameters)) if not anything else []
    if unknown or set(options) & set(given):
        wrong = unknown or sorted(set(options) & set(given))
        raise UsageError(
            f"the option {wrong[0]!r} for {kind.__name__}",
            expected=f"arguments of its constructor beside the words: {', '.join(parameters)}",
        )
    return given | options
