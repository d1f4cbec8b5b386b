"""The tree: what is packaged, what git sees, and what an import may cost."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("data", "encoders", "priors", "pipelines", "checkpoints")


def run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


def test_every_package_is_packaged() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = {"phosphene": ROOT / "phosphene"} | {f"phosphene.{r}": ROOT / r for r in ROOMS}
    packages = {
        ".".join([name, *file.parent.relative_to(folder).parts])
        for name, folder in found.items()
        for file in folder.rglob("__init__.py")
    }
    assert sorted(setup["packages"]) == sorted(packages)
    for room in ROOMS:
        assert setup["package-dir"][f"phosphene.{room}"] == room


def test_every_folder_with_modules_is_a_package() -> None:
    for room in ("phosphene", *ROOMS):
        for file in (ROOT / room).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), file


def test_every_file_that_is_no_module_is_packaged() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    named = set()
    for package, patterns in data.items():
        folder = ROOT.joinpath(*package.split(".")[1:]) if "." in package else ROOT / package
        for pattern in patterns:
            hits = {path for path in folder.glob(pattern) if path.is_file()}
            assert hits, f"{package}: {pattern} matches nothing"
            named |= hits
    others = {
        path
        for room in ("phosphene", *ROOMS)
        for path in (ROOT / room).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert others == named


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="not a git checkout"
)
@pytest.mark.parametrize(
    ("path", "ignored"),
    [
        ("data/new.py", False),
        ("data/readers/new.csv", False),
        ("checkpoints/new/model.safetensors", False),
        ("tests/golden/version-1/model/encoder/model.safetensors", False),
        ("tests/golden/version-1/output/embeddings.npz", False),
        ("tests/golden/version-1/output/log.txt", False),
        ("docs/picture.png", False),
        (".venv/bin/python", True),
        (".layout/phosphene", True),
        ("data/__pycache__/a.pyc", True),
        ("dist/a.whl", True),
    ],
)
def test_git_sees_what_it_has_to(path: str, ignored: bool) -> None:
    done = subprocess.run(
        ["git", "check-ignore", "--no-index", "--quiet", path], cwd=ROOT, check=False
    )
    assert (done.returncode == 0) == ignored


HEAVY = ("torch", "pandas", "scipy", "nibabel", "PIL", "diffusers", "transformers", "pyarrow")


def test_importing_the_package_imports_nothing_heavy() -> None:
    script = f"""
import sys, phosphene
print(*[name for name in {(*HEAVY, "numpy", "pydantic")} if name in sys.modules])
print(phosphene.__version__, *dir(phosphene))
"""
    heavy, names = run(script).split("\n")[:2]
    assert heavy == ""
    assert names.split()[1:] == ["Index", "Reconstruction", "Reconstructor", "__version__"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("reconstruct_main", ["--help"]),
        ("main", ["--help"]),
        ("main", ["train", "encoder", "--help"]),
        ("main", ["--version"]),
        ("reconstruct_main", ["--nonsense"]),
    ],
)
def test_help_imports_nothing_heavy(entry: str, words: list[str]) -> None:
    script = f"""
import sys
from phosphene.cli.app import {entry}
sys.argv = ["command", *{words}]
try:
    {entry}()
except SystemExit as done:
    code = done.code
print()
print(code, *[name for name in {(*HEAVY, "numpy")} if name in sys.modules])
"""
    assert run(script).splitlines()[-1] == ("2" if "--nonsense" in words else "0")


def test_the_names_that_are_loaded_on_use() -> None:
    import phosphene

    assert phosphene.Reconstructor.__name__ == "Reconstructor"
    assert phosphene.Reconstruction.__name__ == "Reconstruction"
    with pytest.raises(AttributeError, match="no attribute 'Reconstructer'"):
        _ = phosphene.Reconstructer
