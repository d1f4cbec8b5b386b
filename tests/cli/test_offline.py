"""`--offline` stands anywhere on the line, for every command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = "import sys; from phosphene.cli.app import main, reconstruct_main as r; "


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("main()", ["--offline", "models", "fetch", "kandinsky22"]),
        ("main()", ["models", "fetch", "kandinsky22", "--offline"]),
        ("r()", ["--offline", "--input", "x.npy", "--subject", "01", "--model", "hf-hub:a/b"]),
    ],
)
def test_nothing_is_asked_of_the_hub(run: str, words: list[str], tmp_path: Path) -> None:
    """A proxy that nobody serves stands in the way: asking the hub would fail by another name."""
    environment = {name: value for name, value in os.environ.items() if "OFFLINE" not in name}
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + run, *words],
        capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    if "kandinsky22" in words:
        assert "2642 MB" in done.stderr
        assert "Apache-2.0" in done.stderr
        assert "phosphene models fetch kandinsky22" in done.stderr
    else:
        assert "access to the hub is off" in done.stderr
