"""``phosphene evaluate``: scores beside their controls, comparisons, leaderboards."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.audit import audit
from phosphene.cli.evaluate_delay import delay
from phosphene.cli.evaluate_times import (
    Hop,
    Render,
    Target,
    TimeResolvedFlag,
    Window,
    evaluate_over_time,
)
from phosphene.cli.guard import guarded
from phosphene.cli.options import ConfigFile, Seed, Sets

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
@guarded
def evaluate(
    ctx: typer.Context,
    predictions: Annotated[
        str | None,
        typer.Option(
            help="Folder of pictures named by identifier, output of `reconstruct`, or a table "
            "(TSV) of captions."
        ),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            help="Folder of shown pictures by identifier, a dataset, or a table of captions. "
            "[as stored]"
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model to decode a dataset with, in place of --predictions.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Folder written by `phosphene prepare`.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(help="quick, nsd, mindeye2, things-eeg, video or captions. [quick]"),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Id of a metric, may be repeated; in place of the suite's."),
    ] = None,
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    name: Annotated[
        str | None, typer.Option(help="What tables call this result. [the predictions' name]")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Label, may be repeated. [all of model and dataset]")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split of the dataset. [test]")] = None,
    average: Annotated[
        str | None, typer.Option(help="none, or stimulus: average repetitions first. [stimulus]")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Pictures per item. [1]")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the generator.")] = None,
    category: Annotated[
        str | None,
        typer.Option(help="Table (TSV) or column with each picture's category."),
    ] = None,
    scenes: Annotated[
        str | None,
        typer.Option(help="Table (TSV) with the scene each clip was cut from (suite video)."),
    ] = None,
    simulation: Annotated[
        list[str] | None,
        typer.Option(
            help="Folder of `phosphene simulate fmri` behind a dataset, one per subject: adds "
            "the share of the ideal observer."
        ),
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="Side at which both are compared. [the smaller one's]")
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Score although shown pictures lack a prediction."),
    ] = False,
    allow_seen: Annotated[
        bool,
        typer.Option("--allow-seen", help="Judge a model although it saw test pictures."),
    ] = False,
    network: Annotated[
        str | None, typer.Option(help="Folder with weights of the metrics' networks.")
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(help="Folder where features of shown pictures are kept for the next run."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures at a time. [32]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. [auto]")] = None,
    seed: Seed = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an interrupted run of --model.")
    ] = False,
    time_resolved: TimeResolvedFlag = False,
    target: Target = None,
    window: Window = None,
    hop: Hop = None,
    render: Render = None,
    config: ConfigFile = None,
    sets: Sets = None,
) -> None:
    """Score pictures against what was shown, beside controls, with everything on record.

    Give --predictions and --truth, or --model and --dataset. Two results are compared, and
    several put into one table, with the commands below.
    """
    if ctx.invoked_subcommand is not None:
        return
    over_time = {"target": target, "window": window, "hop": hop, "render": render}
    if time_resolved:
        evaluate_over_time(
            over_time
            | {
                "output": output, "dataset": dataset, "model": model, "average": average,
                "subjects": tuple(subject) if subject else None, "steps": steps,
                "batch_size": batch_size, "seed": seed,
            },
            {
                "predictions": predictions, "truth": truth, "suite": suite, "metric": metric,
                "split": split, "samples": samples, "category": category, "scenes": scenes,
                "simulation": simulation, "size": size, "resume": resume, "name": name,
            },
            config,
            sets or (),
        )  # fmt: skip
        return
    alone = [flag for flag, value in over_time.items() if value is not None]
    from phosphene.config import resolve_config
    from phosphene.errors import UsageError
    from phosphene.pipelines.evaluation.evaluate import EvaluateConfig
    from phosphene.pipelines.evaluation.evaluate import evaluate as run
    from phosphene.pipelines.evaluation.summary import summary_lines

    if alone:
        raise UsageError(
            f"--{alone[0]} without --time-resolved",
            expected="--time-resolved, which it belongs to",
            remedy="add --time-resolved, or leave it out",
        )
    flags = {
        "predictions": predictions,
        "truth": truth,
        "model": model,
        "dataset": dataset,
        "suite": suite,
        "metrics": tuple(metric) if metric else None,
        "output": output,
        "name": name,
        "subjects": tuple(subject) if subject else None,
        "split": split,
        "average": average,
        "samples": samples,
        "steps": steps,
        "category": category,
        "scenes": scenes,
        "simulations": tuple(simulation) if simulation else None,
        "size": size,
        "allow_missing": True if allow_missing else None,
        "allow_seen": True if allow_seen else None,
        "network": network,
        "cache": cache,
        "batch_size": batch_size,
        "device": device,
        "seed": seed,
    }
    settings = resolve_config(EvaluateConfig, file=config, sets=sets or (), flags=flags)
    path, result = run(settings, resume=resume)
    for line in summary_lines(result):
        typer.echo(line)
    typer.echo(f"evaluation: {path}")


@app.command("compare")
@guarded
def compare(
    first: Annotated[str, typer.Argument(help="Output of `phosphene evaluate`.")],
    second: Annotated[str, typer.Argument(help="Another one, of the same pictures.")],
    output: Annotated[str | None, typer.Option(help="Table to write (.tsv).")] = None,
) -> None:
    """Compare two results picture by picture; p-values are corrected over metrics (Holm)."""
    from phosphene.pipelines.evaluation.compare import (
        compare_evaluations,
        comparison_lines,
        comparison_table,
    )
    from phosphene.pipelines.evaluation.results import load_evaluation
    from phosphene.storage import write_text

    found = compare_evaluations(load_evaluation(first), load_evaluation(second))
    for line in comparison_lines(found):
        typer.echo(line)
    if output is not None:
        write_text(output, comparison_table(found))
        typer.echo(f"comparison: {output}")


@app.command("leaderboard")
@guarded
def leaderboard(
    results: Annotated[list[str], typer.Argument(help="Outputs of `phosphene evaluate`.")],
    output: Annotated[
        str | None, typer.Option(help="File to write: Markdown, or numbers in a .tsv.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse results of different protocols.")
    ] = False,
) -> None:
    """Put several results into one table; different protocols never share a column."""
    from phosphene.pipelines.evaluation.leaderboard import leaderboard as build
    from phosphene.pipelines.evaluation.leaderboard import leaderboard_markdown, leaderboard_tsv
    from phosphene.pipelines.evaluation.results import load_evaluation
    from phosphene.storage import write_text

    board = build([load_evaluation(path) for path in results], strict=strict)
    typer.echo(leaderboard_markdown(board).rstrip())
    if output is not None:
        numbers = output.lower().endswith(".tsv")
        write_text(output, (leaderboard_tsv if numbers else leaderboard_markdown)(board))
        typer.echo(f"leaderboard: {output}")


app.command("audit")(audit)
app.command("delay")(delay)
