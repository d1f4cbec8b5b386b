"""``phosphene convert``: published weights to model folders, and back."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from phosphene.cli.guard import guarded

__all__ = ["convert"]


@guarded
def convert(
    file: str,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Family: auto, mindeye1, mindeye2, atm, ...; `phosphene models list` has all. "
            "[auto]",
        ),
    ] = None,
    subject: Annotated[
        list[str] | None,
        typer.Option(help="Label; repeated for weights of several, in the order of the file."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="New or empty folder; a new file with --to.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(help="mindeye2 or atm: write a model as a file that the originals read."),
    ] = None,
    corrected: Annotated[
        bool,
        typer.Option("--corrected", help="The equivalent form without the published defects."),
    ] = False,
    beside: Annotated[
        list[str] | None,
        typer.Option("--with", help="NAME=FILE: a further file of the weights; repeatable."),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="local-dir:FOLDER of the picture encoder that they were trained with."),
    ] = None,
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE: what the file leaves open; repeatable."),
    ] = None,
) -> None:
    """Turn a published checkpoint into a model folder; nothing in it is ever executed.

    With --to, FILE is a model folder, and a file for the original programs is written.
    """
    from phosphene.checkpoints.converters.convert import convert_file, write_back
    from phosphene.errors import UsageError

    if output is None:
        raise UsageError(
            "--output must be given",
            expected="a new or empty folder, or a new file with --to",
            remedy="name one",
        )
    if to is not None:
        if from_ or subject or corrected or beside or target or sets:
            raise UsageError(
                "--to beside flags of a conversion",
                expected="--to, --output and a model alone",
                remedy="leave the other flags away",
            )
        typer.echo(f"checkpoint: {write_back(file, output, to=to)}")
        return
    report = convert_file(
        file,
        output,
        family=from_ or "auto",
        subjects=subject or (),
        settings=_assignments(sets or []),
        beside={name: str(value) for name, value in _pairs(beside or [], "--with")},
        corrected=corrected,
        target=target,
    )
    for line in report.lines:
        typer.echo(line)
    typer.echo(f"model: {report.folder}")


def _pairs(texts: list[str], flag: str) -> list[tuple[str, str]]:
    from phosphene.errors import UsageError

    found = []
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise UsageError(
                f"`{flag}` got {text!r}",
                expected="NAME=VALUE",
                remedy="write a name, an equals sign and a value",
            )
        found.append((name, value))
    return found


def _assignments(texts: list[str]) -> dict[str, Any]:
    import yaml

    from phosphene.errors import UsageError

    found = {}
    for name, value in _pairs(texts, "--set"):
        try:
            found[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(
                f"`--set` got {name}={value}", "a value that reads as YAML", "quote the value"
            ) from error
    return found
