"""``phosphene simulate``: recordings of virtual subjects, with everything known about them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from phosphene.cli.guard import guarded
from phosphene.cli.options import Seed, Subject
from phosphene.cli.simulate_video import fmri_video

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Simulate recordings of virtual subjects: never human data, and the truth is known.",
)


@app.callback()
def _root() -> None:
    pass


app.command("fmri-video")(fmri_video)


@app.command("fmri")
@guarded
def fmri(
    subject: Subject = "01",
    scenes: Annotated[int, typer.Option(help="Test pictures to show.")] = 100,
    repetitions: Annotated[
        int | None, typer.Option(help="Showings of each picture. [3; 1 with lab-3t]")
    ] = None,
    seed: Seed = 0,
    output: Annotated[str | None, typer.Option(help="New folder, in BIDS form.")] = None,
    preset: Annotated[
        str, typer.Option(help="nsd-7t, lab-3t, or independent (unrealistic noise).")
    ] = "nsd-7t",
    holdout: Annotated[
        str,
        typer.Option(help="Kind of test pictures: none, conjunctions, shape or hard-negatives."),
    ] = "none",
    training_scenes: Annotated[
        int, typer.Option(help="Training pictures shown along, marked in the column split.")
    ] = 0,
    photographs: Annotated[
        str | None, typer.Option(help="Folder of pictures to show in place of scenes.")
    ] = None,
    confound: Annotated[
        list[str] | None,
        typer.Option(
            help="A mistake to make, may be repeated: block-drift, duplicates, arousal or gaze."
        ),
    ] = None,
    sessions: Annotated[
        int | None, typer.Option(help="Number of sessions. [as needed; 3 for repetitions]")
    ] = None,
    estimator: Annotated[str, typer.Option(help="Single-trial betas by lsa or lss.")] = "lsa",
    bank: Annotated[
        int,
        typer.Option(help="Scenes for the ideal observer's pixel scores; 100000 to quote them."),
    ] = 0,
) -> None:
    """Write betas, events and stimuli of a virtual fMRI subject, and the truth behind them."""
    from phosphene.data.virtual import CONFOUNDS, VirtualSubject, choose_stimuli
    from phosphene.data.virtual.stimuli import read_photographs
    from phosphene.data.virtual.writing import mask_path, write_experiment
    from phosphene.errors import UsageError, check_option
    from phosphene.storage import check_new_folder

    if output is None:
        raise UsageError("--output is not given", expected="--output FOLDER")
    someone = VirtualSubject(str(subject), preset=preset)
    confounds = sorted(set(confound or []))
    for name in confounds:
        check_option("confound", name, CONFOUNDS)
    check_new_folder(output)
    if photographs is not None:
        if holdout != "none" or training_scenes or confounds:
            raise UsageError(
                "--photographs together with --holdout, --training-scenes or --confound",
                expected="photographs alone",
            )
        stimuli = read_photographs(photographs)
    else:
        stimuli = choose_stimuli(
            scenes,
            seed=seed or 0,
            holdout=holdout,
            training=training_scenes,
            duplicates="duplicates" in confounds,
        )
    simulation = write_experiment(
        output,
        someone,
        stimuli,
        repetitions=repetitions,
        seed=seed or 0,
        sessions=sessions,
        estimator=estimator,
        confounds=confounds,
        bank=bank,
    )
    trials = simulation.trials
    typer.echo(
        f"virtual subject {someone.label} ({someone.preset.name}): {len(trials)} trials of "
        f"{len(stimuli)} pictures in {trials['session'].nunique()} sessions x "
        f"{someone.n_voxels} voxels"
    )
    typer.echo(f"betas: {output}")
    typer.echo(f"mask: {mask_path(output, someone.label)}")


Pictures = Annotated[int, typer.Option("--scenes", help="Test pictures to show.")]
Shown = Annotated[int | None, typer.Option("--repetitions", help="Showings of each picture.")]
Output = Annotated[str | None, typer.Option("--output", help="New folder.")]
Sessions = Annotated[int | None, typer.Option("--sessions", help="Number of sessions.")]
Training = Annotated[
    int,
    typer.Option(
        "--training-scenes", help="Training pictures shown along, marked in the column split."
    ),
]
Holdout = Annotated[
    str,
    typer.Option(
        "--holdout", help="Kind of test pictures: none, conjunctions, shape or hard-negatives."
    ),
]
Photographs = Annotated[
    str | None,
    typer.Option("--photographs", help="Folder of pictures to show in place of scenes."),
]


@app.command("eeg")
@guarded
def eeg(
    subject: Subject = "01",
    scenes: Pictures = 100,
    repetitions: Shown = None,
    seed: Seed = 0,
    output: Output = None,
    channels: Annotated[int, typer.Option(help="63, or the 17 over parietal cortex.")] = 63,
    holdout: Holdout = "none",
    training_scenes: Training = 0,
    photographs: Photographs = None,
    sessions: Sessions = None,
) -> None:
    """Write epochs, events and stimuli of a virtual EEG subject, and the truth behind them."""
    _electric(
        f"eeg-{channels}",
        subject,
        output,
        photographs=photographs,
        stimuli={"count": scenes, "holdout": holdout, "training": training_scenes},
        options={"repetitions": repetitions, "seed": seed or 0, "sessions": sessions},
    )


@app.command("meg")
@guarded
def meg(
    subject: Subject = "01",
    scenes: Pictures = 100,
    repetitions: Shown = None,
    seed: Seed = 0,
    output: Output = None,
    holdout: Holdout = "none",
    training_scenes: Training = 0,
    photographs: Photographs = None,
    sessions: Sessions = None,
) -> None:
    """Write epochs, events and stimuli of a virtual MEG subject, and the truth behind them."""
    _electric(
        "meg-271",
        subject,
        output,
        photographs=photographs,
        stimuli={"count": scenes, "holdout": holdout, "training": training_scenes},
        options={"repetitions": repetitions, "seed": seed or 0, "sessions": sessions},
    )


def _electric(
    preset: str,
    subject: str | None,
    output: str | None,
    *,
    photographs: str | None,
    stimuli: dict[str, Any],
    options: dict[str, Any],
) -> None:
    from phosphene.data.virtual import choose_stimuli
    from phosphene.data.virtual.electric import VirtualHead, epochs_path, write_electric
    from phosphene.data.virtual.stimuli import read_photographs
    from phosphene.errors import UsageError
    from phosphene.names import require
    from phosphene.storage import check_new_folder

    if output is None:
        raise UsageError(
            "--output is not given",
            expected="--output FOLDER",
            remedy="name a new folder",
        )
    head = VirtualHead(str(subject), preset)
    check_new_folder(output)
    require("mne", "eeg")
    if photographs is not None and (stimuli["holdout"] != "none" or stimuli["training"]):
        raise UsageError(
            "--photographs together with --holdout or --training-scenes",
            expected="photographs alone",
            remedy="leave one of them out",
        )
    if photographs is not None:
        shown = read_photographs(photographs)
    else:
        shown = choose_stimuli(seed=options["seed"], **stimuli)
    simulation = write_electric(output, head, shown, **options)
    trials = simulation.trials
    typer.echo(
        f"virtual subject {head.label} ({preset}): {len(trials)} trials of {len(shown)} pictures "
        f"in {trials['session'].nunique()} sessions x {head.preset.n_sensors} sensors"
    )
    typer.echo(f"epochs: {epochs_path(output, head.label, head.preset.modality)}")
