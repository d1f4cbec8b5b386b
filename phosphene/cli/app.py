"""Entry points of the two console commands. Heavy imports happen inside the commands."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

import phosphene
from phosphene.cli import (
    convert,
    datasets,
    doctor,
    evaluate,
    index,
    models,
    plan,
    prepare,
    reconstruct,
    report,
    retrieve,
    simulate,
    train,
)
from phosphene.cli.guard import take_common_flags

__all__ = ["app", "main", "reconstruct_app", "reconstruct_main"]

EPILOG = (
    "Exit codes: 0 done, 2 wrong use, 3 bad input, 4 missing asset, 1 anything else. "
    "Add --debug to any command for a traceback, --offline to keep away from the hub."
)
SETTINGS = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}

app = typer.Typer(
    name="phosphene",
    epilog=EPILOG,
    no_args_is_help=True,
    help="Reconstruct what a person saw from fMRI, EEG or MEG: everything around `reconstruct`.",
    **SETTINGS,  # type: ignore[arg-type]
)
reconstruct_app = typer.Typer(name="reconstruct", **SETTINGS)  # type: ignore[arg-type]


def _version(value: bool) -> None:
    if value:
        typer.echo(f"phosphene {phosphene.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


app.add_typer(train.app, name="train")
app.add_typer(prepare.app, name="prepare")
app.add_typer(simulate.app, name="simulate")
app.add_typer(datasets.app, name="datasets")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(index.app, name="index")
app.add_typer(models.app, name="models")
app.command("plan")(plan.plan)
app.command("retrieve")(retrieve.retrieve)
app.command("convert")(convert.convert)
app.command("report")(report.report)
app.command("doctor")(doctor.doctor)
reconstruct_app.command(epilog=EPILOG)(reconstruct.reconstruct)


def main() -> None:
    """Run ``phosphene``."""
    app(args=take_common_flags(sys.argv[1:]), prog_name="phosphene")


def reconstruct_main() -> None:
    """Run ``reconstruct``."""
    reconstruct_app(args=take_common_flags(sys.argv[1:]), prog_name="reconstruct")
