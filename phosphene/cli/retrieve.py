"""``phosphene retrieve``: find the picture that was seen, or the nearest ones, in an index."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import ConfigFile, Sets, Subject

__all__ = ["retrieve"]


@guarded
def retrieve(
    subject: Subject = None,
    input_: Annotated[
        str | None, typer.Option("--input", help="Recording, as for `reconstruct`.")
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(help="Words; the index must be of an open_clip model. May be repeated."),
    ] = None,
    image: Annotated[str | None, typer.Option(help="A picture, or a folder of them.")] = None,
    index: Annotated[
        str | None,
        typer.Option(
            help="Folder written by `phosphene index build`, or qdrant:ADDRESS/COLLECTION."
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(help="Pictures per query. [10]")] = None,
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Decodes the recording. [the index's, or by its kind]")
    ] = None,
    trials: Annotated[str | None, typer.Option(help="Trials table (TSV) of the recording.")] = None,
    average: Annotated[
        str | None, typer.Option(help="none, or stimulus: average repetitions first. [none]")
    ] = None,
    effort: Annotated[
        int | None, typer.Option(help="Search wider, at the cost of time. [the index's own]")
    ] = None,
    diversity: Annotated[
        float | None, typer.Option(help="0 to 1: prefer results unlike one another. [0]")
    ] = None,
    duplicates: Annotated[
        float | None, typer.Option(help="Show one of pictures whose cosine reaches this.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. [auto]")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    no_stimuli: Annotated[
        bool, typer.Option("--no-stimuli", help="Keep query pictures out of the output.")
    ] = False,
) -> None:
    """Search an index with a recording, a text or a picture."""
    from phosphene.config import resolve_config
    from phosphene.pipelines.retrieval.retrieving import RetrieveConfig
    from phosphene.pipelines.retrieval.retrieving import retrieve as run

    flags = {
        "subject": subject,
        "input": input_,
        "text": tuple(text) if text else None,
        "image": image,
        "index": index,
        "top": top,
        "output": output,
        "model": model,
        "trials": trials,
        "average": average,
        "effort": effort,
        "diversity": diversity,
        "duplicates": duplicates,
        "device": device,
        "stimuli": False if no_stimuli else None,
    }
    settings = resolve_config(RetrieveConfig, file=config, sets=sets or (), flags=flags)
    folder, result, queries, sure = run(settings)
    best = result.table(queries.names)
    for row in best[best["rank"] == 1].head(10).to_dict("records"):
        typer.echo(f"{row['query']}: {row['id']} {row['score']:.3f}")
    if sure is not None:
        for k, mean in sure.groupby("k")["confidence"].mean().items():
            typer.echo(f"probability that the seen picture is among the first {k}: mean {mean:.3f}")
    typer.echo(f"results: {folder / 'results.tsv'}")
