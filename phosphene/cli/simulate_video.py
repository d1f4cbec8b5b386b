"""``phosphene simulate fmri-video``: runs of a virtual subject who watches movies."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import Seed, Subject

__all__ = ["fmri_video"]


@guarded
def fmri_video(
    subject: Subject = "01",
    movies: Annotated[int, typer.Option(help="Test movies to show, a run each.")] = 2,
    seconds: Annotated[float, typer.Option(help="Length of every movie, 8 to 1200 s.")] = 60.0,
    repetitions: Annotated[int, typer.Option(help="Showings of each movie.")] = 1,
    training_movies: Annotated[
        int, typer.Option(help="Training movies shown along, marked in the column split.")
    ] = 0,
    validation_movies: Annotated[
        int, typer.Option(help="Validation movies shown along, likewise.")
    ] = 0,
    fps: Annotated[float, typer.Option(help="Frames per second, 4 or a multiple.")] = 8.0,
    shot: Annotated[
        float, typer.Option(help="Mean seconds from cut to cut; cuts are a Poisson process.")
    ] = 5.0,
    tr: Annotated[float, typer.Option(help="Seconds between volumes.")] = 1.0,
    preset: Annotated[
        str, typer.Option(help="nsd-7t, lab-3t, or independent (unrealistic noise).")
    ] = "nsd-7t",
    seed: Seed = 0,
    output: Annotated[str | None, typer.Option(help="New folder, in BIDS form.")] = None,
) -> None:
    """Write continuous volumes, events and movies of a virtual subject, and the truth."""
    from phosphene.data.virtual.movies.subject import MovieSubject
    from phosphene.data.virtual.movies.writing import MoviePlan, write_movie_experiment
    from phosphene.data.virtual.writing import mask_path
    from phosphene.errors import UsageError
    from phosphene.storage import check_new_folder

    if output is None:
        raise UsageError("--output is not given", expected="--output FOLDER")
    someone = MovieSubject(str(subject), preset=preset, tr=tr)
    check_new_folder(output)
    plan = MoviePlan(
        movies=movies,
        training_movies=training_movies,
        validation_movies=validation_movies,
        seconds=seconds,
        repetitions=repetitions,
        fps=fps,
        mean_shot=shot,
        seed=seed or 0,
    )
    first = write_movie_experiment(output, someone, plan)
    count = movies + training_movies + validation_movies
    typer.echo(
        f"virtual subject {someone.label} ({someone.preset.name}): {count * repetitions} runs of "
        f"{seconds:g} s of {count} movies, TR {tr:g} s x {someone.n_voxels} voxels"
    )
    typer.echo(f"run: {first}")
    typer.echo(f"movies: {output}/stimuli")
    typer.echo(f"mask: {mask_path(output, someone.label)}")
