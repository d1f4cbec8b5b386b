"""``phosphene train video``: a decoder of moving pictures from runs under movies."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import ConfigFile, Seed, Sets

__all__ = ["train_video"]


@guarded
def train_video(
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            help="Runs under movies: prepared, or written by `simulate fmri-video`; repeatable."
        ),
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Subject label; repeatable. [all]")
    ] = None,
    output: Annotated[str | None, typer.Option(help="New or empty folder.")] = None,
    pictures: Annotated[
        str | None, typer.Option(help="Model that renders keyframes. [virtual-fmri]")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of a clip. [2]")] = None,
    delay: Annotated[
        float | None,
        typer.Option(help="Seconds from a clip's start to the first volume read for it. [4]"),
    ] = None,
    window: Annotated[
        float | None, typer.Option(help="Seconds of volumes read for a clip. [4]")
    ] = None,
    average: Annotated[
        str | None,
        typer.Option(help="none, or stimulus: learn from the mean of a movie's showings. [none]"),
    ] = None,
    rank: Annotated[int | None, typer.Option(help="Directions all heads share. [96]")] = None,
    seed: Seed = None,
    config: ConfigFile = None,
    sets: Sets = None,
) -> None:
    """Fit keyframe tokens, low-level frames, optical flow and cuts by ridge regression."""
    from phosphene.config import resolve_config
    from phosphene.pipelines.training.video import VideoTrainingConfig
    from phosphene.pipelines.training.video import train_video as run

    flags = {
        "dataset": tuple(dataset) if dataset else None,
        "subjects": tuple(subject) if subject else None,
        "output": output,
        "pictures": pictures,
        "seconds": seconds,
        "delay": delay,
        "window": window,
        "average": average,
        "rank": rank,
        "seed": seed,
    }
    settings = resolve_config(VideoTrainingConfig, file=config, sets=sets or (), flags=flags)
    folder, summary = run(settings)
    for name, value in summary.items():
        typer.echo(f"{name} {value:.4g}")
    typer.echo(f"model: {folder}")
