"""How large an index becomes and on how many machines it fits, from bytes per vector."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from phosphene.errors import UsageError
from phosphene.pipelines.retrieval.choice import FLAT_BELOW, GRAPH_TO, bytes_per_vector

__all__ = ["Machine", "Plan", "plan_index", "sizing_table"]

METADATA = 120.0  # bytes of identifier, path and caption per picture, compressed: measured


@dataclass(frozen=True)
class Machine:
    """What one machine offers.

    Attributes
    ----------
    memory, disk : float
        Bytes.
    price : float
        Per hour, in any currency.
    vectors_per_second : float
        Embeddings it computes; the network decides, not the index.
    """

    memory: float = 256e9
    disk: float = 4e12
    price: float = 2.0
    vectors_per_second: float = 1000.0


@dataclass(frozen=True)
class Plan:
    """An index over machines.

    Attributes
    ----------
    kind : str
    n, dimension : int
    memory, disk : float
        Bytes per vector: in memory while searching, and on disk.
    machines : int
        As many as memory (half of it for the index) and disk ask for.
    embedding_hours : float
        Machine hours of embedding all pictures.
    cost_per_month : float
        Of keeping the machines on for 730 hours.
    """

    kind: str
    n: int
    dimension: int
    memory: float
    disk: float
    machines: int
    embedding_hours: float
    cost_per_month: float


def plan_index(
    n: int, dimension: int, *, kind: str = "auto", machine: Machine | None = None
) -> Plan:
    """Plan an index of n vectors.

    Parameters
    ----------
    n, dimension : int
    kind : {"auto", "flat", "hnsw", "ivfpq"}
        ``auto`` chooses as `phosphene index build` would on such a machine, for each machine's
        share: a graph of few vectors, where one machine holds it, codes otherwise.
    machine : Machine, optional
    """
    if n < 1 or dimension < 1:
        raise UsageError(f"{n} vectors of {dimension} numbers", expected="above zero")
    one = Machine() if machine is None else machine
    budget = one.memory / 2
    if kind == "auto":
        kind = "flat" if n < FLAT_BELOW else "hnsw" if n <= GRAPH_TO else "ivfpq"
        if n * bytes_per_vector(kind, n, dimension) > budget:
            kind = "ivfpq"
    memory = bytes_per_vector(kind, n, dimension)
    exact = 2.0 * dimension if kind == "ivfpq" else 0.0
    disk = memory + exact + METADATA
    machines = max(ceil(n * memory / budget), ceil(n * disk / one.disk))
    return Plan(
        kind=kind,
        n=n,
        dimension=dimension,
        memory=memory,
        disk=disk,
        machines=machines,
        embedding_hours=n / one.vectors_per_second / 3600,
        cost_per_month=machines * one.price * 730,
    )


def sizing_table(
    dimension: int = 768, *, sizes: tuple[int, ...] = (), machine: Machine | None = None
) -> str:
    """Return a Markdown table of plans, with both large kinds for every size."""
    lines = [
        "| vectors | search | bytes per vector in memory | on disk | memory in all | disk in all "
        "| machines | embedding, machine hours | cost per month |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for n in sizes or (10**5, 10**6, 10**7, 10**8, 10**9, 5 * 10**9):
        for kind in ("hnsw", "ivfpq"):
            plan = plan_index(n, dimension, kind=kind, machine=machine)
            lines.append(
                f"| {n:,} | {plan.kind} | {plan.memory:.0f} | {plan.disk:.0f} | "
                f"{_amount(n * plan.memory)} | {_amount(n * plan.disk)} | {plan.machines} | "
                f"{plan.embedding_hours:,.1f} | {plan.cost_per_month:,.0f} |"
            )
    return "\n".join(lines)


def _amount(size: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} B"
