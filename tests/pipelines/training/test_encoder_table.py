"""The script that puts encoders side by side, on two tiny subjects."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "virtual_encoders.py"


@pytest.mark.slow
def test_every_encoder_has_its_line(
    tiny_dataset: Path,
    tiny_parts_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "scores.jsonl"
    monkeypatch.syspath_prepend(str(SCRIPT.parent))  # as for a script that is run by its path

    def run(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words, "--output", str(output)])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    words = ["--dataset", str(tiny_dataset), "--target", str(tiny_parts_folder / "target"),
             "--encoders", "ridge", "mlp", "mindeye2", "--sessions", "all"]  # fmt: skip
    run("table", *words, "--samples", "200")
    rows = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [row["what"] for row in rows] == ["ridge"] * 2 + ["mlp"] * 2 + ["mindeye2"] * 2
    assert all(0 <= score <= 1 for row in rows for score in row["identification"])
    ridge = [score for row in rows[:2] for score in row["identification"]]
    assert sum(ridge) / len(ridge) > 0.8  # ridge identifies pictures of a nearly linear brain
    capsys.readouterr()
    run("summary")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip() for line in lines[1:]] == ["ridge", "mlp", "mindeye2"]
