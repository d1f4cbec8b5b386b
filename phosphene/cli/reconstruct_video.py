"""``reconstruct --video``: a run of continuous volumes in, clips and a report out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["reconstruct_video"]


def reconstruct_video(
    flags: dict[str, Any],
    foreign: Mapping[str, Any],
    *,
    config: str | None,
    sets: Sequence[str],
    resume: bool,
    dry_run: bool,
) -> None:
    """Run the command.

    Parameters
    ----------
    flags : dict
        By the names of :class:`~phosphene.pipelines.video.reconstruct.VideoConfig`.
    foreign : mapping of str to value
        Flags that have no meaning for videos: refused where they are given.
    """
    import typer

    from phosphene.config import resolve_config
    from phosphene.errors import UsageError
    from phosphene.pipelines.video.reconstruct import VideoConfig
    from phosphene.pipelines.video.reconstruct import reconstruct_video as run

    given = [name for name, value in foreign.items() if value is not None]
    if given:
        raise UsageError(
            f"{', '.join(given)} with --video",
            expected="flags of videos: --tr, --onset, --fps, --truth, --generator and so on",
            remedy="leave them away",
        )
    settings = resolve_config(VideoConfig, file=config, sets=sets, flags=flags)
    folder, result = run(settings, resume=resume, dry_run=dry_run)
    if dry_run:
        import yaml

        typer.echo(yaml.safe_dump(settings.model_dump(), sort_keys=False).strip())
        typer.echo(f"dry run: input and model fit together; would write {folder}")
        return
    if result is None:
        typer.echo(f"{folder} is complete already")
        return
    for metric in [] if result.metrics is None else result.metrics.metrics:
        if metric.value is not None:
            chance = "" if metric.chance is None else f" (wrong pairing {metric.chance:.3f})"
            typer.echo(f"{metric.id} {metric.value:.3f}{chance}")
    typer.echo(f"clips: {len(result)}")
    typer.echo(f"report: {folder / 'report.html'}")
