"""The script that puts encoders side by side, on two tiny subjects."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "examples" / "virtual_encoders.py"


@pytest.mark.slow
def test_every_encoder_has_its_line(
    tiny_dataset: Path, tiny_parts_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["--dataset", str(tiny_dataset), "--target", str(tiny_parts_folder / "target"),
             "--encoders", "ridge", "mlp", "mindeye2", "--sessions", "all", "--adapt", "02",
             "--epochs", "1", "--output", str(tmp_path / "table.md")]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    lines = (tmp_path / "table.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    assert [row[0] for row in cells] == [
        "ridge", "mlp", "mindeye2", "ridge, sub-02", "mlp, sub-02 from nothing",
        "mlp, sub-02 adapted", "mindeye2, sub-02 from nothing", "mindeye2, sub-02 adapted",
    ]  # fmt: skip
    assert float(cells[0][3]) > 0.8  # ridge identifies pictures of a nearly linear brain
    assert all(0 <= float(cell) <= 1 for row in cells for cell in row[3:6])
    # A new subject has only its own linear map to learn.
    assert int(cells[5][6].replace(",", "")) == 30 * 512 + 512
