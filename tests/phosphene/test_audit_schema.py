"""A stored audit stays readable, and another version is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from phosphene.errors import InputError
from phosphene.schemas import AuditFile
from phosphene.storage import read_json, write_json

GOLDEN = Path(__file__).parents[1] / "golden" / "version-1" / "audit" / "audit.json"


def test_the_golden_audit_is_read_and_written_alike(tmp_path: Path) -> None:
    audit = AuditFile.load(GOLDEN)
    assert (audit.n_shared, audit.shared) == (1, {"golden-12": "golden-03"})
    assert [one.verdict for one in audit.findings] == ["tripped", "not checked"]
    audit.save(tmp_path / "audit.json")
    assert (tmp_path / "audit.json").read_text() == GOLDEN.read_text()


def test_another_version_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "audit.json", read_json(GOLDEN) | {"schema_version": 2})
    with pytest.raises(InputError, match="version 2"):
        AuditFile.load(tmp_path / "audit.json")
