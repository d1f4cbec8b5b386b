"""docs/contracts.md says what the code does, and all of it."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
import typer

from phosphene.cli.app import app, reconstruct_app
from phosphene.trials import TRIAL_COLUMNS

PAGE = (Path(__file__).parents[2] / "docs" / "contracts.md").read_text(encoding="utf-8")


def commands() -> dict[str, set[str]]:
    """Return every command with its long flags."""
    found = {"reconstruct": flags(typer.main.get_command(reconstruct_app))}

    def visit(command: click.Command, name: str) -> None:
        inner = getattr(command, "commands", None)
        if inner is None:
            found[name] = flags(command)
            return
        if own := flags(command) - {"--version"}:  # a group that is a command as well
            found[name] = own
        for part, sub in inner.items():
            visit(sub, f"{name} {part}")

    visit(typer.main.get_command(app), "phosphene")
    return found


def flags(command: click.Command) -> set[str]:
    long = {option for parameter in command.params for option in parameter.opts}
    return {option for option in long if option.startswith("--")} - {"--help"}


def written() -> dict[str, set[str]]:
    lines = re.findall(r"^((?:reconstruct|phosphene)[a-z0-9 -]*):(.*)$", PAGE, re.MULTILINE)
    return {name: set(text.split()) for name, text in lines}


def test_every_command_and_flag_is_written_down() -> None:
    assert written() == commands()


def test_trial_columns_are_written_down() -> None:
    assert " ".join(TRIAL_COLUMNS) in PAGE


@pytest.mark.parametrize("folder", ["dataset", "model", "output", "evaluation"])
def test_files_of_the_golden_folders_are_written_down(folder: str) -> None:
    root = Path(__file__).parents[1] / "golden" / "version-1" / folder
    assert root.is_dir()
    unnamed = []
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        known = name in PAGE or re.search(r"item-\d+|stimuli/|targets/|encoder/|target/", name)
        if path.is_file() and not known:
            unnamed.append(name)
    assert not unnamed


def test_exit_codes_are_written_down() -> None:
    from phosphene.errors import AssetError, InputError, UsageError

    rows = dict(re.findall(r"^\| (\d) \| (\w+ ?\w+)", PAGE, re.MULTILINE))
    assert rows[str(UsageError.exit_code)].startswith("wrong use")
    assert rows[str(InputError.exit_code)].startswith("bad input")
    assert rows[str(AssetError.exit_code)].startswith("a model")
