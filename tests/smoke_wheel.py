"""Build the wheel and use it outside the repository, where only its own files can be found."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import phosphene
assert phosphene.__file__.startswith(sys.argv[1]), phosphene.__file__
from phosphene import Reconstructor
from phosphene.data.catalogue import read_catalogue
from phosphene.encoders.brain import BRAIN_ENCODERS
from phosphene.encoders.stimulus import STIMULUS_ENCODERS
from phosphene.pipelines.generators import GENERATORS
import importlib.resources as resources
for registry in (BRAIN_ENCODERS, STIMULUS_ENCODERS, GENERATORS):
    for name in registry.names():
        assert registry.get(name).__module__.startswith("phosphene.")
assert len(read_catalogue()) > 5
assert resources.files("phosphene.pipelines.report").joinpath("page.html.j2").is_file()
assert resources.files("phosphene").joinpath("py.typed").is_file()
print("wheel works:", phosphene.__version__)
"""


def main() -> None:
    """Build, unpack, import."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [
                sys.executable,
                "-m",
                "build",
                "--wheel",
                "--no-isolation",
                "--outdir",
                folder,
                str(ROOT),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            archive.extractall(Path(folder) / "site")
        assert not any(name.startswith(("tests/", "data/", "pipelines/")) for name in names)
        subprocess.run(
            [sys.executable, "-I", "-c", SCRIPT, str(Path(folder) / "site")], cwd=folder, check=True
        )


if __name__ == "__main__":
    main()
