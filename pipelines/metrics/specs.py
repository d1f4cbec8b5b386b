"""Every metric as a frozen, named definition; here they are found and made.

How to use a metric::

    from phosphene.pipelines.metrics.specs import METRICS, create_metric, list_metrics

    for spec in list_metrics("ssim/*"):
        print(spec.id, spec.title, spec.availability() or "available")
    metric = create_metric("ssim/strict-v1")             # AssetError where it cannot run
    metric.update(reconstructed, truth, ["item-1", "item-2"])  # uint8 (n, H, W, 3), any batches
    outcome = metric.compute()                           # MetricOutcome

What :meth:`update` takes depends on ``spec.kind``: pictures (``picture`` and ``set``: two uint8
arrays (n, H, W, 3)), embeddings (``retrieval``: predicted and true, (n, d) or (n, n_tokens, d)),
texts (``caption``), frames (``video``: uint8 (n, F, H, W, 3)) or responses (``brain``); always
followed by one label per item, each item with its own, and always a batch of any size: batches,
their order and the number of processes do not change the outcome. All of them also take
``pictures=`` (which picture each item is of, where several items are of one; by default equal
truths are one picture) and ``groups=`` (compare only within a category); metrics that compare no
candidates leave them aside.

How to add metrics: a module of this package whose name ends in ``_specs`` calls
:func:`declare_metric` for each, and is found by itself. Such a module imports nothing heavy, so
that all definitions can be listed where neither torch nor torchmetrics is loaded; the class stands
in another module, subclasses :class:`phosphene.pipelines.metrics.base.ItemMetric`, and is called
as ``Class(spec, **options)``. :func:`register_metric` decorates a class where that does not matter.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, field_validator

from phosphene.errors import AssetError, UsageError, check_option

__all__ = [
    "METRICS",
    "MetricEntry",
    "MetricOutcome",
    "MetricSpec",
    "create_metric",
    "declare_metric",
    "list_metrics",
    "load_attribute",
    "register_metric",
]

Array = np.ndarray[Any, Any]
MetricKind = Literal["picture", "set", "retrieval", "caption", "video", "brain"]
Class = TypeVar("Class", bound=type)


class MetricSpec(BaseModel):
    """What a number means, completely: two numbers with one ``id`` may stand in one column.

    Attributes
    ----------
    id : str
        ``name/variant``, such as ``ssim/strict-v1`` or ``ssim/mindeye2``. A definition never
        changes under its id.
    title : str
        For the head of a column.
    kind : str
        What it compares, which is what ``update`` takes.
    network, weights, layer : str or None
        Where features come from, if they do.
    resize : str
        How pictures are brought to the size they are compared at.
    antialias : bool or None
        Whether reducing them averages; None where nothing is resized.
    value_range : (float or None, float or None)
        Smallest and largest possible value; None for no bound.
    higher_is_better : bool
    ways : int or None
        Candidates of an identification or retrieval, the right one included; None for all.
    direction : str
        What is compared with what, such as ``each reconstruction with all truths``.
    ties : {"half", "lose", "first", "none"}
        What a tie counts where candidates are compared; ``first`` where the first of equal ones
        is taken; ``none`` where nothing is compared.
    chance : float or None
        What guessing scores; None where it has to be found by permuting the pairing.
    source : str
        Paper, or the code whose behaviour this is.
    note : str
        For a variant: what its quirk is.
    transductive : bool
        Whether an item's score depends on which other test items there are, beyond being
        compared with them (CSLS does): never to be mixed with scores that do not.
    requires : str or None
        Extra of this package that it needs.
    modules : tuple of str
        Python modules that have to be there.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    title: str
    kind: MetricKind
    network: str | None = None
    weights: str | None = None
    layer: str | None = None
    resize: str = "none: both are compared at the size they have"
    antialias: bool | None = None
    value_range: tuple[float | None, float | None] = (None, None)
    higher_is_better: bool = True
    ways: int | None = None
    direction: str = "each reconstruction with its own truth"
    ties: Literal["half", "lose", "first", "none"] = "none"
    chance: float | None = None
    source: str
    note: str = ""
    transductive: bool = False
    requires: str | None = "metrics"
    modules: tuple[str, ...] = ("torchmetrics",)

    @field_validator("id")
    @classmethod
    def _two_parts(cls, value: str) -> str:
        name, separator, variant = value.partition("/")
        if not (name and separator and variant) or value != value.strip().lower():
            raise ValueError("an id reads name/variant in lower case")
        return value

    def availability(self) -> str | None:
        """Return None where the metric can run here, else the reason why not."""
        for module in self.modules:
            if find_spec(module) is None:
                remedy = f': pip install "phosphene[{self.requires}]"' if self.requires else ""
                return f"the Python package {module} is not installed{remedy}"
        entry = METRICS.get(self.id)
        return entry.missing() if entry is not None else None


