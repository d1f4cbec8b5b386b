"""``phosphene prepare``: recordings and stimuli become a canonical dataset."""

from __future__ import annotations

from typing import Annotated

import typer

from phosphene.cli import prepare_electric, prepare_fmri, prepare_movies
from phosphene.cli.guard import guarded
from phosphene.cli.options import Seed, Subject
from phosphene.cli.prepare_shards import prepare_shards

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Turn recordings and stimuli into a canonical dataset.",
)
prepare_fmri.register(app)
prepare_electric.register(app)
prepare_movies.register(app)
app.command("shards")(prepare_shards)


@app.command("betas")
@app.command("arrays")
@guarded
def prepare(
    recordings: Annotated[
        str | None,
        typer.Option(
            help="One row or volume per trial: .npy, .npz[:KEY], NIfTI, .mgz, GIFTI, CIFTI, "
            "MNE epochs (_epo.fif) or a BIDS folder of betas."
        ),
    ] = None,
    subject: Subject = None,
    output: Annotated[
        str | None, typer.Option(help="New folder, or a dataset to add the subject to.")
    ] = None,
    stimuli: Annotated[
        str | None,
        typer.Option(help="Pictures: a folder named by stimulus_id, or an array in trial order."),
    ] = None,
    trials: Annotated[
        str | None,
        typer.Option(
            help="TSV with session, run, trial, stimulus_id, repetition, split (train, "
            "validation, test); all optional."
        ),
    ] = None,
    modality: Annotated[str, typer.Option(help="fmri, eeg or meg.")] = "fmri",
    roi: Annotated[
        str | None, typer.Option(help="Voxel mask, or ATLAS:LABELS such as atlas.nii.gz:1,2,3.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the dataset.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the recordings.")] = "unknown",
    dtype: Annotated[str, typer.Option(help="float32 or float16 on disk.")] = "float32",
    reliability: prepare_fmri.Reliability = None,
) -> None:
    """Write a subject's recording, trials and stimuli in the canonical layout."""
    from pathlib import Path

    from phosphene.data.prepare import write_subject
    from phosphene.data.readers import read_recording
    from phosphene.data.reliability import keep_reliable
    from phosphene.errors import UsageError, check_option

    for flag, value in (("--recordings", recordings), ("--subject", subject), ("--output", output)):
        if value is None:
            raise UsageError(
                f"{flag} is not given",
                expected=f"{flag} VALUE",
                remedy="see `phosphene prepare arrays --help`",
            )
    check_option("modality", modality, ["eeg", "fmri", "meg"])
    check_option("dtype", dtype, ["float16", "float32"])
    recording = read_recording(
        str(recordings), subject=str(subject), modality=modality, roi=roi, trials=trials
    )
    if reliability is not None:
        recording = keep_reliable(recording, reliability)
    dataset = write_subject(
        str(output),
        recording,
        stimuli,
        name=name,
        licence=licence,
        source=Path(str(recordings)).name,
        dtype=dtype,  # type: ignore[arg-type]
    )
    splits = recording.trials["split"].value_counts()
    counts = ", ".join(f"{splits[s]} {s}" for s in ("train", "validation", "test") if s in splits)
    unit = "voxels" if recording.modality == "fmri" else "channels"
    typer.echo(
        f"subject {recording.subject}: {len(recording)} trials ({counts}) x "
        f"{recording.data.shape[1]} {unit}, {dataset.file.n_stimuli} different stimuli"
    )
    typer.echo(f"dataset: {dataset.root}")


@app.command("things-eeg2")
@guarded
def things_eeg2(
    source: Annotated[
        str | None,
        typer.Option(help="Folder with sub-01, ...: the raw files or any pre-processed form."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="New folder, or a dataset to add subjects to.")
    ] = None,
    subject: Annotated[
        list[str] | None, typer.Option(help="Label of a subject; may be repeated. [all]")
    ] = None,
    channels: Annotated[str, typer.Option(help="all, or the 17 over parietal cortex.")] = "all",
    validation: Annotated[
        int, typer.Option(help="Concepts held out of training for validation.")
    ] = 200,
    seed: Seed = 0,
    average: Annotated[
        bool, typer.Option("--average", help="One row per picture: the mean of its repetitions.")
    ] = False,
    no_whitening: Annotated[
        bool, typer.Option("--no-whitening", help="Leave raw recordings in microvolts.")
    ] = False,
    table: Annotated[
        str | None, typer.Option(help="image_metadata.npy. [in the source or beside it]")
    ] = None,
    images: Annotated[
        str | None, typer.Option(help="Folder of the pictures, to copy them into the dataset.")
    ] = None,
) -> None:
    """Read THINGS-EEG2 in whichever form it lies there; pickles are never executed."""
    from phosphene.data.things import prepare_things_eeg2
    from phosphene.errors import UsageError

    for flag, value in (("--source", source), ("--output", output)):
        if value is None:
            raise UsageError(f"{flag} is not given", expected=f"{flag} FOLDER")
    dataset, form = prepare_things_eeg2(
        str(source),
        str(output),
        subjects=subject,
        channels=channels,
        validation=validation,
        seed=seed or 0,
        average=average,
        whiten=not no_whitening,
        table=table,
        images=images,
    )
    typer.echo(f"form: {form}; subjects: {', '.join(sorted(dataset.file.subjects))}")
    splits = dataset.table["split"].value_counts()
    typer.echo(", ".join(f"{splits[name]} {name}" for name in splits.index) + " trials")
    typer.echo(f"dataset: {dataset.root}")
