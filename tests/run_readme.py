"""Run the README's ``bash`` and ``python`` blocks in order, in a copy of what they need.

python tests/run_readme.py README.md
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def main(readme: Path) -> int:
    """Return the number of blocks that failed."""
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    blocks = BLOCK.findall(readme.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "examples").symlink_to(readme.resolve().parent / "examples")
        for number, (language, code) in enumerate(blocks, start=1):
            command = ["bash", "-euc", code] if language == "bash" else [sys.executable, "-c", code]
            done = subprocess.run(command, cwd=folder, env=environment, check=False)
            if done.returncode:
                print(f"{readme}: block {number} of {len(blocks)} failed:\n{code}")
                return 1
    print(f"{readme}: {len(blocks)} blocks ran")
    return 0 if blocks else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
