"""What the command line does with errors: one message, one exit code, no traceback."""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from phosphene.errors import PhospheneError
from phosphene.hub import go_offline

__all__ = ["guarded", "take_common_flags"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
_debug = False


def take_common_flags(arguments: list[str]) -> list[str]:
    """Return the arguments without ``--debug`` and ``--offline``, which may stand anywhere."""
    global _debug
    _debug = "--debug" in arguments
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    logging.getLogger("phosphene").setLevel(logging.DEBUG if _debug else logging.WARNING)
    if "--offline" in arguments:
        go_offline()
    return [argument for argument in arguments if argument not in ("--debug", "--offline")]


def guarded(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Turn errors of a command into one message on standard error and its exit code."""

    @functools.wraps(command)
    def wrapped(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        try:
            return command(*args, **kwargs)
        except (typer.Exit, typer.Abort):
            raise
        except KeyboardInterrupt:
            _say(
                "interrupted. What is finished is kept; nothing half-written looks finished.\n"
                "What to do: repeat the command with --resume, where it has that flag."
            )
            raise typer.Exit(1) from None
        except PhospheneError as error:
            if _debug:
                raise
            _say(str(error))
            raise typer.Exit(error.exit_code) from None
        except BrokenPipeError:  # whoever read our output has closed it, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from None
        except MemoryError:
            _say("the memory is full.\nWhat to do: use a smaller --batch-size or input.")
            raise typer.Exit(1) from None
        except Exception as error:
            if _debug:
                raise
            _say(
                f"something unforeseen went wrong ({type(error).__name__}: {error}).\n"
                "What to do: repeat the command with --debug and report what it prints."
            )
            raise typer.Exit(1) from None

    return wrapped


def _say(message: str) -> None:
    sys.stderr.write(f"phosphene: {message}\n")
