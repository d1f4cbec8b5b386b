"""``phosphene evaluate --time-resolved``: its flags, and what they go with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

__all__ = ["Hop", "Render", "Target", "TimeResolvedFlag", "Window", "evaluate_over_time"]

TimeResolvedFlag = Annotated[
    bool,
    typer.Option(
        "--time-resolved",
        help="Decode a dataset of EEG or MEG by sliding and growing windows, with a plot.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(help="With --time-resolved: what is decoded, in place of the model's target."),
]
Window = Annotated[
    float | None, typer.Option(help="With --time-resolved: width of sliding windows, s. [0.1]")
]
Hop = Annotated[
    float | None, typer.Option(help="With --time-resolved: seconds from window to window. [0.05]")
]
Render = Annotated[
    int | None,
    typer.Option(help="With --time-resolved and --model: test pictures rendered per window. [8]"),
]


def evaluate_over_time(
    flags: Mapping[str, Any], others: Mapping[str, Any], config: str | None, sets: Sequence[str]
) -> None:
    """Decode windows of time and print what there is when."""
    from phosphene.config import resolve_config
    from phosphene.errors import UsageError
    from phosphene.pipelines.evaluation.time_resolved import (
        TimeResolvedConfig,
        evaluate_times,
        time_lines,
    )

    given = [name for name, value in others.items() if value]
    if given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} together with --time-resolved",
            expected="--dataset, --output, --target or --model, and --subject, --average, "
            "--window, --hop, --render, --steps, --batch-size, --seed",
            remedy="leave it out",
        )
    for name in ("dataset", "output"):
        if flags[name] is None and config is None:
            raise UsageError(f"--{name} is not given", expected=f"--{name} FOLDER")
    path, result = evaluate_times(
        resolve_config(TimeResolvedConfig, file=config, sets=sets, flags=flags)
    )
    for line in time_lines(result):
        typer.echo(line)
    typer.echo(f"plot: {path.with_suffix('.svg')}")
    typer.echo(f"evaluation: {path}")
