"""The documented path from fMRIPrep to pictures runs as it is written."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "own_scans.md"


@pytest.mark.slow
def test_every_command_of_the_page_runs(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")
    quick = tmp_path / "own_scans.md"
    quick.write_text(page.replace("--epochs 20", "--epochs 2"), encoding="utf-8")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    blocks = re.findall(r"^```bash\n(.*?)^```$", quick.read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 5
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    for code in blocks:
        done = subprocess.run(
            ["bash", "-euc", code], cwd=tmp_path, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    rows = (tmp_path / "OWN-PICTURES" / "trials.tsv").read_text().splitlines()
    assert len(rows) == 1 + 10  # a header, and an item per test picture
    assert (tmp_path / "OWN-PICTURES" / "report.html").is_file()
    assert (tmp_path / "OWN" / "quality.html").is_file()
