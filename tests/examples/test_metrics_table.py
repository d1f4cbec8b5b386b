from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "examples" / "metrics_table.py"


@pytest.mark.slow
def test_the_table_of_a_page_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
    images = np.kron(coarse, np.ones((1, 6, 6, 1), np.uint8))
    wnid = np.array(["n02085700", "n02085620", "n01729000", "n01728600"])  # dogs, then snakes
    np.savez(tmp_path / "photos.npz", images=images, wnid=wnid)
    page = tmp_path / "page.md"
    page.write_text(
        "above\n<!-- metrics_table.py: begin -->\nold\n<!-- metrics_table.py: end -->\nbelow\n"
    )
    words = ["--photos", str(tmp_path / "photos.npz"), "--page", str(page)]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *words])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    text = page.read_text()
    assert text.startswith("above\n<!-- metrics_table.py: begin -->\n\n| metric (4 photographs)")
    assert text.endswith("<!-- metrics_table.py: end -->\nbelow\n")
    assert "old" not in text
    assert f"table: {page}" in capsys.readouterr().out
    lines = {
        line.split(" | ")[0].strip("| ↑↓"): line.strip("| ").split(" | ")[1:]
        for line in text.splitlines()
        if line.startswith("| ")
    }
    columns = lines["metric (4 photographs)"]
    same, grey = columns.index("the same"), columns.index("grey")
    for metric in ("pixcorr/strict-v1", "two-way-pixels/strict-v1", "colour/strict-v1"):
        assert lines[metric][same] == "1.000"
    assert lines["two-way-pixels/strict-v1"][grey] == "0.500"
    assert lines["two-way-pixels/strict-less"][grey] == "0.000"
    within = lines["two-way-pixels/strict-v1, within a kind"]
    assert within[columns.index("same kind")] == "0.000"  # the one other picture of its kind
    assert lines["50-way-efficientnet-lite0/strict-v1"] == ["-"] * len(columns)
