"""Published checkpoints: where they lie, how large they are, and what their papers report.

``published.yaml`` holds facts that people wrote down; what is not known is left empty.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["KnownWeights", "known_weights"]

HERE = Path(__file__).parent


class KnownWeights(BaseModel):
    """One entry of ``published.yaml``.

    Attributes
    ----------
    family : str
        As ``phosphene convert --from`` has it.
    description : str
    address : str
        Hub id with files, or where else it is published.
    megabytes : float, optional
        Where it is known.
    licence, paper : str
    numbers : dict of str to str
        The paper's figures, each with its protocol.
    converts : str
        ``yes``, or ``no: `` and why.
    unconfirmed : list of str
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    family: str
    description: str
    address: str
    megabytes: float | None = None
    licence: str
    paper: str
    numbers: dict[str, str] = Field(default_factory=dict)
    converts: str
    unconfirmed: list[str] = Field(default_factory=list)


@cache
def known_weights() -> dict[str, KnownWeights]:
    """Return the entries of ``published.yaml`` by name."""
    import yaml

    content = yaml.safe_load((HERE / "published.yaml").read_text(encoding="utf-8"))
    return {name: KnownWeights.model_validate(entry) for name, entry in content.items()}
