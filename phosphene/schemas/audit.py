"""``audit.json``: what an audit of a dataset found."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from phosphene.schemas.base import Stored

__all__ = ["AuditFile", "AuditFinding"]


class AuditFinding(BaseModel):
    """One named audit: its verdict, one sentence, numbers and examples."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    verdict: Literal["passed", "tripped", "noted", "not checked"]
    summary: str
    details: dict[str, Any]
    subject: str | None


class AuditFile(Stored):
    """Everything an audit said about a dataset.

    Attributes
    ----------
    n_shared : int
        Test stimuli that also stand in the training set, exactly or as near copies.
    shared : dict of str to str
        The training stimulus of each of them.
    """

    schema_name: ClassVar[str] = "audit"
    dataset: str
    dataset_hash: str
    n_test: int
    n_training: int
    n_shared: int
    shared: dict[str, str]
    findings: list[AuditFinding]
    created_with: str
