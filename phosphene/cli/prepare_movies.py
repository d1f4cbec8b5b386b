"""``phosphene prepare cc2017``: runs of continuous activity under movies."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the commands to ``phosphene prepare``."""
    app.command("cc2017")(cc2017)


@guarded
def cc2017(
    source: Annotated[
        str | None,
        typer.Option(help="Folder video_fmri_dataset, the one above it, or the .pt files."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="New folder, or a dataset to add subjects to.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Label (01 is subject1); may be repeated. [all]")
    ] = None,
    form: Annotated[str, typer.Option(help="auto, cifti, mni or tensors (.pt).")] = "auto",
    movies: Annotated[
        str | None, typer.Option(help="Folder of seg1.mp4, ... [stimuli/ below the source]")
    ] = None,
    mask: Annotated[
        str,
        typer.Option(
            help="reproducible (between showings of training segments), all, or auto: "
            "reproducible where that can be tested."
        ),
    ] = "auto",
    alpha: Annotated[float, typer.Option(help="p of reproducible voxels, corrected.")] = 0.05,
    roi: Annotated[
        str | None, typer.Option(help="Voxel mask for volumes (mni). [voxels that vary]")
    ] = None,
    validation: Annotated[
        int, typer.Option(help="Training segments, the last ones, held out for validation.")
    ] = 2,
    untrimmed: Annotated[
        bool,
        typer.Option("--untrimmed", help="Keep every volume, not only the usual 240 of a run."),
    ] = False,
    dtype: Annotated[str, typer.Option(help="float32 or float16 on disk.")] = "float16",
) -> None:
    """Read CC2017 (Wen et al. 2018); volumes keep their second of the movie, nothing is shifted."""
    from pathlib import Path

    from phosphene.data.movies.cc2017_prepare import CC2017Settings, prepare_cc2017
    from phosphene.errors import UsageError
    from phosphene.names import check_subject

    for flag, value in (("--source", source), ("--output", output)):
        if value is None:
            raise UsageError(f"{flag} is not given", expected=f"{flag} FOLDER")
    settings = CC2017Settings(
        subjects=tuple(check_subject(label) for label in subject or ()),
        form=form,
        mask=mask,
        alpha=alpha,
        roi=roi,
        validation=validation,
        trim=not untrimmed,
        movies=None if movies is None else Path(movies),
        dtype=dtype,
    )
    dataset, notes = prepare_cc2017(str(source), str(output), settings)
    for note in notes:
        typer.echo(note)
    typer.echo(f"dataset: {dataset.root}")
