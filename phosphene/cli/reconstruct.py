"""``reconstruct``: a recording in, pictures and a report out."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import ConfigFile, Resume, Seed, Sets, Subject

__all__ = ["reconstruct"]


@guarded
def reconstruct(
    subject: Subject = None,
    input_: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="Recording: .npy, .npz, .nii, .nii.gz, .mgz, GIFTI, CIFTI "
            "or a BIDS folder of betas.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Known model, model folder, local-dir:PATH or hf-hub:ID. [by the input's kind]"
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="New or empty folder. [phosphene-output]")
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(help="Shown pictures: a folder named by stimulus_id, or an array in order."),
    ] = None,
    trials: Annotated[str | None, typer.Option(help="Trials table (TSV) of the recording.")] = None,
    average: Annotated[
        str | None, typer.Option(help="none, or stimulus: average repetitions first. [none]")
    ] = None,
    generator: Annotated[
        str | None, typer.Option(help="Generator; the model's own by default.")
    ] = None,
    prior: Annotated[
        str | None, typer.Option(help="none leaves the model's prior out. [the model's own]")
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(help="0 shows the low-level branch, 1 ignores it. [the model's own]"),
    ] = None,
    detail: Annotated[
        float | None,
        typer.Option(
            help="Pixels below which a training picture lends detail, 0 for none. [the model's own]"
        ),
    ] = None,
    caption: Annotated[
        str | None,
        typer.Option(help="git:FOLDER or nearest:INDEX: say in a sentence what was decoded."),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Pictures per item. [1]")] = None,
    seed: Seed = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the generator.")] = None,
    batch_size: Annotated[
        str | None,
        typer.Option(help="Items rendered at a time, or auto: by the memory of a GPU. [64]"),
    ] = None,
    video: Annotated[
        bool,
        typer.Option("--video", help="The input is a run of continuous volumes under a movie."),
    ] = False,
    tr: Annotated[
        float | None, typer.Option(help="With --video: seconds between volumes. [the header's]")
    ] = None,
    onset: Annotated[
        float | None,
        typer.Option(
            help="With --video: seconds after the first volume at which the movie begins. "
            "[of the _events.tsv beside the run, else 0]"
        ),
    ] = None,
    fps: Annotated[float | None, typer.Option(help="With --video: frames per second. [8]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu or cuda. [auto]")] = None,
    dtype: Annotated[str | None, typer.Option(help="auto or float32. [auto]")] = None,
    config: ConfigFile = None,
    sets: Sets = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, write nothing.")
    ] = False,
    resume: Resume = False,
    no_stimuli: Annotated[
        bool, typer.Option("--no-stimuli", help="Keep shown pictures out of the output.")
    ] = False,
) -> None:
    """Reconstruct what a subject saw from a recording."""
    if video:
        from phosphene.cli.reconstruct_video import reconstruct_video

        reconstruct_video(
            {
                "subject": subject,
                "input": input_,
                "model": model,
                "output": output,
                "truth": truth,
                "average": average,
                "tr": tr,
                "onset": onset,
                "fps": fps,
                "generator": generator,
                "strength": strength,
                "detail": detail,
                "seed": seed,
                "steps": steps,
                "batch_size": batch_size,
                "device": device,
                "stimuli": False if no_stimuli else None,
            },
            {
                "--trials": trials,
                "--prior": prior,
                "--caption": caption,
                "--samples": samples,
                "--dtype": dtype,
            },
            config=config,
            sets=sets or (),
            resume=resume,
            dry_run=dry_run,
        )
        return
    only_video = {"--tr": tr, "--onset": onset, "--fps": fps}
    if any(value is not None for value in only_video.values()):
        from phosphene.errors import UsageError

        given = ", ".join(name for name, value in only_video.items() if value is not None)
        raise UsageError(f"{given} without --video", expected="--video, for a run under a movie")
    from phosphene.config import resolve_config
    from phosphene.data.confounds import confound_lines
    from phosphene.pipelines.reconstruct import ReconstructConfig
    from phosphene.pipelines.reconstruct import reconstruct as run

    flags = {
        "subject": subject,
        "input": input_,
        "model": model,
        "output": output,
        "truth": truth,
        "trials": trials,
        "average": average,
        "generator": generator,
        "prior": prior,
        "strength": strength,
        "detail": detail,
        "caption": caption,
        "samples": samples,
        "seed": seed,
        "steps": steps,
        "batch_size": batch_size,
        "device": device,
        "dtype": dtype,
        "stimuli": False if no_stimuli else None,
    }
    settings = resolve_config(ReconstructConfig, file=config, sets=sets or (), flags=flags)
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
    for line in confound_lines(result.provenance.protocol.dataset):
        typer.echo(line)
    if result.metrics is not None and result.metrics.n_seen_in_training:
        typer.echo(
            f"careful: {result.metrics.n_seen_in_training} of {len(result)} items show pictures "
            "that the model was trained on"
        )
    typer.echo(f"report: {folder / 'report.html'}")
