"""``phosphene evaluate delay``: decoding against the delay between movie and volumes."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded

__all__ = ["delay"]


@guarded
def delay(
    dataset: Annotated[
        str | None,
        typer.Option(help="Runs under movies: written by `prepare` or `simulate fmri-video`."),
    ] = None,
    subject: Annotated[str | None, typer.Option(help="Label. [the only one]")] = None,
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    delays: Annotated[
        str | None, typer.Option(help="FIRST:LAST[:STEP] in seconds. [-4:14 in steps of a TR]")
    ] = None,
    length: Annotated[float, typer.Option(help="Seconds of a clip.")] = 2.0,
) -> None:
    """Plot how well validation segments are decoded from volumes at each delay."""
    from phosphene.data.movies import MovieDataset
    from phosphene.errors import UsageError
    from phosphene.names import check_subject
    from phosphene.pipelines.evaluation.delay_curve import delay_curve, write_delay_curve
    from phosphene.storage import check_new_folder

    for flag, value in (("--dataset", dataset), ("--output", output)):
        if value is None:
            raise UsageError(f"{flag} is not given", expected=f"{flag} FOLDER")
    check_new_folder(str(output))
    movies = MovieDataset.open(str(dataset))
    if subject is None and len(movies.subjects) != 1:
        raise UsageError(
            f"{dataset} has subjects {', '.join(movies.subjects)}",
            expected="one of them",
            remedy="give --subject",
        )
    label = movies.subjects[0] if subject is None else check_subject(subject)
    curve = delay_curve(movies, label, delays=delays, length=length)
    for seconds, r, found in zip(
        curve.delays, curve.correlation, curve.identification, strict=True
    ):
        typer.echo(f"{seconds:6.2f} s  r {r:6.3f}  two-way {found:.3f}")
    path = write_delay_curve(curve, str(output))
    if curve.p_value is None or curve.p_value > 0.05:
        how = (
            "its segments are too short to tell it from chance"
            if curve.p_value is None
            else f"movies shifted against the volumes reach as much (p {curve.p_value:.2g})"
        )
        typer.echo(f"no delay stands out: {how}; hold out more or longer segments")
    typer.echo(f"best delay: {curve.best:g} s (segments {', '.join(curve.segments)})")
    typer.echo(f"delay curve: {path}")
