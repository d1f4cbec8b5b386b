"""``phosphene report``: build the page of a saved output again."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded

__all__ = ["report"]


@guarded
def report(
    output: Annotated[str, typer.Argument(help="Finished output folder of `reconstruct`.")],
    no_stimuli: Annotated[
        bool, typer.Option("--no-stimuli", help="Keep shown pictures out of the page.")
    ] = False,
) -> None:
    """Write OUTPUT/report.html again from what is saved there."""
    from pathlib import Path

    from phosphene.pipelines.reconstruction import Reconstruction
    from phosphene.storage import write_text

    page = Path(output) / "report.html"
    write_text(page, Reconstruction.load(output).to_html(stimuli=not no_stimuli))
    typer.echo(f"report: {page}")
