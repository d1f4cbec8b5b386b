"""``phosphene prepare check``: whether a dataset can be decoded honestly, and how good it is."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded

__all__ = ["check"]


@guarded
def check(
    dataset: Annotated[str, typer.Argument(help="Folder written by `phosphene prepare`.")],
    output: Annotated[
        str | None, typer.Option(help="Page to write (.html). [quality.html in the dataset]")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with code 3 where something is found.")
    ] = False,
) -> None:
    """Warn of designs that cannot be decoded honestly, and write a page on every session.

    The last line counts the warnings and names them.
    """
    from pathlib import Path

    from phosphene.data.canonical import CanonicalDataset
    from phosphene.errors import UsageError
    from phosphene.pipelines.evaluation.check_dataset import REMEDIES, check_dataset
    from phosphene.pipelines.report.session_quality import render_quality
    from phosphene.storage import write_text

    opened = CanonicalDataset.open(dataset)
    target = Path(output) if output else opened.root / "quality.html"
    if target.suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"the page {target} is to end in {target.suffix or 'nothing'}", "a name ending in .html"
        )
    findings = check_dataset(opened)
    for finding in findings:
        typer.echo(finding.line())
        if finding.verdict == "tripped" and finding.name in REMEDIES:
            typer.echo(f"  what to do: {REMEDIES[finding.name]}")
    write_text(target, render_quality(opened, findings, REMEDIES))
    typer.echo(f"quality: {target}")
    tripped = [one for one in findings if one.verdict == "tripped"]
    names = ", ".join(dict.fromkeys(one.name for one in tripped))
    typer.echo(f"check: {len(tripped)} warnings ({names})" if tripped else "check: no warnings")
    if tripped and strict:
        raise typer.Exit(3)