class MetricOutcome(BaseModel):
    """What a metric came to.

    Attributes
    ----------
    spec : MetricSpec
    value : float or None
        The number; None where it cannot be said, and ``note`` tells why.
    scores : ndarray of shape (n,) or None
        One per item in the order of ``items``, NaN where an item has none; None where the
        metric is of the set alone.
    items : tuple of str
        Sorted, so that batches and processes do not change the order.
    collapsed : bool
        Whether most predictions are one and the same, so that the value says nothing.
    chance : float or None
        Of these items, where it depends on how many there are; else that of the spec.
    note : str
    weights_hash : str
        Identity of the weights of the network that was used, if one was.
    details : dict of str to float
        Further numbers of the same kind, such as the interval that a paper's code reports.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)
    spec: MetricSpec
    value: float | None
    scores: Array | None = None
    items: tuple[str, ...] = ()
    collapsed: bool = False
    chance: float | None = None
    note: str = ""
    weights_hash: str = ""
    details: dict[str, float] = {}


@dataclass(frozen=True)
class MetricEntry:
    """A definition beside the class that computes it.

    Attributes
    ----------
    spec : MetricSpec
    target : str or type
        ``"module:Class"``, imported on use, or the class itself.
    options : mapping
        Arguments of the class that belong to the definition.
    probe : str or None
        ``"module:function"``; called with the spec, it returns why the metric cannot run, or
        None.
    """

    spec: MetricSpec
    target: str | type[Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    probe: str | None = None

    def load(self) -> type[Any]:
        """Return the class, a subclass of ``torchmetrics.Metric``."""
        if not isinstance(self.target, str):
            return self.target
        found: type[Any] = load_attribute(self.target)
        return found

    def missing(self) -> str | None:
        """Return why weights or other files are missing, or None."""
        if self.probe is None:
            return None
        reason: str | None = load_attribute(self.probe)(self.spec)
        return reason


class _Metrics(Mapping[str, MetricEntry]):
    """All metrics by id; the modules that declare them are imported on first use."""

    def __init__(self) -> None:
        self._entries: dict[str, MetricEntry] = {}

    def __getitem__(self, key: str) -> MetricEntry:
        _load_declarations()
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        _load_declarations()
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        _load_declarations()
        return len(self._entries)

    def add(self, entry: MetricEntry) -> None:
        """Add a metric; an id that stands for another definition is an error."""
        known = self._entries.get(entry.spec.id)
        if known is not None and known != entry:
            raise UsageError(
                f"two metrics are named {entry.spec.id}",
                expected="one definition per id",
                remedy="give the new one another variant, such as name/strict-v2",
            )
        self._entries[entry.spec.id] = entry


METRICS = _Metrics()


def declare_metric(
    spec: MetricSpec, target: str, *, probe: str | None = None, **options: Any
) -> MetricSpec:
    """Add a metric whose class is imported on use.

    Parameters
    ----------
    spec : MetricSpec
    target : str
        ``"module:Class"``; the class is called as ``Class(spec, **options)``.
    probe : str, optional
        ``"module:function"`` that returns why the metric cannot run here (weights that are not
        there), or None.
    **options
        Arguments of the class that belong to the definition.
    """
    METRICS.add(MetricEntry(spec, target, options, probe))
    return spec


def register_metric(*specs: MetricSpec, **options: Any) -> Callable[[Class], Class]:
    """Decorate a metric class that computes these definitions."""

    def decorate(metric: Class) -> Class:
        for spec in specs:
            METRICS.add(MetricEntry(spec, metric, options))
        return metric

    return decorate


def list_metrics(pattern: str = "*") -> list[MetricSpec]:
    """Return the definitions whose id matches, such as ``ssim/*`` or ``*/mindeye2``."""
    return [entry.spec for name, entry in METRICS.items() if fnmatchcase(name, pattern)]


def create_metric(name: str, **options: Any) -> Any:
    """Return a new ``torchmetrics.Metric`` that computes a definition.

    Parameters
    ----------
    name : str
        Id of the definition.
    **options
        What the definition leaves open: where weights lie (``weights_folder``), where features
        are kept (``cache``), the ``device``.

    Raises
    ------
    UsageError
        If there is no such metric, or an option would change the definition.
    AssetError
        If a package or weights are missing.
    """
    entry = METRICS[check_option("metric", name, METRICS)]
    fixed = sorted(set(options) & set(entry.options))
    if fixed:
        raise UsageError(
            f"the option {fixed[0]!r} of the metric {name}",
            expected="options that leave its definition as it is",
            remedy="choose the metric whose id stands for what you mean",
        )
    reason = None if "weights_folder" in options else entry.spec.availability()
    if reason is not None:
        found, _, remedy = reason.partition(": ")
        raise AssetError(f"the metric {name} cannot run here: {found}", remedy=remedy)
    return entry.load()(entry.spec, **entry.options, **options)


@cache
def _load_declarations() -> None:
    package = __name__.rpartition(".")[0]
    for module in pkgutil.iter_modules(import_module(package).__path__):
        if module.name.endswith("_specs"):
            import_module(f"{package}.{module.name}")


def load_attribute(reference: str) -> Any:
    """Return what ``"module:name"`` stands for."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
