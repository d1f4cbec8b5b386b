"""What an audit says: findings with their reasons, as lines and as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Verdict", "overlap_line", "verdict_of"]

Verdict = Literal["passed", "tripped", "noted", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One named audit.

    Attributes
    ----------
    name : str
        Such as ``overlap`` or ``order``.
    verdict : {"passed", "tripped", "noted", "not checked"}
        ``noted`` is a fact to be told that is no mistake by itself.
    summary : str
        One sentence, numbers included; for ``not checked`` the reason.
    details : dict
        Numbers and examples, ready for JSON.
    subject : str, optional
        For audits of one subject's recording.
    """

    name: str
    verdict: Verdict
    summary: str
    details: dict[str, Any] = field(default_factory=dict)
    subject: str | None = None

    def line(self) -> str:
        """Return the finding on one line."""
        whose = "" if self.subject is None else f" (subject {self.subject})"
        return f"{self.verdict}: {self.name}{whose}: {self.summary}"

    def to_dict(self) -> dict[str, Any]:
        """Return the finding ready for JSON."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "summary": self.summary,
            "details": self.details,
            "subject": self.subject,
        }


def overlap_line(n_shared: int, n_test: int) -> str:
    """Return the sentence that a result carries, and the last line of an audit.

    Examples
    --------
    >>> overlap_line(12, 200)
    'overlap: 12 of 200 test stimuli also stand in the training set'
    """
    return f"overlap: {n_shared} of {n_test} test stimuli also stand in the training set"


def verdict_of(tripped: bool) -> Verdict:
    """Return the verdict of an audit that was made."""
    return "tripped" if tripped else "passed"
