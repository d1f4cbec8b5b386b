"""``phosphene datasets``: the public datasets known here."""

from __future__ import annotations

import typer

from phosphene.cli.guard import guarded

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Public datasets: licence, size, how to obtain them.",
)


@app.command("list")
@guarded
def list_datasets() -> None:
    """List every public dataset known here."""
    from phosphene.data.catalogue import read_catalogue

    for entry in read_catalogue():
        typer.echo(
            f"{entry.name:22} {entry.modality:5} {entry.subjects:>3} subjects  {entry.title}"
        )


@app.command("show")
@guarded
def show(name: str) -> None:
    """Show one dataset's facts."""
    from phosphene.data.catalogue import find_dataset

    entry = find_dataset(name)
    for key, value in entry.model_dump().items():
        typer.echo(f"{key:10} {value}")
