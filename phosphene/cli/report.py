"""``phosphene report``: build the page of a saved output again, a figure and a table of it."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded

__all__ = ["report"]


@guarded
def report(
    output: Annotated[
        str, typer.Argument(help="Finished output folder of `reconstruct` or `evaluate`.")
    ],
    no_stimuli: Annotated[
        bool,
        typer.Option("--no-stimuli", help="Keep shown pictures and their names out."),
    ] = False,
    figure: Annotated[
        str | None,
        typer.Option(help="Also write shown above decoded, by rank: FIGURE.pdf, .png or .svg."),
    ] = None,
    markdown: Annotated[
        str | None, typer.Option(help="Also write the numbers as a Markdown table.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Where the model lies, for the brain map. [where the run found it]"),
    ] = None,
) -> None:
    """Write OUTPUT/report.html again from what is saved there."""
    from pathlib import Path

    from phosphene.errors import UsageError
    from phosphene.pipelines.report import (
        check_figure_path,
        markdown_table,
        read_content,
        render_content,
        write_figure,
    )
    from phosphene.pipelines.video.saved import SavedVideos, is_video_output
    from phosphene.storage import write_text

    if figure is not None:
        check_figure_path(figure)
    page = Path(output) / "report.html"
    if is_video_output(output):
        if model is not None:
            raise UsageError(
                f"--model {model} for clips, whose page has no map of voxels",
                expected="an output of `reconstruct` without --video",
                remedy="leave --model away",
            )
        videos = SavedVideos.load(output)
        text = videos.page(stimuli=not no_stimuli)
        content = videos.content(stimuli=not no_stimuli) if figure or markdown else None
    else:
        content = read_content(output, stimuli=not no_stimuli, model=model)
        text = render_content(content)
    write_text(page, text)
    if figure is not None and content is not None:
        typer.echo(f"figure: {write_figure(figure, content)}")
    if markdown is not None and content is not None:
        write_text(markdown, markdown_table(content))
        typer.echo(f"table: {markdown}")
    typer.echo(f"report: {page}")
