"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["ConfigFile", "Resume", "Seed", "Sets", "Subject"]

Subject = Annotated[str | None, typer.Option("--subject", help="Label of the subject, such as 01.")]
ConfigFile = Annotated[
    str | None, typer.Option("--config", help="YAML file with settings; flags beat it.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one key (a.b=c); may be repeated."),
]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of everything random. [0]")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")]
